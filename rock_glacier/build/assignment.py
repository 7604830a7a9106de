"""Assign whole grounds to train, validation and test, so that no two splits share ground.

The sizes of the grounds limit how closely the target numbers of tiles can be met, for both classes at once. How many
grounds of each size go to each split is an integer program. HiGHS (`scipy.optimize.milp`) solves it with a limit on the
search tree, so that large inputs take seconds.

Tiles are counted in arrays of shape (splits, classes), in the order of `SPLIT_NAMES` and `CLASS_NAMES`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import bmat, identity, kron

from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES

_NODES = 200  # of the search tree


def count_tiles(numbers: Sequence[int], labels: Sequence[int], rows: int = len(SPLIT_NAMES)) -> npt.NDArray[np.int64]:
    """Count the tiles of each split and class, or of each ground and class.

    Args:
        numbers: number of each tile's split or ground, below `rows`.
        labels: number of each tile's class.
        rows: number of splits or grounds.

    Returns:
        int64 array of shape (rows, classes).
    """
    counts = np.zeros((rows, len(CLASS_NAMES)), np.int64)
    np.add.at(counts, (np.asarray(numbers, np.intp), np.asarray(labels, np.intp)), 1)
    return counts


def target_counts(labels: Sequence[int], ratios: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return the number of tiles that each split is to have of each class, for ratios of any sum.

    Example:
        >>> target_counts([0] * 10 + [1] * 6, [3, 1, 1]).tolist()
        [[6.0, 3.6], [2.0, 1.2], [2.0, 1.2]]
    """
    sizes = np.bincount(labels, minlength=len(CLASS_NAMES))
    return np.outer(ratios, sizes) / sum(ratios)


def assign_splits(grounds: Sequence[int], labels: Sequence[int], ratios: Sequence[float], seed: int = 0) -> list[int]:
    """Assign whole grounds to splits, as close to the target numbers as the search finds.

    Minimizes the sum of |tiles - target| / target over the splits, for each class and for both together. Every split
    gets tiles of each class that its target names, where there are enough grounds.

    Args:
        grounds: number of each tile's ground, from 0 without gaps. With one ground for each tile, the split is random
            and stratified by class.
        labels: number of each tile's class.
        ratios: of the splits, each above 0.
        seed: seed of the choice among grounds of equal size.

    Returns:
        the number of each tile's split.

    Raises:
        ValueError: there are fewer grounds than splits.

    Example:
        >>> assign_splits([0, 0, 0, 1, 1, 2], [0, 0, 1, 0, 1, 1], [3, 1, 2])
        [0, 0, 0, 2, 2, 1]
    """
    sizes = count_tiles(grounds, labels, max(grounds, default=-1) + 1)
    if len(sizes) < len(SPLIT_NAMES):
        needed = f"{len(SPLIT_NAMES)} splits need as many grounds"
        raise ValueError(f"{needed}, and there are {len(sizes)}; add tiles of other ground")
    kinds, kind_of_ground, available = np.unique(sizes, axis=0, return_inverse=True, return_counts=True)
    rng = np.random.default_rng(seed)
    split_of_ground = np.zeros(len(sizes), np.intp)
    for kind, numbers in enumerate(_solve(kinds, available, target_counts(labels, ratios))):
        of_kind = rng.permutation(np.flatnonzero(kind_of_ground.ravel() == kind))
        split_of_ground[of_kind] = np.repeat(np.arange(len(SPLIT_NAMES)), numbers)
    assigned: list[int] = split_of_ground[np.asarray(grounds, np.intp)].tolist()
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
