"""The pictures of the card."""

from __future__ import annotations

import factories
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rock_glacier.hub.pictures import draw_pictures
from rock_glacier.index import make_index
from rock_glacier.parallel import Workers
from rock_glacier.places.map import WIDTH
from rock_glacier.sites import find_sites
from rock_glacier.tiles import TileSet


def draw(data_dir, folder, *, is_sample=False):
    """Draw the pictures of a folder of archives, and return them by name."""
    folder.mkdir()
    with TileSet.read(data_dir, Workers(1)) as tiles:
        sites = find_sites(tiles, Workers(1), matches=False)
        index = make_index(pd.concat([tiles.table, sites.table], axis=1))
        pictures = draw_pictures(tiles, index, sites.pairs, folder, is_sample=is_sample)
    return {picture.name: picture for picture in pictures}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures") / "assets"


@pytest.fixture(scope="module")
def pictures(overlapping, folder):
    return draw(overlapping, folder)


def test_there_is_a_picture_of_each_subject(pictures):
    assert list(pictures) == ["tiles", "example", "overlap"]


def test_pictures_have_one_width_and_are_not_blank(pictures, folder):
    for picture in pictures.values():
        image = Image.open(folder / picture.file_name).convert("RGB")
        assert abs(image.width - WIDTH) <= 1  # versions of matplotlib round differently
        assert 400 < image.height <= 900
        assert np.asarray(image).std() > 20


def test_located_tiles_have_a_map(overlapping, tmp_path):
    with TileSet.read(overlapping, Workers(1)) as tiles:
        sites = find_sites(tiles, Workers(1), matches=False)
        table = pd.concat([tiles.table, sites.table], axis=1)
        table = table.assign(epsg=32719, easting=420_000, northing=6_310_000)
        index = make_index(table.assign(longitude=-69.8, latitude=-33.3))
        picture = draw_pictures(tiles, index, sites.pairs, tmp_path, is_sample=True)[0]
    assert picture.name == "map"
    assert "6 tiles (2 train, 2 validation, 2 test)" in picture.alt
    assert "Synthetic sample" in picture.caption
    assert abs(Image.open(tmp_path / picture.file_name).width - WIDTH) <= 1


def test_texts_name_what_is_shown(pictures):
    for picture in pictures.values():
        assert len(picture.alt) > 50
        assert picture.to_markdown().startswith(f"![{picture.alt}](assets/{picture.file_name})")
    assert "3 tiles of class cordillera" in pictures["tiles"].alt
    assert "test/cordillera/2.png" in pictures["overlap"].caption
    assert "60 %" in pictures["overlap"].caption
    assert "50 %" in pictures["example"].caption
    assert "among 0 other tiles" in pictures["example"].alt


def test_pictures_of_a_sample_are_marked_as_synthetic(overlapping, pictures, folder, tmp_path):
    for picture in draw(overlapping, tmp_path / "assets", is_sample=True).values():
        assert "Synthetic sample" in picture.alt
        assert "Synthetic sample" in picture.caption
        image = (tmp_path / "assets" / picture.file_name).read_bytes()
        assert image != (folder / picture.file_name).read_bytes()
        assert "Synthetic" not in pictures[picture.name].caption


def test_an_overlap_within_a_split_is_shown_if_there_is_no_other(tmp_path):
    scene = factories.noise_scene(1, 128, 192)
    members = {
        "train/cordillera/1.png": factories.png(scene[:, :128]),
        "train/cordillera/2.png": factories.png(np.rot90(scene[:, 64:])),
    }
    data_dir = factories.make_data_dir(tmp_path / "data", members)
    pictures = draw(data_dir, tmp_path / "assets")
    assert list(pictures) == ["tiles", "overlap"]
    assert "50 %" in pictures["overlap"].caption


def test_without_masks_and_sites_fewer_pictures_are_drawn(tmp_path):
    members = {f"{split}/cordillera/1.png": factories.png(1) for split in ("train", "val", "test")}
    members |= {"val/cordillera/1.png": factories.png(2), "test/cordillera/1.png": factories.png(3)}
    data_dir = factories.make_data_dir(tmp_path / "data", members)
    assert list(draw(data_dir, tmp_path / "assets")) == ["tiles"]
