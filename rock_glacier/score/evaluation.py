"""Compare predictions with the truth: metrics with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
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
    find_interval,
    replicate,
    wilson_interval,
)
from rock_glacier.score.landforms import find_landforms, tabulate
from rock_glacier.score.mosaics import Mosaic, count_ground, ground_weights, make_mosaics
from rock_glacier.score.predictions import MAX_VALUE, Predictions
from rock_glacier.score.truth import CLASSIFICATION, Truth
from rock_glacier_dataset import TILE_SIZE

THRESHOLD = 0.5
"""Score from which a tile is predicted as `glaciar`, or a pixel as rock glacier."""

ROCK_GLACIER = "rock glacier"
"""Unit of metrics over true rock glaciers."""

PREDICTION = "predicted rock glacier"
"""Unit of the shares of predicted rock glaciers that are right."""

MIN_MASKED = 0.5
"""Smallest share of the outlines on the tiles that their masks confirm. On the release's test
split, the masks and the curators' outlines have an IoU of 0.86 to 0.97."""

GROUP = "prediction group"
"""Unit of other metrics of predictions: all predictions that belong to one rock glacier."""

# The shares with Wilson intervals: columns of `landforms.tabulate`, and the unit.
_SHARES = {
    "landform_recall_50": ("found_50", "rock_glaciers", ROCK_GLACIER),
    "landform_recall_25": ("found_25", "rock_glaciers", ROCK_GLACIER),
    "landform_precision_50": ("right_50", "predictions", PREDICTION),
    "landform_precision_25": ("right_25", "predictions", PREDICTION),
}


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
        predictions: The predictions.
        truth: The truth of the split.
        outlines: Outlines that were used as true rock glaciers, or None.
        threshold: Score from which a tile is predicted as `glaciar`, or a pixel as rock glacier.
        metrics: A row for each metric, by name. Columns: `value`, the ends `low` and `high` of the
            95 % interval, and `unit`, what the interval is computed over: "block", "site", "tile",
            `ROCK_GLACIER`, `PREDICTION` or `GROUP`. An undefined number is NaN.
        clusters: What the bootstrap drew.
        notes: Limits of the scores, one sentence each.
        against: The other model, if there is one.
        rock_glaciers: `landforms.Landforms.true` of all sites; empty for image-classification.
        predicted: `landforms.Landforms.predicted` of all sites.
    """

    predictions: Predictions
    truth: Truth
    outlines: Any
    threshold: float
    metrics: pd.DataFrame
    clusters: list[Clusters]
    notes: list[str]
    against: Comparison | None
    rock_glaciers: pd.DataFrame
    predicted: pd.DataFrame

    def mosaics(self) -> Iterator[Mosaic]:
        """Yield the merged tiles of each site, for maps and pictures."""
        predicted = self.predictions.in_order_of(self.truth.paths)
        return make_mosaics(self.truth, predicted, self.threshold)


def evaluate(
    predictions: Predictions,
    truth: Truth,
    *,
    against: Predictions | None = None,
    threshold: float = THRESHOLD,
    outlines: Any = None,
) -> Evaluation:
    """Score predictions, and compare them with the predictions of another model.

    Args:
        predictions: Scores or masks, depending on the config of the truth.
        truth: The truth of a split.
        against: Predictions of another model.
        threshold: Score from which a tile is predicted as `glaciar`, or a pixel as rock glacier.
        outlines: Outlines from `places.outlines.read_outlines`. They are the true rock glaciers at
            located sites, instead of the components of the masks.

    Raises:
        InputError: If there is not exactly one prediction for each tile, or if there are outlines
            but the tile index has no locations.
    """
    if outlines is not None:
        truth.check_locations("--outlines")
    model = _measure(predictions, truth, threshold, outlines)
    parts = _bootstrap(model, truth, model.groups)
    notes = [*_notes_on_truth(truth, outlines), *_notes_on_outlines(outlines, model.true)]
    notes += _notes_on_clusters(parts)
    notes += _notes_on_undefined(predictions.source, parts)
    comparison = None
    if against is not None:
        other = _measure(against, truth, threshold, outlines)
        groups = model.groups.union(other.groups)
        other_parts = _bootstrap(other, truth, groups)
        notes += _notes_on_undefined(against.source, other_parts)
        differences = [
            replace(
                first,
                values=first.values - second.values,
                replicates=first.replicates - second.replicates,
            )
            for first, second in zip(_bootstrap(model, truth, groups), other_parts, strict=True)
        ]
        values = pd.concat([part.values for part in other_parts])
        comparison = Comparison(against.source, values, _summarize(differences))
    return Evaluation(
        predictions=predictions,
        truth=truth,
        outlines=outlines,
        threshold=threshold,
        metrics=_add_wilson_intervals(_summarize(parts), model.units),
        clusters=[part.clusters for part in parts],
        notes=notes,
        against=comparison,
        rock_glaciers=model.true,
        predicted=model.predicted,
    )


@dataclass(frozen=True)
class _Measured:
    """The input of the metrics of a model.

    Attributes:
        statistic: Statistic of the tiles.
        true: Rock glaciers in the truth; empty for image-classification.
        predicted: Predicted rock glaciers.
        units: Table from `landforms.tabulate`, or None for image-classification.
    """

    statistic: Statistic
    true: pd.DataFrame = field(default_factory=pd.DataFrame)
    predicted: pd.DataFrame = field(default_factory=pd.DataFrame)
    units: pd.DataFrame | None = None

    @property
    def groups(self) -> pd.Index:
        """Index of the rows of `units` with predictions."""
        if self.units is None:
            return pd.Index([])
        return self.units.index[self.units["predictions"] > 0]


@dataclass(frozen=True)
class _Bootstrapped:
    """Metrics with their replicates.

    Attributes:
        values: The metrics over all tiles or rock glaciers, by name.
        replicates: A row for each replicate and a column for each metric.
        clusters: What was drawn.
    """

    values: pd.Series[float]
    replicates: pd.DataFrame
    clusters: Clusters


def _measure(predictions: Predictions, truth: Truth, threshold: float, outlines: Any) -> _Measured:
    predicted = predictions.in_order_of(truth.paths)
    if truth.config == CLASSIFICATION:
        return _Measured(_class_statistic(truth, predicted, threshold))
    counts: dict[int, dict[str, float]] = {}
    tables = []
    for mosaic in make_mosaics(truth, predicted, threshold):
        counts.update(count_ground(mosaic))
        landforms = find_landforms(mosaic, outlines)
        tables.append((landforms.true, landforms.predicted))
    statistic = _mask_statistic(truth, predicted >= threshold * MAX_VALUE, counts)
    true, found = (_concat(of_sites) for of_sites in zip(*tables, strict=True))
    return _Measured(statistic, true, found, tabulate(true, found))


def _mask_statistic(
    truth: Truth, predicted: npt.NDArray[np.bool_], ground: dict[int, dict[str, float]]
) -> Statistic:
    """Return the statistic of image-segmentation: over pixels of tiles, and of ground.

    Args:
        truth: The truth of the split.
        predicted: Shape (tiles, 128, 128): predicted masks.
        ground: The counts from `count_ground` by the row of the tile.
    """
    weights = np.ones((TILE_SIZE, TILE_SIZE))
    counts = [
        metrics.count_pixels(mask == 1, prediction, weights)
        for mask, prediction in zip(truth.values, predicted, strict=True)
    ]
    plain = metrics.mask_statistic(pd.DataFrame(counts))
    ordered = [ground[row] for row in range(len(counts))]
    by_ground = metrics.ground_statistic(pd.DataFrame(ordered))
    return lambda weights: {**plain(weights), **by_ground(weights)}


def _class_statistic(truth: Truth, scores: Array, threshold: float) -> Statistic:
    """Return the statistic of image-classification: of tiles, weighted by ground, and of sites."""
    plain = metrics.class_statistic(truth.values, scores, threshold)
    sites = truth.places["site"].to_numpy()
    by_site = metrics.site_statistic(truth.values, scores, sites, threshold)
    ground = ground_weights(truth)

    def statistic(weights: Array) -> dict[str, Array]:
        by_ground = metrics.add_prefix(plain(weights * ground))
        return {**plain(weights), **by_ground, **by_site(weights)}

    return statistic


def _concat(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate tables of the same columns; some may be empty."""
    filled = [table for table in tables if len(table)]
    return pd.concat(filled or tables[:1], ignore_index=True)


