"""The formats in which tools write a predicted mask, turned into class indices."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from rock_glacier.masks import mask_to_class_indices
from rock_glacier_dataset import TILE_SIZE

Mask = npt.NDArray[np.uint8]
"""Shape (128, 128), values in {0, 1}: 1 is rock glacier."""

_GREY_MODES = ("1", "L", "I;16", "I")  # Pillow's names of grey images with 1, 8 and 16 bits, the last under two names


def mask_of_png(png: bytes) -> Mask:
    """Read a mask from a PNG file: a grey one of 0 and 1 or of 0 and 255, or one of the dataset's two colours.

    Raises:
        ValueError: it cannot be decoded, or has another size or other values.

    Example:
        >>> png = io.BytesIO()
        >>> Image.fromarray(np.eye(128, dtype=np.uint8)).save(png, "PNG")
        >>> int(mask_of_png(png.getvalue()).sum())
        128
    """
    try:
        image = Image.open(io.BytesIO(png), formats=["PNG"])
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise ValueError("is not a PNG file; write the mask as one") from None
    with image:
        _check_shape((image.height, image.width))
        is_grey = image.mode in _GREY_MODES
        try:
            values = np.asarray(image if is_grey else image.convert("RGBA"))
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"is a damaged PNG file ({error}); write it again") from None
    return _class_indices(values) if is_grey else mask_to_class_indices(values)


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
    _check_shape(values.shape)
    if values.dtype.kind != "f":
        return _class_indices(values)
    if not ((values >= 0) & (values <= 1)).all():  # NaN included
        raise ValueError("has values that are not probabilities; give those of rock glacier, from 0 to 1")
    return (values >= threshold).astype(np.uint8)


def _check_shape(shape: tuple[int, ...]) -> None:
    if shape != (TILE_SIZE, TILE_SIZE):
        found = " x ".join(map(str, shape))
        raise ValueError(f"is {found} pixels; a mask has {TILE_SIZE} x {TILE_SIZE}, as the tile has")


def _class_indices(values: npt.NDArray[Any]) -> Mask:
    if values.dtype.kind not in "bui":
        raise ValueError(f"has values of the type {values.dtype}; a mask's are numbers")
    found = np.unique(values)
    if not (np.isin(found, (0, 1)).all() or np.isin(found, (0, 255)).all()):
        some = ", ".join(map(str, found[:5].tolist())) + (", ..." if found.size > 5 else "")
        raise ValueError(f"has the values {some}; a mask's are 0 and 1, or 0 and 255 (1 and 255 are rock glacier)")
    return (values != 0).astype(np.uint8)
