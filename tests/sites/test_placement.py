"""Tiles are placed in their sites, exactly if they overlap."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rock_glacier.sites.orientations import COMPOSED, INVERSE, MATRICES
from rock_glacier.sites.placement import measure_misfits, place_tiles
from rock_glacier_dataset import TILE_SIZE


def make_pair(a, b, orientations, corners, *, error=0, votes=None):
    """Link two tiles, cut at `corners` and then given `orientations`; an overlap without votes."""
    offset = MATRICES[orientations[a]] @ (corners[b] - corners[a]) + error
    return {
        "a": a,
        "b": b,
        "kind": "match" if votes else "overlap",
        "orientation": int(COMPOSED[orientations[a], INVERSE[orientations[b]]]),
        "dx": int(offset[0]),
        "dy": int(offset[1]),
        "pixels": (TILE_SIZE - abs(int(offset[0]))) * (TILE_SIZE - abs(int(offset[1]))),
        "votes": votes or 0,
        "correlation": 0.5 if votes else np.nan,
        "steps": 0,
    }


def frame(pairs):
    types = pd.DataFrame([make_pair(0, 0, [0], np.zeros((1, 2), int))]).dtypes
    return pd.DataFrame(pairs, columns=types.index).astype(types)


def assert_placed(table, orientations, corners, members):
    """Check that tiles are where they were cut, relative to the first, in its orientation."""
    first = members[0]
    assert table["orientation"][first] == 0
    for tile in members:
        shift = MATRICES[orientations[first]] @ (corners[tile] - corners[first])
        placed = table.loc[tile, ["x", "y"]] - table.loc[first, ["x", "y"]]
        assert placed.tolist() == shift.tolist()
        expected = COMPOSED[orientations[first], INVERSE[orientations[tile]]]
        assert table["orientation"][tile] == expected


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), dates=st.integers(1, 3))
def test_tiles_are_placed_where_they_were_cut(seed, dates):
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 400, (40, 2))
    orientations = rng.integers(0, 8, 40)
    date = rng.integers(0, dates, 40)
    near = [
        (a, b)
        for a, b in itertools.combinations(range(40), 2)
        if np.abs(corners[a] - corners[b]).max() < 100
    ]
    votes = [9 * int(date[a] != date[b]) for a, b in near]
    pairs = [
        make_pair(a, b, orientations, corners, votes=number)
        for (a, b), number in zip(near, votes, strict=True)
    ]
    placement = place_tiles(40, frame(pairs))
    table = placement.table
    assert placement.is_used.all()
    for _, members in table.groupby("site"):
        assert_placed(table, orientations, corners, members.index)
        assert (members["x"].min(), members["y"].min()) == (0, 0)
    assert all(table["site"][a] == table["site"][b] for a, b in near)
    assert pd.unique(table["site"]).tolist() == list(range(table["site"].nunique()))


def test_pairs_that_contradict_stronger_ones_are_not_used():
    corners = np.array([(0, 0), (50, 0), (100, 10), (140, 60)])
    orientations = np.array([0, 3, 6, 1])
    good = [make_pair(a, a + 1, orientations, corners, votes=20) for a in range(3)]
    shifted = make_pair(0, 2, orientations, corners, error=20, votes=5)
    rotated = make_pair(1, 3, orientations, corners, votes=5)
    rotated["orientation"] = (rotated["orientation"] + 1) % 8
    placement = place_tiles(4, frame([good[0], shifted, good[1], rotated, good[2]]))
    assert placement.is_used.tolist() == [True, False, True, False, True]
    assert_placed(placement.table, orientations, corners, [0, 1, 2, 3])


def test_errors_of_matches_are_spread_and_overlaps_stay_exact():
    corners = np.array([(60 * number, 0) for number in range(6)])
    upright = np.zeros(6, int)
    errors = {(1, 2): 3, (0, 2): -3, (2, 3): 2, (3, 4): -1, (3, 5): 1}
    pairs = [make_pair(0, 1, upright, corners), make_pair(4, 5, upright, corners)]
    pairs += [
        make_pair(a, b, upright, corners, error=error, votes=9) for (a, b), error in errors.items()
    ]
    placement = place_tiles(6, frame(pairs))
    x = placement.table["x"].to_numpy()
    assert (x[1] - x[0], x[5] - x[4]) == (60, 60)
    assert np.ptp(x - corners[:, 0]) <= 3
    assert placement.is_used.all()


def test_mask_overlaps_are_weaker_than_overlaps_and_stronger_than_matches():
    corners = np.array([(0, 0), (50, 0), (60, 40), (90, 90)])
    upright = np.zeros(4, int)
    overlaps = [make_pair(a, a + 1, upright, corners) for a in (0, 1)]
    wrong = {**make_pair(0, 2, upright, corners, error=30), "kind": "mask-overlap", "steps": 9_999}
    right = {**make_pair(2, 3, upright, corners), "kind": "mask-overlap", "steps": 100}
    match = make_pair(0, 3, upright, corners, error=3, votes=999)
    pairs = frame([wrong, *overlaps, match, right])
    placement = place_tiles(4, pairs)
    assert placement.is_used.tolist() == [False, True, True, True, True]
    assert_placed(placement.table, upright, corners, [0, 1, 2, 3])
    assert measure_misfits(placement.table, pairs).tolist() == [30, 0, 0, 3, 0]


def test_misfits_are_infinite_if_sites_or_orientations_differ():
    corners = np.array([(0, 0), (50, 0), (60, 40)])
    upright = np.zeros(3, int)
    pairs = [make_pair(0, 1, upright, corners), make_pair(0, 2, upright, corners)]
    rotated = {**pairs[0], "orientation": 1}
    table = place_tiles(3, frame(pairs[:1])).table
    assert measure_misfits(table, frame([*pairs, rotated])).tolist() == [0, np.inf, np.inf]


@pytest.mark.parametrize("tiles", [0, 1, 3])
def test_a_tile_without_pairs_is_a_separate_site(tiles):
    table = place_tiles(tiles, frame([])).table
    assert table["site"].tolist() == list(range(tiles))
    assert not table[["x", "y", "orientation"]].any().any()
