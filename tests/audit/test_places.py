"""Audits with places: locations from outlines and from an index, and what follows from them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from factories import copy, run_command

from rock_glacier.index import INDEX_NAME, read_index, write_index
from rock_glacier.synthetic import TRUE_INDEX_NAME, make_sample

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
    assert "48 of 48 tiles are located" in page
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
    index["geometry"] = np.where(is_test, None, index["geometry"])
    write_index(index, folder / INDEX_NAME)
    report = audit(folder).to_json()
    assert report["located"] == 32
    assert list(report["location"]["unlocated"].values()) == [16]
    assert list(report["geography"]["splits"]) == ["train", "validation"]
