"""From folders of tiles, or archives, to archives: no ground in two splits, the same bytes, whole or not there."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import sys
import zipfile
from pathlib import Path

import pytest
from archive_contents import contents
from PIL import Image
from source_folders import files_of, limited_file_size, save_mask, save_tile

from rock_glacier.audit.checks import audit
from rock_glacier.curation.build_command import main
from rock_glacier.parallel import Workers
from rock_glacier_dataset import CONFIG_NAMES, SPLIT_NAMES, load_archives

EVEN = ["--ratios", "1:1:1"]


@pytest.fixture
def flat(tmp_path):
    """A folder with six tiles of each class, none of which share ground, and the masks."""
    for number in range(6):
        save_tile(tmp_path / "tiles" / f"cordillera_{number}.png", number)
        save_tile(tmp_path / "tiles" / f"glaciarRoca_{number}.png", 1000 + number)
        save_mask(tmp_path / "masks" / f"glaciarRoca_{number}.png")
    return tmp_path


@pytest.fixture
def overlapping(tmp_path):
    """The same of three scenes of cordillera and three of glaciar; three tiles of each scene overlap."""
    for seed, area in enumerate("abcdef"):
        for number, shift in enumerate((0, 50, 90)):
            name = f"{'cordillera' if seed < 3 else 'glaciarRoca'}_{area}_{number}.png"
            save_tile(tmp_path / "tiles" / name, seed, shift)
            if seed >= 3:
                save_mask(tmp_path / "masks" / name)
    return tmp_path


def command(folder, *options, tiles="tiles", out="out", masks="masks"):
    """Return the command's arguments for what lies in a folder; no masks where there is no folder of them."""
    given = ["--masks", str(folder / masks)] if (folder / masks).exists() else []
    shared = ["--class", "glaciarRoca=glaciar", "--num-proc", "1"]
    return [str(folder / tiles), str(folder / out), *shared, *given, *options]


def build(folder, *options, **places):
    """Run the command, and return its exit status."""
    return main(command(folder, *options, **places))


def rows_of(folder):
    with (folder / "out" / "grounds.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def into_splits(tiles, split_of):
    """Move tiles into folders of splits, by number and name."""
    for number, path in enumerate(sorted(tiles.iterdir())):
        folder = tiles / split_of(number, path)
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)


def test_archives_pass_the_audit_and_load_in_both_configs(overlapping):
    assert build(overlapping, *EVEN) == 0
    found = audit(overlapping / "out", Workers(1))
    assert found.findings == []
    assert found.tiles == {split: {"cordillera": 3, "glaciar": 3} for split in SPLIT_NAMES}
    for config in CONFIG_NAMES:
        splits = load_archives(config, data_dir=overlapping / "out", streaming=True)
        assert {split: len(list(dataset)) for split, dataset in splits.items()} == dict.fromkeys(SPLIT_NAMES, 6)
    rows = rows_of(overlapping)
    assert list(rows[0]) == ["path", "ground", "source"]
    assert sorted(row["source"] for row in rows) == sorted(path.name for path in (overlapping / "tiles").iterdir())
    assert len({(row["ground"], row["source"][:-6]) for row in rows}) == len({row["ground"] for row in rows}) == 6


def test_real_tiles_share_no_ground_across_splits(real, tmp_path, capsys):
    with zipfile.ZipFile(real / "raw_tiles.zip") as tiles, zipfile.ZipFile(real / "raw_masks.zip") as masks:
        some = sorted(tiles.namelist())[::2]
        tiles.extractall(tmp_path, some)
        masks.extractall(tmp_path, {name.replace("tiles/", "masks/") for name in some} & {*masks.namelist()})
    assert build(tmp_path) == 0
    split_of = {row["source"]: row["path"].split("/")[0] for row in rows_of(tmp_path)}
    with (real / "names.csv").open() as names, (real / "overlaps.csv").open() as overlaps:
        source_of = {row["path"]: row["tile"] for row in csv.DictReader(names)}
        pairs = [(source_of[row["a"]], source_of[row["b"]]) for row in csv.DictReader(overlaps)]
    pairs = [(a, b) for a, b in pairs if {a, b} <= {*split_of}]
    assert (len(pairs), len(split_of)) == (132, 150)
    assert [(a, b) for a, b in pairs if split_of[a] != split_of[b]] == []
    captured = capsys.readouterr()
    assert "81 cordillera, 69 glaciar; 150 made RGBA" in captured.out
    assert "has the pixels of train/glaciar/022.png, as they are, turned or mirrored" in captured.err
    for config in CONFIG_NAMES:
        splits = load_archives(config, data_dir=tmp_path / "out", streaming=True)
        assert sum(1 for dataset in splits.values() for _ in dataset) == 150


