"""An evaluation: predictions compared with the truth, each metric with its interval, and what to know about them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import class_metrics
import mask_metrics
import numpy as np
import numpy.typing as npt
from class_metrics import CLASS_METRICS, Metric
from group_bootstrap import FEW_GROUPS, LEVEL, REPLICATES, Interval, bootstrap
from mask_metrics import MASK_METRICS, TOLERANCE, TileCounts
from predictions import THRESHOLD, MaskPredictions, PredictedScores, read_scores, rows_of_tiles
from tile_groups import groups_of_tiles
from tqdm import tqdm
from true_tiles import Source, TrueTiles, pinned

from rock_glacier_dataset import CLASS_NAMES, CONFIG_NAMES, TILE_SIZE

CLASSIFICATION, SEGMENTATION = CONFIG_NAMES

MEANINGS = dict(zip(CLASS_NAMES, ("no rock glacier", "rock glacier"), strict=True))
"""The Spanish class names in English."""

PIXEL_CLASSES = ("background", "rock glacier")


class Request(NamedTuple):
    """What to evaluate, and how.

    Attributes:
        predictions: file or folder of predictions.
        source: where the truth is loaded from.
        config: name of the config.
        split: name of the split.
        groups: CSV file of the groups; None for the one that lies with the dataset, where there is one.
        threshold: probability from which a tile is glaciar, or a pixel rock glacier.
        tolerance: pixels that a boundary may be off.
        replicates: number of replicates of the bootstrap.
        seed: seed of the bootstrap.
    """

    predictions: Path
    source: Source
    config: str
    split: str
    groups: Path | None = None
    threshold: float = THRESHOLD
    tolerance: float = TOLERANCE
    replicates: int = REPLICATES
    seed: int = 0


class Result(NamedTuple):
    """A metric with its interval.

    Attributes:
        metric: what it is called.
        value: NaN where it is not defined.
        interval: where it lies with the confidence `LEVEL`.
    """

    metric: Metric
    value: float
    interval: Interval


class Evaluation(NamedTuple):
    """What was found.

    Attributes:
        request: what was asked, with the commit and the groups that were taken.
        tiles: number of tiles.
        groups: number of groups; None where they are not known.
        results: the metrics.
        classes: names of the confusion matrix' rows and columns.
        confusion: tiles, or pixels, shape (2, 2): the row is the true class, the column the predicted one.
        notes: what to know about the numbers, a sentence each.
    """

    request: Request
    tiles: int
    groups: int | None
    results: list[Result]
    classes: tuple[str, ...]
    confusion: npt.NDArray[np.int64]
    notes: list[str]

    @property
    def resampled(self) -> str:
        """What the bootstrap draws: "groups" or "tiles"."""
        return "tiles" if self.groups is None else "groups"

    def as_json(self) -> dict[str, Any]:
        """Return everything, for a JSON file; null for what is not defined."""
        asked = self.request
        of_masks = asked.config == SEGMENTATION
        return {
            "config": asked.config,
            "split": asked.split,
            "dataset": {name: value for name, value in asked.source._asdict().items() if value is not None},
            "predictions": str(asked.predictions),
            "tiles": self.tiles,
            "groups": self.groups,
            "threshold": asked.threshold,
            **({"boundary_tolerance": asked.tolerance} if of_masks else {}),
            "bootstrap": {
                "over": self.resampled,
                "replicates": asked.replicates,
                "seed": asked.seed,
                "level": LEVEL,
                "interval": "expanded percentile",
            },
            "metrics": {result.metric.key: _result_as_json(result) for result in self.results},
            "confusion_matrix": {
                "unit": "pixels" if of_masks else "tiles",
                "classes": list(self.classes),
                "counts": self.confusion.tolist(),
            },
            "notes": self.notes,
        }


def _result_as_json(result: Result) -> dict[str, Any]:
    low, high, undefined = result.interval
    ends = {"value": result.value, "low": low, "high": high}
    return {name: None if math.isnan(end) else end for name, end in ends.items()} | {"undefined_replicates": undefined}


def evaluate(request: Request, progress: bool = False) -> Evaluation:
    """Compare predictions with the truth.

    Args:
        request: what to evaluate, and how.
        progress: whether to show progress bars on standard error.

    Raises:
        PredictionError: the predictions are not what they should be.
        ValueError: the groups are not.
        Exception: whatever loading the dataset raises.
    """
    # The predictions are opened first: what is wrong with them is soon told, and loading takes its time.
    if request.config == CLASSIFICATION:
        return _evaluate_scores(request, read_scores(request.predictions), progress)
    return _evaluate_masks(request, MaskPredictions(request.predictions, request.threshold), progress)


def _evaluate_scores(request: Request, predicted: PredictedScores, progress: bool) -> Evaluation:
    request = _pinned(request)
    tiles = TrueTiles(request.source, request.config, request.split)
    rows = rows_of_tiles(request.predictions, predicted.paths, tiles.paths, request.split)
    groups = _groups(request, tiles.paths)
    labels, scores = np.array(tiles.labels(), np.int64), np.empty(len(rows))
    scores[rows] = predicted.scores
    intervals = bootstrap(
        class_metrics.replicated_metrics(labels, scores, request.threshold),
        *_resampling(request, groups, len(labels)),
        progress,
    )
    values = class_metrics.class_metrics(labels, scores, request.threshold)
    confusion = class_metrics.confusion_matrix(labels, scores, request.threshold)
    return _found(request, groups, _results(CLASS_METRICS, values, intervals), CLASS_NAMES, confusion, [])


def _evaluate_masks(request: Request, predicted: MaskPredictions, progress: bool) -> Evaluation:
    request = _pinned(request)
    tiles = TrueTiles(request.source, request.config, request.split)
    rows = rows_of_tiles(request.predictions, predicted.paths, tiles.paths, request.split)
    groups = _groups(request, tiles.paths)
    counts = np.empty((len(rows), len(TileCounts._fields)), np.int64)
    with tqdm(predicted, desc="masks", total=len(rows), unit="mask", disable=not progress, leave=False) as masks:
        for row, (_, mask) in zip(rows, masks, strict=True):
            counts[row] = mask_metrics.tile_counts(tiles.mask(row), mask, request.tolerance)
    statistic = mask_metrics.replicated_metrics(counts)
    intervals = bootstrap(statistic, *_resampling(request, groups, len(counts)), progress)
    values = statistic(np.ones((1, len(counts))))[0]
    confusion = mask_metrics.confusion_matrix(counts, len(counts) * TILE_SIZE**2)
    notes = list(_notes_on_masks(request, counts, predicted.are_probabilities))
    return _found(request, groups, _results(MASK_METRICS, values, intervals), PIXEL_CLASSES, confusion, notes)


def _pinned(request: Request) -> Request:
    """Return what was asked, with the commit of the Hub dataset, and the groups that lie with the dataset."""
    source, groups = pinned(request.source)
    return request._replace(source=source, groups=request.groups or groups)


def _groups(request: Request, paths: Sequence[str]) -> npt.NDArray[np.intp] | None:
    return None if request.groups is None else np.array(groups_of_tiles(request.groups, paths), np.intp)


def _resampling(
    request: Request, groups: npt.NDArray[np.intp] | None, tiles: int
) -> tuple[npt.NDArray[np.intp], int, int]:
    return np.arange(tiles) if groups is None else groups, request.replicates, request.seed


def _results(metrics: Sequence[Metric], values: npt.NDArray[np.float64], intervals: Sequence[Interval]) -> list[Result]:
    return [Result(*one) for one in zip(metrics, values.tolist(), intervals, strict=True)]


def _found(
    request: Request,
    groups: npt.NDArray[np.intp] | None,
    results: list[Result],
    classes: tuple[str, ...],
    confusion: npt.NDArray[np.int64],
    notes: list[str],
) -> Evaluation:
    number = None if groups is None else int(groups.max()) + 1
    notes = [*_notes_on_intervals(request, number, results), *notes]
    tiles = int(confusion.sum()) // (TILE_SIZE**2 if request.config == SEGMENTATION else 1)
    return Evaluation(request, tiles, number, results, classes, confusion, notes)


def _notes_on_intervals(request: Request, groups: int | None, results: Sequence[Result]) -> Iterator[str]:
    if groups is None:
        yield (
            "The intervals are too narrow: there are no groups of tiles that share ground, so each tile was drawn "
            "by itself, and neighbours count as independent. Give --groups, the groups.csv of build_archives.py."
        )
    elif groups == 1:
        yield "There are no intervals: all tiles are of one group, and one group says nothing of another."
    elif groups < FEW_GROUPS:
        yield f"The intervals are not to be relied on: {groups} groups are few, and they come out too narrow."
    undefined = [metric.name for metric, value, _ in results if math.isnan(value)]
    if undefined:
        lacking = "class in the truth" if request.config == CLASSIFICATION else "rock glacier in either mask"
        yield f"Not defined, for want of a {lacking}: {', '.join(undefined)}."
    left_out: dict[int, list[str]] = {}
    for metric, value, interval in results:
        if not math.isnan(value):
            left_out.setdefault(interval.undefined, []).append(metric.name)
    for number, names in left_out.items():
        if number:
            yield (
                f"Not defined in {number} of {request.replicates} replicates, which the intervals leave out: "
                f"{', '.join(names)}."
            )


def _notes_on_masks(request: Request, counts: npt.NDArray[np.int64], are_probabilities: bool) -> Iterator[str]:
    if are_probabilities:
        yield f"The predicted masks are floats: a pixel is rock glacier from {request.threshold:g} up."
    without_rock_glacier, without_boundary = mask_metrics.tiles_left_out(counts)
    if without_boundary:  # which are those without rock glacier, and those that are full of it
        yield (
            f"The means over tiles leave out those where neither mask shows rock glacier, {without_rock_glacier} of "
            f"{len(counts)}; boundary F1, those where neither has a boundary, {without_boundary}."
        )
