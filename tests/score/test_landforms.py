"""Rock glaciers drawn by hand are found, matched and measured as expected."""

from __future__ import annotations

import itertools

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from scipy import ndimage

from rock_glacier.score.landforms import find_landforms, tabulate
from rock_glacier.score.metrics import prediction_statistic, rock_glacier_statistic

TWO = ("20:40, 20:40", "20:40, 44:64")  # rows, columns of two rock glaciers with a gap
BOTH = "20:40, 20:64"


def scene(*areas, shape=(128, 128)):
    """Return a scene with rock glaciers: each is given by its rows and columns."""
    drawn = np.zeros(shape)
    for area in areas:
        rows, columns = (slice(*map(int, part.split(":"))) for part in area.split(","))
        drawn[rows, columns] = 1
    return drawn


@pytest.fixture
def find(cut):
    """Return a function that finds the rock glaciers of a site that one tile shows."""

    def run(true, predicted):
        [mosaic] = cut((0, 0, 0, 0)).mosaics([true], [predicted])
        return find_landforms(mosaic)

    return run


def metrics_of(*landforms):
    true = pd.concat([item.true for item in landforms])
    predicted = pd.concat([item.predicted for item in landforms])
    units = tabulate(true, predicted)
    true_units = units[units["rock_glaciers"] > 0]
    result = rock_glacier_statistic(true_units)(np.ones((1, len(true_units))))
    result |= prediction_statistic(units)(np.ones((1, len(units))))
    return {name: value[0] for name, value in result.items()}


def test_two_rock_glaciers_in_one_prediction(find):
    landforms = find(scene(*TWO), scene(BOTH))
    assert sorted(landforms.true["iou"]) == [0, 400 / 880]
    assert landforms.true["found_pixels"].tolist() == [400, 400]
    assert landforms.predicted["right_pixels"].tolist() == [800]
    result = metrics_of(landforms)
    assert (result["landform_recall_50"], result["landform_precision_50"]) == (0, 0)
    assert (result["landform_recall_25"], result["landform_precision_25"]) == (0.5, 1)
    assert result["area_users_accuracy"] == pytest.approx(800 / 880)
    assert result["area_producers_accuracy"] == 1


def test_one_rock_glacier_in_two_predictions(find):
    landforms = find(scene(BOTH), scene(*TWO))
    assert landforms.true["iou"].tolist() == [400 / 880]
    assert sorted(landforms.predicted["iou"]) == [0, 400 / 880]
    assert landforms.predicted["owner"].tolist() == [1, 1]
    result = metrics_of(landforms)
    assert (result["landform_recall_50"], result["landform_precision_50"]) == (0, 0)
    assert (result["landform_recall_25"], result["landform_precision_25"]) == (1, 0.5)
    assert result["area_users_accuracy"] == 1
    assert result["area_producers_accuracy"] == pytest.approx(800 / 880)


def test_a_prediction_without_a_rock_glacier(find):
    near, far = TWO[0], "90:100, 100:120"
    landforms = find(scene(*TWO), scene(near, far))
    assert landforms.predicted["iou"].tolist() == [1, 0]
    assert landforms.predicted["right_pixels"].tolist() == [400, 0]
    assert landforms.predicted["owner"].tolist() == [1, 2]  # the second rock glacier is nearer
    result = metrics_of(landforms)
    assert (result["landform_recall_50"], result["landform_precision_50"]) == (0.5, 0.5)
    assert result["area_users_accuracy"] == pytest.approx(400 / 600)


def test_predictions_at_a_site_without_rock_glacier_are_one_unit(find):
    landforms = find(scene(), scene(*TWO))
    units = tabulate(landforms.true, landforms.predicted)
    assert units.index.tolist() == [(0, 0)]
    assert units.loc[(0, 0), ["rock_glaciers", "predictions", "predicted_pixels"]].tolist() == [
        0,
        2,
        800,
    ]
    result = metrics_of(landforms)
    assert result["landform_precision_25"] == result["area_users_accuracy"] == 0
    assert np.isnan(result["landform_recall_25"])


def test_nothing_true_and_nothing_predicted(find):
    result = metrics_of(find(scene(), scene()))
    assert all(np.isnan(value) for value in result.values())


