"""Metrics of both configs, for many bootstrap replicates at once.

Each function returns a statistic that computes the metrics from weights of the tiles. With all
weights 1, these are the plain metrics. The values equal scikit-learn's with `sample_weight`, but
all replicates are computed together, which is much faster.

Precision, recall, F1, IoU, ROC AUC and average precision are about the class `glaciar` or about
rock glacier pixels. A quotient of 0 by 0 is undefined, NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_array

from rock_glacier.score.bootstrap import Array, Statistic

_ROUNDING = 1e-9  # more than the rounding error of a mean of scores


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
    is_glaciar = (labels == 1).astype(np.float64)
    is_cordillera = 1 - is_glaciar
    predicted = (scores >= threshold).astype(np.float64)
    squared_error = (scores - is_glaciar) ** 2
    order = np.argsort(-scores, kind="stable")
    # Last tile of each distinct score: the points of the ROC and precision-recall curves.
    last = np.flatnonzero(np.diff(scores[order], append=-1.0))

    def statistic(weights: Array) -> dict[str, Array]:
        # No sum is a difference of others, which would not be exactly 0 if a class is missing.
        tiles = weights.sum(axis=1)
        glaciar = weights @ is_glaciar
        cordillera = weights @ is_cordillera
        positives = weights @ predicted
        true_positives = weights @ (predicted * is_glaciar)
        true_negatives = weights @ ((1 - predicted) * is_cordillera)
        recall = _divide(true_positives, glaciar)

        # Cumulative weights of both classes, from the highest score down.
        ordered = weights[:, order]
        ranked_glaciar = np.cumsum(ordered * is_glaciar[order], axis=1)[:, last]
        ranked_cordillera = np.cumsum(ordered * is_cordillera[order], axis=1)[:, last]
        ranked = ranked_glaciar + ranked_cordillera
        new_glaciar = np.diff(ranked_glaciar, prepend=0.0, axis=1)
        new_cordillera = np.diff(ranked_cordillera, prepend=0.0, axis=1)
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


def site_statistic(
    labels: npt.NDArray[np.int64],
    scores: Array,
    sites: npt.NDArray[np.int64],
    threshold: float,
) -> Statistic:
    """Return the statistic of sites with rock glaciers.

    A site is found if the mean score of its `glaciar` tiles reaches the threshold. In a replicate,
    a site counts as often as its tiles do on average.

    Args:
        labels: Shape (tiles,), values 0 and 1: 1 is `glaciar`.
        scores: Shape (tiles,), values in [0, 1]: the probability of `glaciar`.
        sites: Shape (tiles,): the number of each tile's site.
        threshold: Score from which a site is found.

    Returns:
        Function that computes site_recall, the share of the sites with `glaciar` tiles that are
        found.
    """
    is_glaciar = labels == 1
    numbers, columns = np.unique(sites[is_glaciar], return_inverse=True)
    cells = (np.arange(columns.size), columns)
    shape = (columns.size, numbers.size)
    is_of_site = csr_array((np.ones(columns.size), cells), shape)
    scores_of_site = csr_array((scores[is_glaciar], cells), shape)
    sizes = is_of_site.sum(axis=0)

    def statistic(weights: Array) -> dict[str, Array]:
        tiles = weights[:, is_glaciar] @ is_of_site
        means = _divide(weights[:, is_glaciar] @ scores_of_site, tiles)
        is_found = means >= threshold - _ROUNDING
        times = tiles / sizes
        return {"site_recall": _divide((times * is_found).sum(axis=1), times.sum(axis=1))}

    return statistic


def count_pixels(
    truth: npt.NDArray[np.bool_], predicted: npt.NDArray[np.bool_], weights: npt.NDArray[Any]
) -> dict[str, float]:
    """Count the pixels of a tile from which metrics are computed.

    Args:
        truth: Whether each pixel is rock glacier.
        predicted: Whether each pixel is predicted as rock glacier.
        weights: How much each pixel counts.

    Returns:
        Sum of the weights for each combination of truth and prediction.
    """
    combination = 2 * truth.ravel() + predicted.ravel()
    sums = np.bincount(combination, weights.ravel(), minlength=4)
    names = ("true_negatives", "false_positives", "false_negatives", "true_positives")
    return dict(zip(names, sums.tolist(), strict=True))


def mask_statistic(counts: pd.DataFrame) -> Statistic:
    """Return the statistic of image-segmentation, over the pixels of all tiles together.

    Args:
        counts: A row for each tile, with the sums that `count_pixels` returns.

    Returns:
        Function that computes iou, miou (mean of the IoU of rock glacier and of background),
        precision, recall and f1.
    """

    def statistic(weights: Array) -> dict[str, Array]:
        sums = {name: weights @ counts[name].to_numpy() for name in counts}
        hits = sums["true_positives"]
        rest = sums["true_negatives"]
        wrong = sums["false_positives"] + sums["false_negatives"]
        iou = _divide(hits, hits + wrong)
        return {
            "iou": iou,
            "miou": (iou + _divide(rest, rest + wrong)) / 2,
            "precision": _divide(hits, hits + sums["false_positives"]),
            "recall": _divide(hits, hits + sums["false_negatives"]),
            "f1": _divide(2 * hits, 2 * hits + wrong),
        }

    return statistic


def ground_statistic(counts: pd.DataFrame) -> Statistic:
    """Return the statistic of image-segmentation, over the pixels of ground.

    Args:
        counts: A row for each tile, from `mosaics.count_ground`.

    Returns:
        Function that computes the metrics of `mask_statistic` with the prefix `ground_`, and
        agreement.
    """
    plain = mask_statistic(counts)
    shared = counts["shared"].to_numpy()
    agreeing = counts["agreeing"].to_numpy()

    def statistic(weights: Array) -> dict[str, Array]:
        agreement = _divide(weights @ agreeing, weights @ shared)
        return {**add_prefix(plain(weights)), "agreement": agreement}

    return statistic


def add_prefix(values: dict[str, Array]) -> dict[str, Array]:
    """Add the prefix `ground_` to the names of metrics."""
    return {f"ground_{name}": value for name, value in values.items()}


def rock_glacier_statistic(units: pd.DataFrame) -> Statistic:
    """Return the statistic of true rock glaciers.

    Args:
        units: A row for each rock glacier, from `landforms.tabulate`.

    Returns:
        Function that computes landform_recall_50, landform_recall_25, area_producers_accuracy and
        boundary_distance_m (median of `distance`).
    """
    measured = units["distance"].dropna().sort_values()
    columns = units.index.get_indexer(measured.index)
    distances = np.append(measured.to_numpy(), np.nan)  # the last is for replicates without any

    def statistic(weights: Array) -> dict[str, Array]:
        number = weights.sum(axis=1)
        times = weights[:, columns]
        half = times.sum(axis=1, keepdims=True) / 2
        ranks = np.cumsum(times, axis=1)
        lower = distances[(ranks < half).sum(axis=1)]
        upper = distances[(ranks <= half).sum(axis=1)]
        return {
            "landform_recall_50": _divide(weights @ units["found_50"].to_numpy(), number),
            "landform_recall_25": _divide(weights @ units["found_25"].to_numpy(), number),
            "area_producers_accuracy": _divide(
                weights @ units["found_pixels"].to_numpy(),
                weights @ units["true_pixels"].to_numpy(),
            ),
            "boundary_distance_m": (lower + upper) / 2,
        }

    return statistic


def prediction_statistic(units: pd.DataFrame) -> Statistic:
    """Return the statistic of predicted rock glaciers.

    Args:
        units: A row for each group of predictions, from `landforms.tabulate`.

    Returns:
        Function that computes landform_precision_50, landform_precision_25 and
        area_users_accuracy.
    """

    def statistic(weights: Array) -> dict[str, Array]:
        number = weights @ units["predictions"].to_numpy()
        return {
            "landform_precision_50": _divide(weights @ units["right_50"].to_numpy(), number),
            "landform_precision_25": _divide(weights @ units["right_25"].to_numpy(), number),
            "area_users_accuracy": _divide(
                weights @ units["right_pixels"].to_numpy(),
                weights @ units["predicted_pixels"].to_numpy(),
            ),
        }

    return statistic


def _divide(above: Array, below: Array) -> Array:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
