"""Sample archives: synthetic tiles in the form of the dataset, the same for the same seed."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import make_sample_archives
import numpy as np
import numpy.typing as npt
import pytest
import sample_tiles
from archive_audit import Audit, audit
from PIL import Image
from sample_tiles import Scene, cut_scene
from synthetic_terrain import MOODS, render_scene

from rock_glacier.parallel import Workers
from rock_glacier_dataset import BACKGROUND_COLOUR, CLASS_NAMES, ROCK_GLACIER_COLOUR, SPLIT_NAMES, TILE_SIZE

SCRIPT = Path(make_sample_archives.__file__)
SIZES = {"train": 12, "validation": 4, "test": 5}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sample") / "out"
    make(out, seed=3)
    return out


def make(out: Path, **numbers: Any) -> make_sample_archives.Sample:
    return make_sample_archives.make_sample_archives(out, **{**SIZES, **numbers})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def members(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def pixels(png: bytes) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        assert image.mode == "RGBA"
        return np.asarray(image)


def tiles_of(folder: Path, split: str) -> dict[str, npt.NDArray[np.uint8]]:
    return {name: pixels(png) for name, png in members(folder / f"{split}.zip").items()}


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_archives_are_named_by_the_contract(sample: Path) -> None:
    archives = {f"{split}{kind}.zip" for split in SPLIT_NAMES for kind in ("", "_masks")}
    assert set(contents(sample)) == archives | {"manifest.json"}


def test_ids_run_from_0_within_each_class(sample: Path) -> None:
    assert list(members(sample / "train.zip")) == [f"train/{name}/{n}.png" for name in CLASS_NAMES for n in range(6)]


def test_odd_tile_is_a_glaciar_tile(sample: Path) -> None:
    names = list(members(sample / "test.zip"))
    assert [sum(f"/{name}/" in member for member in names) for name in CLASS_NAMES] == [2, 3]


@pytest.mark.parametrize("split", SPLIT_NAMES)
def test_tiles_are_opaque_rgba_of_128_pixels(sample: Path, split: str) -> None:
    for tile in tiles_of(sample, split).values():
        assert tile.shape == (TILE_SIZE, TILE_SIZE, 4)
        assert (tile[..., 3] == 255).all()
        assert len(np.unique(tile.reshape(-1, 4), axis=0)) > 100


@pytest.mark.parametrize("split", SPLIT_NAMES)
def test_just_the_glaciar_tiles_have_masks(sample: Path, split: str) -> None:
    tiles = members(sample / f"{split}.zip")
    assert list(members(sample / f"{split}_masks.zip")) == [name for name in tiles if "/glaciar/" in name]


@pytest.mark.parametrize("split", SPLIT_NAMES)
def test_masks_have_two_colours_and_a_fair_amount_of_rock_glacier(sample: Path, split: str) -> None:
    for png in members(sample / f"{split}_masks.zip").values():
        mask = pixels(png)
        assert mask.shape == (TILE_SIZE, TILE_SIZE, 4)
        rock_glacier = (mask == ROCK_GLACIER_COLOUR).all(axis=-1)
        assert (rock_glacier | (mask == BACKGROUND_COLOUR).all(axis=-1)).all()
        assert rock_glacier.mean() >= 0.03


def test_manifest_agrees_with_the_archives(sample: Path) -> None:
    manifest = json.loads((sample / "manifest.json").read_text())
    assert list(manifest) == ["version", "splits", "archives"]
    assert manifest["splits"] == {
        "train": {"cordillera": 6, "glaciar": 6},
        "validation": {"cordillera": 2, "glaciar": 2},
        "test": {"cordillera": 2, "glaciar": 3},
    }
    files = contents(sample)
    assert set(manifest["archives"]) == set(files) - {"manifest.json"}
    for name, archive in manifest["archives"].items():
        assert archive == {"bytes": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest()}


@pytest.mark.parametrize("num_proc", [1, 2])
def test_same_seed_gives_the_same_bytes(sample: Path, tmp_path: Path, num_proc: int) -> None:
    make(tmp_path / "out", seed=3, num_proc=num_proc)
    assert contents(tmp_path / "out") == contents(sample)


def test_other_seed_gives_other_tiles(sample: Path, tmp_path: Path) -> None:
    make(tmp_path / "out", seed=4)
    for split in SPLIT_NAMES:
        of_seed_3 = set(members(sample / f"{split}.zip").values())
        assert of_seed_3.isdisjoint(members(tmp_path / "out" / f"{split}.zip").values())


def test_shards_regroup_the_same_tiles(sample: Path, tmp_path: Path) -> None:
    made = make(tmp_path / "out", seed=3, shards=3)
    assert len(made.archives) == 3 * 2 * 3
    for split in SPLIT_NAMES:
        for kind in ("", "_masks"):
            regrouped: list[tuple[str, bytes]] = []
            for shard in range(3):
                regrouped += members(tmp_path / "out" / f"{split}{kind}-{shard:05d}-of-00003.zip").items()
            assert regrouped == list(members(sample / f"{split}{kind}.zip").items())
        for shard in range(3):
            tiles = members(tmp_path / "out" / f"{split}-{shard:05d}-of-00003.zip")
            masks = members(tmp_path / "out" / f"{split}_masks-{shard:05d}-of-00003.zip")
            assert list(masks) == [name for name in tiles if "/glaciar/" in name]


@pytest.fixture(scope="module")
def overlapping_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four tiles of each class in validation and test, of which two share ground with train."""
    out = tmp_path_factory.mktemp("overlapping") / "out"
    make(out, seed=3, overlap=0.5, validation=8, test=8)
    return out


