"""Compare predictions with the truth: metrics with intervals, the confusion matrix, and notes on both."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from rock_glacier.console import count
from rock_glacier.scoring.bootstrap import FEW_GROUNDS, LEVEL, REPLICATES, Interval, bootstrap
from rock_glacier.scoring.class_metrics import CLASS_METRICS, Metric, class_statistic
from rock_glacier.scoring.mask_metrics import (
    MASK_METRICS,
    TOLERANCE,
    count_pixels,
    count_tiles_left_out,
    mask_confusion,
    mask_statistic,
)
from rock_glacier.scoring.predictions import THRESHOLD, MaskPredictions, match_tiles, read_scores
from rock_glacier.scoring.truth import Source, load_truth, pin, read_ground_numbers, true_masks
from rock_glacier_dataset import CLASS_NAMES, CONFIG_NAMES, TILE_SIZE

CLASSIFICATION, SEGMENTATION = CONFIG_NAMES

_CLASSES = {CLASSIFICATION: CLASS_NAMES, SEGMENTATION: ("background", "rock glacier")}
_UNITS = {CLASSIFICATION: "tiles", SEGMENTATION: "pixels"}


class Request(NamedTuple):
    """What to evaluate, and how.

    Attributes:
        predictions: file or folder of predictions.
        source: where the truth is loaded from.
        config: name of the config.
        split: name of the split.
        grounds: a grounds.csv; None for the one beside the dataset, if there is one.
        threshold: probability from which a tile is glaciar, or a pixel rock glacier.
        tolerance: pixels by which a boundary may be off.
        replicates: number of replicates of the bootstrap.
        seed: seed of the bootstrap.
    """

    predictions: Path
    source: Source
    config: str
    split: str = "test"
    grounds: Path | None = None
    threshold: float = THRESHOLD
    tolerance: float = TOLERANCE
    replicates: int = REPLICATES
    seed: int = 0


class Result(NamedTuple):
    """A metric, its value (NaN where it is not defined) and its interval."""

    metric: Metric
    value: float
    interval: Interval


class Evaluation(NamedTuple):
    """What was found.

    Attributes:
        request: the request, with the commit of the Hub dataset.
        tiles: number of tiles.
        grounds: number of grounds; None where they are not known.
        results: the metrics.
        confusion: tiles or pixels, shape (2, 2): the row is the true class, the column the predicted one.
        notes: what limits the numbers, a sentence each.
    """

    request: Request
    tiles: int
    grounds: int | None
    results: list[Result]
    confusion: npt.NDArray[np.int64]
    notes: list[str]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the confusion matrix' rows and columns."""
        return _CLASSES[self.request.config]

    @property
    def unit(self) -> str:
        """What the confusion matrix counts."""
        return _UNITS[self.request.config]

    @property
    def resampled(self) -> str:
        """What the bootstrap draws: `grounds` or `tiles`."""
        return "tiles" if self.grounds is None else "grounds"

    def as_json(self) -> dict[str, Any]:
        """Return everything for a JSON file; null for what is not defined."""
        request = self.request
        tolerance = {"boundary_tolerance": request.tolerance} if request.config == SEGMENTATION else {}
        return {
            "config": request.config,
            "split": request.split,
            "dataset": {name: value for name, value in request.source._asdict().items() if value is not None},
            "predictions": str(request.predictions),
            "tiles": self.tiles,
            "grounds": self.grounds,
            "threshold": request.threshold,
            **tolerance,
            "bootstrap": {
                "over": self.resampled,
                "replicates": request.replicates,
                "seed": request.seed,
                "level": LEVEL,
                "interval": "expanded percentile",
            },
            "metrics": {
                metric.key: {
                    **{
                        name: None if math.isnan(number) else number
                        for name, number in (("value", value), ("low", interval.low), ("high", interval.high))
                    },
                    "undefined_replicates": interval.undefined,
                }
                for metric, value, interval in self.results
            },
            "confusion_matrix": {
                "unit": self.unit,
                "classes": list(self.classes),
                "counts": self.confusion.tolist(),
            },
            "notes": self.notes,
        }


