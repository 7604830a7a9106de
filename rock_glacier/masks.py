"""Masks: from colours to class indices and back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from rock_glacier_dataset import BACKGROUND_COLOUR, ROCK_GLACIER_COLOUR, TILE_SIZE


def mask_to_class_indices(mask: Image.Image | npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Convert the colours of a mask to class indices.

    Args:
        mask: An RGBA image of 128 x 128 pixels, or a uint8 array of shape `(..., 128, 128, 4)`,
            such as a batch, with values in [0, 255].

    Returns:
        uint8 array of shape `(..., 128, 128)`: 1 is rock glacier, 0 is background.

    Raises:
        ValueError: If the mask has another size, mode or dtype, or a colour other than white and
            black.

    Example:
        >>> mask = Image.new("RGBA", (128, 128), BACKGROUND_COLOUR)
        >>> mask.putpixel((3, 5), ROCK_GLACIER_COLOUR)
        >>> indices = mask_to_class_indices(mask)
        >>> indices.shape, indices.dtype, int(indices.sum()), int(indices[5, 3])
        ((128, 128), dtype('uint8'), 1, 1)
    """
    colours = np.asarray(mask)
    if colours.dtype != np.uint8 or colours.shape[-3:] != (TILE_SIZE, TILE_SIZE, 4):
        raise ValueError(
            f"expected a uint8 mask of shape (..., {TILE_SIZE}, {TILE_SIZE}, 4), "
            f"got {colours.dtype} of shape {colours.shape}"
        )
    # Compare the four channels of a pixel as one number.
    pixels = np.ascontiguousarray(colours).view(np.uint32)[..., 0]
    is_rock_glacier = pixels == _as_number(ROCK_GLACIER_COLOUR)
    is_background = pixels == _as_number(BACKGROUND_COLOUR)
    others = int((~(is_rock_glacier | is_background)).sum())
    if others:
        raise ValueError(
            f"{others:,} pixels are neither white {ROCK_GLACIER_COLOUR} nor black "
            f"{BACKGROUND_COLOUR}"
        )
    return is_rock_glacier.astype(np.uint8)


def class_indices_to_mask(indices: npt.NDArray[np.generic]) -> Image.Image:
    """Convert class indices, such as a prediction, to a mask in the colours of the dataset.

    Args:
        indices: Integer or boolean array of shape `(128, 128)`: 1 is rock glacier, 0 is background.

    Returns:
        An RGBA image of 128 x 128 pixels.

    Raises:
        ValueError: If the shape differs, or a value is neither 0 nor 1.

    Example:
        >>> class_indices_to_mask(np.ones((128, 128), np.uint8)).getpixel((0, 0))
        (255, 255, 255, 255)
    """
    indices = np.asarray(indices)
    if indices.shape != (TILE_SIZE, TILE_SIZE) or not np.isin(indices, (0, 1)).all():
        raise ValueError(
            f"expected an array of shape ({TILE_SIZE}, {TILE_SIZE}) that holds only 0 and 1, "
            f"got {indices.dtype} of shape {indices.shape}"
        )
    colours = np.array([BACKGROUND_COLOUR, ROCK_GLACIER_COLOUR], np.uint8)
    return Image.fromarray(colours[indices.astype(np.intp)])


def _as_number(colour: tuple[int, int, int, int]) -> np.uint32:
    return np.array(colour, np.uint8).view(np.uint32)[0]
