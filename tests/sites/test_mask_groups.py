"""Masks that overlap form groups, unless the images show different ground."""

from __future__ import annotations

import contextlib

import factories
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from rock_glacier.parallel import Workers
from rock_glacier.sites import find_sites
from rock_glacier.sites.mask_groups import MIN_STRONG_STEPS, find_mask_groups
from rock_glacier.sites.mask_overlaps import find_mask_overlaps
from rock_glacier.sites.orientations import oriented
from rock_glacier.tiles import TileSet
from rock_glacier_dataset import mask_path

# Upper left pixels (y, x) of tiles in a scene of 300 x 300 pixels.
CORNERS = [(0, 0), (30, 40), (60, 20), (90, 100), (120, 60), (150, 150), (172, 90), (40, 172)]
ONE_PROCESS = Workers(1)


def outlines(seed):
    """A scene of rock glaciers."""
    noise = np.random.default_rng(seed).standard_normal((300, 300))
    return gaussian_filter(noise, 11) > 0


def ground(seed, date):
    """A scene of shape (300, 300, 4) on a date, which changes its contrast and noise."""
    relief = gaussian_filter(np.random.default_rng(seed).standard_normal((300, 300)), 2)
    noise = np.random.default_rng((seed, date)).standard_normal((300, 300))
    grey = 128 + (150 + 100 * date) * relief + 3 * noise
    scene = np.full((300, 300, 4), 255, np.uint8)
    scene[..., :3] = grey.clip(0, 255)[..., None]
    return scene


def cut(scene, corner):
    y, x = corner
    return scene[y : y + 128, x : x + 128]


@contextlib.contextmanager
def tile_set(folder, images, masks):
    """Read glaciar tiles with masks, each pair in an orientation of its own."""
    tiles = {}
    mask_files = {}
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        path = f"train/glaciar/{number:03d}.png"
        tiles[path] = factories.png(np.ascontiguousarray(oriented(image, number % 8)))
        mask_files[mask_path(path)] = factories.mask_png(oriented(mask, number % 8))
    tiles["train/cordillera/000.png"] = factories.png(0)
    with TileSet.read(factories.make_data_dir(folder, tiles, mask_files), ONE_PROCESS) as read:
        assert read.table["label"][len(masks)] == "cordillera"
        yield read


def test_masks_group_tiles_of_different_dates(tmp_path):
    images = [cut(ground(0, date), corner) for date, corner in enumerate(CORNERS)]
    masks = [cut(outlines(0), corner) for corner in CORNERS]
    alone = cut(outlines(1), (0, 0))
    empty = np.zeros((128, 128))
    images += [cut(ground(seed, 0), (0, 0)) for seed in (1, 2)]
    with tile_set(tmp_path / "data", images, [*masks, alone, empty]) as tiles:
        groups = find_mask_groups(tiles, ONE_PROCESS)
        sites = find_sites(tiles, ONE_PROCESS, matches=False)
    assert groups.faults == []
    assert groups.group.tolist() == [0] * 8 + [1, -1, -1]
    assert sites.table["mask_group"].tolist() == groups.group.tolist()
    assert (sites.table["site"][:8] == 0).all()
    assert set(sites.pairs["kind"]) == {"mask-overlap"}
    places = sites.table[["y", "x"]].to_numpy()
    assert (places[:8] - places[0]).tolist() == [list(corner) for corner in CORNERS]


def test_masks_of_other_tiles_are_reported_and_join_nothing(tmp_path):
    images = [cut(ground(seed, 0), corner) for seed, corner in enumerate(CORNERS)]
    masks = [cut(outlines(0), corner) for corner in CORNERS]
    with tile_set(tmp_path / "data", images, masks) as tiles:
        sites = find_sites(tiles, ONE_PROCESS, matches=False)
    (fault,) = sites.faults
    assert fault.code == "mask-unrelated"
    assert fault.place == "train.zip: train/glaciar/000.png"
    assert (sites.table["mask_group"] == -1).all()
    assert sites.table["site"].nunique() == 9
    assert sites.pairs.empty


def test_flat_images_do_not_contradict_masks(tmp_path):
    snow = np.full((128, 128, 4), 255, np.uint8)
    masks = [cut(outlines(0), corner) for corner in CORNERS[:3]]
    with tile_set(tmp_path / "data", [snow] * 3, masks) as tiles:
        groups = find_mask_groups(tiles, ONE_PROCESS)
    assert groups.faults == []
    assert groups.group.tolist() == [0, 0, 0, -1]


def test_boxes_join_no_tiles(tmp_path):
    rng = np.random.default_rng(0)
    masks = np.zeros((30, 128, 128), np.uint8)
    for mask in masks:
        y, x = rng.integers(0, 50, 2)
        mask[y : y + rng.integers(60, 80), x : x + rng.integers(60, 80)] = 1
    images = [cut(ground(seed, 0), CORNERS[0]) for seed in range(30)]
    with tile_set(tmp_path / "data", images, masks) as tiles:
        groups = find_mask_groups(tiles, ONE_PROCESS)
    assert groups.pairs.empty
    assert {fault.code for fault in groups.faults} == {"mask-unrelated"}


@pytest.mark.parametrize("has_bridge", [False, True])
def test_weak_mask_overlaps_are_accepted_only_in_a_group(tmp_path, has_bridge):
    corners = [(0, 0), (0, 88), (0, 44)][: 2 + has_bridge]
    images = [cut(ground(0, date), corner) for date, corner in enumerate(corners)]
    masks = [cut(outlines(5), corner) for corner in corners]
    with tile_set(tmp_path / "data", images, masks) as tiles:
        found = find_mask_overlaps(tiles.files, np.arange(len(masks)), ONE_PROCESS)
        groups = find_mask_groups(tiles, ONE_PROCESS)
    assert found["steps"][0] < MIN_STRONG_STEPS
    assert len(groups.pairs) == (3 if has_bridge else 0)
    assert groups.group.tolist() == ([0, 0, 0, -1] if has_bridge else [0, 1, -1])
