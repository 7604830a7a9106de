"""What the surroundings of a pixel look like at several scales, for a classifier of pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from tile_features import Tile, relief_of

SCALES = (1, 2, 4, 8)
"""Standard deviations of the Gaussians, in pixels."""

_OF_PIXEL = ("red", "green", "blue", "saturation", "red-blue", "relief")
_OF_SCALE = ("relief", "gradient", "bulge", "stretch", "deviation", "ruggedness")

PIXEL_FEATURE_NAMES = (*_OF_PIXEL, *(f"{name} {scale}" for scale in SCALES for name in _OF_SCALE))
"""What the features are, in order."""

_LEAST = np.float32(1e-6)


def pixel_features(tile: Tile) -> npt.NDArray[np.float32]:
    """Describe each pixel of a tile.

    The pixel itself: red, green, blue and saturation in [0, 1], (red - blue) / (red + blue) in [-1, 1]; and its relief,
    the brightness in units of the tile's contrast, see `relief_of`. Of the relief at each scale, in the same units:
    itself under a Gaussian; of that the length of the gradient, half the Laplacian ("bulge"), and half the difference
    of the Hessian's eigenvalues ("stretch", large along ridges and furrows), all by differences of neighbours; under
    the same Gaussian its standard deviation ("deviation") and the mean length of the gradient of what is finer than the
    scale ("ruggedness").

    Args:
        tile: uint8 array of shape (128, 128, 3).

    Returns:
        float32 array of shape (128, 128, features), in the order of `PIXEL_FEATURE_NAMES`.

    Example:
        >>> pixel_features(np.zeros((128, 128, 3), np.uint8)).shape == (128, 128, len(PIXEL_FEATURE_NAMES))
        True
    """
    red, green, blue = np.ascontiguousarray(np.moveaxis(tile, -1, 0)) / np.float32(255)
    most, least = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    relief = relief_of((red + green + blue) / np.float32(3))
    planes = [red, green, blue, (most - least) / (most + _LEAST), (red - blue) / (red + blue + _LEAST), relief]
    square = relief * relief
    for scale in SCALES:
        smooth = ndimage.gaussian_filter(relief, scale, truncate=3)
        y, x = np.gradient(smooth)
        (yy, yx), xx = np.gradient(y), np.gradient(x, axis=1)
        variance = ndimage.gaussian_filter(square, scale, truncate=3) - smooth * smooth
        finer = np.hypot(*np.gradient(relief - smooth))
        planes += [
            smooth,
            np.hypot(y, x),
            (xx + yy) / 2,
            np.hypot((yy - xx) / 2, yx),
            np.sqrt(np.maximum(variance, 0)),
            ndimage.gaussian_filter(finer, scale, truncate=3),
        ]
    return np.stack(planes, -1)
