"""Assign sites to splits: no pair across, few tiles dropped, ratios near their targets."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies

from rock_glacier.build.splits import (
    DROPPED,
    MATCH_MARGIN,
    Plan,
    count_tiles,
    drop_pairs_across,
    find_missed,
    plan_random,
    plan_sites,
    target_counts,
)
from rock_glacier.faults import InputError
from rock_glacier_dataset import RELEASE_SIZES, TILE_SIZE

RATIOS = tuple(RELEASE_SIZES.values())

NO_PAIRS = pd.DataFrame({"a": [], "b": [], "kind": []})


def make_table(rows: Sequence[tuple[int, int, int, int]]) -> pd.DataFrame:
    """Return tiles, given site, x, y and label of each."""
    return pd.DataFrame(rows, columns=["site", "x", "y", "label"])


def make_site(site: int, tiles: int, width: int, label: int | None = None) -> pd.DataFrame:
    """Return tiles at random places of a square; with both classes if no label is given."""
    rng = np.random.default_rng(site)
    x, y = rng.integers(0, width - TILE_SIZE + 1, (2, tiles))
    labels = rng.integers(0, 2, tiles)
    if label is not None:
        labels[:] = label
    return pd.DataFrame({"site": site, "x": x, "y": y, "label": labels})


def join(*sites: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(sites, ignore_index=True)


def early_tiles() -> pd.DataFrame:
    """Return tiles like the early ones: three places of one class, cut at a stride of 64 pixels."""
    places = {
        (0, 0, 162): ([0, 64, 128, 192, 256, 320, 381], [0, 64, 128, 192, 256, 320, 384, 448, 513]),
        (1, 1, 46): ([0, 14, 78, 118], [2, 45]),
        (2, 1, 92): ([0, 64, 128, 192, 256, 287], [0, 98]),
    }
    rows = []
    for (site, label, tiles), (columns, lines) in places.items():
        corners = itertools.islice(itertools.cycle(itertools.product(columns, lines)), tiles)
        rows += [(site, x, y, label) for x, y in corners]
    return make_table(rows)


def counts_of(plan: Plan, tiles: pd.DataFrame) -> np.ndarray:
    return count_tiles(plan.splits, tiles["label"])


def assert_apart(plan: Plan, tiles: pd.DataFrame, distance: float = 0) -> None:
    """Assert that tiles of two splits of a site have a distance, and are in two blocks."""
    assert ((plan.splits == DROPPED) == (plan.blocks == DROPPED)).all()
    for rows in tiles.groupby("site").indices.values():
        kept = rows[plan.splits[rows] != DROPPED]
        corners = tiles.loc[kept, ["x", "y"]].to_numpy()
        gaps = abs(corners[:, None] - corners).max(axis=-1) - TILE_SIZE
        splits = plan.splits[kept]
        blocks = plan.blocks[kept]
        differ = splits[:, None] != splits
        assert (gaps[differ] >= distance).all()
        assert (differ == (blocks[:, None] != blocks)).all()
        assert set(blocks.tolist()) == set(range(len(set(splits.tolist()))))


@given(
    strategies.lists(
        strategies.tuples(
            strategies.integers(0, 2),
            strategies.integers(0, 900),
            strategies.integers(0, 400),
            strategies.integers(0, 1),
        ),
        min_size=3,
        max_size=60,
    ),
    strategies.sampled_from([0, 7.5, 40]),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_splits_keep_their_distance(rows: list[tuple[int, int, int, int]], buffer: float) -> None:
    tiles = make_table(rows)
    try:
        plan = plan_sites(tiles, NO_PAIRS, RATIOS, buffer=buffer)
    except InputError:
        return
    assert_apart(plan, tiles, buffer)
    again = plan_sites(tiles, NO_PAIRS, RATIOS, buffer=buffer)
    assert again.splits.tolist() == plan.splits.tolist()


def test_small_sites_stay_whole() -> None:
    tiles = join(*(make_site(site, 10, 200) for site in range(30)))
    plan = plan_sites(tiles, NO_PAIRS, RATIOS)
    assert_apart(plan, tiles)
    assert (plan.blocks == 0).all()
    assert not find_missed(counts_of(plan, tiles), RATIOS).any()


def test_sites_of_one_class_meet_the_sizes_of_splits() -> None:
    tiles = join(*(make_site(site, 20, 256, site % 2) for site in range(30)))
    plan = plan_sites(tiles, NO_PAIRS, RATIOS)
    assert_apart(plan, tiles)
    counts = counts_of(plan, tiles)
    targets = target_counts(counts, RATIOS).sum(axis=1)
    assert (abs(counts.sum(axis=1) - targets) <= 0.1 * targets).all()
    assert (plan.splits == DROPPED).mean() <= 0.05


def test_early_tiles_give_every_split_both_classes() -> None:
    tiles = early_tiles()
    plan = plan_sites(tiles, NO_PAIRS, RATIOS)
    assert_apart(plan, tiles)
    assert counts_of(plan, tiles).all()
    assert (plan.splits == DROPPED).mean() <= 0.3
    assert (plan.splits[tiles["site"] == 1] == plan.splits[tiles["site"] == 1][0]).all()


@pytest.mark.parametrize("labels", [[None] * 5, [0, 0, 0, 1, 1]], ids=["mixed", "one class each"])
def test_large_sites_are_cut_to_the_targets(labels: list[int | None]) -> None:
    tiles = join(*(make_site(site, 300, 4000, label) for site, label in enumerate(labels)))
    plan = plan_sites(tiles, NO_PAIRS, RATIOS)
    assert_apart(plan, tiles)
    assert not find_missed(counts_of(plan, tiles), RATIOS).any()
    assert (plan.splits == DROPPED).mean() <= 0.05


def test_a_single_site_is_cut_across_its_classes() -> None:
    """Classes side by side along x need lines along the other axis."""
    tiles = make_site(0, 1000, 4000)
    tiles["label"] = (tiles["x"] > 2000).astype(int)
    plan = plan_sites(tiles, NO_PAIRS, RATIOS)
    assert_apart(plan, tiles)
    counts = counts_of(plan, tiles)
    targets = target_counts(counts, RATIOS)
    assert (abs(counts - targets) <= 0.2 * targets).all()


def brute_force(tiles: pd.DataFrame, ratios: Sequence[float]) -> float:
    """Return the least departure from the targets of all cuts that drop no tile of one site."""
    best = np.inf
    targets = target_counts([[len(tiles)], [0], [0]], ratios)[:, 0]
    lines = range(-50, 2001, 200)
    for axis, order in itertools.product("xy", itertools.permutations(range(3))):
        start = tiles[axis].to_numpy()
        end = start + TILE_SIZE
        for low, high in itertools.combinations_with_replacement(lines, 2):
            strips = [end <= low, (start >= low) & (end <= high), start >= high]
            counts = np.zeros(3)
            counts[list(order)] = [strip.sum() for strip in strips]
            if counts.sum() == len(tiles) and counts.all():
                best = min(best, float((abs(counts - targets) / targets).sum()))
    return best


@pytest.mark.parametrize("ratios", [(1, 1, 1), (5, 2, 3), (1, 6, 3), (6, 3, 1)])
@pytest.mark.parametrize("clumps", [[1] * 10, [6, 1, 3]])
def test_the_best_of_all_cuts_is_found(clumps: list[int], ratios: Sequence[float]) -> None:
    """Tiles at the same place cannot be cut apart."""
    tiles = make_table([(0, 200 * n, 0, 0) for n, size in enumerate(clumps) for _ in range(size)])
    plan = plan_sites(tiles, NO_PAIRS, ratios)
    assert not (plan.splits == DROPPED).any()
    counts = count_tiles(plan.splits, tiles["label"])[:, 0]
    targets = target_counts([[10], [0], [0]], ratios)[:, 0]
    assert (abs(counts - targets) / targets).sum() == pytest.approx(brute_force(tiles, ratios))


def test_sites_with_matches_get_a_margin() -> None:
    """Positions by matches are not exact, so tiles that touch may share ground."""
    rows = [(0, TILE_SIZE * column, 0, column % 2) for column in range(40)]
    tiles = make_table(rows)
    exact = plan_sites(tiles, pd.DataFrame({"a": [0], "b": [1], "kind": ["overlap"]}), (1, 1, 1))
    inexact = plan_sites(tiles, pd.DataFrame({"a": [0], "b": [1], "kind": ["match"]}), (1, 1, 1))
    assert (exact.splits != DROPPED).all()
    assert (inexact.splits == DROPPED).sum() == 2
    assert_apart(inexact, tiles, 2 * MATCH_MARGIN)


def test_pairs_against_the_positions_are_not_split() -> None:
    """In a ring of tiles, the first and the last share ground although they are far apart."""
    tiles = make_table([(0, 64 * column, 0, column % 2) for column in range(60)])
    pairs = pd.DataFrame({"a": [0, 1, 2], "b": [59, 59, 59], "kind": "overlap"})
    plan = plan_sites(tiles, pairs, (1, 1, 1))
    splits = plan.splits[pairs[["a", "b"]].to_numpy()]
    assert ((splits[:, 0] == splits[:, 1]) | (splits == DROPPED).any(axis=1)).all()
    assert plan.splits[59] == DROPPED
    assert (plan.splits[:3] != DROPPED).all()


def test_the_tile_with_most_pairs_is_dropped() -> None:
    plan = Plan(np.array([0, 1, 1, 2]), np.zeros(4, np.int64))
    pairs = pd.DataFrame({"a": [0, 0, 2], "b": [1, 2, 3]})
    dropped = drop_pairs_across(plan, [0, 1, 2, 3], pairs)
    assert dropped.splits.tolist() == [DROPPED, 1, DROPPED, 2]
    assert drop_pairs_across(dropped, [0, 1, 2, 3], pairs) is dropped


def test_a_split_without_a_class_is_an_error() -> None:
    tiles = join(make_site(0, 50, 1000, 0), make_site(1, 50, 200, 1))
    with pytest.raises(InputError, match="would have no glaciar tile"):
        plan_sites(tiles, NO_PAIRS, RATIOS)


def test_the_seed_chooses_among_equal_sites() -> None:
    tiles = join(*(make_site(site, 4, 200, site % 2) for site in range(60)))
    plans = [plan_sites(tiles, NO_PAIRS, RATIOS, seed=seed).splits.tolist() for seed in (1, 1, 2)]
    assert plans[0] == plans[1]
    assert plans[0] != plans[2]


def test_random_splits_have_the_ratios_of_each_class() -> None:
    labels = [0] * 70 + [1] * 30
    plan = plan_random(labels, (7, 1, 2), seed=3)
    assert count_tiles(plan.splits, labels).tolist() == [[49, 21], [7, 3], [14, 6]]
    assert plan.splits.tolist() == plan_random(labels, (7, 1, 2), seed=3).splits.tolist()
    assert plan.splits.tolist() != plan_random(labels, (7, 1, 2), seed=4).splits.tolist()


def test_random_splits_of_few_tiles_have_both_classes() -> None:
    assert (
        count_tiles(plan_random([0, 0, 0, 1, 1, 1], RATIOS, 0).splits, [0, 0, 0, 1, 1, 1]) == 1
    ).all()
    with pytest.raises(InputError, match="would have no glaciar tile"):
        plan_random([0, 0, 0, 1, 1], RATIOS, 0)
