"""Compare predictions with the truth: metrics with intervals, and the confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rock_glacier.output import count
from rock_glacier.score import metrics
from rock_glacier.score.bootstrap import (
    FEW_CLUSTERS,
    MOST_UNDEFINED,
    REPLICATES,
    Array,
    Clusters,
    Statistic,
    interval,
    replicate,
)
from rock_glacier.score.predictions import Predictions
from rock_glacier.score.truth import CLASSIFICATION, Truth

THRESHOLD = 0.5
"""Score from which a tile is predicted as `glaciar`."""


@dataclass(frozen=True)
class Metric:
    """A metric, or the difference of two models in one, with its 95 % interval.

    Attributes:
        value: The value, NaN if it is undefined.
        low: Lower end of the interval, NaN if it is undefined.
        high: Upper end of the interval, NaN if it is undefined.
        unit: What was drawn for the interval: "block", "site" or "tile".
    """

    value: float
    low: float
    high: float
    unit: str


@dataclass(frozen=True)
class Comparison:
    """Another model, and how the first one differs from it.

    Attributes:
        predictions: File or folder of the other model's predictions.
        metrics: The other model's metrics by name.
        differences: By name, the metric of the first model minus the metric of the other one, with
            the interval of a paired bootstrap.
    """

    predictions: str
    metrics: dict[str, Metric]
    differences: dict[str, Metric]


@dataclass(frozen=True)
class Evaluation:
    """The scores of predictions.

    Attributes:
        predictions: File or folder of the predictions.
        truth: The truth of the split.
        threshold: Score from which a tile is predicted as `glaciar`; None for masks.
        metrics: The metrics by name.
        confusion: Number of tiles or pixels by true class (rows) and predicted class (columns).
        notes: What limits the scores, a sentence each.
        against: The other model, if there is one.
    """

    predictions: str
    truth: Truth
    threshold: float | None
    metrics: dict[str, Metric]
    confusion: pd.DataFrame
    notes: list[str]
    against: Comparison | None


def evaluate(
    predictions: Predictions,
    truth: Truth,
    *,
    against: Predictions | None = None,
    threshold: float = THRESHOLD,
) -> Evaluation:
    """Score predictions, and compare them with the predictions of another model.

    Args:
        predictions: Scores or masks, as the config of the truth needs.
        truth: The truth of a split.
        against: Predictions of another model.
        threshold: Score from which a tile is predicted as `glaciar`; not used for masks.

    Raises:
        InputError: If there is not exactly one prediction for each tile.
    """
    statistic, confusion = _compare(predictions, truth, threshold)
    model = _Bootstrapped.draw(statistic, truth.clusters)
    notes = [*_notes_on_truth(truth), *model.list_undefined(predictions.source)]
    comparison = None
    if against is not None:
        statistic, _ = _compare(against, truth, threshold)
        other = _Bootstrapped.draw(statistic, truth.clusters)
        difference = model.minus(other)
        notes += other.list_undefined(against.source)
        notes += difference.list_undefined("difference")
        comparison = Comparison(against.source, other.metrics, difference.metrics)
    return Evaluation(
        predictions=predictions.source,
        truth=truth,
        threshold=threshold if truth.config == CLASSIFICATION else None,
        metrics=model.metrics,
        confusion=confusion,
        notes=notes,
        against=comparison,
    )


def _compare(
    predictions: Predictions, truth: Truth, threshold: float
) -> tuple[Statistic, pd.DataFrame]:
    """Return the statistic and the confusion matrix of some predictions."""
    predicted = predictions.in_order_of(truth.paths)
    if truth.config == CLASSIFICATION:
        confusion = metrics.class_confusion(truth.values, predicted, threshold)
        return metrics.class_statistic(truth.values, predicted, threshold), confusion
    counts = metrics.count_pixels(truth.values, predicted)
    return metrics.mask_statistic(counts), metrics.mask_confusion(counts)


@dataclass(frozen=True)
class _Bootstrapped:
    """Metrics with their replicates.

    Attributes:
        clusters: What was drawn.
        values: Each metric over all tiles, by name.
        replicates: Each metric in the replicates, by name: shape (replicates,).
    """

    clusters: Clusters
    values: dict[str, float]
    replicates: dict[str, Array]

    @classmethod
    def draw(cls, statistic: Statistic, clusters: Clusters) -> _Bootstrapped:
        whole = statistic(np.ones((1, clusters.of_tiles.size)))
        values = {name: float(value[0]) for name, value in whole.items()}
        return cls(clusters, values, replicate(statistic, clusters))

    def minus(self, other: _Bootstrapped) -> _Bootstrapped:
        values = {name: value - other.values[name] for name, value in self.values.items()}
        replicates = {
            name: array - other.replicates[name] for name, array in self.replicates.items()
        }
        return _Bootstrapped(self.clusters, values, replicates)

    @property
    def metrics(self) -> dict[str, Metric]:
        found = {}
        for name, value in self.values.items():
            ends = interval(self.replicates[name], self.clusters)
            found[name] = Metric(value, ends.low, ends.high, self.clusters.unit)
        return found

    def list_undefined(self, name: str) -> Iterator[str]:
        """Yield notes on metrics that are undefined, in general or in some replicates."""
        undefined = [metric for metric, value in self.values.items() if math.isnan(value)]
        if undefined:
            yield (
                f"{name}: {', '.join(undefined)} cannot be computed, because a class is missing "
                "in the truth or in the predictions."
            )
        ignored = []
        for metric, array in self.replicates.items():
            number = int(np.isnan(array).sum())
            if number and metric not in undefined:
                ignored.append(f"{metric} ({number:,})")
        if ignored:
            yield (
                f"{name}: intervals ignore replicates that lack a class: {', '.join(ignored)} of "
                f"{REPLICATES:,}. With more than {MOST_UNDEFINED:.0%} there is no interval."
            )


def _notes_on_truth(truth: Truth) -> Iterator[str]:
    if truth.is_sample:
        yield f"{truth.source} is a synthetic sample: its scores say nothing about the dataset."
    clusters = truth.clusters
    if clusters.unit == "tile":
        yield (
            "The intervals are too narrow: without a tile index, tiles are drawn one by one as if "
            "neighbours were independent. Give --index; `audit --index` writes the file."
        )
    if clusters.number == 1:
        yield f"There are no intervals, because all tiles are in one {clusters.unit}."
    elif clusters.effective < FEW_CLUSTERS:
        yield (
            f"The intervals are unreliable and too narrow: {count(clusters.number, clusters.unit)} "
            f"count like {clusters.effective:.1f} of equal size, fewer than {FEW_CLUSTERS}."
        )
