"""Pixels in the form in which tiles are compared: a number for each, without alpha."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from rock_glacier.grounds.turns import TURNS, turned

Pixels = npt.NDArray[np.uint32]
"""Shape (height, width): red in the lowest 8 bits, then green and blue."""

_RGB = np.uint32(0xFFFFFF)


def pack_pixels(rgba: npt.NDArray[np.uint8]) -> Pixels:
    """Turn the colours of a tile into one number a pixel; alpha is left out.

    Args:
        rgba: uint8 array of shape (128, 128, 4).

    Returns:
        uint32 array of shape (128, 128).

    Example:
        >>> hex(pack_pixels(np.array([[[1, 2, 3, 255]]], np.uint8))[0, 0])
        '0x30201'
    """
    return np.ascontiguousarray(rgba).view("<u4")[..., 0] & _RGB


def canonical_hash(pixels: Pixels) -> bytes:
    """Hash a tile so that its eight turns, and no other tile, have the same hash.

    Example:
        >>> tile = np.arange(16, dtype=np.uint32).reshape(4, 4)
        >>> canonical_hash(tile) == canonical_hash(np.rot90(tile)) == canonical_hash(tile[:, ::-1])
        True
        >>> canonical_hash(tile) == canonical_hash(tile + np.uint32(1))
        False
    """
    views = [turned(pixels, turn) for turn in TURNS]
    first = min(view[0].tobytes() for view in views)  # few views begin with this row, and only they are compared
    return hashlib.sha256(min(view.tobytes() for view in views if view[0].tobytes() == first)).digest()
