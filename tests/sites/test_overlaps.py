"""Overlaps are found exactly: every pair that fits the definition, at any offset, and no other."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rock_glacier.grounds.overlaps import (
    CANDIDATE,
    LEAST_COLOURS,
    SAMPLES,
    WINDOW,
    AnchorTable,
    anchor_windows,
    confirm_overlaps,
    sample_pixels,
    shared_pixels,
    sort_candidates,
)
from rock_glacier.grounds.pairs import Overlap
from rock_glacier.grounds.pixels import Pixels
from rock_glacier.grounds.turns import INVERSE, TURNS, turned
from rock_glacier_dataset import TILE_SIZE

FARTHEST = TILE_SIZE - WINDOW


def find_overlaps(tiles: list[Pixels]) -> list[Overlap]:
    samples = np.array([sample_pixels(pixels) for pixels in tiles], np.uint32).reshape(-1, *SAMPLES)
    table = AnchorTable((anchor_windows(number, pixels) for number, pixels in enumerate(tiles)), samples)
    found = [table.candidates(number, pixels) for number, pixels in enumerate(tiles)]
    return confirm_overlaps(sort_candidates(np.concatenate([np.zeros(0, CANDIDATE), *found])), tiles.__getitem__)


def all_overlaps(tiles: list[Pixels]) -> list[Overlap]:
    """Compare each tile with each under every turn at every offset: by correlation, and where that is high, exactly."""
    dy, dx = np.mgrid[-FARTHEST : FARTHEST + 1, -FARTHEST : FARTHEST + 1].reshape(2, -1)
    areas = (TILE_SIZE - abs(dy)) * (TILE_SIZE - abs(dx))
    # Each colour is a point of the unit circle, so that only equal pixels add 1 to the correlation.
    spectra = [
        [np.fft.fft2(np.exp(2j * np.pi * (turned(tile, turn) * 0.6180339887 % 1)), (256, 256)) for turn in TURNS]
        for tile in tiles
    ]
    found = []
    for a, b in itertools.combinations(range(len(tiles)), 2):
        fits = []
        for turn in TURNS:
            correlation = np.fft.ifft2(spectra[a][0] * spectra[b][turn].conj()).real[dy, dx]
            for place in np.flatnonzero(areas - correlation < 1e-3).tolist():
                x, y = int(dx[place]), int(dy[place])
                if pixels := shared_pixels(tiles[a], turned(tiles[b], turn), x, y):
                    fits.append(((-pixels, turn, abs(y), abs(x), y, x), Overlap(a, b, turn, x, y, pixels)))
        if fits:
            found.append(min(fits)[1])
    return found


def cut(ground: np.ndarray, y: int, x: int) -> Pixels:
    return np.ascontiguousarray(ground[y : y + TILE_SIZE, x : x + TILE_SIZE], np.uint32)


def textured(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return rng.integers(0, 2**24, (height, width))


def half_flat(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Textured ground under snow of one colour, with an uneven edge and some rocks that stick out."""
    ground = textured(rng, height, width)
    edge = np.cumsum(rng.integers(-3, 4, height)) + rng.integers(0, width)
    ground[np.arange(width) < edge[:, None]] = 0xFFFFFF
    for _ in range(rng.integers(0, 4)):
        ground[rng.integers(0, height), rng.integers(0, width)] = rng.integers(0, 2**24)
    return ground


