"""Dealing tiles to train, validation and test so that no group of tiles is torn apart.

A group is tiles that show the same ground. Dealt by whole groups, no split holds what another does, but the asked
numbers can be met only as far as the groups' sizes allow, and for both classes at once. That is a packing problem: it
is dealt greedily, the largest groups first, and then improved by moving groups and by changing one for another, as long
as that comes closer. Groups with equally many tiles of each class are interchangeable, so that the work depends on how
many sizes there are and hardly on how many groups.

Tiles are counted in arrays of shape (splits, classes), in the order of `SPLIT_NAMES` and `CLASS_NAMES`.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES

Counts = npt.NDArray[np.int64]

_EMPTY = 1e12
"""What a split without tiles of a class costs, more than any other departure from what was asked."""

_EVALUATIONS = 2_000_000
"""Changes that are looked at in all; about a second."""

_MOST_SHAKES = 300


class TooLarge(NamedTuple):
    """A group that alone has more tiles of a class than its split was to have.

    Attributes:
        group: number of the group.
        split: name of the split it was dealt to.
        class_name: name of the class.
        tiles: its tiles of that class.
        asked: tiles of that class that the split was to have.
    """

    group: int
    split: str
    class_name: str
    tiles: int
    asked: int


def connected_groups(*labellings: Sequence[Hashable]) -> list[int]:
    """Number the groups of tiles that are connected by having the same label, in the order of their first tiles.

    Args:
        labellings: in each a label for each tile.

    Returns:
        the number of each tile's group, from 0.

    Example:
        >>> connected_groups([5, 7, 7, 9], ["a", "b", "c", "a"])
        [0, 1, 1, 0]
    """
    above = list(range(len(labellings[0])))

    def first_of(tile: int) -> int:
        while above[tile] != tile:
            above[tile] = tile = above[above[tile]]
        return tile

    for labels in labellings:
        first: dict[Hashable, int] = {}
        for tile, label in enumerate(labels):
            a, b = first_of(first.setdefault(label, tile)), first_of(tile)
            above[max(a, b)] = min(a, b)
    return numbered(map(first_of, range(len(above))))


def numbered(labels: Iterable[Hashable]) -> list[int]:
    """Replace labels by numbers from 0, in the order in which they first come.

    Example:
        >>> numbered("banana")
        [0, 1, 2, 1, 2, 1]
    """
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(label, len(numbers)) for label in labels]


def tile_counts(splits: Sequence[int], labels: Sequence[int]) -> Counts:
    """Count the tiles of each split and class.

    Args:
        splits: number of each tile's split.
        labels: number of each tile's class.

    Returns:
        int64 array of shape (splits, classes).
    """
    counts = np.zeros((len(SPLIT_NAMES), len(CLASS_NAMES)), np.int64)
    np.add.at(counts, (np.asarray(splits, np.intp), np.asarray(labels, np.intp)), 1)
    return counts


def asked_counts(class_sizes: Sequence[int], ratios: Sequence[Fraction | int]) -> Counts:
    """Say how many tiles of each class each split is to have: whole numbers next to the ratios.

    Each is the exact number rounded up or down, so that the classes add up and the splits' totals fit the ratios best:
    11,700 tiles in the ratios of the release are asked for as the release has them.

    Args:
        class_sizes: number of tiles of each class.
        ratios: of the splits; they need not add up to anything.

    Returns:
        int64 array of shape (splits, classes).

    Example:
        >>> asked_counts([5850, 5850], [7875, 1125, 2700]).tolist()
        [[3938, 3937], [562, 563], [1350, 1350]]
    """
    shares = [Fraction(ratio) / sum(map(Fraction, ratios)) for ratio in ratios]
    totals = [sum(class_sizes) * share for share in shares]
    columns = [list(_roundings([size * share for share in shares])) for size in class_sizes]

    def distance(table: tuple[tuple[int, ...], ...]) -> tuple[Fraction, Fraction]:
        of_totals = sum(((sum(row) - total) ** 2 for row, total in zip(zip(*table, strict=True), totals, strict=True)))
        cells = zip(itertools.chain(*table), (size * share for size in class_sizes for share in shares), strict=True)
        return Fraction(of_totals), Fraction(sum((cell - exact) ** 2 for cell, exact in cells))

    return np.array(min(itertools.product(*columns), key=distance), np.int64).T


def _roundings(exact: Sequence[Fraction]) -> Iterable[tuple[int, ...]]:
    """Yield each way to round numbers up or down whose sum is a whole number, so that the sum stays."""
    down = [int(number) for number in exact]
    broken = [place for place, number in enumerate(exact) if number != int(number)]
    for up in itertools.combinations(broken, int(sum(exact)) - sum(down)):
        yield tuple(number + (place in up) for place, number in enumerate(down))


def deal(
    groups: Sequence[int], labels: Sequence[int], ratios: Sequence[Fraction | int], seed: int = 0
) -> npt.NDArray[np.intp]:
    """Deal whole groups to splits, as close to the asked ratios as can be found for all classes at once.

    What is made small is the sum, over splits and classes, of (got - asked)^2 / asked: a tile too many weighs more in a
    small split. No split lacks a class that it was to have, where there are groups enough.

    Args:
        groups: number of each tile's group, from 0; each tile by itself gives a random split that is stratified by
            class.
        labels: number of each tile's class.
        ratios: of the splits; they need not add up to anything.
        seed: the same seed deals the same tiles to the same splits.

    Returns:
        the number of each tile's split.

    Raises:
        ValueError: there are fewer groups than splits.

    Example:
        >>> deal([0, 0, 0, 1, 1, 2], [0, 0, 1, 0, 1, 1], [3, 1, 2]).tolist()
        [0, 0, 0, 2, 2, 1]
    """
    sizes = np.zeros((max(groups, default=-1) + 1, len(CLASS_NAMES)), np.int64)
    np.add.at(sizes, (np.asarray(groups, np.intp), np.asarray(labels, np.intp)), 1)
    if len(sizes) < len(SPLIT_NAMES):
        raise ValueError(f"{len(sizes)} groups are too few for {len(SPLIT_NAMES)} splits")
    rng = np.random.default_rng(seed)
    kinds, kind_of_group, kind_counts = np.unique(sizes, axis=0, return_inverse=True, return_counts=True)
    held = _Dealing(kinds, asked_counts(sizes.sum(0).tolist(), ratios)).improved(kind_counts, rng)
    split_of_group = np.zeros(len(sizes), np.intp)
    for kind, numbers in enumerate(held):
        of_kind = rng.permutation(np.flatnonzero(kind_of_group.ravel() == kind))
        split_of_group[of_kind] = np.repeat(np.arange(len(numbers)), numbers)
    dealt: npt.NDArray[np.intp] = split_of_group[np.asarray(groups, np.intp)]
    return dealt


class _Dealing:
    """The search for how many groups of each kind go to each split.

    Args:
        kinds: array of shape (kinds, classes): tiles of each class in a group of the kind.
        asked: array of shape (splits, classes).
    """

    def __init__(self, kinds: Counts, asked: Counts) -> None:
        # "No group" is the last kind, so that a move is a change for it.
        self.kinds = np.concatenate([kinds, np.zeros_like(kinds[:1])])
        self.asked = asked
        self.weights = 1 / np.maximum(asked, 1)
        self.changes = self.kinds[:, None] - self.kinds[None]

    def improved(self, kind_counts: npt.NDArray[np.intp], rng: np.random.Generator) -> Counts:
        """Deal groups, and deal them better.

        Args:
            kind_counts: number of groups of each kind.
            rng: for the shakes by which the search leaves a dead end.

        Returns:
            array of shape (kinds, splits): number of groups.
        """
        best = self._settled(self._greedy(kind_counts))
        for _ in range(min(_EVALUATIONS // len(self.kinds) ** 2, _MOST_SHAKES)):
            if not self._cost(best):
                break
            shaken = self._settled(self._shaken(best, rng))
            if self._cost(shaken) <= self._cost(best):
                best = shaken
        return best[:-1]

    def _cost(self, held: Counts) -> float:
        got = held.T @ self.kinds
        return float(((got - self.asked) ** 2 * self.weights).sum() + _emptiness(got, self.asked).sum())

    def _greedy(self, kind_counts: npt.NDArray[np.intp]) -> Counts:
        """Give each group, the largest first, to the split whose need it meets best."""
        held = np.zeros((len(self.kinds), len(self.asked)), np.int64)
        held[-1] = 1  # there is always "no group" to change for
        excess = -self.asked
        for kind in np.argsort(-self.kinds[:-1].sum(1), kind="stable"):
            size = self.kinds[kind]
            for _ in range(kind_counts[kind]):
                split = np.argmin(((2 * excess + size) * size * self.weights).sum(1))
                excess[split] += size
                held[kind, split] += 1
        return held

    def _settled(self, held: Counts) -> Counts:
        """Make the best change of a group for another, or for none, until none comes closer."""
        held = held.copy()
        while True:
            excess = held.T @ self.kinds - self.asked
            best: tuple[float, int, int, int, int] = (-1e-9, 0, 0, 0, 0)
            for a, b in itertools.combinations(range(len(self.asked)), 2):
                gain = self._costs(excess[a] - self.changes, a) + self._costs(excess[b] + self.changes, b)
                gain -= self._costs(excess[a], a) + self._costs(excess[b], b)
                gain[~((held[:, a] > 0)[:, None] & (held[:, b] > 0))] = np.inf
                place = int(gain.argmin())
                best = min(best, (float(gain.flat[place]), a, b, *divmod(place, len(self.kinds))))
            _, a, b, given, taken = best
            if a == b:
                return held
            held[[given, taken], [a, b]] -= 1
            held[[given, taken], [b, a]] += 1
            held[-1] = 1

    def _costs(self, excess: Counts, split: int) -> npt.NDArray[np.float64]:
        squares: npt.NDArray[np.float64] = (excess**2 * self.weights[split]).sum(-1)
        return squares + _emptiness(excess + self.asked[split], self.asked[split])

    def _shaken(self, held: Counts, rng: np.random.Generator) -> Counts:
        """Move some groups anywhere."""
        held = held.copy()
        for _ in range(rng.integers(2, 6)):
            kind = rng.integers(len(held) - 1)
            give = rng.choice(np.flatnonzero(held[kind]))
            held[kind, give] -= 1
            held[kind, rng.integers(held.shape[1])] += 1
        return held


def _emptiness(got: Counts, asked: Counts) -> npt.NDArray[np.float64]:
    """Return what splits cost, along the last axis, that lack a class which they were to have, or all tiles."""
    lacking: npt.NDArray[np.float64] = _EMPTY * ((got == 0) & (asked > 0)).sum(-1)
    return lacking + len(CLASS_NAMES) * _EMPTY * (got.sum(-1) == 0)


def groups_too_large(
    groups: Sequence[int], labels: Sequence[int], splits: Sequence[int], asked: Counts
) -> list[TooLarge]:
    """Name the groups that alone have more tiles of a class than their split was to have.

    Args:
        groups: number of each tile's group.
        labels: number of each tile's class.
        splits: number of each tile's split; a group's tiles are all in one.
        asked: int64 array of shape (splits, classes).

    Returns:
        the groups, those first that exceed most.

    Example:
        >>> groups_too_large([0, 0, 0, 1, 2], [0, 0, 0, 0, 0], [0, 0, 0, 1, 2], np.array([[2, 0], [1, 0], [2, 0]]))
        [TooLarge(group=0, split='train', class_name='cordillera', tiles=3, asked=2)]
    """
    tiles = np.stack([groups, splits, labels], 1).astype(np.int64).reshape(-1, 3)
    found = [
        TooLarge(group, SPLIT_NAMES[split], CLASS_NAMES[label], count, int(asked[split, label]))
        for (group, split, label), count in zip(
            *(part.tolist() for part in np.unique(tiles, axis=0, return_counts=True)), strict=True
        )
        if count > asked[split, label] and count > 1
    ]
    return sorted(found, key=lambda one: (one.asked - one.tiles, one.group))
