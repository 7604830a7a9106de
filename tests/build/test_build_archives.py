"""From folders of tiles, or archives, to archives: no ground in two splits, the same bytes, whole or not there."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
import signal
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from archive_contents import contents, replace_member
from PIL import Image
from source_folders import files_of, ground, limited_file_size, save_mask, save_tile

from rock_glacier.arrays import encode_png
from rock_glacier.audit.checks import audit
from rock_glacier.curation import build as building
from rock_glacier.curation.build_command import main
from rock_glacier.grounds.turns import turned
from rock_glacier.parallel import Workers
from rock_glacier.sample.terrain import make_ground, render_date
from rock_glacier_dataset import CONFIG_NAMES, SPLIT_NAMES, load_archives

EVEN = ["--ratios", "1:1:1"]
NOT_CUT = "no cut of 1 ground leaves tiles for validation and test"


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


@pytest.fixture(scope="module")
def two_places(tmp_path_factory):
    """A folder of tiles of two places, one of each class, turned at random; neighbours are of two dates.

    A tile's name gives its column and row, whose distance is 80 pixels.
    """
    folder = tmp_path_factory.mktemp("places")
    (folder / "tiles").mkdir()
    rng = np.random.default_rng(0)
    for prefix in ("cordillera", "glaciar"):
        scene = render_date(rng, make_ground(rng, 512, rock_glaciers=False))
        dates = scene, (0.8 * scene + 30 + rng.normal(0, 2, scene.shape)).astype(np.uint8)
        for number, (row, column) in enumerate(np.ndindex(3, 5)):
            x, y = 80 * column, 80 * row
            tile = turned(dates[number % 2][y : y + 128, x : x + 128], int(rng.integers(8)))
            Image.fromarray(tile).save(folder / "tiles" / f"{prefix}_{column}_{row}.png")
    return folder


def command(folder, *options, tiles="tiles", out="out", masks="masks"):
    """Return the command's arguments for what lies in a folder."""
    given = ["--masks", str(folder / masks)] if (folder / masks).exists() else []
    given += ["--class", "glaciarRoca=glaciar"] if any((folder / tiles).rglob("glaciarRoca*")) else []
    return [str(folder / tiles), str(folder / out), "--num-proc", "1", *given, *options]


def build(folder, *options, **places):
    """Run the command, and return its exit status."""
    return main(command(folder, *options, **places))