def test_centre_and_size(find):
    landforms = find(scene("10:20, 30:70"), scene())
    [row] = landforms.true.to_dict("records")
    assert (row["pixels"], row["x"], row["y"]) == (400, 50, 15)
    assert np.isnan(row["longitude"])


def test_pixels_that_touch_at_a_corner_are_connected(find):
    landforms = find(scene("10:20, 10:20", "20:30, 20:30"), scene())
    assert landforms.true["pixels"].tolist() == [200]


def test_rock_glaciers_at_the_edge_of_the_covered_ground(cut):
    """The edge between two tiles of a site is not an edge; the missing corner is one."""
    tiles = cut((0, 0, 0, 0), (0, 128, 0, 1), (0, 0, 128, 2))
    areas = ["40:60, 110:150", "0:20, 30:40", "110:128, 200:210", "65:127, 60:100"]
    true = scene(*areas, shape=(256, 256))
    [mosaic] = tiles.mosaics([true], [true])
    landforms = find_landforms(mosaic)
    by_size = landforms.true.set_index("pixels")["is_at_edge"].to_dict()
    assert by_size == {800: False, 200: True, 180: True, 62 * 40: False}
    assert landforms.predicted["is_at_edge"].tolist() == landforms.true["is_at_edge"].tolist()


@pytest.mark.parametrize("seed", range(8))
def test_matches_have_the_largest_sum_of_iou(find, seed):
    """All ways to match are tried."""
    generator = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(generator.normal(size=(3, 128, 128)), (0, 9, 9))
    true = noise[0] + 0.6 * noise[2] > 0.02
    predicted = noise[1] + 0.6 * noise[2] > 0.02
    landforms = find(true, predicted)
    objects = [
        [ndimage.label(mask, np.ones((3, 3)))[0] == label + 1 for label in range(len(table))]
        for mask, table in ((true, landforms.true), (predicted, landforms.predicted))
    ]
    iou = np.array([[(a & b).sum() / (a | b).sum() for b in objects[1]] for a in objects[0]])
    iou = iou if iou.shape[0] <= iou.shape[1] else iou.T
    columns = range(iou.shape[1])
    best = max(
        iou[range(len(chosen)), chosen].sum()
        for chosen in map(list, itertools.permutations(columns, iou.shape[0]))
    )
    assert 1 < iou.size < 100
    assert landforms.true["iou"].sum() == pytest.approx(best)
    assert landforms.predicted["iou"].sum() == pytest.approx(best)


def test_distance_between_boundaries(find):
    """Compared with all distances between pixels of the boundaries."""
    true = scene("20:60, 30:70", "50:80, 60:75")
    predicted = scene("24:66, 27:69", "50:120, 50:85")

    def boundary(area):
        rows, columns = np.nonzero(area)
        return [
            (row, column)
            for row, column in zip(rows, columns, strict=True)
            if not all(
                area[row + down, column + right]
                for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0))
            )
        ]

    first, second = np.array(boundary(true)), np.array(boundary(predicted))
    distances = np.linalg.norm(first[:, None] - second[None], axis=2)
    expected = 10 * np.median(np.concatenate([distances.min(0), distances.min(1)]))
    assert expected != 10 * np.median(distances.min(1))
    landforms = find(true, predicted)
    assert landforms.true["distance"].tolist() == [pytest.approx(expected)]
    assert metrics_of(landforms)["boundary_distance_m"] == pytest.approx(expected)


def test_the_edge_of_the_covered_ground_is_not_a_boundary(cut, find):
    landforms = find(scene("0:128, 0:50"), scene("0:128, 0:54"))
    assert landforms.true["distance"].tolist() == [40]
    assert np.isnan(find(scene("0:128, 0:128"), scene("0:128, 0:128")).true["distance"][0])
    # The ground below the first tile is not covered, although it is within the mosaic.
    shape = (228, 228)
    areas = scene("96:128, 0:100", shape=shape), scene("92:128, 0:100", shape=shape)
    [mosaic] = cut((0, 0, 0, 0), (0, 100, 100, 0)).mosaics([areas[0]], [areas[1]])
    assert find_landforms(mosaic).true["distance"].tolist() == [40]


