"""Sites are assigned to splits: no pair across, few dropped tiles, ratios near the targets."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies

from rock_glacier.build.splits import (
    MATCH_MARGIN,
    assign_random,
    assign_sites,
    drop_pairs,
    find_missed,
)
from rock_glacier.faults import InputError
from rock_glacier.parallel import Workers
from rock_glacier.sites import find_sites
from rock_glacier.synthetic import make_sample
from rock_glacier.tiles import TileSet
from rock_glacier_dataset import CLASS_NAMES, RELEASE_SIZES, SPLIT_NAMES, TILE_SIZE

RATIOS = tuple(RELEASE_SIZES.values())


def count_tiles(splits: pd.Series, labels: pd.Series) -> np.ndarray:
    """Count the tiles of each split and class; dropped tiles do not count."""
    counts = [
        [((splits == split) & (labels == label)).sum() for label in CLASS_NAMES]
        for split in SPLIT_NAMES
    ]
    return np.array(counts, np.int64)


def make_pairs(pairs: Sequence[tuple[int, int]] = (), kind: str = "overlap") -> pd.DataFrame:
    """Return pairs of rows."""
    ends = np.array(pairs, np.int64).reshape(-1, 2)
    return pd.DataFrame({"a": ends[:, 0], "b": ends[:, 1], "kind": kind})


def make_row(tiles: int, step: int) -> pd.DataFrame:
    """Return tiles of one site in a row, with both classes in turn."""
    labels = [CLASS_NAMES[number % 2] for number in range(tiles)]
    return pd.DataFrame({"site": 0, "x": step * np.arange(tiles), "y": 0, "label": labels})


def make_sites(sizes: Sequence[int], width: int, labels: Sequence[int]) -> pd.DataFrame:
    """Return sites of tiles at random places of a square.

    Args:
        sizes: Number of tiles of each site.
        width: Width of the squares in pixels.
        labels: Number of the class of each site's tiles, repeated in turn.
    """
    rng = np.random.default_rng(0)
    site = np.repeat(np.arange(len(sizes)), sizes)
    x, y = rng.integers(0, width - TILE_SIZE + 1, (2, len(site)))
    label = np.array(CLASS_NAMES)[np.resize(labels, len(sizes))[site]]
    return pd.DataFrame({"site": site, "x": x, "y": y, "label": label})


def dropped_share(splits: pd.Series) -> float:
    return float(splits.isna().mean())


def assert_apart(splits: pd.Series, tiles: pd.DataFrame, distance: float = 0) -> None:
    """Assert that tiles of two splits of a site are at least a distance in pixels apart."""
    for _, site in tiles[splits.notna()].groupby("site"):
        corners = site[["x", "y"]].to_numpy()
        gaps = abs(corners[:, None] - corners).max(axis=-1) - TILE_SIZE
        names = splits[site.index].to_numpy()
        assert (gaps[names[:, None] != names] >= distance).all()


@given(
    strategies.lists(
        strategies.tuples(
            strategies.integers(0, 2),
            strategies.integers(0, 900),
            strategies.integers(0, 400),
            strategies.sampled_from(CLASS_NAMES),
        ),
        min_size=3,
        max_size=60,
    ),
    strategies.sampled_from([0, 7.5, 40]),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_splits_keep_their_distance(rows: list[tuple[int, int, int, str]], buffer: float) -> None:
    tiles = pd.DataFrame(rows, columns=["site", "x", "y", "label"])
    try:
        splits = assign_sites(tiles, make_pairs(), RATIOS, buffer=buffer)
    except InputError:
        return
    assert_apart(splits, tiles, buffer)
    assert assign_sites(tiles, make_pairs(), RATIOS, buffer=buffer).equals(splits)


def test_splits_of_a_sample_of_30_sites_meet_their_targets(tmp_path: Path) -> None:
    make_sample(tmp_path / "sample", train=400, validation=60, test=140, overlap=1)
    with TileSet.read(tmp_path / "sample", Workers(1)) as decoded:
        sites = find_sites(decoded, Workers(1), matches=False)
    tiles = sites.table.assign(label=decoded.table["label"])
    splits = assign_sites(tiles, sites.pairs, RATIOS)
    counts = count_tiles(splits, tiles["label"])
    targets = np.array(RATIOS) / sum(RATIOS) * counts.sum()
    assert counts.all()
    assert (abs(counts.sum(axis=1) - targets) <= 0.1 * targets).all()
    assert dropped_share(splits) <= 0.05


@pytest.mark.parametrize("labels", [[0, 1], [0, 0, 1], [1, 0, 0, 0]])
@pytest.mark.parametrize("sizes", [[20] * 30, [*range(5, 65, 2)]], ids=["equal", "different"])
def test_small_sites_are_not_cut(sizes: list[int], labels: list[int]) -> None:
    tiles = make_sites(sizes, 200, labels)
    splits = assign_sites(tiles, make_pairs(), RATIOS)
    assert (splits.groupby(tiles["site"]).nunique() == 1).all()
    counts = count_tiles(splits, tiles["label"])
    assert not find_missed(counts, RATIOS).any()
    assert counts.all()


@pytest.mark.parametrize("labels", [[0, 1], [0, 0, 0, 1, 1]])
def test_large_sites_are_cut_to_the_targets(labels: list[int]) -> None:
    tiles = make_sites([300] * 5, 4000, labels)
    splits = assign_sites(tiles, make_pairs(), RATIOS)
    assert_apart(splits, tiles)
    counts = count_tiles(splits, tiles["label"])
    assert not find_missed(counts, RATIOS).any()
    assert counts.all()
    assert dropped_share(splits) <= 0.05


def test_three_places_of_one_class_each_are_split() -> None:
    """The early tiles are such places, cut at a stride of 64 pixels; one is too small to cut."""
    places = [("cordillera", 162, 7, 9), ("glaciar", 46, 2, 2), ("glaciar", 92, 6, 2)]
    rows = [
        (site, 64 * (number % columns), 64 * (number // columns % lines), label)
        for site, (label, tiles, columns, lines) in enumerate(places)
        for number in range(tiles)
    ]
    tiles = pd.DataFrame(rows, columns=["site", "x", "y", "label"])
    tiles["x"] = tiles["x"].clip(upper=tiles["site"].map({0: 381, 1: 118, 2: 287}))
    matches = make_pairs([(0, 1), (162, 163), (208, 209)], "match")
    splits = assign_sites(tiles, matches, RATIOS)
    assert_apart(splits, tiles, 2 * MATCH_MARGIN)
    assert count_tiles(splits, tiles["label"]).all()
    assert splits[tiles["site"] == 1].nunique() == 1
    assert dropped_share(splits) <= 0.35


def test_a_single_site_is_cut_across_its_classes() -> None:
    """Classes next to each other along x need lines along the other axis."""
    tiles = make_sites([1000], 4000, [0])
    tiles["label"] = np.where(tiles["x"] > 2000, *CLASS_NAMES)
    splits = assign_sites(tiles, make_pairs(), RATIOS)
    assert_apart(splits, tiles)
    counts = count_tiles(splits, tiles["label"])
    targets = np.outer(RATIOS, counts.sum(axis=0)) / sum(RATIOS)
    assert (abs(counts - targets) <= 0.2 * targets).all()


@pytest.mark.parametrize("ratios", [(1, 1, 1), (5, 2, 3), (1, 6, 3), (6, 3, 1)])
@pytest.mark.parametrize("clumps", [[1] * 10, [6, 1, 3]])
def test_the_best_of_all_cuts_is_found(clumps: list[int], ratios: tuple[int, ...]) -> None:
    """Tiles at the same place cannot be cut apart; a line may drop none."""
    x = 200 * np.repeat(np.arange(len(clumps)), clumps)
    tiles = pd.DataFrame({"site": 0, "x": x, "y": 0, "label": "glaciar"})
    splits = assign_sites(tiles, make_pairs(), ratios)
    assert splits.notna().all()
    sizes = count_tiles(splits, tiles["label"])[:, 1]
    targets = 10 * np.array(ratios) / sum(ratios)
    possible = [
        np.array([sum(clumps[:first]), sum(clumps[first:second]), sum(clumps[second:])])[[*order]]
        for first, second in itertools.combinations(range(1, len(clumps)), 2)
        for order in itertools.permutations(range(3))
    ]
    best = min((np.maximum(targets - counts, 0) / targets).sum() for counts in possible)
    assert (np.maximum(targets - sizes, 0) / targets).sum() == pytest.approx(best)


def test_sites_with_matches_get_a_margin() -> None:
    """Positions by matches are not exact, so tiles that touch may share ground."""
    tiles = make_row(40, TILE_SIZE)
    exact = assign_sites(tiles, make_pairs([(0, 1)]), (1, 1, 1))
    inexact = assign_sites(tiles, make_pairs([(0, 1)], "match"), (1, 1, 1))
    assert exact.notna().all()
    assert inexact.isna().sum() == 2
    assert_apart(inexact, tiles, 2 * MATCH_MARGIN)


def test_pairs_that_contradict_positions_are_not_split() -> None:
    """In a ring of tiles, the first and the last share ground although they are far apart."""
    tiles = make_row(60, 64)
    splits = assign_sites(tiles, make_pairs([(0, 59), (1, 59), (2, 59)]), (1, 1, 1))
    assert splits[59] is None
    assert splits[:3].notna().all()


def test_the_tile_with_most_pairs_is_dropped() -> None:
    splits = pd.Series(["train", "test", "test", "validation", "train"], dtype=object)
    dropped = drop_pairs(splits, make_pairs([(0, 1), (0, 2), (2, 3), (0, 4)]))
    assert dropped.tolist() == [None, "test", None, "validation", "train"]


def test_a_split_without_a_class_is_an_error() -> None:
    tiles = pd.concat([make_sites([50], 1000, [0]), make_sites([50], 200, [1]).assign(site=1)])
    with pytest.raises(InputError, match="would have no glaciar tile"):
        assign_sites(tiles.reset_index(drop=True), make_pairs(), RATIOS)


def test_the_seed_orders_equal_sites() -> None:
    tiles = make_sites([4] * 60, 200, [0, 1])
    first, again, other = (
        assign_sites(tiles, make_pairs(), RATIOS, seed=seed) for seed in (1, 1, 2)
    )
    assert first.equals(again)
    assert not first.equals(other)


def test_random_splits_have_the_ratios_of_each_class() -> None:
    labels = pd.Series(["cordillera"] * 70 + ["glaciar"] * 30)
    splits = assign_random(labels, (7, 1, 2), seed=3)
    assert count_tiles(splits, labels).tolist() == [[49, 21], [7, 3], [14, 6]]
    assert splits.equals(assign_random(labels, (7, 1, 2), seed=3))
    assert not splits.equals(assign_random(labels, (7, 1, 2), seed=4))
    with pytest.raises(InputError, match="would have no glaciar tile"):
        assign_random(labels[:72], (7, 1, 2))
