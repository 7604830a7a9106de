"""The pictures of the card."""

from __future__ import annotations

import io

import factories
import numpy as np
import pytest
from PIL import Image

from rock_glacier.hub.pictures import WIDTH, draw_pictures, find_overlap
from rock_glacier.index import make_index
from rock_glacier.tiles import TileSet


@pytest.fixture(scope="module")
def tiles(overlapping):
    with TileSet.read(overlapping) as opened:
        yield opened


@pytest.fixture(scope="module")
def table(tiles):
    """Positions of the tiles: the two tiles that overlap are on one site."""
    table = tiles.table.assign(site=range(len(tiles)), x=0, y=0, orientation=0)
    a = table.index[table["path"] == "train/cordillera/1.png"][0]
    b = table.index[table["path"] == "test/cordillera/2.png"][0]
    table.loc[b, ["site", "x", "y"]] = [table["site"][a], 28, 30]
    return table


@pytest.fixture(scope="module")
def pictures(tiles, table):
    return {
        picture.name: picture
        for picture in draw_pictures(tiles, make_index(table), is_sample=False)
    }


def test_there_is_a_picture_of_each_subject(pictures):
    assert list(pictures) == ["portrait", "example", "splits", "overlap", "sites"]


def test_pictures_have_one_width_and_are_not_blank(pictures):
    for picture in pictures.values():
        image = Image.open(io.BytesIO(picture.image)).convert("RGB")
        assert image.width == WIDTH
        assert 400 < image.height <= 900
        assert np.asarray(image).std() > 20


def test_texts_name_what_is_shown(pictures):
    for picture in pictures.values():
        assert len(picture.alt) > 50
        assert picture.to_markdown().startswith(f"![{picture.alt}](assets/{picture.file_name})")
    assert "3 tiles of class cordillera" in pictures["portrait"].alt
    assert "test/cordillera/2.png" in pictures["overlap"].caption
    assert "60 %" in pictures["overlap"].caption
    assert "50 %" in pictures["example"].caption
    assert "train with 1 cordillera and 1 glaciar tiles" in pictures["splits"].alt


def test_pictures_of_a_sample_say_so(tiles, table, pictures):
    for picture in draw_pictures(tiles, make_index(table), is_sample=True):
        assert "Synthetic sample" in picture.alt
        assert "Synthetic sample" in picture.caption
        assert picture.image != pictures[picture.name].image
        assert "Synthetic" not in pictures[picture.name].caption


def test_overlap_is_placed_in_the_first_tile(tiles, table):
    overlap = find_overlap(tiles, table)
    assert overlap is not None
    assert (overlap.dx, overlap.dy) == (28, 30)
    assert overlap.share == pytest.approx(100 * 98 / 128**2)


def test_overlap_is_found_in_another_orientation(tmp_path):
    """The second tile is oriented by 1 (a quarter turn) to fit the site."""
    scene = factories.noise_scene(1, 128, 192)
    stored = np.rot90(scene[:, 64:], -1)
    members = {
        "train/cordillera/1.png": factories.png(scene[:, :128]),
        "test/cordillera/2.png": factories.png(np.ascontiguousarray(stored)),
    }
    data_dir = factories.make_data_dir(tmp_path / "data", members)
    with TileSet.read(data_dir) as tiles:
        placed = tiles.table.assign(site=0, x=[0, 64], y=0, orientation=[0, 1])
        assert find_overlap(tiles, placed) is not None
        assert find_overlap(tiles, placed.assign(orientation=0)) is None


def test_tiles_of_two_dates_are_not_an_overlap(tiles, table):
    """They are on one site, but their pixels differ."""
    assert find_overlap(tiles, table.assign(site=0, x=range(0, 60, 10))) is None


def test_without_masks_and_sites_fewer_pictures_are_drawn(tmp_path):
    members = {f"{split}/cordillera/1.png": factories.png(1) for split in ("train", "val", "test")}
    data_dir = factories.make_data_dir(tmp_path / "data", members)
    with TileSet.read(data_dir) as tiles:
        index = make_index(tiles.table.assign(site=range(3), x=0, y=0, orientation=0))
        pictures = draw_pictures(tiles, index, is_sample=False)
    assert [picture.name for picture in pictures] == ["portrait", "splits"]
