"""Measure the value of a leak: the same models under random folds, and under folds that keep grounds whole.

Tiles of one ground are alike. Under random folds a model is tested on ground that it was trained on; where each ground
goes to one fold, it is not. Both cross-validations have the same tiles, features, models, seeds and number of folds.

The interval of a score is that of its repeats, each with other folds and another seed of the model; it says nothing
about other tiles. The interval of the difference comes from a bootstrap over grounds.

Grouped folds also leave less varied ground to train on, so the difference is not the leak alone. Hence the control:
classes are assigned to whole grounds at random, anew in each repeat, so that only the ground can be learned. What
random folds score there above 0.5 is memory of the ground and nothing else; what grouped folds score there is what this
procedure gives for ignorance, which may be below 0.5.

How well rock glaciers can be recognised, the experiment does not show.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import sklearn
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from rock_glacier.arrays import to_arrays
from rock_glacier.baselines.classifiers import CLASSIFIER_NAMES, Labels, Scores, fit, predict
from rock_glacier.baselines.features import TILE_FEATURE_NAMES, Features, describe_tiles
from rock_glacier.console import count
from rock_glacier.grounds.components import number_grounds
from rock_glacier.grounds.overlaps import find_overlaps
from rock_glacier.grounds.pixels import pack_pixels
from rock_glacier.parallel import Workers
from rock_glacier.scoring import THRESHOLD
from rock_glacier.scoring.bootstrap import LEVEL, Statistic, Weights, bootstrap
from rock_glacier.scoring.truth import read_ground_numbers
from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES, load_archives

MOST_FOLDS = 5
"""Number of folds by default, where both classes lie in so many grounds."""

SCHEMES = ("random", "grouped")

LABELLINGS = ("classes", "control")
"""The tiles' own classes; and classes assigned to grounds at random."""

_DIGITS = 4


class TileSet(NamedTuple):
    """What is cross-validated.

    Attributes:
        features: shape (tiles, features).
        labels: shape (tiles,).
        grounds: shape (tiles,): number of each tile's ground.
    """

    features: Features
    labels: Labels
    grounds: npt.NDArray[np.intp]


class Validated(NamedTuple):
    """Result of one cross-validation.

    Attributes:
        correct: shape (tiles,): whether each tile, tested by a model that was not trained on it, got its class.
        auc: mean area under the ROC curve of the folds that test both classes; NaN where there is none. Scores of
            different models are on no common scale (Forman and Scholz 2010, "Apples-to-apples in cross-validation
            studies").
        familiar: share of the tiles whose ground the model was trained on.
    """

    correct: npt.NDArray[np.bool_]
    auc: float
    familiar: float


def read_tiles(data_dir: str, grounds: Path | None, workers: Workers) -> TileSet:
    """Read the tiles of all splits.

    Args:
        data_dir: folder of archives, or URL of one.
        grounds: a grounds.csv; default: the one beside the archives or, without one, the tiles that overlap.
        workers: processes that describe tiles.

    Raises:
        ArchiveError: the archives, or the grounds, have a fault.
    """
    arrays = to_arrays(load_archives(data_dir=data_dir, split="+".join(SPLIT_NAMES)), rgb=False)
    paths, images = arrays["path"].tolist(), arrays["image"]
    numbers = read_ground_numbers(grounds, data_dir, paths)
    if numbers is None:
        overlaps = find_overlaps([pack_pixels(image) for image in images])
        numbers = np.array(number_grounds(len(paths), [(one.a, one.b) for one in overlaps]), np.intp)
    features = describe_tiles("Describing tiles", images[..., :3], workers)
    return TileSet(features, arrays["labels"], numbers)


def count_grounds(tiles: TileSet) -> dict[str, int]:
    """Count the grounds in which each class lies: with more folds, some cannot test it under grouped folds."""
    return {name: len(np.unique(tiles.grounds[tiles.labels == label])) for label, name in enumerate(CLASS_NAMES)}


