"""Metrics of both configs, for many bootstrap replicates at once.

Each function returns a statistic that computes the metrics from weights of the tiles. With all
weights 1, these are the plain metrics. The values equal scikit-learn's with `sample_weight`, but
all replicates are computed together, which is much faster.

Precision, recall, F1, IoU, ROC AUC and average precision are about the class `glaciar` or about
rock glacier pixels. A quotient of 0 by 0 is undefined, NaN.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rock_glacier.score.bootstrap import Array, Statistic


def class_statistic(labels: npt.NDArray[np.int64], scores: Array, threshold: float) -> Statistic:
    """Return the statistic of image-classification.

    Args:
        labels: Shape (tiles,), values 0 and 1: 1 is `glaciar`.
        scores: Shape (tiles,), values in [0, 1]: the probability of `glaciar`.
        threshold: Score from which a tile is predicted as `glaciar`.

    Returns:
        Function that computes accuracy, balanced_accuracy, precision, recall, f1, roc_auc,
        average_precision and brier_score.
    """
    is_glaciar = labels.astype(np.float64)
    predicted = (scores >= threshold).astype(np.float64)
    squared_error = (scores - is_glaciar) ** 2
    order = np.argsort(-scores, kind="stable")
    # Last tile of each distinct score: the points of the ROC and precision-recall curves.
    last = np.flatnonzero(np.diff(scores[order], append=-1.0))

    def statistic(weights: Array) -> dict[str, Array]:
        tiles = weights.sum(axis=1)
        glaciar = weights @ is_glaciar
        cordillera = tiles - glaciar
        positives = weights @ predicted
        true_positives = weights @ (predicted * is_glaciar)
        true_negatives = cordillera - (positives - true_positives)
        recall = _divide(true_positives, glaciar)

        # Cumulative weights of both classes, from the highest score down.
        ordered = weights[:, order]
        ranked_glaciar = np.cumsum(ordered * is_glaciar[order], axis=1)[:, last]
        ranked = np.cumsum(ordered, axis=1)[:, last]
        new_glaciar = np.diff(ranked_glaciar, prepend=0.0, axis=1)
        new_cordillera = np.diff(ranked - ranked_glaciar, prepend=0.0, axis=1)
        precisions = np.nan_to_num(_divide(ranked_glaciar, ranked))
        # Trapezoids: the area under the curve of true positives over false positives.
        area = (new_cordillera * (ranked_glaciar - new_glaciar / 2)).sum(axis=1)

        return {
            "accuracy": _divide(true_positives + true_negatives, tiles),
            "balanced_accuracy": (recall + _divide(true_negatives, cordillera)) / 2,
            "precision": _divide(true_positives, positives),
            "recall": recall,
            "f1": _divide(2 * true_positives, positives + glaciar),
            "roc_auc": _divide(area, glaciar * cordillera),
            "average_precision": _divide((new_glaciar * precisions).sum(axis=1), glaciar),
            "brier_score": _divide(weights @ squared_error, tiles),
        }

    return statistic


def mask_statistic(truth: npt.NDArray[np.uint8], predicted: npt.NDArray[np.uint8]) -> Statistic:
    """Return the statistic of image-segmentation, over the pixels of all tiles together.

    Args:
        truth: Shape (tiles, 128, 128), values 0 and 1: 1 is rock glacier.
        predicted: The same for predicted masks.

    Returns:
        Function that computes iou, miou (mean of the IoU of rock glacier and of background),
        precision, recall and f1.
    """
    # Number of pixels of each tile, shape (tiles,).
    hits = np.count_nonzero(truth & predicted, axis=(1, 2)).astype(np.float64)
    positives = np.count_nonzero(predicted, axis=(1, 2)).astype(np.float64)
    glaciers = np.count_nonzero(truth, axis=(1, 2)).astype(np.float64)
    pixels = np.full(len(truth), float(truth[0].size))

    def statistic(weights: Array) -> dict[str, Array]:
        true_positives = weights @ hits
        false_positives = weights @ positives - true_positives
        false_negatives = weights @ glaciers - true_positives
        wrong = false_positives + false_negatives
        true_negatives = weights @ pixels - true_positives - wrong
        iou = _divide(true_positives, true_positives + wrong)
        return {
            "iou": iou,
            "miou": (iou + _divide(true_negatives, true_negatives + wrong)) / 2,
            "precision": _divide(true_positives, true_positives + false_positives),
            "recall": _divide(true_positives, true_positives + false_negatives),
            "f1": _divide(2 * true_positives, 2 * true_positives + wrong),
        }

    return statistic


def _divide(above: Array, below: Array) -> Array:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
