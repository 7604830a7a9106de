"""The block of a model card by which the Hub shows a model's results."""

from __future__ import annotations

import math

from huggingface_hub import EvalResult, ModelCardData

from rock_glacier.scoring.bootstrap import LEVEL
from rock_glacier.scoring.evaluation import SEGMENTATION, Evaluation

_DATASET_NAME = "RockGlacier"  # in the dataset card's `pretty_name`
_DIGITS = 4


def model_index(found: Evaluation, model_name: str) -> str:
    """Return an evaluation's results as YAML for the head of a model card, each with its interval in `args`.

    Metrics that are not defined are left out. Format: https://huggingface.co/docs/hub/model-cards#evaluation-results

    Args:
        found: the evaluation.
        model_name: name of the model.
    """
    request = found.request
    results = []
    for metric, value, interval in found.results:
        arguments: dict[str, object] = {"threshold": request.threshold}
        if request.config == SEGMENTATION:
            arguments["boundary_tolerance"] = request.tolerance
        if not math.isnan(interval.low):
            ends = [round(interval.low, _DIGITS), round(interval.high, _DIGITS)]
            arguments |= {"confidence_level": LEVEL, "confidence_interval": ends}
        result = EvalResult(
            task_type=request.config,
            task_name=request.config.replace("-", " ").title(),
            dataset_type=request.source.repo_id,
            dataset_name=_DATASET_NAME,
            dataset_config=request.config,
            dataset_split=request.split,
            dataset_revision=request.source.revision,
            metric_type=metric.key,
            metric_name=metric.name,
            metric_value=round(value, _DIGITS),
            metric_args=arguments | {"bootstrap_over": found.resampled},
        )
        results += [] if math.isnan(value) else [result]
    return ModelCardData(model_name=model_name, eval_results=results).to_yaml()
