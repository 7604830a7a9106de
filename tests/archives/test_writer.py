"""What this project writes into and beside archives: members and grounds.csv."""

from __future__ import annotations

import hashlib
import stat
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rock_glacier.archives.grounds_file import GroundRow, read_grounds, write_grounds
from rock_glacier.archives.writer import plan_shards, write_archive
from rock_glacier_dataset import ArchiveError

TILES = [f"train/cordillera/{number:03d}.png" for number in range(6)] + [
    f"train/glaciar/{number:03d}.png" for number in range(5)
]
MASKS = [f"train/masks/{number:03d}.png" for number in range(5)]
MEMBERS = [("train/glaciar/007.png", b"tile"), ("train/masks/007.png", b"mask"), ("train/cordillera/007.png", b"other")]


@pytest.mark.parametrize("shards", [1, 2, 3, 11])
def test_shards_take_each_member_once_in_order_and_each_mask_beside_its_tile(shards: int) -> None:
    planned = plan_shards(TILES[::-1], shards=shards)
    assert len(planned) == shards
    assert sorted(path for members in planned for path in members) == sorted(TILES + MASKS)
    for members in planned:
        digests = [hashlib.sha256(path.encode()).hexdigest() for path in members]
        assert digests == sorted(digests)
        tiles_of_masks = {path.replace("masks", "glaciar") for path in members if "/masks/" in path}
        assert tiles_of_masks == {path for path in members if "/glaciar/" in path}
    sizes = [sum("/masks/" not in path for path in members) for members in planned]
    assert max(sizes) - min(sizes) <= 1


def test_shards_hold_no_masks_where_there_are_none() -> None:
    assert sorted(plan_shards(TILES, masks=False)[0]) == sorted(TILES)


@pytest.mark.parametrize("shards", [0, 12])
def test_number_of_shards_that_does_not_fit_is_refused(shards: int) -> None:
    with pytest.raises(ValueError, match=f"{shards} shards for 11 tiles; from 1 to 11"):
        plan_shards(TILES, shards=shards)


def test_members_are_stored_as_they_come_and_counted(tmp_path: Path) -> None:
    written = write_archive(tmp_path / "train.zip", MEMBERS)
    content = (tmp_path / "train.zip").read_bytes()
    assert written == ("train.zip", 2, len(content), hashlib.sha256(content).hexdigest())
    with zipfile.ZipFile(tmp_path / "train.zip") as archive:
        assert [(member.filename, archive.read(member)) for member in archive.infolist()] == MEMBERS
        for member in archive.infolist():
            assert member.compress_type == zipfile.ZIP_STORED
            assert member.external_attr >> 16 == stat.S_IFREG | 0o644


def test_same_members_give_the_same_bytes_whatever_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = write_archive(tmp_path / "here.zip", MEMBERS)
    monkeypatch.setattr(sys, "platform", "win32" if sys.platform != "win32" else "linux")
    monkeypatch.setenv("TZ", "XST-9")
    assert write_archive(tmp_path / "there.zip", MEMBERS).sha256 == here.sha256


def test_members_are_written_while_others_are_made(tmp_path: Path) -> None:
    sizes = []

    def members() -> Iterator[tuple[str, bytes]]:
        for number in range(20):
            sizes.append((tmp_path / "train.zip").stat().st_size)
            yield f"train/cordillera/{number}.png", bytes(100_000)

    write_archive(tmp_path / "train.zip", members())
    assert sizes[10] > 900_000


def test_archive_that_is_there_already_stays(tmp_path: Path) -> None:
    (tmp_path / "train.zip").write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        write_archive(tmp_path / "train.zip", MEMBERS)
    assert (tmp_path / "train.zip").read_bytes() == b"precious"


HEADER = b"path,ground,block,x,y,turn,source\n"


def test_grounds_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [GroundRow(TILES[0], 0, 1, 30, 40, 7, "a, b.png"), GroundRow(TILES[1], 12, 0, 0, 0, 0, "ñ.png")]
    write_grounds(tmp_path, rows)
    assert list(read_grounds(tmp_path / "grounds.csv", TILES[:2]).values()) == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as CSV .Empty CSV file"),
        (b"path,place\na,0\n", "has no column ground; its columns are path, place"),
        (HEADER + b"a,0,0,0,0,0,x\nb,0,0,0\n", "Row #3: Expected 7 columns, got 4"),
        (HEADER + b"a,0,0,0,0,0,x,y\n", "Row #2: Expected 7 columns, got 8"),
        (HEADER.replace(b"source", b"x") + b"a,0,0,0,0,0,0\n", "has more than one column x"),
        (HEADER + b"a,1_0,0,0,0,0,x\n", "Row #2: CSV conversion error to int32: invalid value '1_0'"),
        (HEADER + b"a,2147483648,0,0,0,0,x\n", "Row #2: CSV conversion error to int32"),
        (HEADER + b"a,0,0,,0,0,x\n", "row 2: ground, block, x and y must be whole numbers"),
        (HEADER + b"a,0,0,0,0,8,x\n", "row 2: .* and turn one from 0 to 7"),
        (HEADER + b"a,0,0,-1,0,0,x\n", "row 2: ground, block, x and y must"),
        (HEADER + b"a,0,0,0,0,0,x\na,1,0,0,0,0,x\n", "a stands twice"),
        (HEADER + b"\xff,0,0,0,0,0,x\n", "Row #2: CSV conversion error to string: invalid UTF8 data"),
        (HEADER + 2 * b'"a\n\x1b",0,0,0,0,0,x\n', r"a\\n\\x1b stands twice"),
        (HEADER + b"b,0,0,0,0,0,x\n", "lacks 1 tile, the first a"),
    ],
)
def test_grounds_that_cannot_be_used_are_refused_with_their_place(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "grounds.csv"
    file.write_bytes(content)
    with pytest.raises(ArchiveError, match=message) as raised:
        read_grounds(file, ["a"])
    assert str(raised.value).startswith(f"{file}: ")
    assert str(raised.value).isprintable()


def test_grounds_that_are_a_folder_or_not_there_are_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=rf"{tmp_path}: cannot be read \(.*\); take the file that build_archives"):
        read_grounds(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"away\.csv: no such file; take the file that"):
        read_grounds(tmp_path / "away.csv")
