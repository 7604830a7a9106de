"""Pairs of tiles that share ground, of all kinds: add those of footprints, and count them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from rock_glacier.sites.placement import TOLERANCE

KINDS = ("overlap", "mask-overlap", "match", "footprint")
"""Kinds of pairs, the strongest first."""


def add_footprint_pairs(pairs: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Add the pairs of tiles whose footprints intersect.

    Args:
        pairs: The pairs of `Sites.pairs`; other columns are kept.
        table: A row for each tile, located or not, with the columns of the tile index.

    Returns:
        The pairs, sorted by `a` and `b`, one row per pair. If a pair is known and the footprints
        agree with its link, "footprint" is added to its `kinds`.
    """
    from rock_glacier.places.footprints import find_footprint_pairs  # TODO top

    footprints = find_footprint_pairs(table)
    links = ["orientation", "dx", "dy"]
    known = pairs.merge(footprints[["a", "b", *links]], "left", ["a", "b"], suffixes=("", "_2"))
    agrees = known["orientation"] == known["orientation_2"]
    for name in ("dx", "dy"):
        agrees &= (known[name] - known[f"{name}_2"]).abs() <= TOLERANCE
    kinds = pairs["kinds"].to_list()
    for row in np.flatnonzero(agrees):
        kinds[row] = [*kinds[row], "footprint"]
    known = pairs.assign(kinds=kinds)

    is_known = pd.MultiIndex.from_frame(footprints[["a", "b"]]).isin(
        pd.MultiIndex.from_frame(pairs[["a", "b"]])
    )
    new = footprints[~is_known].assign(votes=0, correlation=np.nan, steps=0)
    new["kinds"] = [["footprint"] for _ in range(len(new))]
    if new.empty:
        return known
    merged = pd.concat([known, new[known.columns]], ignore_index=True)
    return merged.astype(pairs.dtypes).sort_values(["a", "b"], ignore_index=True)


def count_pairs(pairs: pd.DataFrame) -> pd.DataFrame:
    """Count pairs by kind.

    Args:
        pairs: Columns `kinds` and `across`, whether the tiles are in different splits.

    Returns:
        A row for each of `KINDS`: the number of pairs that were found so `within` a split and
        `across` splits, and the number that were found so `alone`.
    """
    rows = pairs[["kinds", "across"]].assign(alone=pairs["kinds"].map(len) == 1).explode("kinds")
    across = rows["across"].astype(bool)
    numbers = {
        "within": rows["kinds"][~across].value_counts(),
        "across": rows["kinds"][across].value_counts(),
        "alone": rows["kinds"][rows["alone"].astype(bool)].value_counts(),
    }
    return pd.DataFrame(numbers, index=list(KINDS)).fillna(0).astype(int)


def count_single_links(pairs: pd.DataFrame) -> int:
    """Count the tiles that only one pair connects to other tiles.

    A site that hangs on a wrong link cannot be told from others, because nothing contradicts it.
    Pairs that only footprints show are not counted, because they do not place tiles.

    Args:
        pairs: Columns `a`, `b` and `kind`.
    """
    links = pairs[pairs["kind"] != "footprint"]
    numbers = pd.concat([links["a"], links["b"]]).value_counts()
    return int((numbers == 1).sum())
