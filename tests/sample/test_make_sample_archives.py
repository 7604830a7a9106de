"""Sample archives: synthetic tiles in the layout of the dataset, the same for the same seed."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from archive_contents import contents
from conftest import SAMPLE_SIZES
from source_folders import limited_file_size

from rock_glacier.arrays import decode_png
from rock_glacier.audit.checks import Audit, audit
from rock_glacier.masks import mask_to_class_indices
from rock_glacier.parallel import Workers
from rock_glacier.sample.generate import Sample, make_sample_archives
from rock_glacier.sample.sample_command import main
from rock_glacier.sample.terrain import render_scene
from rock_glacier.sample.tiles import Scene, cut
from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES, TILE_SIZE

OVERLAPPING = {"overlap": 0.5, "validation": 8, "test": 8}


def make(out: Path, **numbers: Any) -> Sample:
    return make_sample_archives(out, **{**SAMPLE_SIZES, **numbers})


@pytest.fixture(scope="module")
def overlapping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four tiles of each class in validation and test, two of which overlap train tiles."""
    out = tmp_path_factory.mktemp("overlapping") / "out"
    make(out, **OVERLAPPING)
    return out


@pytest.fixture(scope="module")
def audited(overlapping: Path) -> Audit:
    return audit(overlapping, Workers(num_proc=1))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def masks_of(folder: Path, split: str) -> dict[str, npt.NDArray[np.uint8]]:
    members = contents(folder, split)
    return {path: mask_to_class_indices(decode_png(png)) for path, png in members.items() if "/masks/" in path}


def pairs_with_train(audited: Audit) -> list[dict[str, Any]]:
    return [pair for pair in audited.overlaps if pair["a"].startswith("train/") and not pair["b"].startswith("train/")]


def test_members_are_named_as_the_curators_do_and_stand_in_the_order_of_their_sha256(sample: Path) -> None:
    assert {*files(sample)} == {"train.zip", "validation.zip", "test.zip", "manifest.json", "README.md"}
    expected = [f"test/cordillera/{number:03d}.png" for number in range(3)]
    expected += [f"test/{folder}/{number:03d}.png" for folder in ("glaciar", "masks") for number in range(3)]
    assert [*contents(sample, "test")] == sorted(expected, key=lambda path: hashlib.sha256(path.encode()).hexdigest())


def test_tiles_are_opaque_and_show_something(sample: Path) -> None:
    for split in SPLIT_NAMES:
        for path, png in contents(sample, split).items():
            tile = decode_png(png)
            assert (tile[..., 3] == 255).all()
            assert "/masks/" in path or len(np.unique(tile.reshape(-1, 4), axis=0)) > 100


def test_each_glaciar_tile_has_a_place_of_its_own_and_a_fair_amount_of_rock_glacier(sample: Path) -> None:
    scene = Scene(seed=20, split="train", class_name="glaciar", number=0, grid=2, tiles=4)  # has places with too little
    overlapping = cut(scene, range(24))
    assert len({tile.image for tile in (*cut(scene), *overlapping)}) == 28
    masks = [mask_to_class_indices(decode_png(tile.mask or b"")) for tile in overlapping]
    for mask in (*masks_of(sample, "train").values(), *masks_of(sample, "test").values(), *masks):
        assert 0.09 <= mask.mean() < 1


