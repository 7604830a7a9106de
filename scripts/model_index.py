"""The block of a model card by which the Hub shows a model's results."""

from __future__ import annotations

import math

from evaluation import SEGMENTATION, Evaluation
from group_bootstrap import LEVEL
from huggingface_hub import EvalResult, ModelCardData

from rock_glacier_dataset import REPO_ID

DATASET_NAME = "RockGlacier"
"""The dataset's name for people, as its card has it."""

_TASK_NAMES = {"image-classification": "Image Classification", "image-segmentation": "Image Segmentation"}

_DIGITS = 4


def model_index(found: Evaluation, model_name: str) -> str:
    """Return the metadata of a model card that hold an evaluation's results, as YAML.

    They go between the two lines `---` at the card's head, beside what else is there. A metric that is not defined is
    left out. The interval of each is in its `args`.

    Args:
        found: the evaluation; of a folder of archives, which are taken to be those of `REPO_ID`.
        model_name: name of the model.

    Source: https://huggingface.co/docs/hub/model-cards#evaluation-results and `huggingface_hub.EvalResult`.
    """
    asked = found.request
    results = [
        EvalResult(
            task_type=asked.config,
            task_name=_TASK_NAMES[asked.config],
            dataset_type=asked.source.repo_id or REPO_ID,
            dataset_name=DATASET_NAME,
            dataset_config=asked.config,
            dataset_split=asked.split,
            dataset_revision=asked.source.revision,
            metric_type=metric.key,
            metric_name=metric.name,
            metric_value=round(value, _DIGITS),
            metric_args=_arguments(found, interval.low, interval.high),
        )
        for metric, value, interval in found.results
        if not math.isnan(value)
    ]
    return ModelCardData(model_name=model_name, eval_results=results).to_yaml()


def _arguments(found: Evaluation, low: float, high: float) -> dict[str, object]:
    asked = found.request
    ends = [] if math.isnan(low) else [round(low, _DIGITS), round(high, _DIGITS)]
    return {
        "threshold": asked.threshold,
        **({"boundary_tolerance": asked.tolerance} if asked.config == SEGMENTATION else {}),
        **({"confidence_level": LEVEL, "confidence_interval": ends} if ends else {}),
        "bootstrap_over": found.resampled,
    }
