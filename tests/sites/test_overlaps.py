"""Every overlap is found, in any orientation and at any offset, and nothing else."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import array_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rock_glacier.parallel import Workers
from rock_glacier.sites.orientations import INVERSE, ORIENTATIONS, oriented
from rock_glacier.sites.overlaps import MIN_COLOURS, WINDOW, count_shared_pixels, find_overlaps
from rock_glacier_dataset import TILE_SIZE

FARTHEST = TILE_SIZE - WINDOW
ONE_PROCESS = Workers(1)
COLUMNS = ["a", "b", "orientation", "dx", "dy", "pixels"]


def overlaps_of(tiles, workers=ONE_PROCESS) -> list[tuple[int, ...]]:
    """Find the overlaps of tiles given as arrays of one number per pixel, shape (128, 128)."""
    images = [np.ascontiguousarray(tile, "<u4").view(np.uint8) for tile in tiles]
    with tempfile.TemporaryDirectory() as folder:
        found = find_overlaps(array_files(Path(folder), images), workers)
    return list(found[COLUMNS].itertuples(index=False, name=None))


def overlaps_by_brute_force(tiles) -> list[tuple[int, ...]]:
    """Compare all pairs of tiles in every orientation at every offset.

    A correlation selects offsets at which all pixels may be equal; these are compared exactly.
    """
    dy, dx = np.mgrid[-FARTHEST : FARTHEST + 1, -FARTHEST : FARTHEST + 1].reshape(2, -1)
    areas = (TILE_SIZE - abs(dy)) * (TILE_SIZE - abs(dx))

    def transform(pixels):
        # Each colour is a point on the unit circle, so only equal pixels add 1 to the correlation.
        return np.fft.fft2(np.exp(2j * np.pi * (pixels * 0.6180339887 % 1)), (256, 256))

    found: list[tuple[int, ...]] = []
    for a, b in itertools.combinations(range(len(tiles)), 2):
        fits = []
        for orientation in ORIENTATIONS:
            second = oriented(tiles[b], orientation)
            product = transform(tiles[a]) * transform(second).conj()
            correlation = np.fft.ifft2(product).real[dy, dx]
            for place in np.flatnonzero(areas - correlation < 1e-3):
                x = int(dx[place])
                y = int(dy[place])
                pixels = count_shared_pixels(tiles[a], second, x, y)
                if pixels:
                    order = (-pixels, orientation, abs(y), abs(x), y, x)
                    fits.append((order, (a, b, orientation, x, y, pixels)))
        if fits:
            found.append(min(fits)[1])
    return found


def cut(scene, y, x):
    return np.ascontiguousarray(scene[y : y + TILE_SIZE, x : x + TILE_SIZE], np.uint32)


def textured(rng, height, width):
    return rng.integers(0, 2**24, (height, width))


def half_flat(rng, height, width):
    """Texture under snow of one colour with an uneven edge and a few rocks."""
    scene = textured(rng, height, width)
    edge = np.cumsum(rng.integers(-3, 4, height)) + rng.integers(0, width)
    scene[np.arange(width) < edge[:, None]] = 0xFFFFFF
    for _ in range(rng.integers(0, 4)):
        scene[rng.integers(0, height), rng.integers(0, width)] = rng.integers(0, 2**24)
    return scene


def sparse(rng, height, width):
    """One colour with single pixels of other colours."""
    scene = np.full((height, width), 7)
    is_marked = rng.random((height, width)) < rng.choice([0.004, 0.02, 0.1])
    scene[is_marked] = rng.integers(0, rng.choice([3, 40, 2**24]), int(is_marked.sum()))
    return scene


def graded(rng, height, width):
    """Slow steps; no window holds many colours."""
    step_y, step_x = rng.integers(5, 30, 2)
    return np.add.outer(np.arange(height) // step_y, 100 * (np.arange(width) // step_x))


def few_colours(rng, height, width):
    """As many colours as an overlap needs, one fewer or one more."""
    return rng.integers(0, MIN_COLOURS + rng.integers(-1, 2), (height, width))


def striped(rng, height, width):
    """The same row again and again, with a few other pixels."""
    pattern = textured(rng, 1, int(rng.integers(2, 40)))
    scene = np.tile(pattern, (height, width // pattern.size + 1))[:, :width]
    scene[rng.integers(0, height, 9), rng.integers(0, width, 9)] = 7
    return scene


SCENES = [textured, half_flat, sparse, graded, few_colours, striped]
trials = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@trials
@given(scene=st.sampled_from(SCENES), seed=st.integers(0, 2**32 - 1), flips=st.integers(0, 3))
def test_all_overlaps_are_found_and_no_others(scene, seed, flips):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(TILE_SIZE, 260, 2)
    pixels = scene(rng, height, width)[:: 1 - 2 * (flips & 1), :: 1 - (flips & 2)]
    tiles = [
        cut(pixels, rng.integers(0, height - 127), rng.integers(0, width - 127)) for _ in range(3)
    ]
    tiles.append(cut(scene(rng, TILE_SIZE, TILE_SIZE), 0, 0))
    tiles = [oriented(tile, int(rng.integers(8))) for tile in tiles]
    assert overlaps_of(tiles) == overlaps_by_brute_force(tiles)


@trials
@given(scene=st.sampled_from(SCENES), seed=st.integers(0, 2**32 - 1), narrow=st.integers(15, 20))
def test_narrow_overlaps_are_found_at_each_corner(scene, seed, narrow):
    rng = np.random.default_rng(seed)
    a = cut(scene(rng, TILE_SIZE, TILE_SIZE), 0, 0)
    b = cut(scene(rng, TILE_SIZE, TILE_SIZE), 0, 0)
    height, width = rng.permutation([narrow, rng.integers(15, TILE_SIZE + 1)])
    rows = [slice(None, height), slice(-height, None)][:: rng.choice([1, -1])]
    columns = [slice(None, width), slice(-width, None)][:: rng.choice([1, -1])]
    b[rows[0], columns[0]] = a[rows[1], columns[1]]
    b = oriented(b, int(rng.integers(8)))
    assert overlaps_of([a, b]) == overlaps_by_brute_force([a, b])


def two_cuts(dx, dy):
    """Cut two tiles from one scene, the second at this offset from the first."""
    scene = textured(np.random.default_rng(0), 256, 256)
    return cut(scene, max(-dy, 0), max(-dx, 0)), cut(scene, max(dy, 0), max(dx, 0))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize(("dx", "dy"), [(-112, 112), (-37, -64), (0, 0), (112, 3)])
def test_orientation_and_offset_are_exact(orientation, dx, dy):
    a, b = two_cuts(dx, dy)
    pixels = (TILE_SIZE - abs(dx)) * (TILE_SIZE - abs(dy))
    found = overlaps_of([a, oriented(b, INVERSE[orientation])])
    assert found == [(0, 1, orientation, dx, dy, pixels)]


@pytest.mark.parametrize(("dx", "dy"), [(113, 0), (3, 113)])
def test_a_rectangle_that_is_too_small_is_not_an_overlap(dx, dy):
    assert overlaps_of(two_cuts(dx, dy)) == []


def test_one_different_pixel_is_not_an_overlap():
    a, b = two_cuts(40, 30)
    b[50, 60] ^= 1
    assert overlaps_of([a, b]) == []


@pytest.mark.parametrize(("colours", "overlaps"), [(15, 0), (16, 1)])
def test_a_rectangle_needs_enough_colours(colours, overlaps):
    scene = np.random.default_rng(0).integers(0, colours, (TILE_SIZE, 200))
    scene[:, 72:] = 1  # the shared rectangle is flat, except for the colours below
    scene[5, 72 : 72 + colours] = range(colours)
    left = cut(scene, 0, 0)
    right = cut(scene, 0, 72)
    right[:, 56:] = textured(np.random.default_rng(1), TILE_SIZE, 72)
    assert len(overlaps_of([left, right])) == overlaps


def test_the_largest_of_several_overlaps_is_reported():
    pattern = np.tile(textured(np.random.default_rng(0), 64, 64), (4, 4))
    found = overlaps_of([cut(pattern, 0, 0), cut(pattern, 10, 0)])
    assert found == [(0, 1, 0, 0, 10, 118 * 128)]


def test_flat_tiles_and_no_tiles_have_no_overlaps():
    assert overlaps_of([]) == []
    assert overlaps_of([np.full((TILE_SIZE, TILE_SIZE), colour) for colour in (0, 0, 1)]) == []


def test_alpha_makes_no_difference():
    a, b = two_cuts(40, 30)
    assert len(overlaps_of([a, b | 0xFF000000])) == 1


def test_several_processes_find_the_same_overlaps():
    rng = np.random.default_rng(0)
    scene = textured(rng, 400, 400)
    tiles = [cut(scene, *rng.integers(0, 273, 2)) for _ in range(40)]
    assert overlaps_of(tiles, Workers(2)) == overlaps_of(tiles)


def links_by_pair(overlaps: pd.DataFrame) -> dict[tuple[str, str], tuple[int, int]]:
    """Return the offsets of upright overlaps, from the path that sorts first to the other."""
    offsets = {}
    for pair in overlaps.to_dict("records"):
        first, second = sorted([pair["a"], pair["b"]])
        sign = 1 if pair["a"] == first else -1
        offsets[first, second] = (sign * pair["dx"], sign * pair["dy"])
    return offsets


def test_real_tiles_have_the_known_overlaps(real, real_archives):
    from rock_glacier.tiles import TileSet

    known = pd.read_csv(real / "overlaps.csv")
    with TileSet.read(real_archives, Workers(1)) as tiles:
        found = find_overlaps(tiles.files, Workers(1))
        for side in "ab":
            found[side] = tiles.table["path"].to_numpy()[found[side]]
    assert (found["orientation"] == 0).all()
    assert links_by_pair(found) == links_by_pair(known)
    assert len(found) == 689