def rows_of(folder, name="grounds.csv"):
    with (folder / "out" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def split_of(row):
    return row["path"].split("/")[0]


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
    assert list(rows[0]) == ["path", "ground", "block", "x", "y", "turn", "source"]
    assert sorted(row["source"] for row in rows) == sorted(path.name for path in (overlapping / "tiles").iterdir())
    assert len({(row["ground"], row["source"][:-6]) for row in rows}) == len({row["ground"] for row in rows}) == 6


def test_grounds_are_cut_so_that_every_split_has_both_classes(two_places, tmp_path, capsys):
    assert build(two_places, out=tmp_path / "out") == 0
    rows, dropped = rows_of(tmp_path), rows_of(tmp_path, "dropped.csv")
    assert list(dropped[0]) == ["source", "class", "ground", "x", "y"]
    assert sorted(row["source"] for row in rows + dropped) == sorted(files_of(two_places / "tiles"))
    assert {(split_of(row), row["source"].split("_")[0]) for row in rows} == {
        (split, name) for split in SPLIT_NAMES for name in ("cordillera", "glaciar")
    }
    assert {(row["ground"], row["source"].split("_")[0]) for row in rows + dropped} == {
        ("0", "cordillera"),
        ("1", "glaciar"),
    }
    assert len({(row["ground"], row["block"]) for row in rows}) >= 6
    assert audit(tmp_path / "out", Workers(1)).errors == 0
    captured = capsys.readouterr()
    share = f"{len(dropped) / 30:.1%}"
    last = f"left out: {len(dropped)} tiles, {share} of all; dropped.csv names them"
    assert captured.out.splitlines()[-1] == last
    assert "warning: ground 0: is cut into 3 blocks; " in captured.err


def test_random_split_has_the_places_too_and_says_that_it_leaks(two_places, tmp_path, capsys):
    assert build(two_places, "--split", "random", out=tmp_path / "out") == 0
    lines = capsys.readouterr().err.splitlines()
    for what in ("[1-9][0-9]* overlapping pairs", "[1-9][0-9]* same-ground pairs"):
        assert any(re.search(f"--split random leaks: {what} across splits; use --split ground", one) for one in lines)
    for name in ("cordillera", "glaciar"):
        rows = [row for row in rows_of(tmp_path) if row["source"].startswith(name)]
        assert {row["block"] for row in rows} == {"0"}
        truth = np.array([row["source"][:-4].split("_")[1:] for row in rows], float) * 80
        found = np.array([(row["x"], row["y"]) for row in rows], float)
        distances = [np.linalg.norm(places[:, None] - places, axis=2) for places in (truth, found)]
        assert abs(distances[0] - distances[1]).max() <= 4


def real_pairs(real, split_of_source):
    """Return the pairs of the real tiles that are known to overlap, where both are in a split."""
    with (real / "names.csv").open() as names, (real / "overlaps.csv").open() as overlaps:
        source_of = {row["path"]: row["tile"] for row in csv.DictReader(names)}
        pairs = [(source_of[row["a"]], source_of[row["b"]]) for row in csv.DictReader(overlaps)]
    return [(a, b) for a, b in pairs if {a, b} <= {*split_of_source}]


def test_real_archives_are_split_anew_and_share_no_ground(real, real_archives, tmp_path, capsys):
    assert build(tmp_path, tiles=real_archives) == 0
    rows, dropped = rows_of(tmp_path), rows_of(tmp_path, "dropped.csv")
    assert len(rows) + len(dropped) == 300
    assert len(dropped) <= 0.35 * 300
    assert len({row["ground"] for row in rows}) == 3
    assert {tuple(row["path"].split("/")[:2]) for row in rows} == {
        (split, name) for split in SPLIT_NAMES for name in ("cordillera", "glaciar")
    }
    with (real / "names.csv").open() as names:
        source_of = {row["path"]: row["tile"] for row in csv.DictReader(names)}
    splits = {source_of[row["source"].partition("/")[2]]: split_of(row) for row in rows}
    pairs = real_pairs(real, splits)
    assert len(pairs) > 300
    assert [(a, b) for a, b in pairs if splits[a] != splits[b]] == []
    assert "audit: 0 errors, 1 warning" in capsys.readouterr().out


def test_real_tiles_in_folders_share_no_ground_across_splits(real, tmp_path, capsys):
    with zipfile.ZipFile(real / "raw_tiles.zip") as tiles, zipfile.ZipFile(real / "raw_masks.zip") as masks:
        some = sorted(tiles.namelist())[::5]
        tiles.extractall(tmp_path, some)
        masks.extractall(tmp_path, {name.replace("tiles/", "masks/") for name in some} & {*masks.namelist()})
    assert build(tmp_path) == 0
    splits = {row["source"]: split_of(row) for row in rows_of(tmp_path)}
    assert len(splits) + len(rows_of(tmp_path, "dropped.csv")) == len(some) == 60
    assert [(a, b) for a, b in real_pairs(real, splits) if splits[a] != splits[b]] == []
    assert "audit: 0 errors" in capsys.readouterr().out
    for config in CONFIG_NAMES:
        datasets = load_archives(config, data_dir=tmp_path / "out", streaming=True)
        assert sum(1 for dataset in datasets.values() for _ in dataset) == len(splits)


def test_ground_that_the_first_search_missed_is_kept_together(two_places, tmp_path, monkeypatch):
    found = []

    def first_without_same_ground(*arguments):
        found.append(audit(*arguments))
        return found[-1]._replace(same_ground=[]) if len(found) == 1 else found[-1]

    monkeypatch.setattr(building, "audit", first_without_same_ground)
    assert build(two_places, out=tmp_path / "out") == 0
    assert len(found) > 2
    assert found[1].errors > 0
    assert found[-1].errors == audit(tmp_path / "out", Workers(1)).errors == 0


def test_splits_that_share_ground_after_three_rounds_are_an_error(overlapping, capsys, monkeypatch):
    def always_finds_one(*arguments):
        found = audit(*arguments)
        first = {tile.archive.split: tile.path for tile in reversed(found.listing.tiles)}
        if len(first) > 1:
            pair = {"a": first["train"], "b": first["test"], "turn": 0, "dx": 0, "dy": 0}
            return found._replace(same_ground=[{**pair, "matches": 9, "correlation": 0.5}])
        return found

    monkeypatch.setattr(building, "audit", always_finds_one)
    before = files_of(overlapping)
    assert build(overlapping) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "after 3 assignments, splits share ground in 1 pair of tiles; remove a tile of each, such as " in line
    assert files_of(overlapping) == before


def test_tiles_that_match_across_splits_against_their_places_are_left_out(tmp_path, capsys):
    ring = np.tile(ground(0, 1280), (1, 2, 1))
    (tmp_path / "tiles").mkdir()
    for number in range(20):
        tile = ring[:, 64 * number : 64 * number + 128]
        Image.fromarray(tile).save(tmp_path / "tiles" / f"cordillera_{number}.png")
    assert build(tmp_path, *EVEN) == 0
    assert audit(tmp_path / "out", Workers(1)).errors == 0
    assert "warning: 1 tile left out because of a match in another block" in capsys.readouterr().err


def test_copies_of_a_flat_tile_go_to_one_split(flat):
    for number in range(3):
        Image.new("RGB", (128, 128), (9, 9, 9)).save(flat / "tiles" / f"cordillera_9{number}.png")
    assert build(flat, *EVEN) == 0
    alike = [row for row in rows_of(flat) if row["source"].startswith("cordillera_9")]
    assert len(alike) == 3
    assert len({(row["ground"], row["x"], row["y"], split_of(row)) for row in alike}) == 1
    assert audit(flat / "out", Workers(1)).errors == 0


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
        Image.new("RGB", (128, 128), (number, 9, 9)).save(overlapping / "tiles" / f"cordillera_{number}.png")
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


def test_archives_whose_masks_have_greys_do_not_pass_and_are_built_again_in_two_colours(sample_copy, tmp_path, capsys):
    (sample_copy / "manifest.json").unlink()
    path = "train/masks/001.png"
    with Image.open(io.BytesIO(contents(sample_copy, "train")[path])) as mask:
        soft = mask.resize((64, 64), Image.Resampling.BOX).resize((128, 128))
    replace_member(sample_copy / "train.zip", path, encode_png(soft))
    (finding,) = audit(sample_copy, Workers(1)).findings
    assert (finding.code, finding.severity, finding.path) == ("mask-values", "error", path)
    assert build(tmp_path, tiles=sample_copy) == 0
    assert (
        "masks: 11; 1 made white and black, 1 of which had greys, cut at half" in capsys.readouterr().out.splitlines()
    )
    assert audit(tmp_path / "out", Workers(1)).findings == []


def test_archives_that_are_split_anew_keep_their_sources(flat, tmp_path):
    assert build(flat, *EVEN) == 0
    (flat / "out").rename(flat / "built")
    assert build(flat, *EVEN, "--seed", "1", tiles="built", masks="none") == 0
    assert sorted(row["source"] for row in rows_of(flat)) == sorted(path.name for path in (flat / "tiles").iterdir())


def test_each_split_and_archive_has_a_line(flat, capsys):
    into_splits(flat / "tiles", lambda number, path: SPLIT_NAMES[number % 3])
    assert build(flat, *EVEN, "--split", "keep") == 0
    captured = capsys.readouterr()
    size = (flat / "out" / "train.zip").stat().st_size / 1e6
    assert captured.out.splitlines()[:7] == [
        "tiles: 6 cordillera, 6 glaciar; 12 made RGBA",
        "masks: 6; 6 made white and black",
        "grounds: 12; the largest has 1 tile, such as test/cordillera_2.png",
        *(f"{split}: 2 cordillera (target 2), 2 glaciar (target 2); 4 grounds" for split in SPLIT_NAMES),
        f"train.zip: 4 tiles, {size:.2f} MB",
    ]
    assert captured.out.splitlines()[-1] == "audit: 0 errors, 0 warnings"
    assert captured.err == ""


def test_ground_that_no_line_cuts_is_named_with_what_is_missed(flat, capsys):
    for number in range(6, 18):
        save_tile(flat / "tiles" / f"cordillera_{number}.png", 5, 5 * (number - 5))
    assert build(flat, *EVEN) == 0
    captured = capsys.readouterr()
    assert "warning: ground 5: no line cuts its 13 tiles apart; it stays whole" in captured.err
    assert "has 13 of 18 tiles, 117% more than its share" in captured.err
    last = captured.err.splitlines()[-1]
    assert "far from what was asked; add tiles of other grounds (cordillera has 6, glaciar has 6), or ask for" in last
    assert re.search(r"what cordillera allows, --ratios (13:\d:\d|\d:13:\d|\d:\d:13)$", last)
    assert "left out" not in captured.out
    assert not (flat / "out" / "dropped.csv").exists()


def test_class_on_too_few_grounds_and_transparent_tiles_are_named(flat, capsys):
    for number in range(2, 6):
        (flat / "tiles" / f"cordillera_{number}.png").unlink()
    Image.new("RGBA", (128, 128)).save(flat / "tiles" / "cordillera_1.png")
    assert build(flat, *EVEN) == 0
    captured = capsys.readouterr()
    assert "cordillera: has 2 grounds for 3 splits" in captured.err
    assert re.search("cordillera: [a-z]+ has none", captured.err)
    assert "1 tile with transparent pixels, the first cordillera_1.png" in captured.err
    assert "1 tile of one colour, whose ground cannot be found, the first cordillera_1.png" in captured.err


@pytest.mark.parametrize("mode", ["random", "keep"])
def test_split_that_leaks_is_reported(overlapping, capsys, mode):
    if mode == "keep":
        into_splits(overlapping / "tiles", lambda number, path: SPLIT_NAMES[int(path.stem[-1])])
    assert build(overlapping, "--split", mode) == 0
    found = audit(overlapping / "out", Workers(1))
    assert found.errors > 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "leaks" in line]
    assert f"--split {mode} leaks: {found.errors} overlapping pairs across splits; use --split ground" in line
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


