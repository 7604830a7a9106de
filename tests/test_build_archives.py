"""From a maintainer's folder to contract archives: no ground in two splits, the same bytes, whole or not there."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import csv
import errno
import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile

import build_archives
import pytest
from archive_audit import audit
from archive_contents import contents
from build_archives import main
from conftest import REPOSITORY
from PIL import Image
from source_folders import files_of, flat_folder, save_mask, save_tile

import rock_glacier_dataset
from rock_glacier.parallel import Workers
from rock_glacier_dataset import CONFIG_NAMES, SPLIT_NAMES

SCRIPT = REPOSITORY / "scripts" / "build_archives.py"
ROCA = ["--class", "glaciarRoca=glaciar", "--num-proc", "1"]
EVEN = ["--ratios", "1:1:1"]


@pytest.fixture
def flat(tmp_path):
    return flat_folder(tmp_path)


@pytest.fixture
def overlapping(tmp_path):
    """Three scenes of cordillera and three of glaciar; three tiles of each scene overlap one another."""
    for seed, area in enumerate("abcdef"):
        for number, shift in enumerate((0, 50, 90)):
            name = f"{'cordillera' if seed < 3 else 'glaciarRoca'}_{area}_{number}.png"
            save_tile(tmp_path / "tiles" / name, seed, shift)
            if seed >= 3:
                save_mask(tmp_path / "masks" / name)
    return tmp_path / "tiles", tmp_path / "masks"


@pytest.fixture(scope="session")
def real_folders(tmp_path_factory):
    """The real tiles and masks as upstream has them, unpacked."""
    real = REPOSITORY.parent / "shared" / "real"
    if not real.is_dir():
        pytest.skip("left out: the real tiles are not part of the project (no ../shared/real)")
    folder = tmp_path_factory.mktemp("real")
    for kind in ("tiles", "masks"):
        with zipfile.ZipFile(real / f"raw_{kind}.zip") as archive:
            archive.extractall(folder)
    return folder / "tiles", folder / "masks"


def build(tiles, out, *options, masks=None):
    """Run the command line, and return its exit status."""
    return main([str(tiles), str(out), *ROCA, *(["--masks", str(masks)] if masks else []), *options])


def groups_of(out):
    with (out / "groups.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def told(captured):
    """Return the lines on standard error that are no progress bar."""
    lines = captured.err.replace("\r", "\n").splitlines()
    return [line.strip() for line in lines if line.strip() and not re.search("(parts|tiles)/s", line)]


# ------------------------------------------------------------------------------------------------------ what is built


def test_archives_pass_the_audit_and_load_in_both_configs(overlapping, tmp_path):
    tiles, masks = overlapping
    assert build(tiles, tmp_path / "out", *EVEN, masks=masks) == 0
    found = audit(tmp_path / "out", Workers(1))
    assert found.findings == []
    assert found.tiles == {split: {"cordillera": 3, "glaciar": 3} for split in SPLIT_NAMES}
    for config in CONFIG_NAMES:
        splits = rock_glacier_dataset.load_dataset(config, data_dir=tmp_path / "out", cache_dir=tmp_path / "cache")
        assert {split: len(dataset) for split, dataset in splits.items()} == dict.fromkeys(SPLIT_NAMES, 6)


def test_real_tiles_pass_the_audit_and_share_no_ground_across_splits(real_folders, tmp_path, capsys):
    tiles, masks = real_folders
    assert build(tiles, tmp_path / "out", masks=masks) == 0
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["audit"]["errors"] == 0
    real = REPOSITORY.parent / "shared" / "real"
    with (real / "names.csv").open() as names, (real / "overlaps.csv").open() as overlaps:
        source_of = {row["path"]: row["tile"] for row in csv.DictReader(names)}
        pairs = [(source_of[row["a"]], source_of[row["b"]]) for row in csv.DictReader(overlaps)]
    split_of = {row["source"]: row["path"].split("/")[0] for row in groups_of(tmp_path / "out")}
    assert len(pairs) == 689
    assert [(a, b) for a, b in pairs if split_of[a] != split_of[b]] == []
    captured = capsys.readouterr()
    assert "300 made RGBA" in captured.out
    # 162 cordillera tiles are of three groups, so that each split takes one of them, be it too large.
    assert any("34 more than validation was to have; it was kept whole" in line for line in told(captured))
    for config in CONFIG_NAMES:
        splits = rock_glacier_dataset.load_dataset(config, data_dir=tmp_path / "out", streaming=True)
        assert sum(1 for dataset in splits.values() for _ in dataset) == 300


def test_ids_count_from_0_in_each_class_in_natural_order(flat, tmp_path):
    tiles, masks = flat
    (tiles / "cordillera_5.png").rename(tiles / "cordillera_10.png")
    assert build(tiles, tmp_path / "out", *EVEN, masks=masks) == 0
    rows = groups_of(tmp_path / "out")
    assert [row["path"] for row in rows] == [
        name for split in SPLIT_NAMES for name in contents(tmp_path / "out", split)
    ]
    for split in SPLIT_NAMES:
        for name, prefix in (("cordillera", "cordillera"), ("glaciar", "glaciarRoca")):
            its = [row for row in rows if row["path"].startswith(f"{split}/{name}/")]
            assert [row["path"] for row in its] == [f"{split}/{name}/{number}.png" for number in range(2)]
            numbers = [int(row["source"].removeprefix(f"{prefix}_").removesuffix(".png")) for row in its]
            assert numbers == sorted(numbers)


def test_groups_name_each_tiles_source_and_those_that_share_ground(overlapping, tmp_path):
    tiles, masks = overlapping
    assert build(tiles, tmp_path / "out", *EVEN, masks=masks) == 0
    rows = groups_of(tmp_path / "out")
    assert list(rows[0]) == ["path", "group", "source"]
    assert sorted(row["source"] for row in rows) == sorted(path.name for path in tiles.iterdir())
    assert len({(row["group"], row["source"][:-6]) for row in rows}) == len({row["group"] for row in rows}) == 6
    numbers = [int(row["group"]) for row in rows]
    assert list(dict.fromkeys(numbers)) == list(range(6))
    assert b"\r" not in (tmp_path / "out" / "groups.csv").read_bytes()


def test_turned_and_mirrored_tiles_are_of_one_group(flat, tmp_path):
    tiles, masks = flat
    for number, way in enumerate((Image.Transpose.ROTATE_90, Image.Transpose.FLIP_LEFT_RIGHT)):
        Image.open(tiles / "cordillera_0.png").transpose(way).save(tiles / f"cordillera_9{number}.png")
    assert build(tiles, tmp_path / "out", *EVEN, masks=masks) == 0
    rows = {row["source"]: row for row in groups_of(tmp_path / "out")}
    doubled = [rows[f"cordillera_{number}.png"] for number in (0, 90, 91)]
    assert len({row["group"] for row in doubled}) == len({row["path"].split("/")[0] for row in doubled}) == 1


def test_manifest_says_what_was_checked(flat, tmp_path):
    tiles, masks = flat
    assert build(tiles, tmp_path / "out", *EVEN, masks=masks) == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["version"] == "1.0.0"
    assert manifest["splits"] == {split: {"cordillera": 2, "glaciar": 2} for split in SPLIT_NAMES}
    assert manifest["audit"] == {"tool": "build_archives.py 1.0.0", "errors": 0, "warnings": 0}
    for name, archive in manifest["archives"].items():
        content = (tmp_path / "out" / name).read_bytes()
        assert archive == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@pytest.mark.parametrize("mode", ["overlap-free", "random"])
def test_same_seed_gives_the_same_bytes_with_any_number_of_processes(overlapping, tmp_path, mode):
    tiles, masks = overlapping
    built = []
    for name, seed, num_proc in (("a", 3, 1), ("b", 3, 2), ("c", 4, 1)):
        options = [*EVEN, "--split", mode, "--seed", str(seed), "--num-proc", str(num_proc)]
        assert build(tiles, tmp_path / name, *options, masks=masks) == 0
        built.append(files_of(tmp_path / name))
    assert built[0] == built[1]
    assert built[0] != built[2]


def test_without_masks_there_are_tiles_alone_and_it_says_so(flat, tmp_path, capsys):
    assert build(flat[0], tmp_path / "out") == 0
    archives = {f"{split}.zip" for split in SPLIT_NAMES}
    assert set(files_of(tmp_path / "out")) == archives | {"groups.csv", "manifest.json"}
    assert "masks: none; the archives are for image-classification alone" in capsys.readouterr().out
    rock_glacier_dataset.load_dataset(data_dir=tmp_path / "out", cache_dir=tmp_path / "cache")


def test_class_folders_of_numbered_tiles_are_taken(flat, tmp_path):
    tiles, masks = flat
    for kind, name, prefix in (
        (tiles, "glaciar", "glaciarRoca"), (tiles, "cordillera", "cordillera"), (masks, "glaciar", "glaciarRoca")
    ):  # fmt: skip
        (kind / name).mkdir()
        for path in kind.glob(f"{prefix}_*.png"):
            path.rename(kind / name / path.name.removeprefix(f"{prefix}_"))
    assert main([str(tiles), str(tmp_path / "out"), "--masks", str(masks), "--num-proc", "1"]) == 0
    assert {row["source"] for row in groups_of(tmp_path / "out")} >= {"cordillera/0.png", "glaciar/0.png"}


def test_masks_folder_may_lie_among_the_tiles(flat, tmp_path):
    tiles, masks = flat
    masks.rename(tiles / "masks")
    assert build(tiles, tmp_path / "out", masks=tiles / "masks") == 0


def test_sample_that_is_unpacked_is_built_again(sample, tmp_path):
    for kind in ("", "_masks"):
        for split in SPLIT_NAMES:
            with zipfile.ZipFile(sample / f"{split}{kind}.zip") as archive:
                archive.extractall(tmp_path / f"tiles{kind}")
    assert build(tmp_path / "tiles", tmp_path / "out", "--split", "keep", masks=tmp_path / "tiles_masks") == 0
    for split in SPLIT_NAMES:
        for kind in ("", "_masks"):
            assert contents(tmp_path / "out", split, kind) == contents(sample, split, kind)


# ------------------------------------------------------------------------------------------------------ what it says


def test_each_split_and_archive_has_a_line(flat, tmp_path, capsys):
    tiles, masks = flat
    assert build(tiles, tmp_path / "out", *EVEN, masks=masks) == 0
    captured = capsys.readouterr()
    size = (tmp_path / "out" / "train.zip").stat().st_size
    assert captured.out.splitlines()[:7] == [
        "tiles: 6 cordillera, 6 glaciar; 12 made RGBA",
        "masks: 6; 6 made opaque black and white",
        "groups: 12; the largest has 1 tile, the first cordillera_0.png",
        *(f"{split}: 2 cordillera (asked 2), 2 glaciar (asked 2); 4 groups" for split in SPLIT_NAMES),
        "split: just as asked",
    ]
    assert captured.out.splitlines()[7] == f"train.zip: 4 tiles, {size} bytes"
    assert captured.out.splitlines()[-1] == "audit: 0 errors, 0 warnings"
    assert told(captured) == []


def test_group_that_is_too_large_is_named_with_the_excess(flat, tmp_path, capsys):
    tiles, masks = flat
    for number in range(6, 18):
        save_tile(tiles / f"cordillera_{number}.png", 5, 5 * (number - 5))
    assert build(tiles, tmp_path / "out", *EVEN, masks=masks) == 0
    captured = capsys.readouterr()
    (line,) = told(captured)
    assert "warning: the group of cordillera_5.png has 13 cordillera tiles, 7 more than" in line
    assert "it was kept whole" in line
    assert "split: at most 7 off what was asked, cordillera in" in captured.out


def test_random_split_that_leaks_says_so(overlapping, tmp_path, capsys):
    tiles, masks = overlapping
    assert build(tiles, tmp_path / "out", "--split", "random", masks=masks) == 0
    found = audit(tmp_path / "out", Workers(1))
    assert found.errors > 0
    (line,) = told(capsys.readouterr())
    assert f"--split random leaks: {found.errors} pairs of tiles show the same ground across splits" in line
    assert "use --split overlap-free" in line
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["audit"]["errors"] == found.errors


def test_kept_split_that_leaks_says_so_and_keeps_the_folders(overlapping, tmp_path, capsys):
    tiles, masks = overlapping
    for path in sorted(tiles.iterdir()):
        split = SPLIT_NAMES[int(path.stem[-1])]
        (tiles / split).mkdir(exist_ok=True)
        path.rename(tiles / split / path.name)
    assert build(tiles, tmp_path / "out", "--split", "keep", masks=masks) == 0
    assert all(row["path"].split("/")[0] == row["source"].split("/")[0] for row in groups_of(tmp_path / "out"))
    assert any("--split keep leaks" in line for line in told(capsys.readouterr()))


def test_kept_split_without_leaks_says_nothing(flat, tmp_path, capsys):
    tiles, masks = flat
    for number, path in enumerate(sorted(tiles.iterdir())):
        (tiles / SPLIT_NAMES[number % 3]).mkdir(exist_ok=True)
        path.rename(tiles / SPLIT_NAMES[number % 3] / path.name)
    assert build(tiles, tmp_path / "out", "--split", "keep", masks=masks) == 0
    assert told(capsys.readouterr()) == []


# --------------------------------------------------------------------------------------------------------- bad input


def spoil(what, tiles, masks):
    if what == "no image":
        (tiles / "glaciarRoca_3.png").write_text("no image")
    elif what == "not readable":
        (tiles / "glaciarRoca_3.png").unlink()
        (tiles / "glaciarRoca_3.png").symlink_to("nowhere")
    elif what == "another size":
        Image.new("RGB", (256, 256)).save(tiles / "glaciarRoca_3.png")
    elif what == "same stem":
        (tiles / "more").mkdir()
        shutil.copy(tiles / "glaciarRoca_3.png", tiles / "more")
    elif what == "two masks":
        shutil.copy(masks / "glaciarRoca_3.png", masks / "mask_glaciarRoca_3.png")
    elif what == "mask of cordillera":
        save_mask(masks / "cordillera_3.png")
    elif what == "no mask":
        (masks / "glaciarRoca_3.png").unlink()
    elif what == "no tiles":
        shutil.rmtree(tiles)
        tiles.mkdir()
    elif what == "no folder":
        shutil.rmtree(tiles)
    elif what == "one scene":
        shutil.rmtree(tiles)
        shutil.rmtree(masks)
        masks.mkdir()
        for number in range(9):
            save_tile(tiles / f"cordillera_{number}.png", 1, 5 * number)


@pytest.mark.parametrize(
    ("what", "named", "remedy"),
    [
        ("no image", "tiles/glaciarRoca_3.png", "copy or export it again, or remove it"),
        ("not readable", "tiles/glaciarRoca_3.png", "make it readable, or remove it"),
        ("another size", "tiles/glaciarRoca_3.png", "cut it again, or remove it"),
        ("same stem", "tiles/more/glaciarRoca_3.png", "remove one if they are one tile, or else rename it"),
        ("two masks", "tiles/glaciarRoca_3.png", "remove one"),
        ("mask of cordillera", "masks/cordillera_3.png", "remove the mask, or make the tile glaciar"),
        ("no mask", "tiles/glaciarRoca_3.png", "add one, or make the tile cordillera"),
        ("no tiles", "tiles", "give the folder that holds the PNG files"),
        ("no folder", "tiles", "give the folder that holds the PNG files"),
        ("one scene", "tiles", "add tiles of other ground"),
    ],
)
def test_bad_input_is_one_line_with_the_remedy_and_leaves_nothing(flat, tmp_path, capsys, what, named, remedy):
    tiles, masks = flat
    spoil(what, tiles, masks)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert build(tiles, tmp_path / "out", masks=masks) == 1
    captured = capsys.readouterr()
    (line,) = told(captured)
    assert f": error: {tmp_path / named}: " in line
    assert line.endswith(remedy)
    assert (captured.out, "Traceback" in captured.err) == ("", False)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_first_fault_in_natural_order_is_told_whichever_process_finds_it(flat, tmp_path, capsys):
    tiles, masks = flat
    for number in (2, 4):
        (tiles / f"cordillera_{number}.png").write_text("no image")
    assert build(tiles, tmp_path / "out", "--num-proc", "2", masks=masks) == 1
    assert "cordillera_2.png" in told(capsys.readouterr())[0]


def test_out_that_exists_stays_as_it_is(flat, tmp_path, capsys):
    tiles, masks = flat
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("content")
    assert build(tiles, tmp_path / "out", masks=masks) == 1
    assert "name a new folder or an empty one" in told(capsys.readouterr())[0]
    assert files_of(tmp_path / "out") == {"precious": b"content"}


def test_out_among_the_tiles_is_refused(flat, capsys):
    tiles, masks = flat
    assert build(tiles, tiles / "out", masks=masks) == 1
    assert f"lies in {tiles}, which is read; name a folder outside" in told(capsys.readouterr())[0]


def test_masks_in_the_folder_of_tiles_itself_are_refused(flat, tmp_path, capsys):
    assert build(flat[0], tmp_path / "out", masks=flat[0]) == 1
    assert "put the masks into a folder of their own" in told(capsys.readouterr())[0]


@pytest.mark.parametrize(("drop", "message"), [("", "no folder says its split"), ("test", "test: has no tiles")])
def test_kept_split_needs_the_three_folders(flat, tmp_path, capsys, drop, message):
    tiles, masks = flat
    for number, path in enumerate(sorted(tiles.iterdir())):
        split = [split for split in SPLIT_NAMES if split != drop][number % 2] if drop else ""
        (tiles / split).mkdir(exist_ok=True)
        path.rename(tiles / split / path.name)
    assert build(tiles, tmp_path / "out", "--split", "keep", masks=masks) == 1
    assert message in told(capsys.readouterr())[0]


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
def test_full_disk_is_one_line_and_leaves_nothing(flat, tmp_path):
    tiles, masks = flat
    before = sorted(path.name for path in tmp_path.iterdir())
    command = [sys.executable, str(SCRIPT), str(tiles), str(tmp_path / "out"), "--masks", str(masks), *ROCA]
    limited = """