@pytest.fixture(scope="module")
def overlapping_audit(overlapping_sample: Path) -> Audit:
    return audit(overlapping_sample, Workers(num_proc=1))


def pairs_with_train(audited: Audit) -> list[dict[str, Any]]:
    return [pair for pair in audited.overlaps if pair["a"].startswith("train/") and not pair["b"].startswith("train/")]


def test_the_audit_finds_nothing_in_a_sample(sample: Path) -> None:
    audited = audit(sample, Workers(num_proc=1))
    assert (audited.findings, audited.overlaps) == ([], [])


def test_without_overlap_the_bytes_are_the_same(sample: Path, tmp_path: Path) -> None:
    make(tmp_path / "out", seed=3, overlap=0.0)
    assert contents(tmp_path / "out") == contents(sample)


def test_the_share_that_was_asked_for_overlaps_train_tiles(overlapping_audit: Audit) -> None:
    sharing = {pair["b"] for pair in pairs_with_train(overlapping_audit)}
    assert sharing == {f"{split}/{name}/{n}.png" for split in SPLIT_NAMES[1:] for name in CLASS_NAMES for n in (2, 3)}


def test_overlaps_across_splits_are_all_that_the_audit_finds_then(overlapping_audit: Audit) -> None:
    assert {finding.code for finding in overlapping_audit.findings} == {"overlap-across-splits"}


def test_tiles_overlap_those_of_their_class_by_half_tiles_and_by_other_offsets(overlapping_audit: Audit) -> None:
    offsets = set()
    for pair in pairs_with_train(overlapping_audit):
        assert pair["a"].split("/")[1] == pair["b"].split("/")[1]
        offsets.add((pair["dx"], pair["dy"]))
    halves = {offset for offset in offsets if offset[0] % 64 == offset[1] % 64 == 0}
    assert halves
    assert offsets - halves
    assert (0, 0) not in offsets


def test_masks_of_tiles_that_share_ground_show_the_same_rock_glaciers(
    overlapping_sample: Path, overlapping_audit: Audit
) -> None:
    masks = {name: pixels(png) for split in SPLIT_NAMES for name, png in members_of_masks(overlapping_sample, split)}
    pairs = [pair for pair in pairs_with_train(overlapping_audit) if "/glaciar/" in pair["a"]]
    assert pairs
    for pair in pairs:
        dx, dy = pair["dx"], pair["dy"]
        of_a = masks[pair["a"]][max(dy, 0) : TILE_SIZE + min(dy, 0), max(dx, 0) : TILE_SIZE + min(dx, 0)]
        of_b = masks[pair["b"]][max(-dy, 0) : TILE_SIZE + min(-dy, 0), max(-dx, 0) : TILE_SIZE + min(-dx, 0)]
        assert np.array_equal(of_a, of_b)


def members_of_masks(folder: Path, split: str) -> list[tuple[str, bytes]]:
    return list(members(folder / f"{split}_masks.zip").items())


