"""Synthetic scenes that look like Sentinel-2 true-colour images of the Andes, with and without rock glaciers.

A scene is made in the order in which nature does it: a fractal relief is drained and carved, rock glaciers creep down
its slopes, gullies run down the rock, snow settles in the hollows, and a low sun lights it all. A rock glacier is
therefore part of the relief before the light falls on it, and its mask is the very footprint that was raised.

Lengths are in pixels, heights too (a Sentinel-2 pixel of the bands B04, B03 and B02 is 10 m wide). Rows run south and
columns east. A scene is a function of its random generator alone.

Sources:
    Spectral synthesis of fractal relief: Peitgen and Saupe (eds.), The Science of Fractal Images, 1988.
    Ridges by folding a noise at zero: Musgrave in Ebert et al., Texturing and Modeling: A Procedural Approach.
    Drainage to the steepest of eight neighbours: O'Callaghan and Mark, 1984.
    Noise that is drawn out along the slope: Cabral and Leedom, Imaging Vector Fields Using Line Integral Convolution,
        1993.
    Slope by weighted differences over 3 x 3 pixels, and its shading: Horn, Hill Shading and the Reflectance Map, 1981.
The colours of the moods were fitted by eye and by percentiles to the 300 tiles of the repository named on the dataset
card; what the land in them is, the tiles do not say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

FloatImage = npt.NDArray[np.float32]
Colour = tuple[float, float, float]
Window = tuple[slice, slice] | tuple[npt.NDArray[np.intp], ...]

COARSE = 2
"""The relief is drained and shadows are cast on a grid of pixels this much wider: nobody sees it, and it is faster."""


@dataclass(frozen=True)
class Mood:
    """The look that all of one scene has: season, light and ground.

    A surface is coloured between its colour in full shade and its colour in full sun; colours are 8-bit values and may
    lie above 255, where the sensor saturates. Ranges are (low, high), of which each scene draws one value.

    Attributes:
        rock_shade: Colour of rock and scree in the shade.
        rock_sun: Colour of rock and scree in the sun.
        warm_shade: Colour of the brown ground in the shade.
        warm_sun: Colour of the brown ground in the sun.
        snow_shade: Colour of snow in the shade.
        snow_sun: Colour of snow in the sun.
        warm: How much of the ground is brown, as a shift of a standard-normal field; at -3 there is none.
        snow: How much of the ground is covered with snow, likewise.
        snow_sharpness: How abruptly deep snow ends; the inverse of the width of its edge, in that field's units.
        contrast: Factor on the difference between shade and sun.
        relief: Root mean square of the slope, as rise over run.
        sun_elevation: Degrees above the horizon.
        weight: How often the mood is drawn, relative to the others.
    """

    rock_shade: Colour
    rock_sun: Colour
    warm_shade: Colour
    warm_sun: Colour
    snow_shade: Colour
    snow_sun: Colour
    warm: tuple[float, float]
    snow: tuple[float, float]
    snow_sharpness: float
    contrast: tuple[float, float]
    relief: tuple[float, float]
    sun_elevation: tuple[float, float]
    weight: float


MOODS = {
    "blue-grey": Mood(
        rock_shade=(31, 33, 36),
        rock_sun=(78, 94, 114),
        warm_shade=(36, 34, 34),
        warm_sun=(84, 86, 92),
        snow_shade=(60, 74, 92),
        snow_sun=(200, 225, 250),
        warm=(-3.0, -1.8),
        snow=(-3.4, -2.4),
        snow_sharpness=1.5,
        contrast=(0.6, 0.9),
        relief=(0.32, 0.46),
        sun_elevation=(30, 40),
        weight=2.7,
    ),
    "purple": Mood(
        rock_shade=(38, 34, 31),
        rock_sun=(82, 87, 107),
        warm_shade=(40, 35, 32),
        warm_sun=(83, 80, 89),
        snow_shade=(62, 66, 84),
        snow_sun=(150, 150, 165),
        warm=(-2.5, -1.1),
        snow=(-4.0, -3.0),
        snow_sharpness=1.2,
        contrast=(0.55, 0.85),
        relief=(0.32, 0.44),
        sun_elevation=(30, 40),
        weight=2.2,
    ),
    "patches": Mood(
        rock_shade=(36, 42, 50),
        rock_sun=(72, 86, 106),
        warm_shade=(48, 42, 38),
        warm_sun=(112, 104, 100),
        snow_shade=(84, 102, 128),
        snow_sun=(440, 440, 438),
        warm=(-3.0, -1.7),
        snow=(-0.6, 0.7),
        snow_sharpness=3.0,
        contrast=(0.85, 1.15),
        relief=(0.38, 0.52),
        sun_elevation=(28, 38),
        weight=2.0,
    ),
    "snow": Mood(
        rock_shade=(36, 42, 48),
        rock_sun=(120, 128, 138),
        warm_shade=(84, 72, 62),
        warm_sun=(320, 278, 238),
        snow_shade=(112, 124, 143),
        snow_sun=(470, 474, 478),
        warm=(-1.4, -0.5),
        snow=(0.7, 1.7),
        snow_sharpness=1.1,
        contrast=(0.85, 1.15),
        relief=(0.36, 0.5),
        sun_elevation=(26, 36),
        weight=3.2,
    ),
    "high-contrast": Mood(
        rock_shade=(38, 44, 52),
        rock_sun=(120, 132, 150),
        warm_shade=(42, 36, 32),
        warm_sun=(222, 194, 166),
        snow_shade=(88, 102, 124),
        snow_sun=(380, 377, 372),
        warm=(-1.0, 0.0),
        snow=(-0.4, 0.8),
        snow_sharpness=1.6,
        contrast=(1.0, 1.3),
        relief=(0.42, 0.58),
        sun_elevation=(24, 34),
        weight=2.0,
    ),
}


@dataclass(frozen=True)
class RockGlacier:
    """The plan of one rock glacier: a tongue from its root to its front, bent to one side.

    Attributes:
        row: Row of the middle of the tongue.
        column: Column of the middle of the tongue.
        direction: Unit vector (rows, columns) of the flow.
        length: From root to front.
        half_width: Half the greatest width.
        bend: How far the front lies off the straight line, as a share of the length.
        waist: Width at the root as a share of the greatest width.
        lobe_phase: Where along the flow the lobes of the margin lie, in radians.
        wavelength: From one transverse ridge to the next.
        thickness: Height above the ground.
    """

    row: float
    column: float
    direction: tuple[float, float]
    length: float
    half_width: float
    bend: float
    waist: float
    lobe_phase: float
    wavelength: float
    thickness: float


def smoothstep(values: FloatImage, low: float, high: float) -> FloatImage:
    """Return a smooth ramp from 0 at `low` to 1 at `high` (3x^2 - 2x^3), the shape of `values`."""
    ramp = np.clip((values - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    return as_float(ramp * ramp * (3 - 2 * ramp))


def as_float(values: npt.NDArray[Any]) -> FloatImage:
    """Return `values` as float32: numpy before 2.0 transforms in double precision."""
    return values.astype(np.float32, copy=False)


def standardised(values: FloatImage) -> FloatImage:
    """Return `values` with mean 0 and standard deviation 1."""
    return as_float((values - values.mean()) / (values.std() + np.float32(1e-6)))


def wavenumbers(size: int) -> FloatImage:
    """Return cycles per pixel at each term of a two-dimensional Fourier transform, float32 (size, size)."""
    frequencies = np.fft.fftfreq(size).astype(np.float32)
    return as_float(np.hypot(frequencies[:, None], frequencies[None, :]))


def fractal_noise(
    rng: np.random.Generator, size: int, *, roughness: float, longest: float, shortest: float
) -> tuple[FloatImage, FloatImage]:
    """Make two independent fractal noises by spectral synthesis.

    Args:
        rng: Random generator.
        size: Rows and columns of a noise.
        roughness: The amplitude falls as wavenumber to minus this power.
        longest: Wavelength in pixels, beyond which the amplitude no longer grows.
        shortest: Wavelength in pixels, below which the amplitude fades.

    Returns:
        Two float32 (size, size) fields with mean 0 and standard deviation 1 that wrap around at the edges.
    """
    k = wavenumbers(size)
    amplitude = (k * k + np.float32(longest**-2)) ** np.float32(-roughness / 2)
    amplitude *= np.exp(-((k * np.float32(shortest)) ** 2))
    amplitude[0, 0] = 0
    spectrum = rng.standard_normal((2, size, size), dtype=np.float32)
    # The real and the imaginary part of a transform of complex white noise are two noises for the price of one.
    field = np.fft.ifft2(amplitude * (spectrum[0] + 1j * spectrum[1]))
    return standardised(as_float(field.real)), standardised(as_float(field.imag))


def blurred(field: FloatImage, sigma: float) -> FloatImage:
    """Return a square field under a Gaussian of `sigma` pixels that wraps around, float32."""
    rows = np.fft.fftfreq(field.shape[0]).astype(np.float32)[:, None]
    columns = np.fft.rfftfreq(field.shape[1]).astype(np.float32)[None, :]
    transfer = np.exp(np.float32(-2 * (math.pi * sigma) ** 2) * (rows * rows + columns * columns))
    return as_float(np.fft.irfft2(np.fft.rfft2(field) * transfer, s=field.shape))


def refined(field: FloatImage) -> FloatImage:
    """Return a coarse square field at full resolution, by cubic interpolation that wraps around, float32."""
    padded = np.pad(field, 2, mode="wrap")
    size = COARSE * padded.shape[0]
    image = Image.fromarray(padded).resize((size, size), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(image, dtype=np.float32)[2 * COARSE : -2 * COARSE, 2 * COARSE : -2 * COARSE])


def broad_form(height: FloatImage, sigma: float) -> FloatImage:
    """Return a relief under a Gaussian of `sigma` pixels, several at least, which the coarse grid does as well."""
    return refined(blurred(np.ascontiguousarray(height[::COARSE, ::COARSE]), sigma / COARSE))


def drainage_area(rng: np.random.Generator, height: FloatImage, reach: int) -> FloatImage:
    """Count the pixels that drain through each pixel.

    Water goes to the lowest of eight neighbours, the slopes being shaken a little, since eight directions alone draw
    straight gullies. The paths of all pixels are followed at once: each pass doubles the steps that are behind.

    Args:
        rng: Random generator.
        height: float32 (size, size), in pixels; it wraps around.
        reach: Longest path that is followed is 2 to this power.

    Returns:
        float32 (size, size), from 1.
    """
    rows, columns = height.shape
    index = np.arange(height.size, dtype=np.intp).reshape(rows, columns)
    receiver = index.copy()
    steepest = np.zeros_like(height)
    for row_step, column_step in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
        fall = height - np.roll(height, (-row_step, -column_step), axis=(0, 1))
        shake = np.float32(0.55) + np.float32(0.45) * rng.random(height.shape, dtype=np.float32)
        fall *= shake * np.float32(1 / math.hypot(row_step, column_step))
        steeper = fall > steepest
        np.copyto(steepest, fall, where=steeper)
        np.copyto(receiver, np.roll(index, (-row_step, -column_step), axis=(0, 1)), where=steeper)
    receiver = receiver.ravel()
    # A pit drains nowhere: one more pixel, below all, takes its water, or it would count itself at every pass.
    sink = height.size
    receiver = np.append(np.where(receiver == index.ravel(), sink, receiver), sink)
    area = np.ones(sink + 1)
    area[sink] = 0
    for _ in range(reach):
        area = area + np.bincount(receiver, weights=area, minlength=sink + 1)
        area[sink] = 0
        receiver = receiver[receiver]
    return as_float(area[:sink].reshape(rows, columns))


def streaked_noise(rng: np.random.Generator, southwards: FloatImage, eastwards: FloatImage, reach: int) -> FloatImage:
    """Sum white noise along the way down from each pixel, which draws it out into streaks.

    A way is made of steps to one of eight neighbours, which are drawn at random so that they follow the slope on
    average. Ways that meet go on together, so streaks join like gullies; each pass doubles the steps that are behind.

    Args:
        rng: Random generator.
        southwards: Slope of smooth ground, as rise over run, float32 (size, size).
        eastwards: Slope, likewise.
        reach: The ways are 2 to this power steps long.

    Returns:
        float32 (size, size), neither centred nor scaled.
    """
    size = southwards.shape[0]
    place = np.arange(size, dtype=np.float32)
    shrink = 1 / (np.hypot(southwards, eastwards) + np.float32(1e-6))
    rows = np.floor(rng.random(shrink.shape, dtype=np.float32) - southwards * shrink) + place[:, None]
    columns = np.floor(rng.random(shrink.shape, dtype=np.float32) - eastwards * shrink) + place[None, :]
    # A step off the left or right edge comes back one row beside: nobody sees that in a streak, and it is faster.
    receiver: npt.NDArray[np.intp] = (rows.astype(np.intp) * size + columns.astype(np.intp)).ravel() % (size * size)
    noise: FloatImage = rng.random(size * size, dtype=np.float32)
    for _ in range(reach):
        noise = noise + noise[receiver]
        receiver = receiver[receiver]
    return as_float(noise.reshape(size, size))


def downslope_streaks(rng: np.random.Generator, height: FloatImage) -> tuple[FloatImage, FloatImage, FloatImage]:
    """Make three noises that run straight down the slopes, as gullies, drifted snow and scree do.

    Args:
        rng: Random generator.
        height: Heights in pixels, float32 (size, size); it wraps around.

    Returns:
        Gullies and drifts, which are a few pixels wide, and grain, which is as fine as a pixel; each float32 (size,
        size) with mean 0 and standard deviation 1.
    """
    fall = slopes(blurred(np.ascontiguousarray(height[::COARSE, ::COARSE]), 5))
    # What many ways share, at the foot of a slope, is broad and no streak: it is taken off.
    gullies = streaked_noise(rng, *fall, 5)
    gullies = standardised(blurred(gullies, rng.uniform(0.5, 0.9)) - blurred(gullies, 5))
    drifts = streaked_noise(rng, *fall, 6)
    drifts = standardised(blurred(drifts, 0.65) - blurred(drifts, 3.5))
    southwards, eastwards = (slope.repeat(COARSE, 0).repeat(COARSE, 1) for slope in fall)
    grain = streaked_noise(rng, southwards, eastwards, 3)
    return refined(gullies), refined(drifts), standardised(grain - broad_form(grain, 5))


def mountain_relief(rng: np.random.Generator, size: int, slope: float) -> FloatImage:
    """Make a drained mountain relief.

    Args:
        rng: Random generator.
        size: Rows and columns, a multiple of COARSE.
        slope: Root mean square of the slope before gullies are carved, as rise over run.

    Returns:
        Heights in pixels, float32 (size, size).
    """
    coarse = size // COARSE
    longest, shortest = rng.uniform(240, 340), rng.uniform(26, 34)
    ridges, hills = fractal_noise(rng, coarse, roughness=2.6, longest=longest / COARSE, shortest=shortest / COARSE)
    # Folded at zero, a noise has crests like those that two valleys leave between them.
    height = as_float(hills - np.float32(rng.uniform(1.6, 3)) * np.abs(ridges))
    row_slope, column_slope = slopes(height)
    height *= np.float32(slope) / np.sqrt(np.mean(row_slope**2 + column_slope**2))
    # Valleys that are twice as far apart and twice as deep come first, for the gullies to drain into.
    depth, width = rng.uniform(0.18, 0.45), rng.uniform(0.7, 0.95)
    valleys = blurred(np.log(drainage_area(rng, np.ascontiguousarray(height[::2, ::2]), 7)), width)
    height -= np.float32(2.2 * depth) * refined(valleys)
    height -= np.float32(depth) * blurred(np.log(drainage_area(rng, height, 8)), width)
    return as_float(refined(height) * np.float32(COARSE))


def slopes(height: FloatImage) -> tuple[FloatImage, FloatImage]:
    """Measure the slope by Horn's weighted differences over 3 x 3 pixels.

    Args:
        height: Heights in pixels, float32 (rows, columns); it wraps around.

    Returns:
        Rise per pixel southwards and eastwards, each float32 (rows, columns).
    """
    across = np.roll(height, 1, 1) + np.roll(height, -1, 1) + 2 * height
    down = np.roll(height, 1, 0) + np.roll(height, -1, 0) + 2 * height
    southwards = (np.roll(across, -1, 0) - np.roll(across, 1, 0)) * np.float32(1 / 8)
    eastwards = (np.roll(down, -1, 1) - np.roll(down, 1, 1)) * np.float32(1 / 8)
    return as_float(southwards), as_float(eastwards)


def tilt_towards_sun(southwards: FloatImage, eastwards: FloatImage, azimuth: float) -> FloatImage:
    """Return the slope towards the sun at `azimuth`, as rise over run, positive where the ground faces it, float32."""
    return as_float(southwards * np.float32(math.cos(azimuth)) - eastwards * np.float32(math.sin(azimuth)))


def sunlight(southwards: FloatImage, eastwards: FloatImage, azimuth: float, elevation: float) -> FloatImage:
    """Return how much light falls on the ground, by Lambert's cosine law, before shadows are cast.

    Ground that is turned away from the sun is not black but fades, as the sky lights it.

    Args:
        southwards: Slope, as rise over run, float32 (rows, columns).
        eastwards: Slope, likewise.
        azimuth: Where the sun stands, in radians clockwise from north.
        elevation: Height of the sun, in radians above the horizon.

    Returns:
        float32 (rows, columns), above 0; level ground has 1.
    """
    cosine = 1 + tilt_towards_sun(southwards, eastwards, azimuth) * np.float32(1 / math.tan(elevation))
    cosine /= np.sqrt(1 + southwards**2 + eastwards**2)
    twilight = np.float32(0.4)
    return as_float(np.maximum(cosine, twilight * np.exp(np.minimum(cosine / twilight - 1, 0))))


def skylight(southwards: FloatImage, eastwards: FloatImage, azimuth: float) -> FloatImage:
    """Return the light of the sky, which also shows the relief where no sun shines: it is brighter towards the sun.

    Args:
        southwards: Slope, as rise over run, float32 (rows, columns).
        eastwards: Slope, likewise.
        azimuth: Where the sun stands, in radians clockwise from north.

    Returns:
        float32 (rows, columns), from 0; level ground has 1.
    """
    tilt = tilt_towards_sun(southwards, eastwards, azimuth)
    return as_float(np.maximum(1 + np.float32(1.3) * tilt, 0))


def cast_shadow(height: FloatImage, azimuth: float, elevation: float, reach: int = 5) -> FloatImage:
    """Return where relief towards the sun keeps its light off.

    The top of the shadow that falls on a pixel is the highest of the ground towards the sun, less what the ray loses on
    its way; combining a field with itself, shifted, doubles the way that has been looked along.

    Args:
        height: Heights in pixels, float32 (rows, columns); it wraps around.
        azimuth: Where the sun stands, in radians clockwise from north.
        elevation: Height of the sun, in radians above the horizon.
        reach: A shadow is at most 2 to this power pixels long.

    Returns:
        float32 (rows, columns) from 0, lit, to 1, in shadow, with a penumbra.
    """
    top = height
    for doubling in range(reach):
        way = 2**doubling
        shift = (round(way * math.cos(azimuth)), -round(way * math.sin(azimuth)))
        top = np.maximum(top, np.roll(top, shift, axis=(0, 1)) - np.float32(way * math.tan(elevation)))
    return smoothstep(as_float(top - height), 0.2, 1.6)


def plan_rock_glaciers(rng: np.random.Generator, height: FloatImage, spacing: int) -> list[RockGlacier]:
    """Plan a rock glacier near the middle of each square of the scene, flowing downslope.

    Args:
        rng: Random generator.
        height: Heights in pixels, float32 (size, size).
        spacing: Width of a square.

    Returns:
        The plans; neighbours may meet.
    """
    southwards, eastwards = slopes(broad_form(height, spacing / 5))
    middles = np.arange(spacing // 2, height.shape[0], spacing)
    plans = []
    for middle_row in middles:
        for middle_column in middles:
            row, column = (int(middle + rng.uniform(-0.2, 0.2) * spacing) for middle in (middle_row, middle_column))
            downslope = np.array([-southwards[row, column], -eastwards[row, column]])
            downslope /= np.hypot(*downslope) + 1e-6
            length = spacing * rng.uniform(0.6, 1.15)
            plans.append(
                RockGlacier(
                    row=row,
                    column=column,
                    direction=(float(downslope[0]), float(downslope[1])),
                    length=length,
                    half_width=length * rng.uniform(0.2, 0.32),
                    bend=rng.uniform(-0.22, 0.22),
                    waist=rng.uniform(0.5, 0.85),
                    lobe_phase=rng.uniform(0, 2 * math.pi),
                    wavelength=rng.uniform(7, 11),
                    thickness=rng.uniform(3.5, 5.5),
                )
            )
    return plans


def window_around(row: float, column: float, radius: int, size: int) -> Window:
    """Return an index to the square of `2 * radius` pixels around a pixel of a scene that wraps around."""
    top, left = int(row) - radius, int(column) - radius
    if min(top, left) >= 0 and max(top, left) + 2 * radius <= size:
        return np.s_[top : top + 2 * radius, left : left + 2 * radius]  # many times faster than the general case
    steps = np.arange(2 * radius)
    return np.ix_((top + steps) % size, (left + steps) % size)


def footprint(plan: RockGlacier, warp: FloatImage) -> tuple[FloatImage, FloatImage, FloatImage]:
    """Lay a rock glacier's own coordinates over the window of the scene that it takes up.

    Args:
        plan: The rock glacier.
        warp: A noise with standard deviation 1 over the window, that unsettles the outline.

    Returns:
        Three float32 fields over the window: the way along the flow, 0 at the root and 1 at the front; the way across
        it, -1 and 1 at the margins; and the distance to the outline in pixels, positive inside, which is exact to first
        order near the outline.
    """
    radius = warp.shape[0] // 2
    offsets = np.arange(-radius, radius, dtype=np.float32)
    down, right = (np.float32(step) for step in plan.direction)
    shaken = np.float32(2.2) * warp
    along = (offsets[:, None] * down + offsets[None, :] * right + shaken) * np.float32(1 / plan.length)
    across = offsets[None, :] * down - offsets[:, None] * right + shaken
    across -= np.float32(2 * plan.bend * plan.length) * along**2
    along += np.float32(0.5)
    squared = half_width_squared(plan, along)
    inside = squared - across**2
    row_change, column_change = np.gradient(inside)
    distance = inside / (np.hypot(row_change, column_change) + np.float32(0.25))
    across /= np.sqrt(np.maximum(squared, 1))
    return as_float(along), as_float(across), as_float(distance)


def half_width_squared(plan: RockGlacier, along: FloatImage) -> FloatImage:
    """Return the square of half the width of a rock glacier `along` its flow; negative beyond its root and front."""
    widening = plan.waist + (1 - plan.waist) * smoothstep(along, 0.1, 0.75)
    lobes = 1 + 0.13 * np.sin(11 * along + plan.lobe_phase) + 0.06 * np.sin(23 * along - 2 * plan.lobe_phase)
    front = 1 - (np.maximum(along - 0.72, 0) / 0.28) ** 2
    root = 1 - (np.maximum(0.3 - along, 0) / 0.3) ** 2
    return as_float((plan.half_width * widening * lobes) ** 2 * np.minimum(front, root))


def body(
    plan: RockGlacier, along: FloatImage, across: FloatImage, distance: FloatImage, warp: FloatImage
) -> FloatImage:
    """Return how high a rock glacier stands above smooth ground.

    A steep front and margins, a ridge along the margin with a furrow behind it, and transverse ridges that bow
    downslope and grow towards the front, where the creep is slowed and compressed.

    Args:
        plan: The rock glacier.
        along: The way along the flow, 0 to 1.
        across: The way across it, -1 to 1.
        distance: To the outline in pixels, positive inside.
        warp: A noise with standard deviation 1 that unsettles the ridges.

    Returns:
        Heights in pixels, float32, 0 outside.
    """
    within = np.maximum(distance, 0)
    towards_front = smoothstep(along, 0.0, 0.8)
    wall = plan.thickness * (0.25 + 0.75 * towards_front) * (1 - np.exp(-within / 3.5))
    levee = 1.1 * np.exp(-(((within - 5) / 2.6) ** 2)) * (0.3 + 0.7 * smoothstep(along, 0.05, 0.3))
    interior = smoothstep(as_float(within), 4.0, 9.0)
    bow = 0.8 * plan.half_width * across**2
    # Ridges are neither evenly spaced nor whole: the noise shifts them, and lets each sink here and there.
    crest = 2 * math.pi * (along * plan.length + bow + 3.2 * warp) / plan.wavelength
    sunk = 0.65 + 0.35 * np.sin(0.37 * crest + 2.4 * warp + plan.lobe_phase)
    transverse = sunk * (np.sin(crest) + 0.35 * np.sin(1.7 * crest + 2 * warp)) * (0.2 + 0.8 * towards_front)
    lengthwise = np.cos(2 * math.pi * (across * plan.half_width + 3 * warp) / (1.4 * plan.wavelength))
    ridges = 0.9 * transverse + 0.6 * lengthwise * (1 - towards_front)
    return as_float(np.where(distance > 0, wall + levee + interior * ridges, 0))


def add_rock_glaciers(
    height: FloatImage, plans: list[RockGlacier], unrest: FloatImage
) -> tuple[FloatImage, npt.NDArray[np.bool_], FloatImage]:
    """Raise rock glaciers over a relief. One that runs into an earlier one ends there.

    Args:
        height: Heights in pixels, float32 (size, size).
        plans: The rock glaciers.
        unrest: A noise with standard deviation 1 that unsettles outlines and ridges, float32 (size, size).

    Returns:
        The new heights; the mask, bool (size, size); and how far a pixel is on the rim of a front, float32 (size, size)
        from 0 to 1, where the debris is fresh.
    """
    bed = broad_form(height, 7)
    raised = height.copy()
    mask = np.zeros(height.shape, dtype=np.bool_)
    rim = np.zeros_like(height)
    for plan in plans:
        radius = min(int(plan.length * 0.62) + 20, height.shape[0] // 2)
        window = window_around(plan.row, plan.column, radius, height.shape[0])
        warp, taken = unrest[window], mask[window]
        along, across, distance = footprint(plan, warp)
        distance = np.where(taken, np.float32(-9), distance)
        covered = distance > 0
        buried = smoothstep(distance, -3, 3)
        ground = raised[window]
        raised[window] = ground + buried * (bed[window] - ground) + body(plan, along, across, distance, warp)
        mask[window] = taken | covered
        rim[window] += covered * np.exp(-((distance / np.float32(3.5)) ** 2)) * smoothstep(along, 0.3, 0.9)
    return raised, mask, as_float(rim)


def snow_cover(
    height: FloatImage, light: FloatImage, steepness: FloatImage, patchiness: FloatImage, sharpness: float
) -> FloatImage:
    """Return how much snow covers the ground: more in hollows, on high and shaded ground, less on steep slopes.

    Args:
        height: Heights in pixels, float32 (size, size).
        light: Light of sun and sky, 1 on level ground, float32 (size, size).
        steepness: Slope, as rise over run, float32 (size, size).
        patchiness: A noise around the amount of snow, float32 (size, size).
        sharpness: Inverse of the width of the edge of the deep snow.

    Returns:
        float32 (size, size) from 0 to 1.
    """
    hollow = np.clip((broad_form(height, 4) - height) * np.float32(0.6), -0.9, 0.9)
    altitude = standardised(broad_form(height, 30))
    exposure = np.float32(0.5) * (light - 1) + np.float32(1.6) * np.maximum(steepness - np.float32(0.6), 0)
    likelihood = hollow + np.float32(0.6) * altitude + patchiness - exposure
    # Thin snow, through which the ground shows, reaches out from under the deep snow.
    thin = smoothstep(as_float(likelihood), -0.9, 0.6)
    deep = smoothstep(as_float(likelihood), -1 / sharpness, 1 / sharpness)
    return as_float(np.float32(0.35) * thin + np.float32(0.65) * deep)


def coloured(
    mood: Mood, light: FloatImage, snow: FloatImage, warm: FloatImage, albedo: FloatImage
) -> npt.NDArray[np.uint8]:
    """Colour the ground as the sensor's red, green and blue bands show it.

    Args:
        mood: The mood.
        light: From 0, in full shade, over 1 on level ground to 2, in full sun, float32 (rows, columns).
        snow: Share of snow, 0 to 1.
        warm: Share of brown ground, 0 to 1.
        albedo: Factor on the light that the bare ground returns; snow follows it less.

    Returns:
        uint8 (rows, columns, 3).
    """
    rgb = np.empty((*light.shape, 3), dtype=np.uint8)
    bare_light = light * albedo * np.float32(0.5)
    snow_light = light * (np.float32(0.75) + np.float32(0.25) * albedo) * np.float32(0.5)
    for band in range(3):
        rock = mood.rock_shade[band] + bare_light * np.float32(mood.rock_sun[band] - mood.rock_shade[band])
        brown = mood.warm_shade[band] + bare_light * np.float32(mood.warm_sun[band] - mood.warm_shade[band])
        bare = rock + warm * (brown - rock)
        white = mood.snow_shade[band] + snow_light * np.float32(mood.snow_sun[band] - mood.snow_shade[band])
        np.clip(bare + snow * (white - bare) + np.float32(0.5), 0, 255, out=rgb[..., band], casting="unsafe")
    return rgb


def drawn_mood(rng: np.random.Generator) -> Mood:
    """Draw a mood."""
    moods = list(MOODS.values())
    weights = np.array([mood.weight for mood in moods])
    return moods[rng.choice(len(moods), p=weights / weights.sum())]


def render_scene(
    rng: np.random.Generator, *, size: int, rock_glaciers: bool, spacing: int = 128, mood: Mood | None = None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Render one scene.

    Args:
        rng: Random generator; it alone decides what the scene shows.
        size: Rows and columns; a multiple of COARSE and at least twice `spacing`.
        rock_glaciers: Whether there are rock glaciers.
        spacing: About one rock glacier lies in each square of this width.
        mood: The look; drawn at random if not given.

    Returns:
        The scene, uint8 (size, size, 3), red, green and blue, and the mask, bool (size, size), True on a rock glacier.

    Raises:
        ValueError: `size` does not fit.
    """
    if size % COARSE or size < 2 * spacing:
        raise ValueError(f"size is {size}; a multiple of {COARSE} from {2 * spacing} is needed")
    mood = mood or drawn_mood(rng)
    azimuth = math.radians(rng.uniform(30, 75))
    elevation = math.radians(rng.uniform(*mood.sun_elevation))
    noises = fractal_noise(rng, size // COARSE, roughness=2.1, longest=60, shortest=2)
    patchiness, ground = (refined(noise) for noise in noises)
    height = mountain_relief(rng, size, rng.uniform(*mood.relief))
    gullies, drifts, grain = downslope_streaks(rng, height)
    rocky = smoothstep(as_float(0.8 * patchiness + standardised(height - broad_form(height, 24))), 0.0, 2.2)
    mask = np.zeros((size, size), dtype=np.bool_)
    rim = np.zeros((size, size), dtype=np.float32)
    if rock_glaciers:
        height, mask, rim = add_rock_glaciers(height, plan_rock_glaciers(rng, height, spacing), patchiness)
        rocky = np.where(mask, np.float32(0.05), rocky)
    # Folded at zero, streaks become gullies with a sharp bed and rounded ribs between them.
    height = as_float(height + rocky * (np.float32(rng.uniform(1.3, 2.3)) * np.abs(gullies) + np.float32(0.45) * grain))

    southwards, eastwards = slopes(height)
    shadow = refined(cast_shadow(as_float(height[::COARSE, ::COARSE] / COARSE), azimuth, elevation))
    light = sunlight(southwards, eastwards, azimuth, elevation) * (1 - np.float32(0.75) * np.clip(shadow, 0, 1))
    light = np.maximum(1 + (light - 1) * np.float32(rng.uniform(*mood.contrast)), 0)
    light = as_float(np.float32(0.82) * light + np.float32(0.18) * skylight(southwards, eastwards, azimuth))
    # Snow drifts down the slopes in streaks and does not hold on rock.
    patches = np.float32(0.4) * patchiness + np.float32(0.5) * drifts + np.float32(0.08) * grain
    patches += np.float32(rng.uniform(*mood.snow)) - np.float32(0.5) * rocky
    snow = snow_cover(height, light, np.hypot(southwards, eastwards), as_float(patches), mood.snow_sharpness)
    brown = ground + np.float32(0.8) * (light - 1) + np.float32(rng.uniform(*mood.warm))
    albedo = as_float(1 + np.float32(0.04) * grain + np.float32(0.05) * drifts + np.float32(0.16) * rim)
    return coloured(mood, light, snow, smoothstep(as_float(brown), -0.7, 0.7), albedo), mask
