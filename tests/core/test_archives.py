"""Archives and manifests are written the same way each time, and compared strictly."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from factories import files_of, half_mask, make_data_dir, png

from rock_glacier import archives
from rock_glacier_dataset import ArchiveError, mask_path

TILES = [
    f"train/{label}/{number:03d}.png" for label in ("cordillera", "glaciar") for number in range(6)
]
COUNTS = {
    "train": {"cordillera": 1, "glaciar": 1},
    "validation": {"cordillera": 1, "glaciar": 0},
    "test": {"cordillera": 0, "glaciar": 1},
}


def read(path: str) -> bytes:
    return b"content of " + path.encode()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Archives with COUNTS, and a manifest."""
    paths = ["train/cordillera/1.png", "train/glaciar/2.png", "val/cordillera/3.png"]
    tiles = {path: png(number) for number, path in enumerate([*paths, "test/glaciar/4.png"])}
    folder = make_data_dir(tmp_path / "data", tiles)
    archives.write_manifest(folder, "3.0.0", COUNTS)
    return folder


def test_members_are_stored_ordered_by_hash_and_undated(tmp_path):
    archives.write_archives(tmp_path, "train", reversed(TILES), read)
    with zipfile.ZipFile(tmp_path / "train.zip") as archive:
        infos = archive.infolist()
        names = [info.filename for info in infos]
        masks = [mask_path(path) for path in TILES[6:]]
        assert names == sorted([*TILES, *masks], key=archives.sort_key)
        assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}
        assert archive.read(TILES[0]) == read(TILES[0])


def test_the_order_of_the_tiles_does_not_change_the_bytes(tmp_path):
    for name, tiles in (("a", TILES), ("b", TILES[::-1])):
        (tmp_path / name).mkdir()
        archives.write_archives(tmp_path / name, "train", tiles, read, shards=2)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_shards_hold_each_tile_once_and_its_mask(tmp_path):
    archives.write_archives(tmp_path, "train", TILES, read, shards=3)
    seen = []
    for shard in range(3):
        with zipfile.ZipFile(tmp_path / archives.archive_name("train", shard, 3)) as archive:
            names = archive.namelist()
        tiles = [name for name in names if "/masks/" not in name]
        masks = [mask_path(path) for path in tiles if "/glaciar/" in path]
        assert sorted(names) == sorted(tiles + masks)
        seen += tiles
    assert sorted(seen) == TILES


def test_a_manifest_fits_the_archives_it_describes(data_dir):
    assert archives.find_manifest_faults(data_dir, COUNTS) == []
    assert archives.read_manifest(data_dir)["version"] == "3.0.0"
    assert not archives.is_sample(data_dir)


def test_a_folder_without_manifest_has_no_mismatch(data_dir):
    (data_dir / "manifest.json").unlink()
    assert archives.find_manifest_faults(data_dir, COUNTS) == []
    assert archives.read_manifest(data_dir) == {}


def test_a_changed_archive_and_a_wrong_count_are_mismatches(data_dir):
    with zipfile.ZipFile(data_dir / "train.zip", "a") as archive:
        archive.writestr("train/cordillera/9.png", half_mask())
    (data_dir / "test.zip").unlink()
    faults = archives.find_manifest_faults(data_dir, {**COUNTS, "test": {}})
    assert {fault.code for fault in faults} == {"manifest-mismatch"}
    assert [fault.place for fault in faults] == ["test", "test.zip", "train.zip"]


@pytest.mark.parametrize("content", ["{", "[]", '{"splits": 3}'])
def test_a_broken_manifest_is_a_mismatch(data_dir, content):
    (data_dir / "manifest.json").write_text(content)
    codes = {fault.code for fault in archives.find_manifest_faults(data_dir, COUNTS)}
    assert codes == {"manifest-mismatch"}


def test_the_manifest_of_a_sample_is_recognised(sample):
    assert archives.is_sample(sample)
    assert json.loads((sample / "manifest.json").read_text())["version"] == archives.SAMPLE_VERSION


@pytest.mark.parametrize("place", ["missing", ".", "https://example.org/data"])
def test_a_folder_without_archives_is_refused(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArchiveError) as raised:
        archives.local_folder(place)
    assert raised.value.fault.code == "archive-unreadable"