def test_each_glaciar_tile_that_shares_ground_has_a_fair_amount_of_rock_glacier(overlapping_sample: Path) -> None:
    for split in SPLIT_NAMES[1:]:
        masks = members_of_masks(overlapping_sample, split)
        assert [name for name, _ in masks] == [f"{split}/glaciar/{n}.png" for n in range(4)]
        assert all((pixels(png) == ROCK_GLACIER_COLOUR).all(axis=-1).mean() >= 0.03 for _, png in masks)


def test_place_too_poor_in_rock_glacier_shares_no_ground(monkeypatch: pytest.MonkeyPatch) -> None:
    def spot(*arguments: object, size: int, **options: object) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """A rock glacier of 32 x 32 pixels amid the first square; half a tile away, too little of it is left."""
        mask = np.zeros((size, size), np.bool_)
        mask[48:80, 48:80] = True
        return np.random.default_rng(0).integers(256, size=(size, size, 3), dtype=np.uint8), mask

    monkeypatch.setattr(sample_tiles, "render_scene", spot)
    scene = Scene(0, 0, CLASS_NAMES.index("glaciar"), 0, 2, 1)
    for tile in sample_tiles.cut(sample_tiles.SharedGround(scene, 0, 30)):
        assert tile.mask is not None
        assert (pixels(tile.mask) == ROCK_GLACIER_COLOUR).all(axis=-1).mean() >= 0.03


def test_overlap_leaves_the_train_split_as_it_is(sample: Path, overlapping_sample: Path) -> None:
    for name in ("train.zip", "train_masks.zip"):
        assert (overlapping_sample / name).read_bytes() == (sample / name).read_bytes()


@pytest.mark.parametrize("num_proc", [1, 2])
def test_same_seed_gives_the_same_overlaps(overlapping_sample: Path, tmp_path: Path, num_proc: int) -> None:
    make(tmp_path / "out", seed=3, overlap=0.5, validation=8, test=8, num_proc=num_proc)
    assert contents(tmp_path / "out") == contents(overlapping_sample)


def test_shards_regroup_the_same_overlaps(overlapping_sample: Path, tmp_path: Path) -> None:
    make(tmp_path / "out", seed=3, overlap=0.5, validation=8, test=8, shards=3)
    for split in SPLIT_NAMES:
        regrouped: dict[str, bytes] = {}
        for shard in range(3):
            regrouped |= members(tmp_path / "out" / f"{split}-{shard:05d}-of-00003.zip")
        assert regrouped == members(overlapping_sample / f"{split}.zip")


def test_few_train_tiles_lend_their_ground_to_many(tmp_path: Path) -> None:
    make_sample_archives.make_sample_archives(tmp_path / "out", train=2, validation=10, test=22, overlap=1)
    audited = audit(tmp_path / "out", Workers(num_proc=1))
    assert {finding.code for finding in audited.findings} == {"overlap-across-splits"}
    assert len({pair["b"] for pair in pairs_with_train(audited)}) == 10 + 22


def test_class_that_train_lacks_shares_no_ground(tmp_path: Path) -> None:
    make_sample_archives.make_sample_archives(tmp_path / "out", train=1, validation=2, test=2, overlap=1)
    pairs = pairs_with_train(audit(tmp_path / "out", Workers(num_proc=1)))
    assert {pair["b"] for pair in pairs} == {"validation/glaciar/0.png", "test/glaciar/0.png"}


def test_scene_without_room_for_more_overlaps_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def flat(*arguments: object, size: int, **options: object) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        return np.full((size, size, 3), 255, np.uint8), np.zeros((size, size), np.bool_)

    monkeypatch.setattr(sample_tiles, "render_scene", flat)
    monkeypatch.setattr(sample_tiles, "MOST_DRAWS", 20)
    with pytest.raises(RuntimeError, match="20 draws found too few places"):
        sample_tiles.cut(sample_tiles.SharedGround(Scene(0, 0, CLASS_NAMES.index("cordillera"), 0, 2, 3), 0, 1))


