"""Find the places on outlines of rock glaciers where groups of masks were cut.

A single mask may fit many outlines, especially if it shows one plain edge. So the masks of a group,
whose positions relative to each other are known, are placed together, as one mosaic:

1. At a quarter of the resolution, the mosaic is compared with every place of every region, in eight
   orientations. The measure is the intersection over union (IoU) of the rock glaciers, within the
   pixels that the mosaic knows.
2. The best places are compared at full resolution with their surroundings.
3. The best place is accepted if it fits and every other place fits clearly worse. Other places are
   in another orientation, at another outline, or at least 70 m away. So a mask that is all rock
   glacier, or shows only a straight edge, is not accepted.

`locate` has measurements.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd

from rock_glacier.parallel import Workers, cut_ranges
from rock_glacier.places.footprints import FOOTPRINT_WIDTH
from rock_glacier.places.outlines import PIXEL, Raster, rasterise_regions
from rock_glacier.sites.orientations import MATRICES, ORIENTATIONS, oriented
from rock_glacier.sites.placement import TOLERANCE
from rock_glacier.tiles import ArrayFiles
from rock_glacier_dataset import TILE_SIZE

MIN_IOU = 0.8
"""Smallest IoU of a mosaic with the outlines at its place.

Groups of 9 or more of the release's test masks have at least 0.92. Without the right outlines they
have at most 0.73. Enlarged by 10 % they have 0.51 to 0.85, reduced by 10 % at most 0.78.
"""

MIN_ERROR_RATIO = 1.5
"""Smallest ratio of the error (1 - IoU) at any other place to the error at the place of a mosaic.

With the right outlines removed, 5 of 1,165 single masks pass; without this rule, 191.
"""

MIN_GAP = 0.01
"""Smallest difference of the IoU to any other place.

