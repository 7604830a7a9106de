"""Synthetic scenes that look like Sentinel-2 true-colour images of the Andes, with and without rock glaciers.

A scene is a fractal relief on which rock glaciers lie, with gullies and snow, in the light of a low sun. A rock glacier
is raised over the relief before the light falls on it, and its mask is the footprint that was raised. Lengths and
heights are in pixels (10 m); rows run south and columns east. One random generator decides what the ground is, another
in which season, light and haze a date shows it.

Sources:
    Fractal relief by spectral synthesis: Peitgen and Saupe (eds.), The Science of Fractal Images, 1988.
    Ridges by folding noise at zero: Musgrave in Ebert et al., Texturing and Modeling: A Procedural Approach.
    Noise drawn out along the slope: Cabral and Leedom, Imaging Vector Fields Using Line Integral Convolution, 1993.
The colours were fitted by eye and by percentiles to the 300 early tiles of the repository named on the dataset card.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from rock_glacier_dataset import TILE_SIZE

Field = npt.NDArray[np.floating]  # float32, of shape (size, size)
Colour = tuple[int, int, int]


class Look(NamedTuple):
    """Season, light and cover of a date.

    Attributes:
        rock, brown, snow: colour of rock and scree, of brown ground and of snow, in full shade: 8-bit red, green, blue.
        rock_sun, brown_sun, snow_sun: the same in full sun; above 255 where the sensor saturates.
        brownness, snowiness: share of brown ground and of snow, as a shift of a standard normal field; -3 is none.
        contrast: factor on the difference between shade and sun.
    """

    rock: Colour
    rock_sun: Colour
    brown: Colour
    brown_sun: Colour
    snow: Colour
    snow_sun: Colour
    brownness: float
    snowiness: float
    contrast: float


LOOKS = (
    Look((31, 33, 36), (78, 94, 114), (36, 34, 34), (84, 86, 92), (60, 74, 92), (200, 225, 250), -2.4, -3, 0.8),
    Look((38, 34, 31), (82, 87, 107), (40, 35, 32), (83, 80, 89), (62, 66, 84), (150, 150, 165), -1.8, -3.5, 0.7),
    Look((36, 42, 50), (72, 86, 106), (48, 42, 38), (112, 104, 100), (84, 102, 128), (440, 440, 438), -2.3, 0, 1),
    Look((36, 42, 48), (120, 128, 138), (84, 72, 62), (320, 278, 238), (112, 124, 143), (470, 474, 478), -1, 0.8, 1),
    Look((38, 44, 52), (120, 132, 150), (42, 36, 32), (222, 194, 166), (88, 102, 124), (380, 377, 372), -0.5, 0.2, 1.1),
)
"""Dark blue ground, dark purple ground, patches of snow on blue ground, snow, and brown ground with snow."""

_HAZE: Colour = (130, 145, 160)


class Ground(NamedTuple):
    """The ground of a scene, the same on every date.

    Attributes:
        height: relief with rock glaciers and gullies.
        mask: bool array of shape (size, size), True on a rock glacier.
        drift: how well snow holds.
        earth: where brown ground comes up first, of mean 0 and deviation 1.
        albedo: brightness of the surface, about 1.
    """

    height: Field
    mask: npt.NDArray[np.bool_]
    drift: Field
    earth: Field
    albedo: Field


def make_ground(rng: np.random.Generator, size: int, rock_glaciers: bool) -> Ground:
    """Make the ground of a scene.

    Args:
        rng: random generator of the ground.
        size: rows and columns, a multiple of 128.
        rock_glaciers: whether a rock glacier lies in each square of 128 x 128 pixels.
    """
    noises = _noises(rng, size // 2, roughness=2.1, longest=30, shortest=1)
    patchiness, earth = (_resize(noise, size) for noise in noises)
    height = _relief(rng, size)
    bed, massif = _smooth(height, 8), _smooth(height, 26)
    streaks, grain = _streaks(rng, bed, 2, 6), _streaks(rng, bed, 1, 3)
    rocky = _ramp(0.8 * patchiness + _standardise(height - massif), 0, 2.2)
    mask = np.zeros((size, size), np.bool_)
    if rock_glaciers:
        height, mask = _add_rock_glaciers(rng, height, bed, massif, patchiness)
        rocky = np.where(mask, np.float32(0.05), rocky)
    # Folded at zero, streaks become gullies with a sharp bed and rounded ribs between them.
    height = height + rocky * (1.8 * np.abs(streaks) + 0.45 * grain) + 0.05 * grain
    # Snow lies in hollows and high up, drifts down the slopes in streaks, and does not hold on rock.
    drift = np.clip(0.6 * (_smooth(height, 4) - height), -0.9, 0.9) + 0.6 * _standardise(massif)
    drift += 0.6 * patchiness + 0.45 * streaks + 0.08 * grain - 0.5 * rocky
    return Ground(height, mask, drift, earth, 1 + 0.04 * grain + 0.05 * streaks)


def render_date(rng: np.random.Generator, ground: Ground) -> npt.NDArray[np.uint8]:
    """Render a ground on a date.

    Args:
        rng: random generator of the date: season, sun, snow line, haze and noise.
        ground: the ground.

    Returns:
        red, green and blue, uint8 array of shape (size, size, 3).
    """
    look = LOOKS[rng.integers(len(LOOKS))]
    light = _light(rng, ground.height, look.contrast * rng.uniform(0.85, 1.15))
    depth = ground.drift + look.snowiness + rng.uniform(-0.5, 0.5) - 0.5 * light
    snow = 0.35 * _ramp(depth, -1.4, 0.1) + 0.65 * _ramp(depth, -0.8, 0)
    brown = _ramp(ground.earth + 0.8 * light + look.brownness + rng.uniform(-1.3, -0.3), -0.7, 0.7)
    haze, noise = rng.uniform(0, 0.12), 0.7 * rng.standard_normal(light.shape, np.float32)
    lit = 0.5 * light * ground.albedo
    rgb = np.empty((*light.shape, 3), np.uint8)
    for band in range(3):
        colours = zip(look[:6:2], look[1:6:2], strict=True)  # in full shade and in full sun
        rock, earth, white = (_mix(shade[band], sun[band], lit) for shade, sun in colours)
        clear = _mix(_mix(rock, earth, brown), white, snow)
        rgb[..., band] = np.clip(_mix(clear, _HAZE[band], haze) + noise + 0.5, 0, 255)
    return rgb


def _relief(rng: np.random.Generator, size: int) -> Field:
    """Make a mountain relief."""
    ridges, hills = _noises(rng, size // 2, roughness=2.6, longest=min(rng.uniform(120, 170), size / 5), shortest=15)
    # Folded at zero, noise has crests like those that two valleys leave between them.
    height = hills - rng.uniform(1.6, 3) * np.abs(ridges)
    spurs, _ = _noises(rng, size // 2, roughness=2.4, longest=35, shortest=4)
    height -= 0.25 * np.abs(spurs)
    south, east = np.gradient(height)
    height *= rng.uniform(0.36, 0.54) / np.sqrt(np.mean(south**2 + east**2))
    return _resize(2 * height, size)


def _light(rng: np.random.Generator, height: Field, contrast: float) -> Field:
    """Light a relief by a low sun in the north-east: from 0 in full shade over 1 on level ground to 2 in full sun."""
    azimuth, elevation = math.radians(rng.uniform(30, 75)), math.radians(rng.uniform(26, 38))
    south, east = np.gradient(height)
    tilt = south * math.cos(azimuth) - east * math.sin(azimuth)  # towards the sun
    cosine = (1 + tilt / math.tan(elevation)) / np.sqrt(1 + south**2 + east**2)  # Lambert's law
    sun = np.maximum(cosine, 0.4 * np.exp(np.minimum(cosine / 0.4 - 1, 0)))  # fades, as the sky lights it
    top = height  # of the shadow that falls on a pixel
    for way in (1, 2, 4, 8, 16):  # each shift of the field by itself doubles the way towards the sun that is seen
        shift = (round(way * math.cos(azimuth)), -round(way * math.sin(azimuth)))
        top = np.maximum(top, np.roll(top, shift, axis=(0, 1)) - way * math.tan(elevation))
    sun *= 1 - 0.75 * _ramp(top - height, 0.2, 1.6)
    return 0.82 * np.maximum(1 + contrast * (sun - 1), 0) + 0.18 * np.maximum(1 + 1.3 * tilt, 0)


def _add_rock_glaciers(
    rng: np.random.Generator, height: Field, bed: Field, massif: Field, unrest: Field
) -> tuple[Field, npt.NDArray[np.bool_]]:
    """Raise a rock glacier near the middle of each square, flowing downslope; one that meets another ends."""
    size = len(height)
    slopes = np.array(np.gradient(massif))
    raised, mask, places = height.copy(), np.zeros(height.shape, np.bool_), np.arange(size, dtype=np.float32)
    for middle in np.ndindex(size // TILE_SIZE, size // TILE_SIZE):
        row, column = ((np.array(middle) + rng.uniform(0.3, 0.7, 2)) * TILE_SIZE).astype(int).tolist()
        length = TILE_SIZE * rng.uniform(0.6, 1.15)
        reach = int(0.62 * length) + 20
        window = np.s_[max(row - reach, 0) : row + reach, max(column - reach, 0) : column + reach]
        rows, columns = places[window[0], None], places[window[1]]
        south, east = slopes[:, row, column].tolist()
        down, right = -south / (math.hypot(south, east) + 1e-6), -east / (math.hypot(south, east) + 1e-6)
        warp = unrest[window]
        along = ((rows - row) * down + (columns - column) * right + 2.2 * warp) / length
        across = (columns - column) * down - (rows - row) * right + 2.2 * warp
        distance, body = _rock_glacier(rng, along, across, warp, length)
        distance = np.where(mask[window], -9, distance)
        raised[window] += _ramp(distance, -3, 3) * (bed[window] - raised[window]) + np.where(distance > 0, body, 0)
        mask[window] |= distance > 0
    return raised, mask


def _rock_glacier(
    rng: np.random.Generator, along: Field, across: Field, warp: Field, length: float
) -> tuple[Field, Field]:
    """Shape a rock glacier: a lobed tongue with steep margins and transverse ridges that bow downslope.

    Its own coordinates are `along` the flow, from -0.5 at the root to 0.5 at the front, and `across` it in pixels.
    Returns the distance to the outline in pixels, positive inside, and the height above the bed there.
    """
    half_width, wavelength, phase = length * rng.uniform(0.2, 0.32), rng.uniform(7, 11), rng.uniform(0, 6.28)
    across = across - 2 * rng.uniform(-0.22, 0.22) * length * along**2
    along = along + 0.5
    widening = 0.65 + 0.35 * _ramp(along, 0.1, 0.75)
    lobes = 1 + 0.13 * np.sin(11 * along + phase) + 0.06 * np.sin(23 * along - 2 * phase)
    ends = 1 - np.maximum(np.maximum(along - 0.72, 0) / 0.28, np.maximum(0.3 - along, 0) / 0.3) ** 2
    squared = (half_width * widening * lobes) ** 2 * ends
    inside = squared - across**2
    distance = inside / (np.hypot(*np.gradient(inside)) + 0.25)  # exact to first order near the outline
    across = across / np.sqrt(np.maximum(squared, 1))
    within, front = np.maximum(distance, 0), _ramp(along, 0, 0.8)
    wall = rng.uniform(3.5, 5.5) * (0.25 + 0.75 * front) * (1 - np.exp(-within / 3.5))
    levee = np.exp(-(((within - 5) / 2.6) ** 2))
    crest = 2 * math.pi * (along * length + 0.8 * half_width * across**2 + 3.2 * warp) / wavelength
    sunk = 0.65 + 0.35 * np.sin(0.37 * crest + 2.4 * warp + phase)  # so that ridges are not whole
    ridges = 0.9 * sunk * (np.sin(crest) + 0.35 * np.sin(1.7 * crest + 2 * warp)) * (0.2 + 0.8 * front)
    return distance, wall + levee + _ramp(within, 4, 9) * ridges


def _noises(
    rng: np.random.Generator, size: int, *, roughness: float, longest: float, shortest: float
) -> tuple[Field, Field]:
    """Make two fractal noises of mean 0 and deviation 1, whose amplitude falls as wavenumber to minus `roughness`."""
    squared = _squared_wavenumbers(size)
    amplitude = (squared + longest**-2) ** (-roughness / 2) * np.exp(-squared * shortest**2)
    amplitude[0, 0] = 0
    white = rng.standard_normal((2, size, size), np.float32)
    both = np.fft.ifft2(amplitude * (white[0] + 1j * white[1]))  # a noise each in the real and the imaginary part
    return _standardise(both.real), _standardise(both.imag)


def _streaks(rng: np.random.Generator, height: Field, scale: int, doublings: int) -> Field:
    """Make noise that is drawn out down the slopes, `scale` pixels wide, of mean 0 and deviation 1.

    White noise is summed along the way down from each pixel, over steps that follow the slope on average. Ways that
    meet go on together, so that streaks join as gullies do. Each pass doubles the steps: 2 to the power `doublings`.
    """
    size = len(height) // scale
    slope = np.array(np.gradient(_resize(height, size)))
    slope /= np.hypot(slope[0], slope[1]) + 1e-6
    steps = np.floor(rng.random(slope.shape, np.float32) - slope).astype(np.intp)
    rows, columns = np.ogrid[:size, :size]
    target = (((rows + steps[0]) % size) * size + (columns + steps[1]) % size).ravel()
    total = rng.random(size * size, np.float32)
    for _ in range(doublings):
        total += total.take(target)
        target = target.take(target)
    streaks = total.reshape(size, size)
    if scale > 1:
        streaks = _smooth(streaks, 0.7)
    return _resize(_standardise(streaks - _smooth(streaks, 5)), len(height))


def _resize(field: Field, size: int) -> Field:
    """Resize a square field: by means where it becomes smaller, by cubic interpolation where it becomes larger."""
    method = Image.Resampling.BICUBIC if size > len(field) else Image.Resampling.BOX
    return np.asarray(Image.fromarray(field.astype(np.float32, copy=False)).resize((size, size), method))


def _smooth(field: Field, sigma: float) -> Field:
    """Blur a field by a Gaussian of `sigma` pixels."""
    size = len(field) // 2 ** max(int(math.log2(sigma)) - 1, 0)  # fine enough to hold it
    transfer = np.exp(-2 * (math.pi * sigma * size / len(field)) ** 2 * _squared_wavenumbers(size))[:, : size // 2 + 1]
    blurred = np.fft.irfft2(np.fft.rfft2(_resize(field, size)) * transfer)
    return _resize(blurred, len(field))


def _squared_wavenumbers(size: int) -> Field:
    """Return the square of cycles per pixel at each term of a two-dimensional Fourier transform."""
    squared = np.fft.fftfreq(size).astype(np.float32) ** 2
    return squared[:, None] + squared


def _standardise(field: Field) -> Field:
    return ((field - field.mean()) / (field.std() + 1e-6)).astype(np.float32, copy=False)


def _mix(first: Field | float, second: Field | float, share: Field | float) -> Field:
    """Mix two values by the share of the second."""
    return np.asarray(first + share * (second - first))


def _ramp(field: Field, low: float, high: float) -> Field:
    """Rise smoothly from 0 at `low` to 1 at `high`, as 3x^2 - 2x^3."""
    share = np.clip((field - low) * (1 / (high - low)), 0, 1)
    return share * share * (3 - 2 * share)
