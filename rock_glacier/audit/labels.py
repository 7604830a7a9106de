"""Check the labels of tiles that share ground against each other, and against outlines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from rock_glacier.places.footprints import footprint_squares
from rock_glacier.places.outlines import PIXEL
from rock_glacier.sites.orientations import oriented
from rock_glacier.sites.windows import shared_rectangles
from rock_glacier_dataset import TILE_SIZE, Fault

MAX_DIFFERENCE = 0.01
"""Share of the common pixels of two masks that may differ: at 64 x 64 pixels, a third of a row."""

MIN_PIXELS = 100
"""Smallest number of pixels of rock glacier that contradict the label `cordillera`.

Places are exact to a few pixels, so a tile next to a rock glacier may seem to show some of its
border.
"""

_CONFLICT_TYPES = {
    "code": "string",
    "tile": np.int64,
    "pair": np.int64,
    "outline": "string",
    "pixels": np.int64,
    "share": np.float64,
}


def find_conflicts(
    table: pd.DataFrame, masks: npt.NDArray[np.uint8], pairs: pd.DataFrame, outlines: Any = None
) -> pd.DataFrame:
    """Find tiles whose labels contradict the label of the same ground elsewhere.

    A `mask-conflict` is an overlap whose masks differ in more than 1 % of the shared pixels. A
    `label-conflict` is a `cordillera` tile that shares at least 100 pixels of rock glacier with
    the mask of another tile, or whose footprint holds that much of an outline. Masks that do not
    belong to their tiles (`mask-unrelated`) are not compared with `cordillera` tiles.

    Args:
        table: A row for each tile: `label`, `has_mask`, `mask_group`, and, if outlines are given,
            `epsg`, `easting` and `northing`.
        masks: uint8 array of shape (tiles, 128, 128): 1 is rock glacier.
        pairs: The pairs to check, as in `Audit.pairs`.
        outlines: Rock glaciers as a GeoDataFrame with the column `name`, or None.

    Returns:
        A row for each conflict: its `code`; `tile`, the row number of the tile to report; `pair`,
        the index label of the pair that shows the conflict, or -1; `outline`, the name of the
        outline that shows it, or ""; `pixels` that differ, or that are rock glacier; `share`, their
        share of the common rectangle (`mask-conflict`) or of the tile (`label-conflict`). For each
        `cordillera` tile, only the conflict with most pixels is listed.
    """
    label_conflicts = [_as_frame(_find_masks_on_cordillera(table, masks, pairs))]
    if outlines is not None:
        label_conflicts.append(_as_frame(_find_outlines_on_cordillera(table, outlines)))
    worst = pd.concat(label_conflicts).sort_values("pixels", ascending=False, kind="stable")
    worst = worst.drop_duplicates("tile").sort_values("tile")
    mask_conflicts = _as_frame(_find_mask_conflicts(table, masks, pairs))
    return pd.concat([mask_conflicts, worst], ignore_index=True)


def find_conflict_faults(
    conflicts: pd.DataFrame, pairs: pd.DataFrame, table: pd.DataFrame
) -> Iterator[Fault]:
    """Report conflicts as faults.

    Args:
        conflicts: The conflicts, from `find_conflicts`.
        pairs: The pairs that were checked.
        table: A row for each tile: `path` and `place` (the tile in faults).
    """
    paths = table["path"].to_list()
    places = table["place"].to_list()
    rows: Any = conflicts.itertuples()
    for conflict in rows:
        if conflict.pair >= 0:
            ends: Any = pairs.loc[conflict.pair]
            other = paths[ends.a + ends.b - conflict.tile]
        numbers = f"{conflict.pixels:,} pixels ({conflict.share:.1%}"
        if conflict.code == "mask-conflict":
            problem = f"its mask and the mask of {other} differ in {numbers} of the shared ground)"
            fix = "Correct one of the masks"
        elif conflict.outline:
            problem = (
                f"shows rock glacier on {numbers} of the tile), according to the outline "
                f"{conflict.outline}"
            )
            fix = "Check its label"
        else:
            problem = (
                f"shows rock glacier on {numbers} of the tile), according to the mask of {other}"
            )
            fix = "Check its label, or the mask"
        yield Fault(conflict.code, places[conflict.tile], problem, fix)


def _as_frame(rows: Iterator[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(_CONFLICT_TYPES)).astype(_CONFLICT_TYPES)


def _find_mask_conflicts(
    table: pd.DataFrame, masks: npt.NDArray[np.uint8], pairs: pd.DataFrame
) -> Iterator[dict[str, Any]]:
    """Yield overlaps whose masks differ."""
    has_mask = table["has_mask"].to_numpy()
    overlaps = pairs[pairs["kind"] == "overlap"]
    overlaps = overlaps[has_mask[overlaps["a"]] & has_mask[overlaps["b"]]]
    rows: Any = overlaps.itertuples()
    for pair in rows:
        mask_b = oriented(masks[pair.b], pair.orientation)
        mask_a, mask_b = shared_rectangles(masks[pair.a], mask_b, pair.dx, pair.dy)
        pixels = int(np.count_nonzero(mask_a != mask_b))
        share = pixels / mask_a.size
        if share > MAX_DIFFERENCE:
            yield {
                "code": "mask-conflict",
                "tile": pair.a,
                "pair": pair.Index,
                "outline": "",
                "pixels": pixels,
                "share": share,
            }


def _find_masks_on_cordillera(
    table: pd.DataFrame, masks: npt.NDArray[np.uint8], pairs: pd.DataFrame
) -> Iterator[dict[str, Any]]:
    """Yield pairs of a cordillera tile and a mask that shows rock glacier on their ground."""
    is_usable = (table["mask_group"] >= 0).to_numpy()
    is_cordillera = (table["label"] == "cordillera").to_numpy(bool)
    a = pairs["a"].to_numpy()
    b = pairs["b"].to_numpy()
    is_mixed = (is_cordillera[a] & is_usable[b]) | (is_usable[a] & is_cordillera[b])
    rows: Any = pairs[is_mixed].itertuples()
    for pair in rows:
        # The mask of the cordillera tile is all background.
        mask_b = oriented(masks[pair.b], pair.orientation)
        mask_a, mask_b = shared_rectangles(masks[pair.a], mask_b, pair.dx, pair.dy)
        tile = pair.a
        rock_glacier = mask_b
        if is_cordillera[pair.b]:
            tile = pair.b
            rock_glacier = mask_a
        pixels = int(np.count_nonzero(rock_glacier))
        if pixels >= MIN_PIXELS:
            yield _describe_label_conflict(tile, pixels, pair=pair.Index)


def _find_outlines_on_cordillera(table: pd.DataFrame, outlines: Any) -> Iterator[dict[str, Any]]:
    """Yield cordillera tiles whose footprint holds a part of an outline."""
    tiles = table[(table["label"] == "cordillera") & table["easting"].notna()]
    names = outlines["name"].to_list()
    for zone, located in tiles.groupby("epsg"):
        shapes = outlines.geometry.to_crs(int(zone)).to_numpy()
        footprints = footprint_squares(located["easting"], located["northing"])
        tree = shapely.STRtree(footprints)
        outline_rows, tile_rows = tree.query(shapes, predicate="intersects")
        shared = shapely.intersection(shapes[outline_rows], footprints[tile_rows])
        pixels = np.rint(shapely.area(shared) / PIXEL**2).astype(int)
        for number in np.flatnonzero(pixels >= MIN_PIXELS):
            tile = located.index[tile_rows[number]]
            outline = names[outline_rows[number]]
            yield _describe_label_conflict(tile, int(pixels[number]), outline=outline)


def _describe_label_conflict(
    tile: int, pixels: int, *, pair: int = -1, outline: str = ""
) -> dict[str, Any]:
    return {
        "code": "label-conflict",
        "tile": tile,
        "pair": pair,
        "outline": outline,
        "pixels": pixels,
        "share": pixels / TILE_SIZE**2,
    }