def test_manifest_says_that_it_is_a_sample_and_agrees_with_the_archives(sample: Path) -> None:
    manifest = json.loads((sample / "manifest.json").read_text())
    assert manifest["version"] == "0.0.0"
    assert manifest["splits"] == {
        "train": {"cordillera": 6, "glaciar": 6},
        "validation": {"cordillera": 2, "glaciar": 2},
        "test": {"cordillera": 3, "glaciar": 3},
    }
    assert manifest["archives"] == {
        f"{split}.zip": {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for split in SPLIT_NAMES
        for content in [files(sample)[f"{split}.zip"]]
    }


def test_shards_regroup_the_same_tiles(overlapping: Path, tmp_path: Path) -> None:
    made = make(tmp_path / "out", **OVERLAPPING, shards=3)
    assert [archive.name for archive in made.archives[:3]] == [f"train-{n:05d}-of-00003.zip" for n in range(3)]
    for split in SPLIT_NAMES:
        assert contents(tmp_path / "out", split) == contents(overlapping, split)


def test_other_seed_gives_other_tiles(sample: Path, tmp_path: Path) -> None:
    make(tmp_path / "out", seed=4)
    for split in SPLIT_NAMES:
        assert {*contents(sample, split).values()}.isdisjoint(contents(tmp_path / "out", split).values())


def test_split_of_one_tile_has_a_glaciar_tile_with_its_mask(tmp_path: Path) -> None:
    make(tmp_path / "out", train=1, validation=1, test=1)
    assert {*contents(tmp_path / "out", "train")} == {"train/glaciar/000.png", "train/masks/000.png"}


def test_audit_finds_nothing_in_a_sample(sample: Path) -> None:
    found = audit(sample, Workers(num_proc=1))
    assert (found.findings, found.overlaps) == ([], [])


def test_the_share_that_was_asked_for_overlaps_train_tiles_and_nothing_else_is_found(audited: Audit) -> None:
    assert {pair["b"] for pair in pairs_with_train(audited)} == {
        f"{split}/{name}/{n:03d}.png" for split in SPLIT_NAMES[1:] for name in CLASS_NAMES for n in (2, 3)
    }
    assert {finding.code for finding in audited.findings} == {"overlap-across-splits"}


def test_tiles_overlap_those_of_their_class_unturned_by_half_tiles_and_by_other_offsets(audited: Audit) -> None:
    pairs = pairs_with_train(audited)
    assert all(pair["a"].split("/")[1] == pair["b"].split("/")[1] and pair["turn"] == 0 for pair in pairs)
    by_half_tiles = {pair["dx"] % 64 == pair["dy"] % 64 == 0 for pair in pairs}
    assert by_half_tiles == {True, False}


def test_masks_of_tiles_that_overlap_agree(overlapping: Path, audited: Audit) -> None:
    masks = {path: mask for split in SPLIT_NAMES for path, mask in masks_of(overlapping, split).items()}
    pairs = [pair for pair in pairs_with_train(audited) if "/glaciar/" in pair["a"]]
    assert pairs
    for pair in pairs:
        dx, dy = pair["dx"], pair["dy"]
        a, b = (masks[pair[name].replace("glaciar", "masks")] for name in "ab")
        of_a = a[max(dy, 0) : TILE_SIZE + min(dy, 0), max(dx, 0) : TILE_SIZE + min(dx, 0)]
        of_b = b[max(-dy, 0) : TILE_SIZE + min(-dy, 0), max(-dx, 0) : TILE_SIZE + min(-dx, 0)]
        assert np.array_equal(of_a, of_b)


def test_overlap_leaves_the_train_split_as_it_is(sample: Path, overlapping: Path) -> None:
    assert (overlapping / "train.zip").read_bytes() == (sample / "train.zip").read_bytes()


@pytest.mark.parametrize(("train", "overlap"), [(2, 10), (1, 5)])
def test_few_train_tiles_overlap_many_of_a_class_that_train_has(tmp_path: Path, train: int, overlap: int) -> None:
    make(tmp_path / "out", train=train, validation=4, test=6, overlap=1)
    found = audit(tmp_path / "out", Workers(num_proc=1))
    assert {finding.code for finding in found.findings} == {"overlap-across-splits"}
    assert len({pair["b"] for pair in pairs_with_train(found)}) == overlap


@pytest.mark.parametrize("seed", range(3))
def test_rock_glacier_is_seen_where_its_mask_is(seed: int) -> None:
    with_them, mask = render_scene(np.random.default_rng(seed), 256, rock_glaciers=True)
    without, no_mask = render_scene(np.random.default_rng(seed), 256, rock_glaciers=False)
    squares = mask.reshape(2, TILE_SIZE, 2, TILE_SIZE).mean(axis=(1, 3))
    assert (squares >= 0.03).all()
    assert not no_mask.any()
    change = np.abs(with_them.astype(int) - without.astype(int)).mean(axis=-1)
    assert change[mask].mean() > 5 * change[~mask].mean()
    rough, smooth = (np.abs(np.diff(one.mean(axis=-1), axis=0))[mask[1:]].mean() for one in (with_them, without))
    assert rough > 1.05 * smooth  # by its ridges


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"train": 0}, "train is 0; give at least 1"),
        ({"test": -1}, "test is -1"),
        ({"shards": 0}, "shards is 0; give 1 to 4, the number of validation tiles"),
        ({"shards": 5}, "shards is 5; give 1 to 4"),
        ({"seed": -1}, "seed is -1"),
        ({"overlap": -0.1}, "overlap is -0.1; give a share from 0 to 1"),
        ({"overlap": float("nan")}, "overlap is nan"),
        ({"faults": True, "validation": 3}, "validation is 3; give at least 4 to plant faults"),
    ],
)
def test_number_that_does_not_fit_is_named(tmp_path: Path, numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(tmp_path / "out", **numbers)
    assert not [*tmp_path.iterdir()]


def test_command_makes_what_the_function_makes_and_says_where_the_faults_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make(tmp_path / "same", seed=3, faults=True)
    sizes = [f"--{split}={size}" for split, size in SAMPLE_SIZES.items()]
    assert main([str(tmp_path / "out"), *sizes, "--seed=3", "--faults"]) == 0
    assert files(tmp_path / "out") == files(tmp_path / "same")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"train.zip: 14 tiles, {(tmp_path / 'out' / 'train.zip').stat().st_size:,} bytes"
    assert lines[3:] == [f"planted {code}: {path}" for code, path in made.faults.items()]


def test_occupied_folder_is_refused_in_one_line_and_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "precious").write_text("content")
    assert main([str(tmp_path)]) == 1
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1)
    assert "name a new folder or an empty one" in output.err
    assert files(tmp_path) == {"precious": b"content"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no file's size")
def test_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with limited_file_size(2**16):
        assert main([str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be written (File too large); make room" in line
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("argument", ["--train=0", "--shards=11", "--seed=x", "--overlap=2", "--unknown"])
def test_wrong_usage_exits_with_2_and_says_how(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argument: str
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([str(tmp_path / "out"), argument])
    assert exit_.value.code == 2
    assert "usage:" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]
