"""Each fault is found, with its code and place, and it is the only one."""

from __future__ import annotations

import json
import zipfile
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from factories import half_mask, make_data_dir, mask_png, noise_scene, png, replace_member
from PIL import Image

from rock_glacier.index import INDEX_NAME, write_index
from rock_glacier_dataset import EMPTY_MASK

CORDILLERA = "train/cordillera/000.png"
GLACIAR = "train/glaciar/000.png"
MASK = "train/masks/000.png"


def codes_and_places(audit):
    return [(fault.code, fault.place) for fault in audit.faults]


def damage(content: bytes) -> bytes:
    """Return a PNG file with one bit flipped in its pixels."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def red_pixel_mask() -> bytes:
    mask = np.zeros((128, 128, 4), np.uint8)
    mask[...] = (0, 0, 0, 255)
    mask[3, 4] = (255, 0, 0, 255)
    return png(mask)


def terrain(seed: int) -> np.ndarray:
    """Return grey ground with details of several sizes: shape (192, 192), values 0 to 255."""
    random = np.random.default_rng(seed)
    ground = np.full((192, 192), 128.0)
    for size in (8, 16, 32, 64):
        noise = Image.fromarray(random.normal(0, 1, (size, size)).astype(np.float32))
        ground += np.asarray(noise.resize((192, 192), Image.Resampling.BICUBIC)) * 72 / size**0.5
    return ground.clip(0, 255)


def date(ground: np.ndarray, seed: int) -> np.ndarray:
    """Return ground as a tile of one date, with noise that differs between dates."""
    tile = np.full((128, 128, 4), 255, np.uint8)
    noise = np.random.default_rng(seed).normal(0, 4, ground.shape)
    tile[..., :3] = (ground + noise).clip(0, 255).astype(np.uint8)[..., None]
    return tile


def test_sample_has_no_faults(sample, audit):
    result = audit(sample, matches=True)
    assert result.faults == []
    assert sum(sum(counts.values()) for counts in result.counts.values()) == 22
    assert set(result.index["path"]) == set(result.table["path"])


@pytest.mark.parametrize(
    ("code", "path", "content"),
    [
        ("member-name", "train/glaciar/x.png", png(9)),
        ("png-corrupt", CORDILLERA, damage(png(9))),
        ("png-format", CORDILLERA, png(9, "RGB")),
        ("mask-orphan", "train/masks/7.png", half_mask()),
        ("mask-format", MASK, png(9, "L")),
        ("mask-values", MASK, red_pixel_mask()),
        ("mask-empty", MASK, EMPTY_MASK),
    ],
)
def test_faulty_member_is_reported(data_dir, audit, code, path, content):
    replace_member(data_dir / "train.zip", path, content)
    assert codes_and_places(audit(data_dir)) == [(code, f"train.zip: {path}")]


def test_missing_mask_is_reported(data_dir, audit):
    replace_member(data_dir / "train.zip", MASK, None)
    assert codes_and_places(audit(data_dir)) == [("mask-missing", f"train.zip: {GLACIAR}")]


def test_repeated_member_is_reported(data_dir, audit):
    with zipfile.ZipFile(data_dir / "train.zip", "a") as archive:
        archive.writestr(CORDILLERA, png(9))
    result = codes_and_places(audit(data_dir))
    assert result == [("member-duplicate", f"train.zip: {CORDILLERA}")]


def test_unreadable_archive_does_not_stop_the_audit(data_dir, audit):
    (data_dir / "val.zip").write_bytes(b"PK\3\4")
    result = audit(data_dir)
    assert codes_and_places(result) == [("archive-unreadable", "val.zip")]
    assert len(result.table) == 4


def test_wrong_manifest_is_reported(data_dir, audit):
    splits = {"train": {"cordillera": 5, "glaciar": 1}}
    (data_dir / "manifest.json").write_text(json.dumps({"version": "1.0.0", "splits": splits}))
    assert {fault.code for fault in audit(data_dir).faults} == {"manifest-mismatch"}


@pytest.mark.parametrize("orientation", ["as it is", "rotated", "mirrored"])
def test_duplicate_within_a_split_is_a_warning(data_dir, audit, orientation):
    tile = noise_scene(0)
    copies = {"as it is": tile, "rotated": np.rot90(tile), "mirrored": tile[:, ::-1]}
    replace_member(data_dir / "train.zip", "train/cordillera/9.png", png(copies[orientation]))
    result = audit(data_dir)
    assert codes_and_places(result) == [("duplicate-pixels", f"train.zip: {CORDILLERA}")]
    assert (result.errors, result.warnings) == (0, 1)


@pytest.mark.parametrize(
    ("members", "fix"),
    [
        ({"train/cordillera/9.png": png(np.rot90(noise_scene(1)))}, "label"),
        ({"train/glaciar/9.png": png(noise_scene(1)), "train/masks/9.png": half_mask()}, "Remove"),
        (
            {
                "train/glaciar/9.png": png(noise_scene(1)),
                "train/masks/9.png": mask_png(np.eye(128)),
            },
            "mask",
        ),
    ],
)
def test_duplicate_with_other_label_or_mask_has_a_fix(data_dir, audit, members, fix):
    for path, content in members.items():
        replace_member(data_dir / "train.zip", path, content)
    (fault,) = audit(data_dir).faults
    assert (fault.code, fault.place) == ("duplicate-pixels", f"train.zip: {GLACIAR}")
    assert fix in fault.fix


def test_masks_of_duplicates_are_compared_in_one_orientation(data_dir, audit):
    replace_member(data_dir / "train.zip", "train/glaciar/9.png", png(np.rot90(noise_scene(1))))
    mask = np.zeros((128, 128), np.uint8)
    mask[:, :64] = 1
    replace_member(data_dir / "train.zip", "train/masks/9.png", mask_png(np.rot90(mask)))
    (fault,) = audit(data_dir).faults
    assert "mask" not in fault.problem


@pytest.mark.parametrize("image", [noise_scene(0), np.full((128, 128, 4), 255, np.uint8)])
def test_duplicate_across_splits_is_one_error(tmp_path, audit, image):
    """This includes tiles of one colour, which do not overlap by definition."""
    tiles = {
        GLACIAR: png(image),
        "val/cordillera/1.png": png(1),
        "test/glaciar/2.png": png(image),
    }
    result = audit(make_data_dir(tmp_path / "archives", tiles))
    assert codes_and_places(result) == [("overlap-across-splits", f"train.zip: {GLACIAR}")]


@pytest.mark.parametrize("image", [noise_scene(0), np.full((128, 128, 4), 255, np.uint8)])
@pytest.mark.parametrize("label", ["cordillera", "glaciar"])
def test_duplicate_across_splits_with_other_label_or_mask(tmp_path, audit, image, label):
    tiles = {
        GLACIAR: png(image),
        "val/cordillera/1.png": png(1),
        f"test/{label}/2.png": png(image),
    }
    masks = {MASK: half_mask()}
    if label == "glaciar":
        masks["test/masks/2.png"] = mask_png(np.eye(128))
    result = audit(make_data_dir(tmp_path / "archives", tiles, masks))
    place = f"train.zip: {GLACIAR}"
    assert sorted(codes_and_places(result)) == [
        ("duplicate-pixels", place),
        ("overlap-across-splits", place),
    ]
    assert (result.errors, result.warnings) == (1, 1)


def overlapping_archives(folder):
    scene = noise_scene(5, 128, 192)
    tiles = {
        CORDILLERA: png(scene[:, :128]),
        "train/cordillera/1.png": png(1),
        "val/cordillera/1.png": png(2),
        "test/cordillera/2.png": png(scene[:, 64:]),
    }
    return make_data_dir(folder, tiles)


def test_overlap_across_splits_is_an_error(tmp_path, audit):
    result = audit(overlapping_archives(tmp_path / "archives"))
    (fault,) = result.faults
    assert str(fault) == (
        "train.zip: train/cordillera/000.png: overlaps test/cordillera/2.png on 8,192 pixels. "
        "Put both tiles into one split."
    )
    (pair,) = result.to_json()["pairs"]
    assert pair == {
        "a": CORDILLERA,
        "b": "test/cordillera/2.png",
        "kind": "overlap",
        "kinds": ["overlap"],
        "orientation": 0,
        "dx": 64,
        "dy": 0,
        "pixels": 8192,
        "correlation": None,
    }


def test_match_across_splits_is_an_error(tmp_path, audit):
    ground = terrain(1)
    tiles = {
        CORDILLERA: png(date(ground[:128, :128], 2)),
        "val/cordillera/1.png": png(7),
        "test/cordillera/2.png": png(np.rot90(date(0.8 * ground[40:168, 24:152], 3))),
    }
    result = audit(make_data_dir(tmp_path / "archives", tiles), matches=True)
    assert codes_and_places(result) == [("match-across-splits", f"train.zip: {CORDILLERA}")]
    (pair,) = result.to_json()["pairs"]
    assert (pair["kind"], pair["orientation"], pair["dx"], pair["dy"]) == ("match", 3, 24, 40)
    assert 0.5 < pair["correlation"] < 1


def test_index_that_fits_keeps_sites_and_blocks(data_dir, audit):
    index = audit(data_dir).index
    index = index.assign(site=0, block=range(6), x=7, source="scene.png")
    wrong_shares = index.iloc[::-1].reset_index(drop=True).assign(mask_share=0.7)
    write_index(wrong_shares, data_dir / INDEX_NAME)
    result = audit(data_dir)
    assert result.faults == []
    pd.testing.assert_frame_equal(result.index, index, check_dtype=False)


def test_index_of_other_tiles_is_reported_and_not_kept(data_dir, audit):
    index = audit(data_dir).index.assign(block=3)
    write_index(index.iloc[1:], data_dir / INDEX_NAME)
    result = audit(data_dir)
    assert codes_and_places(result) == [("index-mismatch", INDEX_NAME)]
    assert set(result.index["block"]) == {0}


def test_file_that_is_not_an_index_is_reported(data_dir, audit):
    (data_dir / INDEX_NAME).write_text("no Parquet")
    assert codes_and_places(audit(data_dir)) == [("index-mismatch", INDEX_NAME)]


@pytest.mark.parametrize(
    ("positions", "difference"),
    [
        ({"site": 1}, "sites"),
        ({"block": 1}, "blocks"),
        ({"orientation": 1}, "positions"),
        ({"x": 0}, "positions"),
        ({"x": -(2**31), "y": 2**31 - 1}, "positions"),
    ],
)
def test_index_that_does_not_fit_a_pair_is_not_kept(tmp_path, audit, positions, difference):
    data_dir = overlapping_archives(tmp_path / "archives")
    found = audit(data_dir).index
    index = found.copy()
    for column, value in positions.items():
        index.loc[index["split"] == "test", column] = value
    write_index(index, data_dir / INDEX_NAME)
    result = audit(data_dir)
    (fault,) = [fault for fault in result.faults if fault.code == "index-mismatch"]
    assert fault.place == INDEX_NAME
    assert difference in fault.problem
    pd.testing.assert_frame_equal(result.index, found)


@pytest.mark.parametrize(("x", "y", "fits"), [(0, 0, False), (0, -64, True), (6, -64, True)])
def test_index_in_another_orientation_fits_if_offsets_do(tmp_path, audit, x, y, fits):
    """The second tile is 64 pixels to the right of the first: above it in orientation 1."""
    data_dir = overlapping_archives(tmp_path / "archives")
    index = audit(data_dir).index.assign(site=0, x=0, y=0, orientation=1)
    index.loc[index["split"] == "test", ["x", "y"]] = (x, y)
    write_index(index, data_dir / INDEX_NAME)
    result = audit(data_dir)
    assert ("index-mismatch" not in {fault.code for fault in result.faults}) == fits
    assert (set(result.index["orientation"]) == {1}) == fits


def test_real_archives_have_the_measured_overlaps(real, real_archives, audit):
    result = audit(real_archives)
    expected = pd.read_csv(real / "overlaps.csv")
    forth = set(expected.itertuples(index=False, name=None))
    back = {(b, a, -dx, -dy, pixels) for a, b, dx, dy, pixels in forth}
    overlaps = {
        (pair["a"], pair["b"], pair["dx"], pair["dy"], pair["pixels"])
        for pair in result.to_json()["pairs"]
    }
    assert len(overlaps) == len(expected) == 689
    assert overlaps <= forth | back
    assert Counter(fault.code for fault in result.faults)["overlap-across-splits"] == 351
