"""The command `build` turns folders or archives into archives whose splits share no ground."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import (
    files_of,
    make_data_dir,
    mask_png,
    noise_scene,
    png,
    read_members,
    run_command,
    tile_paths,
)

from rock_glacier.archives import SAMPLE_VERSION, read_manifest, sort_key
from rock_glacier.audit.checks import Audit, check
from rock_glacier.index import read_index
from rock_glacier.parallel import Workers
from rock_glacier.sites import Sites, find_sites
from rock_glacier.synthetic import make_sample
from rock_glacier.tiles import TileSet
from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES


def save(folder: Path, name: str, image: np.ndarray) -> None:
    """Save a tile as RGB and, if its class is glaciar, a mask that is all rock glacier."""
    mask = mask_png(np.ones((128, 128), np.uint8))
    for path, content in ((f"tiles/{name}", png(image, "RGB")), (f"masks/{name}", mask)):
        if path.startswith("tiles") or "glaciar" in name:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Folders tiles and masks with three scenes per class and three overlapping tiles each."""
    for seed in range(6):
        scene = noise_scene(seed, width=256)
        for number, x in enumerate((0, 50, 90)):
            save(tmp_path, f"{CLASS_NAMES[seed // 3]}_{seed}_{number}.png", scene[:, x : x + 128])
    return tmp_path


@pytest.fixture
def strips(tmp_path: Path) -> Path:
    """Folders tiles and masks with a long scene per class, cut every 64 pixels."""
    for seed, name in enumerate(CLASS_NAMES):
        scene = noise_scene(seed, width=64 * 21)
        for number in range(20):
            save(tmp_path, f"{name}_{number}.png", scene[:, 64 * number : 64 * number + 128])
    return tmp_path


def build(folder: Path, *options: object, out: str = "out") -> int:
    """Build archives from folders tiles and masks."""
    arguments = [folder / "tiles", folder / out, "--masks", folder / "masks", "--num-proc", 1]
    return run_command("build", *arguments, "--ratios", "1:1:1", *options)


def index_of(data_dir: Path) -> pd.DataFrame:
    return read_index(data_dir / "tiles.parquet")


def dropped_of(data_dir: Path) -> pd.DataFrame:
    return pd.read_csv(data_dir / "dropped.csv")


def audit(data_dir: Path) -> Audit:
    workers = Workers(1)
    with TileSet.read(data_dir, workers) as tiles:
        return check(tiles, find_sites(tiles, workers))


def move_into_splits(folder: Path, splits: tuple[str, ...] = ("train", "val", "test")) -> None:
    """Move tile number n of each scene into the folder of split n."""
    for tile in sorted((folder / "tiles").glob("*.png")):
        target = folder / "tiles" / splits[int(tile.stem[-1])] / tile.name
        target.parent.mkdir(exist_ok=True)
        tile.rename(target)


def test_scenes_are_not_split(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(scenes) == 0
    assert audit(scenes / "out").faults == []
    index = index_of(scenes / "out")
    assert sorted(index["source"]) == sorted(path.name for path in (scenes / "tiles").iterdir())
    scene = index["source"].str.split("_").str[1]
    assert (index.groupby(scene)[["site", "split"]].nunique() == 1).all(axis=None)
    assert index["site"].nunique() == 6
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1:] == [[split, "3", "3", "6", "6.0", "2"] for split in SPLIT_NAMES]
    assert not (scenes / "out" / "dropped.csv").exists()


