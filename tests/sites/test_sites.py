"""Sites are found from archives: pairs of both kinds, and the places of all tiles."""

from __future__ import annotations

import numpy as np
import pandas as pd

from rock_glacier.parallel import Workers
from rock_glacier.sites import find_sites
from rock_glacier.sites.orientations import COMPOSED, INVERSE, MATRICES
from rock_glacier.synthetic import make_sample
from rock_glacier.tiles import TileSet


def test_a_sample_has_the_sites_it_was_cut_from(tmp_path):
    truth = make_sample(tmp_path / "data", train=60, validation=12, test=12, overlap=0.7, seed=3)
    with TileSet.read(tmp_path / "data", Workers(2)) as tiles:
        sites = find_sites(tiles, Workers(2))
        found = sites.table.assign(path=tiles.table["path"])
    both = found.merge(truth, on="path", suffixes=("", "_true"))
    assert len(both) == 84
    # Every site that was found is one true site; a true site may be found in parts.
    assert both.groupby("site")["site_true"].nunique().max() == 1
    for _, tiles_of_site in both.groupby("site"):
        assert_same_places(tiles_of_site)
    assert set(sites.pairs["kind"]) == {"match", "mask-overlap", "overlap"}


def assert_same_places(table: pd.DataFrame) -> None:
    """Check positions relative to the first tile, which has orientation 0 in its site."""
    first = table.iloc[0]
    into_site = INVERSE[first["orientation_true"]]
    for _, tile in table.iterrows():
        assert tile["orientation"] == COMPOSED[into_site, tile["orientation_true"]]
        true_shift = [tile["x_true"] - first["x_true"], tile["y_true"] - first["y_true"]]
        shift = [tile["x"] - first["x"], tile["y"] - first["y"]]
        assert np.abs(MATRICES[into_site] @ true_shift - shift).max() <= 2


def test_without_matches_only_exact_pairs_connect_tiles(tmp_path):
    make_sample(tmp_path / "data", train=30, validation=2, test=2, overlap=0.9)
    with TileSet.read(tmp_path / "data", Workers(1)) as tiles:
        sites = find_sites(tiles, Workers(1), matches=False)
    kinds = set(sites.pairs["kinds"].map(tuple))
    assert kinds == {("overlap",), ("mask-overlap",), ("overlap", "mask-overlap")}
    assert sites.pairs["correlation"].isna().all()
    assert sites.contradictions.empty
    assert sites.faults == []


def test_real_tiles_are_three_sites(real_archives):
    """The masks belong to other tiles."""
    with TileSet.read(real_archives, Workers(2)) as tiles:
        sites = find_sites(tiles, Workers(2))
    assert sites.table["site"].nunique() == 3
    assert (sites.pairs["kind"] == "overlap").sum() == 689
    assert "mask-overlap" not in set(sites.pairs["kinds"].explode())
    assert [fault.code for fault in sites.faults] == 17 * ["mask-unrelated"]
    assert (sites.table["mask_group"] == -1).all()
