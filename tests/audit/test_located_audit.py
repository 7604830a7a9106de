"""Audits with places: locations from outlines and from an index, and what follows from them."""

from __future__ import annotations

import json
import shutil

import geopandas
import pandas as pd
import pytest
import shapely
from factories import copy, make_data_dir, png, read_members, replace_member, run_command

from rock_glacier.index import INDEX_NAME, read_index, write_index
from rock_glacier.synthetic import OUTLINES_NAME, TRUE_INDEX_NAME, make_sample
from rock_glacier_dataset import mask_path

OPTIONS = ("--no-matches", "--num-proc", 1)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A sample with outlines and true coordinates; splits share four scenes."""
    folder = tmp_path_factory.mktemp("places") / "sample"
    make_sample(folder, train=24, validation=8, test=16, overlap=0.7, seed=1, outlines=True)
    return folder


@pytest.fixture(scope="module")
def indexed(places, tmp_path_factory):
    """The same archives with the true index as their tile index."""
    folder = copy(places, tmp_path_factory.mktemp("indexed") / "sample")
    shutil.move(folder / TRUE_INDEX_NAME, folder / INDEX_NAME)
    return folder


@pytest.fixture(scope="module")
def report(indexed, tmp_path_factory):
    """The JSON report of an audit of `indexed`, without outlines."""
    file = tmp_path_factory.mktemp("report") / "report.json"
    run_command("audit", indexed, *OPTIONS, "--json", file)
    return json.loads(file.read_text())


def test_locations_of_an_index_are_kept_without_outlines(indexed, audit):
    result = audit(indexed)
    true = read_index(indexed / INDEX_NAME)
    pd.testing.assert_frame_equal(result.index, true)
    assert result.located == 48
    assert "index-mismatch" not in {fault.code for fault in result.faults}


def test_report_counts_located_tiles_and_measures_splits(report):
    assert report["located"] == 48
    assert report["location"] == {"located": 48, "unlocated": {}}
    assert list(report["geography"]["splits"]) == ["train", "validation", "test"]
    assert report["geography"]["splits"]["train"]["tiles"] == 24
    assert [pair["distance_m"] for pair in report["geography"]["pairs"]] == [0, 0, 0]


def test_footprints_reveal_more_pairs_across_splits(report):
    footprints = [pair for pair in report["pairs"] if pair["kinds"] == ["footprint"]]
    assert footprints
    assert all(pair["correlation"] is None for pair in footprints)
    listed = {
        fault["place"].split(": ")[1]
        for fault in report["faults"]
        if fault["code"] == "match-across-splits"
    }
    across = {pair["a"] for pair in footprints if pair["a"][:4] != pair["b"][:4]}
    assert across
    assert across <= listed


def test_footprints_agree_with_exact_pairs(report):
    """Each pair is listed once, with its strongest kind first."""
    ends = [(pair["a"], pair["b"]) for pair in report["pairs"]]
    assert len(ends) == len(set(ends))
    exact = [pair for pair in report["pairs"] if pair["kind"] in ("overlap", "mask-overlap")]
    assert exact
    assert all(pair["kinds"][-1] == "footprint" for pair in exact)
    assert all(pair["kinds"][0] == pair["kind"] for pair in report["pairs"])


def test_page_shows_a_map_and_the_tables(indexed, tmp_path):
    file = tmp_path / "page.html"
    run_command("audit", indexed, *OPTIONS, "--html", file)
    page = file.read_text()
    assert "Located: 48 of 48 tiles." in page
    assert page.count("<table>") == 3
    assert "Footprints of 48 tiles" in page


@pytest.mark.parametrize(("easting", "fits"), [(60, True), (70, False)])
def test_index_whose_coordinates_do_not_fit_is_reported(indexed, tmp_path, audit, easting, fits):
    folder = copy(indexed, tmp_path / "archives")
    index = read_index(folder / INDEX_NAME)
    index.loc[index["split"] == "test", "easting"] += easting
    write_index(index, folder / INDEX_NAME)
    result = audit(folder)
    assert ("index-mismatch" not in {fault.code for fault in result.faults}) == fits
    assert result.located == (48 if fits else None)


def test_tiles_that_the_index_does_not_locate_are_counted(indexed, tmp_path, audit):
    folder = copy(indexed, tmp_path / "archives")
    index = read_index(folder / INDEX_NAME)
    is_test = index["split"] == "test"
    for name in ("longitude", "latitude", "epsg", "easting", "northing", "located_by"):
        index[name] = index[name].mask(is_test)
    index.loc[is_test, "geometry"] = None
    write_index(index, folder / INDEX_NAME)
    report = audit(folder).to_json()
    assert report["located"] == 32
    assert list(report["location"]["unlocated"].values()) == [16]
    assert list(report["geography"]["splits"]) == ["train", "validation"]


@pytest.fixture(scope="module")
def located(places, tmp_path_factory):
    """The folder with index.parquet, report.json and page.html of an audit with outlines."""
    folder = tmp_path_factory.mktemp("located")
    files = ("--index", folder / "index.parquet", "--json", folder / "report.json")
    outlines = ("--outlines", places / OUTLINES_NAME)
    run_command("audit", places, *OPTIONS, *outlines, *files, "--html", folder / "page.html")
    return folder


def test_audit_with_outlines_locates_tiles_with_masks(places, located):
    index = read_index(located / "index.parquet").set_index("path")
    true = read_index(places / TRUE_INDEX_NAME).set_index("path").loc[index.index]
    is_located = index["easting"].notna()
    assert is_located[index["label"] == "glaciar"].all()
    for name in ("easting", "northing"):
        assert (index[name] - true[name])[is_located].abs().max() <= 20
    assert (index["orientation"] == true["orientation"])[is_located].all()
    assert set(index["located_by"].dropna()) == {"outlines", "site"}


def test_report_with_outlines_counts_reasons(located):
    report = json.loads((located / "report.json").read_text())
    assert report["location"]["located"] == report["located"]
    assert sum(report["location"]["unlocated"].values()) == 48 - report["located"]
    codes = {fault["code"] for fault in report["faults"]}
    assert codes == {"overlap-across-splits", "match-across-splits"}
    assert "Ground of located tiles" in (located / "page.html").read_text()


def test_index_with_locations_is_used_without_outlines(places, located, tmp_path, audit):
    folder = copy(places, tmp_path / "archives")
    shutil.copy(located / "index.parquet", folder / INDEX_NAME)
    result = audit(folder)
    pd.testing.assert_frame_equal(result.index, read_index(located / "index.parquet"))
    report = json.loads((located / "report.json").read_text())
    assert result.to_json()["geography"] == report["geography"]


def test_rock_glacier_labelled_as_cordillera_is_a_conflict(places, tmp_path):
    """Its own mask is missing, but outlines and masks of other tiles show the rock glacier."""
    folder = copy(places, tmp_path / "archives")
    index = read_index(folder / TRUE_INDEX_NAME)
    shared = index["site"].duplicated(keep=False) & (index["label"] == "glaciar")
    path = index["path"][shared & (index["split"] == "train")].iloc[0]
    image = read_members(folder, "train")[path]
    for member in (path, mask_path(path)):
        replace_member(folder / "train.zip", member, None)
    replace_member(folder / "train.zip", "train/cordillera/900.png", image)
    files = ("--json", tmp_path / "report.json", "--html", tmp_path / "page.html")
    run_command("audit", folder, *OPTIONS, *files, "--outlines", folder / OUTLINES_NAME)
    report = json.loads((tmp_path / "report.json").read_text())
    conflicts = [fault for fault in report["faults"] if fault["code"] == "label-conflict"]
    assert [fault["place"] for fault in conflicts] == ["train.zip: train/cordillera/900.png"]
    assert "label-conflict" in (tmp_path / "page.html").read_text()


def test_unusable_outlines_stop_the_audit_before_any_work(places, tmp_path, capsys):
    file = tmp_path / "alps.geojson"
    alps = geopandas.GeoSeries([shapely.box(10.0, 46.0, 10.1, 46.1)], crs=4326)
    alps.to_file(file)
    index = tmp_path / "index.parquet"
    assert run_command("audit", places, "--outlines", file, "--index", index) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert str(file) in captured.err
    assert not index.exists()


def test_archives_without_masks_cannot_be_located(places, tmp_path, capsys):
    tiles = {
        f"{folder}/cordillera/0.png": png(n) for n, folder in enumerate(("train", "val", "test"))
    }
    folder = make_data_dir(tmp_path / "archives", tiles)
    index = tmp_path / "index.parquet"
    outlines = places / OUTLINES_NAME
    assert run_command("audit", folder, *OPTIONS, "--outlines", outlines, "--index", index) == 1
    assert f"{folder}: no tile has a mask" in capsys.readouterr().err
    assert not index.exists()


def test_real_tiles_with_wrong_masks_are_not_located(real, real_archives, tmp_path):
    """The masks are paired with the tiles arbitrarily; the tiles are of three places."""
    file = tmp_path / "report.json"
    outlines = real / "outlines"
    run_command("audit", real_archives, "--num-proc", 1, "--outlines", outlines, "--json", file)
    report = json.loads(file.read_text())
    assert (report["sites"], report["located"], report["geography"]) == (3, 0, None)
    assert "mask-unrelated" in {fault["code"] for fault in report["faults"]}
    assert {pair["kind"] for pair in report["pairs"]} == {"overlap", "match"}
