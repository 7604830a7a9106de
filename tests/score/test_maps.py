"""Maps of predictions are read back at the right place with geopandas and rasterio."""

from __future__ import annotations

import dataclasses

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import rasterio.features
import shapely
from factories import run_command
from PIL import Image
from scipy import ndimage

from rock_glacier.faults import InputError
from rock_glacier.score.evaluation import evaluate
from rock_glacier.score.maps import write_map
from rock_glacier.score.predictions import Predictions
from rock_glacier.score.truth import load_truth
from rock_glacier.synthetic import make_sample

CONFIG = "image-segmentation"


@pytest.fixture(scope="module")
def sample_dir(tmp_path_factory):
    """A sample with the true index."""
    folder = tmp_path_factory.mktemp("maps") / "sample"
    make_sample(folder, train=2, validation=2, test=16, overlap=0.7, outlines=True)
    (folder / "true_tiles.parquet").rename(folder / "tiles.parquet")
    return folder


@pytest.fixture(scope="module")
def truth(sample_dir):
    return load_truth(CONFIG, "test", data_dir=str(sample_dir))


@pytest.fixture(scope="module")
def evaluation(truth):
    """The scores of the true masks."""
    return evaluate(Predictions("masks", truth.paths, 255 * truth.values), truth)


def change_index(evaluation, rows, **values):
    """Return an evaluation whose index has other values in some rows."""
    index = evaluation.truth.index.copy()
    for name, value in values.items():
        index.loc[rows, name] = value
    truth = dataclasses.replace(evaluation.truth, index=index)
    return dataclasses.replace(evaluation, truth=truth)


def read_map(file):
    return geopandas.read_parquet(file) if file.suffix == ".parquet" else geopandas.read_file(file)


@pytest.fixture(scope="module")
def outlines(sample_dir):
    return geopandas.read_file(sample_dir / "outlines.geojson").to_crs(32719)


@pytest.fixture(scope="module")
def footprints(sample_dir):
    index = geopandas.read_parquet(sample_dir / "tiles.parquet").to_crs(32719)
    return index.geometry[index["split"] == "test"]


