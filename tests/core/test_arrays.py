"""Datasets as arrays: what `datasets` decodes, decoded once, whole or absent."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from archive_contents import replace_member, tile_paths
from conftest import REPOSITORY
from PIL import Image
from test_bad_archives import chunk, with_second_header
from test_rock_glacier_dataset import VERSION

import rock_glacier.arrays
import rock_glacier_dataset
from rock_glacier.arrays import to_arrays
from rock_glacier.masks import mask_to_class_indices
from rock_glacier_dataset import CONFIG_NAMES, load_archives


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache of the test's own."""
    return tmp_path / "arrays"


def png_of(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def assert_nothing_is_left(cache: Path) -> None:
    assert [file for file in cache.rglob("*") if file.suffix != ".lock"] == []


def assert_is_what_datasets_decodes(
    arrays: dict[str, np.ndarray], tiles: Any, channels: int
) -> None:
    tiles = tiles.with_format(None)
    for column in set(tiles.column_names) & {"image", "masks"}:
        tiles = tiles.cast_column(column, datasets.Image())
    assert list(arrays) == tiles.column_names
    assert arrays["image"].shape == (len(tiles), 128, 128, channels)
    for row, example in enumerate(tiles):
        np.testing.assert_array_equal(
            arrays["image"][row], np.asarray(example["image"])[..., :channels]
        )
        assert arrays["path"][row] == example["path"]
        if "masks" in arrays:
            np.testing.assert_array_equal(
                arrays["masks"][row], mask_to_class_indices(example["masks"])
            )
        else:
            assert arrays["labels"][row] == example["labels"]


def from_parquet(tiles: Any, folder: Path) -> Any:
    tiles.to_parquet(str(folder / "tiles.parquet"))
    return datasets.load_dataset("parquet", data_files=str(folder / "tiles.parquet"), split="train")


DATASETS = {
    "as loaded": lambda tiles, folder: tiles,
    "from Parquet": from_parquet,
    "filtered": lambda tiles, folder: tiles.filter(
        lambda path: "glaciar" in path, input_columns="path"
    ),
    "selected": lambda tiles, folder: tiles.select([3, 1, 1, 0]),
    "undecoded": lambda tiles, folder: tiles.cast_column("image", datasets.Image(decode=False)),
    "as numpy": lambda tiles, folder: tiles.with_format("numpy"),
    "concatenated": lambda tiles, folder: datasets.concatenate_datasets([tiles, tiles.select([0])]),
    "of several batches": lambda tiles, folder: datasets.concatenate_datasets([tiles] * 9),
    "empty": lambda tiles, folder: tiles.select([]),
}


@pytest.mark.parametrize("change", DATASETS.values(), ids=DATASETS)
@pytest.mark.parametrize(("name", "channels"), [(CONFIG_NAMES[0], 3), (CONFIG_NAMES[1], 4)])
def test_arrays_are_what_datasets_decodes(
    name: str, channels: int, change: Any, sample: Path, cache: Path
) -> None:
    tiles = change(load_archives(name, data_dir=sample, split="train"), cache.parent)
    assert_is_what_datasets_decodes(
        to_arrays(tiles, rgb=channels == 3, cache_dir=cache), tiles, channels
    )


def test_arrays_of_real_tiles_are_what_datasets_decodes(real_archives: Path, cache: Path) -> None:
    tiles = load_archives("image-segmentation", data_dir=real_archives, split="train")
    assert_is_what_datasets_decodes(to_arrays(tiles, cache_dir=cache, num_workers=3), tiles, 3)


def test_further_columns_are_left_out(sample: Path, cache: Path) -> None:
    tiles = load_archives(data_dir=sample, split="test")
    assert list(to_arrays(tiles.add_column("ground", [1] * 6), cache_dir=cache)) == [
        "image",
        "labels",
        "path",
    ]


@pytest.mark.skipif(VERSION < (2, 15), reason="this version of datasets ignores the orientation")
def test_exif_orientation_is_applied_as_datasets_applies_it(sample_copy: Path, cache: Path) -> None:
    orientation = Image.Exif()
    orientation[0x0112] = 6
    tile = Image.linear_gradient("L").resize((128, 128)).convert("RGBA")
    replace_member(sample_copy / "test.zip", "test/glaciar/000.png", png_of(tile, exif=orientation))
    tiles = load_archives(data_dir=sample_copy, split="test")
    assert_is_what_datasets_decodes(to_arrays(tiles, cache_dir=cache), tiles, 3)


def test_arrays_have_the_types_that_training_takes_without_a_copy(
    sample: Path, cache: Path
) -> None:
    arrays = [
        to_arrays(load_archives(name, data_dir=sample, split="train"), cache_dir=cache)
        for name in CONFIG_NAMES
    ]
    dtypes = {column: array.dtype for each in arrays for column, array in each.items()}
    assert [str(dtypes[column]) for column in ("image", "labels", "masks")] == [
        "uint8",
        "int64",
        "uint8",
    ]
    assert dtypes["path"].kind == "U"
    assert set(np.unique(arrays[1]["masks"])) == {0, 1}
    for array in (array for each in arrays for array in each.values()):
        assert isinstance(array, np.memmap)
        assert array.flags.c_contiguous
        assert array.flags.writeable  # PyTorch warns where it is not
        assert array.ctypes.data % 64 == 0  # JAX copies where it is not


def test_change_to_an_array_stays_with_its_process(sample: Path, cache: Path) -> None:
    tiles = load_archives(data_dir=sample, split="test")
    first = to_arrays(tiles, cache_dir=cache)["image"]
    first += 1
    np.testing.assert_array_equal(to_arrays(tiles, cache_dir=cache)["image"] + np.uint8(1), first)


def test_dataset_is_decoded_once(sample: Path, cache: Path) -> None:
    def files() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in cache.rglob("*.npy")}

    to_arrays(load_archives(data_dir=sample, split="train"), cache_dir=cache)
    before = files()
    to_arrays(load_archives(data_dir=sample, split="train"), cache_dir=str(cache))
    assert files() == before
    assert len(before) == 3
    with_alpha = to_arrays(
        load_archives(data_dir=sample, split="train"), rgb=False, cache_dir=cache
    )
    assert with_alpha["image"].shape[-1] == 4


