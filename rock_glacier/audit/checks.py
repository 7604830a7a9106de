"""Check the tiles of a folder of archives and collect all faults.

`TileSet.read` has already checked the archives, names, PNG files, masks and manifest. This module
compares tiles with each other and with the tile index of the folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rock_glacier.audit.duplicates import find_duplicates
from rock_glacier.faults import ERROR, severity_of, sort_faults
from rock_glacier.index import INDEX_NAME, check_index, make_index, read_index
from rock_glacier.output import count
from rock_glacier.sites import Sites
from rock_glacier.sites.orientations import COMPOSED, MATRICES
from rock_glacier.sites.placement import TOLERANCE
from rock_glacier.tiles import TileSet
from rock_glacier_dataset import ArchiveError, Fault

# Columns that the audit measures. All others are kept from a tile index that fits.
_MEASURED = ["path", "split", "label", "mask_share"]

# Columns that place a tile.
_POSITION = ["site", "block", "x", "y", "orientation"]

# Columns of the JSON report about pairs.
_JSON_COLUMNS = ["a", "b", "kind", "kinds", "orientation", "dx", "dy", "pixels", "correlation"]

# Codes of faults about tiles of different splits that share ground.
_SPLIT_CODES = ("overlap-across-splits", "match-across-splits")

_SPLIT_FIX = "Put both tiles into one split"


@dataclass(frozen=True)
class Audit:
    """Result of an audit.

    Attributes:
        counts: Number of tiles of each class in each split, `{split: {class: n}}`.
        faults: All faults, in the order of reports.
        table: One row per tile that can be decoded, in the order of the archives: the columns of
            `TileSet.table`, the position (`site`, `block`, `x`, `y`, `orientation`), and the
            `place` of the tile in faults.
        pairs: One row per pair of tiles that share ground. `a` and `b` are row numbers of `table`.
            `across` is true if the tiles are in different splits. Other columns: `kind`,
            `orientation`, `dx`, `dy`, `pixels`, `correlation` (NaN if it was not computed).
        index: The tile index, see `rock_glacier.index`.
        contradictions: Number of pairs that contradict stronger ones and were not used to place
            tiles.
        has_matches: Whether matches were searched for.
    """

    counts: dict[str, dict[str, int]]
    faults: list[Fault]
    table: pd.DataFrame
    pairs: pd.DataFrame
    index: pd.DataFrame
    contradictions: int = 0
    has_matches: bool = True

    @property
    def errors(self) -> int:
        """Number of faults of severity "error"."""
        return sum(severity_of(fault) == ERROR for fault in self.faults)

    @property
    def warnings(self) -> int:
        """Number of faults of severity "warning"."""
        return len(self.faults) - self.errors

    @property
    def has_shared_ground(self) -> bool:
        """Whether tiles of different splits share ground."""
        return any(fault.code in _SPLIT_CODES for fault in self.faults)

    def to_json(self) -> dict[str, Any]:
        """Return the report as an object that `json` can write."""
        return {
            "tiles": self.counts,
            "sites": int(self.table["site"].nunique()),
            "located": None,
            "faults": [_fault_to_json(fault) for fault in self.faults],
            "pairs": _pairs_to_json(self.pairs, self.table),
            "location": None,
            "geography": None,
        }


def check(tiles: TileSet, sites: Sites, *, matches: bool = True) -> Audit:
    """Check tiles, and keep the positions of the folder's tile index if it fits.

    Args:
        tiles: All tiles of a folder of archives.
        sites: Their sites.
        matches: Whether `sites` includes matches; for reports only.

    Raises:
        OSError: If the tile index of the folder cannot be read.
    """
    table = pd.concat([tiles.table, sites.table], axis=1).assign(block=0)
    table["place"] = table["archive"] + ": " + table["path"]
    splits = table["split"].to_numpy()
    across = splits[sites.pairs["a"].to_numpy()] != splits[sites.pairs["b"].to_numpy()]
    pairs = sites.pairs.assign(across=across)
    faults = [*tiles.faults, *_find_split_faults(pairs, table)]
    faults.extend(_find_duplicate_faults(find_duplicates(tiles), pairs, table))

    index_file = tiles.folder / INDEX_NAME
    if index_file.is_file():
        try:
            index = read_index(index_file)
            index_faults = _find_index_faults(index, sites, table["path"])
        except ArchiveError as error:
            index_faults = [error.fault]
        if not index_faults:
            table = _keep_positions(table, index)
        faults.extend(index_faults)

    return Audit(
        counts=tiles.counts,
        faults=sort_faults(faults),
        table=table,
        pairs=pairs,
        index=make_index(table),
        contradictions=len(sites.contradictions),
        has_matches=matches,
    )


def _rows(frame: pd.DataFrame) -> Iterator[Any]:
    """Yield the rows as named tuples, as Any: the stubs of pandas do not know their fields."""
    return frame.itertuples()


def _find_split_faults(pairs: pd.DataFrame, table: pd.DataFrame) -> Iterator[Fault]:
    """Report pairs whose tiles are in different splits."""
    paths = table["path"].to_list()
    places = table["place"].to_list()
    for pair in _rows(pairs[pairs["across"]]):
        if pair.kind == "overlap":
            code = "overlap-across-splits"
            problem = f"overlaps {paths[pair.b]} on {pair.pixels:,} pixels"
        else:
            code = "match-across-splits"
            correlation = f"correlation {pair.correlation:.2f}"
            problem = f"shows the same ground as {paths[pair.b]} ({correlation})"
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


def _find_index_faults(index: pd.DataFrame, sites: Sites, paths: pd.Series) -> list[Fault]:
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
    indexed = index.set_index("path").loc[paths, _POSITION].astype(np.int64)
    unit = indexed[["site", "block"]].to_numpy()
    position = indexed[["x", "y"]].to_numpy()
    orientation = indexed["orientation"].to_numpy()
    is_used = ~pairs.index.isin(sites.contradictions.index)
    composed = COMPOSED[orientation[a], pairs["orientation"]]
    shifts = np.einsum("nij,nj->ni", MATRICES[orientation[a]], pairs[["dx", "dy"]].to_numpy())
    missed = np.abs(position[a] + shifts - position[b]).max(1, initial=0)
    differences = {
        "different sites": unit[a, 0] != unit[b, 0],
        "different blocks": unit[a, 1] != unit[b, 1],
        "wrong orientations": is_used & (composed != orientation[b]),
        "a wrong offset": is_used & (missed > TOLERANCE),
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
        kinds=pairs["kind"].map(lambda kind: [kind]),
        correlation=correlations.where(correlations.notna(), None),
    )
    return rows[_JSON_COLUMNS].to_dict("records")