def test_ids_count_from_000_in_natural_order_and_members_have_the_order_of_their_sha256(flat):
    (flat / "tiles" / "cordillera_5.png").rename(flat / "tiles" / "cordillera_10.png")
    assert build(flat, *EVEN) == 0
    rows = rows_of(flat)
    for split in SPLIT_NAMES:
        for name, prefix in (("cordillera", "cordillera_"), ("glaciar", "glaciarRoca_")):
            its = [row for row in rows if row["path"].startswith(f"{split}/{name}/")]
            assert [row["path"] for row in its] == [f"{split}/{name}/{number}.png" for number in ("000", "001")]
            numbers = [int(row["source"].removeprefix(prefix).removesuffix(".png")) for row in its]
            assert numbers == sorted(numbers)
        members = contents(flat / "out", split)
        assert list(members) == sorted(members, key=lambda path: hashlib.sha256(path.encode()).digest())
        assert {path for path in members if "/masks/" in path} == {f"{split}/masks/00{n}.png" for n in (0, 1)}


def test_turned_and_mirrored_tiles_are_of_one_ground(flat):
    for number, way in enumerate((Image.Transpose.ROTATE_90, Image.Transpose.FLIP_LEFT_RIGHT)):
        turned = Image.open(flat / "tiles" / "cordillera_0.png").transpose(way)
        turned.save(flat / "tiles" / f"cordillera_9{number}.png")
    assert build(flat, *EVEN) == 0
    rows = {row["source"]: row for row in rows_of(flat)}
    alike = [rows[f"cordillera_{number}.png"] for number in (0, 90, 91)]
    assert len({row["ground"] for row in alike}) == len({row["path"].split("/")[0] for row in alike}) == 1


def test_manifest_holds_the_audit_and_every_archive(flat):
    assert build(flat, *EVEN, "--shards", "2") == 0
    built = files_of(flat / "out")
    assert json.loads(built["manifest.json"]) == {
        "version": "2.0.0",
        "splits": {split: {"cordillera": 2, "glaciar": 2} for split in SPLIT_NAMES},
        "archives": {
            name: {"bytes": len(built[name]), "sha256": hashlib.sha256(built[name]).hexdigest()}
            for name in (f"{split}-0000{shard}-of-00002.zip" for split in SPLIT_NAMES for shard in (0, 1))
        },
        "audit": {"tool": "build_archives.py 2.0.0", "errors": 0, "warnings": 0},
    }


def test_same_seed_gives_the_same_bytes_with_any_number_of_processes(overlapping):
    for number in range(60):  # more tiles than one worker converts at once
        save_tile(overlapping / "tiles" / f"cordillera_{number}.png", 100 + number)
    built = []
    for name, seed, num_proc in (("a", 3, 1), ("b", 3, 2), ("c", 4, 1)):
        assert build(overlapping, *EVEN, "--seed", str(seed), "--num-proc", str(num_proc), out=name) == 0
        built.append(files_of(overlapping / name))
    assert built[0] == built[1]
    assert built[0] != built[2]


def test_without_masks_there_are_tiles_alone(flat, capsys):
    shutil.rmtree(flat / "masks")
    assert build(flat) == 0
    captured = capsys.readouterr()
    assert "masks: none" in captured.out
    assert "holds no masks" in captured.err
    splits = load_archives(data_dir=flat / "out", streaming=True)
    assert sum(len(list(dataset)) for dataset in splits.values()) == 12


