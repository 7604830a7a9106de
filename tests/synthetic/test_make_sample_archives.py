"""Sample archives: synthetic tiles in the layout of the dataset, the same for the same seed."""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from archive_contents import contents
from conftest import SAMPLE_SIZES
from source_folders import limited_file_size

from rock_glacier.archives.grounds_file import GroundRow, read_grounds
from rock_glacier.arrays import decode_png
from rock_glacier.audit.checks import Audit, audit
from rock_glacier.grounds.turns import COMPOSED, INVERSE, MATRICES, turned
from rock_glacier.masks import mask_to_class_indices
from rock_glacier.parallel import Workers
from rock_glacier.sample.generate import Sample, make_sample_archives
from rock_glacier.sample.sample_command import main
from rock_glacier.sample.terrain import make_ground, render_date
from rock_glacier.sample.tiles import Scene, cut
from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES, TILE_SIZE

OVERLAPPING = {"overlap": 0.9, "train": 24, "validation": 6, "test": 12, "seed": 1}
"""With this seed, the dates of a scene are alike enough for each pair of tiles to be linked without others between."""


def make(out: Path, **numbers: Any) -> Sample:
    return make_sample_archives(out, **{**SAMPLE_SIZES, **numbers})


@pytest.fixture(scope="module")
def overlapping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample of which nine tiles in ten are cut from scenes that the splits share, two scenes for each class."""
    out = tmp_path_factory.mktemp("overlapping") / "out"
    make(out, **OVERLAPPING)
    return out


@pytest.fixture(scope="module")
def truth(overlapping: Path) -> dict[str, GroundRow]:
    return read_grounds(overlapping / "grounds.csv")


@pytest.fixture(scope="module")
def audited(overlapping: Path) -> Audit:
    return audit(overlapping, Workers(num_proc=1))


def link(a: GroundRow, b: GroundRow) -> tuple[int, int, int]:
    """Return the turn and the offset at which the second tile lies in the first."""
    back = INVERSE[a.turn]
    dx, dy = MATRICES[back] @ (b.x - a.x, b.y - a.y)
    return int(COMPOSED[back, b.turn]), int(dx), int(dy)


def shared(tile: npt.NDArray[np.uint8], dx: int, dy: int) -> npt.NDArray[np.uint8]:
    """Cut out what a tile shares with another at this offset."""
    return tile[max(dy, 0) : max(TILE_SIZE + min(dy, 0), 0), max(dx, 0) : max(TILE_SIZE + min(dx, 0), 0)]


def tiles_of(folder: Path) -> dict[str, npt.NDArray[np.uint8]]:
    """Decode all tiles and masks."""
    return {path: decode_png(png) for split in SPLIT_NAMES for path, png in contents(folder, split).items()}


def pairs_of_scenes(audited: Audit, truth: dict[str, GroundRow]) -> list[tuple[GroundRow, GroundRow]]:
    """Return all pairs of tiles of one ground, in the order of the archives."""
    pairs = itertools.combinations((truth[tile.path] for tile in audited.listing.tiles), 2)
    return [(a, b) for a, b in pairs if a.ground == b.ground]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def masks_of(folder: Path, split: str) -> dict[str, npt.NDArray[np.uint8]]:
    members = contents(folder, split)
    return {path: mask_to_class_indices(decode_png(png)) for path, png in members.items() if "/masks/" in path}


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
    # The scene has places with too little; and so many random places are not all different.
    tiles = cut(Scene(seed=13, number=0, class_name="glaciar", grid=2, dates=3, paths=[""] * 300))
    assert len({tile.place[:2] for tile in tiles}) == 300
    masks = [mask_to_class_indices(decode_png(tile.mask or b"")) for tile in tiles]
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
    assert (found.findings, found.overlaps, found.same_ground) == ([], [], [])


def test_the_share_that_was_asked_for_is_cut_from_scenes_of_all_splits(truth: dict[str, GroundRow]) -> None:
    scenes = Counter(row.ground for row in truth.values())
    cut_anew = [row for row in truth.values() if scenes[row.ground] > 1]
    assert Counter(tuple(row.path.split("/")[:2]) for row in cut_anew) == {
        (split, name): number for split, number in zip(SPLIT_NAMES, (11, 3, 5), strict=True) for name in CLASS_NAMES
    }
    for ground in {row.ground for row in cut_anew}:
        rows = [row for row in cut_anew if row.ground == ground]
        assert len({row.source for row in rows}) > 1
        assert {row.path.split("/")[0] for row in rows} == {*SPLIT_NAMES}
        assert len({row.path.split("/")[1] for row in rows}) == 1
    assert {row.turn for row in cut_anew} == {*range(8)}


def test_overlaps_are_those_of_the_truth(overlapping: Path, audited: Audit, truth: dict[str, GroundRow]) -> None:
    tiles, expected = tiles_of(overlapping), []
    for a, b in pairs_of_scenes(audited, truth):
        turn, dx, dy = link(a, b)
        rectangle = shared(tiles[a.path], dx, dy)
        colours = len(np.unique(rectangle.reshape(-1, 4), axis=0))
        if a.source == b.source and min(rectangle.shape[:2]) >= 16 and colours >= 16:
            pixels = rectangle.shape[0] * rectangle.shape[1]
            expected.append({"a": a.path, "b": b.path, "turn": turn, "dx": dx, "dy": dy, "pixels": pixels})
    assert len(expected) > 50
    assert audited.overlaps == expected


def test_the_same_ground_of_two_dates_is_found_where_the_truth_has_it(
    audited: Audit, truth: dict[str, GroundRow]
) -> None:
    found = {(one["a"], one["b"]): (one["turn"], one["dx"], one["dy"]) for one in audited.same_ground or []}
    of_scenes = {(a.path, b.path): link(a, b) for a, b in pairs_of_scenes(audited, truth)}
    for pair, (turn, dx, dy) in found.items():
        assert turn == of_scenes[pair][0]
        assert np.abs(np.subtract((dx, dy), of_scenes[pair][1:])).max() <= 1
    overlapping = {(one["a"], one["b"]) for one in audited.overlaps}
    most = [(pair, dx, dy) for pair, (_, dx, dy) in of_scenes.items() if pair not in overlapping]
    most = [one for one in most if min(TILE_SIZE - abs(offset) for offset in one[1:]) >= 0.7 * TILE_SIZE]
    assert len(most) > 10
    assert {pair for pair, *_ in most} <= {*found}


def test_masks_are_turned_with_their_tiles(overlapping: Path, audited: Audit) -> None:
    tiles = tiles_of(overlapping)
    pairs = [pair for pair in audited.overlaps if "/glaciar/" in pair["a"]]
    assert {pair["turn"] for pair in pairs} == {*range(8)}
    for pair in pairs:
        a, b = (tiles[pair[name].replace("glaciar", "masks")] for name in "ab")
        of_b = shared(turned(b, pair["turn"]), -pair["dx"], -pair["dy"])
        assert np.array_equal(shared(a, pair["dx"], pair["dy"]), of_b)


@pytest.mark.parametrize("seed", range(3))
def test_rock_glacier_is_seen_where_its_mask_is(seed: int) -> None:
    grounds = [make_ground(np.random.default_rng(seed), 256, rock_glaciers=has_them) for has_them in (True, False)]
    with_them, without = (render_date(np.random.default_rng(seed), ground) for ground in grounds)
    mask = grounds[0].mask
    squares = mask.reshape(2, TILE_SIZE, 2, TILE_SIZE).mean(axis=(1, 3))
    assert (squares >= 0.03).all()
    assert not grounds[1].mask.any()
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
    assert lines[0] == f"train.zip: 14 tiles, {(tmp_path / 'out' / 'train.zip').stat().st_size / 1e6:.2g} MB"
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
