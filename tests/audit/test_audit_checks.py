"""Each fault of archives is found, named, and found alone."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import csv
import io
import random
import re
import shutil
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from archive_contents import contents, rewrite, tile_paths
from conftest import SAMPLE_SIZES
from PIL import Image

from rock_glacier.archives.grounds_file import GroundRow, write_grounds
from rock_glacier.archives.writer import write_archive
from rock_glacier.audit.checks import audit, count_across_splits
from rock_glacier.audit.record import audit_record
from rock_glacier.grounds.turns import turned
from rock_glacier.parallel import Workers
from rock_glacier.sample.faults import FAULTS
from rock_glacier_dataset import EMPTY_MASK

ALONE = Workers(1)


def found_in(folder: Path) -> list[tuple[str, str, str]]:
    return [(one.code, one.severity, one.path) for one in audit(folder, ALONE).findings]


def saved(pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")
    return file.getvalue()


def opened(png: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(png)))


def add(archive: Path, path: str, png: bytes) -> None:
    """Add a member, or replace it."""
    rewrite(
        archive, lambda members: [*(one for one in members if one[0].filename != path), (zipfile.ZipInfo(path), png)]
    )


def test_valid_archives_have_no_findings(sample, sharded_sample):
    for folder in (sample, sharded_sample):
        found = audit(folder, ALONE)
        assert (found.findings, found.overlaps) == ([], [])
        halves = {split: {"cordillera": size // 2, "glaciar": size // 2} for split, size in SAMPLE_SIZES.items()}
        assert found.tiles == halves
        assert sorted(found.grounds.values()) == list(range(sum(SAMPLE_SIZES.values())))
        assert {split: len(shares) for split, shares in found.coverages().items()} == {
            "train": 6,
            "validation": 2,
            "test": 3,
        }


def test_real_archives_overlap_as_measured(real_archives):
    found = audit(real_archives, ALONE, same_ground=False)
    with (real_archives.parent / "overlaps.csv").open(newline="") as file:
        rows = {
            (row["a"], row["b"], int(row["dx"]), int(row["dy"]), int(row["pixels"])) for row in csv.DictReader(file)
        }
    pairs = [(one["a"], one["b"], one["dx"], one["dy"], one["pixels"]) for one in found.overlaps]
    assert len(pairs) == len(rows) == 689
    assert rows <= {*pairs, *((b, a, -dx, -dy, pixels) for a, b, dx, dy, pixels in pairs)}
    assert Counter(finding.code for finding in found.findings)["overlap-across-splits"] == 351
    assert found.as_json()["grounds"] == 23  # dates of places, which only the same ground joins


@pytest.mark.parametrize(("folder", "number"), [("sample", 200), ("real_archives", 500)])
def test_no_flipped_bit_of_a_tile_is_missed(request, tmp_path, folder, number):
    rng = random.Random(0)
    tiles = [png for path, png in contents(request.getfixturevalue(folder), "train").items() if "/masks/" not in path]
    damaged = {}
    for tile_id in range(number):
        png = bytearray(rng.choice(tiles))
        bit = rng.randrange(8 * len(png))
        png[bit // 8] ^= 1 << bit % 8
        damaged[f"train/cordillera/{tile_id}.png"] = bytes(png)
    write_archive(tmp_path / "train.zip", damaged.items())
    assert set(damaged) <= {finding.path for finding in audit(tmp_path, ALONE).findings}


@pytest.mark.parametrize(("split", "severity"), [("train", "warning"), ("test", "error")])
def test_a_tile_turned_is_a_duplicate(sample_copy, split, severity):
    first = "train/cordillera/000.png"
    tile = opened(contents(sample_copy, "train")[first])
    copies = {"77": np.rot90(tile), "78": np.fliplr(tile), "79": np.flipud(tile), "80": tile}
    paths = {f"{split}/cordillera/{tile_id}.png": copy for tile_id, copy in copies.items()}
    for path, copy in paths.items():
        add(sample_copy / f"{split}.zip", path, saved(copy))
    found = audit(sample_copy, ALONE)
    expected = [("duplicate-pixels", severity, path) for path in paths]
    across = 4 * (split == "test")
    expected += across * [("overlap-across-splits", "error", first)]
    assert [(one.code, one.severity, one.path) for one in found.findings] == expected
    assert len(found.overlaps) == 10
    for pair in found.overlaps[:4]:
        assert pair | {"b": "", "turn": 0} == {"a": first, "b": "", "turn": 0, "dx": 0, "dy": 0, "pixels": 128 * 128}
        assert np.array_equal(turned(paths[pair["b"]], pair["turn"]), tile)
    assert count_across_splits(found.overlaps) == across
    assert len({found.grounds[path] for path in (first, *paths)}) == 1


@pytest.mark.parametrize(
    ("of_copy", "differs"),
    [("masks/000", ""), ("masks/001", ", but another mask"), ("cordillera", ", but another class")],
)
def test_tiles_of_the_same_pixels_with_another_mask_or_class_are_told(sample_copy, of_copy, differs):
    archive, stored = sample_copy / "train.zip", contents(sample_copy, "train")
    copy = np.rot90(opened(stored["train/glaciar/000.png"]))
    path = f"train/{'cordillera' if of_copy == 'cordillera' else 'glaciar'}/77.png"
    add(archive, path, saved(copy))
    if of_copy != "cordillera":
        add(archive, "train/masks/77.png", saved(np.rot90(opened(stored[f"train/{of_copy}.png"]))))
    (finding,) = audit(sample_copy, ALONE).findings
    pair = sorted([path, "train/glaciar/000.png"], key=tile_paths(sample_copy, "train").index)
    remedy = f"{differs}; keep the right one" if differs else "; remove one"
    assert finding.message == f"{pair[1]}: has the pixels of {pair[0]}, as they are, turned or mirrored{remedy}"
    assert (finding.code, finding.severity) == ("duplicate-pixels", "warning")


def test_an_overlap_with_a_tile_of_a_later_split_is_found_where_it_is(sample_copy):
    tile = opened(contents(sample_copy, "train")["train/cordillera/000.png"])
    moved = np.full_like(tile, 255)
    moved[64:] = tile[:64]
    add(sample_copy / "test.zip", "test/cordillera/77.png", saved(moved))
    pair = {"a": "train/cordillera/000.png", "b": "test/cordillera/77.png", "turn": 0, "dx": 0, "dy": -64}
    assert audit(sample_copy, ALONE).overlaps == [{**pair, "pixels": 128 * 64}]


def test_tiles_of_one_colour_are_duplicates_and_do_not_overlap(sample_copy):
    for split in ("train", "test"):
        add(sample_copy / f"{split}.zip", f"{split}/cordillera/77.png", EMPTY_MASK)
    assert found_in(sample_copy) == [("duplicate-pixels", "error", "test/cordillera/77.png")]


def test_broken_archives_do_not_hide_the_faults_of_others(sample_copy):
    for name in ("train.zip", "validation.zip"):
        (sample_copy / name).write_bytes(b"PK\3\4" + bytes(100))
    add(sample_copy / "test.zip", "test/nieve/1.png", b"")
    assert found_in(sample_copy) == [
        ("archive-unreadable", "error", "train.zip"),
        ("archive-unreadable", "error", "validation.zip"),
        ("member-name", "error", "test/nieve/1.png"),
    ]


def test_each_missing_shard_is_named(tmp_path, sharded_sample):
    folder = shutil.copytree(sharded_sample, tmp_path / "archives")
    missing = [f"train-0000{shard}-of-00003.zip" for shard in (1, 2)]
    for name in missing:
        (folder / name).unlink()
    (folder / "validation-00000-of-00003.zip").unlink()
    (folder / "manifest.json").unlink()
    missing.append("validation-00000-of-00003.zip")
    assert found_in(folder) == [("archive-unreadable", "error", name) for name in missing]


def test_an_archive_that_only_the_manifest_has_is_named(sample_copy):
    (sample_copy / "test.zip").unlink()
    assert found_in(sample_copy) == [
        ("archive-unreadable", "error", "test.zip"),
        ("manifest-mismatch", "error", "test.zip"),
    ]


def test_archives_that_belong_to_no_split_are_named(sample_copy):
    faulty = ["Train.zip", "masks.ZIP", "train-1-of-2.zip"]
    for name in (*faulty, "zeros.png", "dropped.csv", "README.md"):
        shutil.copyfile(sample_copy / "validation.zip", sample_copy / name)
    assert found_in(sample_copy) == [("archive-unreadable", "error", name) for name in faulty]


def test_val_beside_validation_is_named(sample_copy):
    shutil.copyfile(sample_copy / "validation.zip", sample_copy / "val.zip")
    (sample_copy / "manifest.json").unlink()
    assert found_in(sample_copy) == [("archive-unreadable", "error", "validation.zip")]


def test_a_tile_in_two_shards_is_named_once(tmp_path, sharded_sample):
    folder = shutil.copytree(sharded_sample, tmp_path / "sharded")
    for shard in (0, 1):
        add(folder / f"train-0000{shard}-of-00003.zip", "train/cordillera/77.png", EMPTY_MASK)
    assert found_in(folder) == [("member-duplicate", "error", "train/cordillera/77.png")]


@pytest.mark.parametrize("pattern", ["*.zip", "train.zip"])
def test_missing_masks_are_named_in_the_order_of_the_tiles_and_a_warning_where_no_archive_has_any(sample_copy, pattern):
    archives = sorted(sample_copy.glob(pattern))
    glaciar = [path for path in tile_paths(sample_copy, "train") if "/glaciar/" in path]
    assert glaciar != sorted(glaciar)
    for archive in archives:
        rewrite(archive, lambda members: [one for one in members if "/masks/" not in one[0].filename])
    of_all = [("mask-missing", "warning", archive.name) for archive in archives]
    of_train = [("mask-missing", "error", path) for path in glaciar]
    assert found_in(sample_copy) == (of_train if pattern == "train.zip" else of_all)


def test_a_damaged_tile_that_overlaps_a_valid_one_does_not_end_the_audit(sample_copy):
    tile = contents(sample_copy, "train")["train/cordillera/000.png"]
    head, mark, stream = tile[:-16].partition(b"IDAT")
    stream = stream[: len(stream) // 2]  # half of the rows, in a chunk whose checksum is right
    damaged = head[:-4] + len(stream).to_bytes(4, "big") + mark + stream
    damaged += zlib.crc32(mark + stream).to_bytes(4, "big") + tile[-12:]
    add(sample_copy / "test.zip", "test/cordillera/77.png", tile)
    add(sample_copy / "test.zip", "test/cordillera/78.png", damaged)
    assert found_in(sample_copy) == [
        ("png-corrupt", "error", "test/cordillera/78.png"),
        ("duplicate-pixels", "error", "test/cordillera/77.png"),
        ("overlap-across-splits", "error", "train/cordillera/000.png"),
    ]


def test_the_coverage_and_border_of_masks_are_measured_and_empty_ones_left_out(sample_copy):
    FAULTS["mask-empty"](sample_copy)
    found = audit(sample_copy, ALONE)
    stored = contents(sample_copy, "test")
    masks = {path: opened(png)[..., 0] == 255 for path, png in stored.items() if "/masks/" in path}
    for path, mask in masks.items():
        border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]]).mean()
        assert found.shapes[path.replace("masks", "glaciar")] == pytest.approx((mask.mean(), border))
    assert found.coverages()["test"].tolist() == [mask.mean() for mask in masks.values() if mask.any()]


@pytest.mark.parametrize(
    ("change", "severity", "said"),
    [
        ({}, None, ""),
        ({"test/cordillera/000.png": {"ground": 7}}, "error", "1 pair of tiles that share ground in two grounds, the"),
        ({"test/cordillera/000.png": {"block": 1}}, "error", "1 pair of tiles that share ground in two blocks of one"),
        ({"test/glaciar/001.png": {"ground": 7}}, "warning", "1 pair of tiles that share ground in two grounds, the"),
        ({"test/cordillera/000.png": {"turn": 8}}, "error", "row 2: ground, block, x and y must be"),
        ({"test/cordillera/000.png": None}, "error", "lacks 1 tile, the first test/cordillera/000.png"),
    ],
)
def test_a_grounds_csv_that_contradicts_the_archives_is_named(sample_copy, change, severity, said):
    FAULTS["duplicate-pixels"](sample_copy)  # of train/cordillera/000.png and test/cordillera/000.png
    FAULTS["same-ground-across-splits"](sample_copy)  # of train/glaciar/000.png and test/glaciar/001.png
    paths = sorted(path for split in SAMPLE_SIZES for path in tile_paths(sample_copy, split))
    rows = [GroundRow(path, int("glaciar" in path), 0, 0, 0, 0, "") for path in paths]
    rows = [row._replace(**change.get(row.path) or {}) for row in rows if change.get(row.path, row)]
    write_grounds(sample_copy, rows)
    found = [finding for finding in audit(sample_copy, ALONE).findings if finding.path == "grounds.csv"]
    assert [(one.code, one.severity) for one in found] == [("manifest-mismatch", severity)] * bool(severity)
    assert all(re.match(f"grounds.csv: (has )?{said}", one.message) for one in found)


def test_a_message_says_what_is_wrong_and_what_to_do(sample_copy):
    codes = ("mask-values", "mask-empty", "duplicate-pixels", "overlap-across-splits", "same-ground-across-splits")
    for code in codes:
        FAULTS[code](sample_copy)
    messages = [finding.message for finding in audit(sample_copy, ALONE).findings]
    messages[-1] = re.sub(r"\d+ matches, correlation \d\.\d\d", "measured", messages[-1])
    assert messages == [
        "test.zip: test/masks/000.png: has 64 pixels of other colours than white and black; "
        "build the archives again with build_archives.py, which cuts greys at half",
        "test.zip: test/masks/001.png: shows no rock glacier; "
        "draw it, or move test/glaciar/001.png to cordillera and remove the mask",
        "test/cordillera/000.png: has the pixels of train/cordillera/000.png, as they are, turned or mirrored; "
        "remove one, for no tile may stand in two splits",
        "train/cordillera/001.png: overlaps test/cordillera/001.png on 8192 pixels, at turn=0, dx=64, dy=0; "
        "put both into one split, as build_archives.py does",
        "train/cordillera/000.png: overlaps test/cordillera/000.png on 16384 pixels, at turn=5, dx=0, dy=0; "
        "put both into one split, as build_archives.py does",
        "train/glaciar/000.png: shows the same ground as test/glaciar/001.png (measured), at turn=0, dx=0, dy=0; "
        "put both into one split, as build_archives.py does",
    ]


def test_a_url_is_audited_as_a_folder_is(sample, sample_copy):
    path = FAULTS["png-corrupt"](sample_copy)
    assert audit(sample.as_uri(), ALONE).as_json() == audit(sample, ALONE).as_json()
    assert [finding.path for finding in audit(sample_copy.as_uri(), ALONE).findings] == [path]


def test_the_record_of_an_audit_is_read_from_the_manifest(sample_copy):
    assert (
        audit_record(sample_copy) == f"{sample_copy}: has no manifest.json that records an audit; run audit_archives.py"
    )
    (sample_copy / "manifest.json").write_text('{"audit": {"tool": "a\\n\\u001bb", "errors": 1, "warnings": 2}}')
    assert "audited by a\\n\\x1bb: 1 error, 2 warnings; mend what" in audit_record(sample_copy)
