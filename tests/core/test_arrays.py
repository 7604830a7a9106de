"""A loaded dataset becomes arrays, once."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
from factories import files_of, half_mask, noise_scene, png
from PIL import Image

from rock_glacier.arrays import to_arrays
from rock_glacier_dataset import load_archives


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "arrays"


@pytest.fixture(scope="module")
def tiles(sample: Path) -> datasets.Dataset:
    """The train split with masks."""
    return load_archives("image-segmentation", data_dir=sample, split="train")


def make_rows(image: bytes, mask: bytes) -> datasets.Dataset:
    """Make a dataset of one tile."""
    features = datasets.Features(
        {"image": datasets.Image(), "masks": datasets.Image(), "path": datasets.Value("string")}
    )
    columns = {"image": [{"bytes": image}], "masks": [{"bytes": mask}], "path": ["a/glaciar/1.png"]}
    return datasets.Dataset.from_dict(columns, features=features)


@pytest.mark.parametrize(("rgb", "mode"), [(True, "RGB"), (False, "RGBA")])
def test_images_and_masks_are_those_of_datasets(tiles, cache, rgb, mode):
    arrays = to_arrays(tiles, rgb=rgb, cache_dir=cache)
    assert list(arrays) == ["image", "masks", "path"]
    assert arrays["path"].tolist() == tiles["path"][:]
    for number, row in enumerate(tiles):
        assert np.array_equal(arrays["image"][number], np.asarray(row["image"].convert(mode)))
        assert np.array_equal(arrays["masks"][number], np.asarray(row["masks"].convert("1")))


def test_labels_are_numbers(sample, cache):
    rows = load_archives("image-classification", data_dir=sample, split="test")
    arrays = to_arrays(rows, cache_dir=cache)
    assert arrays["labels"].dtype == np.int64
    assert arrays["labels"].tolist() == rows["labels"][:]


def test_a_selection_of_rows_has_its_own_order(tiles, cache):
    chosen = tiles.select([5, 2, 3])
    assert to_arrays(chosen, cache_dir=cache)["path"].tolist() == [
        tiles[i]["path"] for i in (5, 2, 3)
    ]


def test_arrays_are_decoded_once_and_leave_no_locks(tiles, cache):
    to_arrays(tiles, cache_dir=cache)
    before = {file: file.stat().st_mtime_ns for file in cache.rglob("*")}
    to_arrays(tiles, cache_dir=cache)
    assert {file: file.stat().st_mtime_ns for file in cache.rglob("*")} == before
    assert {file.name for file in cache.rglob("*") if file.is_file()} == {
        "image.npy",
        "masks.npy",
        "path.npy",
    }


def test_complete_files_can_be_read_in_a_read_only_folder(tiles, cache):
    expected = to_arrays(tiles, cache_dir=cache)
    cache.chmod(0o555)
    try:
        arrays = to_arrays(tiles, cache_dir=cache)
        assert np.array_equal(arrays["image"], expected["image"])
    finally:
        cache.chmod(0o755)


def test_a_change_stays_in_its_process(tiles, cache):
    to_arrays(tiles, cache_dir=cache)["image"][:] = 7
    assert (to_arrays(tiles, cache_dir=cache)["image"] != 7).any()


def test_processes_that_start_together_get_the_same_arrays(sample, tmp_path):
    code = (
        "import sys, rock_glacier_dataset, rock_glacier.arrays as arrays\n"
        "rows = rock_glacier_dataset.load_archives(data_dir=sys.argv[1], split='train')\n"
        "print(int(arrays.to_arrays(rows, cache_dir=sys.argv[2])['image'].astype(int).sum()))"
    )
    command = [sys.executable, "-c", code, str(sample), str(tmp_path / "arrays")]
    environment = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "datasets")}
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
        for _ in range(2)
    ]
    results = {run.communicate()[0] for run in runs}
    assert [run.returncode for run in runs] == [0, 0]
    assert len(results) == 1
    assert len([path for path in (tmp_path / "arrays").iterdir() if path.is_dir()]) == 1


def test_rgb_images_are_accepted(cache):
    arrays = to_arrays(make_rows(png(3, "RGB"), half_mask()), cache_dir=cache)
    assert np.array_equal(arrays["image"][0], noise_scene(3)[..., :3])


def indexed_mask(indices, palette=None) -> bytes:
    """Save class indices as Pillow does: in mode L, or in mode P with a palette of colours."""
    image = Image.fromarray(indices)
    if palette is not None:
        image = image.convert("P")
        image.putdata(indices.ravel().tolist())
        image.putpalette([level for colour in palette for level in colour])
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


BLACK = (0, 0, 0)
WHITE = (255, 255, 255)
GREY_RAMP = [(level, level, level) for level in range(256)]
INDICES = np.kron([[1, 0]], np.ones((128, 64), np.uint8)).astype(np.uint8)


@pytest.mark.parametrize(
    "palette",
    [None, GREY_RAMP, [BLACK], [BLACK] * 256],
    ids=["mode L", "grey ramp", "one colour", "all black"],
)
def test_masks_of_class_indices_are_used_as_they_are(cache, palette):
    rows = make_rows(png(3), indexed_mask(INDICES, palette))
    assert np.array_equal(to_arrays(rows, cache_dir=cache)["masks"][0], INDICES)


def test_a_palette_of_white_and_black_is_read_by_colour(cache):
    rows = make_rows(png(3), indexed_mask(INDICES, [WHITE, BLACK]))
    assert np.array_equal(to_arrays(rows, cache_dir=cache)["masks"][0], 1 - INDICES)


@pytest.mark.parametrize(
    "mask",
    [
        indexed_mask(INDICES, [BLACK, (128, 0, 0)]),
        indexed_mask(np.where(INDICES, 1, 200).astype(np.uint8), [BLACK, WHITE, *[BLACK] * 15]),
        indexed_mask(5 * INDICES, [BLACK] * 256),
        png(np.full((128, 128, 3), (0, 1, 0), np.uint8), "RGB"),
        png(np.zeros((128, 128, 4), np.uint8)),
    ],
    ids=["other colour", "palette too short", "palette all black", "green", "transparent"],
)
def test_a_mask_of_other_colours_is_refused(cache, mask):
    with pytest.raises(ValueError, match="a/glaciar/1"):
        to_arrays(make_rows(png(3), mask), cache_dir=cache)


@pytest.mark.parametrize("column", ["image", "masks"])
def test_a_damaged_image_is_named_and_nothing_is_left(cache, column):
    content = {"image": png(3), "masks": half_mask()}
    content[column] = content[column][:-20]
    rows = make_rows(content["image"], content["masks"])
    with pytest.raises(ValueError, match=column):
        to_arrays(rows, cache_dir=cache)
    assert files_of(cache) == {}


@pytest.mark.parametrize("wrong", ["all splits", "stream", "columns"])
def test_anything_but_one_split_is_refused(sample, cache, wrong):
    if wrong == "columns":
        with pytest.raises(ValueError, match="columns"):
            to_arrays(datasets.Dataset.from_dict({"a": [1]}), cache_dir=cache)
        return
    loaded = load_archives(data_dir=sample, streaming=wrong == "stream")
    with pytest.raises(TypeError):
        to_arrays(loaded["train"] if wrong == "stream" else loaded, cache_dir=cache)


def test_a_full_disk_is_noticed_before_the_work(tiles, cache, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 1000}))
    with pytest.raises(OSError, match="free"):
        to_arrays(tiles, cache_dir=cache)
    assert files_of(cache) == {}
