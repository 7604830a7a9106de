"""Check the tiles of a folder of archives and collect all faults.

`TileSet.read` has already checked the archives, names, PNG files, masks and manifest. This module
compares tiles with each other and with the tile index of the folder, and locates them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rock_glacier.audit.duplicates import find_duplicates
from rock_glacier.audit.geography import Geography, describe_geography
from rock_glacier.audit.labels import find_conflict_faults, find_conflicts
from rock_glacier.faults import ERROR, severity_of, sort_faults
from rock_glacier.index import INDEX_NAME, check_index, make_index, read_index
from rock_glacier.output import count
from rock_glacier.parallel import Workers
from rock_glacier.places.footprints import find_footprint_pairs
from rock_glacier.places.locate import locate_tiles
from rock_glacier.places.outlines import PIXEL
from rock_glacier.sites import Sites
from rock_glacier.sites.pairs import add_pairs
from rock_glacier.sites.placement import TOLERANCE, measure_misfits
from rock_glacier.tiles import TileSet
from rock_glacier_dataset import ArchiveError, Fault

# Columns that the audit measures. All others are kept from a tile index that fits.
_MEASURED = ["path", "split", "label", "mask_share"]

# Columns that place a tile.
_POSITION = ["site", "block", "x", "y", "orientation"]

# Columns that locate a tile on the map.
_LOCATION_COLUMNS = [
    "longitude",
    "latitude",
    "epsg",
    "easting",
    "northing",
    "located_by",
    "outlines",
    "geometry",
]

# Reason if the tile index has no location for a tile.
_NOT_IN_INDEX = "no coordinates in tiles.parquet"

# Columns of the JSON report about pairs.
_JSON_COLUMNS = ["a", "b", "kind", "kinds", "orientation", "dx", "dy", "pixels", "correlation"]

SPLIT_CODES = ("overlap-across-splits", "match-across-splits")
"""Codes of faults about tiles of different splits that share ground."""

_SPLIT_FIX = "Put both tiles into one split"


@dataclass(frozen=True)
class Audit:
    """Result of an audit.

    Attributes:
        counts: Number of tiles of each class in each split, `{split: {class: n}}`.
        faults: All faults, in the order of reports.
        table: One row per tile that can be decoded, in the order of the archives: the columns of
            `TileSet.table`, the position (`site`, `block`, `x`, `y`, `orientation`), and the
            `place` of the tile in faults. If outlines were given, or the folder's index has
            locations, also the locations as in the tile index, and the `reason` if a tile is not
            located, or "".
        pairs: One row per pair of tiles that share ground: the columns of `Sites.pairs`, and
            `across`, whether the tiles are in different splits, and `is_used`, whether the pair
            agrees with the positions. `a` and `b` are row numbers of `table`.
        index: The tile index, see `rock_glacier.index`.
        conflicts: Labels that contradict each other, see `find_conflicts`. `pair` is an index label
            of `pairs`.
        geography: Areas and distances of the splits, or None if no tile is located.
        has_matches: Whether matches were searched for.
        outlines: The outlines that the tiles were located with, or None.
    """

    counts: dict[str, dict[str, int]]
    faults: list[Fault]
    table: pd.DataFrame
    pairs: pd.DataFrame
    index: pd.DataFrame
    conflicts: pd.DataFrame
    geography: Geography | None = None
    has_matches: bool = True
    outlines: Any = None

    @property
    def errors(self) -> int:
        """Number of faults of severity "error"."""
        return sum(severity_of(fault) == ERROR for fault in self.faults)

    @property
    def warnings(self) -> int:
        """Number of faults of severity "warning"."""
        return len(self.faults) - self.errors

    @property
    def located(self) -> int | None:
        """Number of located tiles, or None if there were neither outlines nor locations."""
        if "reason" not in self.table:
            return None
        return int((self.table["reason"] == "").sum())

    @property
    def unlocated(self) -> dict[str, int] | None:
        """Number of tiles that are not located, by reason, largest first; None as in `located`."""
        if "reason" not in self.table:
            return None
        reasons = self.table["reason"][self.table["reason"] != ""]
        return {str(reason): int(number) for reason, number in reasons.value_counts().items()}

    @property
    def has_shared_ground(self) -> bool:
        """Whether tiles of different splits share ground."""
        return any(fault.code in SPLIT_CODES for fault in self.faults)

    def to_json(self) -> dict[str, Any]:
        """Return the report as an object that `json` can write."""
        location = None
        if self.unlocated is not None:
            location = {"located": self.located, "unlocated": self.unlocated}
        geography = None
        if self.geography is not None:
            geography = self.geography.to_json()
        return {
            "tiles": self.counts,
            "sites": int(self.table["site"].nunique()),
            "located": self.located,
            "faults": [_fault_to_json(fault) for fault in self.faults],
            "pairs": _pairs_to_json(self.pairs, self.table),
            "location": location,
            "geography": geography,
        }


def check(
    tiles: TileSet,
    sites: Sites,
    *,
    outlines: Any = None,
    matches: bool = True,
    workers: Workers | None = None,
) -> Audit:
    """Check tiles and locate them.

    If the folder has a tile index that fits, its positions and blocks are kept, and its locations
    too if no outlines are given.

    Args:
        tiles: All tiles of a folder of archives.
        sites: Their sites.
        outlines: Rock glaciers to locate the tiles with, as `read_outlines` returns them, or None.
        matches: Whether `sites` includes matches; for reports only.
        workers: Processes that locate tiles. Default: one for each core.

    Raises:
        InputError: If outlines are given, but no tile has a mask.
        OSError: If the tile index of the folder cannot be read.
    """
    table = pd.concat([tiles.table, sites.table], axis=1).assign(block=0)
    table["place"] = table["archive"] + ": " + table["path"]
    faults = [*tiles.faults, *sites.faults]
    index, index_faults = _read_fitting_index(tiles, sites)
    faults += index_faults
    if index is not None:
        table = _keep_positions(table, index)
    if outlines is not None:
        table = table.drop(columns=_LOCATION_COLUMNS, errors="ignore")
        location = locate_tiles(tiles, table, outlines, workers or Workers())
        table = location.table
        faults += location.faults
    elif index is not None and index["easting"].notna().any():
        table["reason"] = np.where(table["easting"].isna(), _NOT_IN_INDEX, "")

    pairs = _collect_pairs(sites, table)
    faults += _find_split_faults(pairs, table)
    duplicates = find_duplicates(tiles)
    faults += _find_duplicate_faults(duplicates, pairs, table)
    conflicts = _find_conflicts(tiles, table, pairs, duplicates, outlines)
    faults += find_conflict_faults(conflicts, pairs, table)
    return Audit(
        counts=tiles.counts,
        faults=sort_faults(faults),
        table=table,
        pairs=pairs,
        index=make_index(table),
        conflicts=conflicts,
        geography=_describe_geography(table),
        has_matches=matches,
        outlines=outlines,
    )


def _read_fitting_index(tiles: TileSet, sites: Sites) -> tuple[pd.DataFrame | None, list[Fault]]:
    """Return the tile index of the folder, or None and faults if it does not fit the tiles."""
    index_file = tiles.folder / INDEX_NAME
    if not index_file.is_file():
        return None, []
    try:
        index = read_index(index_file)
    except ArchiveError as error:
        return None, [error.fault]
    faults = find_index_faults(index, sites, tiles.table["path"])
    if faults:
        return None, faults
    return index, []


def _collect_pairs(sites: Sites, table: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs of sites and footprints, with the columns `across` and `is_used`."""
    pairs = sites.pairs
    if "reason" in table:
        pairs = add_pairs(pairs, find_footprint_pairs(table), "footprint")
    splits = table["split"].to_numpy()
    across = splits[pairs["a"].to_numpy()] != splits[pairs["b"].to_numpy()]
    contradictions = pd.MultiIndex.from_frame(sites.contradictions[["a", "b"]])
    is_used = ~pd.MultiIndex.from_frame(pairs[["a", "b"]]).isin(contradictions)
    return pairs.assign(across=across, is_used=is_used)


