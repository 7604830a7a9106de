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

from rock_glacier.score.metrics import count_pixels
from rock_glacier.score.predictions import MAX_VALUE
from rock_glacier.score.truth import Truth
from rock_glacier.sites.orientations import oriented
from rock_glacier_dataset import TILE_SIZE

PIXEL = 10
"""Width of a pixel in metres."""

Window = tuple[slice, slice]
"""The rows and columns of a mosaic that a tile covers."""

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


@dataclass(frozen=True)
class Mosaic:
    """The merged tiles of a site. Arrays have the shape (height, width) of the site's grid.

    Attributes:
        site: Number of the site.
        tiles: A row for each tile, with the columns `x`, `y` and `orientation`. (x, y) is the
            column and row of its upper left pixel in the arrays. The index is the row of the tile
            in the truth.
        coverage: Number of tiles that show a pixel.
        truth: Whether a pixel is rock glacier.
        total: Sum of the predicted values of a pixel, from 0 to `MAX_VALUE` per tile.
        predicted: Whether a pixel is predicted as rock glacier.
        agrees: Whether all tiles predict the same class for a pixel.
        grid: Place on the map, or None if the site is not located.
    """

    site: int
    tiles: pd.DataFrame
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
    for _, places in truth.places.groupby("site"):
        tiles = _lay_out(places)
        coverage = _count_tiles(tiles)
        true_tiles = np.zeros_like(coverage)
        predicted_tiles = np.zeros_like(coverage)
        total = np.zeros_like(coverage, np.uint32)
        for row, orientation, window in windows(tiles):
            values = oriented(predicted[row], orientation)
            true_tiles[window] += oriented(truth.values[row], orientation)
            predicted_tiles[window] += values >= threshold * MAX_VALUE
            total[window] += values
        is_covered = coverage > 0
        yield Mosaic(
            site=int(places["site"].iloc[0]),
            tiles=tiles,
            coverage=coverage,
            truth=is_covered & (2 * true_tiles >= coverage),
            total=total,
            predicted=is_covered & (total >= np.float32(threshold * MAX_VALUE) * coverage),
            agrees=(predicted_tiles == 0) | (predicted_tiles == coverage),
            grid=_find_grid(places),
        )


def windows(tiles: pd.DataFrame) -> Iterator[tuple[int, int, Window]]:
    """Yield row, orientation and window of each tile of `Mosaic.tiles`."""
    for row, x, y, orientation in tiles[["x", "y", "orientation"]].itertuples():
        yield row, orientation, (slice(y, y + TILE_SIZE), slice(x, x + TILE_SIZE))


def count_ground(mosaic: Mosaic) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield the row and the counts of each tile of a site.

    A pixel that n tiles show counts 1 / n in each tile, so the counts of a site add up to its
    pixels. The counts are those of `count_pixels`, and `shared`, the number of pixels that several
    tiles show, and `agreeing`, the number of shared pixels for which all tiles predict the same
    class.
    """
    for row, _, window in windows(mosaic.tiles):
        weights = 1 / mosaic.coverage[window]
        counts = count_pixels(mosaic.truth[window], mosaic.predicted[window], weights)
        is_shared = mosaic.coverage[window] > 1
        counts["shared"] = weights[is_shared].sum()
        counts["agreeing"] = weights[is_shared & mosaic.agrees[window]].sum()
        yield row, counts


def ground_weights(truth: Truth) -> npt.NDArray[np.float64]:
    """Return the weight of each tile that counts each place once: float64 of shape (tiles,).

    A pixel that n tiles show has the weight 1 / n in each tile. The weight of a tile is the mean
    of its pixels, so the weights add up to the area that the tiles cover, measured in tiles.
    """
    weights = np.zeros(len(truth.paths))
    for _, places in truth.places.groupby("site"):
        tiles = _lay_out(places)
        coverage = _count_tiles(tiles)
        for row, _, window in windows(tiles):
            weights[row] = (1 / coverage[window]).mean()
    return weights


def _lay_out(places: pd.DataFrame) -> pd.DataFrame:
    """Return the tiles of a site with `x` and `y` from 0."""
    tiles = places[["x", "y", "orientation"]].astype(int)
    tiles[["x", "y"]] -= tiles[["x", "y"]].min()
    return tiles


def _count_tiles(tiles: pd.DataFrame) -> Numbers:
    """Return the number of tiles that show each pixel of a site."""
    shape = (tiles["y"].max() + TILE_SIZE, tiles["x"].max() + TILE_SIZE)
    coverage = np.zeros(shape, np.uint16)
    for _, _, window in windows(tiles):
        coverage[window] += 1
    return coverage


def _find_grid(places: pd.DataFrame) -> Grid | None:
    """Find the place of a site from its located tiles."""
    located = places[places["easting"].notna()].astype(float)
    if located.empty:
        return None
    easting = located["easting"] - PIXEL * (located["x"] - places["x"].min())
    northing = located["northing"] + PIXEL * (located["y"] - places["y"].min())
    return Grid(int(located["epsg"].iloc[0]), easting.median(), northing.median())
