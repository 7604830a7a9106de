"""Find tiles that show the same ground, and place them relative to each other."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from rock_glacier.parallel import Workers
from rock_glacier.sites.mask_groups import find_mask_groups
from rock_glacier.sites.overlaps import find_overlaps
from rock_glacier.sites.pairs import add_pairs, make_pairs
from rock_glacier.sites.placement import place_tiles
from rock_glacier.tiles import TileSet
from rock_glacier_dataset import Fault


@dataclass(frozen=True)
class Sites:
    """The sites of a set of tiles.

    Attributes:
        pairs: A row for each pair of tiles that show the same ground, sorted by `a` and `b`, which
            are row numbers of the tiles, `a` < `b`. `kinds` lists how the pair was found, the
            strongest first: "overlap", "mask-overlap", "match". `kind` is the first of them, whose
            link is used. Pixel (x, y) of tile a is pixel (x - `dx`, y - `dy`) of tile b after
            `orientation` was applied to b. `pixels` is the number of shared pixels. Mask overlaps
            have boundary `steps`, else 0; matches have `votes` and a `correlation`, else 0 and NaN.
        table: A row for each tile: `site`, `x`, `y` (int32) and `orientation` (int8), as in the
            tile index, and `mask_group` (int32): tiles whose masks overlap have the same number. A
            mask without partner is a group of its own. -1 if a tile has no mask, an empty one, or
            one that does not belong to it.
        contradictions: The rows of `pairs` that contradict stronger ones. Positions ignore them.
        faults: A warning `mask-unrelated` for each group of masks that do not fit their images.
    """

    pairs: pd.DataFrame
    table: pd.DataFrame
    contradictions: pd.DataFrame
    faults: list[Fault] = field(default_factory=list)


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
    groups = find_mask_groups(tiles, workers)
    pairs = make_pairs(overlaps, "overlap")
    pairs = add_pairs(pairs, groups.pairs, "mask-overlap")
    if matches:
        # OpenCV and faiss take half a second to import.
        from rock_glacier.sites.matches import find_matches

        pairs = add_pairs(pairs, find_matches(tiles.files, workers, overlaps), "match")
    placement = place_tiles(len(tiles), pairs)
    table = placement.table.assign(mask_group=groups.group)
    return Sites(pairs, table, pairs[~placement.is_used], groups.faults)