def evaluate(request: Request, progress: bool = False) -> Evaluation:
    """Compare predictions with the truth.

    Args:
        request: what to evaluate, and how.
        progress: whether to show progress bars on standard error, where that is a terminal.

    Raises:
        PredictionError: the predictions do not fit.
        ArchiveError: the archives or the grounds have a fault.
        Exception: whatever else loading the dataset raises.
    """
    of_tiles = request.config == CLASSIFICATION
    # Faults of the predictions are found first, because loading takes longer.
    predicted: Any = (
        read_scores(request.predictions) if of_tiles else MaskPredictions(request.predictions, request.threshold)
    )
    source, grounds_file = pin(request.source)
    request = request._replace(source=source)
    truth = load_truth(source, request.config, request.split)
    paths = list(truth["path"])
    rows = match_tiles(request.predictions, predicted[0] if of_tiles else predicted.paths, paths, request.split)
    try:
        grounds = read_ground_numbers(str(request.grounds or grounds_file), paths)
    except FileNotFoundError:
        if request.grounds is not None:
            raise
        grounds = None
    notes: list[str] = []
    if of_tiles:
        metrics, labels, scores = CLASS_METRICS, np.array(truth["labels"], np.int64), np.empty(len(rows))
        scores[rows] = predicted[1]
        statistic = class_statistic(labels, scores, request.threshold)
        confusion = np.bincount(2 * labels + (scores >= request.threshold), minlength=4).reshape(2, 2)
    else:
        metrics, counts = MASK_METRICS, np.empty((len(rows), 7), np.int64)
        pairs = zip(rows, predicted, true_masks(truth, rows), strict=True)
        disable = None if progress else True
        for row, (_, mask), true_mask in tqdm(pairs, "masks", len(rows), unit=" masks", disable=disable, leave=False):
            counts[row] = count_pixels(true_mask, mask, request.tolerance)
        statistic = mask_statistic(counts)
        confusion = mask_confusion(counts, len(rows) * TILE_SIZE**2)
        notes += _notes_on_masks(counts, request.threshold if predicted.are_probabilities else None)
    drawn = np.arange(len(rows)) if grounds is None else grounds
    intervals = bootstrap(statistic, drawn, request.replicates, request.seed, progress)
    values = statistic(np.ones((1, len(rows))))[0].tolist()
    results = [Result(*one) for one in zip(metrics, values, intervals, strict=True)]
    number = None if grounds is None else int(grounds.max()) + 1
    notes = [*_notes_on_intervals(request, number, results), *notes]
    return Evaluation(request, len(rows), number, results, confusion, notes)


def _notes_on_intervals(request: Request, grounds: int | None, results: list[Result]) -> Iterator[str]:
    if grounds is None:
        yield (
            "The intervals are too narrow: without a grounds.csv each tile is drawn by itself, as if neighbours were "
            "independent. Give --grounds, the file that build_archives.py writes."
        )
    elif grounds == 1:
        yield "There are no intervals: all tiles are of one ground, which says nothing about another."
    elif grounds < FEW_GROUNDS:
        yield f"The intervals are unreliable: {grounds} grounds are few, and the intervals come out too narrow."
    undefined = [metric.name for metric, value, _ in results if math.isnan(value)]
    if undefined:
        missing = "class in the truth" if request.config == CLASSIFICATION else "rock glacier in either mask"
        yield f"Not defined, for lack of a {missing}: {', '.join(undefined)}."
    for number in sorted({interval.undefined for _, _, interval in results} - {0}):
        names = [one.metric.name for one in results if one.interval.undefined == number and not math.isnan(one.value)]
        if names:
            yield (
                f"Not defined in {number} of {request.replicates} replicates, which the intervals leave out: "
                f"{', '.join(names)}."
            )


def _notes_on_masks(counts: npt.NDArray[np.int64], threshold: float | None) -> Iterator[str]:
    if threshold is not None:
        yield f"The predicted masks are floats: a pixel is rock glacier from {threshold:g} up."
    without_rock_glacier, without_boundary = count_tiles_left_out(counts)
    if without_boundary:  # every tile without rock glacier, and those that are full of it
        yield (
            f"Means over tiles leave out those where neither mask shows rock glacier, {without_rock_glacier} of "
            f"{count(len(counts), 'tile')}; boundary F1 those where neither has a boundary, {without_boundary}."
        )
