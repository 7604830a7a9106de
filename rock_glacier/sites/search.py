"""Find tiles that show the same ground, and place them relative to each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from rock_glacier.parallel import Workers
from rock_glacier.sites.overlaps import find_overlaps
from rock_glacier.sites.placement import place_tiles
from rock_glacier.tiles import TileSet

_PAIR_TYPES = {
    "a": np.int64,
    "b": np.int64,
    "kind": "string",
    "orientation": np.int64,
    "dx": np.int64,
    "dy": np.int64,
    "pixels": np.int64,
    "votes": np.int64,
    "correlation": np.float64,
}


@dataclass(frozen=True)
class Sites:
    """The sites of a set of tiles.

    Attributes:
        pairs: A row for each pair of tiles that show the same ground, sorted by `a` and `b`, which
            are row numbers of the tiles, `a` < `b`. `kind` is "overlap" or "match". Pixel (x, y) of
            tile a is pixel (x - `dx`, y - `dy`) of tile b after `orientation` was applied to b.
            `pixels` is the number of shared pixels. Matches have `votes` and a `correlation`;
            overlaps have 0 and NaN.
        table: A row for each tile: `site`, `x`, `y` (int32) and `orientation` (int8), as in the
            tile index.
        contradictions: The rows of `pairs` that contradict stronger ones. Positions ignore them.
    """

    pairs: pd.DataFrame
    table: pd.DataFrame
    contradictions: pd.DataFrame


def find_sites(tiles: TileSet, workers: Workers | None = None, *, matches: bool = True) -> Sites:
    """Find the pairs of tiles that show the same ground, and place the tiles in sites.

    Args:
        tiles: The decoded tiles.
        workers: Processes to use. Default: one for each core.
        matches: Whether to search for matches too, which takes most of the time.

    Raises:
        InputError: If the workers cannot be reached, or one was killed.
    """
    workers = workers or Workers()
    overlaps = find_overlaps(tiles.files, workers)
    found = [overlaps.assign(kind="overlap", votes=0, correlation=np.nan)]
    if matches:
        # OpenCV and faiss take half a second to import.
        from rock_glacier.sites.matches import find_matches

        found.append(find_matches(tiles.files, workers, overlaps).assign(kind="match"))
    pairs = pd.concat([frame.astype(_PAIR_TYPES) for frame in found], ignore_index=True)
    pairs = pairs[list(_PAIR_TYPES)].sort_values(["a", "b"], ignore_index=True)
    placement = place_tiles(len(tiles), pairs)
    return Sites(pairs, placement.table, pairs[~placement.is_used])
