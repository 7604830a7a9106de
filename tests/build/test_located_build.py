"""The command `build` with outlines: tiles are located before splits are assigned."""

from __future__ import annotations

import functools
from pathlib import Path

import geopandas
import pandas as pd
import pytest
import shapely
from factories import copy, make_data_dir, png, run_command

from rock_glacier.audit.checks import Audit, check
from rock_glacier.index import read_index
from rock_glacier.parallel import Workers
from rock_glacier.places.footprints import find_footprint_pairs
from rock_glacier.sites import find_sites
from rock_glacier.synthetic import OUTLINES_NAME, TRUE_INDEX_NAME, make_sample
from rock_glacier.tiles import TileSet
from rock_glacier_dataset import SPLIT_NAMES


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample with outlines and true coordinates; splits share four scenes."""
    folder = tmp_path_factory.mktemp("places") / "sample"
    make_sample(folder, train=16, validation=6, test=8, overlap=0.7, seed=1, outlines=True)
    return folder


@pytest.fixture(scope="module")
def built(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample, built again in splits that share no ground."""
    out = tmp_path_factory.mktemp("built") / "out"
    assert build(sample, out, "--ratios", "2:1:1") == 0
    return out


def build(sample: Path, out: Path, *options: object) -> int:
    outlines = sample / OUTLINES_NAME
    return run_command("build", sample, out, "--outlines", outlines, "--num-proc", 1, *options)


def true_index(sample: Path, index: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the true index for the tiles of an index."""
    paths = index["source"].str.split(": ").str[1]
    return read_index(sample / TRUE_INDEX_NAME).set_index("path").loc[paths].reset_index()


def audit(data_dir: Path) -> Audit:
    with TileSet.read(data_dir, Workers(1)) as tiles:
        sites = find_sites(tiles, Workers(1), matches=False)
        return check(tiles, sites, matches=False)


def test_splits_share_no_footprints(sample: Path, built: Path) -> None:
    index = read_index(built / "tiles.parquet")
    true = true_index(sample, index)
    pairs = find_footprint_pairs(true)
    splits = index["split"].to_numpy()
    assert len(pairs) > len(index)
    assert (splits[pairs["a"]] == splits[pairs["b"]]).all()


def test_sites_that_only_footprints_connect_stay_together(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without matches, tiles on several dates are in several sites."""
    find_fewer = functools.partial(find_sites, matches=False)
    monkeypatch.setattr("rock_glacier.build.build.find_sites", find_fewer)
    assert build(sample, tmp_path / "out", "--ratios", "2:1:1") == 0
    index = read_index(tmp_path / "out" / "tiles.parquet")
    assert len(index) == 30
    pairs = find_footprint_pairs(true_index(sample, index))
    is_located = index["easting"].notna().to_numpy()
    pairs = pairs[is_located[pairs["a"]] & is_located[pairs["b"]]]
    splits = index["split"].to_numpy()
    assert (splits[pairs["a"]] == splits[pairs["b"]]).all()


def test_index_has_the_true_coordinates(sample: Path, built: Path) -> None:
    index = read_index(built / "tiles.parquet")
    true = true_index(sample, index)
    is_located = index["easting"].notna()
    assert is_located[index["label"] == "glaciar"].all()
    for name in ("easting", "northing"):
        assert (index[name] - true[name])[is_located].abs().max() <= 20


def test_audit_of_the_result_finds_no_faults(built: Path) -> None:
    result = audit(built)
    assert result.faults == []
    assert result.located == read_index(built / "tiles.parquet")["easting"].notna().sum()
    assert result.geography is not None
    assert (result.geography.pairs["distance_m"] > 0).all()


def test_a_large_site_is_cut_on_the_map(tmp_path: Path) -> None:
    """The tiles are of few scenes, so strips of a site are in different splits."""
    make_sample(tmp_path / "sample", train=24, validation=8, test=8, overlap=1, outlines=True)
    assert build(tmp_path / "sample", tmp_path / "out", "--ratios", "1:1:1") == 0
    result = audit(tmp_path / "out")
    assert result.faults == []
    cut = result.index.groupby("site").filter(lambda tiles: tiles["block"].nunique() > 1)
    assert not cut.empty
    assert cut["easting"].notna().any()


def test_tiles_that_keep_their_splits_are_located(sample: Path, tmp_path: Path) -> None:
    assert build(sample, tmp_path / "out", "--split", "keep") == 0
    index = read_index(tmp_path / "out" / "tiles.parquet")
    true = true_index(sample, index)
    is_located = index["easting"].notna()
    assert is_located[index["label"] == "glaciar"].all()
    assert (index["easting"] - true["easting"])[is_located].abs().max() <= 20
    assert "index-mismatch" not in {fault.code for fault in audit(tmp_path / "out").faults}


def test_tiles_without_masks_cannot_be_located(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiles = {f"{split}/cordillera/0.png": png(n) for n, split in enumerate(SPLIT_NAMES)}
    folder = make_data_dir(tmp_path / "archives", tiles)
    outlines = sample / OUTLINES_NAME
    assert run_command("build", folder, tmp_path / "out", "--outlines", outlines) == 1
    assert f"Error: {folder}: no tile has a mask" in capsys.readouterr().err


def test_unusable_outlines_leave_no_output(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy(sample, tmp_path / "sample")
    alps = geopandas.GeoSeries([shapely.box(10.0, 46.0, 10.1, 46.1)], crs=4326)
    alps.to_file(folder / OUTLINES_NAME)
    assert build(folder, tmp_path / "out") == 1
    assert str(folder / OUTLINES_NAME) in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
