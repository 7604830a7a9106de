"""Show an evaluation: as a table for the terminal, as JSON, and as results for a model card."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd
from huggingface_hub import EvalResult, ModelCardData

from rock_glacier.output import count
from rock_glacier.score.bootstrap import LEVEL, REPLICATES
from rock_glacier.score.evaluation import Evaluation
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
    yield from _table(evaluation.metrics, "value").to_string().split("\n")
    yield ""
    if evaluation.against is not None:
        table = _table(evaluation.against.differences, "difference")
        table.insert(0, "other", evaluation.against.values.map(_number))
        yield f"Difference from {evaluation.against.predictions}:"
        yield from table.to_string().split("\n")
        yield ""
    if truth.config == CLASSIFICATION:
        yield f"Tiles with a score of at least {evaluation.threshold:g} are predicted as glaciar."
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
    against = None
    if evaluation.against is not None:
        differences = evaluation.against.differences.drop(columns="unit")
        against = {
            "predictions": evaluation.against.predictions,
            "differences": _rows_to_json(differences),
        }
    return {
        "config": truth.config,
        "split": truth.split,
        "truth": truth.source,
        "tiles": len(truth.paths),
        "clusters": {
            clusters.unit: {"number": clusters.number, "effective": round(clusters.effective, 2)}
        },
        "metrics": _rows_to_json(evaluation.metrics),
        "against": against,
        "rock_glaciers": [],
        "false_predictions": [],
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
    for name, metric in _rows_to_json(evaluation.metrics).items():
        if metric["value"] is None:
            continue
        arguments: dict[str, Any] = {"bootstrap_unit": metric["unit"]}
        if metric["low"] is not None:
            ends = [round(metric["low"], _DIGITS), round(metric["high"], _DIGITS)]
            arguments.update(confidence_level=LEVEL, confidence_interval=ends)
        if truth.config == CLASSIFICATION:
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
                metric_value=round(metric["value"], _DIGITS),
                metric_args=arguments,
            )
        )
    return ModelCardData(model_name=model_name, eval_results=results).to_yaml()


def _table(metrics: pd.DataFrame, value_name: str) -> pd.DataFrame:
    """Return a table of texts, a row for each metric."""
    ends = metrics["low"].map(_number) + " to " + metrics["high"].map(_number)
    ends = ends.where(metrics["low"].notna(), "none")
    return pd.DataFrame({value_name: metrics["value"].map(_number), f"{LEVEL:.0%} interval": ends})


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.{_DIGITS}f}"


def _rows_to_json(metrics: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return the rows by name; NaN becomes None."""
    rows = metrics.astype(object)
    return rows.where(rows.notna(), None).to_dict("index")