def _find_conflicts(
    tiles: TileSet,
    table: pd.DataFrame,
    pairs: pd.DataFrame,
    duplicates: pd.DataFrame,
    outlines: Any,
) -> pd.DataFrame:
    """Find labels that contradict each other, except of duplicates, which are other faults."""
    is_duplicate = pd.MultiIndex.from_frame(pairs[["a", "b"]]).isin(
        pd.MultiIndex.from_frame(duplicates[["a", "b"]])
    )
    checked = pairs[pairs["is_used"] & ~is_duplicate]
    return find_conflicts(table, tiles.masks, checked, outlines)


def _describe_geography(table: pd.DataFrame) -> Geography | None:
    if "reason" not in table:
        return None
    return describe_geography(table)


def _rows(frame: pd.DataFrame) -> Iterator[Any]:
    """Yield the rows as named tuples, as Any: the stubs of pandas do not know their fields."""
    return frame.itertuples()


def _find_split_faults(pairs: pd.DataFrame, table: pd.DataFrame) -> Iterator[Fault]:
    """Report pairs whose tiles are in different splits."""
    paths = table["path"].to_list()
    places = table["place"].to_list()
    for pair in _rows(pairs[pairs["across"]]):
        code = "match-across-splits"
        if pair.kind == "overlap":
            code = "overlap-across-splits"
            problem = f"overlaps {paths[pair.b]} on {pair.pixels:,} pixels"
        elif pair.kind == "mask-overlap":
            problem = f"its mask overlaps the mask of {paths[pair.b]} on {pair.pixels:,} pixels"
        elif pair.kind == "match":
            correlation = f"correlation {pair.correlation:.2f}"
            problem = f"shows the same ground as {paths[pair.b]} ({correlation})"
        else:
            pixels = f"{pair.pixels:,} pixels"
            problem = f"its footprint and the footprint of {paths[pair.b]} share {pixels}"
        yield Fault(code, places[pair.a], problem, _SPLIT_FIX)


