"""Show an evaluation: as a table for the terminal, as JSON, and as results for a model card."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd
from huggingface_hub import EvalResult, ModelCardData

from rock_glacier.output import count
from rock_glacier.score.bootstrap import LEVEL, REPLICATES
from rock_glacier.score.evaluation import Evaluation, Metric
from rock_glacier.score.truth import CLASSIFICATION
from rock_glacier_dataset import REPO_ID

_DIGITS = 4  # decimal places


def table_lines(evaluation: Evaluation) -> Iterator[str]:
    """Yield the lines of a report for the terminal."""
    truth = evaluation.truth
    clusters = truth.clusters
    tiles = count(len(truth.paths), "tile")
    drawn = count(clusters.number, clusters.unit)
    yield f"{truth.config}, split {truth.split}: {tiles} of {truth.source}"
    yield ""
    yield from _table(evaluation.metrics).to_string().split("\n")
    yield ""
    if evaluation.against is not None:
        table = _table(evaluation.against.differences, "difference")
        others = evaluation.against.metrics.items()
        table.insert(0, "other", [_number(metric.value) for _, metric in others])
        yield f"Difference from {evaluation.against.predictions}:"
        yield from table.to_string().split("\n")
        yield ""
    unit = "tiles" if truth.config == CLASSIFICATION else "pixels"
    yield f"Number of {unit} by true class (rows) and predicted class (columns):"
    yield from evaluation.confusion.rename_axis(index=None, columns=None).to_string().split("\n")
    yield ""
    if evaluation.threshold is not None:
        yield f"A tile is predicted as glaciar from a score of {evaluation.threshold:g} on."
    yield (
        f"Intervals: {LEVEL:.0%}, from {REPLICATES:,} bootstrap replicates of {drawn}, which count "
        f"like {clusters.effective:.1f} of equal size."
    )
    for note in evaluation.notes:
        yield f"Note: {note}"


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation as a JSON object; undefined numbers are null."""
    truth = evaluation.truth
    clusters = truth.clusters
    number_of_clusters = {"number": clusters.number, "effective": round(clusters.effective, 2)}
    metrics = {}
    for name, metric in evaluation.metrics.items():
        metrics[name] = {**_metric_to_json(metric), "unit": metric.unit}
    against = None
    if evaluation.against is not None:
        differences = evaluation.against.differences
        against = {
            "predictions": evaluation.against.predictions,
            "differences": {name: _metric_to_json(metric) for name, metric in differences.items()},
        }
    return {
        "config": truth.config,
        "split": truth.split,
        "truth": truth.source,
        "tiles": len(truth.paths),
        "clusters": {clusters.unit: number_of_clusters},
        "metrics": metrics,
        "against": against,
        "rock_glaciers": [],
        "false_predictions": [],
        "confusion": evaluation.confusion.to_numpy().tolist(),
        "notes": evaluation.notes,
    }


def to_model_card(evaluation: Evaluation, model_name: str) -> str:
    """Return the metrics as YAML for the metadata of a model card (`model-index`).

    Undefined metrics are omitted. The interval of a metric is in its `args`. Format:
    https://huggingface.co/docs/hub/model-cards#evaluation-results

    Args:
        evaluation: The evaluation.
        model_name: Name of the model.
    """
    truth = evaluation.truth
    results = []
    for name, metric in evaluation.metrics.items():
        if math.isnan(metric.value):
            continue
        arguments: dict[str, Any] = {"bootstrap_unit": metric.unit}
        if not math.isnan(metric.low):
            ends = [round(metric.low, _DIGITS), round(metric.high, _DIGITS)]
            arguments.update(confidence_level=LEVEL, confidence_interval=ends)
        if evaluation.threshold is not None:
            arguments["threshold"] = evaluation.threshold
        results.append(
            EvalResult(
                task_type=truth.config,
                dataset_type=REPO_ID,
                dataset_name="RockGlacier",  # `pretty_name` of the dataset card
                dataset_config=truth.config,
                dataset_split=truth.split,
                dataset_revision=truth.commit,
                metric_type=name,
                metric_value=round(metric.value, _DIGITS),
                metric_args=arguments,
            )
        )
    return ModelCardData(model_name=model_name, eval_results=results).to_yaml()


def _table(metrics: dict[str, Metric], value_name: str = "value") -> pd.DataFrame:
    """Return a table of texts, a row for each metric."""
    rows = {}
    for name, metric in metrics.items():
        ends = "none"
        if not math.isnan(metric.low):
            ends = f"{metric.low:.{_DIGITS}f} to {metric.high:.{_DIGITS}f}"
        rows[name] = {value_name: _number(metric.value), f"{LEVEL:.0%} interval": ends}
    return pd.DataFrame.from_dict(rows, orient="index")


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.{_DIGITS}f}"


def _metric_to_json(metric: Metric) -> dict[str, float | None]:
    ends = {"value": metric.value, "low": metric.low, "high": metric.high}
    return {name: None if math.isnan(end) else end for name, end in ends.items()}
