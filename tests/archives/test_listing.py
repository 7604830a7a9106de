"""The list of a folder's archives and tiles, and the faults that it collects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from archive_contents import change_manifest

from rock_glacier.archives.listing import Listing


def test_manifest_is_compared_with_the_splits_that_can_be_read(sample_copy: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        del manifest["archives"]
        for counts in manifest["splits"].values():
            counts["glaciar"] += 1

    change_manifest(sample_copy, change)
    (sample_copy / "test.zip").write_bytes(b"no archive")
    faults = [(fault.code, fault.path) for fault in Listing(sample_copy).faults]
    assert faults == [
        ("archive-unreadable", "test.zip"),
        ("manifest-mismatch", "train"),
        ("manifest-mismatch", "validation"),
    ]


def test_tile_in_two_shards_is_a_fault_and_listed_once(sharded_sample: Path, tmp_path: Path) -> None:
    for file in sharded_sample.glob("*.zip"):
        source = sharded_sample / file.name.replace("train-00002", "train-00001")
        (tmp_path / file.name).write_bytes(source.read_bytes())
    (tmp_path / "other.zip").touch()
    listing = Listing(tmp_path)
    of_shard = [tile.path for tile in listing.tiles if tile.archive.name == "train-00001-of-00003.zip"]
    repeated = [
        fault.path for fault in listing.faults if fault.code == "member-duplicate" and "/masks/" not in fault.path
    ]
    assert repeated == of_shard
    assert len({(tile.archive.split, tile.path) for tile in listing.tiles}) == len(listing.tiles)
    assert listing.faults[0].path == "other.zip"
