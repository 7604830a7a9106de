"""Geography of the splits: areas, coverage and distances."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from rock_glacier.audit.geography import TILE_KM2, describe_geography

ZONE = 32719


def make_table(*tiles):
    """Return a table of tiles (split, easting, northing), all of one site and block."""
    table = pd.DataFrame(tiles, columns=["split", "easting", "northing"])
    return table.assign(
        epsg=pd.array([ZONE] * len(table), "Int32"),
        site=0,
        block=0,
        outlines=[[] for _ in range(len(table))],
    )


def describe(table):
    geography = describe_geography(table)
    assert geography is not None
    return geography


def test_area_counts_shared_ground_once():
    table = make_table(("train", 0, 0), ("train", 640, 0), ("test", 640, -9_000))
    table["outlines"] = [["a", "b"], ["b"], []]
    table["block"] = [0, 1, 0]
    splits = describe(table).splits
    train = splits.loc["train"]
    assert train[["tiles", "sites", "blocks", "outlines"]].tolist() == [2, 1, 2, 2]
    assert train["area_km2"] == pytest.approx(1.5 * TILE_KM2, abs=1e-3)
    assert train["area_in_tiles"] == 1.5
    assert train["coverage"] == pytest.approx(2 / 1.5, abs=0.01)
    assert splits.index.tolist() == ["train", "test"]


@pytest.mark.parametrize(
    ("gap", "close"),
    [(-10, [3, 3, 3]), (0, [0, 3, 3]), (90, [0, 3, 3]), (100, [0, 0, 3]), (1_000, [0, 0, 0])],
)
def test_tiles_of_both_splits_are_counted_by_distance(gap, close):
    """Two train tiles, at the same place, are left of a test tile; another one is far away."""
    far = ("test", 50_000, 0)
    table = make_table(("train", 0, 0), ("train", 0, 0), ("test", 1_280 + gap, 500), far)
    (pair,) = describe(table).to_json()["pairs"]
    assert (pair["a"], pair["b"], pair["distance_m"]) == ("train", "test", max(gap, 0))
    names = ("closer_than_0_m", "closer_than_100_m", "closer_than_1000_m")
    assert [pair[name] for name in names] == close


def test_tiles_of_two_zones_are_measured_in_one():
    """Zones 18 and 19 meet at 72 W, which is about 779 km and 221 km east there."""
    table = make_table(("train", 221_000, 6_300_000), ("train", 221_000, 6_300_000))
    other = make_table(("test", 769_000, 6_300_000)).assign(epsg=ZONE - 1)
    geography = describe(pd.concat([table, other], ignore_index=True))
    assert 8_000 < geography.pairs["distance_m"].iloc[0] < 9_500


def test_numbers_can_be_written_as_json_without_unlocated_tiles():
    table = make_table(("train", 0, 0), ("validation", 0, 0), ("test", np.nan, np.nan))
    geography = describe(table)
    report = json.loads(json.dumps(geography.to_json()))
    assert list(report["splits"]) == ["train", "validation"]
    assert report["pairs"][0]["closer_than_0_m"] == 2


def test_tiles_without_a_place_have_no_geography():
    assert describe_geography(make_table(("train", np.nan, np.nan))) is None