def one_tile(folder):
    shutil.rmtree(folder)
    save_tile(folder / "tiles" / "cordillera_0.png", 0)


def copies_of_one_tile(folder):
    shutil.rmtree(folder)
    for number in range(60):
        save_tile(folder / "tiles" / f"cordillera_{number}.png", 0)


def flat_tiles(folder):
    shutil.rmtree(folder)
    (folder / "tiles").mkdir(parents=True)
    for number in range(9):
        Image.new("RGB", (128, 128), (9, 9, 9)).save(folder / "tiles" / f"cordillera_{number}.png")


def masks_beside_archives(folder):
    (folder / "tiles" / "train.zip").touch()


def tiles_and_masks_swapped(folder):
    (folder / "tiles").rename(folder / "other")
    (folder / "masks").rename(folder / "tiles")
    (folder / "other").rename(folder / "masks")


def archives_for_masks(folder):
    (folder / "masks" / "staged").mkdir()
    (folder / "masks" / "staged" / "val.zip").touch()


def archives_below(folder):
    shutil.rmtree(folder / "masks")
    (folder / "tiles" / "a" / "b").mkdir(parents=True)
    (folder / "tiles" / "a" / "b" / "train-00000-of-00002.zip").touch()


def bad_archive(folder):
    shutil.rmtree(folder)
    (folder / "tiles").mkdir(parents=True)
    (folder / "tiles" / "train.zip").touch()


