"""Assign grounds to train, validation and test, each ground whole.

No two splits then share ground, but the target numbers of tiles are met only as far as the grounds' sizes allow, for
both classes at once. That is an integer program: how many grounds of each size go to each split. It is solved by
HiGHS (`scipy.optimize.milp`), within a bound on its search, so that large inputs take seconds.

Tiles are counted in arrays of shape (splits, classes), in the order of `SPLIT_NAMES` and `CLASS_NAMES`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import bmat, identity, kron

from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES

_NODES = 500  # of the search tree


class TooLarge(NamedTuple):
    """A ground that alone has more tiles of a class than the target of its split.

    Attributes:
        ground: number of the ground.
        split: name of its split.
        class_name: name of the class.
        tiles: its tiles of that class.
        excess: how many more than the target these are.
    """

    ground: int
    split: str
    class_name: str
    tiles: int
    excess: int


def count_tiles(splits: Sequence[int], labels: Sequence[int]) -> npt.NDArray[np.int64]:
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


def target_counts(labels: Sequence[int], ratios: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return the number of tiles that each split is to have of each class, for ratios of any sum.

    Example:
        >>> target_counts([0] * 10 + [1] * 6, [3, 1, 1]).tolist()
        [[6.0, 3.6], [2.0, 1.2], [2.0, 1.2]]
    """
    sizes = np.bincount(labels, minlength=len(CLASS_NAMES))
    return np.outer(ratios, sizes) / sum(ratios)


def assign_splits(
    grounds: Sequence[int], labels: Sequence[int], ratios: Sequence[float], seed: int = 0
) -> npt.NDArray[np.intp]:
    """Assign whole grounds to splits, as close to the target numbers as can be found.

    What is made small is the sum of |tiles - target| / target over the splits, for each class and for both together.
    No split lacks a class of which it is to have tiles, where there are grounds enough.

    Args:
        grounds: number of each tile's ground, from 0 without gaps. Each tile as a ground of its own gives a random
            split, stratified by class.
        labels: number of each tile's class.
        ratios: of the splits, each above 0.
        seed: chooses among grounds of one size.

    Returns:
        the number of each tile's split, intp of shape (tiles,).

    Raises:
        ValueError: there are fewer grounds than splits.

    Example:
        >>> assign_splits([0, 0, 0, 1, 1, 2], [0, 0, 1, 0, 1, 1], [3, 1, 2]).tolist()
        [0, 0, 0, 2, 2, 1]
    """
    sizes = np.zeros((max(grounds, default=-1) + 1, len(CLASS_NAMES)), np.int64)
    np.add.at(sizes, (np.asarray(grounds, np.intp), np.asarray(labels, np.intp)), 1)
    if len(sizes) < len(SPLIT_NAMES):
        raise ValueError(f"{len(sizes)} grounds are too few for {len(SPLIT_NAMES)} splits")
    kinds, kind_of_ground, available = np.unique(sizes, axis=0, return_inverse=True, return_counts=True)
    rng = np.random.default_rng(seed)
    split_of_ground = np.zeros(len(sizes), np.intp)
    for kind, numbers in enumerate(_solve(kinds, available, target_counts(labels, ratios))):
        of_kind = rng.permutation(np.flatnonzero(kind_of_ground.ravel() == kind))
        split_of_ground[of_kind] = np.repeat(np.arange(len(SPLIT_NAMES)), numbers)
    assigned: npt.NDArray[np.intp] = split_of_ground[np.asarray(grounds, np.intp)]
    return assigned


def _solve(
    kinds: npt.NDArray[np.int64], available: npt.NDArray[np.intp], target: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Return how many grounds of each kind go to each split.

    Args:
        kinds: tiles of each class in a ground of the kind, shape (kinds, classes).
        available: number of grounds of each kind.
        target: shape (splits, classes).

    Returns:
        int64 array of shape (kinds, splits).
    """
    splits = len(target)
    each = identity(splits)
    with_sum = np.column_stack([kinds, kinds.sum(1)])
    targets = np.column_stack([target, target.sum(1)]).T.ravel()
    wanted = target.T.ravel() > 0
    # Variables: grounds by kind and split; tiles too many and too few by class, or all, and split; classes lacking.
    matrix = bmat(
        [
            [kron(with_sum.T, each), -identity(targets.size), identity(targets.size), None],
            [kron(identity(len(kinds)), np.ones((1, splits))), None, None, None],
            [kron(kinds.T, each), None, None, identity(wanted.size)],
            [kron(np.ones((1, len(kinds))), each), None, None, None],
        ]
    )
    lower = np.concatenate([targets, available, wanted, np.ones(splits)])
    upper = np.concatenate([targets, available, np.full(wanted.size + splits, np.inf)])
    weights = 1 / np.maximum(targets, 1)
    lacking = 10 * with_sum.sum() * weights.max()  # more than any other departure from the targets
    counts = np.repeat(available, splits)
    result = milp(
        np.concatenate([np.zeros(counts.size), weights, weights, np.full(wanted.size, lacking)]),
        integrality=np.concatenate([np.ones(counts.size), np.zeros(2 * targets.size + wanted.size)]),
        bounds=Bounds(0, np.concatenate([counts, np.full(2 * targets.size, np.inf), np.ones(wanted.size)])),
        constraints=LinearConstraint(matrix, lower, upper),
        options={"node_limit": _NODES},
    )
    if result.x is None:
        raise ValueError(f"no assignment to splits was found ({result.message})")
    return np.rint(result.x[: counts.size]).astype(np.int64).reshape(-1, splits)


def find_too_large(
    grounds: Sequence[int], labels: Sequence[int], splits: Sequence[int], target: npt.NDArray[np.float64]
) -> Iterator[TooLarge]:
    """Yield the grounds of several tiles that alone exceed a target of their split by a tile or more."""
    tiles = np.stack([grounds, splits, labels], 1).astype(np.int64).reshape(-1, 3)
    found, counts = np.unique(tiles, axis=0, return_counts=True)
    for (ground, split, label), size in zip(found.tolist(), counts.tolist(), strict=True):
        excess = int(size - target[split, label])
        if excess >= 1 and size > 1:
            yield TooLarge(ground, SPLIT_NAMES[split], CLASS_NAMES[label], size, excess)
