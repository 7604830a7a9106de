"""Grounds assigned to splits: whole, as close to the targets as can be, the same for the same seed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings, strategies

from rock_glacier.curation.assignment import assign_splits, count_tiles, target_counts
from rock_glacier_dataset import RELEASE_SIZES

RATIOS = list(RELEASE_SIZES.values())


def tiles_of(sizes: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Return the grounds and the labels of the tiles of grounds of these sizes."""
    grounds = [ground for ground, size in enumerate(sizes) for _ in range(sum(size))]
    labels = [label for size in sizes for label, number in enumerate(size) for _ in range(number)]
    return grounds, labels


def departure(tiles: np.ndarray, target: np.ndarray) -> float:
    """Return the sum of |tiles - target| / target, for each class and for both together."""
    both = [np.column_stack([one, one.sum(1)]) for one in (tiles, target)]
    return float((abs(both[0] - both[1]) / np.maximum(both[1], 1)).sum())


some_grounds = strategies.lists(
    strategies.tuples(strategies.integers(0, 9), strategies.integers(0, 9)).filter(any), min_size=3, max_size=10
)


@given(some_grounds, strategies.integers(0, 3))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_no_ground_is_torn_apart_and_no_split_is_empty(sizes: list[tuple[int, int]], seed: int) -> None:
    grounds, labels = tiles_of(sizes)
    splits = assign_splits(grounds, labels, RATIOS, seed)
    assert len({(ground, split) for ground, split in zip(grounds, splits, strict=True)}) == len(sizes)
    assert set(splits) == {0, 1, 2}


@pytest.mark.parametrize("seed", [0, 6])
def test_nothing_comes_closer_than_what_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = [(int(a), int(b) + 1) for a, b in rng.integers(0, 12, (8, 2))]
    grounds, labels = tiles_of(sizes)
    target = target_counts(labels, RATIOS)
    ways = np.array([way for way in itertools.product(range(3), repeat=8) if len(set(way)) == 3])
    tried = [np.stack([(way == split) @ sizes for split in range(3)]) for way in ways]
    best = min(departure(tiles, target) for tiles in tried if (tiles > 0).all())
    found = count_tiles(assign_splits(grounds, labels, RATIOS), labels)
    assert departure(found, target) == pytest.approx(best)


def test_single_tiles_are_assigned_as_in_the_release() -> None:
    labels = [number % 2 for number in range(11_700)]
    tiles = count_tiles(assign_splits(range(11_700), labels, RATIOS), labels)
    assert tiles.sum(1).tolist() == RATIOS
    assert abs(tiles - target_counts(labels, RATIOS)).max() < 1


def test_many_grounds_of_many_sizes_come_within_two_tiles() -> None:
    rng = np.random.default_rng(0)
    sizes = [(int(a) + 1, int(b)) for a, b in np.minimum(rng.pareto(1, (200, 2)), 100)]
    grounds, labels = tiles_of(sizes)
    tiles = count_tiles(assign_splits(grounds, labels, RATIOS), labels)
    assert abs(tiles - target_counts(labels, RATIOS)).max() < 2


def test_every_split_has_both_classes_where_that_can_be() -> None:
    grounds, labels = tiles_of([(500, 0), (400, 0), (300, 0), (0, 1), (0, 1), (0, 1)])
    assert (count_tiles(assign_splits(grounds, labels, [98, 1, 1]), labels) > 0).all()
