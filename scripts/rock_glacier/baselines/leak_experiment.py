"""Measure the value of a leak: the same models under random folds, and under folds that keep grounds whole.

Tiles of one ground are alike. Under random folds a model is tested on ground that it was trained on; where each ground
goes to one fold, it is not. Both cross-validations have the same tiles, features, models, seeds and number of folds.

The interval of a score, and of the difference of two, is that of its repeats, each with other folds and another seed of
the model; it says nothing about other tiles.

Grouped folds also leave less varied ground to train on, so the difference is not the leak alone. Hence the control:
classes are assigned to whole grounds at random, anew in each repeat, so that only the ground can be learned. What
random folds score there above 0.5 is memory of the ground and nothing else; what grouped folds score there is what this
procedure gives for ignorance, which may be below 0.5.

The experiment does not show how well rock glaciers can be recognised.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import sklearn
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from rock_glacier.arrays import to_arrays
from rock_glacier.baselines.classifiers import CLASSIFIER_NAMES, Labels, fit, predict
from rock_glacier.baselines.features import TILE_FEATURE_NAMES, Features, describe_tiles
from rock_glacier.console import count
from rock_glacier.grounds.components import number_grounds
from rock_glacier.grounds.overlaps import find_overlaps
from rock_glacier.grounds.pixels import pack_pixels
from rock_glacier.parallel import Workers
from rock_glacier.scoring import THRESHOLD
from rock_glacier.scoring.truth import read_clusters
from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES, load_archives

MOST_FOLDS = 5
"""Number of folds by default, where both classes lie in so many grounds."""

SCHEMES = ("random", "grouped")

LABELLINGS = ("classes", "control")
"""The tiles' own classes; and classes assigned to grounds at random."""

_DIGITS = 4


class TileSet(NamedTuple):
    """Tiles to cross-validate: features of shape (tiles, features), labels and ground numbers of shape (tiles,)."""

    features: Features
    labels: Labels
    grounds: npt.NDArray[np.intp]


def read_tiles(data_dir: str, workers: Workers) -> TileSet:
    """Read the tiles of all splits, with the grounds of the `grounds.csv` beside them or, without one, by overlap.

    Raises:
        ArchiveError: the archives, or the grounds, have a fault.
    """
    arrays = to_arrays(load_archives(data_dir=data_dir, split="+".join(SPLIT_NAMES)), rgb=False)
    paths, images = arrays["path"].tolist(), arrays["image"]
    clusters = read_clusters(None, data_dir, paths)
    numbers = clusters.numbers
    if clusters.grounds is None:
        overlaps = find_overlaps([pack_pixels(image) for image in images])
        numbers = np.array(number_grounds(len(paths), [(one.a, one.b) for one in overlaps]), np.intp)
    return TileSet(describe_tiles("Describing tiles", images[..., :3], workers), arrays["labels"], numbers)


def count_grounds(tiles: TileSet) -> dict[str, int]:
    """Count the grounds in which each class lies."""
    return {name: len(np.unique(tiles.grounds[tiles.labels == label])) for label, name in enumerate(CLASS_NAMES)}


def choose_folds(tiles: TileSet, folds: int | None) -> int:
    """Return the number of folds: what was asked for, or as many as both classes allow.

    Raises:
        ValueError: a class lies in too few grounds to be in each fold.
    """
    fewest, name = min((number, name) for name, number in count_grounds(tiles).items())
    chosen = folds or min(MOST_FOLDS, max(fewest, 2))
    if fewest < chosen:
        remedy = f"give --folds {fewest}, or add" if fewest >= 2 else "add"
        raise ValueError(
            f"the {name} tiles lie in {count(fewest, 'ground')}, too few for {chosen} folds; {remedy} tiles of other "
            "grounds"
        )
    return chosen


def cross_validate(model: str, scheme: str, tiles: TileSet, folds: int, seed: int) -> tuple[float, float]:
    """Cross-validate a model once.

    Args:
        model: one of `CLASSIFIER_NAMES`.
        scheme: one of `SCHEMES`.
        tiles: what to cross-validate.
        folds: number of folds.
        seed: seed of the folds and of the model.

    Returns:
        balanced accuracy over all tiles, each tested by a model that was not trained on it, and the share of the tiles
        whose ground that model was trained on.
    """
    features, labels, grounds = tiles
    splitter = (StratifiedKFold if scheme == "random" else StratifiedGroupKFold)(folds, shuffle=True, random_state=seed)
    predicted, familiar = np.zeros_like(labels), 0
    for train, test in splitter.split(features, labels, None if scheme == "random" else grounds):
        if np.ptp(labels[train]) == 0:  # whole grounds may leave only one class to train on
            predicted[test] = labels[train][0]
        else:
            scores = predict(fit(model, features[train], labels[train], seed), features[test])
            predicted[test] = scores >= THRESHOLD
        familiar += int(np.isin(grounds[test], grounds[train]).sum())
    return float(balanced_accuracy_score(labels, predicted)), familiar / len(labels)


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


def experiment(tiles: TileSet, folds: int, repeats: int, seed: int, workers: Workers) -> dict[str, Any]:
    """Cross-validate every classifier under both schemes, with the tiles' own classes and with the control's.

    Args:
        tiles: what to cross-validate.
        folds: number of folds.
        repeats: number of repeats; repeat n has the seed `seed + n`.
        seed: seed of the folds, the models and the control, from 0.
        workers: processes; they change nothing in the figures.

    Returns:
        the figures, for a JSON file. `scores` holds for each labelling, model and scheme the mean and the interval over
        repeats of `balanced_accuracy`, and the share of `familiar` tiles; and for each labelling and model the same of
        the `difference`, random less grouped balanced accuracy.
    """
    seeds = range(seed, seed + repeats)
    labelled = {("classes", one): tiles for one in seeds}
    labelled |= {("control", one): tiles._replace(labels=assign_classes(tiles.grounds, one)) for one in seeds}
    runs = list(itertools.product(LABELLINGS, CLASSIFIER_NAMES, SCHEMES, seeds))
    arguments = [(model, scheme, labelled[labelling, one], folds, one) for labelling, model, scheme, one in runs]
    found = dict(zip(runs, workers.map("Cross-validating", cross_validate, arguments, "runs"), strict=True))
    scores: dict[str, dict[str, Any]] = {labelling: {} for labelling in LABELLINGS}
    for labelling, model in itertools.product(LABELLINGS, CLASSIFIER_NAMES):
        of_model, accuracies = {}, {}
        for scheme in SCHEMES:
            accuracies[scheme], familiar = np.transpose([found[labelling, model, scheme, one] for one in seeds])
            of_model[scheme] = {
                "balanced_accuracy": _interval(accuracies[scheme]),
                "familiar": round(float(familiar.mean()), _DIGITS),
            }
        difference = _interval(accuracies["random"] - accuracies["grouped"])
        scores[labelling][model] = {**of_model, "difference": difference}
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


def _interval(values: npt.NDArray[np.float64]) -> dict[str, float]:
    """Return the mean and the ends of the middle 95 %."""
    low, high = np.quantile(values, [0.025, 0.975])
    return {name: round(float(one), _DIGITS) for name, one in (("mean", values.mean()), ("low", low), ("high", high))}
