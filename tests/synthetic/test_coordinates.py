"""Samples with coordinates: outlines, footprints and the true index agree with the masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import factories
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from rock_glacier.index import make_index, read_index
from rock_glacier.masks import mask_to_class_indices
from rock_glacier.png import decode_tile
from rock_glacier.sites.orientations import oriented
from rock_glacier.synthetic import make_sample
from rock_glacier_dataset import mask_path

geopandas = pytest.importorskip("geopandas")
rasterio = pytest.importorskip("rasterio")
features = pytest.importorskip("rasterio.features")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """A sample with shared and other scenes, and its truth."""
    out = tmp_path_factory.mktemp("coordinates") / "sample"
    truth = make_sample(out, train=60, validation=8, test=12, overlap=0.5, seed=2, outlines=True)
    return out, truth


@pytest.fixture(scope="module")
def outlines(made: tuple[Path, pd.DataFrame]) -> Any:
    """The outlines of the sample, in its UTM zone."""
    return geopandas.read_file(made[0] / "outlines.geojson").to_crs(32719)


def rasterise(outlines: Any, tile: Any) -> npt.NDArray[np.int32]:
    """Rasterise outlines on the ground of a tile: 1 for the first outline, and so on, or 0."""
    transform = rasterio.Affine(10, 0, tile.easting, 0, -10, tile.northing)
    numbered = zip(outlines.geometry, range(1, len(outlines) + 1), strict=True)
    return features.rasterize(numbered, (128, 128), transform=transform, dtype="int32")


def test_outlines_cover_what_the_masks_show(made: tuple[Path, pd.DataFrame], outlines: Any) -> None:
    folder, truth = made
    members = factories.read_members(folder)
    rows: Any = truth.itertuples()
    for tile in rows:
        covered = rasterise(outlines, tile)
        names = [outlines["name"][number - 1] for number in np.unique(covered) if number]
        assert tile.outlines == names
        if tile.label == "cordillera":
            assert not names
        else:
            mask = decode_tile(members[mask_path(tile.path)], tile.path)
            shown = mask_to_class_indices(oriented(mask, tile.orientation))
            np.testing.assert_array_equal(covered > 0, shown)


def test_outlines_are_valid_geojson(made: tuple[Path, pd.DataFrame], outlines: Any) -> None:
    """RFC 7946: WGS 84 without saying so, and exterior rings run counterclockwise."""
    content = json.loads((made[0] / "outlines.geojson").read_text())
    assert content["type"] == "FeatureCollection"
    assert "crs" not in content
    assert outlines["name"].tolist() == [f"synthetic_{n}" for n in range(1, len(outlines) + 1)]
    assert outlines.is_valid.all()
    assert outlines.exterior.is_ccw.all()


def test_true_index_has_the_truth(made: tuple[Path, pd.DataFrame]) -> None:
    folder, truth = made
    index = read_index(folder / "true_tiles.parquet")
    pd.testing.assert_frame_equal(index, make_index(truth))
    by_outlines = index["located_by"] == "outlines"
    assert (by_outlines == (index["label"] == "glaciar")).all()
    assert (index["located_by"][~by_outlines] == "site").all()
    assert (index["epsg"] == 32719).all()
    assert (index["easting"] % 10 == 0).all()
    assert (index["northing"] % 10 == 0).all()


def test_footprints_are_squares_around_their_centres(made: tuple[Path, pd.DataFrame]) -> None:
    tiles = geopandas.read_parquet(made[0] / "true_tiles.parquet")
    bounds = tiles.to_crs(32719).bounds
    np.testing.assert_allclose(bounds["minx"], tiles["easting"].astype(float), atol=0.1)
    np.testing.assert_allclose(bounds["maxy"], tiles["northing"].astype(float), atol=0.1)
    np.testing.assert_allclose(bounds["maxx"] - bounds["minx"], 1280, atol=0.1)
    np.testing.assert_allclose(bounds["maxy"] - bounds["miny"], 1280, atol=0.1)
    centres = geopandas.points_from_xy(tiles["longitude"], tiles["latitude"], crs=4326)
    centres = geopandas.GeoSeries(centres).to_crs(32719)
    assert tiles.to_crs(32719).centroid.distance(centres).max() < 0.1


def test_positions_in_a_site_are_positions_on_the_map(made: tuple[Path, pd.DataFrame]) -> None:
    truth = made[1]
    west = truth["easting"] - 10 * truth["x"]
    north = truth["northing"] + 10 * truth["y"]
    assert (west.groupby(truth["site"]).nunique() == 1).all()
    assert (north.groupby(truth["site"]).nunique() == 1).all()


def test_scenes_are_apart_and_in_all_zones(made: tuple[Path, pd.DataFrame]) -> None:
    tiles = geopandas.read_parquet(made[0] / "true_tiles.parquet")
    sites = tiles.dissolve("site").to_crs(32719)
    distances = np.array([sites.distance(site).to_numpy() for site in sites.geometry])
    assert distances[~np.eye(len(sites), dtype=bool)].min() >= 500
    assert set(tiles["latitude"].round()) == {-28, -29, -33}


def test_cordillera_tiles_share_ground_with_glaciar_tiles(
    made: tuple[Path, pd.DataFrame],
) -> None:
    """Such tiles are located through their site; they show no rock glacier."""
    tiles = geopandas.read_parquet(made[0] / "true_tiles.parquet")
    glaciar = tiles[tiles["label"] == "glaciar"]
    both = tiles[tiles["site"].isin(glaciar["site"])]
    cordillera = both[both["label"] == "cordillera"]
    pairs = cordillera.sjoin(glaciar, predicate="overlaps")
    assert len(cordillera) == 5
    assert set(pairs.index) == set(cordillera.index)
    assert (pairs["site_left"] == pairs["site_right"]).all()


def test_coordinates_do_not_change_the_tiles(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"train": 12, "validation": 4, "test": 6, "overlap": 0.5}
    truth = make_sample(tmp_path / "with", **sizes, outlines=True)
    plain = make_sample(tmp_path / "without", **sizes)
    files = factories.files_of(tmp_path / "with")
    del files["outlines.geojson"], files["true_tiles.parquet"]
    assert files == factories.files_of(tmp_path / "without")
    pd.testing.assert_frame_equal(truth[plain.columns], plain)


def test_same_arguments_give_the_same_places(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"train": 4, "validation": 2, "test": 2, "overlap": 0.5, "seed": 5}
    make_sample(tmp_path / "first", **sizes, outlines=True)
    make_sample(tmp_path / "second", **sizes, outlines=True)
    assert factories.files_of(tmp_path / "first") == factories.files_of(tmp_path / "second")