@pytest.mark.parametrize(
    ("name", "epsg"), [("a.gpkg", 32719), ("a.parquet", 32719), ("a.geojson", 4326)]
)
def test_polygons_are_the_outlines_to_within_a_pixel(
    evaluation, outlines, footprints, tmp_path, name, epsg
):
    write_map(evaluation, tmp_path / name)
    polygons = read_map(tmp_path / name)
    assert polygons.crs.to_epsg() == epsg
    assert polygons.is_valid.all()
    area = polygons.to_crs(32719).union_all()
    difference = area ^ (outlines.union_all() & footprints.union_all())
    assert difference.buffer(-5.1).is_empty  # nowhere wider than a pixel of 10 m
    assert polygons["area_km2"].sum() == pytest.approx(area.area / 1e6, rel=0.001)
    assert (polygons[["score", "iou", "overlap"]] == 1).all(axis=None)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_the_raster_holds_the_masks_at_their_places(evaluation, outlines, footprints, tmp_path):
    """The sample spans 500 km, so only the surroundings of each tile are read."""
    write_map(evaluation, tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as raster:
        assert raster.crs.to_epsg() == 32719
        assert raster.transform.a == -raster.transform.e == 10
        assert raster.transform.c % 10 == raster.transform.f % 10 == 0
        for footprint in footprints:
            window = raster.window(*footprint.buffer(300).bounds)
            scores = raster.read(1, window=window, boundless=True)
            grid = {"out_shape": scores.shape, "transform": raster.window_transform(window)}
            covered = rasterio.features.rasterize(footprints, **grid)
            np.testing.assert_array_equal(np.isfinite(scores), covered == 1)
            known = rasterio.features.rasterize(outlines.geometry, **grid)
            np.testing.assert_array_equal(np.nan_to_num(scores), known & covered)


def test_a_raster_keeps_a_site_within_the_rectangle_of_another(cut, tmp_path):
    """Two tiles of a site touch at a corner; a tile of another site is next to both."""
    easting = np.array([4e5, 4e5 + 1280, 4e5 + 1280])
    northing = np.array([6.3e6, 6.3e6 - 1280, 6.3e6])
    for sites in ([0, 0, 1], [1, 1, 0]):
        rows = [(sites[0], 0, 0, 0), (sites[1], 128, 128, 0), (sites[2], 0, 0, 0)]
        tiles = cut(*rows, epsg=32719, easting=easting, northing=northing)
        truth = tiles.truth(np.zeros((256, 256)), np.zeros((256, 256)))
        values = np.stack([np.full((128, 128), value, np.uint8) for value in (51, 102, 153)])
        evaluation = evaluate(Predictions("scores", truth.paths, values), truth)
        write_map(evaluation, tmp_path / "a.tif")
        with rasterio.open(tmp_path / "a.tif") as raster:
            corners = raster.read(1)[[0, 255, 0, 255], [0, 255, 255, 0]]
        np.testing.assert_allclose(corners, [0.2, 0.4, 0.6, np.nan], rtol=1e-6)


def test_the_command_compares_polygons_with_given_outlines(truth, outlines, sample_dir, tmp_path):
    for path, mask in zip(truth.paths, truth.values, strict=True):
        file = tmp_path / "masks" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(file)
    outlines[1:].to_file(tmp_path / "outlines.gpkg")
    arguments = ("--name", CONFIG, "--data-dir", sample_dir, "--map", tmp_path / "a.gpkg")
    given = ("--outlines", tmp_path / "outlines.gpkg")
    assert run_command("score", tmp_path / "masks", *arguments, *given) == 0
    polygons = read_map(tmp_path / "a.gpkg")
    is_known = polygons.representative_point().within(outlines[1:].union_all())
    assert is_known.sum() == len(polygons) - 1
    assert (polygons["overlap"] > 0.9).tolist() == is_known.tolist()
    assert (polygons["overlap"] == 0).tolist() == (~is_known).tolist()


def test_parts_that_touch_at_a_corner_are_one_valid_polygon(truth, tmp_path):
    values = np.zeros_like(truth.values)
    values[0, 40:50, 40:50] = values[0, 50:60, 50:60] = 255
    write_map(evaluate(Predictions("masks", truth.paths, values), truth), tmp_path / "a.parquet")
    polygons = read_map(tmp_path / "a.parquet")
    assert polygons.geometry.is_valid.all()
    tile = truth.index.iloc[0]
    corner = shapely.Point(tile["easting"], tile["northing"])
    assert (polygons.distance(corner) < 1280 * 2**0.5).all()
    assert polygons["area_km2"].max() <= 0.02


def test_polygons_state_how_they_fit_the_truth(truth, tmp_path):
    """Predictions within the truth overlap it completely, but their IoU is less than 1."""
    inside = ndimage.binary_erosion(truth.values, np.ones((1, 9, 9)), border_value=1)
    scores = Predictions("scores", truth.paths, (204 * inside).astype(np.uint8))
    evaluation = evaluate(scores, truth)
    write_map(evaluation, tmp_path / "a.parquet")
    polygons = read_map(tmp_path / "a.parquet")
    assert (polygons["overlap"] == 1).all()
    found = polygons[polygons["iou"] > 0]
    assert (found["iou"] < 0.95).all()
    assert sorted(found["iou"]) == sorted(evaluation.rock_glaciers["iou"])
    assert polygons["score"].max() == pytest.approx(0.8)


def test_polygons_in_two_zones_are_in_degrees(evaluation, tmp_path):
    rows = evaluation.truth.index["site"] == evaluation.rock_glaciers["site"][0]
    changed = change_index(evaluation, rows, epsg=32718)
    write_map(changed, tmp_path / "a.gpkg")
    polygons = read_map(tmp_path / "a.gpkg")
    assert polygons.crs.to_epsg() == 4326
    longitudes = polygons.representative_point().x
    assert longitudes.min() < -74 < longitudes.max()
    with pytest.raises(InputError, match=r"a\.tif"):
        write_map(changed, tmp_path / "a.tif")
    assert [file.name for file in tmp_path.iterdir()] == ["a.gpkg"]


def test_sites_without_location_are_not_on_the_map(evaluation, tmp_path):
    sites = evaluation.rock_glaciers["site"].unique()
    rows = evaluation.truth.index["site"] == sites[0]
    changed = change_index(evaluation, rows, easting=pd.NA, northing=pd.NA, epsg=pd.NA)
    write_map(changed, tmp_path / "a.parquet")
    assert set(read_map(tmp_path / "a.parquet")["site"]) == set(sites[1:])


@pytest.mark.parametrize("name", ["a.gpkg", "a.parquet"])
def test_a_map_without_predictions_has_columns_and_no_rows(truth, tmp_path, name):
    nothing = Predictions("masks", truth.paths, 0 * truth.values)
    write_map(evaluate(nothing, truth), tmp_path / name)
    polygons = read_map(tmp_path / name)
    assert list(polygons) == ["site", "score", "area_km2", "iou", "overlap", "geometry"]
    assert polygons.empty


@pytest.mark.parametrize("name", ["a.gpkg", "a.geojson", "a.parquet", "a.tif"])
def test_the_same_predictions_give_the_same_bytes(evaluation, tmp_path, name):
    write_map(evaluation, tmp_path / name)
    first = (tmp_path / name).read_bytes()
    write_map(evaluation, tmp_path / name)
    assert (tmp_path / name).read_bytes() == first