def choose_folds(tiles: TileSet, folds: int | None) -> int:
    """Return the number of folds: what was asked for, or as many as both classes allow.

    Raises:
        ValueError: a class lies in too few grounds.
    """
    fewest, name = min((number, name) for name, number in count_grounds(tiles).items())
    chosen = min(MOST_FOLDS, max(fewest, 2)) if folds is None else folds
    if fewest < chosen:
        remedy = f"give --folds {fewest}, or add" if fewest >= 2 else "add"
        raise ValueError(
            f"the {name} tiles lie in {count(fewest, 'ground')}, too few for {chosen} folds; {remedy} tiles of other "
            "grounds"
        )
    return chosen


def cross_validate(model: str, scheme: str, tiles: TileSet, folds: int, seed: int) -> Validated:
    """Cross-validate a model once.

    Args:
        model: one of `CLASSIFIER_NAMES`.
        scheme: one of `SCHEMES`.
        tiles: what to cross-validate.
        folds: number of folds.
        seed: seed of the folds and of the model.
    """
    features, labels, grounds = tiles
    splitter = (StratifiedKFold if scheme == "random" else StratifiedGroupKFold)(folds, shuffle=True, random_state=seed)
    scores: Scores = np.zeros(len(labels))
    areas, familiar = [], 0
    for train, test in splitter.split(features, labels, None if scheme == "random" else grounds):
        known = np.unique(labels[train])
        # Whole grounds may leave only one class to train on.
        scores[test] = (
            known[0] if known.size == 1 else predict(fit(model, features[train], labels[train], seed), features[test])
        )
        familiar += int(np.isin(grounds[test], grounds[train]).sum())
        if np.unique(labels[test]).size == len(CLASS_NAMES):
            areas.append(roc_auc_score(labels[test], scores[test]))
    return Validated((scores >= THRESHOLD) == labels, float(np.mean(areas or np.nan)), familiar / len(labels))


def assign_classes(grounds: npt.NDArray[np.intp], seed: int) -> Labels:
    """Assign classes to whole grounds at random: each in turn to the class that has fewer tiles by then.

    Args:
        grounds: shape (tiles,).
        seed: seed of the order of the grounds.
    """
    numbers, place, sizes = np.unique(grounds, return_inverse=True, return_counts=True)
    tiles, classes = np.zeros(len(CLASS_NAMES), np.int64), np.zeros(len(numbers), np.int64)
    for ground in np.random.default_rng(seed).permutation(len(numbers)):
        classes[ground] = tiles.argmin()
        tiles[classes[ground]] += sizes[ground]
    return classes[place.ravel()]


def accuracy_statistic(correct: npt.NDArray[Any], labels: Labels) -> Statistic:
    """Return the function that computes balanced accuracy from weights of the tiles.

    Args:
        correct: shape (tiles,), values in [0, 1], or a difference of two such.
        labels: shape (tiles,).
    """
    of_class = np.stack([labels == label for label in np.unique(labels)], axis=1).astype(np.float64)

    def statistic(weights: Weights) -> npt.NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            return np.mean((weights * correct) @ of_class / (weights @ of_class), axis=1, keepdims=True)

    return statistic


def balanced_accuracy(correct: npt.NDArray[Any], labels: Labels) -> float:
    """Return the mean over the classes of the share of correct tiles.

    Example:
        >>> balanced_accuracy(np.array([True, True, True, False]), np.array([0, 0, 1, 1]))
        0.75
    """
    return float(accuracy_statistic(correct, labels)(np.ones((1, len(labels))))[0, 0])


