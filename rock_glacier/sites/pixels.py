"""Pack each pixel into one number, to compare tiles."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from rock_glacier.sites.orientations import ORIENTATIONS, oriented

Pixels = npt.NDArray[np.uint32]
"""Shape (height, width): red in the lowest 8 bits, then green, then blue."""

_RGB = np.uint32(0xFFFFFF)


def pack_pixels(rgba: npt.NDArray[np.uint8]) -> Pixels:
    """Combine the colours of each pixel into one number, without alpha.

    Args:
        rgba: uint8 array of shape (height, width, 4).

    Returns:
        uint32 array of shape (height, width).

    Example:
        >>> hex(pack_pixels(np.array([[[1, 2, 3, 255]]], np.uint8))[0, 0])
        '0x30201'
    """
    return np.ascontiguousarray(rgba).view("<u4")[..., 0] & _RGB


def canonical_hash(pixels: Pixels) -> bytes:
    """Hash a square; its eight orientations have the same hash.

    Example:
        >>> tile = np.arange(16, dtype=np.uint32).reshape(4, 4)
        >>> canonical_hash(tile) == canonical_hash(np.rot90(tile)) == canonical_hash(tile[:, ::-1])
        True
        >>> canonical_hash(tile) == canonical_hash(tile + np.uint32(1))
        False
    """
    views = [oriented(pixels, orientation) for orientation in ORIENTATIONS]
    # The first row rules out most views without copying them.
    first_row = min(view[0].tobytes() for view in views)
    smallest = min(view.tobytes() for view in views if view[0].tobytes() == first_row)
    return hashlib.sha256(smallest).digest()
