"""Features of pixels and of tiles: colour, relief and texture, by scikit-image and SciPy.

Relief is the brightness in units of the tile's own contrast, whatever the light: the mean of red, green and blue, less
its mean over the tile and divided by its standard deviation. No feature depends on other tiles.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.feature import hog, local_binary_pattern, multiscale_basic_features

from rock_glacier.parallel import Workers
from rock_glacier_dataset import TILE_SIZE

Features = npt.NDArray[np.float32]

_SCALES = (1, 2, 4, 8)  # standard deviations of Gaussians, in pixels
_OF_PIXEL = ("red", "green", "blue", "saturation", "relief")
_OF_SCALE = ("relief", "edge", "curvature high", "curvature low")
_STATISTICS = ("mean", "std", "p5", "p50", "p95")
_PERCENTILES = (5, 50, 95)
_DIRECTIONS = 8  # of gradients, over half a turn
_NEIGHBOURS = 8  # of a local binary pattern
_PART = 32  # tiles of a call of a worker
_LEAST = 1e-6  # keeps the relief of a flat tile finite

PIXEL_FEATURE_NAMES = (
    *_OF_PIXEL,
    *(f"{name} {scale}" for scale in _SCALES for name in _OF_SCALE),
    *(f"roughness {scale}" for scale in _SCALES),
)
"""Names of the features of a pixel, in order."""

TILE_FEATURE_NAMES = (
    *(f"{name}, {statistic}" for statistic in _STATISTICS for name in PIXEL_FEATURE_NAMES),
    *(f"direction {number}" for number in range(_DIRECTIONS)),
    *(f"pattern {number}" for number in range(_NEIGHBOURS + 1)),
    "pattern other",
)
"""Names of the features of a tile, in order."""


def pixel_features(tile: npt.NDArray[np.uint8]) -> Features:
    """Describe each pixel of a tile.

    The pixel itself: red, green, blue and saturation in [0, 1], and its relief. At four scales, of the relief under a
    Gaussian: itself, the length of its gradient, and both eigenvalues of its Hessian matrix, the higher one large along
    furrows and the lower one along ridges; and the standard deviation of the relief ("roughness").

    Args:
        tile: uint8 array of shape (128, 128, 3): red, green and blue.

    Returns:
        float32 array of shape (128, 128, features), in the order of `PIXEL_FEATURE_NAMES`; all finite.
    """
    relief = _relief_of(tile)
    of_scales = multiscale_basic_features(relief, sigma_min=_SCALES[0], sigma_max=_SCALES[-1])
    square = relief**2
    roughness = [
        np.sqrt(np.maximum(ndimage.gaussian_filter(square, scale) - ndimage.gaussian_filter(relief, scale) ** 2, 0))
        for scale in _SCALES
    ]
    saturation = np.ptp(tile, -1) / np.maximum(tile.max(-1), 1).astype(np.float32)
    return np.dstack([tile / np.float32(255), saturation, relief, of_scales, *roughness]).astype(np.float32, copy=False)


def _relief_of(tile: npt.NDArray[np.uint8]) -> Features:
    brightness = tile.mean(-1)
    return ((brightness - brightness.mean()) / (brightness.std() + _LEAST)).astype(np.float32)


def tile_features(tile: npt.NDArray[np.uint8]) -> Features:
    """Describe a tile.

    Statistics of each feature of its pixels; a histogram of the directions of gradients (light comes from one side, and
    so does relief); and a histogram of local binary patterns that turn with the tile, by the number of brighter
    neighbours in one run (Ojala, Pietikainen and Maenpaa 2002, "riu2").

    Args:
        tile: uint8 array of shape (128, 128, 3).

    Returns:
        float32 array of shape (features,), in the order of `TILE_FEATURE_NAMES`; all finite.

    Example:
        >>> tile_features(np.zeros((128, 128, 3), np.uint8)).shape == (len(TILE_FEATURE_NAMES),)
        True
    """
    of_pixels = pixel_features(tile).reshape(TILE_SIZE**2, -1)
    directions = hog(_relief_of(tile), _DIRECTIONS, (TILE_SIZE, TILE_SIZE), (1, 1), block_norm="L1")
    patterns = local_binary_pattern(tile.mean(-1).astype(np.uint8), _NEIGHBOURS, 1, "uniform")
    shares = np.bincount(patterns.astype(np.intp).ravel(), minlength=_NEIGHBOURS + 2) / patterns.size
    percentiles = np.percentile(of_pixels, _PERCENTILES, axis=0).ravel()
    return np.concatenate(
        [of_pixels.mean(0, np.float64), of_pixels.std(0, dtype=np.float64), percentiles, directions, shares]
    ).astype(np.float32)


def describe_tiles(name: str, tiles: npt.NDArray[np.uint8], workers: Workers) -> Features:
    """Describe tiles by `tile_features`.

    Args:
        name: what is being done, for the progress bar.
        tiles: uint8 array of shape (tiles, 128, 128, 3).
        workers: processes that share the work.

    Returns:
        float32 array of shape (tiles, features).
    """
    parts = [(tiles[part],) for part in parts_of(len(tiles))]
    return np.concatenate(list(workers.map(name, _features_of_part, parts)))


def parts_of(number: int) -> list[slice]:
    """Return the slices by which tiles are handed to workers."""
    return [slice(start, start + _PART) for start in range(0, number, _PART)]


def _features_of_part(tiles: npt.NDArray[np.uint8]) -> Features:
    return np.stack([tile_features(tile) for tile in tiles])
