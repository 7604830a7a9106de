"""Rock glaciers as objects: find the true and the predicted ones of a site, and match them.

A rock glacier is a connected component of the true mosaic. Pixels that touch at a corner are
connected, because a narrow part that runs diagonally may be connected only there. If outlines are
given and the site is located, each outline is a rock glacier, clipped to the covered ground.
Predicted rock glaciers are the connected components of the predicted mosaic.

True and predicted rock glaciers are matched one to one, with the largest possible sum of IoU
(intersection over union).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
import shapely
from rasterio.features import rasterize
from rasterio.transform import array_bounds
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from rock_glacier.places.outlines import PIXEL
from rock_glacier.score.mosaics import Flags, Grid, Mosaic, Window

GOOD = 0.5
"""IoU from which a rock glacier is found and a prediction is right. Above it, an object can match
only one other (A. Kirillov et al., "Panoptic segmentation", CVPR 2019)."""

FAIR = 0.25
"""A second, lower threshold, because experts draw the outlines of rock glaciers differently."""

Labels = npt.NDArray[np.int32]
"""The number of the rock glacier that each pixel of a mosaic belongs to, from 1, or 0."""

_WGS84 = 4326  # EPSG code

_NEIGHBOURS = np.ones((3, 3), np.bool_)  # a pixel and the eight around it


@dataclass(frozen=True)
class Landforms:
    """The rock glaciers of a site.

    Attributes:
        true: A row for each true rock glacier. Columns: `site`, `label`, `pixels`, `x` and `y`
            (centre, in pixels of the mosaic), `longitude` and `latitude` (centre; NaN if the site
            is not located), `is_at_edge` (whether it touches the edge of the covered ground),
            `outline` (its name, or an empty text), `masked_pixels` (how many of its pixels are rock
            glacier in the masks), `found_pixels` (how many of its pixels are
            predicted), `iou` (with its match, or 0) and `distance` (median distance in metres
            between its boundary and that of its match; NaN if their IoU is less than `FAIR`).
        predicted: A row for each predicted rock glacier. Columns as above up to `is_at_edge`; then
            `score` (mean of its pixels), `right_pixels` (how many of its pixels are rock glacier),
            `iou` and `owner` (label of the true rock glacier that it overlaps most, or else of the
            nearest; 0 if the site has none).
    """

    true: pd.DataFrame
    predicted: pd.DataFrame


def find_landforms(mosaic: Mosaic, outlines: Any = None) -> Landforms:
    """Find and match the rock glaciers of a site.

    Args:
        mosaic: The merged tiles of the site.
        outlines: Outlines from `places.outlines.read_outlines`, or None.
    """
    true_labels, names = label_true(mosaic, outlines)
    predicted_labels = label_predicted(mosaic)
    edge = mosaic.is_covered & ~ndimage.binary_erosion(mosaic.is_covered, _NEIGHBOURS)
    true = _describe(true_labels, mosaic, edge)
    predicted = _describe(predicted_labels, mosaic, edge)
    shared = _intersect(true_labels, predicted_labels, true, predicted)
    matches = _match(shared)
    return Landforms(
        true.assign(
            outline=names,
            masked_pixels=np.bincount(true_labels[mosaic.truth], minlength=len(true) + 1)[1:],
            found_pixels=_sum_by_label(shared["true"], shared["pixels"], len(true)),
            iou=_sum_by_label(matches["true"], matches["iou"], len(true)),
            distance=_measure_distances(mosaic, true_labels, predicted_labels, matches),
        ),
        predicted.assign(
            score=ndimage.mean(mosaic.scores, predicted_labels, predicted["label"]),
            right_pixels=_sum_by_label(shared["predicted"], shared["pixels"], len(predicted)),
            iou=_sum_by_label(matches["predicted"], matches["iou"], len(predicted)),
            owner=_find_owners(shared, true, predicted),
        ),
    )


def label_true(mosaic: Mosaic, outlines: Any = None) -> tuple[Labels, list[str]]:
    """Return the true rock glaciers on a mosaic, and the names of their outlines."""
    if outlines is None or mosaic.grid is None:
        labels, number = ndimage.label(mosaic.truth, _NEIGHBOURS)
        return labels, [""] * number
    return _draw_outlines(mosaic, mosaic.grid, outlines)


def label_predicted(mosaic: Mosaic) -> Labels:
    """Return the predicted rock glaciers on a mosaic."""
    labels, _ = ndimage.label(mosaic.predicted, _NEIGHBOURS)
    return labels


def tabulate(true: pd.DataFrame, predicted: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each true rock glacier, with the group of predictions that belong to it.

    The predictions at a site without rock glaciers are a group as well. The bootstrap draws rows,
    because predictions of one rock glacier are not independent, and because two models have the
    same rock glaciers but not the same predictions.

    Args:
        true: `Landforms.true` of all sites.
        predicted: `Landforms.predicted` of all sites.

    Returns:
        Table with the index `site` and `label`, which is 0 for a site without rock glaciers.
        Columns: `rock_glaciers` (1 or 0), `found_50` and `found_25` (whether it is found),
        `true_pixels`, `found_pixels`, `distance`; `predictions` (number), `right_50` and `right_25`
        (how many of them are right), `predicted_pixels`, `right_pixels`.
    """
    rock_glaciers = pd.DataFrame(
        {
            "site": true["site"],
            "label": true["label"],
            "rock_glaciers": 1,
            "found_50": true["iou"] >= GOOD,
            "found_25": true["iou"] >= FAIR,
            "true_pixels": true["pixels"],
            "found_pixels": true["found_pixels"],
            "distance": true["distance"],
        }
    )
    predictions = pd.DataFrame(
        {
            "site": predicted["site"],
            "label": predicted["owner"],
            "predictions": 1,
            "right_50": predicted["iou"] >= GOOD,
            "right_25": predicted["iou"] >= FAIR,
            "predicted_pixels": predicted["pixels"],
            "right_pixels": predicted["right_pixels"],
        }
    )
    key = ["site", "label"]
    units = rock_glaciers.set_index(key).join(predictions.groupby(key).sum(), how="outer")
    numbers = units.columns.drop("distance")
    return units.fillna(dict.fromkeys(numbers, 0)).astype(float)


