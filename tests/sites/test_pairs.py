"""Pairs of several kinds are joined to one row per pair."""

from __future__ import annotations

import numpy as np
import pandas as pd

from rock_glacier.sites.orientations import ORIENTATIONS, inverse_link
from rock_glacier.sites.pairs import (
    add_pairs,
    count_found_alone,
    find_single_links,
    make_pairs,
    sort_ends,
)

TYPES = ["int64", "int64", "string", "object", *["int64"] * 5, "float64", "int64"]


def found(*rows, **evidence):
    """Make pairs of one kind from rows of a, b, orientation, dx, dy."""
    columns = ["a", "b", "orientation", "dx", "dy"]
    frame = pd.DataFrame(np.array(rows).reshape(-1, 5), columns=columns)
    return frame.assign(pixels=1_000, **evidence)


def make_example():
    pairs = make_pairs(found((0, 1, 3, 10, -7), (2, 5, 0, 0, 9)), "overlap")
    masks = found((0, 1, 3, 10, -7), (0, 4, 1, 5, 5), steps=150)
    pairs = add_pairs(pairs, masks, "mask-overlap")
    matches = found((0, 1, 3, 15, -7), (0, 4, 1, 5, 13), (2, 5, 1, 0, 9), (3, 4, 0, 1, 1))
    return add_pairs(pairs, matches.assign(votes=4, correlation=0.5), "match")


def test_a_row_lists_the_kinds_that_agree():
    pairs = make_example()
    assert pairs[["a", "b"]].to_numpy().tolist() == [[0, 1], [0, 4], [2, 5], [3, 4]]
    assert pairs["kind"].tolist() == ["overlap", "mask-overlap", "overlap", "match"]
    assert pairs["kinds"].tolist() == [
        ["overlap", "mask-overlap", "match"],
        ["mask-overlap"],  # the match is 8 pixels away
        ["overlap"],  # the match has another orientation
        ["match"],
    ]


def test_a_row_has_the_strongest_link_and_the_evidence_of_each_kind():
    pairs = make_example()
    assert pairs.loc[0, ["orientation", "dx", "dy"]].tolist() == [3, 10, -7]
    assert pairs["steps"].tolist() == [150, 150, 0, 0]
    assert pairs["votes"].tolist() == [4, 0, 0, 4]
    assert pairs["correlation"].fillna(-1).tolist() == [0.5, -1, -1, 0.5]
    assert [str(dtype) for dtype in pairs.dtypes] == TYPES


def test_no_pairs_can_be_joined():
    pairs = add_pairs(make_pairs(found(), "overlap"), found(), "footprint")
    assert pairs.empty
    assert [str(dtype) for dtype in pairs.dtypes] == TYPES
    assert len(add_pairs(pairs, found((0, 1, 0, 0, 0)), "footprint")) == 1


def test_pairs_are_turned_round_if_their_first_tile_is_later():
    rows = [(9, n, n, 10 * n, -7) if n % 2 else (n, 9, n, 10 * n, -7) for n in ORIENTATIONS]
    ordered = sort_ends(make_pairs(found(*rows), "overlap"))
    expected = [
        row if row[0] < row[1] else (row[1], row[0], *inverse_link(*row[2:])) for row in rows
    ]
    columns = ["a", "b", "orientation", "dx", "dy"]
    assert list(ordered[columns].itertuples(index=False, name=None)) == expected
    assert [str(dtype) for dtype in ordered.dtypes] == TYPES


def test_pairs_found_by_one_kind_are_counted():
    counts = count_found_alone(make_example())
    assert counts.to_dict() == {"overlap": 1, "mask-overlap": 1, "match": 1, "footprint": 0}


def test_tiles_with_one_pair_are_found():
    assert find_single_links(7, make_example()).tolist() == [0, 1, 1, 1, 0, 1, 0]
