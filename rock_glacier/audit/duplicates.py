"""Find tiles that have the same pixels, in any orientation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rock_glacier.sites.orientations import ORIENTATIONS, oriented
from rock_glacier.tiles import TileSet
from rock_glacier_dataset import TILE_SIZE

# Number of tiles whose pixels are summed at once; this takes about 30 MiB.
_CHUNK = 128

# Red, green and blue of a pixel that was read as a little-endian number.
_RGB = np.uint32(0xFFFFFF)

# Columns of the result.
_COLUMNS = ["a", "b", "orientation", "dx", "dy", "pixels", "labels_differ", "masks_differ"]


@dataclass(frozen=True)
class _SamePixels:
    """Two tiles with the same pixels.

    Attributes:
        a: Row number of the first tile.
        b: Row number of the second tile.
        orientations: Orientations of `b` that have the pixels of `a`: several if `a` is symmetric.
    """

    a: int
    b: int
    orientations: list[int]


def find_duplicates(tiles: TileSet) -> pd.DataFrame:
    """Find tiles that have the same colours as an earlier tile, in any orientation.

    The search is exact and ignores alpha. Tiles with the same pixels in any order have the same
    sum of pixels and of squared pixels. Only tiles with the same sums are compared.

    Returns:
        One row per duplicate: `a`, the first tile with these pixels, and `b`, the duplicate, are
        row numbers of `tiles.table`. `orientation`, `dx`, `dy` (always 0) and `pixels` have the
        same meaning as in the pairs of `rock_glacier.sites`. `labels_differ` and `masks_differ`
        are true if the two tiles contradict each other.
    """
    images = tiles.images
    sums = pd.DataFrame(_sum_pixels(images), columns=["sum", "squares"])
    candidates = sums[sums.duplicated(keep=False)]
    rows: list[dict[str, Any]] = []
    for numbers in candidates.groupby(["sum", "squares"]).groups.values():
        rows.extend(_describe(tiles, pair) for pair in _find_same(images, sorted(numbers)))
    return pd.DataFrame(rows, columns=_COLUMNS).sort_values(["a", "b"], ignore_index=True)


def _sum_pixels(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Return the sum of each tile's pixels and of their squares, shape (n, 2)."""
    sums = np.zeros((len(images), 2), np.uint64)
    for start in range(0, len(images), _CHUNK):
        pixels = _pack(images[start : start + _CHUNK]).astype(np.uint64)
        sums[start : start + _CHUNK, 0] = pixels.sum(axis=(1, 2))
        # At most 128 * 128 * 2 ** 48, so the sum does not overflow.
        sums[start : start + _CHUNK, 1] = (pixels * pixels).sum(axis=(1, 2))
    return sums


def _pack(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """Turn the colours of RGBA images (..., 4) into one number per pixel, without alpha."""
    return np.ascontiguousarray(images).view("<u4")[..., 0] & _RGB


def _find_same(images: npt.NDArray[np.uint8], numbers: Sequence[int]) -> Iterator[_SamePixels]:
    """Yield each tile, of some with the same sums, that has the pixels of an earlier one."""
    originals: list[int] = []
    for number in numbers:
        pixels = _pack(images[number])
        for original in originals:
            original_pixels = _pack(images[original])
            orientations = [
                orientation
                for orientation in ORIENTATIONS
                if np.array_equal(original_pixels, oriented(pixels, orientation))
            ]
            if orientations:
                yield _SamePixels(original, number, orientations)
                break
        else:
            originals.append(number)


def _describe(tiles: TileSet, pair: _SamePixels) -> dict[str, Any]:
    """Return the row of a pair of tiles with the same pixels."""
    first: Any = tiles.table.loc[pair.a]
    second: Any = tiles.table.loc[pair.b]
    masks = tiles.masks
    fitting_masks = [
        orientation
        for orientation in pair.orientations
        if np.array_equal(masks[pair.a], oriented(masks[pair.b], orientation))
    ]
    have_masks = bool(first["has_mask"] and second["has_mask"])
    return {
        "a": pair.a,
        "b": pair.b,
        "orientation": (fitting_masks or pair.orientations)[0],
        "dx": 0,
        "dy": 0,
        "pixels": TILE_SIZE**2,
        "labels_differ": first["label"] != second["label"],
        "masks_differ": have_masks and not fitting_masks,
    }
