"""Geography of the splits: how much ground each split covers, and how far apart splits are."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from rock_glacier.places.footprints import FOOTPRINT_WIDTH, footprint_squares
from rock_glacier_dataset import SPLIT_NAMES

TILE_KM2 = FOOTPRINT_WIDTH**2 / 1e6
"""Area of a footprint in square kilometres."""

DISTANCES = (0, 100, 1_000)
"""Distances in metres for which close tiles are counted."""


@dataclass(frozen=True)
class Geography:
    """Ground of the located tiles of each split, and distances between splits.

    Attributes:
        splits: A row for each split that has located tiles, by its name: numbers of located
            `tiles`, of their `sites` and `blocks`, and of the `outlines` that they show;
            `area_km2`, the area of all footprints together; `area_in_tiles`, the number of tiles
            that this area amounts to; `coverage`, how often a point is covered on average.
        pairs: A row for each pair of such splits: their names `a` and `b`; `distance_m`, the
            smallest distance between footprints; `closer_than_0_m`, the number of tiles of both
            splits whose footprint shares area with one of the other split; `closer_than_100_m`
            and `closer_than_1000_m`, the number of tiles of both splits whose distance to the
            nearest footprint of the other split is smaller.
    """

    splits: pd.DataFrame
    pairs: pd.DataFrame

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as an object that `json` can write."""
        return {"splits": self.splits.to_dict("index"), "pairs": self.pairs.to_dict("records")}


def describe_geography(table: pd.DataFrame) -> Geography | None:
    """Measure areas and distances of the splits.

    If tiles are in several UTM zones, all are measured in the zone of most tiles.

    Args:
        table: A row for each tile, with the columns `split`, `site`, `block`, `outlines`, `epsg`,
            `easting` and `northing` of the tile index.

    Returns:
        The numbers, or None if no tile is located.
    """
    located = table[table["easting"].notna()]
    if located.empty:
        return None
    footprints = _make_footprints(located)
    names = [split for split in SPLIT_NAMES if (located["split"] == split).any()]
    rows = {split: (located["split"] == split).to_numpy(bool) for split in names}
    splits = {
        split: _describe_split(located[rows[split]], footprints[rows[split]]) for split in names
    }
    pairs = [
        {"a": a, "b": b, **_compare(footprints[rows[a]], footprints[rows[b]])}
        for a, b in itertools.combinations(names, 2)
    ]
    columns = ["a", "b", "distance_m", *(_name_column(distance) for distance in DISTANCES)]
    return Geography(pd.DataFrame.from_dict(splits, "index"), pd.DataFrame(pairs, columns=columns))


def _name_column(distance: int) -> str:
    return f"closer_than_{distance}_m"


def _make_footprints(located: pd.DataFrame) -> npt.NDArray[Any]:
    """Return the footprints as shapely polygons, in the UTM zone of most tiles."""
    zones = located["epsg"].astype(int)
    footprints = footprint_squares(located["easting"], located["northing"])
    main_zone = zones.mode().iloc[0]
    for zone in set(zones) - {main_zone}:
        is_there = (zones == zone).to_numpy()
        series = geopandas.GeoSeries(footprints[is_there], crs=zone)
        footprints[is_there] = series.to_crs(main_zone).to_numpy()
    return footprints


def _describe_split(tiles: pd.DataFrame, footprints: npt.NDArray[Any]) -> dict[str, float]:
    """Return the row of a split in `Geography.splits`."""
    area = float(shapely.union_all(footprints).area) / 1e6
    return {
        "tiles": len(tiles),
        "sites": int(tiles["site"].nunique()),
        "blocks": len(tiles[["site", "block"]].drop_duplicates()),
        "outlines": len(set(itertools.chain.from_iterable(tiles["outlines"]))),
        "area_km2": round(area, 3),
        "area_in_tiles": round(area / TILE_KM2, 1),
        "coverage": round(len(tiles) * TILE_KM2 / area, 2),
    }


def _compare(footprints_a: npt.NDArray[Any], footprints_b: npt.NDArray[Any]) -> dict[str, float]:
    """Return the numbers of two splits in `Geography.pairs`."""
    distances = np.concatenate(
        [_measure(footprints_a, footprints_b), _measure(footprints_b, footprints_a)]
    )
    numbers: dict[str, float] = {"distance_m": round(max(float(distances.min()), 0.0), 1)}
    for distance in DISTANCES:
        numbers[_name_column(distance)] = int((distances < distance).sum())
    return numbers


def _measure(footprints: npt.NDArray[Any], others: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return each footprint's distance to the nearest of the others in metres.

    The distance is 0 if they only touch, and -1 if they share area.
    """
    tree = shapely.STRtree(others)
    _, distances = tree.query_nearest(footprints, return_distance=True, all_matches=False)
    rows, other_rows = tree.query(footprints, predicate="intersects")
    shares_area = ~shapely.touches(footprints[rows], others[other_rows])
    distances[rows[shares_area]] = -1
    return np.asarray(distances, np.float64)