def area_km2(table: pd.DataFrame) -> pd.Series[float]:
    """Return the areas of rock glaciers in square kilometres."""
    return table["pixels"] * PIXEL**2 / 1e6


def _draw_outlines(mosaic: Mosaic, grid: Grid, outlines: Any) -> tuple[Labels, list[str]]:
    """Draw the outlines on a mosaic: a pixel belongs to the outline that its centre is in.

    If outlines overlap, the pixel belongs to the smallest.

    Returns:
        The labels and the names of the outlines on the covered ground.
    """
    height, width = mosaic.coverage.shape
    labels = np.zeros((height, width), np.int32)
    bounds = array_bounds(height, width, grid.transform)
    in_degrees = shapely.box(*_to_degrees(grid.epsg).transform_bounds(*bounds))
    shown = outlines.iloc[outlines.sindex.query(in_degrees, sort=True)].to_crs(grid.epsg)
    if len(shown):  # rasterio < 1.4 raises an error if there is nothing to draw
        largest_first = np.argsort(-shown.area)
        shapes = zip(shown.geometry.iloc[largest_first], largest_first + 1, strict=True)
        rasterize(shapes, out=labels, transform=grid.transform)
    labels[~mosaic.is_covered] = 0
    used = np.unique(labels[labels > 0])
    renumbered = np.zeros(len(shown) + 1, np.int32)
    renumbered[used] = np.arange(used.size) + 1
    return renumbered[labels], shown["name"].iloc[used - 1].tolist()


def _describe(labels: Labels, mosaic: Mosaic, edge: Flags) -> pd.DataFrame:
    """Return a row for each label: site, size, centre and whether it is at the edge.

    Args:
        labels: The rock glaciers.
        mosaic: The merged tiles of the site.
        edge: Whether a pixel is at the edge of the covered ground.
    """
    rows, columns = np.nonzero(labels)
    numbers = labels[rows, columns] - 1
    pixels = np.bincount(numbers)
    x = np.bincount(numbers, columns + 0.5) / pixels
    y = np.bincount(numbers, rows + 0.5) / pixels
    longitude = latitude = np.full(pixels.size, np.nan)
    if mosaic.grid is not None:
        longitude, latitude = _to_degrees(mosaic.grid.epsg).transform(
            mosaic.grid.easting + PIXEL * x, mosaic.grid.northing - PIXEL * y
        )
    label = np.arange(pixels.size) + 1
    return pd.DataFrame(
        {
            "site": mosaic.site,
            "label": label,
            "pixels": pixels,
            "x": x,
            "y": y,
            "longitude": longitude,
            "latitude": latitude,
            "is_at_edge": np.isin(label, labels[edge]),
        }
    )


@functools.cache
def _to_degrees(epsg: int) -> pyproj.Transformer:
    """Return the transformation from a UTM zone to longitude and latitude."""
    return pyproj.Transformer.from_crs(epsg, _WGS84, always_xy=True)


