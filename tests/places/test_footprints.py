"""Footprints are squares on the map; those that share ground link tiles and join sites."""

from __future__ import annotations

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely

from rock_glacier.places.footprints import (
    find_footprint_pairs,
    footprint_polygons,
    join_sites,
)
from rock_glacier.sites.orientations import INVERSE, oriented

WEST = 431_000
NORTH = 6_313_000


def located(*corners, **columns) -> pd.DataFrame:
    """Tiles with the upper left pixel at (column, row) of a grid; None is not located."""
    x = [np.nan if corner is None else WEST + 10 * corner[0] for corner in corners]
    y = [np.nan if corner is None else NORTH - 10 * corner[1] for corner in corners]
    table = pd.DataFrame({"easting": x, "northing": y, "orientation": 0, "epsg": 32719})
    table["epsg"] = table["epsg"].where(table["easting"].notna())
    types = {"easting": "Float64", "northing": "Float64", "epsg": "Int32"}
    return table.astype(types).assign(**columns)


@pytest.mark.parametrize(
    ("epsg", "easting", "northing"),
    [(32719, 431_000, 6_313_000), (32717, 820_000, 9_990_000), (32719, 800_000, 3_900_000)],
)
def test_footprints_are_squares_in_their_zone(epsg, easting, northing):
    polygons = footprint_polygons([epsg], [easting], [northing])
    square = geopandas.GeoSeries(polygons, crs="EPSG:4326").to_crs(epsg)[0]
    expected = shapely.box(easting, northing - 1280, easting + 1280, northing)
    assert square.hausdorff_distance(expected) < 0.01


def test_footprints_of_several_zones_keep_their_order():
    polygons = footprint_polygons([32719, 32718, 32719], [300_000] * 3, [6_000_000] * 3)
    longitudes = [polygon.centroid.x for polygon in polygons]
    assert longitudes == pytest.approx([-71.22, -77.22, -71.22], abs=0.01)
    assert footprint_polygons([], [], []).shape == (0,)


def test_links_fit_the_pixels_of_stored_tiles():
    ground = np.random.default_rng(0).integers(0, 256, (300, 300))
    corners = [(40, 100), (10, 90), (130, 20), (40, 100), (100, 140)]
    table = located(*corners, orientation=[0, 3, 6, 5, 2])
    north_up = [ground[y : y + 128, x : x + 128] for x, y in corners]
    stored = [oriented(*tile) for tile in zip(north_up, INVERSE[table["orientation"]], strict=True)]
    pairs = find_footprint_pairs(table)
    assert len(pairs) == 10
    for pair in pairs.to_dict("records"):
        canvas = np.full((384, 384), -1)
        canvas[128:256, 128:256] = stored[pair["a"]]
        row = 128 + pair["dy"]
        column = 128 + pair["dx"]
        window = canvas[row : row + 128, column : column + 128]
        is_shared = window >= 0
        assert (window == oriented(stored[pair["b"]], pair["orientation"]))[is_shared].all()
        assert is_shared.sum() == pair["pixels"]


def test_neighbours_that_touch_are_not_pairs():
    pairs = find_footprint_pairs(located((0, 0), (128, 0), (0, 128), (255, 127), None))
    assert pairs[["a", "b", "dx", "dy", "pixels"]].to_numpy().tolist() == [[1, 3, 127, 127, 1]]


def test_zones_are_not_compared():
    table = located(*[(0, 0)] * 4, epsg=[32719, 32718, 32719, 32718])
    assert find_footprint_pairs(table)[["a", "b"]].to_numpy().tolist() == [[0, 2], [1, 3]]
    sites = join_sites(table.assign(site=range(4), block=0, x=0, y=0))
    assert sites["site"].tolist() == [0, 1, 0, 1]


def test_no_located_tile_gives_no_pairs():
    table = located(None, None)
    pairs = find_footprint_pairs(table)
    assert pairs.empty
    assert list(pairs) == ["a", "b", "orientation", "dx", "dy", "pixels"]
    table = table.assign(site=[1, 0], block=0, x=0, y=0)
    assert join_sites(table)["site"].tolist() == [0, 1]


def test_intersecting_sites_become_one_grid():
    corners = [(0, 500), (300, 300), (60, 480), (390, 390), (5000, 0)]
    table = located(*corners, site=[0, 1, 0, 2, 3], block=0)
    table["x"] = np.array([0, 0, 60, 0, 0], np.int32)
    table["y"] = np.array([20, 0, 0, 0, 0], np.int32)
    joined = join_sites(table)
    assert joined["site"].tolist() == [0, 1, 0, 1, 2]
    assert joined["x"].tolist() == [0, 0, 60, 90, 0]
    assert joined["y"].tolist() == [20, 0, 0, 90, 0]
    assert joined["x"].dtype == "int32"


def test_tiles_keep_their_positions_within_their_former_site():
    """One tile of the first site has coordinates that differ; the last two have none."""
    table = located((0, 0), (103, 100), (200, 200), (250, 180), None, None, block=0)
    table["site"] = [0, 0, 0, 1, 0, 2]
    table["x"] = [0, 100, 200, 0, 40, 7]
    table["y"] = [0, 100, 200, 0, 50, 9]
    joined = join_sites(table)
    assert joined["site"].tolist() == [0, 0, 0, 0, 0, 1]
    assert joined["x"].tolist() == [0, 100, 200, 250, 40, 7]
    assert joined["y"].tolist() == [0, 100, 200, 180, 50, 9]


def test_blocks_of_joined_sites_stay_distinct():
    """Of the blocks of two sites, only those that share ground become one."""
    corners = [(9000, 0), (9500, 0), (0, 0), (1000, 0), (1050, 0), (2000, 0)]
    table = located(*corners, site=[0, 0, 1, 1, 2, 2], block=[1, 0, 1, 0, 0, 1], x=0, y=0)
    joined = join_sites(table)
    assert joined["site"].tolist() == [0, 0, 1, 1, 1, 1]
    assert joined["block"].tolist() == [1, 0, 0, 1, 1, 2]


def test_joined_sites_agree_with_their_footprints():
    """Random tiles in random sites: the pixels between tiles of a site are those on the map."""
    rng = np.random.default_rng(1)
    corners = rng.integers(0, 1500, (60, 2))
    site = rng.integers(0, 20, 60)
    table = located(*corners, site=site, block=0)
    positions = pd.DataFrame(corners, columns=["x", "y"])
    table[["x", "y"]] = positions - positions.groupby(site).transform("min")
    joined = join_sites(table)
    pairs = find_footprint_pairs(table)
    assert (joined["site"].to_numpy()[pairs["a"]] == joined["site"].to_numpy()[pairs["b"]]).all()
    assert joined["site"].nunique() < table["site"].nunique()
    expected = positions - positions.groupby(joined["site"].to_numpy()).transform("min")
    assert (joined[["x", "y"]].to_numpy() == expected.to_numpy()).all()
