"""Contract archives: names, order, bytes, and a folder that is whole or not there."""

from __future__ import annotations

import hashlib
import json
import stat
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from contract_archives import Tile, archive_name, shard_sizes, write_manifest, write_split

TILES = [Tile("cordillera", n, b"tile %d" % n, None) for n in (0, 2, 10)] + [
    Tile("glaciar", n, b"tile %d" % n, b"mask %d" % n) for n in (1, 9)
]


def names(archive: Path) -> list[str]:
    with zipfile.ZipFile(archive) as opened:
        return opened.namelist()


@pytest.mark.parametrize(
    ("shard", "shards", "masks", "name"),
    [
        (0, 1, False, "test.zip"),
        (0, 1, True, "test_masks.zip"),
        (0, 4, False, "test-00000-of-00004.zip"),
        (3, 4, True, "test_masks-00003-of-00004.zip"),
    ],
)
def test_archive_is_named_by_the_contract(shard: int, shards: int, masks: bool, name: str) -> None:
    assert archive_name("test", shard, shards, masks=masks) == name


def test_members_are_stored_in_the_order_class_then_number(tmp_path: Path) -> None:
    write_split(tmp_path, "train", TILES, count=5)
    assert names(tmp_path / "train.zip") == [
        "train/cordillera/0.png",
        "train/cordillera/2.png",
        "train/cordillera/10.png",
        "train/glaciar/1.png",
        "train/glaciar/9.png",
    ]
    assert names(tmp_path / "train_masks.zip") == ["train/glaciar/1.png", "train/glaciar/9.png"]
    with zipfile.ZipFile(tmp_path / "train.zip") as archive:
        assert archive.read("train/cordillera/10.png") == b"tile 10"
        assert all(member.compress_type == zipfile.ZIP_STORED for member in archive.infolist())


def test_members_say_nothing_of_the_clock_or_the_system(tmp_path: Path) -> None:
    write_split(tmp_path, "train", TILES, count=5)
    with zipfile.ZipFile(tmp_path / "train.zip") as archive:
        for member in archive.infolist():
            assert member.date_time == (1980, 1, 1, 0, 0, 0)
            assert member.create_system == 3
            assert member.external_attr >> 16 == stat.S_IFREG | 0o644


def test_same_members_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checksums = []
    for time_zone, system in (("UTC0", "linux"), ("XST-9", "win32")):
        monkeypatch.setattr(sys, "platform", system)
        monkeypatch.setenv("TZ", time_zone)
        folder = tmp_path / system
        folder.mkdir()
        checksums.append([archive.sha256 for archive in write_split(folder, "train", TILES, count=5)])
    assert checksums[0] == checksums[1]


def test_masks_shard_goes_with_its_tiles_shard(tmp_path: Path) -> None:
    written = write_split(tmp_path, "train", TILES, count=5, shards=2)
    assert [(archive.name, archive.members) for archive in written] == [
        ("train-00000-of-00002.zip", 3),
        ("train_masks-00000-of-00002.zip", 0),
        ("train-00001-of-00002.zip", 2),
        ("train_masks-00001-of-00002.zip", 2),
    ]
    assert names(tmp_path / "train-00001-of-00002.zip") == names(tmp_path / "train_masks-00001-of-00002.zip")


def test_tiles_are_written_alone_where_no_masks_are_wanted(tmp_path: Path) -> None:
    written = write_split(tmp_path, "train", TILES, count=5, shards=2, masks=False)
    assert [archive.name for archive in written] == ["train-00000-of-00002.zip", "train-00001-of-00002.zip"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [archive.name for archive in written]


def test_shards_take_all_tiles_and_differ_by_one_at_most() -> None:
    for tiles in range(1, 40):
        for shards in range(1, tiles + 1):
            sizes = shard_sizes(tiles, shards)
            assert sum(sizes) == tiles
            assert len(sizes) == shards
            assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("tiles", "count", "shards", "message"),
    [
        (TILES[::-1], 5, 1, "out of order"),
        ([TILES[0], TILES[0]], 2, 1, "out of order"),
        ([Tile("Glaciar", 0, b"", None)], 1, 1, "'Glaciar'"),
        (TILES, 6, 1, "end before the 6"),
        (TILES, 4, 1, "more tiles than the 4"),
        (TILES, 5, 6, "6 shards for 5 tiles"),
        (TILES, 5, 0, "0 shards for 5 tiles"),
    ],
)
def test_tiles_that_do_not_fit_the_contract_are_named(
    tmp_path: Path, tiles: list[Tile], count: int, shards: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_split(tmp_path, "train", tiles, count=count, shards=shards)


def test_tiles_are_written_as_they_come(tmp_path: Path) -> None:
    sizes = []

    def watched() -> Iterator[Tile]:
        for number in range(20):
            yield Tile("cordillera", number, bytes(100_000), None)
            sizes.append((tmp_path / "train.zip").stat().st_size)

    write_split(tmp_path, "train", watched(), count=20)
    assert sizes == sorted(sizes)
    assert sizes[10] > 900_000


def test_manifest_agrees_with_the_archives(tmp_path: Path) -> None:
    archives = write_split(tmp_path, "train", TILES, count=5)
    splits = {"train": {"cordillera": 3, "glaciar": 2}}
    path = write_manifest(tmp_path, version="1.2.3", splits=splits, archives=archives)
    manifest = json.loads(path.read_text())
    assert list(manifest) == ["version", "splits", "archives"]
    assert manifest["version"] == "1.2.3"
    assert manifest["splits"] == splits
    for name in ("train.zip", "train_masks.zip"):
        content = (tmp_path / name).read_bytes()
        assert manifest["archives"][name] == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_manifest_keeps_the_audit(tmp_path: Path) -> None:
    audit: dict[str, str | int] = {"tool": "audit", "errors": 0, "warnings": 2}
    path = write_manifest(tmp_path, version="1.2.3", splits={}, archives=[], audit=audit)
    assert json.loads(path.read_text())["audit"] == audit
