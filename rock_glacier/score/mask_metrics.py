"""Metrics of image-segmentation, of many bootstrap replicates at once.

Accuracy; precision, recall, intersection over union (IoU) and Dice, which is F1, of the class rock glacier; and mIoU,
the mean of the IoU of rock glacier and that of background: over all pixels of the split together, where large rock
glaciers count most. IoU and Dice also as means over tiles, where each tile counts the same (G. Csurka, D. Larlus and F.
Perronnin, "What is a good evaluation measure for semantic segmentation?", BMVC 2013).

Boundary F1 is the mean over tiles of theirs: precision is the share of the predicted boundary that lies near the true
one, recall the share of the true boundary that lies near the predicted one, F1 their harmonic mean. A boundary is the
pixels of rock glacier with a pixel of background above, below, left or right; a tile's edge is not a boundary. Near is
a Euclidean distance of at most 2 pixels, 20 m of Sentinel-2 (F. Perazzi et al., "A benchmark dataset and evaluation
methodology for video object segmentation", CVPR 2016: 0.008 of the image's diagonal, rounded up in their code).

A tile where neither mask shows rock glacier (for boundary F1: a boundary) divides 0 by 0 and is left out of the mean.
Counted as 1, it would reward a model that never finds anything. Rock glacier predicted on a tile without any counts 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from rock_glacier.scoring.bootstrap import Statistic, Weights
from rock_glacier.scoring.predictions import Mask
from rock_glacier_dataset import TILE_SIZE

TOLERANCE = 2.0
"""Euclidean distance in pixels by which a boundary may be off."""

MASK_METRICS = {
    "accuracy": "accuracy over pixels",
    "precision": "precision over pixels",
    "recall": "recall over pixels",
    "mean_iou": "mIoU over pixels",
    "iou": "IoU over pixels",
    "dice": "Dice over pixels",
    "iou_tiles": "IoU over tiles",
    "dice_tiles": "Dice over tiles",
    "boundary_f1": "boundary F1",
}
"""What `mask_statistic` computes, in this order: keys in JSON and in a model card, and names in the report."""

Counts = npt.NDArray[np.int64]
"""Shape (tiles, 7), pixels of each tile: rock glacier in both masks, in the predicted one only, in the true one only;
the true boundary, and those of it near the predicted one; the predicted boundary, and those of it near the true one."""


def count_pixels(truth: Mask, predicted: Mask) -> list[int]:
    """Compare a tile's masks; return a row of `Counts`."""
    hits, in_truth, in_predicted = (int(np.count_nonzero(mask)) for mask in (truth & predicted, truth, predicted))
    true_edge, predicted_edge = (
        mask.astype(bool) & ~ndimage.binary_erosion(mask, border_value=1) for mask in (truth, predicted)
    )
    of_boundary = []
    for edge, other in ((true_edge, predicted_edge), (predicted_edge, true_edge)):
        near = ndimage.distance_transform_edt(~other)[edge] <= TOLERANCE if other.any() else False
        of_boundary += [int(np.count_nonzero(edge)), int(np.count_nonzero(near))]
    return [hits, in_predicted - hits, in_truth - hits, *of_boundary]


def mask_statistic(counts: Counts) -> Statistic:
    """Return the function that computes `MASK_METRICS` from weights of the tiles; all weights 1 give their values."""
    hits, false_positives, false_negatives, truth, true_near, predicted, predicted_near = counts.T.astype(np.float64)
    wrong = false_positives + false_negatives
    iou, dice = _quotient(hits, hits + wrong), _quotient(2 * hits, 2 * hits + wrong)
    precision, recall = _quotient(predicted_near, predicted, 0), _quotient(true_near, truth, 0)
    boundary_f1 = np.where(truth + predicted > 0, _quotient(2 * precision * recall, precision + recall, 0), np.nan)
    means = np.stack([iou, dice, boundary_f1], axis=1)
    of_pixels = np.stack([hits, false_positives, false_negatives], axis=1)
    summands = np.concatenate([of_pixels, np.nan_to_num(means), np.isfinite(means)], axis=1)

    def statistic(weights: Weights) -> npt.NDArray[np.float64]:
        sums = weights @ summands
        hits, false_positives, false_negatives = sums[:, :3].T
        pixels, wrong = weights.sum(axis=1) * TILE_SIZE**2, false_positives + false_negatives
        iou, background = _quotient(hits, hits + wrong), pixels - hits - wrong
        over_pixels = [
            _quotient(pixels - wrong, pixels),
            _quotient(hits, hits + false_positives),
            _quotient(hits, hits + false_negatives),
            (iou + _quotient(background, background + wrong)) / 2,
            iou,
            _quotient(2 * hits, 2 * hits + wrong),
        ]
        return np.concatenate([np.stack(over_pixels, axis=1), _quotient(sums[:, 3:6], sums[:, 6:])], axis=1)

    return statistic


def count_tiles_left_out(counts: Counts) -> tuple[int, int]:
    """Count the tiles that means leave out: without rock glacier, and without a boundary, in either mask."""
    return int((~counts[:, :3].any(axis=1)).sum()), int((~counts[:, [3, 5]].any(axis=1)).sum())


def mask_confusion(counts: Counts) -> npt.NDArray[np.int64]:
    """Count pixels, shape (2, 2): the row is the true class, the column the predicted one; background, rock glacier."""
    hits, false_positives, false_negatives = counts[:, :3].sum(axis=0).tolist()
    background = len(counts) * TILE_SIZE**2 - hits - false_positives - false_negatives
    return np.array([[background, false_positives], [false_negatives, hits]], np.int64)


def _quotient(
    above: npt.NDArray[np.float64], below: npt.NDArray[np.float64], otherwise: float = np.nan
) -> npt.NDArray[np.float64]:
    return np.divide(above, below, out=np.full_like(above, otherwise), where=below > 0)
