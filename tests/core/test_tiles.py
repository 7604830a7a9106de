"""A folder of archives is decoded once, completely, and every fault in it is collected."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from factories import half_mask, make_data_dir, mask_png, noise_scene, png, write_zip

from rock_glacier.parallel import Workers
from rock_glacier.tiles import TileSet

HALF = np.zeros((128, 128), np.uint8)
HALF[:, :64] = 1
TILES = {
    "train/cordillera/1.png": png(1),
    "train/glaciar/2.png": png(2),
    "train/glaciar/3.png": png(3),
    "val/cordillera/4.png": png(4),
    "test/glaciar/5.png": png(5),
}
MASKS = {path.replace("glaciar", "masks"): half_mask() for path in TILES if "glaciar" in path}


def read_faults(folder: Path) -> set[tuple[str, str]]:
    with TileSet.read(folder, Workers(1)) as tiles:
        return {(fault.code, fault.place) for fault in tiles.faults}


def test_table_and_arrays_hold_every_tile(tmp_path):
    with TileSet.read(make_data_dir(tmp_path / "data", TILES), Workers(1)) as tiles:
        assert tiles.table["path"].tolist() == list(TILES)
        assert tiles.table["split"].tolist() == ["train"] * 3 + ["validation", "test"]
        assert tiles.table["label"].tolist() == [path.split("/")[1] for path in TILES]
        assert tiles.table["archive"].tolist() == ["train.zip"] * 3 + ["val.zip", "test.zip"]
        assert tiles.table["has_mask"].tolist() == [False, True, True, False, True]
        assert tiles.table["mask_share"].tolist() == [0, 0.5, 0.5, 0, 0.5]
        assert all(np.array_equal(tiles.images[row], noise_scene(row + 1)) for row in range(5))
        assert np.array_equal(tiles.masks, np.stack([0 * HALF, HALF, HALF, 0 * HALF, HALF]))
        assert tiles.counts["train"] == {"cordillera": 1, "glaciar": 2}
        assert tiles.faults == []


def test_processes_and_shards_give_the_same_arrays(sample, sharded_sample):
    with TileSet.read(sample, Workers(1)) as one, TileSet.read(sharded_sample, Workers(2)) as two:
        order_one = one.table["path"].sort_values().index
        order_two = two.table["path"].sort_values().index
        assert one.counts == two.counts
        assert np.array_equal(one.images[order_one], two.images[order_two])
        assert np.array_equal(one.masks[order_one], two.masks[order_two])


def test_scratch_files_are_removed(tmp_path):
    with TileSet.read(make_data_dir(tmp_path / "data", TILES), Workers(1)) as tiles:
        folder = tiles.files.images.parent
        assert folder.is_dir()
    assert not folder.exists()


def test_a_full_disk_is_noticed_before_the_work(tmp_path, monkeypatch):
    folder = make_data_dir(tmp_path / "data", TILES)
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 1000}))
    with pytest.raises(OSError, match="disk"):
        TileSet.read(folder, Workers(1))


def test_a_damaged_tile_is_a_fault_and_the_others_stay(tmp_path):
    folder = make_data_dir(tmp_path / "data", {**TILES, "train/glaciar/2.png": png(2)[:-20]}, MASKS)
    with TileSet.read(folder, Workers(1)) as tiles:
        place = "train.zip: train/glaciar/2.png"
        assert [(fault.code, fault.place) for fault in tiles.faults] == [("png-corrupt", place)]
        assert tiles.table["path"].tolist() == [
            path for path in TILES if path != "train/glaciar/2.png"
        ]
        assert np.array_equal(tiles.images[1], noise_scene(3))
        assert np.array_equal(tiles.masks[1], HALF)
        assert tiles.counts["train"]["glaciar"] == 2


GREY = noise_scene(0)
FAULTY_MASKS = {
    "mask-values": png(GREY),
    "mask-format": png(GREY, "L"),
    "mask-empty": mask_png(0 * HALF),
    "png-corrupt": half_mask()[:-5],
}


@pytest.mark.parametrize("code", FAULTY_MASKS)
def test_a_faulty_mask_is_a_fault(tmp_path, code):
    masks = {**MASKS, "train/masks/2.png": FAULTY_MASKS[code]}
    folder = make_data_dir(tmp_path / "data", TILES, masks)
    assert read_faults(folder) == {(code, "train.zip: train/masks/2.png")}
    with TileSet.read(folder, Workers(1)) as tiles:
        assert not tiles.masks[1].any()
        assert tiles.table["has_mask"][1] == (code == "mask-empty")


def test_missing_masks_and_masks_without_a_tile_are_faults(tmp_path):
    masks = {path: mask for path, mask in MASKS.items() if path != "train/masks/2.png"}
    masks["train/masks/1.png"] = half_mask()
    assert read_faults(make_data_dir(tmp_path / "data", TILES, masks)) == {
        ("mask-missing", "train.zip: train/glaciar/2.png"),
        ("mask-orphan", "train.zip: train/masks/1.png"),
    }


def test_a_tile_in_two_archives_of_a_split_is_a_fault(tmp_path):
    folder = make_data_dir(tmp_path / "data", TILES)
    (folder / "train.zip").rename(folder / "train-00000-of-00002.zip")
    write_zip(folder / "train-00001-of-00002.zip", {"train/cordillera/1.png": png(1)})
    place = "train-00001-of-00002.zip: train/cordillera/1.png"
    assert read_faults(folder) == {("member-duplicate", place)}


def test_missing_damaged_and_unknown_archives_are_faults(tmp_path):
    folder = make_data_dir(tmp_path / "data", TILES)
    (folder / "val.zip").unlink()
    (folder / "test.zip").write_bytes(b"not a zip file")
    (folder / "Test copy.zip").write_bytes(b"")
    assert read_faults(folder) == {
        ("archive-unreadable", "validation.zip"),
        ("archive-unreadable", "test.zip"),
        ("archive-unreadable", "Test copy.zip"),
    }


def test_files_of_operating_systems_are_ignored(tmp_path):
    folder = make_data_dir(tmp_path / "data", TILES)
    with zipfile.ZipFile(folder / "train.zip", "a") as archive:
        for name in ("__MACOSX/._1.png", "train/glaciar/Thumbs.db", "train/.DS_Store"):
            archive.writestr(name, b"junk")
    assert read_faults(folder) == set()


def test_real_archives_have_no_fault(real_archives):
    with TileSet.read(real_archives, Workers(1)) as tiles:
        assert len(tiles) == 300
        assert tiles.faults == []
