"""Cross-validation of classifiers under random and under grouped folds, and what the difference is worth.

Random folds deal each tile by itself, stratified by class. Grouped folds keep each group, tiles that show the same
ground, in one fold, as near to stratified as groups allow. All else is the same: tiles, features, models, seeds.

Balanced accuracy is that of all tiles together, each scored once by a model that was not trained on it: it is defined
whatever the folds hold, and a fold without one class has none of its own. The area under the ROC curve is the mean of
those folds that hold both classes, for scores of different models are on no common scale (Forman and Scholz 2010,
"Apples-to-apples in cross-validation studies").
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from tile_classifiers import Labels, Scores, fitted, scores_of

from rock_glacier_dataset import CLASS_NAMES

Groups = npt.NDArray[np.int64]
"""Shape (tiles,): number of each tile's group."""

SCHEMES = ("random", "grouped")

THRESHOLD = 0.5
"""Probability of glaciar from which a tile counts as such."""

LEVEL = 0.95
"""Of the intervals."""

Fold = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
"""Numbers of the tiles that are trained on, and of those that are tested."""


class Interval(NamedTuple):
    """A mean, and the bounds between which the middle 95 % lie.

    Attributes:
        mean: the mean.
        low: percentile 2.5.
        high: percentile 97.5.
    """

    mean: float
    low: float
    high: float


class Validated(NamedTuple):
    """What one cross-validation gave.

    Attributes:
        correct: shape (tiles,): whether each tile's class was told.
        auc: area under the ROC curve; NaN where no fold holds both classes.
        familiar: share of the tiles of whose group the model had seen others.
    """

    correct: npt.NDArray[np.bool_]
    auc: float
    familiar: float


def folds_of(scheme: str, labels: Labels, groups: Groups, folds: int, seed: int) -> list[Fold]:
    """Deal tiles to folds.

    Args:
        scheme: one of `SCHEMES`.
        labels: shape (tiles,).
        groups: shape (tiles,); random folds do not look at them.
        folds: number of folds.
        seed: of the dealing.

    Returns:
        for each fold, the tiles to train on and the tiles to test.
    """
    if scheme == "random":
        return list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels))
    return list(StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(labels, labels, groups))


def most_folds(labels: Labels, groups: Groups) -> dict[str, int]:
    """Say of each class in how many groups it is: more folds than that cannot all test it when groups stay whole.

    Example:
        >>> most_folds(np.array([0, 0, 1, 1]), np.array([7, 7, 7, 8]))
        {'cordillera': 1, 'glaciar': 2}
    """
    return {name: len(np.unique(groups[labels == label])) for label, name in enumerate(CLASS_NAMES)}


def validate(
    model: str, scheme: str, features: npt.NDArray[np.float32], labels: Labels, groups: Groups, folds: int, seed: int
) -> Validated:
    """Cross-validate a model once.

    Args:
        model: one of `CLASSIFIERS`.
        scheme: one of `SCHEMES`.
        features: shape (tiles, features).
        labels: shape (tiles,).
        groups: shape (tiles,).
        folds: number of folds.
        seed: of the dealing and of the model.
    """
    scores: Scores = np.zeros(len(labels))
    areas, familiar = [], 0
    for train, test in folds_of(scheme, labels, groups, folds, seed):
        known = set(labels[train].tolist())
        if len(known) == 1:  # groups may leave no other class to train on, and then it is guessed
            scores[test] = known.pop()
        else:
            scores[test] = scores_of(fitted(model, features[train], labels[train], seed), features[test])
        familiar += int(np.isin(groups[test], groups[train]).sum())
        if len(set(labels[test].tolist())) == len(CLASS_NAMES):
            areas.append(float(roc_auc_score(labels[test], scores[test])))
    correct = (scores >= THRESHOLD) == (labels == CLASS_NAMES.index("glaciar"))
    return Validated(correct, float(np.mean(areas)) if areas else float("nan"), familiar / len(labels))


def relabelled(groups: Groups, seed: int) -> Labels:
    """Deal classes to whole groups at random, so that no look of a tile can tell its class but by its group.

    Groups come in random order, and each goes to the class that has fewer tiles by then.

    Args:
        groups: shape (tiles,).
        seed: of the order.

    Returns:
        shape (tiles,): made-up numbers of classes.
    """
    numbers, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    tiles = np.zeros(len(CLASS_NAMES), np.int64)
    of_group = np.zeros(len(numbers), np.int64)
    for group in np.random.default_rng(seed).permutation(len(numbers)):
        of_group[group] = tiles.argmin()
        tiles[of_group[group]] += sizes[group]
    return of_group[place]


def balanced_accuracy(correct: npt.NDArray[np.floating] | npt.NDArray[np.bool_], labels: Labels) -> float:
    """Return the mean over the classes of the share of its tiles that were told.

    Args:
        correct: shape (tiles,), values in [0, 1]; means over several cross-validations give the mean of theirs.
        labels: shape (tiles,).

    Example:
        >>> balanced_accuracy(np.array([True, True, True, False]), np.array([0, 0, 1, 1]))
        0.75
    """
    return float(np.mean([correct[labels == label].mean() for label in np.unique(labels)]))


def interval(values: npt.ArrayLike) -> Interval:
    """Sum up values, NaN left out.

    Example:
        >>> interval([0.5, 0.5, 0.5])
        Interval(mean=0.5, low=0.5, high=0.5)
    """
    numbers = np.asarray(values, np.float64)
    numbers = numbers[~np.isnan(numbers)]
    if not numbers.size:
        return Interval(float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(numbers, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(numbers.mean()), float(low), float(high))


def bootstrapped(
    correct: npt.NDArray[np.float64], labels: Labels, groups: Groups, seed: int, draws: int = 10_000
) -> Interval:
    """Say how balanced accuracy, or a difference of two, varies when other groups of the same kind were to be had.

    Whole groups are drawn again, with replacement, those of each class among themselves (a group of both classes among
    such). The models are not trained again: what varies is the ground that is tested on. With few groups there are few
    different draws, and the interval is too narrow rather than too wide.

    Args:
        correct: shape (tiles,): share of the cross-validations that told each tile's class, or a difference of two.
        labels: shape (tiles,).
        groups: shape (tiles,).
        seed: of the draws.
        draws: their number.
    """
    numbers, place = np.unique(groups, return_inverse=True)
    told = np.zeros((len(numbers), len(CLASS_NAMES)))
    tiles = np.zeros_like(told)
    np.add.at(told, (place, labels), correct)
    np.add.at(tiles, (place, labels), 1)
    rng = np.random.default_rng(seed)
    weights = np.zeros((draws, len(numbers)))
    _, kind = np.unique(tiles > 0, axis=0, return_inverse=True)
    for one in np.unique(kind):
        members = np.flatnonzero(kind.ravel() == one)
        weights[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), draws)
    drawn = (weights @ told) / (weights @ tiles)
    return interval(drawn.mean(1))._replace(mean=balanced_accuracy(correct, labels))