@pytest.mark.parametrize("form", ["archives", "shards", "unpacked"])
def test_archives_are_built_again_as_they_are(sample, sharded_sample, tmp_path, form):
    tiles = sharded_sample if form == "shards" else sample
    if form == "unpacked":
        tiles = tmp_path / "unpacked"
        for split in SPLIT_NAMES:
            with zipfile.ZipFile(sample / f"{split}.zip") as archive:
                archive.extractall(tiles)
        (tiles / "validation").rename(tiles / "val")
        Image.new("RGBA", (128, 128)).save(tiles / "zeros.png")
    assert build(tmp_path, "--split", "keep", tiles=tiles) == 0
    for split in SPLIT_NAMES:
        assert contents(tmp_path / "out", split) == contents(sample, split)


def test_archives_are_split_anew(sample, tmp_path):
    assert build(tmp_path, tiles=sample) == 0
    before = {path: png for split in SPLIT_NAMES for path, png in contents(sample, split).items()}
    sources = {row["path"]: row["source"].partition("/")[2] for row in rows_of(tmp_path)}
    assert sorted(sources.values()) == sorted(path for path in before if "/masks/" not in path)
    for split in SPLIT_NAMES:
        for path, png in contents(tmp_path / "out", split).items():
            source = sources[path.replace("/masks/", "/glaciar/")]
            assert png == before[source.replace("/glaciar/", "/masks/") if "/masks/" in path else source]


def test_each_split_and_archive_has_a_line(flat, capsys):
    into_splits(flat / "tiles", lambda number, path: SPLIT_NAMES[number % 3])
    assert build(flat, *EVEN, "--split", "keep") == 0
    captured = capsys.readouterr()
    size = (flat / "out" / "train.zip").stat().st_size
    assert captured.out.splitlines()[:7] == [
        "tiles: 6 cordillera, 6 glaciar; 12 made RGBA",
        "masks: 6; 6 made white and black",
        "grounds: 12; the largest has 1 tile, such as test/cordillera_2.png",
        *(f"{split}: 2 cordillera (target 2), 2 glaciar (target 2); 4 grounds" for split in SPLIT_NAMES),
        f"train.zip: 4 tiles, {size:,} bytes",
    ]
    assert captured.out.splitlines()[-1] == "audit: 0 errors, 0 warnings"
    assert captured.err == ""


def test_ground_that_is_too_large_is_named_with_the_excess(flat, capsys):
    for number in range(6, 18):
        save_tile(flat / "tiles" / f"cordillera_{number}.png", 5, 5 * (number - 5))
    assert build(flat, *EVEN) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "warning: the ground of cordillera_5.png has 13 cordillera tiles, 7 more than the target of" in line


def test_class_on_too_few_grounds_and_transparent_tiles_are_named(flat, capsys):
    for number in range(2, 6):
        (flat / "tiles" / f"cordillera_{number}.png").unlink()
    Image.new("RGBA", (128, 128)).save(flat / "tiles" / "cordillera_1.png")
    assert build(flat, *EVEN) == 0
    captured = capsys.readouterr()
    assert "has no cordillera tiles (target 0.7); add tiles of other ground" in captured.err
    assert "1 tile with transparent pixels, the first cordillera_1.png" in captured.err


@pytest.mark.parametrize("mode", ["random", "keep"])
def test_split_that_leaks_is_reported(overlapping, capsys, mode):
    if mode == "keep":
        into_splits(overlapping / "tiles", lambda number, path: SPLIT_NAMES[int(path.stem[-1])])
    assert build(overlapping, "--split", mode) == 0
    found = audit(overlapping / "out", Workers(1))
    assert found.errors > 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "leaks" in line]
    assert f"--split {mode} leaks: {found.errors} pairs of tiles overlap across splits; use --split ground" in line
    assert json.loads((overlapping / "out" / "manifest.json").read_text())["audit"]["errors"] == found.errors
    if mode == "keep":
        assert all(row["path"].split("/")[0] == row["source"].split("/")[0] for row in rows_of(overlapping))