@pytest.mark.parametrize(
    ("spoil", "named", "remedy"),
    [
        (
            no_images,
            "{}/tiles/glaciarRoca_3.png: cannot be used (is no PNG)",
            "(and 1 more: {}/tiles/glaciarRoca_5.png)",
        ),
        (
            tiles_and_masks_swapped,
            "{}/tiles: holds masks, not tiles",
            "give the folder of tiles, and this one with --masks",
        ),
        (
            archives_for_masks,
            "{}/masks: is no folder of masks: there are archives in {}/masks/staged",
            "of their PNG files",
        ),
        (archives_below, "{}/tiles: holds no archives; they are in {}/tiles/a/b", "give that folder"),
        (one_scene, NOT_CUT, "add tiles of other ground"),
        (one_tile, "3 splits need as many tiles, and there are 1", "add tiles"),
        (copies_of_one_tile, NOT_CUT, "add tiles of other ground"),
        (flat_tiles, NOT_CUT, "add tiles of other ground"),
        (masks_beside_archives, "{}/masks: is not read", "leave out --masks"),
        (bad_archive, "train.zip: cannot be read as a zip archive", "or build it again (and 2 other faults)"),
    ],
)
def test_bad_input_is_one_line_with_the_remedy_and_leaves_nothing(flat, capsys, spoil, named, remedy):
    spoil(flat)
    before = files_of(flat)
    assert build(flat) == 1
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert f": error: {named.format(flat, flat)}" in line
    assert line.endswith(remedy.format(flat))
    assert captured.out == ""
    assert files_of(flat) == before


def test_a_class_that_fits_nothing_is_an_error(flat, sample, capsys):
    for tiles, what in (
        (flat / "tiles", "no folder is called nieve, and no file's name begins so; correct --class nieve=glaciar"),
        (sample, "holds archives, which say each tile's class; leave out --class"),
    ):
        assert main([str(tiles), str(flat / "out"), "--class", "nieve=glaciar"]) == 1
        assert f"{tiles}: {what}" in capsys.readouterr().err


def test_overwrite_replaces_archives_and_nothing_else(flat, capsys):
    assert build(flat, *EVEN, "--shards", "2") == 0
    first = files_of(flat / "out")
    assert build(flat, *EVEN) == 1
    assert files_of(flat / "out") == first
    assert build(flat, *EVEN, "--overwrite") == 0
    assert "train.zip" in files_of(flat / "out").keys() - first.keys()
    assert sorted(path.name for path in flat.iterdir()) == ["masks", "out", "tiles"]
    capsys.readouterr()
    for name in ("valuable.zip", "train/mine/any.zip"):
        (flat / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (flat / "out" / name).touch()
        before = files_of(flat)
        assert build(flat, *EVEN, "--overwrite") == 1
        assert f"out is a folder that holds {name}; name a new folder" in capsys.readouterr().err
    assert build(flat, "--overwrite", tiles="out") == 1  # what it reads
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
    assert "out: cannot be written (File too large); make room, or name another disk" in line
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