def test_other_archives_have_other_arrays(sample_copy: Path, cache: Path) -> None:
    def first_pixel() -> list[int]:
        tiles = load_archives(
            data_dir=sample_copy, split="test", cache_dir=cache.parent / "datasets"
        )
        return to_arrays(tiles, cache_dir=cache)["image"][0, 0, 0].tolist()

    before = first_pixel()
    tile = png_of(Image.new("RGBA", (128, 128), (1, 2, 3, 255)))
    replace_member(sample_copy / "test.zip", tile_paths(sample_copy, "test")[0], tile)
    assert first_pixel() == [1, 2, 3] != before


def test_files_stand_in_the_cache_of_datasets(sample: Path) -> None:
    image = to_arrays(load_archives(data_dir=sample, split="validation"))["image"]
    assert Path(str(image.filename)).is_relative_to(datasets.config.HF_DATASETS_CACHE)  # type: ignore[attr-defined]


def test_anything_but_one_split_is_refused(sample: Path, cache: Path) -> None:
    with pytest.raises(TypeError, match=r"one split, such as dataset\['train'\]; got DatasetDict"):
        to_arrays(load_archives(data_dir=sample), cache_dir=cache)
    with pytest.raises(TypeError, match="got IterableDataset"):
        to_arrays(load_archives(data_dir=sample, split="test", streaming=True), cache_dir=cache)
    with pytest.raises(
        ValueError, match="expected the columns image, path, and labels or masks; got image, path"
    ):
        to_arrays(
            load_archives(data_dir=sample, split="test").remove_columns("labels"), cache_dir=cache
        )
    assert not cache.exists()


TILE = png_of(Image.new("RGBA", (128, 128)))
IDAT = TILE.index(b"IDAT") - 4
NO_PIXELS = TILE[:IDAT] + chunk(b"IDAT", bytes(99)) + TILE[-12:]
BAD_IMAGES = {
    "pixels that are no zlib stream": ("image", NO_PIXELS, ""),
    "a checksum": (
        "image",
        TILE[: IDAT + 9] + b"\0" + TILE[IDAT + 10 :],
        "checksum of its chunk b'IDAT' is wrong",
    ),
    "a mask": ("masks", NO_PIXELS, ""),
    "a colour": (
        "masks",
        png_of(Image.new("RGBA", (128, 128), (9, 9, 9, 255))),
        r"got (9, 9, 9, 255) at y=0, x=0",
    ),
    "RGB": ("image", png_of(Image.new("RGB", (128, 128))), "8-bit RGB"),
    "a second header": ("image", with_second_header(13_300, 13_300), "2 headers"),
}