Without this rule, 6 of 1,070 single masks have an error of more than 60 m. With it, none has.
"""

_FACTOR = 4  # of the reduced resolution; a rock glacier is at least 20 pixels wide
_CANDIDATES = 12  # places per mosaic that are compared at full resolution
_PEAK = np.ones((5, 5), np.uint8)  # a candidate is the best of 5 x 5 reduced pixels
_SEARCH = 12  # pixels around a candidate that are compared at full resolution
_TYPES = {
    "iou": np.float64,
    "rival": np.float64,
    "is_clear": bool,
    "epsg": np.int64,
    "orientation": np.int64,
    "x": np.int64,
    "y": np.int64,
}
_MARGIN = FOOTPRINT_WIDTH + _SEARCH * PIXEL  # metres; every tile of a group shows an outline


@dataclass(frozen=True)
class _Mosaic:
    """The masks of a group in their places.

    Attributes:
        pixels: uint8 array of shape (height, width), multiples of 4: 1 is rock glacier.
        known: uint8 array of the same shape: 1 if a mask covers the pixel.
        centre: x and y of the centre in the grid of the site.
    """

    pixels: npt.NDArray[np.uint8]
    known: npt.NDArray[np.uint8]
    centre: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Candidate:
    """A place of a mosaic in the raster of a region, found at a quarter of the resolution.

    Attributes:
        iou: IoU with the outlines, at the reduced resolution.
        region: Number of the region.
        orientation: Orientation of the mosaic.
        x: Column of the upper left corner of the oriented mosaic, in pixels of 10 m.
        y: Row of the same corner.
    """

    iou: float
    region: int
    orientation: int
    x: int
    y: int


@dataclass(frozen=True)
class _Place:
    """A place of a mosaic on the map; see `fit_groups` for `epsg`, `orientation`, `x`, `y`.

    Attributes:
        iou: IoU with the outlines.
        near: Largest IoU in the surroundings, more than 6 and up to 12 pixels away.
    """

    iou: float
    near: float
    epsg: int
    orientation: int
    x: int
    y: int

    def is_near(self, other: _Place) -> bool:
        """Whether two places differ by at most 6 pixels."""
        is_same_way = (self.epsg, self.orientation) == (other.epsg, other.orientation)
        return is_same_way and max(abs(self.x - other.x), abs(self.y - other.y)) <= TOLERANCE


def fit_groups(
    files: ArrayFiles, tiles: pd.DataFrame, outlines: geopandas.GeoDataFrame, workers: Workers
) -> pd.DataFrame:
    """Place each group of masks on outlines.

    Args:
        files: The decoded tiles.
        tiles: A row for each tile of a group, with the columns `mask_group`, `x`, `y` and
            `orientation` (in its site). The index is the row number in `files`.
        outlines: The outlines, in EPSG:4326.
        workers: Processes to use.

    Returns:
        A row for each group, indexed by `mask_group`: `iou` and `rival` (IoU at the best place and
        at the best other place, or 0), `is_clear` (whether the best place is accepted), and the
        transform from the grid of the site to the map. The transform is applied to the centre of a
        tile: `MATRICES[orientation]`, then `x` and `y` are added. Positions on the map are in
        pixels: easting / 10 and -northing / 10 in the UTM zone `epsg`.
    """
    groups = [members for _, members in tiles.groupby("mask_group")]
    ranges = cut_ranges(len(groups), workers.parts)
    tasks = [(files, groups[first:last], outlines) for first, last in ranges]
    parts = workers.map(_fit, tasks, "Placing masks on outlines")
    fits = pd.DataFrame([row for part in parts for row in part], columns=list(_TYPES))
    index = pd.Index([members["mask_group"].iloc[0] for members in groups], name="mask_group")
    return fits.astype(_TYPES).set_index(index)


def _fit(
    files: ArrayFiles, groups: list[pd.DataFrame], outlines: geopandas.GeoDataFrame
) -> list[dict[str, Any]]:
    """Place some groups of masks; returns rows of `fit_groups`."""
    cv2.setNumThreads(1)  # groups are already distributed over processes
    masks = files.open_masks()
    mosaics = [_make_mosaic(masks, members) for members in groups]
    candidates: list[list[_Candidate]] = [[] for _ in mosaics]
    for region, raster in enumerate(_draw_regions(outlines)):
        reduced = _reduce(raster.pixels)
        for mosaic, best in zip(mosaics, candidates, strict=True):
            best += _find_candidates(mosaic, reduced, region)
            best.sort(key=lambda candidate: -candidate.iou)
            del best[_CANDIDATES:]
    places: list[list[_Place]] = [[] for _ in mosaics]
    # Rasters are drawn again rather than kept: an inventory may have thousands of regions.
    for region, raster in enumerate(_draw_regions(outlines)):
        for mosaic, best, refined in zip(mosaics, candidates, places, strict=True):
            chosen = [candidate for candidate in best if candidate.region == region]
            refined += [_refine(mosaic, candidate, raster) for candidate in chosen]
    return [_choose(refined) for refined in places]


def _draw_regions(outlines: geopandas.GeoDataFrame) -> Iterator[Raster]:
    """Draw the regions; width and height become multiples of 4, filled with 0."""
    for raster in rasterise_regions(outlines, _MARGIN):
        height, width = raster.pixels.shape
        padding = ((0, -height % _FACTOR), (0, -width % _FACTOR))
        yield replace(raster, pixels=np.pad(raster.pixels, padding))


def _make_mosaic(masks: npt.NDArray[np.uint8], members: pd.DataFrame) -> _Mosaic:
    """Draw the masks of a group; if masks differ at a pixel, the majority counts."""
    left = int(members["x"].min())
    top = int(members["y"].min())
    width = -(-(int(members["x"].max()) - left + TILE_SIZE) // _FACTOR) * _FACTOR
    height = -(-(int(members["y"].max()) - top + TILE_SIZE) // _FACTOR) * _FACTOR
    covered = np.zeros((height, width), np.int32)
    votes = np.zeros((height, width), np.int32)
    for row, x, y, orientation in zip(
        members.index, members["x"] - left, members["y"] - top, members["orientation"], strict=True
    ):
        part = (slice(y, y + TILE_SIZE), slice(x, x + TILE_SIZE))
        covered[part] += 1
        votes[part] += oriented(masks[row], orientation)
    pixels = (2 * votes > covered).astype(np.uint8)
    known = (covered > 0).astype(np.uint8)
    return _Mosaic(pixels, known, np.array([left + width // 2, top + height // 2]))


def _reduce(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Average squares of 4 x 4 pixels."""
    height, width = pixels.shape
    squares = pixels.reshape(height // _FACTOR, _FACTOR, width // _FACTOR, _FACTOR)
    return squares.sum((1, 3), dtype=np.float32) / _FACTOR**2


def _find_candidates(
    mosaic: _Mosaic, region_pixels: npt.NDArray[np.float32], region: int
) -> list[_Candidate]:
    """Find the best places of a mosaic in the reduced raster of a region."""
    reduced_pixels = _reduce(mosaic.pixels)
    reduced_known = _reduce(mosaic.known)
    candidates = []
    for orientation in ORIENTATIONS:
        pixels = np.ascontiguousarray(oriented(reduced_pixels, orientation))
        known = np.ascontiguousarray(oriented(reduced_known, orientation))
        if pixels.shape[0] > region_pixels.shape[0] or pixels.shape[1] > region_pixels.shape[1]:
            continue
        iou = _measure_iou(region_pixels, pixels, known)
        rows, columns = np.nonzero(iou == cv2.dilate(iou, _PEAK))
        best = np.argsort(-iou[rows, columns], kind="stable")[:_CANDIDATES]
        for y, x in zip(rows[best].tolist(), columns[best].tolist(), strict=True):
            candidate = _Candidate(float(iou[y, x]), region, orientation, _FACTOR * x, _FACTOR * y)
            candidates.append(candidate)
    return candidates


def _measure_iou(
    outlines: npt.NDArray[np.floating | np.integer],
    pixels: npt.NDArray[np.floating | np.integer],
    known: npt.NDArray[np.floating | np.integer],
) -> npt.NDArray[np.float32]:
    """Return the IoU of a mosaic with outlines at each place of its upper left corner."""
    shared = cv2.matchTemplate(outlines, pixels, cv2.TM_CCORR)
    covered = cv2.matchTemplate(outlines, known, cv2.TM_CCORR)
    return shared / (pixels.sum() + covered - shared)


def _refine(mosaic: _Mosaic, candidate: _Candidate, raster: Raster) -> _Place:
    """Find the best place near a candidate, at full resolution."""
    pixels = np.ascontiguousarray(oriented(mosaic.pixels, candidate.orientation))
    known = np.ascontiguousarray(oriented(mosaic.known, candidate.orientation))
    height, width = pixels.shape
    left = max(candidate.x - _SEARCH, 0)
    top = max(candidate.y - _SEARCH, 0)
    bottom = candidate.y + height + _SEARCH
    right = candidate.x + width + _SEARCH
    iou = _measure_iou(raster.pixels[top:bottom, left:right], pixels, known)
    y, x = np.unravel_index(iou.argmax(), iou.shape)
    rows, columns = np.indices(iou.shape)
    is_elsewhere = np.maximum(abs(rows - y), abs(columns - x)) > TOLERANCE
    centre = (
        raster.easting // PIXEL + left + int(x) + width // 2,
        -raster.northing // PIXEL + top + int(y) + height // 2,
    )
    moved = np.array(centre) - MATRICES[candidate.orientation] @ mosaic.centre
    near = float(iou[is_elsewhere].max(initial=0))
    return _Place(
        float(iou[y, x]), near, raster.epsg, candidate.orientation, int(moved[0]), int(moved[1])
    )


def _choose(places: Sequence[_Place]) -> dict[str, Any]:
    """Choose the best place of a mosaic, and decide whether to accept it."""
    nowhere = _Place(iou=0.0, near=0.0, epsg=0, orientation=0, x=0, y=0)
    best = max(places, key=lambda place: place.iou, default=nowhere)
    others = [place.iou for place in places if not place.is_near(best)]
    rival = max([best.near, *others])
    is_clear = (
        best.iou >= MIN_IOU
        and best.iou - rival >= MIN_GAP
        and 1 - rival >= MIN_ERROR_RATIO * (1 - best.iou)
    )
    return {**vars(best), "rival": rival, "is_clear": is_clear}
