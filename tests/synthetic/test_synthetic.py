"""Synthetic samples: the same for the same seed, in the dataset's layout, with a true index."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import factories
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from rock_glacier.archives import is_sample, read_manifest
from rock_glacier.masks import mask_to_class_indices
from rock_glacier.parallel import Workers
from rock_glacier.png import decode_tile
from rock_glacier.sites import find_sites
from rock_glacier.sites.orientations import oriented
from rock_glacier.synthetic import make_sample
from rock_glacier.tiles import TileSet

SIZES: dict[str, Any] = {"train": 12, "validation": 4, "test": 6}
SHARED: dict[str, Any] = {"train": 24, "validation": 6, "test": 12, "overlap": 1.0, "seed": 1}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """A sample of scenes that the splits share, and its truth."""
    folder = tmp_path_factory.mktemp("shared") / "sample"
    return folder, make_sample(folder, **SHARED)


def decode_fitted(data_dir: Path, truth: pd.DataFrame) -> dict[str, npt.NDArray[np.uint8]]:
    """Decode tiles, and orient them as the truth says."""
    members = factories.read_members(data_dir)
    rows: Any = truth.itertuples()
    return {
        row.path: oriented(decode_tile(members[row.path], row.path), row.orientation)
        for row in rows
    }


def crop(tile: npt.NDArray[np.uint8], dx: int, dy: int) -> npt.NDArray[np.uint8]:
    """Return the part of a fitted tile that is covered by another tile at offset (dx, dy)."""
    return tile[max(dy, 0) : max(128 + dy, 0), max(dx, 0) : max(128 + dx, 0)][:128, :128]


@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_same_arguments_give_the_same_bytes(tmp_path: Path, overlap: float) -> None:
    first = make_sample(tmp_path / "first", **SIZES, overlap=overlap, seed=3)
    second = make_sample(tmp_path / "second", **SIZES, overlap=overlap, seed=3)
    assert factories.files_of(tmp_path / "first") == factories.files_of(tmp_path / "second")
    pd.testing.assert_frame_equal(first, second)


def test_other_seed_gives_other_tiles(sample: Path, tmp_path: Path) -> None:
    make_sample(tmp_path / "out", **SIZES, seed=1)
    tiles = set(factories.read_members(sample).values())
    assert tiles.isdisjoint(factories.read_members(tmp_path / "out").values())


def test_sizes_classes_and_manifest(sample: Path) -> None:
    counts = {
        "train": {"cordillera": 6, "glaciar": 6},
        "validation": {"cordillera": 2, "glaciar": 2},
        "test": {"cordillera": 3, "glaciar": 3},
    }
    with TileSet.read(sample, Workers(num_proc=1)) as tiles:
        assert tiles.counts == counts
        assert tiles.faults == []
    assert read_manifest(sample)["splits"] == counts
    assert is_sample(sample)


def test_split_of_one_tile_has_a_mask(tmp_path: Path) -> None:
    make_sample(tmp_path / "out", train=1, validation=1, test=1)
    members = factories.read_members(tmp_path / "out", "train")
    assert set(members) == {"train/glaciar/000.png", "train/masks/000.png"}


@pytest.mark.parametrize("overlap", [0.0, 1.0])
def test_masks_cover_at_least_9_percent(tmp_path: Path, overlap: float) -> None:
    """With this seed, 5.8 % would occur if places were not chosen by coverage."""
    truth = make_sample(tmp_path / "out", train=200, validation=1, test=1, overlap=overlap, seed=4)
    members = factories.read_members(tmp_path / "out", "train")
    rows: Any = truth[(truth["split"] == "train") & (truth["label"] == "glaciar")].itertuples()
    for row in rows:
        path = row.path.replace("glaciar", "masks")
        share = mask_to_class_indices(decode_tile(members[path], path)).mean()
        assert 0.09 <= share < 1
        assert row.mask_share == share


def test_many_shared_tiles_are_many_sites(tmp_path: Path) -> None:
    """Sites with rock glaciers have some cordillera tiles too, and each site has all splits."""
    truth = make_sample(tmp_path / "out", train=84, validation=12, test=24, overlap=1)
    sites = truth.groupby("site")
    assert sites.ngroups == 7
    assert sites.size().between(15, 20).all()
    assert (sites["split"].nunique() == 3).all()
    shares = (truth["label"] == "glaciar").groupby(truth["site"]).mean()
    assert shares.round(1).tolist() == [0, 0, 0, 0.8, 0.8, 0.8, 0.8]


def test_share_of_the_tiles_is_cut_from_shared_scenes(tmp_path: Path) -> None:
    truth = make_sample(tmp_path / "out", train=40, validation=8, test=16, overlap=0.25)
    is_shared = truth.groupby("site")["path"].transform("size") > 1
    shared_counts = truth[is_shared].groupby(["split", "label"]).size()
    expected = [("train", 5), ("validation", 1), ("test", 2)]
    for (split, number), label in itertools.product(expected, ("cordillera", "glaciar")):
        assert shared_counts[split, label] == number


def test_truth_agrees_with_the_pixels(shared: tuple[Path, pd.DataFrame]) -> None:
    """Pairs of the overlap search are identical at the true offset and orientation."""
    folder, truth = shared
    fitted = decode_fitted(folder, truth)
    places = truth.set_index("path")
    with TileSet.read(folder, Workers(num_proc=1)) as tiles:
        pairs = find_sites(tiles, Workers(num_proc=1), matches=False).pairs
        paths = tiles.table["path"]
    pairs = pairs[pairs["kind"] == "overlap"]
    assert len(pairs) > 50
    assert set(truth["orientation"]) == set(range(8))
    rows: Any = pairs.itertuples()
    for pair in rows:
        a = places.loc[paths[pair.a]]
        b = places.loc[paths[pair.b]]
        dx = b["x"] - a["x"]
        dy = b["y"] - a["y"]
        assert a["site"] == b["site"]
        np.testing.assert_array_equal(crop(fitted[a.name], dx, dy), crop(fitted[b.name], -dx, -dy))


def test_masks_have_the_places_of_their_tiles(shared: tuple[Path, pd.DataFrame]) -> None:
    """Masks do not depend on the date, so they agree wherever two tiles of a site overlap."""
    folder, truth = shared
    glaciar = truth[truth["label"] == "glaciar"]
    masks = glaciar.assign(path=glaciar["path"].str.replace("glaciar", "masks"))
    fitted = decode_fitted(folder, masks)
    rows: Any = masks.itertuples()
    for a, b in itertools.combinations(rows, 2):
        if a.site == b.site:
            dx = b.x - a.x
            dy = b.y - a.y
            part = crop(fitted[a.path], dx, dy)
            np.testing.assert_array_equal(part, crop(fitted[b.path], -dx, -dy))


def test_dates_of_a_scene_match(shared: tuple[Path, pd.DataFrame]) -> None:
    """The search finds the true sites, and matches connect their dates."""
    pytest.importorskip("cv2")
    folder, truth = shared
    with TileSet.read(folder, Workers(num_proc=1)) as tiles:
        sites = find_sites(tiles, Workers(num_proc=1))
        true_sites = truth.set_index("path")["site"][tiles.table["path"]].to_numpy()
    assert set(sites.pairs["kind"]) == {"overlap", "mask-overlap", "match"}
    assert (true_sites[sites.pairs["a"]] == true_sites[sites.pairs["b"]]).all()
    assert sites.table["site"].nunique() == truth["site"].nunique()


def test_tiles_of_different_scenes_share_no_ground(sample: Path) -> None:
    pytest.importorskip("cv2")
    with TileSet.read(sample, Workers(num_proc=1)) as tiles:
        assert find_sites(tiles, Workers(num_proc=1)).pairs.empty


def test_plain_install_makes_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`smoke-load` makes one; packages of the extra `geo` are needed only for outlines."""
    for package in ("geopandas", "rasterio", "shapely", "pyproj", "scipy", "cv2"):
        monkeypatch.setitem(sys.modules, package, None)
    truth = make_sample(tmp_path / "out", **SIZES, overlap=0.5)
    assert "longitude" not in truth
    with pytest.raises(ImportError):
        make_sample(tmp_path / "located", **SIZES, outlines=True)
    assert not (tmp_path / "located").exists()


@pytest.mark.parametrize("exists", [True, False])
def test_command_writes_outlines_and_index(
    tmp_path: Path, exists: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("geopandas")
    pytest.importorskip("rasterio")
    out = tmp_path / "out"
    if exists:
        out.mkdir()
    sizes = [f"--{split}={size}" for split, size in SIZES.items()]
    assert factories.run_command("sample", out, *sizes, "--overlap=0.5", "--seed=3") == 0
    printed = capsys.readouterr().out
    assert "synthetic" in printed
    for name in ("README.md", "outlines.geojson", "true_tiles.parquet"):
        assert f"{name}: {(out / name).stat().st_size / 1000:.1f} kB\n" in printed
    make_sample(tmp_path / "same", **SIZES, overlap=0.5, seed=3, outlines=True)
    assert factories.files_of(out) == factories.files_of(tmp_path / "same")


def test_full_disk_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rasterio")
    arguments: list[Any] = ["sample", tmp_path / "out", "--train=4"]
    with factories.limited_file_size(2**16):
        assert factories.run_command(*arguments) == 1
    assert str(tmp_path / "out") in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
