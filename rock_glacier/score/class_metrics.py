"""Metrics of image-classification, of many bootstrap replicates at once.

The values are those of scikit-learn with `sample_weight`; computing them all at once makes 2,000 replicates affordable.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rock_glacier.scoring.bootstrap import Statistic, Weights

CLASS_METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "precision": "precision of glaciar",
    "recall": "recall of glaciar",
    "f1": "F1 of glaciar",
    "average_precision": "average precision",
    "roc_auc": "ROC AUC",
    "brier_score": "Brier score",
}
"""What `class_statistic` computes, in this order: keys in JSON and in a model card, and names in the report. F1 and
average precision are of the class glaciar."""


def class_statistic(labels: npt.NDArray[np.int64], scores: npt.NDArray[np.float64], threshold: float) -> Statistic:
    """Return the function that computes `CLASS_METRICS` from weights of the tiles; all weights 1 give their values.

    The ranking metrics need cumulative weights over the tiles from the highest score down, taken where the score
    changes: the points of scikit-learn's ROC and precision-recall curves.

    Args:
        labels: shape (tiles,), values in {0, 1}: 1 is glaciar.
        scores: shape (tiles,), values in [0, 1]: the probability of glaciar.
        threshold: score from which a tile counts as glaciar.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-1.0))  # the last tile of each score
    is_glaciar = labels.astype(np.float64)
    predicted = (scores >= threshold).astype(np.float64)
    summands = np.stack([predicted * is_glaciar, predicted, is_glaciar, (scores - is_glaciar) ** 2], axis=1)

    def statistic(weights: Weights) -> npt.NDArray[np.float64]:
        true_positives, positives, glaciar, squares = (weights @ summands).T
        tiles = weights.sum(axis=1)
        cordillera = tiles - glaciar
        ordered = weights[:, order]
        hits = np.cumsum(ordered * is_glaciar[order], axis=1)[:, ends]
        found = np.cumsum(ordered, axis=1)[:, ends]
        new_hits, new_alarms = np.diff(hits, prepend=0.0, axis=1), np.diff(found - hits, prepend=0.0, axis=1)
        precisions = np.divide(hits, found, out=np.zeros_like(hits), where=hits > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            recall = true_positives / glaciar
            true_negatives = cordillera - (positives - true_positives)
            values = (
                (true_positives + true_negatives) / tiles,
                (recall + true_negatives / cordillera) / 2,
                true_positives / positives,
                recall,
                2 * true_positives / (positives + glaciar),
                (new_hits * precisions).sum(axis=1) / glaciar,
                (new_alarms * (hits - new_hits / 2)).sum(axis=1) / (glaciar * cordillera),  # by trapezoids
                squares / tiles,
            )
        return np.stack(values, axis=1)

    return statistic
