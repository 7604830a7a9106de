"""Metrics of image-segmentation: how well predicted masks fit the true ones.

Intersection over union (IoU) and Dice, of the class rock glacier, in two ways. Over pixels: all pixels of the split
together, so that large rock glaciers count most. Over tiles: the mean over tiles, as G. Csurka, D. Larlus and F.
Perronnin advise ("What is a good evaluation measure for semantic segmentation?", BMVC 2013), so that each tile counts
the same.

Boundary F1 is the mean over tiles of theirs: precision is the share of the predicted boundary that lies near the true
one, recall the share of the true boundary that lies near the predicted one, F1 their harmonic mean. A boundary is the
pixels of rock glacier with a pixel of background above, below, left or right; where a rock glacier is cut by the tile's
edge, there is no boundary. Near is a Euclidean distance of 2 pixels at the most, which are 20 m of Sentinel-2: what
F. Perazzi et al. ("A benchmark dataset and evaluation methodology for video object segmentation", CVPR 2016) allow, in
whose code it is 0.008 of the image's diagonal, rounded up.

A tile where neither mask shows rock glacier (for boundary F1: a boundary) divides 0 by 0. It is left out of the mean,
as scikit-learn leaves out what is not defined with `zero_division=nan`. Counted as 1, as some do, it would give a model
that never finds anything a mark for every tile of cordillera. Rock glacier predicted on a tile without any counts as 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from class_metrics import Metric
from group_bootstrap import Statistic, Weights
from mask_formats import Mask
from scipy import ndimage

TOLERANCE = 2.0
"""Pixels that a boundary may be off."""

MASK_METRICS = (
    Metric("iou", "IoU over pixels"),
    Metric("dice", "Dice over pixels"),
    Metric("iou_tiles", "IoU over tiles"),
    Metric("dice_tiles", "Dice over tiles"),
    Metric("boundary_f1", "boundary F1"),
)
"""What `replicated_metrics` gives, in its order."""


class TileCounts(NamedTuple):
    """What is kept of a tile, in pixels.

    Attributes:
        true_positives: rock glacier in both masks.
        false_positives: rock glacier in the predicted mask alone.
        false_negatives: rock glacier in the true mask alone.
        true_boundary: the true mask's boundary.
        true_near: those of it that are near the predicted boundary.
        predicted_boundary: the predicted mask's boundary.
        predicted_near: those of it that are near the true boundary.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    true_boundary: int
    true_near: int
    predicted_boundary: int
    predicted_near: int


def boundary(mask: Mask) -> npt.NDArray[np.bool_]:
    """Return the pixels of rock glacier that have a pixel of background beside them.

    Example:
        >>> mask = np.zeros((128, 128), np.uint8)
        >>> mask[:5, 10:15] = 1
        >>> int(boundary(mask).sum())  # left, right and lower side; the upper one is the tile's edge
        13
    """
    edge: npt.NDArray[np.bool_] = mask.astype(bool) & ~ndimage.binary_erosion(mask, border_value=1)
    return edge


def tile_counts(truth: Mask, predicted: Mask, tolerance: float = TOLERANCE) -> TileCounts:
    """Compare a tile's masks.

    Args:
        truth: the true mask.
        predicted: the predicted mask.
        tolerance: Euclidean distance in pixels up to which a boundary is near.
    """
    hits = int(np.count_nonzero(truth & predicted))
    in_truth, in_predicted = int(np.count_nonzero(truth)), int(np.count_nonzero(predicted))
    true_edge, predicted_edge = boundary(truth), boundary(predicted)
    return TileCounts(
        hits,
        in_predicted - hits,
        in_truth - hits,
        int(np.count_nonzero(true_edge)),
        _near(true_edge, predicted_edge, tolerance),
        int(np.count_nonzero(predicted_edge)),
        _near(predicted_edge, true_edge, tolerance),
    )


def _near(edge: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_], tolerance: float) -> int:
    """Count the pixels of an edge that are near another."""
    if not edge.any() or not other.any():
        return 0
    return int(np.count_nonzero(ndimage.distance_transform_edt(~other)[edge] <= tolerance))


def replicated_metrics(counts: npt.NDArray[np.int64]) -> Statistic:
    """Return what gives `MASK_METRICS` of many replicates at once; with all weights 1, of the tiles as they are.

    Args:
        counts: shape (tiles, 7), a row of `TileCounts` for each tile.
    """
    hits, false_positives, false_negatives, *of_boundary = counts.T.astype(np.float64)
    wrong = false_positives + false_negatives
    iou, dice = _quotient(hits, hits + wrong), _quotient(2 * hits, 2 * hits + wrong)
    boundary_f1 = _boundary_f1(*of_boundary)
    shows, has_boundary = np.isfinite(iou), np.isfinite(boundary_f1)
    sums_of = np.stack([hits, wrong, *map(np.nan_to_num, (iou, dice, boundary_f1)), shows, has_boundary], axis=1)

    def statistic(weights: Weights) -> npt.NDArray[np.float64]:
        hits, wrong, iou, dice, boundary_f1, shows, has_boundary = (weights @ sums_of).T
        found = (
            _quotient(hits, hits + wrong),
            _quotient(2 * hits, 2 * hits + wrong),
            _quotient(iou, shows),
            _quotient(dice, shows),
            _quotient(boundary_f1, has_boundary),
        )
        return np.stack(found, axis=1)

    return statistic


def tiles_left_out(counts: npt.NDArray[np.int64]) -> tuple[int, int]:
    """Count the tiles that the means over tiles leave out: where neither mask shows rock glacier, or a boundary."""
    shows = counts[:, :3].any(axis=1)
    has_boundary = counts[:, [TileCounts._fields.index(name) for name in ("true_boundary", "predicted_boundary")]]
    return int((~shows).sum()), int((~has_boundary.any(axis=1)).sum())


def confusion_matrix(counts: npt.NDArray[np.int64], pixels: int) -> npt.NDArray[np.int64]:
    """Count pixels, shape (2, 2): the row is the true class, the column the predicted one; background, rock glacier.

    Args:
        counts: shape (tiles, 7), a row of `TileCounts` for each tile.
        pixels: the number of pixels in all tiles.
    """
    hits, false_positives, false_negatives = counts[:, :3].sum(axis=0).tolist()
    background = pixels - hits - false_positives - false_negatives
    return np.array([[background, false_positives], [false_negatives, hits]])


def _boundary_f1(
    truth: npt.NDArray[np.float64],
    true_near: npt.NDArray[np.float64],
    predicted: npt.NDArray[np.float64],
    predicted_near: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Return each tile's boundary F1: 0 where one mask alone has a boundary, NaN where neither has."""
    precision = np.nan_to_num(_quotient(predicted_near, predicted))
    recall = np.nan_to_num(_quotient(true_near, truth))
    f1 = np.nan_to_num(_quotient(2 * precision * recall, precision + recall))
    return np.where(truth + predicted > 0, f1, np.nan)


def _quotient(above: npt.NDArray[np.float64], below: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
