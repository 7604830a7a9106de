"""A model's results as the Hub shows them: the block of its card, and a file for its folder `.eval_results`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData

from rock_glacier.scoring.evaluation import METRICS, heading
from rock_glacier_dataset import CONFIG_NAMES

_DATASET_NAME = "RockGlacier"  # in the dataset card's `pretty_name`
_DIGITS = 4
_HEADLINES = dict(zip(CONFIG_NAMES, ("balanced_accuracy", "iou"), strict=True))
"""The metric of each config by which models are ranked: the Hub takes one value a task."""
_SETTINGS = {
    "threshold": ("accuracy", "balanced_accuracy", "precision", "recall", "f1"),
    "boundary_tolerance": ("boundary_f1",),
}
"""The metrics that depend on each setting, where the config has it."""


def model_index(found: Mapping[str, Any], model_name: str) -> str:
    """Return what `evaluate` found as YAML for the head of a model card, each metric with its interval in `args`.

    Metrics that are not defined are left out. Format: https://huggingface.co/docs/hub/model-cards#evaluation-results
    """
    config = found["config"]
    results = []
    for key, metric in found["metrics"].items():
        if metric["value"] is None:
            continue
        settings = {name: found[name] for name, keys in _SETTINGS.items() if name in found and key in keys}
        arguments = settings | {"bootstrap_over": found["bootstrap"]["over"]}
        if metric["low"] is not None:
            ends = [round(metric["low"], _DIGITS), round(metric["high"], _DIGITS)]
            arguments |= {"confidence_level": found["bootstrap"]["level"], "confidence_interval": ends}
        results.append(
            EvalResult(
                task_type=config,
                task_name=config.replace("-", " ").title(),
                dataset_type=found["dataset"]["repo_id"],
                dataset_name=_DATASET_NAME,
                dataset_config=config,
                dataset_split=found["split"],
                dataset_revision=found["dataset"].get("revision"),
                metric_type=key,
                metric_name=METRICS[config][key],
                metric_value=round(metric["value"], _DIGITS),
                metric_args=arguments,
            )
        )
    return ModelCardData(model_name=model_name, eval_results=results).to_yaml()


def eval_results(found: Mapping[str, Any]) -> str:
    """Return what `evaluate` found as YAML for a file in a model's folder `.eval_results`.

    The task is named as the config. The value is the balanced accuracy of labels, and of masks the IoU over pixels; its
    interval is in the notes. Format: https://huggingface.co/docs/hub/eval-results

    Raises:
        ValueError: the metric is not defined.
    """
    config, source = found["config"], found["dataset"]
    metric, name = found["metrics"][_HEADLINES[config]], METRICS[config][_HEADLINES[config]]
    if metric["value"] is None:
        raise ValueError(f"{name} is not defined here; see the report without --eval-results")
    notes = f"{name}; {heading(found)}"
    if metric["low"] is not None:
        level = f"{found['bootstrap']['level'] * 100:g} %"
        notes += f"; {level} interval {metric['low']:.{_DIGITS}f} to {metric['high']:.{_DIGITS}f}"
    dataset = {"id": source["repo_id"], "task_id": config}
    if "revision" in source:
        dataset["revision"] = source["revision"]
    entry = {"dataset": dataset, "value": round(metric["value"], _DIGITS), "notes": notes}
    return yaml.safe_dump([entry], sort_keys=False, width=1000)
