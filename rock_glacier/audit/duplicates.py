"""Find tiles that have the same pixels, in any orientation."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rock_glacier.sites.orientations import ORIENTATIONS, oriented
from rock_glacier.sites.pixels import canonical_hash, pack_pixels
from rock_glacier.tiles import TileSet

# Number of tiles whose pixels are summed at once; this takes about 30 MiB.
_CHUNK = 128


def find_duplicates(tiles: TileSet) -> pd.DataFrame:
    """Find tiles that have the same colours as an earlier tile, in any orientation.

    The search is exact and ignores alpha. Tiles with the same pixels in any order have the same
    sum of pixels and of squared pixels. Only tiles with the same sums are compared.

    Returns:
        One row per duplicate, in order. `a`, the first tile with these pixels, and `b`, the
        duplicate, are row numbers of `tiles.table`. Tile b has the pixels of tile a after
        `orientation` was applied. `masks_differ` is true if both tiles have masks and no
        orientation fits both pixels and masks.
    """
    images = tiles.images
    sums = pd.DataFrame(_sum_pixels(images))
    first_rows: dict[bytes, int] = {}
    duplicates = []
    for row in np.flatnonzero(sums.duplicated(keep=False)).tolist():
        first = first_rows.setdefault(canonical_hash(pack_pixels(images[row])), row)
        if first != row:
            duplicates.append(_describe(tiles, first, row))
    columns = ["a", "b", "orientation", "masks_differ"]
    return pd.DataFrame(duplicates, columns=columns).sort_values(["a", "b"], ignore_index=True)


def _sum_pixels(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Return the sum of each tile's pixels and of their squares, shape (n, 2)."""
    sums = np.zeros((len(images), 2), np.uint64)
    for start in range(0, len(images), _CHUNK):
        pixels = pack_pixels(images[start : start + _CHUNK]).astype(np.uint64)
        sums[start : start + _CHUNK, 0] = pixels.sum(axis=(1, 2))
        # At most 128 * 128 * 2 ** 48, so the sum does not overflow.
        sums[start : start + _CHUNK, 1] = (pixels * pixels).sum(axis=(1, 2))
    return sums


def _describe(tiles: TileSet, a: int, b: int) -> dict[str, Any]:
    """Return the row of two tiles with the same pixels."""
    pixels_a = pack_pixels(tiles.images[a])
    pixels_b = pack_pixels(tiles.images[b])
    fitting = [
        orientation
        for orientation in ORIENTATIONS
        if np.array_equal(pixels_a, oriented(pixels_b, orientation))
    ]
    # A symmetric tile fits in several orientations; its mask decides between them.
    fitting_masks = [
        orientation
        for orientation in fitting
        if np.array_equal(tiles.masks[a], oriented(tiles.masks[b], orientation))
    ]
    have_masks = tiles.table["has_mask"][[a, b]].all()
    return {
        "a": a,
        "b": b,
        "orientation": (fitting_masks or fitting)[0],
        "masks_differ": bool(have_masks and not fitting_masks),
    }
