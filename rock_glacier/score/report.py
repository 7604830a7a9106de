"""Show an evaluation: as a table for the terminal, as JSON, and as results for a model card."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd
from huggingface_hub import EvalResult, ModelCardData

from rock_glacier.output import count
from rock_glacier.score.bootstrap import LEVEL, REPLICATES
from rock_glacier.score.evaluation import PREDICTION, Comparison, Evaluation
from rock_glacier.score.landforms import FAIR, GOOD, area_km2
from rock_glacier.score.truth import CLASSIFICATION
from rock_glacier_dataset import REPO_ID

_DIGITS = 4  # decimal places
_DIGITS_OF_METRES = 1  # decimal places of metrics in metres


def table_lines(evaluation: Evaluation) -> Iterator[str]:
    """Yield the lines of a report for the terminal."""
    truth = evaluation.truth
    tiles = count(len(truth.paths), "tile")
    yield f"{truth.config}, split {truth.split}: {tiles} of {truth.source}"
    if truth.config != CLASSIFICATION:
        yield count_landforms(evaluation)
    yield ""
    yield from table_of_metrics(evaluation.metrics).to_string().split("\n")
    yield ""
    if evaluation.against is not None:
        yield f"Difference from {evaluation.against.predictions}:"
        yield from table_of_differences(evaluation.against).to_string().split("\n")
        yield ""
    yield from method_lines(evaluation)
    for note in evaluation.notes:
        yield f"Note: {note}"


def method_lines(evaluation: Evaluation) -> Iterator[str]:
    """Yield lines about the threshold, and about how the intervals were made."""
    truth = evaluation.truth
    if truth.config == CLASSIFICATION:
        yield f"Tiles with a score of at least {evaluation.threshold:g} are predicted as glaciar."
    else:
        yield (
            f"Pixels with a score of at least {evaluation.threshold:g} are predicted as rock "
            "glacier."
        )
    wilson = ""
    if truth.config != CLASSIFICATION:
        wilson = "; Wilson intervals for landform recall and precision"
    yield f"Intervals: {LEVEL:.0%}, from {REPLICATES:,} bootstrap replicates{wilson}."
    for clusters in evaluation.clusters:
        drawn = count(clusters.number, clusters.unit)
        yield f"Drawn: {drawn}, equivalent to {clusters.effective:.1f} of equal size."


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation as a JSON object; undefined numbers are null."""
    truth = evaluation.truth
    against = None
    if evaluation.against is not None:
        differences = evaluation.against.differences.drop(columns="unit")
        against = {
            "predictions": evaluation.against.predictions,
            "differences": _to_objects(differences),
        }
    clusters = {
        clusters.unit: {"number": clusters.number, "effective": round(clusters.effective, 2)}
        for clusters in evaluation.clusters
    }
    if truth.config != CLASSIFICATION:
        number = len(evaluation.predicted)
        clusters[PREDICTION] = {"number": number, "effective": number}
    return {
        "config": truth.config,
        "split": truth.split,
        "truth": truth.source,
        "tiles": len(truth.paths),
        "clusters": clusters,
        "metrics": _to_objects(evaluation.metrics),
        "against": against,
        "rock_glaciers": _rock_glaciers_to_json(evaluation.rock_glaciers),
        "false_predictions": _false_predictions_to_json(evaluation.predicted),
        "notes": evaluation.notes,
    }


def count_landforms(evaluation: Evaluation) -> str:
    """Count the true and the predicted rock glaciers, and add up their areas."""
    true = evaluation.rock_glaciers
    text = f"{count(len(true), 'rock glacier')} of {area_km2(true).sum():.2f} km2"
    at_edge = int(true["is_at_edge"].sum())
    if at_edge:
        text += f" ({at_edge:,} cut by the edge of the tiles)"
    predicted = evaluation.predicted
    predictions = count(len(predicted), "predicted rock glacier")
    return f"{text}, {predictions} of {area_km2(predicted).sum():.2f} km2"


def _rock_glaciers_to_json(true: pd.DataFrame) -> list[dict[str, Any]]:
    if true.empty:
        return []
    table = true[["site", "longitude", "latitude", "iou"]].copy()
    table.insert(1, "outlines", [[name] if name else [] for name in true["outline"]])
    table.insert(4, "area_km2", area_km2(true))
    table["found"] = true["iou"] >= GOOD
    table["found_25"] = true["iou"] >= FAIR
    table["at_edge"] = true["is_at_edge"]
    return [*_to_objects(table).values()]


def _false_predictions_to_json(predicted: pd.DataFrame) -> list[dict[str, Any]]:
    """List the predictions whose IoU with a rock glacier is less than `FAIR`."""
    if predicted.empty:
        return []
    table = predicted[["site", "longitude", "latitude"]].assign(area_km2=area_km2(predicted))
    return [*_to_objects(table[predicted["iou"] < FAIR]).values()]


def to_model_card(evaluation: Evaluation, model_name: str) -> str:
    """Return the metrics as YAML for the metadata of a model card (`model-index`).

    Undefined metrics are omitted. The interval of a metric is in its `args`. Format:
    https://huggingface.co/docs/hub/model-cards#evaluation-results

    Args:
        evaluation: The evaluation.
        model_name: Name of the model.
    """
    truth = evaluation.truth
    name = "RockGlacier"  # `pretty_name` of the dataset card
    if truth.is_sample:
        name += " (synthetic sample)"
    results = []
    for metric_name, metric in _to_objects(evaluation.metrics).items():
        if metric["value"] is None:
            continue
        arguments: dict[str, Any] = {
            "interval_unit": metric["unit"],
            "threshold": evaluation.threshold,
        }
        if metric["low"] is not None:
            ends = [round(metric["low"], _DIGITS), round(metric["high"], _DIGITS)]
            arguments.update(confidence_level=LEVEL, confidence_interval=ends)
        results.append(
            EvalResult(
                task_type=truth.config,
                dataset_type=REPO_ID,
                dataset_name=name,
                dataset_config=truth.config,
                dataset_split=truth.split,
                dataset_revision=truth.commit,
                metric_type=metric_name,
                metric_value=round(metric["value"], _DIGITS),
                metric_args=arguments,
            )
        )
    return ModelCardData(model_name=model_name, eval_results=results).to_yaml()


def table_of_metrics(metrics: pd.DataFrame, value_name: str = "value") -> pd.DataFrame:
    """Return a table of texts, a row for each metric."""
    ends = _format(metrics["low"]) + " to " + _format(metrics["high"])
    ends = ends.where(metrics["low"].notna(), "none")
    return pd.DataFrame(
        {
            value_name: _format(metrics["value"]),
            f"{LEVEL:.0%} interval": ends,
            "over": metrics["unit"] + "s",
        }
    )


def table_of_differences(comparison: Comparison) -> pd.DataFrame:
    """Return a table of texts: each metric of the other model, and the difference."""
    table = table_of_metrics(comparison.differences, "difference")
    table.insert(0, "other", _format(comparison.values))
    return table


def _format(values: pd.Series[float]) -> pd.Series[str]:
    """Format the values of metrics, indexed by name."""
    texts = {}
    for name, value in values.items():
        digits = _DIGITS_OF_METRES if str(name).endswith("_m") else _DIGITS
        texts[name] = "undefined" if math.isnan(value) else f"{value:.{digits}f}"
    return pd.Series(texts)


def _to_objects(table: pd.DataFrame) -> dict[Any, dict[str, Any]]:
    """Return the rows as JSON objects by the names of the rows; NaN becomes None."""
    rows = table.astype(object)
    return rows.where(rows.notna(), None).T.to_dict()
