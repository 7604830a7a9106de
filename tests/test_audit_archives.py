"""The audit as a maintainer runs it: what it prints, what it writes, and how it ends."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable

import audit_archives
import numpy as np
import pytest
from archive_audit import Audit, Coverage, audit
from archive_contents import Members, rewrite
from conftest import REPOSITORY, SAMPLE_SIZES
from findings import CODES, Finding
from make_sample_archives import class_sizes
from PIL import Image

from rock_glacier.parallel import Workers
from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES, ArchiveError

SCRIPT = REPOSITORY / "scripts" / "audit_archives.py"
ALONE = Workers(1)


def changed(png: bytes, change) -> bytes:
    pixels = np.array(Image.open(io.BytesIO(png)))
    file = io.BytesIO()
    Image.fromarray(change(pixels)).save(file, "PNG")
    return file.getvalue()


def test_a_sound_folder_has_no_findings(sample, sharded_sample):
    for folder in (sample, sharded_sample):
        found = audit(folder, ALONE)
        assert not found.findings
        assert not found.overlaps
        assert found.tiles == {split: class_sizes(size) for split, size in SAMPLE_SIZES.items()}
        assert len(set(found.groups.values())) == len(found.groups) == sum(SAMPLE_SIZES.values())
        assert {split: one.masks for split, one in found.coverage.items()} == {"train": 6, "validation": 2, "test": 3}


def test_the_report_is_the_same_however_many_work(real_archives):
    assert audit(real_archives, ALONE) == audit(real_archives, Workers(2))


def test_the_real_archives_overlap_as_they_were_measured_to(real_archives):
    found = audit(real_archives, ALONE)
    with (real_archives.parent / "overlaps.csv").open(newline="") as file:
        rows = {(r["a"], r["b"], int(r["dx"]), int(r["dy"]), int(r["pixels"])) for r in csv.DictReader(file)}
    pairs = [tuple(pair.values()) for pair in found.overlaps]
    turned = [(b, a, -dx, -dy, pixels) for a, b, dx, dy, pixels in pairs]
    assert len(pairs) == len(rows) == 689
    assert rows <= {*pairs, *turned}
    assert sum(finding.code == "overlap-across-splits" for finding in found.findings) == 351


def test_masks_that_are_all_white_on_cordillera_are_seen(sample_copy):
    white = Image.new("RGBA", (128, 128), (255, 255, 255, 255))
    file = io.BytesIO()
    white.save(file, "PNG")
    rewrite(
        sample_copy / "train_masks.zip",
        lambda members: [*members, (zipfile.ZipInfo("train/cordillera/0.png"), file.getvalue())],
    )
    (finding,) = audit(sample_copy, ALONE).findings
    assert (finding.code, finding.severity, finding.path) == ("mask-not-empty", "error", "train/cordillera/0.png")
    assert "16384 pixels" in finding.message


@pytest.mark.parametrize("turn", [np.rot90, np.fliplr, np.flipud, lambda pixels: np.rot90(np.fliplr(pixels))])
@pytest.mark.parametrize(("split", "severity"), [("train", "warning"), ("test", "error")])
def test_a_tile_that_is_another_turned_is_seen(sample_copy, turn, split, severity):
    with zipfile.ZipFile(sample_copy / "train.zip") as archive:
        tile = archive.read("train/cordillera/0.png")
    other = (zipfile.ZipInfo(f"{split}/cordillera/77.png"), changed(tile, turn))
    rewrite(sample_copy / f"{split}.zip", lambda members: [*members, other])
    (finding,) = audit(sample_copy, ALONE).findings
    assert (finding.code, finding.severity, finding.path) == (
        "duplicate-pixels",
        severity,
        f"{split}/cordillera/77.png",
    )


def test_another_encoding_of_the_same_pixels_is_the_same_tile(sample_copy):
    with zipfile.ZipFile(sample_copy / "train.zip") as archive:
        tile = archive.read("train/cordillera/0.png")
    again = changed(tile, lambda pixels: pixels)
    assert again != tile
    other = (zipfile.ZipInfo("test/cordillera/77.png"), again)
    rewrite(sample_copy / "test.zip", lambda members: [*members, other])
    found = audit(sample_copy, ALONE)
    assert [finding.code for finding in found.findings] == ["duplicate-pixels", "overlap-across-splits"]
    assert found.overlaps == [
        {"a": "train/cordillera/0.png", "b": "test/cordillera/77.png", "dx": 0, "dy": 0, "pixels": 128 * 128}
    ]


@pytest.mark.parametrize("broken", ["train.zip", "validation_masks.zip"])
def test_one_broken_archive_does_not_stop_the_report_on_the_others(sample_copy, broken):
    (sample_copy / broken).write_bytes(b"PK\3\4" + bytes(100))
    other = (zipfile.ZipInfo("test/glaciar/07.png"), b"")
    rewrite(sample_copy / "test.zip", lambda members: [*members, other])
    found = audit(sample_copy, ALONE)
    assert [(finding.code, finding.path) for finding in found.findings] == [
        ("archive-unreadable", broken),
        ("member-name", "test/glaciar/07.png"),
    ]
    assert found.tiles["test"] == class_sizes(SAMPLE_SIZES["test"])


def test_a_missing_archive_is_a_finding(sample_copy):
    (sample_copy / "manifest.json").unlink()
    (sample_copy / "validation.zip").unlink()
    (sample_copy / "test_masks.zip").unlink()
    found = audit(sample_copy, ALONE)
    assert [(finding.code, finding.path) for finding in found.findings] == [
        ("archive-unreadable", "test_masks.zip"),
        ("archive-unreadable", "validation.zip"),
    ]


def test_every_missing_shard_is_a_finding(tmp_path, sharded_sample):
    folder = shutil.copytree(sharded_sample, tmp_path / "archives")
    (folder / "manifest.json").unlink()
    shards = sorted(folder.glob("train-*.zip"))
    masks = [shard.with_name(shard.name.replace("train", "train_masks")) for shard in shards[1:]]
    for archive in (*shards[1:], *masks):
        archive.unlink()
    found = audit(folder, ALONE)
    assert len(shards) > 2
    assert [finding.path for finding in found.findings] == sorted(one.name for one in (*shards[1:], *masks))


@pytest.mark.parametrize("name", ["val.zip", "Train.zip", "train-1-of-2.zip", "masks.ZIP"])
def test_an_archive_that_no_split_is_read_from_is_a_finding(sample_copy, name):
    shutil.copyfile(sample_copy / "train.zip", sample_copy / name)
    assert [(finding.code, finding.path) for finding in audit(sample_copy, ALONE).findings] == [
        ("archive-unreadable", name)
    ]


def test_a_broken_link_in_an_archives_place_is_said(sample_copy):
    (sample_copy / "manifest.json").unlink()
    (sample_copy / "test_masks.zip").unlink()
    (sample_copy / "test_masks.zip").symlink_to("nowhere.zip")
    (finding,) = audit(sample_copy, ALONE).findings
    assert "broken link" in finding.message


def test_a_folder_without_masks_is_sound(sample_copy):
    (sample_copy / "manifest.json").unlink()
    for split in SPLIT_NAMES:
        (sample_copy / f"{split}_masks.zip").unlink()
    assert audit(sample_copy, ALONE).findings == []


def test_a_tile_that_stands_in_two_shards_is_seen(tmp_path, sharded_sample):
    folder = tmp_path / "sharded"
    shutil.copytree(sharded_sample, folder)
    with zipfile.ZipFile(folder / "train-00000-of-00003.zip") as archive:
        name = archive.namelist()[0]
        tile = archive.read(name)
    rewrite(folder / "train-00001-of-00003.zip", lambda members: [*members, (zipfile.ZipInfo(name), tile)])
    found = audit(folder, ALONE)
    assert [(finding.code, finding.path) for finding in found.findings if finding.code != "mask-missing"] == [
        ("member-duplicate", name)
    ]
    assert found.overlaps == []


@pytest.mark.parametrize("name", ["away", "empty", "file"])
def test_what_is_no_folder_of_archives_is_said(tmp_path, name, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ArchiveError):
        audit(tmp_path / name, ALONE)
    assert audit_archives.main([str(tmp_path / name)]) == 1
    assert capsys.readouterr().err.count("error: ") == 1


def test_json_holds_what_the_contract_says(real_archives, tmp_path):
    assert audit_archives.main([str(real_archives), "--json", str(tmp_path / "audit.json")]) == 1
    report = json.loads((tmp_path / "audit.json").read_text())
    assert list(report) == ["tiles", "findings", "overlaps", "groups"]
    assert report["tiles"]["train"] == {"cordillera": 108, "glaciar": 92}
    assert {tuple(finding) for finding in report["findings"]} == {("code", "severity", "path", "message")}
    assert {finding["code"] for finding in report["findings"]} <= set(CODES)
    assert {tuple(pair) for pair in report["overlaps"]} == {("a", "b", "dx", "dy", "pixels")}
    assert report["groups"] == 23
    assert [path.name for path in tmp_path.iterdir()] == ["audit.json"]


def test_the_table_fits_a_terminal_and_says_all(sample_copy, tmp_path):
    other = (zipfile.ZipInfo("test/glaciar/07.png"), b"")
    rewrite(sample_copy / "test.zip", lambda members: [*members, other])
    done = subprocess.run([sys.executable, str(SCRIPT), str(sample_copy)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert not re.search(" $", done.stdout, re.MULTILINE)
    assert "error member-name" in done.stdout
    assert "test/glaciar/07.png" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("1 error, 0 warnings")


def far_too_much(found: Audit) -> Audit:
    """An audit with numbers and names as large as they can be, and with names that look like what they are not."""
    path = f"validation/glaciar/{'9' * 18}.png"
    odd = f"test/[red]:warning:[/]{'x' * 200}/1.png"
    messages = [
        f"{name}: {one}: stands twice in the archive; remove one" for name, one in [("validation.zip", path)] * 4
    ]
    findings = [Finding("overlap-across-splits", "error", path, message) for message in messages * 25_000]
    findings.append(Finding("class-unknown", "warning", odd, f"test.zip: {odd}: has an unknown class"))
    pairs = [{"a": path, "b": "test/glaciar/1.png", "dx": 0, "dy": 0, "pixels": 16384}] * 100_000
    tiles = {split: dict.fromkeys(CLASS_NAMES, 787_500) for split in SPLIT_NAMES}
    groups = {f"train/glaciar/{number}.png": number for number in range(100_000)}
    coverage = {split: Coverage(787_500, 1.0, 1.0, 1.0) for split in SPLIT_NAMES}
    return found._replace(tiles=tiles, findings=findings, overlaps=pairs, groups=groups, coverage=coverage)


def test_the_tables_fit_80_columns_whatever_they_hold(sample, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(audit_archives, "audit", lambda *arguments: far_too_much(audit(sample, ALONE)))
    assert audit_archives.main([str(sample)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line.isprintable() for line in lines)
    assert "test/[red]:warning:[/]xxx" in "".join(line.strip() for line in lines)
    assert any(line.startswith("error overlap-across-splits  100000  validation.zip:") for line in lines)
    assert any(line.startswith("warning class-unknown") for line in lines)
    assert any(line.endswith("... and 99997 more") for line in lines)
    assert lines[-1] == "100000 errors, 1 warning"


@pytest.mark.parametrize("has_colour", [True, False])
def test_colour_is_only_an_addition(sample_copy, monkeypatch, capsys, has_colour):
    other = (zipfile.ZipInfo("test/glaciar/07.png"), b"")
    rewrite(sample_copy / "test.zip", with_another(other))
    monkeypatch.setenv("FORCE_COLOR", "1")
    if not has_colour:
        monkeypatch.setenv("NO_COLOR", "1")
    audit_archives.main([str(sample_copy), "--num-proc", "1"])
    out = capsys.readouterr().out
    assert ("\x1b[31m" in out) == has_colour
    assert "error member-name" in re.sub(r"\x1b\[[0-9;]*m", "", out)


def test_warnings_alone_end_well(sample_copy, capsys):
    with zipfile.ZipFile(sample_copy / "train.zip") as archive:
        tile = archive.read("train/cordillera/0.png")
    rewrite(
        sample_copy / "train.zip",
        lambda members: [*members, (zipfile.ZipInfo("train/cordillera/77.png"), changed(tile, np.fliplr))],
    )
    assert audit_archives.main([str(sample_copy), "--num-proc", "1"]) == 0
    assert "warning duplicate-pixels" in capsys.readouterr().out


def test_wrong_usage_has_status_2(sample, tmp_path):
    for arguments in (["--num-proc", "0"], ["--backend", "slurm"], ["--json", str(tmp_path / "away" / "a.json")]):
        with pytest.raises(SystemExit) as ended:
            audit_archives.main([str(sample), *arguments])
        assert ended.value.code == 2


def png_of(pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(file, "PNG")
    return file.getvalue()


def with_another(member: tuple[zipfile.ZipInfo, bytes]) -> Callable[[Members], Members]:
    return lambda members: [*members, member]


def mask_of(white: int, grey: int) -> bytes:
    pixels = np.zeros((128, 128, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[:, :white, :3] = 255
    pixels[:, white : white + grey, :3] = 128
    return png_of(pixels)


@pytest.mark.parametrize(
    ("white", "grey", "codes"),
    [
        (100, 1, ["mask-values", "mask-not-empty"]),
        (100, 0, ["mask-not-empty"]),
        (0, 9, ["mask-values"]),
        (0, 0, []),
    ],
)
def test_rock_glacier_on_cordillera_is_seen_whatever_else_is_wrong(sample_copy, white, grey, codes):
    other = (zipfile.ZipInfo("train/cordillera/0.png"), mask_of(white, grey))
    rewrite(sample_copy / "train_masks.zip", lambda members: [*members, other])
    assert [finding.code for finding in audit(sample_copy, ALONE).findings] == codes


def test_tiles_without_any_light_are_doubles_too(sample_copy):
    black = np.zeros((128, 128, 4), np.uint8)
    black[..., 3] = 255
    for split in ("train", "test"):
        other = (zipfile.ZipInfo(f"{split}/cordillera/77.png"), png_of(black))
        rewrite(sample_copy / f"{split}.zip", with_another(other))
    (finding,) = audit(sample_copy, ALONE).findings
    assert (finding.code, finding.path) == ("duplicate-pixels", "test/cordillera/77.png")


def test_a_damaged_tile_that_overlaps_a_sound_one_does_not_end_the_audit(sample_copy):
    with zipfile.ZipFile(sample_copy / "train.zip") as archive:
        tile = archive.read("train/cordillera/0.png")
    start = tile.index(b"IDAT") + 4
    stream = tile[start:-16][: len(tile) // 2]
    length = len(stream).to_bytes(4, "big")
    damaged = (
        tile[: start - 8] + length + b"IDAT" + stream + zlib.crc32(b"IDAT" + stream).to_bytes(4, "big") + tile[-12:]
    )
    for number, png in ((77, tile), (78, damaged)):
        other = (zipfile.ZipInfo(f"test/cordillera/{number}.png"), png)
        rewrite(sample_copy / "test.zip", with_another(other))
    found = audit(sample_copy, ALONE)
    assert [(finding.code, finding.path) for finding in found.findings] == [
        ("png-corrupt", "test/cordillera/78.png"),
        ("duplicate-pixels", "test/cordillera/77.png"),
        ("overlap-across-splits", "train/cordillera/0.png"),
    ]


def test_masks_are_checked_where_their_tiles_cannot_be_read(sample_copy):
    other = (zipfile.ZipInfo("train/cordillera/0.png"), mask_of(100, 0))
    rewrite(sample_copy / "train_masks.zip", lambda members: [*members, other])
    (sample_copy / "train.zip").write_bytes(b"")
    codes = [finding.code for finding in audit(sample_copy, ALONE).findings]
    assert codes == ["archive-unreadable", "mask-not-empty"]


@pytest.mark.parametrize("chunk", [b"iCCP", b"acTL", b"eXIf"])
def test_an_odd_chunk_is_no_traceback(sample_copy, chunk):
    with zipfile.ZipFile(sample_copy / "train.zip") as archive:
        tile = archive.read("train/cordillera/0.png")
    odd = tile[:-12] + bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4, "big") + tile[-12:]
    rewrite(sample_copy / "train.zip", lambda members: [(members[0][0], odd), *members[1:]])
    assert {finding.code for finding in audit(sample_copy, ALONE).findings} <= {"png-corrupt"}


@pytest.mark.parametrize("name", ["", "folder"])
def test_a_json_that_can_be_no_file_is_refused_first(sample, tmp_path, monkeypatch, name):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        audit_archives.main([str(sample), "--json", name])
    assert ended.value.code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