def window_fingerprints(tile: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Return a number for each 16 x 16 window of a tile, the same for equal windows: uint64 (113, 113)."""
    weights = np.random.default_rng(0).integers(2**63, size=(16, 16), dtype=np.uint64)
    colours = np.ascontiguousarray(tile).view(np.uint32)[..., 0].astype(np.uint64)
    return np.einsum("rcij,ij->rc", np.lib.stride_tricks.sliding_window_view(colours, (16, 16)), weights)


def telling_corners(tile: npt.NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Yield where the windows in a tile's corners begin that hold at least 16 colours."""
    for row, column in itertools.product((0, TILE_SIZE - 16), repeat=2):
        window = tile[row : row + 16, column : column + 16].reshape(-1, 4)
        if len(np.unique(window, axis=0)) >= 16:
            yield row, column


def test_no_tile_overlaps_another(sample: Path) -> None:
    tiles = {name: tile for split in SPLIT_NAMES for name, tile in tiles_of(sample, split).items()}
    fingerprints = {name: window_fingerprints(tile) for name, tile in tiles.items()}
    compared = 0
    # Where two tiles overlap, a corner of one lies somewhere in the other.
    for name, tile in tiles.items():
        for corner in telling_corners(tile):
            compared += 1
            found_in = [other for other in tiles if (fingerprints[other] == fingerprints[name][corner]).any()]
            assert found_in == [name]
    assert compared > len(tiles)


def test_split_of_one_tile_has_a_glaciar_tile_with_its_mask(tmp_path: Path) -> None:
    make_sample_archives.make_sample_archives(tmp_path / "out", train=1, validation=1, test=1)
    assert list(members(tmp_path / "out" / "train_masks.zip")) == ["train/glaciar/0.png"]
    assert list(members(tmp_path / "out" / "train.zip")) == ["train/glaciar/0.png"]


def test_tile_too_poor_in_rock_glacier_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []

    def poor_at_first(*arguments: object, **options: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        attempts.append(options)
        size = options["size"]
        return np.zeros((size, size, 3), np.uint8), np.full((size, size), len(attempts) > 1)

    monkeypatch.setattr(sample_tiles, "render_scene", poor_at_first)
    tiles = cut_scene(Scene(0, 0, CLASS_NAMES.index("glaciar"), 0, 2, 3))
    assert len(attempts) == 2
    assert [bool(tile.mask and pixels(tile.mask).all()) for tile in tiles] == [True] * 3


def test_renderer_that_makes_no_rock_glaciers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*arguments: object, size: int, **options: object) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        return np.zeros((size, size, 3), np.uint8), np.zeros((size, size), np.bool_)

    monkeypatch.setattr(sample_tiles, "render_scene", none)
    with pytest.raises(RuntimeError, match="too little rock glacier"):
        cut_scene(Scene(0, 0, CLASS_NAMES.index("glaciar"), 0, 2, 3))


@pytest.mark.parametrize("mood", MOODS)
def test_scene_with_rock_glaciers_has_one_in_each_square_and_another_has_none(mood: str) -> None:
    rgb, mask = render_scene(np.random.default_rng(5), size=256, rock_glaciers=True, mood=MOODS[mood])
    assert (rgb.shape, str(rgb.dtype)) == ((256, 256, 3), "uint8")
    assert (mask.shape, str(mask.dtype)) == ((256, 256), "bool")
    assert all(mask[r : r + 128, c : c + 128].mean() >= 0.03 for r in (0, 128) for c in (0, 128))
    _, none = render_scene(np.random.default_rng(5), size=256, rock_glaciers=False, mood=MOODS[mood])
    assert not none.any()


def test_rock_glacier_is_seen_where_its_mask_is() -> None:
    mood = MOODS["blue-grey"]
    with_them, mask = render_scene(np.random.default_rng(5), size=256, rock_glaciers=True, mood=mood)
    without, _ = render_scene(np.random.default_rng(5), size=256, rock_glaciers=False, mood=mood)
    # The change that rock glaciers make to the scene, away from the shadows that they cast on the ground beside them.
    change = np.abs(with_them.astype(int) - without.astype(int)).mean(axis=-1)
    assert change[mask].mean() > 2 * change[~mask].mean()


@pytest.mark.parametrize("size", [128, 257])
def test_scene_of_a_size_that_does_not_fit_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"size is {size}"):
        render_scene(np.random.default_rng(0), size=size, rock_glaciers=True)


