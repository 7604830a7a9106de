"""Metrics of image-classification: how good the scores of a classifier are.

The metrics themselves are scikit-learn's. Their bootstrap asks for each of them some thousand times, with other weights
of the tiles; `replicated_metrics` gives what scikit-learn gives with `sample_weight`, for many replicates at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from group_bootstrap import Statistic, Weights
from sklearn import metrics

Labels = npt.NDArray[np.int64]
"""Shape (tiles,), values in {0, 1}: 1 is glaciar."""

Scores = npt.NDArray[np.float64]
"""Shape (tiles,), values in [0, 1]: the probability of glaciar."""


class Metric(NamedTuple):
    """What a metric is called.

    Attributes:
        key: its name in JSON and in a model card's `type`.
        name: its name for people.
        remark: what to know about it, a few words.
    """

    key: str
    name: str
    remark: str = ""


CLASS_METRICS = (
    Metric("balanced_accuracy", "balanced accuracy"),
    Metric("f1", "F1 of glaciar"),
    Metric("average_precision", "average precision"),
    Metric("roc_auc", "ROC AUC"),
    Metric("brier_score", "Brier score", "0 is best"),
)
"""What `class_metrics` gives, in its order; F1 and average precision are of the class glaciar."""


def class_metrics(labels: Labels, scores: Scores, threshold: float) -> npt.NDArray[np.float64]:
    """Return the metrics by scikit-learn.

    Args:
        labels: the truth.
        scores: the predictions.
        threshold: score from which a tile counts as glaciar.

    Returns:
        shape (metrics,), in the order of `CLASS_METRICS`; NaN where one is not defined, as without a tile of one class.
    """
    found = np.full(len(CLASS_METRICS), np.nan)
    predicted = scores >= threshold
    has_glaciar, has_cordillera = bool((labels == 1).any()), bool((labels == 0).any())
    if has_glaciar and has_cordillera:
        found[0] = metrics.balanced_accuracy_score(labels, predicted)
        found[3] = metrics.roc_auc_score(labels, scores)
    if has_glaciar:
        found[2] = metrics.average_precision_score(labels, scores)
    if has_glaciar or predicted.any():
        found[1] = metrics.f1_score(labels, predicted)
    found[4] = metrics.brier_score_loss(labels, scores, pos_label=1)
    return found


def confusion_matrix(labels: Labels, scores: Scores, threshold: float) -> npt.NDArray[np.int64]:
    """Count tiles, shape (2, 2): the row is the true class, the column the predicted one."""
    counts: npt.NDArray[np.int64] = metrics.confusion_matrix(labels, scores >= threshold, labels=[0, 1])
    return counts


def replicated_metrics(labels: Labels, scores: Scores, threshold: float) -> Statistic:
    """Return what gives `CLASS_METRICS` of many replicates at once.

    The counts behind the ranking metrics are cumulative sums over the tiles from the highest score down, taken where
    the score changes: the points of scikit-learn's ROC and precision-recall curves.

    Args:
        labels: the truth.
        scores: the predictions.
        threshold: score from which a tile counts as glaciar.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-1.0))  # the last tile of each score
    is_glaciar = labels.astype(np.float64)
    predicted = (scores >= threshold).astype(np.float64)
    sums_of = np.stack([predicted * is_glaciar, predicted, is_glaciar, (scores - is_glaciar) ** 2], axis=1)

    def statistic(weights: Weights) -> npt.NDArray[np.float64]:
        true_positives, positives, glaciar, squares = (weights @ sums_of).T
        tiles = weights.sum(axis=1)
        cordillera = tiles - glaciar
        in_order = weights[:, order]
        hits = np.cumsum(in_order * is_glaciar[order], axis=1)[:, ends]
        alarms = np.cumsum(in_order, axis=1)[:, ends] - hits
        with np.errstate(invalid="ignore", divide="ignore"):
            specificity = 1 - (positives - true_positives) / cordillera
            found = (
                (true_positives / glaciar + specificity) / 2,
                2 * true_positives / (positives + glaciar),
                _average_precision(hits, alarms) / glaciar,
                _area(hits, alarms) / (glaciar * cordillera),
                squares / tiles,
            )
        return np.stack(found, axis=1)

    return statistic


def _average_precision(hits: Weights, alarms: Weights) -> npt.NDArray[np.float64]:
    """Return the sum of the precisions, each times the glaciar tiles that come with it."""
    steps = np.diff(hits, prepend=0.0, axis=1)
    precision = np.divide(hits, hits + alarms, out=np.zeros_like(hits), where=hits > 0)
    areas: npt.NDArray[np.float64] = (steps * precision).sum(axis=1)
    return areas


def _area(hits: Weights, alarms: Weights) -> npt.NDArray[np.float64]:
    """Return the area under the points (alarms, hits) and the origin, by trapezoids."""
    widths = np.diff(alarms, prepend=0.0, axis=1)
    heights = hits - np.diff(hits, prepend=0.0, axis=1) / 2
    areas: npt.NDArray[np.float64] = (widths * heights).sum(axis=1)
    return areas