import resource, runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    environment = {"PYTHONPATH": str(REPOSITORY), "HOME": str(tmp_path)}
    ended = subprocess.run(
        [command[0], "-c", limited, *command[1:]], capture_output=True, text=True, check=False, env=environment
    )
    assert ended.returncode == 1, ended.stderr
    last = ended.stderr.replace("\r", "\n").strip().splitlines()[-1]
    what, remedy = "cannot be written (File too large)", "make room, or name a folder on another disk"
    assert last.endswith(f"error: {tmp_path / 'out'}: {what}; {remedy}")
    assert "Exception ignored" not in ended.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("step", ["write_manifest", "_write_groups"])
def test_disk_that_fills_up_at_the_end_leaves_nothing(flat, tmp_path, capsys, monkeypatch, step):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(build_archives, step, full)
    assert build(flat[0], tmp_path / "out", masks=flat[1]) == 1
    assert "(No space left on device); make room" in told(capsys.readouterr())[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["masks", "tiles"]


def test_interrupted_run_leaves_nothing(flat, tmp_path, capsys, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(build_archives, "write_manifest", interrupted)
    assert build(flat[0], tmp_path / "out", masks=flat[1]) == 1
    assert "interrupted; nothing was written" in told(capsys.readouterr())[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["masks", "tiles"]


def test_archives_with_an_error_are_not_left(overlapping, tmp_path, capsys, monkeypatch):
    def torn(groups, labels, ratios, seed):
        return [number % 3 for number in range(len(groups))]

    monkeypatch.setattr(build_archives, "deal", torn)
    assert build(*overlapping[:1], tmp_path / "out", masks=overlapping[1]) == 1
    (line,) = told(capsys.readouterr())
    assert "shows the same ground as" in line
    assert "more)" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--ratios", "1:2"],
        ["--ratios", "1:0:1"],
        ["--ratios", "a:b:c"],
        ["--ratios", "nan:1:1"],
        ["--ratios", "1e999999999:1:1"],
        ["--class", "glaciarRoca"],
        ["--class", "glaciarRoca=ice"],
        ["--class", "=glaciar"],
        ["--class", "x=glaciar", "--class", "x=cordillera"],
        ["--seed", "-1"],
        ["--num-proc", "0"],
        ["--split", "fair"],
    ],
)
def test_wrong_usage_exits_with_2_and_says_how(tmp_path, capsys, options):
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path), str(tmp_path / "out"), *options])
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_help_explains_every_option():
    ended = subprocess.run([sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0
    options = ("TILES", "OUT", "--masks", "--class", "--split", "--ratios", "--seed", "--num-proc", "7875:1125:2700")
    assert all(word in ended.stdout for word in options)
