"""Merge the tiles of each site: its true and predicted rock glaciers, with each place once.

Tiles overlap, so a metric over the pixels of tiles counts the same ground many times. Here the
tiles of a site are laid on its grid. A pixel of the grid is rock glacier in the truth if it is so
in the masks of at least half of the tiles that show it. Masks of the same ground differ only if one
is wrong. A pixel is predicted as rock glacier if its mean score over the tiles reaches a threshold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from rasterio import Affine

from rock_glacier.places.outlines import PIXEL
from rock_glacier.score.metrics import count_pixels
from rock_glacier.score.predictions import MAX_VALUE
from rock_glacier.score.truth import Truth
from rock_glacier.sites.orientations import oriented
from rock_glacier_dataset import TILE_SIZE

Window = tuple[slice, slice]
"""Rows and columns of a mosaic."""

Numbers = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Grid:
    """The place of a mosaic on the map.

    Attributes:
        epsg: EPSG code of the UTM zone.
        easting: Of the upper left corner, in metres.
        northing: Of the upper left corner, in metres.
    """

    epsg: int
    easting: float
    northing: float

    @property
    def transform(self) -> Affine:
        """Takes column and row to easting and northing, as rasterio needs it."""
        return Affine(PIXEL, 0, self.easting, 0, -PIXEL, self.northing)


@dataclass(frozen=True)
class PlacedTile:
    """A tile of a mosaic.

    Attributes:
        row: Row of the tile in the truth.
        orientation: The orientation to apply to the tile so that it fits the mosaic.
        window: The rows and columns that it covers.
    """

    row: int
    orientation: int
    window: Window


@dataclass(frozen=True)
class Mosaic:
    """The merged tiles of a site. Arrays have the shape (height, width) of the site's grid.

    Attributes:
        site: Number of the site.
        tiles: The tiles, in the order of the truth.
        coverage: Number of tiles that show a pixel.
        truth: Whether a pixel is rock glacier.
        total: Sum of the predicted values of a pixel, from 0 to `MAX_VALUE` per tile.
        predicted: Whether a pixel is predicted as rock glacier.
        agrees: Whether all tiles predict the same class for a pixel.
        grid: Place on the map, or None if the site is not located.
    """

    site: int
    tiles: list[PlacedTile]
    coverage: Numbers
    truth: Flags
    total: Numbers
    predicted: Flags
    agrees: Flags
    grid: Grid | None

    @property
    def is_covered(self) -> Flags:
        """Whether a tile shows a pixel."""
        return self.coverage > 0

    @property
    def scores(self) -> npt.NDArray[np.float32]:
        """The mean score of each pixel, 0 to 1; NaN if no tile shows it."""
        scores = np.full(self.coverage.shape, np.nan, np.float32)
        np.divide(self.total, MAX_VALUE * self.coverage, out=scores, where=self.is_covered)
        return scores


def make_mosaics(
    truth: Truth, predicted: npt.NDArray[np.uint8], threshold: float
) -> Iterator[Mosaic]:
    """Merge the tiles of each site, one site after the other.

    Args:
        truth: The truth of image-segmentation.
        predicted: uint8 of shape (tiles, 128, 128): scores times `MAX_VALUE`, in the order of the
            tiles of the truth.
        threshold: Score from which a pixel is predicted as rock glacier.

    Yields:
        The mosaics, ordered by the number of the site.
    """
    places = truth.places
    grids = _find_grids(places)
    for site, tiles in _lay_out(places):
        coverage = _count_tiles(tiles)
        true_tiles = np.zeros_like(coverage)
        predicted_tiles = np.zeros_like(coverage)
        total = np.zeros_like(coverage, np.uint32)
        for tile in tiles:
            values = oriented(predicted[tile.row], tile.orientation)
            true_tiles[tile.window] += oriented(truth.values[tile.row], tile.orientation)
            predicted_tiles[tile.window] += values >= threshold * MAX_VALUE
            total[tile.window] += values
        is_covered = coverage > 0
        yield Mosaic(
            site=site,
            tiles=tiles,
            coverage=coverage,
            truth=is_covered & (2 * true_tiles >= coverage),
            total=total,
            predicted=is_covered & (total >= np.float32(threshold * MAX_VALUE) * coverage),
            agrees=(predicted_tiles == 0) | (predicted_tiles == coverage),
            grid=grids.get(site),
        )


def count_ground(mosaic: Mosaic) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield the row and the counts of each tile of a site.

    A pixel that n tiles show counts 1 / n in each tile, so the counts of a site add up to its
    pixels. The counts are those of `count_pixels`, and `shared`, the number of pixels that several
    tiles show, and `agreeing`, the number of shared pixels for which all tiles predict the same
    class.
    """
    for tile in mosaic.tiles:
        window = tile.window
        weights = 1 / mosaic.coverage[window]
        counts = count_pixels(mosaic.truth[window], mosaic.predicted[window], weights)
        is_shared = mosaic.coverage[window] > 1
        counts["shared"] = weights[is_shared].sum()
        counts["agreeing"] = weights[is_shared & mosaic.agrees[window]].sum()
        yield tile.row, counts


def ground_weights(truth: Truth) -> npt.NDArray[np.float64]:
    """Return the weight of each tile that counts each place once: float64 of shape (tiles,).

    A pixel that n tiles show has the weight 1 / n in each tile. The weight of a tile is the mean
    of its pixels, so the weights add up to the area that the tiles cover, measured in tiles.
    """
    weights = np.zeros(len(truth.paths))
    for _, tiles in _lay_out(truth.places):
        coverage = _count_tiles(tiles)
        for tile in tiles:
            weights[tile.row] = (1 / coverage[tile.window]).mean()
    return weights


def _lay_out(places: pd.DataFrame) -> Iterator[tuple[int, list[PlacedTile]]]:
    """Yield the number and the tiles of each site, in the order of the numbers."""
    corners = places[["x", "y"]] - places.groupby("site")[["x", "y"]].transform("min")
    columns = corners["x"].to_numpy(int)
    rows = corners["y"].to_numpy(int)
    orientations = places["orientation"].to_numpy(int)
    tiles = [
        PlacedTile(number, int(orientation), (slice(y, y + TILE_SIZE), slice(x, x + TILE_SIZE)))
        for number, (x, y, orientation) in enumerate(zip(columns, rows, orientations, strict=True))
    ]
    sites = places["site"].to_numpy(int)
    for numbers in places.groupby("site").indices.values():
        yield int(sites[numbers[0]]), [tiles[number] for number in numbers]


def _count_tiles(tiles: list[PlacedTile]) -> Numbers:
    """Return the number of tiles that show each pixel of a site."""
    height = max(tile.window[0].stop for tile in tiles)
    width = max(tile.window[1].stop for tile in tiles)
    coverage = np.zeros((height, width), np.uint16)
    for tile in tiles:
        coverage[tile.window] += 1
    return coverage


def _find_grids(places: pd.DataFrame) -> dict[int, Grid]:
    """Find the places of the sites with located tiles, by the number of the site."""
    corners = places.groupby("site")[["x", "y"]].transform("min")
    located = pd.DataFrame(
        {
            "epsg": places["epsg"],
            "easting": places["easting"] - PIXEL * (places["x"] - corners["x"]),
            "northing": places["northing"] + PIXEL * (places["y"] - corners["y"]),
        }
    ).dropna()
    sites = places["site"].loc[located.index]
    medians = located.astype(float).groupby(sites).median()
    return {
        int(row.Index): Grid(int(row.epsg), row.easting, row.northing)
        for row in medians.itertuples()
    }
