"""Compare predictions with the truth: metrics with intervals."""

from __future__ import annotations

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
    Clusters,
    Statistic,
    find_interval,
    replicate,
)
from rock_glacier.score.predictions import MAX_VALUE, Predictions
from rock_glacier.score.truth import CLASSIFICATION, Truth

THRESHOLD = 0.5
"""Score from which a tile is predicted as `glaciar`."""


@dataclass(frozen=True)
class Comparison:
    """Another model, and how the first one differs from it.

    Attributes:
        predictions: File or folder of the other model's predictions.
        values: The other model's metrics by name.
        differences: A row for each metric: its value for the first model minus its value for the
            other, with the interval of a paired bootstrap. Columns as in `Evaluation.metrics`.
    """

    predictions: str
    values: pd.Series[float]
    differences: pd.DataFrame


@dataclass(frozen=True)
class Evaluation:
    """The scores of predictions.

    Attributes:
        predictions: File or folder of the predictions.
        truth: The truth of the split.
        threshold: Score from which a tile is predicted as `glaciar`; not used for masks.
        metrics: A row for each metric, by name. Columns: `value`, the ends `low` and `high` of the
            95 % interval, and `unit`, what the bootstrap drew ("block", "site" or "tile"). An
            undefined number is NaN.
        notes: Limits of the scores, one sentence each.
        against: The other model, if there is one.
    """

    predictions: str
    truth: Truth
    threshold: float
    metrics: pd.DataFrame
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
        predictions: Scores or masks, depending on the config of the truth.
        truth: The truth of a split.
        against: Predictions of another model.
        threshold: Score from which a tile is predicted as `glaciar`; not used for masks.

    Raises:
        InputError: If there is not exactly one prediction for each tile.
    """
    model = _bootstrap(predictions, truth, threshold)
    notes = [*_notes_on_truth(truth), *_notes_on_undefined(predictions.source, model)]
    comparison = None
    if against is not None:
        other = _bootstrap(against, truth, threshold)
        notes += _notes_on_undefined(against.source, other)
        difference = _Bootstrapped(model.values - other.values, model.replicates - other.replicates)
        differences = _summarize(difference, truth.clusters)
        comparison = Comparison(against.source, other.values, differences)
    return Evaluation(
        predictions=predictions.source,
        truth=truth,
        threshold=threshold,
        metrics=_summarize(model, truth.clusters),
        notes=notes,
        against=comparison,
    )


@dataclass(frozen=True)
class _Bootstrapped:
    """Metrics with their replicates.

    Attributes:
        values: Each metric over all tiles, by name.
        replicates: A row for each replicate and a column for each metric.
    """

    values: pd.Series[float]
    replicates: pd.DataFrame


def _bootstrap(predictions: Predictions, truth: Truth, threshold: float) -> _Bootstrapped:
    """Compute the metrics of predictions, over all tiles and in the replicates."""
    predicted = predictions.in_order_of(truth.paths)
    statistic: Statistic
    if truth.config == CLASSIFICATION:
        statistic = metrics.class_statistic(truth.values, predicted, threshold)
    else:
        is_predicted = (predicted >= threshold * MAX_VALUE).astype(np.uint8)
        statistic = metrics.mask_statistic(truth.values, is_predicted)
    whole = pd.DataFrame(statistic(np.ones((1, len(truth.paths)))))
    return _Bootstrapped(whole.loc[0], replicate(statistic, truth.clusters))


def _summarize(bootstrapped: _Bootstrapped, clusters: Clusters) -> pd.DataFrame:
    """Return a row for each metric, with the columns value, low, high and unit."""
    rows = {}
    for name, value in bootstrapped.values.items():
        interval = find_interval(bootstrapped.replicates[name].to_numpy(), clusters)
        rows[name] = {"value": value, "low": interval.low, "high": interval.high}
    return pd.DataFrame.from_dict(rows, orient="index").assign(unit=clusters.unit)


def _notes_on_undefined(name: str, bootstrapped: _Bootstrapped) -> Iterator[str]:
    """Yield notes on metrics that are undefined, in general or in some replicates."""
    is_undefined = bootstrapped.values.isna()
    if is_undefined.any():
        undefined = ", ".join(bootstrapped.values.index[is_undefined])
        yield (
            f"{name}: {undefined} cannot be computed, because a class is missing in the truth or "
            "in the predictions."
        )
    numbers = bootstrapped.replicates.isna().sum()[~is_undefined]
    if numbers.any():
        ignored = ", ".join(
            f"{metric} ({number:,})" for metric, number in numbers.items() if number
        )
        yield (
            f"{name}: intervals ignore replicates that lack a class: {ignored} of {REPLICATES:,}. "
            f"With more than {MOST_UNDEFINED:.0%} there is no interval."
        )


def _notes_on_truth(truth: Truth) -> Iterator[str]:
    if truth.is_sample:
        yield f"{truth.source} is a synthetic sample: its scores say nothing about the dataset."
    clusters = truth.clusters
    if clusters.unit == "tile":
        yield (
            "The intervals are too narrow: without a tile index, tiles are drawn one by one as if "
            "neighbours were independent. Pass --index; `audit --index` writes the file."
        )
    if clusters.number == 1:
        yield f"There are no intervals, because all tiles are in one {clusters.unit}."
    elif clusters.effective < FEW_CLUSTERS:
        yield (
            f"The intervals are unreliable and too narrow: {count(clusters.number, clusters.unit)} "
            f"count like {clusters.effective:.1f} of equal size, fewer than {FEW_CLUSTERS}."
        )
