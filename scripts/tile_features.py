"""What a tile looks like in a hundred numbers: its colours, and the relief and texture that light draws on it.

Debris is grey and ice is not, which colour tells; a rock glacier creeps, and is folded into lobes and ridges across its
flow, which relief and texture tell. All is computed with numpy and scipy from the 8-bit colours alone, in a few
milliseconds a tile. No number depends on other tiles.

Colour, on maps with values from 0 to 1 or from -1 to 1: mean, standard deviation and five percentiles of each.

Relief, on the brightness, which is the mean of red, green and blue, less its mean and divided by its standard deviation
over the tile: so relief is told in units of the tile's own contrast, whatever sun and haze made of that:

- gradient, at several scales: the length of the Gaussian derivative, and how much its directions agree nearby
  (coherence of the structure tensor, Bigun and Granlund 1987);
- directions: how much of the gradient points each way; light comes from one side, and so does relief;
- ridges: the eigenvalues of the Hessian matrix of larger absolute value, which is large across a ridge or a furrow;
- roughness: the standard deviation within squares of several sizes;
- local binary patterns, those that turn with the tile (Ojala, Pietikainen and Maenpaa 2002, "riu2", 8 neighbours);
- spectrum: the power in rings of frequency, and the slope of power over frequency, both logarithmic.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from rock_glacier_dataset import TILE_SIZE

Tile = npt.NDArray[np.uint8]
"""Shape (128, 128, 3): red, green and blue, 0 to 255."""

Features = npt.NDArray[np.float32]

_Map = npt.NDArray[np.float32]  # shape (128, 128)
_Named = dict[str, float]

PERCENTILES = (5, 25, 50, 75, 95)

SCALES = (1, 3)
"""Standard deviations of the Gaussians whose derivatives are taken, in pixels."""

DIRECTIONS = 8
"""Parts of the full turn."""

SQUARES = (3, 9, 27)
"""Sides of the squares in which roughness is measured, in pixels."""

RINGS = (1, 2, 4, 8, 16, 32, 64)
"""Bounds of the rings of frequency, in waves across a tile."""

_NEIGHBOURS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))  # around a pixel, as (y, x)

_LEAST = np.float32(1e-6)  # keeps quotients and logarithms finite where a tile is black or of one colour


def tile_features(tile: Tile) -> Features:
    """Describe a tile.

    Args:
        tile: uint8 array of shape (128, 128, 3).

    Returns:
        float32 array of shape (features,), in the order of `FEATURE_NAMES`; all finite.

    Raises:
        ValueError: the array has another shape or type.

    Example:
        >>> black = tile_features(np.zeros((128, 128, 3), np.uint8))
        >>> black.shape == (len(FEATURE_NAMES),), bool(np.isfinite(black).all())
        (True, True)
    """
    return np.fromiter(named_features(tile).values(), np.float32)


def named_features(tile: Tile) -> dict[str, float]:
    """Describe a tile, each feature by its name; see `tile_features`."""
    if tile.shape != (TILE_SIZE, TILE_SIZE, 3) or tile.dtype != np.uint8:
        raise ValueError(f"a tile is uint8 of shape ({TILE_SIZE}, {TILE_SIZE}, 3), not {tile.dtype} of {tile.shape}")
    red, green, blue = np.ascontiguousarray(np.moveaxis(tile, -1, 0)) / np.float32(255)
    brightness = (red + green + blue) / np.float32(3)
    parts: tuple[Callable[[_Map], _Named], ...] = (_gradient, _ridges, _roughness, _binary_patterns, _spectrum)
    found = _colour(red, green, blue, brightness)
    relief = relief_of(brightness)
    for part in parts:
        found |= part(relief)
    return found


def relief_of(brightness: _Map) -> _Map:
    """Tell brightness in units of the tile's contrast: mean 0, standard deviation 1, or all 0 where it is flat.

    Args:
        brightness: float32 array of shape (128, 128), mean of red, green and blue, values in [0, 1].
    """
    # In double precision, the mean of a flat tile is its brightness, and what is left of that is nothing at all.
    above = brightness - np.float32(brightness.mean(dtype=np.float64))
    relief: _Map = above / (above.std() + _LEAST)
    return relief


def _colour(red: _Map, green: _Map, blue: _Map, brightness: _Map) -> _Named:
    """Describe the colours: channels, brightness and saturation in [0, 1], normalised differences in [-1, 1]."""
    most, least = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    maps = {
        "red": red,
        "green": green,
        "blue": blue,
        "brightness": brightness,
        "saturation": (most - least) / (most + _LEAST),
        "red-blue": (red - blue) / (red + blue + _LEAST),
        "red-green": (red - green) / (red + green + _LEAST),
    }
    names = ("mean", "std", *(f"p{percentile}" for percentile in PERCENTILES))
    places = [round(percentile / 100 * (brightness.size - 1)) for percentile in PERCENTILES]
    found: _Named = {}
    for name, values in maps.items():
        mean, deviation = values.mean(dtype=np.float64), values.std(dtype=np.float64)
        numbers = (mean, deviation, *np.sort(values, None)[places])
        found |= {f"{name} {kind}": float(number) for kind, number in zip(names, numbers, strict=True)}
    return found


def _gradient(relief: _Map) -> _Named:
    """Describe slopes: length in contrasts a pixel, at least 0; coherence and shares of directions in [0, 1]."""
    found: _Named = {}
    for scale in SCALES:
        y, x = (ndimage.gaussian_filter(relief, scale, order=order, truncate=3) for order in ((1, 0), (0, 1)))
        length = np.hypot(y, x)
        if scale == SCALES[0]:
            turn = np.arctan2(y, x) / np.float32(2 * np.pi) + np.float32(0.5)  # 0 to 1
            way = np.minimum((turn * DIRECTIONS).astype(np.intp), DIRECTIONS - 1)
            shares = np.bincount(way.ravel(), length.ravel(), DIRECTIONS) / (length.sum() + _LEAST)
            found |= {f"direction {number}": float(share) for number, share in enumerate(shares)}
        xx, yy, xy = (ndimage.uniform_filter(product, 4 * scale + 1) for product in (x * x, y * y, x * y))
        coherence = np.hypot(xx - yy, 2 * xy) / (xx + yy + _LEAST)
        found |= {
            f"gradient {scale} mean": float(length.mean()),
            f"gradient {scale} std": float(length.std()),
            f"coherence {scale} mean": float(coherence.mean()),
            f"coherence {scale} std": float(coherence.std()),
        }
    return found


def _ridges(relief: _Map) -> _Named:
    """Describe ridges, in contrasts a square pixel, at least 0; and the share of pixels that bulge, in [0, 1]."""
    found: _Named = {}
    for scale in SCALES:
        orders = ((2, 0), (0, 2), (1, 1))
        yy, xx, xy = (ndimage.gaussian_filter(relief, scale, order=order, truncate=3) for order in orders)
        half_trace, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
        largest = np.abs(half_trace) + spread
        found |= {
            f"ridge {scale} mean": float(largest.mean()),
            f"ridge {scale} std": float(largest.std()),
            f"ridge {scale} share": float((half_trace < 0).mean()),
        }
    return found


def _roughness(relief: _Map) -> _Named:
    """Describe roughness: standard deviations within squares, in contrasts, at least 0."""
    found: _Named = {}
    square = relief * relief
    for side in SQUARES:
        mean = ndimage.uniform_filter(relief, side)
        deviation = np.sqrt(np.maximum(ndimage.uniform_filter(square, side) - mean * mean, 0))
        found |= {f"roughness {side} mean": float(deviation.mean()), f"roughness {side} std": float(deviation.std())}
    return found


def _binary_patterns(relief: _Map) -> _Named:
    """Count local binary patterns: shares in [0, 1] of 0 to 8 brighter neighbours in one run, and of the others."""
    inner = slice(1, -1)
    centre = relief[inner, inner]
    last = TILE_SIZE - 1
    brighter = np.stack([relief[1 + y : last + y, 1 + x : last + x] >= centre for y, x in _NEIGHBOURS])
    changes = (brighter != np.roll(brighter, 1, 0)).sum(0)
    patterns = np.where(changes <= 2, brighter.sum(0), len(_NEIGHBOURS) + 1)
    shares = np.bincount(patterns.ravel(), minlength=len(_NEIGHBOURS) + 2) / patterns.size
    names = [*(f"pattern {number}" for number in range(len(_NEIGHBOURS) + 1)), "pattern other"]
    return dict(zip(names, shares.tolist(), strict=True))


_WINDOW = np.outer(np.hanning(TILE_SIZE), np.hanning(TILE_SIZE)).astype(np.float32)  # against the jump at the edges

_FREQUENCY = np.hypot(*np.meshgrid(np.fft.rfftfreq(TILE_SIZE), np.fft.fftfreq(TILE_SIZE))) * TILE_SIZE

_RING = np.digitize(_FREQUENCY, RINGS).ravel()  # 0 below the first bound, then 1 for the first ring


def _spectrum(relief: _Map) -> _Named:
    """Describe the spectrum: natural logarithm of mean power in each ring, and its slope over that of frequency."""
    power = np.abs(np.fft.rfft2(relief * _WINDOW)) ** 2
    sums = np.bincount(_RING, power.ravel(), len(RINGS) + 1)[1:-1]
    levels = np.log(sums / np.bincount(_RING, minlength=len(RINGS) + 1)[1:-1] + _LEAST)
    slope = np.polyfit(np.log(RINGS[:-1]), levels, 1)[0]
    rings = zip(RINGS[:-1], RINGS[1:], levels.tolist(), strict=True)
    return {f"power {low}-{high}": level for low, high, level in rings} | {"power slope": float(slope)}


FEATURE_NAMES = tuple(named_features(np.zeros((TILE_SIZE, TILE_SIZE, 3), np.uint8)))
"""What the features are, in order."""


def features_of_tiles(tiles: npt.NDArray[np.uint8]) -> Features:
    """Describe several tiles.

    Args:
        tiles: uint8 array of shape (tiles, 128, 128, 3).

    Returns:
        float32 array of shape (tiles, features).
    """
    found = np.empty((len(tiles), len(FEATURE_NAMES)), np.float32)
    for row, tile in zip(found, tiles, strict=True):
        row[:] = tile_features(np.asarray(tile))
    return found