def _bootstrap(measured: _Measured, truth: Truth, groups: pd.Index) -> list[_Bootstrapped]:
    """Compute metrics and their replicates: over tiles, rock glaciers and groups of predictions.

    Args:
        measured: The input of the metrics.
        truth: The truth of the split.
        groups: Index of the rows of `units` that are groups of predictions. To compare two models,
            it lists the groups of both.
    """
    parts = [(measured.statistic, truth.clusters)]
    if measured.units is not None:
        true = measured.units[measured.units["rock_glaciers"] > 0]
        predicted = measured.units.reindex(groups).fillna(0)
        parts += [
            (metrics.rock_glacier_statistic(true), _each(ROCK_GLACIER, true["true_pixels"])),
            (metrics.prediction_statistic(predicted), _each(GROUP, predicted["predicted_pixels"])),
        ]
    bootstrapped = []
    for statistic, clusters in parts:
        whole = pd.DataFrame(statistic(np.ones((1, clusters.ids.size))))
        bootstrapped.append(_Bootstrapped(whole.loc[0], replicate(statistic, clusters), clusters))
    return bootstrapped


def _each(unit: str, sizes: pd.Series[float]) -> Clusters:
    """Return clusters of one row each."""
    return Clusters(unit, np.arange(len(sizes)), sizes.to_numpy())


