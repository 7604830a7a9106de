"""The formats in which tools write a predicted mask, turned into class indices."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rock_glacier.arrays import decode_any_png
from rock_glacier.masks import mask_to_class_indices
from rock_glacier_dataset import TILE_SIZE

Mask = npt.NDArray[np.uint8]
"""Shape (128, 128), values in {0, 1}: 1 is rock glacier."""


def mask_of_png(png: bytes) -> Mask:
    """Read a mask from a PNG file of 1 to 8 bits a channel.

    It is grey, with the values 0 and 1 or 0 and 255, or black and white as the dataset's masks are.

    Raises:
        ValueError: it cannot be decoded, or has another size or other values.
    """
    try:
        pixels = decode_any_png(png)
    except ValueError as error:
        raise ValueError(
            f"{error}; write the mask as a PNG file of {TILE_SIZE} x {TILE_SIZE} pixels of up to 8 bits"
        ) from None
    is_grey = (pixels[..., :3] == pixels[..., :1]).all() and (pixels[..., 3] == 255).all()
    return _class_indices(pixels[..., 0]) if is_grey else mask_to_class_indices(pixels)


def mask_of_array(values: npt.NDArray[Any], threshold: float) -> Mask:
    """Read a mask from an array.

    Args:
        values: shape (128, 128): booleans, integers 0 and 1 (or 0 and 255), or floats in [0, 1], which are
            probabilities of rock glacier.
        threshold: probability from which a pixel is rock glacier.

    Raises:
        ValueError: it has another shape or other values.

    Example:
        >>> int(mask_of_array(np.full((128, 128), 0.5), threshold=0.5).sum())
        16384
    """
    if values.shape != (TILE_SIZE, TILE_SIZE):
        found = " x ".join(map(str, values.shape))
        raise ValueError(f"is {found} pixels; a mask has {TILE_SIZE} x {TILE_SIZE}, as the tile has")
    if values.dtype.kind != "f":
        return _class_indices(values)
    if not ((values >= 0) & (values <= 1)).all():  # NaN included
        raise ValueError("has values that are not probabilities; give those of rock glacier, from 0 to 1")
    return (values >= threshold).astype(np.uint8)


def _class_indices(values: npt.NDArray[Any]) -> Mask:
    if values.dtype.kind not in "bui":
        raise ValueError(f"has values of the type {values.dtype}; a mask's are numbers")
    found = np.unique(values)
    if not (np.isin(found, (0, 1)).all() or np.isin(found, (0, 255)).all()):
        some = ", ".join(map(str, found[:5].tolist())) + (", ..." if found.size > 5 else "")
        raise ValueError(f"has the values {some}; a mask's are 0 and 1, or 0 and 255 (1 and 255 are rock glacier)")
    return (values != 0).astype(np.uint8)
