"""Masks: from colours to class indices and back."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from rock_glacier.masks import class_indices_to_mask, mask_to_class_indices
from rock_glacier_dataset import BACKGROUND_COLOUR, ROCK_GLACIER_COLOUR


def half_a_mask() -> Image.Image:
    mask = Image.new("RGBA", (128, 128), BACKGROUND_COLOUR)
    mask.paste(ROCK_GLACIER_COLOUR, (0, 0, 128, 64))
    return mask


def mask_with_a_red_pixel() -> Image.Image:
    mask = half_a_mask()
    mask.putpixel((3, 5), (255, 0, 0, 255))
    return mask


def test_white_becomes_1_and_black_0_and_back() -> None:
    indices = mask_to_class_indices(half_a_mask())
    assert (indices.shape, str(indices.dtype)) == ((128, 128), "uint8")
    assert indices[:64].all()
    assert not indices[64:].any()
    back = class_indices_to_mask(indices)
    assert (back.mode, back.size, back.tobytes()) == ("RGBA", (128, 128), half_a_mask().tobytes())
    assert class_indices_to_mask(indices.astype(bool)).tobytes() == back.tobytes()


def test_batch_of_masks_becomes_a_batch_of_class_indices() -> None:
    masks = np.stack([np.asarray(half_a_mask()), np.asarray(Image.new("RGBA", (128, 128), BACKGROUND_COLOUR))])
    assert mask_to_class_indices(masks).sum(axis=(1, 2)).tolist() == [64 * 128, 0]


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (Image.new("RGB", (128, 128)), r"got uint8 of shape \(128, 128, 3\)"),
        (Image.new("RGBA", (127, 128), BACKGROUND_COLOUR), r"got uint8 of shape \(128, 127, 4\)"),
        (np.zeros((128, 128, 4)), "got float64"),
        (mask_with_a_red_pixel(), r"got \(255, 0, 0, 255\) at y=5, x=3"),
        (Image.new("RGBA", (128, 128), (255, 255, 255, 0)), r"got \(255, 255, 255, 0\) at y=0, x=0"),
    ],
    ids=["RGB", "size", "dtype", "colour", "transparent"],
)
def test_invalid_mask_is_refused(mask: Image.Image, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        mask_to_class_indices(mask)


@pytest.mark.parametrize(
    "indices",
    [np.zeros((3, 3)), np.full((128, 128), 2), np.full((128, 128), 0.5)],
    ids=["shape", "value", "fraction"],
)
def test_invalid_class_indices_are_refused(indices: np.ndarray) -> None:
    with pytest.raises(ValueError, match="class indices are numbers 0 and 1 in an array of shape"):
        class_indices_to_mask(indices)