def test_a_large_scene_is_cut_into_blocks(strips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(strips) == 0
    assert audit(strips / "out").faults == []
    index = index_of(strips / "out")
    assert (index.groupby("split")["label"].nunique() == 2).all()
    assert (index.groupby(["site", "split"])["block"].nunique() == 1).all()
    assert (index.groupby("site")["block"].nunique() == 3).all()
    dropped = dropped_of(strips / "out")
    assert len(dropped) == 4
    assert sorted([*dropped["source"], *index["source"]]) == sorted(files_of(strips / "tiles"))
    assert "dropped: 4 tiles (2 cordillera, 2 glaciar), 10.0% of all" in capsys.readouterr().out


def test_a_buffer_drops_more_tiles(strips: Path) -> None:
    assert build(strips, "--buffer", 1000) == 0
    assert len(dropped_of(strips / "out")) == 4 + 4 * 2
    index = index_of(strips / "out")
    for _, tiles in index.groupby("site"):
        x = np.sort(tiles["x"])
        assert np.sort(np.diff(x))[-2:].min() >= 128 + 100


def test_ids_follow_the_natural_order_of_names(scenes: Path) -> None:
    assert build(scenes, "--split", "random") == 0
    for (split, label), tiles in index_of(scenes / "out").groupby(["split", "label"]):
        tiles = tiles.sort_values("source")
        assert tiles["path"].tolist() == [f"{split}/{label}/{n:03d}.png" for n in range(3)]
    members = list(read_members(scenes / "out", "train"))
    assert members == sorted(members, key=sort_key)


def test_the_same_seed_gives_the_same_bytes(scenes: Path) -> None:
    for out, seed, num_proc in (("a", 3, 1), ("b", 3, 2), ("c", 5, 1)):
        assert build(scenes, "--seed", seed, "--num-proc", num_proc, out=out) == 0
    assert files_of(scenes / "a") == files_of(scenes / "b")
    assert files_of(scenes / "a") != files_of(scenes / "c")


def test_random_splits_report_shared_ground(
    scenes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(scenes, "--split", "random") == 0
    across = int(audit(scenes / "out").pairs["across"].sum())
    assert across > 0
    assert f"{across} pairs of tiles share ground across splits" in capsys.readouterr().err
    assert (index_of(scenes / "out")["block"] == 0).all()


def test_keep_leaves_tiles_in_the_splits_of_folders(
    scenes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    move_into_splits(scenes)
    arguments = (scenes / "tiles", scenes / "out", "--masks", scenes / "masks", "--split", "keep")
    assert run_command("build", *arguments) == 0
    index = index_of(scenes / "out")
    folders = index["source"].str.split("/").str[0].replace({"val": "validation"})
    assert (index["split"] == folders).all()
    assert index["site"].nunique() == 6
    assert "18 pairs of tiles share ground across splits" in capsys.readouterr().err


def test_keep_leaves_archives_as_they_are(tmp_path: Path) -> None:
    names = ("train/glaciar/7.png", "train/cordillera/1512.png", "val/glaciar/3.png")
    tiles = {name: png(seed) for seed, name in enumerate((*names, "test/cordillera/00.png"))}
    data_dir = make_data_dir(tmp_path / "data", tiles)
    assert run_command("build", data_dir, tmp_path / "out", "--split", "keep") == 0
    assert read_members(tmp_path / "out") == read_members(data_dir)


def test_a_synthetic_sample_stays_marked(sample: Path, tmp_path: Path) -> None:
    assert run_command("build", sample, tmp_path / "out", "--split", "keep") == 0
    assert read_manifest(tmp_path / "out")["version"] == SAMPLE_VERSION


def test_archives_can_be_split_again(sample: Path, tmp_path: Path) -> None:
    assert run_command("build", sample, tmp_path / "out", "--ratios", "1:1:1") == 0
    index = index_of(tmp_path / "out")
    before = read_members(sample)
    after = read_members(tmp_path / "out")
    for tile in index.itertuples():
        assert after[str(tile.path)] == before[str(tile.source).split(": ")[1]]
    assert index["source"].nunique() == len(tile_paths(sample))


def test_pairs_that_only_the_audit_finds_join_sites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first search finds no matches; tiles on two dates are then in different sites."""
    numbers: list[int] = []

    def find_fewer_sites(tiles: TileSet, workers: Workers) -> Sites:
        sites = find_sites(tiles, workers, matches=bool(numbers))
        numbers.append(sites.table["site"].nunique())
        return sites

    monkeypatch.setattr("rock_glacier.build.build.find_sites", find_fewer_sites)
    make_sample(tmp_path / "sample", train=40, validation=8, test=8, overlap=0.7)
    arguments = ("--ratios", "2:1:1", "--num-proc", 1)
    assert run_command("build", tmp_path / "sample", tmp_path / "out", *arguments) == 0
    assert numbers[0] > numbers[1]
    assert len(numbers) > 2
    assert len(index_of(tmp_path / "out")) == 56
    result = audit(tmp_path / "out")
    assert result.faults == []
    assert (result.pairs["kind"] == "match").any()


def test_copies_of_a_flat_tile_stay_together(scenes: Path) -> None:
    """Tiles of few colours do not overlap by definition."""
    for number in range(3):
        save(scenes, f"cordillera_9_{number}.png", np.full((128, 128, 4), 9, np.uint8))
    assert build(scenes) == 0
    index = index_of(scenes / "out")
    copies = index[index["source"].str.startswith("cordillera_9")]
    assert len(copies) == 3
    assert copies[["site", "split"]].drop_duplicates().shape[0] == 1
    assert audit(scenes / "out").errors == 0


def test_faults_of_all_files_leave_no_output(
    scenes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scenes / "tiles" / "cordillera_0_0.png").write_bytes(b"text")
    (scenes / "tiles" / "cordillera_1_0.png").write_bytes(b"text")
    assert build(scenes) == 1
    assert f"{scenes}/tiles/cordillera_0_0.png: " in capsys.readouterr().err
    assert not (scenes / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "keep"], "no folder names its split"),
        (["--class", "cordillera=glaciar"], "has no mask"),
    ],
)
def test_options_that_do_not_fit_the_tiles_are_errors(
    scenes: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    arguments = (scenes / "tiles", scenes / "out", "--masks", scenes / "masks")
    assert run_command("build", *arguments, *options) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ["--ratios", "1:1"],
        ["--ratios", "1:0:1"],
        ["--buffer", "-1"],
        ["--class", "glaciarRoca"],
        ["--class", "roca=hielo"],
        ["--split", "keep", "--ratios", "1:1:1"],
        ["--split", "random", "--buffer", "10"],
    ],
)
def test_wrong_options_are_usage_errors(tmp_path: Path, options: list[str]) -> None:
    assert run_command("build", tmp_path, tmp_path / "out", *options) == 2


def real_names(real: Path) -> dict[str, str]:
    """Return the name of each real tile by its path in the archives."""
    with (real / "names.csv").open() as file:
        return {row["path"]: row["tile"] for row in csv.DictReader(file)}


def assert_overlaps_are_kept_together(real: Path, splits: dict[str, str]) -> None:
    """Assert that the known overlaps of real tiles are not split, given the splits by name."""
    names = real_names(real)
    with (real / "overlaps.csv").open() as file:
        pairs = [(names[row["a"]], names[row["b"]]) for row in csv.DictReader(file)]
    kept = [pair for pair in pairs if {*pair} <= splits.keys()]
    assert kept
    assert all(splits[a] == splits[b] for a, b in kept)


def test_real_archives_are_split_without_leaks(
    real: Path, real_archives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The 300 early tiles are three places of one class each."""
    assert run_command("build", real_archives, tmp_path / "out", "--num-proc", 1) == 0
    # The audit of the command has searched for pairs across splits.
    assert "share ground across splits" not in capsys.readouterr().err
    index = index_of(tmp_path / "out")
    assert (index.groupby("split")["label"].nunique() == 2).all()
    assert len(index) >= 0.55 * 300
    assert len(index) + len(dropped_of(tmp_path / "out")) == 300
    names = real_names(real)
    sources = [names[source.split(": ")[1]] for source in index["source"]]
    assert_overlaps_are_kept_together(real, dict(zip(sources, index["split"], strict=True)))


def test_real_folders_are_built_with_their_names(real: Path, tmp_path: Path) -> None:
    """One in five tiles is used, with the curators' names."""
    with (
        zipfile.ZipFile(real / "raw_tiles.zip") as tiles,
        zipfile.ZipFile(real / "raw_masks.zip") as masks,
    ):
        names = sorted(tiles.namelist())[::5]
        tiles.extractall(tmp_path, names)
        masks.extractall(
            tmp_path, [name.replace("tiles/", "masks/") for name in names if "glaciar" in name]
        )
    assert build(tmp_path) == 0
    index = index_of(tmp_path / "out")
    assert (index.groupby("split")["label"].nunique() == 2).all()
    assert_overlaps_are_kept_together(real, dict(zip(index["source"], index["split"], strict=True)))
