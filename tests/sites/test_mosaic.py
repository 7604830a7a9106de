"""Sites and pairs are drawn with each tile in its place."""

from __future__ import annotations

import numpy as np
import pytest
from factories import make_data_dir, noise_scene, png

from rock_glacier.parallel import Workers
from rock_glacier.sites import find_sites
from rock_glacier.sites.mosaic import draw_mosaic, draw_pair, fit_pair
from rock_glacier.sites.orientations import oriented
from rock_glacier.tiles import TileSet

SCENE = noise_scene(0, 128, 192)


@pytest.fixture
def tiles(tmp_path):
    """Two tiles of one scene, the second 64 pixels to the right and rotated."""
    right = np.ascontiguousarray(oriented(SCENE[:, 64:], 3))
    paths = ["train/cordillera/1.png", "train/cordillera/2.png"]
    images = [png(SCENE[:, :128]), png(right)]
    folder = make_data_dir(tmp_path / "data", dict(zip(paths, images, strict=True)))
    with TileSet.read(folder, Workers(1)) as opened:
        yield opened


def test_a_mosaic_restores_the_scene(tiles):
    sites = find_sites(tiles, Workers(1), matches=False)
    mosaic = draw_mosaic(tiles, sites.table.assign(block=0))
    assert np.array_equal(np.asarray(mosaic), SCENE[..., :3])


def test_blocks_are_tinted_and_large_mosaics_scaled(tiles):
    sites = find_sites(tiles, Workers(1), matches=False)
    mosaic = draw_mosaic(tiles, sites.table.assign(block=[0, 1]), largest=96)
    assert mosaic.size == (96, 64)
    plain = draw_mosaic(tiles, sites.table.assign(block=0), largest=96)
    assert mosaic.tobytes() != plain.tobytes()


def test_a_pair_is_fitted_on_one_canvas(tiles):
    pair = find_sites(tiles, Workers(1), matches=False).pairs.iloc[0]
    first, second = fit_pair(tiles, pair)
    both = (first[..., 3] > 0) & (second[..., 3] > 0)
    assert first.shape == second.shape == (128, 192, 4)
    assert both.sum() == pair["pixels"] == 64 * 128
    assert np.array_equal(first[both], second[both])
    assert draw_pair(tiles, pair).size == (3 * 192 + 2 * 8, 128)
