"""Masks: from colours to class indices and back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from rock_glacier_dataset import BACKGROUND_COLOUR, ROCK_GLACIER_COLOUR, TILE_SIZE


def mask_to_class_indices(mask: Image.Image | npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Turn a mask's colours into class indices.

    Args:
        mask: an RGBA image of 128 x 128 pixels, or a uint8 array of shape `(..., 128, 128, 4)`, such as a batch,
            with values in [0, 255].

    Returns:
        uint8 array of shape `(..., 128, 128)` with values in {0, 1}: 1 is rock glacier, 0 is background.

    Raises:
        ValueError: the mask has another size, mode or dtype, or a colour other than white and black.

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
            f"a mask is an RGBA image of {TILE_SIZE} x {TILE_SIZE} pixels or a uint8 array of shape "
            f"(..., {TILE_SIZE}, {TILE_SIZE}, 4); got {colours.dtype} of shape {colours.shape}"
        )
    pixels = np.ascontiguousarray(colours).view(np.uint32)[..., 0]  # four bytes are compared as one number
    white, black = np.array([ROCK_GLACIER_COLOUR, BACKGROUND_COLOUR], np.uint8).view(np.uint32)[:, 0]
    rock_glacier = pixels == white
    other = ~(rock_glacier | (pixels == black))
    if other.any():
        where = tuple(np.argwhere(other)[0])
        raise ValueError(
            f"a mask has the colours {ROCK_GLACIER_COLOUR} and {BACKGROUND_COLOUR} only; "
            f"got {tuple(colours[where].tolist())} at y={where[-2]}, x={where[-1]}"
        )
    return rock_glacier.astype(np.uint8)


def class_indices_to_mask(indices: npt.NDArray[np.generic]) -> Image.Image:
    """Turn class indices, such as a model's prediction, into a mask with the dataset's colours.

    Args:
        indices: integer or boolean array of shape `(128, 128)` with values in {0, 1}: 1 is rock glacier.

    Returns:
        RGBA image of 128 x 128 pixels.

    Raises:
        ValueError: the shape is another, or a value is not 0 or 1.

    Example:
        >>> class_indices_to_mask(np.ones((128, 128), np.uint8)).getpixel((0, 0))
        (255, 255, 255, 255)
    """
    indices = np.asarray(indices)
    if indices.shape != (TILE_SIZE, TILE_SIZE) or not np.isin(indices, (0, 1)).all():
        raise ValueError(
            f"class indices are numbers 0 and 1 in an array of shape ({TILE_SIZE}, {TILE_SIZE}); "
            f"got {indices.dtype} of shape {indices.shape}, or other values"
        )
    colours = np.array([BACKGROUND_COLOUR, ROCK_GLACIER_COLOUR], np.uint8)
    return Image.fromarray(colours[indices.astype(np.intp)])
