"""The block of a model card by which the Hub shows a model's results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from rock_glacier.scoring.evaluation import METRICS

_DATASET_NAME = "RockGlacier"  # in the dataset card's `pretty_name`
_DIGITS = 4


def model_index(found: Mapping[str, Any], model_name: str) -> str:
    """Return what `evaluate` found as YAML for the head of a model card, each metric with its interval in `args`.

    Metrics that are not defined are left out. Format: https://huggingface.co/docs/hub/model-cards#evaluation-results
    """
    config = found["config"]
    settings = {name: found[name] for name in ("threshold", "boundary_tolerance") if name in found}
    results = []
    for key, metric in found["metrics"].items():
        if metric["value"] is None:
            continue
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
