"""Every overlap of masks is found, in any orientation and at any offset, and nothing else."""

from __future__ import annotations

import io
import itertools
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from rock_glacier.parallel import Workers
from rock_glacier.sites.mask_overlaps import MIN_STEPS, WINDOW, find_mask_overlaps
from rock_glacier.sites.orientations import INVERSE, ORIENTATIONS, oriented
from rock_glacier.sites.pairs import make_pairs
from rock_glacier.sites.placement import measure_misfits, place_tiles
from rock_glacier.sites.windows import shared_rectangles
from rock_glacier.tiles import ArrayFiles
from rock_glacier_dataset import TILE_SIZE

FARTHEST = TILE_SIZE - WINDOW
ONE_PROCESS = Workers(1)


def find(masks, workers=ONE_PROCESS, rows=None):
    """Find the overlaps of masks, arrays of shape (128, 128); returns a DataFrame."""
    with tempfile.TemporaryDirectory() as folder:
        files = ArrayFiles(Path(folder, "images"), Path(folder, "masks"), len(masks))
        files.masks.write_bytes(np.array(masks, np.uint8).tobytes())
        if rows is None:
            rows = np.arange(len(masks))
        return find_mask_overlaps(files, rows, workers)


def links_of(overlaps):
    columns = ["a", "b", "orientation", "dx", "dy", "pixels", "steps"]
    return list(overlaps[columns].itertuples(index=False, name=None))


def count_steps(mask):
    return int((mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum())


def holds_distinctive_window(mask):
    """Whether a mask holds a window with enough boundary steps and without symmetry."""
    if min(mask.shape) < WINDOW or count_steps(mask) < MIN_STEPS:
        return False
    windows = np.lib.stride_tricks.sliding_window_view(mask, (WINDOW, WINDOW))
    in_rows = (windows[..., 1:] != windows[..., :-1]).sum((-1, -2))
    in_columns = (windows[..., 1:, :] != windows[..., :-1, :]).sum((-1, -2))
    return any(
        not any(np.array_equal(windows[y, x], oriented(windows[y, x], o)) for o in range(1, 8))
        for y, x in np.argwhere(in_rows + in_columns >= MIN_STEPS)
    )


def overlaps_by_brute_force(masks):
    """Compare all pairs of masks in every orientation at every offset.

    Returns:
        For each pair of tiles that overlap, all of its overlaps as `links_of` has them.
    """
    dy, dx = np.mgrid[-FARTHEST : FARTHEST + 1, -FARTHEST : FARTHEST + 1].reshape(2, -1)
    areas = (TILE_SIZE - abs(dy)) * (TILE_SIZE - abs(dx))

    def transform(mask):
        return np.fft.fft2(2.0 * mask - 1, (256, 256))  # equal pixels add 1 to the correlation

    found: dict[tuple[int, int], list[tuple[int, ...]]] = {}
    for a, b in itertools.combinations(range(len(masks)), 2):
        for orientation in ORIENTATIONS:
            second = oriented(masks[b], orientation)
            correlation = np.fft.ifft2(transform(masks[a]) * transform(second).conj()).real[dy, dx]
            for place in np.flatnonzero(areas - correlation < 1e-3):
                offset = (int(dx[place]), int(dy[place]))
                shared, _ = shared_rectangles(masks[a], second, *offset)
                if holds_distinctive_window(shared):
                    link = (a, b, orientation, *offset, shared.size, count_steps(shared))
                    found.setdefault((a, b), []).append(link)
    return found


def rounded(rng, size):
    """Rock glaciers with smooth edges."""
    return gaussian_filter(rng.standard_normal((size, size)), rng.uniform(6, 14)) > 0


def angular(rng, size):
    """Areas between straight lines; their edges look alike in many places."""
    y, x = np.mgrid[:size, :size]
    mask = np.zeros((size, size), bool)
    for _ in range(4):
        slope = rng.choice([0.5, 1, 2, rng.uniform(0.1, 3)]) * rng.choice([-1, 1])
        mask ^= y - size / 2 > slope * (x - rng.uniform(0, size))
    return mask


def boxes(rng, size):
    """Boxes of a few sizes."""
    mask = np.zeros((size, size), bool)
    for _ in range(8):
        y, x = rng.integers(0, size - 60, 2)
        mask[y : y + rng.choice([20, 50]), x : x + rng.choice([20, 50])] ^= True
    return mask


def cut(scene, y, x):
    return np.ascontiguousarray(scene[y : y + TILE_SIZE, x : x + TILE_SIZE], np.uint8)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scene=st.sampled_from([rounded, angular, boxes]), seed=st.integers(0, 2**32 - 1))
def test_all_mask_overlaps_are_found_and_no_others(scene, seed):
    rng = np.random.default_rng(seed)
    pixels = scene(rng, 220)
    masks = [cut(pixels, *rng.integers(0, 93, 2)) for _ in range(3)]
    masks.append(cut(scene(rng, TILE_SIZE), 0, 0))
    masks = [oriented(mask, int(rng.integers(8))) for mask in masks]
    links = {link[:2]: link for link in links_of(find(masks))}
    expected = overlaps_by_brute_force(masks)
    assert list(links) == list(expected)
    for pair, link in links.items():
        assert link in expected[pair]
        assert link[-1] == max(steps for *_, steps in expected[pair])


def two_cuts(dx, dy, seed=0):
    """Cut two masks from one scene, the second at this offset from the first."""
    scene = rounded(np.random.default_rng(seed), 256)
    return cut(scene, max(-dy, 0), max(-dx, 0)), cut(scene, max(dy, 0), max(dx, 0))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize(("dx", "dy"), [(-70, 60), (-37, -64), (0, 0), (80, 3)])
def test_orientation_and_offset_are_exact(orientation, dx, dy):
    a, b = two_cuts(dx, dy)
    shared, _ = shared_rectangles(a, b, dx, dy)
    found = find([a, oriented(b, INVERSE[orientation])])
    assert links_of(found) == [(0, 1, orientation, dx, dy, shared.size, count_steps(shared))]


def test_one_different_pixel_is_not_a_mask_overlap():
    a, b = two_cuts(40, 30)
    assert len(find([a, b])) == 1
    b[2, 3] ^= 1
    assert find([a, b]).empty


def test_masks_of_other_rows_are_not_compared():
    a, b = two_cuts(40, 30)
    assert links_of(find([a, b, a], rows=np.array([1, 2])))[0][:2] == (1, 2)


def test_plain_and_symmetric_masks_do_not_overlap():
    y, x = np.mgrid[:TILE_SIZE, :TILE_SIZE]
    plain = [y < 0, y >= 0, y < 50, x > y]
    assert find([*plain, *plain]).empty
    assert find([]).empty


def test_several_processes_find_the_same_mask_overlaps():
    rng = np.random.default_rng(0)
    scene = rounded(rng, 300)
    masks = [cut(scene, *rng.integers(0, 173, 2)) for _ in range(30)]
    found = find(masks)
    assert len(found) > 30
    assert links_of(find(masks, Workers(2))) == links_of(found)


def test_strong_overlaps_of_real_masks_agree_to_the_pixel(real):
    with zipfile.ZipFile(real / "release_test_masks.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))[:300]
        masks = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in names]
    found = find([mask[..., 0] > 0 for mask in masks], Workers(2))
    strong = make_pairs(found[found["steps"] >= 100], "mask-overlap")
    table = place_tiles(300, strong).table
    assert (measure_misfits(table, strong) == 0).all()
    assert (len(found), len(strong), table["site"].nunique()) == (1591, 1216, 19)