@pytest.mark.parametrize(("column", "png", "said"), BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_image_that_cannot_be_decoded_is_named_and_nothing_is_left(
    column: str, png: bytes, said: str, sample: Path, cache: Path
) -> None:
    good = load_archives("image-segmentation", data_dir=sample, split="test")
    path = good["path"][4]
    undecoded = good.cast_column(column, datasets.Image(decode=False))
    tiles = undecoded.map(
        lambda row: {column: {"bytes": png, "path": None}} if row["path"] == path else {},
        features=good.features,
    )
    with pytest.raises(ValueError, match=f"^{path}: {column} cannot be decoded") as fault:
        to_arrays(tiles, cache_dir=cache)
    assert said in str(fault.value)
    assert "replace it or drop the row" in str(fault.value)
    assert_nothing_is_left(cache)


def test_full_disk_is_reported_before_anything_is_decoded(
    sample: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiles = load_archives(data_dir=sample, split="train")
    needed, usage = 12 * 128 * 128 * 3, shutil.disk_usage(sample)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed - 1))
    with pytest.raises(
        OSError, match=r"0\.6 MiB are needed and 0\.6 MiB are free; make room, or .* cache_dir"
    ) as full:
        to_arrays(tiles, cache_dir=cache)
    assert full.value.errno == errno.ENOSPC
    assert_nothing_is_left(cache)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed))
    assert len(to_arrays(tiles, cache_dir=cache)["path"]) == 12


def test_what_is_prepared_is_loaded_from_a_read_only_disk(
    sample: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(**options: Any) -> Any:
        return load_archives(
            data_dir=sample, split="train", cache_dir=cache / "datasets", **options
        )

    before = to_arrays(load(), cache_dir=cache)

    def refuse(path: str, *arguments: object) -> None:
        raise PermissionError(errno.EROFS, "Read-only file system", path)

    monkeypatch.setattr("rock_glacier_dataset.os.access", lambda path, mode: mode != os.W_OK)
    for module in (datasets.builder, rock_glacier_dataset, rock_glacier.arrays):
        monkeypatch.setattr(module, "FileLock", refuse)
    again = to_arrays(load(), cache_dir=cache)
    assert all((again[name] == before[name]).all() for name in before)
    assert next(iter(load(streaming=True)))["path"] == before["path"][0]


def test_threads_leave_the_library_as_it_was(sample: Path) -> None:
    before = datasets.builder.FileLock
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: load_archives(data_dir=sample, streaming=True), range(16)))
    assert datasets.builder.FileLock is before


DECODE = """
import sys, datasets, rock_glacier_dataset, rock_glacier.arrays
datasets.disable_progress_bar()
tiles = rock_glacier_dataset.load_archives(split="train", data_dir=sys.argv[1], cache_dir=sys.argv[2] + "/datasets")
rock_glacier.arrays.to_arrays(tiles, cache_dir=sys.argv[2], num_workers=1)
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "scripts")]),
        },
        stderr=subprocess.PIPE,
        text=True,
    )


def test_processes_that_ask_at_once_get_the_same_arrays(sample: Path, cache: Path) -> None:
    load_archives(data_dir=sample, split="train", cache_dir=cache / "datasets")
    processes = [start(DECODE, sample, cache) for _ in range(2)]
    for process in processes:
        _, said = process.communicate()
        assert process.returncode == 0, said
    assert len([*cache.rglob("image.npy")]) == 1


def test_process_that_is_killed_leaves_no_arrays(sample: Path, cache: Path) -> None:
    code = """
import os, signal
from PIL import Image
Image.open = lambda *arguments, **options: os.kill(os.getpid(), signal.SIGKILL)  # in the middle of decoding
"""
    process = start(code + DECODE, sample, cache)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert len([*cache.rglob("image.npy")]) == 1
    tiles = load_archives(data_dir=sample, split="train", cache_dir=cache / "datasets")
    assert_is_what_datasets_decodes(to_arrays(tiles, cache_dir=cache), tiles, 3)
    assert len([*cache.rglob("image.npy")]) == 1  # what was left is gone


def test_disk_that_fills_up_is_reported_and_nothing_is_left(
    sample: Path, cache: Path, files_of_at_most: Callable[[int], None]
) -> None:
    tiles = load_archives(data_dir=sample, split="train")
    files_of_at_most(500_000)
    with pytest.raises(
        OSError, match=r"cannot be written \(File too large\); make room, or name another disk"
    ):
        to_arrays(tiles, cache_dir=cache)
    assert_nothing_is_left(cache)


def test_interruption_leaves_nothing(
    sample: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    tiles = load_archives(data_dir=sample, split="train")
    monkeypatch.setattr(Image, "open", interrupt)
    with pytest.raises(KeyboardInterrupt):
        to_arrays(tiles, cache_dir=cache)
    assert_nothing_is_left(cache)