def _summarize(parts: list[_Bootstrapped]) -> pd.DataFrame:
    """Return a row for each metric, with the columns value, low, high and unit."""
    rows = {}
    for part in parts:
        for name, value in part.values.items():
            interval = find_interval(part.replicates[name].to_numpy(), part.clusters)
            rows[name] = {
                "value": value,
                "low": interval.low,
                "high": interval.high,
                "unit": part.clusters.unit,
            }
    return pd.DataFrame.from_dict(rows, orient="index")


def _add_wilson_intervals(table: pd.DataFrame, units: pd.DataFrame | None) -> pd.DataFrame:
    """Replace the intervals of the shares of rock glaciers and of predictions."""
    if units is None:
        return table
    sums = units.sum()
    for name, (hits, number, unit) in _SHARES.items():
        interval = wilson_interval(int(sums[hits]), int(sums[number]))
        table.loc[name, "low"] = interval.low
        table.loc[name, "high"] = interval.high
        table.loc[name, "unit"] = unit
    return table


def _notes_on_undefined(name: str, parts: list[_Bootstrapped]) -> Iterator[str]:
    """Yield notes on metrics that are undefined, in general or in some replicates."""
    values = pd.concat([part.values for part in parts])
    if values.isna().any():
        undefined = ", ".join(values.index[values.isna()])
        yield (
            f"{name}: {undefined} cannot be computed. Possible reasons: a class is missing in the "
            "truth or in the predictions, or no tiles overlap."
        )
    numbers = pd.concat([part.replicates.isna().sum() for part in parts])
    numbers = numbers[(numbers > 0) & values.notna() & ~numbers.index.isin(list(_SHARES))]
    if len(numbers):
        ignored = ", ".join(
            f"{metric} ({number:,} of {REPLICATES:,})" for metric, number in numbers.items()
        )
        yield (
            f"{name}: intervals ignore replicates in which a metric is undefined: {ignored}. "
            f"If there are more than {MOST_UNDEFINED:.0%}, there is no interval."
        )


def _notes_on_truth(truth: Truth, outlines: Any) -> Iterator[str]:
    if truth.is_sample:
        yield f"{truth.source} is a synthetic sample: its scores say nothing about the dataset."
    if truth.index is None:
        yield (
            "Without a tile index, tiles count as if they shared no ground: the intervals are too "
            "narrow, and a place that several tiles show counts several times. Pass --index; "
            "`audit --index` writes the file."
        )
    elif truth.index_file is not None:
        yield f"The tile index is {truth.index_file}, not the one of {truth.source}."
    places = truth.places
    is_located = places.groupby("site")["easting"].count() > 0
    if outlines is not None and not is_located.all():
        yield (
            f"The outlines were not used at {count(int((~is_located).sum()), 'site')} without "
            "coordinates: the rock glaciers there are the connected parts of the masks."
        )


def _notes_on_outlines(outlines: Any, true: pd.DataFrame) -> Iterator[str]:
    """Yield a note if outlines seem to belong to other tiles."""
    if outlines is None:
        return
    shown = true[true["outline"] != ""]
    masked = shown["masked_pixels"].sum() / max(shown["pixels"].sum(), 1)
    if masked < MIN_MASKED:
        yield (
            f"The outlines hardly fit the masks: of their area on the tiles, {masked:.0%} is rock "
            "glacier in the masks. Check that they belong to these tiles."
        )


def _notes_on_clusters(parts: list[_Bootstrapped]) -> Iterator[str]:
    for part in parts:
        clusters = part.clusters
        names = ", ".join(name for name in part.values.index if name not in _SHARES)
        if clusters.number <= 1:
            yield f"Without at least two {clusters.unit}s, there are no intervals of {names}."
        elif clusters.effective < FEW_CLUSTERS:
            yield (
                f"The intervals over {clusters.unit}s are unreliable and too narrow: "
                f"{count(clusters.number, clusters.unit)} are equivalent to "
                f"{clusters.effective:.1f} of equal size, fewer than {FEW_CLUSTERS}."
            )
