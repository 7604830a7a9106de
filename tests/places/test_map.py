"""The map: panels, colours, places and texts."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pyproj
import pytest
from PIL import Image, ImageColor

from rock_glacier.index import make_index
from rock_glacier.places.map import SPLIT_COLOURS, draw_map
from rock_glacier.sites.orientations import INVERSE, oriented

EASTING = 420_000.0
NORTHING = 6_310_000.0

LEFT_HALF = np.zeros((128, 128), np.uint8)
LEFT_HALF[:, :64] = 1


def make_tiles(eastings, *, splits="train", shares=0.0, epsgs=32719, orientations=0):
    """Return an index of tiles side by side; a tile without an easting is not located."""
    table = pd.DataFrame({"easting": eastings, "northing": NORTHING})
    table = table.astype(float).assign(split=splits, mask_share=shares, epsg=epsgs)
    table.loc[table["easting"].isna(), "epsg"] = None
    to_degrees = pyproj.Transformer.from_crs("EPSG:32719", "EPSG:4326", always_xy=True)
    table["longitude"], table["latitude"] = to_degrees.transform(
        table["easting"], table["northing"]
    )
    table["label"] = "glaciar"
    table["path"] = [f"{split}/glaciar/{number}.png" for number, split in table["split"].items()]
    table["orientation"] = orientations
    return make_index(table.assign(site=0, x=0, y=0))


def draw(index, masks=None):
    if masks is None:
        masks = np.zeros((len(index), 128, 128), np.uint8)
    return draw_map(index, masks)


def to_pixels(drawn):
    file = io.BytesIO()
    drawn.figure.savefig(file, metadata={"Software": None})
    return np.asarray(Image.open(file).convert("RGB")).astype(int)


def colours_at(drawn, eastings):
    """Return the colours of places on the first panel, halfway down the tiles."""
    pixels = to_pixels(drawn)
    places = [(easting, NORTHING - 640) for easting in eastings]
    x, y = drawn.figure.axes[0].transData.transform(places).T
    return pixels[np.rint(len(pixels) - y).astype(int), np.rint(x).astype(int)]


def test_without_located_tiles_there_is_no_map():
    assert draw(make_tiles([None, None])) is None


@pytest.mark.parametrize(("gap", "panels"), [(4_900, 1), (5_100, 2)])
def test_distant_tiles_have_panels_of_their_own(gap, panels):
    drawn = draw(make_tiles([EASTING, EASTING + 1_280 + gap]))
    assert len(drawn.figure.axes) == panels


def test_zones_have_panels_of_their_own():
    drawn = draw(make_tiles([EASTING, EASTING], epsgs=[32718, 32719]))
    assert len(drawn.figure.axes) == 2


def test_a_large_region_has_a_detail():
    drawn = draw(make_tiles(np.arange(EASTING, EASTING + 20_000, 1_000), shares=0.5))
    assert [axes.get_title("left") for axes in drawn.figure.axes] == ["20 tiles", "Detail"]


def test_the_largest_regions_are_shown():
    eastings = [EASTING + 10_000 * number for number in range(8)]
    drawn = draw(make_tiles([*eastings, *eastings[2:], None]))
    assert [axes.get_title("left") for axes in drawn.figure.axes] == ["2 tiles"] * 6
    assert "2 smaller regions with 2 tiles" in drawn.caption
    assert "Not located: 1 tile." in drawn.caption


def test_footprints_have_the_colour_of_their_split():
    splits = ["train", "validation", "test"]
    index = make_tiles([EASTING + 2_000 * number for number in range(3)], splits=splits)
    drawn = draw(index)
    for tile, colour in zip(index.itertuples(), colours_at(drawn, index["easting"]), strict=True):
        expected = ImageColor.getrgb(SPLIT_COLOURS[tile.split])
        assert np.abs(colour - expected).max() < 80
        assert f"1 {tile.split}" in drawn.alt


# In a region of 50 km, only every second pixel of the masks is read.
@pytest.mark.parametrize(("length", "orientation"), [(1, 0), (1, 3), (11, 6)])
def test_rock_glaciers_are_drawn_at_their_place(length, orientation):
    eastings = EASTING + 5_010 * np.arange(length)
    index = make_tiles(eastings, shares=0.5, orientations=orientation)
    mask = oriented(LEFT_HALF, INVERSE[orientation])
    drawn = draw(index, np.repeat(mask[None], length, axis=0))
    ends = eastings[[0, -1]]
    assert (colours_at(drawn, ends + 400) < colours_at(drawn, ends + 900) - 20).all()


def test_rock_glaciers_are_what_most_masks_show():
    masks = np.stack([np.ones_like(LEFT_HALF), LEFT_HALF, LEFT_HALF])
    drawn = draw(make_tiles([EASTING] * 3, shares=0.5), masks)
    dark, light = colours_at(drawn, [EASTING + 400, EASTING + 900])
    assert (dark < light - 20).all()


def test_labels_of_the_graticule_are_at_their_place():
    drawn = draw(make_tiles([EASTING, EASTING + 4_000]))
    [axes] = drawn.figure.axes
    to_degrees = pyproj.Transformer.from_crs("EPSG:32719", "EPSG:4326", always_xy=True)
    bottom, left = axes.get_ylim()[0], axes.get_xlim()[0]
    for x, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True):
        longitude, _ = to_degrees.transform(x, bottom)
        assert label.get_text() == f"{-longitude:.2f}° W"
        assert round(longitude, 2) == pytest.approx(longitude, abs=1e-5)
    for y, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True):
        _, latitude = to_degrees.transform(left, y)
        assert label.get_text() == f"{-latitude:.2f}° S"
    assert len(axes.get_xticks()) > 1
    assert len(axes.get_yticks()) > 1


def test_the_same_tiles_give_the_same_picture():
    index = make_tiles([EASTING, EASTING + 1_000], splits=["train", "test"], shares=0.5)
    masks = np.stack([LEFT_HALF, LEFT_HALF])
    first, second = to_pixels(draw(index, masks)), to_pixels(draw(index, masks))
    # Versions of matplotlib round sizes differently.
    assert first.shape[1] in (1639, 1640)
    assert np.array_equal(first, second)