def experiment(tiles: TileSet, folds: int, repeats: int, seed: int, workers: Workers) -> dict[str, Any]:
    """Cross-validate every classifier under both schemes, with the tiles' own classes and with the control's.

    Args:
        tiles: what to cross-validate.
        folds: number of folds.
        repeats: number of repeats; repeat n has the seed `seed + n`.
        seed: seed of the folds, the models, the control and the bootstrap, from 0.
        workers: processes; they change nothing in the figures.

    Returns:
        the figures, for a JSON file. `scores` holds for each labelling, model and scheme the mean and the interval over
        repeats of `balanced_accuracy` and `roc_auc`, and the share of `familiar` tiles; for each `difference` (random
        less grouped balanced accuracy) the same over `repeats`, and for the tiles' own classes over `grounds`.
    """
    seeds = range(seed, seed + repeats)
    labelled = {
        (labelling, one): tiles if labelling == "classes" else tiles._replace(labels=assign_classes(tiles.grounds, one))
        for labelling, one in itertools.product(LABELLINGS, seeds)
    }
    runs = list(itertools.product(LABELLINGS, CLASSIFIER_NAMES, SCHEMES, seeds))
    arguments = [(model, scheme, labelled[labelling, one], folds, one) for labelling, model, scheme, one in runs]
    by_run = dict(zip(runs, workers.map("Cross-validating", cross_validate, arguments, "runs"), strict=True))
    scores: dict[str, dict[str, Any]] = {labelling: {} for labelling in LABELLINGS}
    for labelling, model in itertools.product(LABELLINGS, CLASSIFIER_NAMES):
        found = {scheme: [by_run[labelling, model, scheme, one] for one in seeds] for scheme in SCHEMES}
        labels = [labelled[labelling, one].labels for one in seeds]
        scores[labelling][model] = _summarise(tiles, found, labels, seed if labelling == "classes" else None)
    return {
        "tiles": {name: int((tiles.labels == label).sum()) for label, name in enumerate(CLASS_NAMES)},
        "grounds": {
            "all": len(np.unique(tiles.grounds)),
            "largest": int(np.bincount(tiles.grounds).max()),
            **count_grounds(tiles),
        },
        "folds": folds,
        "repeats": repeats,
        "seed": seed,
        "features": len(TILE_FEATURE_NAMES),
        "scikit-learn": sklearn.__version__,
        "scores": scores,
    }


def _summarise(
    tiles: TileSet, found: Mapping[str, Sequence[Validated]], labels: Sequence[Labels], seed: int | None
) -> dict[str, Any]:
    accuracies = {
        scheme: [balanced_accuracy(one.correct, its) for one, its in zip(several, labels, strict=True)]
        for scheme, several in found.items()
    }
    summary: dict[str, Any] = {
        scheme: {
            "balanced_accuracy": _interval(accuracies[scheme]),
            "roc_auc": _interval([one.auc for one in several]),
            "familiar": round(float(np.mean([one.familiar for one in several])), _DIGITS),
        }
        for scheme, several in found.items()
    }
    summary["difference"] = {"repeats": _interval(np.subtract(accuracies["random"], accuracies["grouped"]))}
    if seed is not None:  # the repeats have the same classes
        random, grouped = (np.mean([one.correct for one in found[scheme]], axis=0) for scheme in SCHEMES)
        (ends,) = bootstrap(accuracy_statistic(random - grouped, tiles.labels), tiles.grounds, seed=seed)
        mean = balanced_accuracy(random - grouped, tiles.labels)
        summary["difference"]["grounds"] = _rounded(mean, ends.low, ends.high)
    return summary


def _interval(values: Sequence[float] | npt.NDArray[np.float64]) -> dict[str, float | None]:
    """Return the mean and the ends of the middle 95 %; NaN is left out."""
    numbers = np.asarray(values)[~np.isnan(values)]
    if not numbers.size:
        return _rounded(math.nan, math.nan, math.nan)
    return _rounded(numbers.mean(), *np.quantile(numbers, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))


def _rounded(mean: float, low: float, high: float) -> dict[str, float | None]:
    numbers = {"mean": mean, "low": low, "high": high}
    return {name: None if math.isnan(number) else round(float(number), _DIGITS) for name, number in numbers.items()}