def _intersect(
    true_labels: Labels, predicted_labels: Labels, true: pd.DataFrame, predicted: pd.DataFrame
) -> pd.DataFrame:
    """Return a row for each pair that shares pixels: `true`, `predicted`, `pixels` and `iou`."""
    is_shared = (true_labels > 0) & (predicted_labels > 0)
    base = len(predicted) + 1
    codes = base * true_labels[is_shared].astype(np.int64) + predicted_labels[is_shared]
    pairs, pixels = np.unique(codes, return_counts=True)
    true_label, predicted_label = np.divmod(pairs, base)
    true_pixels = true["pixels"].to_numpy()[true_label - 1]
    predicted_pixels = predicted["pixels"].to_numpy()[predicted_label - 1]
    iou = pixels / (true_pixels + predicted_pixels - pixels)
    return pd.DataFrame(
        {"true": true_label, "predicted": predicted_label, "pixels": pixels, "iou": iou}
    )


def _match(shared: pd.DataFrame) -> pd.DataFrame:
    """Choose the pairs with the largest sum of IoU; each object is in at most one pair."""
    true, rows = np.unique(shared["true"], return_inverse=True)
    predicted, columns = np.unique(shared["predicted"], return_inverse=True)
    iou = np.zeros((true.size, predicted.size))
    iou[rows, columns] = shared["iou"]
    chosen_rows, chosen_columns = linear_sum_assignment(iou, maximize=True)
    is_chosen = np.zeros(iou.shape, np.bool_)
    is_chosen[chosen_rows, chosen_columns] = True
    return shared[is_chosen[rows, columns]]


def _measure_distances(
    mosaic: Mosaic, true_labels: Labels, predicted_labels: Labels, matches: pd.DataFrame
) -> npt.NDArray[np.float64]:
    """Return the distance between the boundaries of each true rock glacier and its match."""
    true_boxes = ndimage.find_objects(true_labels)
    predicted_boxes = ndimage.find_objects(predicted_labels)
    distances = np.full(len(true_boxes), np.nan)
    for match in matches[matches["iou"] >= FAIR].itertuples():
        window = _enclose([true_boxes[match.true - 1], predicted_boxes[match.predicted - 1]])
        is_covered = mosaic.is_covered[window]
        distances[match.true - 1] = _median_distance(
            _boundary(true_labels[window] == match.true, is_covered),
            _boundary(predicted_labels[window] == match.predicted, is_covered),
        )
    return distances


def _sum_by_label(labels: pd.Series[int], values: pd.Series[Any], number: int) -> npt.NDArray[Any]:
    """Return the sum of the values of each label from 1 to `number`."""
    return np.bincount(labels, values, number + 1)[1:]


def _find_owners(
    shared: pd.DataFrame, true: pd.DataFrame, predicted: pd.DataFrame
) -> npt.NDArray[np.int64]:
    """Return the label of the true rock glacier that each prediction belongs to, or 0."""
    if true.empty or predicted.empty:
        return np.zeros(len(predicted), np.int64)
    nearest = cdist(predicted[["x", "y"]], true[["x", "y"]]).argmin(axis=1)
    owners = true["label"].to_numpy()[nearest]
    by_overlap = shared.sort_values("pixels", kind="stable")
    owners[by_overlap["predicted"] - 1] = by_overlap["true"]  # the largest overlap is the last
    return owners


def _enclose(boxes: Sequence[Window]) -> Window:
    """Return the rows and columns that hold all boxes and a pixel around them."""
    rows, columns = (
        slice(max(0, min(part.start for part in parts) - 1), max(part.stop for part in parts) + 1)
        for parts in zip(*boxes, strict=True)
    )
    return rows, columns


def _boundary(area: Flags, is_covered: Flags) -> Flags:
    """Return the pixels of an area next to covered ground that does not belong to it.

    The edge of the covered ground is not a boundary: the area may continue beyond it.
    """
    return area & ndimage.binary_dilation(is_covered & ~area)


def _median_distance(first: Flags, second: Flags) -> float:
    """Return the median distance in metres between two boundaries.

    Each pixel of one boundary has a distance to the nearest pixel of the other. The result is the
    median of these distances over both boundaries. It is NaN if one has no pixels, because its area
    fills the covered ground.
    """
    if not first.any() or not second.any():
        return np.nan
    distances = [
        ndimage.distance_transform_edt(~second)[first],
        ndimage.distance_transform_edt(~first)[second],
    ]
    return PIXEL * float(np.median(np.concatenate(distances)))