def test_the_median_distance_is_that_of_drawn_rock_glaciers():
    generator = np.random.default_rng(0)
    distances = np.array([30.0, np.nan, 10, 20, 20, np.nan, 70])
    units = pd.DataFrame({"distance": distances}, pd.Index(range(7)))
    units[["found_50", "found_25", "true_pixels", "found_pixels"]] = 1
    weights = generator.integers(0, 3, (40, 7))
    weights[0] = 0
    result = rock_glacier_statistic(units)(weights.astype(float))["boundary_distance_m"]
    assert np.isnan(result[0])
    expected = [np.nanmedian(np.repeat(distances, times)) for times in weights[1:]]
    np.testing.assert_array_equal(result[1:], expected)


@pytest.fixture
def located(cut):
    """A site of two tiles at 400,000 m east, 6,300,000 m north, and another without location.

    The mosaic of the first site has 168 rows and 228 columns; two of its corners are not covered.
    """
    rows = [(0, 0, 0, 0), (0, 100, 40, 3), (1, 0, 0, 0)]
    easting = [4e5, 4e5 + 1000, np.nan]
    northing = [6.3e6, 6.3e6 - 400, np.nan]
    return cut(*rows, epsg=32719, easting=easting, northing=northing)


def outlines_of(**boxes):
    """Return outlines in WGS 84 from boxes west, south, east, north, in pixels of the grid."""
    shapes = [
        shapely.box(4e5 + 10 * west, 6.3e6 - 10 * south, 4e5 + 10 * east, 6.3e6 - 10 * north)
        for west, south, east, north in boxes.values()
    ]
    return geopandas.GeoDataFrame({"name": [*boxes]}, geometry=shapes, crs=32719).to_crs(4326)


def test_outlines_are_the_rock_glaciers_of_located_sites(located):
    """They are clipped to the covered ground; pixels count if their centres are within."""
    shape = (168, 228)
    outlines = outlines_of(
        far=(900, 10, 950, 0),
        inside=(9.6, 30.4, 40.4, 9.6),
        cut=(200, 70, 240, 60),
        corner=(120, 50, 138, 35),
    )
    true = [scene(shape=shape), scene(TWO[0])]
    predicted = [scene("10:30, 10:40", shape=shape), scene()]
    first, second = (
        find_landforms(mosaic, outlines) for mosaic in located.mosaics(true, predicted)
    )
    table = first.true.set_index("outline")
    assert table["pixels"].to_dict() == {"inside": 600, "cut": 280, "corner": 8 * 15 + 10 * 10}
    assert table["is_at_edge"].to_dict() == {"inside": False, "cut": True, "corner": True}
    assert table["iou"].to_dict() == {"inside": 1, "cut": 0, "corner": 0}
    assert first.predicted["right_pixels"].tolist() == [600]
    assert second.true["outline"].tolist() == [""]
    assert second.true["pixels"].tolist() == [400]


def test_overlapping_outlines_leave_their_pixels_to_the_smallest(located):
    """Whatever their order, so an outline within another is not lost."""
    empty = scene(shape=(168, 228))
    first, _ = located.mosaics([empty, scene()], [empty, scene()])
    inner = (20, 40, 30, 30)
    outer = (10, 50, 50, 20)
    for names in (("a", "b"), ("b", "a")):
        outlines = outlines_of(**dict(zip(names, (inner, outer), strict=True)))
        true = find_landforms(first, outlines.sort_values("name")).true
        assert true["outline"].tolist() == ["a", "b"]
        assert true.set_index("outline")["pixels"].loc[list(names)].tolist() == [100, 1100]


def test_centres_of_located_rock_glaciers(located):
    empty = scene(shape=(168, 228))
    first, second = located.mosaics(
        [scene("10:30, 10:40", shape=(168, 228)), scene()], [empty, scene()]
    )
    true = find_landforms(first).true
    point = geopandas.points_from_xy(true["longitude"], true["latitude"], crs=4326).to_crs(32719)
    assert (point.x[0], point.y[0]) == pytest.approx((4e5 + 250, 6.3e6 - 200), abs=0.01)
    assert second.grid is None
