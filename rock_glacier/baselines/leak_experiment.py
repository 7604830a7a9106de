"""Measure the value of a leak: the same models under random folds, folds by groups, and folds by blocks.

Tiles of one ground are alike. Under random folds a model is tested on ground that it was trained on. Folds by groups
keep tiles together that share identical pixels, directly or through others; the same ground on another date may still
be in another fold. Folds by blocks share no ground. A place is a ground; blocks are places, or parts of them, as
`build_archives.py` makes them for three splits of equal shares of each class: where whole places do not meet these
shares, the largest of each class may be cut by straight lines. Tiles across a line are left out of all three kinds of
folds. Thus all kinds have the same tiles, features, models, seeds and number of folds.

Where a fold leaves only one class to train on, this class is predicted. Scores are of all tiles together, so that a
fold may lack a class.

The interval of a score, and of the difference of two, is that of its repeats, each with other folds and another seed of
the model; it says nothing about other tiles. Few blocks can be put into folds in one way only.

Folds by groups and by blocks also leave less varied ground to train on, so the difference is not the leak alone. Hence
the control: the places of each class are assigned to two new classes, anew in each repeat, so that the new classes mean
nothing and only places can be learned. What random folds and folds by groups score there above folds by blocks is
memory of the ground; what folds by blocks score there is what a place's other parts tell, or what this procedure gives
for ignorance, which may be below 0.5.

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

from rock_glacier.archives.listing import check_folder
from rock_glacier.arrays import to_arrays
from rock_glacier.audit.checks import audit
from rock_glacier.baselines.classifiers import CLASSIFIER_NAMES, Labels, fit, predict
from rock_glacier.baselines.features import TILE_FEATURE_NAMES, Features, describe_tiles
from rock_glacier.console import count
from rock_glacier.curation.blocks import assign_blocks
from rock_glacier.grounds.components import number_grounds
from rock_glacier.parallel import Workers
from rock_glacier.scoring import THRESHOLD
from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES, load_archives

MOST_FOLDS = 5
"""Number of folds by default, where both classes lie in so many groups and blocks."""

SCHEMES = ("random", "groups", "blocks")

LABELLINGS = ("classes", "control")
"""The tiles' own classes; and new classes that mean nothing, of whole places."""

_DIGITS = 4


class TileSet(NamedTuple):
    """Tiles to cross-validate.

    Attributes:
        features: shape (tiles, features).
        labels: shape (tiles,).
        groups: shape (tiles,): number of each tile's group; tiles that share identical pixels are of one group.
        blocks: shape (tiles,): number of each tile's block, unlike those of other places.
        places: shape (tiles,): number of each tile's place.
        left_out: number of tiles that lie across a line, and are none of these.
    """

    features: Features
    labels: Labels
    groups: npt.NDArray[np.int64]
    blocks: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    left_out: int = 0


def read_tiles(data_dir: str, workers: Workers) -> TileSet:
    """Read the tiles of all splits, and find their groups, places and blocks.

    Raises:
        ArchiveError: the archives have a fault.
        ValueError: there is too little ground to cut into blocks.
    """
    check_folder(data_dir)
    arrays = to_arrays(load_archives(data_dir=data_dir, split="+".join(SPLIT_NAMES)))
    numbers = {path: number for number, path in enumerate(arrays["path"].tolist())}
    found = audit(data_dir, workers)
    overlaps, others = (
        [(numbers[pair["a"]], numbers[pair["b"]]) for pair in pairs]
        for pairs in (found.overlaps, found.same_ground or [])
    )
    groups = number_grounds(len(numbers), overlaps)
    order = np.argsort([numbers[tile.path] for tile in found.listing.tiles])
    places, x, y = (column[order] for column in (found.positions.ground, found.positions.x, found.positions.y))
    labels, ratios = arrays["labels"].tolist(), [1] * len(SPLIT_NAMES)
    cut = assign_blocks(places.tolist(), x, y, labels, ratios, linked=overlaps + others).blocks
    kept = cut >= 0
    blocks = np.unique([places[kept], cut[kept]], axis=1, return_inverse=True)[1].ravel()
    features = describe_tiles("Describing tiles", arrays["image"][kept], workers)
    left_out = int((~kept).sum())
    return TileSet(features, arrays["labels"][kept], np.array(groups)[kept], blocks, places[kept], left_out)