def noisy(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Ground of one colour with single pixels of others."""
    ground = np.full((height, width), 7)
    marked = rng.random((height, width)) < rng.choice([0.004, 0.02, 0.1])
    ground[marked] = rng.integers(0, rng.choice([3, 40, 2**24]), int(marked.sum()))
    return ground


def graded(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Slow steps, of which no window holds many colours."""
    step_y, step_x = rng.integers(5, 30, 2)
    return np.add.outer(np.arange(height) // step_y, 100 * (np.arange(width) // step_x))


def striped(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """The same row again and again, or the same column, with some pixels of other colours."""
    size = max(height, width)
    pattern = textured(rng, 1, int(rng.integers(2, 40)))
    ground = np.tile(pattern, (size, size // pattern.size + 1))[:, :size]
    ground[tuple(rng.integers(0, size, (2, rng.integers(0, 20))))] = 7
    return (ground.T if rng.integers(2) else ground)[:height, :width]


def of_few_colours(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """As many colours as an overlap needs, one less or one more."""
    return rng.integers(0, LEAST_COLOURS + rng.integers(-1, 2), (height, width))


GROUNDS = [textured, half_flat, noisy, graded, of_few_colours]


trials = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@trials
@given(ground=st.sampled_from(GROUNDS), seed=st.integers(0, 2**32 - 1), flips=st.integers(0, 3))
def test_every_overlap_is_found_and_no_other(ground, seed, flips):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(TILE_SIZE, 260, 2)
    raster = ground(rng, height, width)[:: 1 - 2 * (flips & 1), :: 1 - (flips & 2)]
    tiles = [cut(raster, rng.integers(0, height - 127), rng.integers(0, width - 127)) for _ in range(3)]
    tiles.append(cut(ground(rng, TILE_SIZE, TILE_SIZE), 0, 0))
    tiles = [turned(tile, int(rng.integers(8))) for tile in tiles]
    assert find_overlaps(tiles) == all_overlaps(tiles)


@trials
@given(ground=st.sampled_from([*GROUNDS, striped]), seed=st.integers(0, 2**32 - 1), narrow=st.integers(15, 20))
def test_a_narrow_overlap_is_found_at_each_corner(ground, seed, narrow):
    rng = np.random.default_rng(seed)
    a, b = (cut(ground(rng, TILE_SIZE, TILE_SIZE), 0, 0) for _ in range(2))
    shape = rng.permutation([narrow, rng.integers(15, TILE_SIZE + 1)])
    ends = [(slice(None, size), slice(-size, None))[:: rng.choice([1, -1])] for size in shape.tolist()]
    (top, bottom), (left, right) = ends
    b[top, left] = a[bottom, right]
    b = turned(b, int(rng.integers(8)))
    assert find_overlaps([a, b]) == all_overlaps([a, b])


def two_cuts(dx: int, dy: int) -> tuple[Pixels, Pixels]:
    """Cut two tiles of one ground, the second at this offset from the first."""
    raster = textured(np.random.default_rng(0), 256, 256)
    return cut(raster, max(-dy, 0), max(-dx, 0)), cut(raster, max(dy, 0), max(dx, 0))


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize(("dx", "dy"), [(-112, 112), (-37, -64), (0, 0), (64, 90), (112, 3)])
def test_tile_a_at_an_offset_is_tile_b_turned(turn, dx, dy):
    a, b = two_cuts(dx, dy)
    pixels = (TILE_SIZE - abs(dx)) * (TILE_SIZE - abs(dy))
    assert find_overlaps([a, turned(b, INVERSE[turn])]) == [Overlap(0, 1, turn, dx, dy, pixels)]


@pytest.mark.parametrize(("dx", "dy"), [(113, 0), (3, 113)])
def test_a_rectangle_that_is_too_small_is_no_overlap(dx, dy):
    assert find_overlaps(list(two_cuts(dx, dy))) == []


def test_one_pixel_that_differs_is_no_overlap():
    a, b = two_cuts(40, 30)
    b[50, 60] ^= 1
    assert find_overlaps([a, b]) == []


@pytest.mark.parametrize(("colours", "overlaps"), [(LEAST_COLOURS - 1, 0), (LEAST_COLOURS, 1)])
def test_a_rectangle_of_few_colours_is_no_overlap(colours, overlaps):
    raster = np.random.default_rng(0).integers(0, colours, (TILE_SIZE, 200))
    raster[:, 72:] = 1  # what the two share is flat, but for the colours below
    raster[5, 72 : 72 + colours] = range(colours)
    left, right = cut(raster, 0, 0), cut(raster, 0, 72)
    right[:, 56:] = textured(np.random.default_rng(1), TILE_SIZE, 72)
    assert len(find_overlaps([left, right])) == overlaps


def test_of_several_overlaps_of_a_pair_the_largest_is_reported():
    pattern = np.tile(textured(np.random.default_rng(0), 64, 64), (4, 4))
    assert find_overlaps([cut(pattern, 0, 0), cut(pattern, 10, 0)]) == [Overlap(0, 1, 0, 0, 10, 118 * 128)]


def shares_one_window() -> list[Pixels]:
    rng = np.random.default_rng(0)
    tiles = [cut(textured(rng, TILE_SIZE, TILE_SIZE), 0, 0) for _ in range(2)]
    tiles[1][40 : 40 + WINDOW, 30 : 30 + WINDOW] = tiles[0][:WINDOW, :WINDOW]
    return tiles


@pytest.mark.parametrize(
    "tiles",
    [[], [np.full((TILE_SIZE, TILE_SIZE), colour, np.uint32) for colour in (0, 0, 1)], shares_one_window()],
    ids=["none", "flat", "one window"],
)
def test_tiles_that_cannot_overlap_are_no_candidates(tiles):
    samples = np.array([sample_pixels(tile) for tile in tiles], np.uint32)
    table = AnchorTable((anchor_windows(number, tile) for number, tile in enumerate(tiles)), samples)
    assert [len(table.candidates(number, tile)) for number, tile in enumerate(tiles)] == [0] * len(tiles)
    assert find_overlaps(tiles) == []