def _find_duplicate_faults(
    duplicates: pd.DataFrame, pairs: pd.DataFrame, table: pd.DataFrame
) -> Iterator[Fault]:
    """Report tiles with the same pixels.

    In different splits, they are an `overlap-across-splits`. Overlaps were already reported; tiles
    of few colours are reported here, because they do not overlap by definition. Tiles with
    different labels or masks are also reported as `duplicate-pixels`.
    """
    splits = table["split"].to_list()
    labels = table["label"].to_list()
    paths = table["path"].to_list()
    places = table["place"].to_list()
    reported = set(zip(pairs["a"][pairs["across"]], pairs["b"][pairs["across"]], strict=True))
    for pair in _rows(duplicates):
        is_across = splits[pair.a] != splits[pair.b]
        problem = f"has the same pixels as {paths[pair.b]}"
        if pair.orientation:
            problem += " in another orientation"
        if is_across and (pair.a, pair.b) not in reported:
            yield Fault("overlap-across-splits", places[pair.a], problem, _SPLIT_FIX)
        if labels[pair.a] != labels[pair.b]:
            problem += ", but another label"
            fix = "Keep the tile with the correct label"
        elif pair.masks_differ:
            problem += ", but another mask"
            fix = "Keep the tile with the correct mask"
        elif is_across:
            continue
        else:
            fix = "Remove one of the tiles"
        yield Fault("duplicate-pixels", places[pair.a], problem, fix)


def find_index_faults(index: pd.DataFrame, sites: Sites, paths: pd.Series) -> list[Fault]:
    """Report an index of other tiles, or one whose positions do not fit the pairs.

    Tiles that no pair connects may be in one site of the index, because `build` may have dropped
    the tiles between them.
    """
    faults = check_index(index, paths)
    if faults:
        return faults
    pairs = sites.pairs
    a = pairs["a"].to_numpy()
    b = pairs["b"].to_numpy()
    # Differences of wrong positions may be too large for int32.
    indexed = index.set_index("path").loc[paths]
    positions = indexed[_POSITION].astype(np.int64)
    unit = positions[["site", "block"]].to_numpy()
    is_used = ~pairs.index.isin(sites.contradictions.index)
    differences = {
        "different sites": unit[a, 0] != unit[b, 0],
        "different blocks": unit[a, 1] != unit[b, 1],
        "wrong positions": is_used & (measure_misfits(positions, pairs) > TOLERANCE),
        "wrong coordinates": is_used & (_measure_on_map(indexed, pairs) > TOLERANCE),
    }
    difference = np.select(list(differences.values()), list(differences), default="")
    wrong = np.flatnonzero(difference)
    if not len(wrong):
        return []
    first = wrong[0]
    problem = (
        f"does not fit {count(len(wrong), 'pair')} of tiles that share ground, such as "
        f"{paths[a[first]]} and {paths[b[first]]}: it lists {difference[first]}"
    )
    fix = f"Write {INDEX_NAME} again: rock-glacier audit DATA_DIR --index FILE"
    return [Fault("index-mismatch", INDEX_NAME, problem, fix)]


def _measure_on_map(index: pd.DataFrame, pairs: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return the differences between links and coordinates in pixels, 0 without coordinates."""
    placed = pd.DataFrame(
        {
            "site": index["epsg"].fillna(0).astype(np.int64),
            "x": index["easting"].fillna(0).astype(np.float64) / PIXEL,
            "y": index["northing"].fillna(0).astype(np.float64) / -PIXEL,
            "orientation": index["orientation"].astype(np.int64),
        }
    )
    is_located = placed["site"].to_numpy() > 0
    are_located = is_located[pairs["a"]] & is_located[pairs["b"]]
    return np.where(are_located, measure_misfits(placed, pairs), 0)


def _keep_positions(table: pd.DataFrame, index: pd.DataFrame) -> pd.DataFrame:
    """Replace the positions of tiles by the positions of an index that fits.

    After `build` dropped the tiles between two blocks, nothing connects the blocks, so only the
    index knows that they are parts of one site.
    """
    kept = index.set_index("path").loc[table["path"]].reset_index()
    kept = kept.drop(columns=_MEASURED)
    return pd.concat([table.drop(columns=kept.columns, errors="ignore"), kept], axis=1)


def _fault_to_json(fault: Fault) -> dict[str, str]:
    return {
        "code": fault.code,
        "severity": severity_of(fault),
        "place": fault.place,
        "problem": fault.problem,
        "fix": fault.fix,
    }


def _pairs_to_json(pairs: pd.DataFrame, table: pd.DataFrame) -> list[dict[str, Any]]:
    paths = table["path"].to_numpy(object)
    correlations = pairs["correlation"].astype(object)
    rows = pairs.assign(
        a=paths[pairs["a"]],
        b=paths[pairs["b"]],
        correlation=correlations.where(correlations.notna(), None),
    )
    return rows[_JSON_COLUMNS].to_dict("records")
