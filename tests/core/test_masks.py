"""Masks: from colours to class indices and back."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from rock_glacier.masks import class_indices_to_mask, mask_to_class_indices
from rock_glacier_dataset import BACKGROUND_COLOUR, ROCK_GLACIER_COLOUR


def half_mask() -> Image.Image:
    mask = Image.new("RGBA", (128, 128), BACKGROUND_COLOUR)
    mask.paste(ROCK_GLACIER_COLOUR, (0, 0, 128, 64))
    return mask


def mask_with_a_red_pixel() -> Image.Image:
    mask = half_mask()
    mask.putpixel((3, 5), (255, 0, 0, 255))
    return mask


def test_white_is_1_and_black_is_0():
    indices = mask_to_class_indices(half_mask())
    assert indices.shape == (128, 128)
    assert indices.dtype == np.uint8
    assert indices[:64].all()
    assert not indices[64:].any()


@pytest.mark.parametrize("dtype", [np.uint8, bool, np.int64])
def test_class_indices_are_converted_to_a_mask_and_back(dtype):
    indices = mask_to_class_indices(half_mask()).astype(dtype)
    assert class_indices_to_mask(indices).tobytes() == half_mask().tobytes()


def test_a_batch_of_masks_is_converted_at_once():
    background = Image.new("RGBA", (128, 128), BACKGROUND_COLOUR)
    masks = np.stack([np.asarray(half_mask()), np.asarray(background)])
    assert mask_to_class_indices(masks).sum((1, 2)).tolist() == [64 * 128, 0]


@pytest.mark.parametrize(
    "mask",
    [
        Image.new("RGB", (128, 128)),
        Image.new("RGBA", (127, 128), BACKGROUND_COLOUR),
        np.zeros((128, 128, 4)),
        mask_with_a_red_pixel(),
        Image.new("RGBA", (128, 128), (255, 255, 255, 0)),
    ],
    ids=["RGB", "size", "dtype", "colour", "transparent"],
)
def test_an_invalid_mask_is_refused(mask):
    with pytest.raises(ValueError):
        mask_to_class_indices(mask)


@pytest.mark.parametrize(
    "indices",
    [np.zeros((3, 3)), np.full((128, 128), 2), np.full((128, 128), 0.5)],
    ids=["shape", "value", "fraction"],
)
def test_invalid_class_indices_are_refused(indices):
    with pytest.raises(ValueError):
        class_indices_to_mask(indices)
