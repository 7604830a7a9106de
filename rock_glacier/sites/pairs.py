"""Tables of the pairs of tiles that show the same ground, with all kinds of evidence."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from rock_glacier.sites.orientations import INVERSE, MATRICES
from rock_glacier.sites.placement import TOLERANCE

KINDS = ("overlap", "mask-overlap", "match", "footprint")
"""Kinds of pairs, the strongest first."""

_EVIDENCE = {"steps": 0, "votes": 0, "correlation": np.nan}  # columns, and their values if absent

_TYPES = {
    "a": np.int64,
    "b": np.int64,
    "kind": "string",
    "kinds": object,
    "orientation": np.int64,
    "dx": np.int64,
    "dy": np.int64,
    "pixels": np.int64,
    "votes": np.int64,
    "correlation": np.float64,
    "steps": np.int64,
}


def make_pairs(found: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Make a table of pairs from pairs of one kind.

    Args:
        found: A row for each pair: `a`, `b`, `orientation`, `dx`, `dy`, `pixels`, and the evidence
            of this kind in `steps` or in `votes` and `correlation`.
        kind: One of `KINDS`.

    Returns:
        The columns of `Sites.pairs`.
    """
    missing = {name: value for name, value in _EVIDENCE.items() if name not in found}
    kinds = pd.Series([[kind]] * len(found), found.index, object)
    pairs = found.assign(kind=kind, kinds=kinds, **missing)
    return pairs[list(_TYPES)].astype(_TYPES)


def add_pairs(pairs: pd.DataFrame, found: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Add pairs of a weaker kind to a table of pairs.

    If the table has the pair already, its link is kept. The new kind and its evidence are added to
    the row if the two links agree within `TOLERANCE`, and are dropped otherwise.

    Args:
        pairs: Columns of `Sites.pairs`.
        found: See `make_pairs`.
        kind: One of `KINDS`, weaker than those in the table.

    Returns:
        The columns of `Sites.pairs`, sorted by `a` and `b`.
    """
    added = make_pairs(found, kind)
    keys = pd.MultiIndex.from_frame(pairs[["a", "b"]])
    rows = keys.get_indexer(pd.MultiIndex.from_frame(added[["a", "b"]]))
    is_known = rows >= 0
    known = pairs.iloc[rows[is_known]]
    weaker = added[is_known].set_axis(known.index)
    difference = (known[["dx", "dy"]] - weaker[["dx", "dy"]]).abs().max(axis=1)
    agrees = (difference <= TOLERANCE) & (known["orientation"] == weaker["orientation"])
    weaker = weaker[agrees]
    joined = pairs.copy()
    for name in _EVIDENCE:
        if name in found:
            joined.loc[weaker.index, name] = weaker[name]
    kinds = joined["kinds"].loc[weaker.index]
    joined.loc[weaker.index, "kinds"] = kinds.map(lambda stronger: [*stronger, kind])
    joined = pd.concat([joined, added[~is_known]])
    return joined.sort_values(["a", "b"], ignore_index=True)


def sort_ends(pairs: pd.DataFrame) -> pd.DataFrame:
    """Swap the tiles of pairs with `a` > `b`, and invert their links.

    Args:
        pairs: Columns `a`, `b`, `orientation`, `dx` and `dy`.

    Returns:
        The same pairs in the same order, with `a` < `b`.
    """
    is_swapped = (pairs["a"] > pairs["b"]).to_numpy(bool)
    swapped = pairs[is_swapped]
    inverse = INVERSE[swapped["orientation"]]
    offsets = -np.einsum("nij,nj->ni", MATRICES[inverse], swapped[["dx", "dy"]].to_numpy())
    sorted_pairs = pairs.copy()
    sorted_pairs.loc[is_swapped, ["a", "b"]] = swapped[["b", "a"]].to_numpy()
    sorted_pairs.loc[is_swapped, "orientation"] = inverse
    sorted_pairs.loc[is_swapped, ["dx", "dy"]] = offsets
    return sorted_pairs


def count_found_alone(pairs: pd.DataFrame) -> pd.Series:
    """Count the pairs that only one kind of evidence shows: a number for each of `KINDS`."""
    alone = pairs["kind"][pairs["kinds"].map(len) == 1]
    return alone.value_counts().reindex(KINDS, fill_value=0).astype(np.int64)


def find_single_links(tiles: int, pairs: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Find the tiles that only one pair connects to their site.

    Args:
        tiles: Number of tiles.
        pairs: Columns `a` and `b`.

    Returns:
        bool array of shape (tiles,).
    """
    ends = np.concatenate([pairs["a"].to_numpy(np.int64), pairs["b"].to_numpy(np.int64)])
    return np.bincount(ends, minlength=tiles) == 1
