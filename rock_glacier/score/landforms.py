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
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from rock_glacier.score.mosaics import PIXEL, Flags, Grid, Mosaic, Window

GOOD = 0.5
"""IoU from which a rock glacier is found and a prediction is right. Above it, an object can match
only one other (A. Kirillov et al., "Panoptic segmentation", CVPR 2019)."""

FAIR = 0.25
"""A second, lower threshold, because experts draw the outlines of rock glaciers differently."""

Labels = npt.NDArray[np.int32]
"""The number of the rock glacier that each pixel of a mosaic belongs to, from 1, or 0."""

_NEIGHBOURS = np.ones((3, 3), np.bool_)  # a pixel and the eight around it


@dataclass(frozen=True)
class Landforms:
    """The rock glaciers of a site.

    Attributes:
        true: A row for each true rock glacier. Columns: `site`, `label`, `pixels`, `x` and `y`
            (centre, in pixels of the mosaic), `longitude` and `latitude` (centre; NaN if the site
            is not located), `is_at_edge` (whether it touches the edge of the covered ground),
            `outline` (its name, or an empty text), `found_pixels` (how many of its pixels are
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

    true["outline"] = names
    true["found_pixels"] = _sum_by_label(shared["true"], shared["pixels"], len(true))
    true["iou"] = _sum_by_label(matches["true"], matches["iou"], len(true))
    true["distance"] = _measure_distances(mosaic, matches, true_labels, predicted_labels)
    scores = ndimage.mean(mosaic.scores, predicted_labels, predicted["label"])
    predicted["score"] = np.asarray(scores, np.float64)
    predicted["right_pixels"] = _sum_by_label(shared["predicted"], shared["pixels"], len(predicted))
    predicted["iou"] = _sum_by_label(matches["predicted"], matches["iou"], len(predicted))
    predicted["owner"] = _find_owners(shared, true, predicted)
    return Landforms(true, predicted)


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

    Returns:
        The labels and the names of the outlines on the covered ground.
    """
    import rasterio.features
    import rasterio.transform

    transform = rasterio.transform.from_origin(grid.easting, grid.northing, PIXEL, PIXEL)
    height, width = mosaic.coverage.shape
    bounds = rasterio.transform.array_bounds(height, width, transform)
    projected = outlines.to_crs(grid.epsg)
    shown = projected.iloc[projected.sindex.intersection(bounds)]
    labels = np.zeros(mosaic.coverage.shape, np.int32)
    if len(shown):
        shapes = zip(shown.geometry, range(1, len(shown) + 1), strict=True)
        rasterio.features.rasterize(shapes, out=labels, transform=transform)
    labels[~mosaic.is_covered] = 0
    used = np.unique(labels[labels > 0])
    renumbered = np.zeros(len(shown) + 1, np.int32)
    renumbered[used] = np.arange(used.size) + 1
    return renumbered[labels], shown["name"].iloc[used - 1].tolist()


def _describe(labels: Labels, mosaic: Mosaic) -> pd.DataFrame:
    """Return a row for each label: site, size, centre and whether it is at the edge."""
    rows, columns = np.nonzero(labels)
    numbers = labels[rows, columns] - 1
    pixels = np.bincount(numbers)
    table = pd.DataFrame({"site": mosaic.site, "label": np.arange(pixels.size) + 1})
    table["pixels"] = pixels
    table["x"] = np.bincount(numbers, columns + 0.5) / pixels
    table["y"] = np.bincount(numbers, rows + 0.5) / pixels
    table["longitude"] = np.nan
    table["latitude"] = np.nan
    if mosaic.grid is not None:
        easting = mosaic.grid.easting + PIXEL * table["x"]
        northing = mosaic.grid.northing - PIXEL * table["y"]
        to_degrees = _transformer(mosaic.grid.epsg)
        table["longitude"], table["latitude"] = to_degrees.transform(easting, northing)
    inside = ndimage.binary_erosion(mosaic.is_covered, _NEIGHBOURS)
    table["is_at_edge"] = table["label"].isin(labels[~inside])
    return table


@functools.cache
def _transformer(epsg: int) -> Any:
    """Return the transformation from a UTM zone to longitude and latitude."""
    import pyproj

    return pyproj.Transformer.from_crs(epsg, 4326, always_xy=True)


def _intersect(
    true_labels: Labels, predicted_labels: Labels, true: pd.DataFrame, predicted: pd.DataFrame
) -> pd.DataFrame:
    """Return a row for each pair that shares pixels: `true`, `predicted`, `pixels` and `iou`."""
    is_shared = (true_labels > 0) & (predicted_labels > 0)
    base = len(predicted) + 1
    pairs = base * true_labels[is_shared].astype(np.int64) + predicted_labels[is_shared]
    codes, pixels = np.unique(pairs, return_counts=True)
    shared = pd.DataFrame({"true": codes // base, "predicted": codes % base, "pixels": pixels})
    true_pixels = true["pixels"].to_numpy()[shared["true"] - 1]
    predicted_pixels = predicted["pixels"].to_numpy()[shared["predicted"] - 1]
    shared["iou"] = shared["pixels"] / (true_pixels + predicted_pixels - shared["pixels"])
    return shared


def _match(shared: pd.DataFrame) -> pd.DataFrame:
    """Choose the pairs with the largest sum of IoU; each object is in at most one pair."""
    true, rows = np.unique(shared["true"], return_inverse=True)
    predicted, columns = np.unique(shared["predicted"], return_inverse=True)
    iou = np.zeros((true.size, predicted.size))
    iou[rows, columns] = shared["iou"]
    chosen = linear_sum_assignment(iou, maximize=True)
    matches = pd.DataFrame({"true": true[chosen[0]], "predicted": predicted[chosen[1]]})
    matches["iou"] = iou[chosen]
    return matches[matches["iou"] > 0]


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
