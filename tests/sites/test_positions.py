"""Tiles are placed in their grounds, exactly where they overlap."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rock_glacier.grounds.pairs import Overlap, SameGround
from rock_glacier.grounds.positions import place_tiles
from rock_glacier.grounds.turns import COMPOSED, INVERSE, MATRICES
from rock_glacier_dataset import TILE_SIZE


def link(a, b, turns, places, *, off=0, matches=None):
    """Link two tiles that were cut at `places` and then turned."""
    dx, dy = (int(one) + off for one in MATRICES[turns[a]] @ (places[b] - places[a]))
    turn = int(COMPOSED[turns[a], INVERSE[turns[b]]])
    if matches is None:
        return Overlap(a, b, turn, dx, dy, (TILE_SIZE - abs(dx)) * (TILE_SIZE - abs(dy)))
    return SameGround(a, b, turn, dx, dy, matches, 0.5)


def near(places: np.ndarray) -> list[tuple[int, int]]:
    pairs = itertools.combinations(range(len(places)), 2)
    return [(a, b) for a, b in pairs if np.abs(places[a] - places[b]).max() < 100]


def assert_placed(positions, turns, places, members, tolerance=0):
    """Check that tiles lie relative to the first as they were cut, in its frame."""
    first = members[0]
    assert positions.turn[first] == 0
    for tile in members:
        shift = MATRICES[turns[first]] @ (places[tile] - places[first])
        placed = (positions.x[tile] - positions.x[first], positions.y[tile] - positions.y[first])
        assert np.abs(shift - placed).max() <= tolerance
        assert positions.turn[tile] == COMPOSED[turns[first], INVERSE[turns[tile]]]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), dates=st.integers(1, 3))
def test_tiles_lie_where_they_were_cut(seed, dates):
    rng = np.random.default_rng(seed)
    places, turns, date = rng.integers(0, 400, (40, 2)), rng.integers(0, 8, 40), rng.integers(0, dates, 40)
    pairs = near(places)
    overlaps = [link(a, b, turns, places) for a, b in pairs if date[a] == date[b]]
    others = [link(a, b, turns, places, matches=9) for a, b in pairs if date[a] != date[b]]
    positions = place_tiles(40, overlaps, others)
    assert positions.unclosed == []
    for ground in range(positions.ground.max() + 1):
        members = np.flatnonzero(positions.ground == ground)
        assert_placed(positions, turns, places, members)
        assert (positions.x[members].min(), positions.y[members].min()) == (0, 0)
    assert [len(set(positions.ground[list(pair)])) for pair in pairs] == [1] * len(pairs)
    assert sorted(set(positions.ground), key=positions.ground.tolist().index) == sorted(set(positions.ground))


def test_a_link_that_contradicts_stronger_ones_is_left_out_and_reported():
    places, turns = np.array([(0, 0), (50, 0), (100, 10), (140, 60)]), np.array([0, 3, 6, 1])
    good = [link(a, b, turns, places, matches=20) for a, b in [(0, 1), (1, 2), (2, 3)]]
    bad = link(0, 2, turns, places, off=20, matches=5)
    turned_link = link(1, 3, turns, places, matches=5)
    turn_off = turned_link._replace(turn=(turned_link.turn + 1) % 8)
    positions = place_tiles(4, [], [good[0], bad, good[1], turn_off, good[2]])
    assert positions.unclosed == [bad, turn_off]
    assert_placed(positions, turns, places, [0, 1, 2, 3])


def test_errors_of_links_are_spread_and_overlaps_stay_exact():
    places, turns = np.array([(60 * number, 0) for number in range(6)]), np.zeros(6, int)
    overlaps = [link(0, 1, turns, places), link(4, 5, turns, places)]
    off = {(1, 2): 3, (0, 2): -3, (2, 3): 2, (3, 4): -1, (3, 5): 1}
    others = [link(a, b, turns, places, off=error, matches=9) for (a, b), error in off.items()]
    positions = place_tiles(6, overlaps, others)
    assert positions.x.tolist()[1] - positions.x.tolist()[0] == positions.x.tolist()[5] - positions.x.tolist()[4] == 60
    assert np.abs(positions.x - places[:, 0] - (positions.x - places[:, 0]).min()).max() <= 3
    assert positions.unclosed == []


@pytest.mark.parametrize("tiles", [0, 1, 3])
def test_tiles_without_links_are_grounds_of_their_own(tiles):
    positions = place_tiles(tiles, [], [])
    assert positions.ground.tolist() == list(range(tiles))
    assert positions.x.tolist() == positions.y.tolist() == positions.turn.tolist() == [0] * tiles