@pytest.mark.parametrize("num_proc", [1, 2])
def test_interrupted_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_proc: int) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        assert list(tmp_path.iterdir()) != []
        raise KeyboardInterrupt

    monkeypatch.setattr(make_sample_archives, "write_manifest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "out", num_proc=num_proc)
    assert list(tmp_path.iterdir()) == []
    # joblib keeps its own, where another test has had work for them.
    assert not [process for process in multiprocessing.active_children() if not process.name.startswith("Loky")]


def test_failure_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(make_sample_archives, "write_split", full)
    assert make_sample_archives.main([str(tmp_path / "out")]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert "cannot be written (No space left on device); make room" in output.err
    assert "Traceback" not in output.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"train": 0}, "train is 0"),
        ({"test": -1}, "test is -1"),
        ({"shards": 0}, "shards is 0; from 1 to 4 are possible"),
        ({"shards": 6}, "shards is 6; from 1 to 4 are possible, as many as validation has"),
        ({"seed": -1}, "seed is -1"),
        ({"num_proc": 0}, "num_proc is 0"),
        ({"overlap": -0.1}, "overlap is -0.1; it is a share from 0 to 1"),
        ({"overlap": 1.5}, "overlap is 1.5"),
        ({"overlap": float("nan")}, "overlap is nan"),
        ({"overlap": 1, "train": 2, "test": 100}, "52 cordillera tiles would share ground with 1 of train, 16"),
        ({"faults": True, "validation": 3}, "validation is 3; to plant faults, 4 tiles at least"),
    ],
)
def test_number_that_does_not_fit_is_named(tmp_path: Path, numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(tmp_path / "out", **numbers)
    assert list(tmp_path.iterdir()) == []


def test_command_line_makes_what_the_function_makes(sample: Path, tmp_path: Path) -> None:
    sizes = [f"--{split}={size}" for split, size in SIZES.items()]
    ended = run(tmp_path / "out", *sizes, "--seed", 3)
    assert ended.returncode == 0
    assert contents(tmp_path / "out") == contents(sample)
    files = contents(sample)
    assert ended.stdout.splitlines() == [
        f"{name}: {len(members(sample / name))} {kind}, {len(files[name])} bytes"
        for split in SPLIT_NAMES
        for name, kind in ((f"{split}.zip", "tiles"), (f"{split}_masks.zip", "masks"))
    ]


def test_command_line_plants_faults_and_says_where(tmp_path: Path) -> None:
    sizes = [f"--{split}={size}" for split, size in SIZES.items()]
    ended = run(tmp_path / "out", *sizes, "--seed", 3, "--overlap", 0.5, "--faults")
    assert ended.returncode == 0
    assert "Warning" not in ended.stderr
    made = make(tmp_path / "same", seed=3, overlap=0.5, faults=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "same")
    lines = ended.stdout.splitlines()
    assert lines[:-15] == [
        f"{archive.name}: {archive.members} {'masks' if '_masks' in archive.name else 'tiles'}, "
        f"{(tmp_path / 'out' / archive.name).stat().st_size} bytes"
        for archive in made.archives
    ]
    assert lines[-15:] == [f"planted {code}: {path}" for code, path in made.faults.items()]
    found = {(finding.code, finding.path) for finding in audit(tmp_path / "out", Workers(num_proc=1)).findings}
    assert set(made.faults.items()) <= found
    assert {code for code, _ in found - set(made.faults.items())} == {"overlap-across-splits"}


def test_faults_that_cannot_be_planted_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path) -> None:
        assert (folder / "manifest.json").exists()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(make_sample_archives, "plant_all", full)
    with pytest.raises(OSError, match="No space left"):
        make(tmp_path / "out", faults=True)
    assert list(tmp_path.iterdir()) == []


def test_command_line_refuses_an_occupied_folder_and_leaves_it(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("content")
    ended = run(tmp_path)
    assert ended.returncode == 1
    assert len(ended.stderr.strip().splitlines()) == 1
    assert "name a new folder or an empty one" in ended.stderr
    assert contents(tmp_path) == {"precious": b"content"}


def test_command_line_cannot_write_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = run(tmp_path / "file" / "out")
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    "arguments", [["--train=0"], ["--test=-3"], ["--shards=11"], ["--seed=x"], ["--overlap=2"], ["--unknown"]]
)
def test_wrong_usage_exits_with_2_and_says_how(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        make_sample_archives.main([str(tmp_path / "out"), *arguments])
    assert exit_.value.code == 2
    assert "usage:" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_help_explains_every_option() -> None:
    ended = run("--help")
    assert ended.returncode == 0
    options = ("OUT", "--train", "--validation", "--test", "--shards", "--seed", "--overlap", "--faults")
    assert all(word in ended.stdout for word in options)
    assert "loading such a sample fails" in " ".join(ended.stdout.split())