def count_parts(tiles: TileSet) -> dict[str, dict[str, int]]:
    """Count the groups, blocks and places of all tiles and of each class."""
    masks = {"all": tiles.labels >= 0, **{name: tiles.labels == label for label, name in enumerate(CLASS_NAMES)}}
    parts = {name: getattr(tiles, name) for name in ("groups", "blocks", "places")}
    return {
        part: {name: len(np.unique(numbers[mask])) for name, mask in masks.items()} for part, numbers in parts.items()
    }


def choose_folds(tiles: TileSet, folds: int | None) -> int:
    """Return the number of folds: what was asked for, or as many as both classes allow.

    Raises:
        ValueError: a class lies in too few groups or blocks to be in each fold.
    """
    counts = count_parts(tiles)
    fewest, name, part = min((counts[part][name], name, part) for part in SCHEMES[1:] for name in CLASS_NAMES)
    chosen = folds or min(MOST_FOLDS, max(fewest, 2))
    if fewest < chosen:
        remedy = f"give --folds {fewest}, or add" if fewest >= 2 else "add"
        raise ValueError(
            f"the {name} tiles lie in {count(fewest, part[:-1])}, too few for {chosen} folds; {remedy} tiles of other "
            "ground"
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
        balanced accuracy over all tiles, each tested by a model that was not trained on it, and the share of tiles
        whose block was also in the training set.
    """
    features, labels = tiles.features, tiles.labels
    groups = None if scheme == "random" else getattr(tiles, scheme)
    splitter = (StratifiedKFold if groups is None else StratifiedGroupKFold)(folds, shuffle=True, random_state=seed)
    predicted, familiar = np.zeros_like(labels), 0
    for train, test in splitter.split(features, labels, groups):
        if np.ptp(labels[train]) == 0:  # whole blocks may leave only one class to train on
            predicted[test] = labels[train][0]
        else:
            scores = predict(fit(model, features[train], labels[train], seed), features[test])
            predicted[test] = scores >= THRESHOLD
        familiar += int(np.isin(tiles.blocks[test], tiles.blocks[train]).sum())
    return float(balanced_accuracy_score(labels, predicted)), familiar / len(labels)


def assign_classes(tiles: TileSet, seed: int) -> Labels:
    """Assign whole places to two new classes, which mean nothing: the places of each class go to both.

    Each place in turn goes to the new class that has fewer tiles of the place's own class by then or, where they are
    equal, fewer tiles.

    Args:
        tiles: whose places to assign.
        seed: seed of the order of the places.
    """
    _, first, place, sizes = np.unique(tiles.places, return_index=True, return_inverse=True, return_counts=True)
    by_class = np.zeros((len(CLASS_NAMES), len(CLASS_NAMES)), np.int64)  # own, then new
    classes = np.zeros(len(sizes), np.int64)
    for one in np.random.default_rng(seed).permutation(len(sizes)):
        own = tiles.labels[first[one]]
        classes[one] = np.lexsort((by_class.sum(0), by_class[own]))[0]
        by_class[own, classes[one]] += sizes[one]
    return classes[place.ravel()]


def experiment(tiles: TileSet, folds: int, repeats: int, seed: int, workers: Workers) -> dict[str, Any]:
    """Cross-validate every classifier under all schemes, with the tiles' own classes and with the control's.

    Args:
        tiles: what to cross-validate.
        folds: number of folds.
        repeats: number of repeats; repeat n has the seed `seed + n`.
        seed: seed of the folds, the models and the control, from 0.
        workers: processes; they change nothing in the figures.

    Returns:
        the figures, for a JSON file. `scores` holds for each labelling, model and scheme the mean and the interval over
        repeats of `balanced_accuracy`, and the share of `familiar` tiles; and for each labelling and model the same of
        the `difference`, balanced accuracy of random folds less that of folds by blocks.
    """
    seeds = range(seed, seed + repeats)
    labelled = {("classes", one): tiles for one in seeds}
    labelled |= {("control", one): tiles._replace(labels=assign_classes(tiles, one)) for one in seeds}
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
        difference = _interval(accuracies["random"] - accuracies["blocks"])
        scores[labelling][model] = {**of_model, "difference": difference}
    return {
        "tiles": {name: int((tiles.labels == label).sum()) for label, name in enumerate(CLASS_NAMES)},
        "left_out": tiles.left_out,
        **count_parts(tiles),
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