def no_images(folder):
    for number in (3, 5):
        (folder / "tiles" / f"glaciarRoca_{number}.png").write_text("no image")


def one_scene(folder):
    shutil.rmtree(folder)
    for number in range(9):
        save_tile(folder / "tiles" / f"cordillera_{number}.png", 1, 5 * number)


def masks_beside_archives(folder):
    (folder / "tiles" / "train.zip").touch()


def bad_archive(folder):
    masks_beside_archives(folder)
    shutil.rmtree(folder / "masks")


@pytest.mark.parametrize(
    ("spoil", "named", "remedy"),
    [
        (no_images, "{}/tiles/glaciarRoca_3.png: cannot be used (is no PNG)", "or remove it"),
        (one_scene, "3 splits need as many grounds, and there are 1", "add tiles of other ground"),
        (masks_beside_archives, "{}/masks: is not read", "leave out --masks"),
        (bad_archive, "train.zip: cannot be read as a zip archive", "or build it again"),
    ],
)
def test_bad_input_is_one_line_with_the_remedy_and_leaves_nothing(flat, capsys, spoil, named, remedy):
    spoil(flat)
    before = files_of(flat)
    assert build(flat) == 1
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert f": error: {named.format(flat)}" in line
    assert line.endswith(remedy)
    assert captured.out == ""
    assert files_of(flat) == before


@pytest.mark.parametrize(
    ("out", "masks", "message"),
    [
        ("out", "masks", "name a new folder or an empty one"),
        ("tiles/out", "masks", "which is read; name a folder outside"),
        ("masks/out", "masks", "which is read; name a folder outside"),
        ("new", "tiles", "put the masks into a folder of their own"),
    ],
)
def test_folder_that_cannot_be_written_or_read_stays_as_it_is(flat, capsys, out, masks, message):
    (flat / "out").mkdir()
    (flat / "out" / "precious").write_text("content")
    before = files_of(flat)
    assert build(flat, out=out, masks=masks) == 1
    assert message in capsys.readouterr().err
    assert files_of(flat) == before


@pytest.mark.parametrize(("drop", "message"), [("", "no folder names its split"), ("test", "test: has no tiles")])
def test_kept_split_needs_the_three_folders(flat, capsys, drop, message):
    kept = [split for split in SPLIT_NAMES if split != drop]
    into_splits(flat / "tiles", lambda number, path: kept[number % 2] if drop else ".")
    assert build(flat, "--split", "keep") == 1
    assert message in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no file's size")
def test_full_disk_is_one_line_and_leaves_nothing(flat, capsys):
    before = files_of(flat)
    with limited_file_size(2**16):
        assert build(flat) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "out: cannot be written (File too large); make room, or name a folder on another disk" in line
    assert files_of(flat) == before


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal there")
def test_run_that_is_ended_leaves_nothing(flat, capsys, monkeypatch):
    before = files_of(flat)

    def not_handled(*_):
        raise AssertionError("the command does not handle SIGTERM")

    # The manifest is written when all archives are.
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    handler = signal.signal(signal.SIGTERM, not_handled)
    try:
        assert build(flat) == 1
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert capsys.readouterr().err.endswith(": interrupted; nothing was written\n")
    assert files_of(flat) == before


@pytest.mark.parametrize(
    "options",
    [
        ["--ratios", "1:2"],
        ["--ratios", "1:0:1"],
        ["--ratios", "a:b:c"],
        ["--ratios", "nan:1:1"],
        ["--ratios", "1e999999999:1:1"],
        ["--class", "glaciarRoca"],
        ["--class", "x=glaciar", "--class", "x=cordillera"],
        ["--shards", "0"],
        ["--split", "fair"],
    ],
)
def test_wrong_usage_exits_with_2(tmp_path, capsys, options):
    with pytest.raises(SystemExit) as caught:
        build(tmp_path, *options)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_missing_package_is_named_with_the_extra(flat, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rock_glacier.curation.build", None)  # as where an import in it fails
    assert build(flat) == 1
    assert capsys.readouterr().err.endswith("is not installed; pip install 'rock-glacier-dataset[curate]'\n")
