"""Splits as arrays: what `datasets` decodes, decoded once, whole or not at all, and never another archive's."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archive_contents import Members, rewrite
from conftest import REPOSITORY
from hub.server import HubServer, client_environment
from PIL import Image

import rock_glacier_dataset
from rock_glacier_dataset import (
    CONFIG_NAMES,
    REPO_ID,
    SPLIT_NAMES,
    ArchiveError,
    load_arrays,
    load_dataset,
    mask_to_class_indices,
)

DECODE = (
    "import sys, rock_glacier_dataset as r; r.load_arrays(split='train', data_dir=sys.argv[1], cache_dir=sys.argv[2])"
)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache of the test's own."""
    return tmp_path / "cache"


def changed(archive: Path, name: str, png: bytes) -> None:
    """Replace a member of an archive."""

    def change(members: Members) -> Members:
        return [(member, png if member.filename == name else content) for member, content in members]

    rewrite(archive, change)


def png_of(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def assert_equal_to_what_datasets_decodes(name: str, data_dir: Path, cache: Path, splits: tuple[str, ...]) -> None:
    for split in splits:
        tiles = load_dataset(name, split=split, data_dir=data_dir, cache_dir=cache)
        for rgb in (True, False):
            arrays = load_arrays(name, split=split, data_dir=data_dir, cache_dir=cache, rgb=rgb)
            assert list(arrays) == tiles.column_names
            channels = 3 if rgb else 4
            assert arrays["image"].shape == (len(tiles), 128, 128, channels)
            for row, example in enumerate(tiles):
                expected = np.asarray(example["image"].convert("RGB") if rgb else example["image"])
                np.testing.assert_array_equal(arrays["image"][row], expected)
                if "masks" in arrays:
                    np.testing.assert_array_equal(arrays["masks"][row], mask_to_class_indices(example["masks"]))
            assert arrays["path"].tolist() == [example["path"] for example in tiles]
            if "labels" in arrays:
                assert arrays["labels"].tolist() == [example["labels"] for example in tiles]


@pytest.mark.parametrize("name", CONFIG_NAMES)
def test_arrays_are_what_datasets_decodes(name: str, sample: Path, cache: Path) -> None:
    assert_equal_to_what_datasets_decodes(name, sample, cache, SPLIT_NAMES)


def test_arrays_of_shards_are_what_datasets_decodes(sharded_sample: Path, cache: Path) -> None:
    load_dataset("image-segmentation", data_dir=sharded_sample, cache_dir=cache, num_proc=2)  # into several Arrow files
    assert_equal_to_what_datasets_decodes("image-segmentation", sharded_sample, cache, ("train",))


def test_arrays_of_real_tiles_are_what_datasets_decodes(real_archives: Path, cache: Path) -> None:
    assert_equal_to_what_datasets_decodes("image-segmentation", real_archives, cache, ("train",))


def test_a_tile_that_says_which_way_up_it_is_gets_turned_as_datasets_turns_it(sample_copy: Path, cache: Path) -> None:
    orientation = Image.Exif()
    orientation[0x0112] = 6
    tile = Image.linear_gradient("L").resize((128, 128)).convert("RGBA")
    changed(sample_copy / "test.zip", "test/glaciar/0.png", png_of(tile, exif=orientation))
    assert_equal_to_what_datasets_decodes("image-classification", sample_copy, cache, ("test",))


def test_arrays_have_the_types_that_training_takes_without_a_copy(sample: Path, cache: Path) -> None:
    labelled = load_arrays(split="train", data_dir=sample, cache_dir=cache)
    masked = load_arrays("image-segmentation", split="train", data_dir=sample, cache_dir=cache)
    assert list(labelled) == ["image", "labels", "path"]
    dtypes = [str(array.dtype) for array in (labelled["image"], labelled["labels"], masked["masks"])]
    assert dtypes == ["uint8", "int64", "uint8"]
    assert set(np.unique(masked["masks"])) == {0, 1}
    for array in (labelled["image"], labelled["labels"], masked["masks"], labelled["path"]):
        assert isinstance(array, np.memmap)
        assert array.flags.c_contiguous
        assert array.flags.writeable  # torch warns where it is not
        assert array.ctypes.data % 64 == 0  # JAX copies where it is not
    assert labelled["path"].dtype.kind == "U"


def test_a_change_to_an_array_stays_with_its_process(sample: Path, cache: Path) -> None:
    arrays = load_arrays(split="test", data_dir=sample, cache_dir=cache)
    before = int(arrays["image"][0, 0, 0, 0])
    arrays["image"][0] = 255 - before
    assert load_arrays(split="test", data_dir=sample, cache_dir=cache)["image"][0, 0, 0, 0] == before


def test_a_split_is_decoded_once(sample: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_arrays(split="train", data_dir=sample, cache_dir=cache)
    monkeypatch.setattr(rock_glacier_dataset, "_write_arrays", None)
    monkeypatch.setattr(rock_glacier_dataset.RockGlacierDataset, "download_and_prepare", None)
    again = load_arrays(split="train", data_dir=str(sample), cache_dir=str(cache))
    np.testing.assert_array_equal(first["image"], again["image"])


def test_another_archive_has_other_arrays(sample_copy: Path, cache: Path) -> None:
    before = load_arrays(split="test", data_dir=sample_copy, cache_dir=cache)
    tile = Image.new("RGBA", (128, 128), (1, 2, 3, 255))
    changed(sample_copy / "test.zip", "test/cordillera/0.png", png_of(tile))
    after = load_arrays(split="test", data_dir=sample_copy, cache_dir=cache)
    assert before["path"][0] == after["path"][0] == "test/cordillera/0.png"
    assert after["image"][0, 5, 5].tolist() == [1, 2, 3]
    assert before["image"][0, 5, 5].tolist() != [1, 2, 3]


def test_another_archive_of_the_same_size_and_date_has_other_arrays(sample_copy: Path, cache: Path) -> None:
    (sample_copy / "manifest.json").unlink()
    archive = sample_copy / "test.zip"
    before, status = load_arrays(split="test", data_dir=sample_copy, cache_dir=cache), archive.stat()

    def swap(members: Members) -> Members:
        (first, one), (second, other), *rest = members
        return [(first, other), (second, one), *rest]

    rewrite(archive, swap)
    os.utime(archive, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (archive.stat().st_size, archive.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    after = load_arrays(split="test", data_dir=sample_copy, cache_dir=cache)
    assert before["path"].tolist() == after["path"].tolist()
    np.testing.assert_array_equal(after["image"][:2], before["image"][1::-1])
    assert (before["image"][0] != before["image"][1]).any()


def test_another_revision_has_other_arrays(sample: Path, sample_copy: Path, tmp_path: Path) -> None:
    """By tag, by the branch that moves on, and by commit, from one cache, and then without the Hub."""
    changed(sample_copy / "test.zip", "test/cordillera/0.png", png_of(Image.new("RGBA", (128, 128), (1, 2, 3, 255))))
    code = """
import sys, rock_glacier_dataset
for revision in sys.argv[1:]:
    arrays = rock_glacier_dataset.load_arrays(split="test", revision=revision)
    print(revision, *arrays["image"][0, 5, 5])
"""

    def colours(*revisions: str, **environment: str) -> dict[str, list[int]]:
        done = subprocess.run(
            [sys.executable, "-c", code, *revisions],
            cwd=REPOSITORY,
            env={**client_environment(hub, tmp_path / "home"), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        lines = map(str.split, done.stdout.splitlines())
        return {revision: list(map(int, colour)) for revision, *colour in lines}

    with HubServer() as hub:
        repository = hub.add_repository(REPO_ID, {f"data/{file.name}": file for file in sample.iterdir()})
        repository.create_tag("v1")
        repository.commit({f"data/{file.name}": file for file in sample_copy.iterdir()}, delete=["data/manifest.json"])
        commits = list(repository.commits)
        found = colours("v1", "main", *commits)
    first = load_arrays(split="test", data_dir=sample, cache_dir=tmp_path / "cache")["image"][0, 5, 5].tolist()
    assert found == {"v1": first, "main": [1, 2, 3], commits[0]: first, commits[1]: [1, 2, 3]}
    assert len([*tmp_path.glob("home/datasets/**/image.npy")]) == 2
    assert colours("v1", commits[1], HF_HUB_OFFLINE="1") == {"v1": first, commits[1]: [1, 2, 3]}


@pytest.mark.parametrize("split", ["training", "train[:10%]", "train+test", None])
def test_another_split_is_refused_with_the_three(split: str, sample: Path) -> None:
    with pytest.raises(ValueError, match=r"train, validation, test; .* slice"):
        load_arrays(split=split, data_dir=sample)


@pytest.mark.parametrize(
    ("archive", "png", "code", "said"),
    [
        ("test.zip", None, "png-corrupt", r"test\.zip: test/glaciar/0\.png: cannot be decoded .*; replace the member"),
        ("test_masks.zip", None, "png-corrupt", r"test_masks\.zip: test/glaciar/0\.png: cannot be decoded"),
        (
            "test_masks.zip",
            png_of(Image.new("RGBA", (128, 128), (9, 9, 9, 255))),
            "mask-values",
            r"test_masks\.zip: test/glaciar/0\.png: .* got \(9, 9, 9, 255\) at y=0, x=0; save it again",
        ),
    ],
    ids=["tile", "mask", "mask of other colours"],
)
def test_an_image_that_gives_no_array_is_named_and_nothing_is_left(
    archive: str, png: bytes | None, code: str, said: str, sample_copy: Path, cache: Path
) -> None:
    changed(sample_copy / archive, "test/glaciar/0.png", png or broken_png())
    with pytest.raises(ArchiveError, match=said) as fault:
        load_arrays("image-segmentation", split="test", data_dir=sample_copy, cache_dir=cache)
    assert (fault.value.code, fault.value.path) == (code, "test/glaciar/0.png")
    assert not [*cache.rglob("*.npy"), *cache.rglob("*.incomplete")]


def broken_png() -> bytes:
    """A PNG that only decoding finds damaged: its pixels are no zlib stream, though every checksum is right."""
    png = png_of(Image.new("RGBA", (128, 128)))
    start = png.index(b"IDAT")
    size = int.from_bytes(png[start - 4 : start], "big")
    chunk = b"IDAT" + bytes(size)
    return png[:start] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + png[start + len(chunk) + 4 :]


@pytest.mark.parametrize(("is_prepared", "free"), [(True, 12 * 128 * 128 * 3 - 1), (False, 12 * 128 * 128 * 3)])
def test_a_disk_too_full_is_said_before_the_work(
    is_prepared: bool, free: int, sample: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_prepared:
        load_dataset(data_dir=sample, cache_dir=cache)
    usage = shutil.disk_usage(sample)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=free))
    monkeypatch.setattr(rock_glacier_dataset, "_read_batches", None)
    needed = r"0\.6" if is_prepared else r"1\.\d"
    said = rf"need {needed} MiB in .*, where 0\.6 MiB are free; make room, or .* cache_dir"
    with pytest.raises(OSError, match=said) as full:
        load_arrays(split="train", data_dir=sample, cache_dir=cache)
    assert full.value.errno == errno.ENOSPC
    assert not [*cache.rglob("*.npy"), *cache.rglob("*.incomplete")]
    assert bool([*cache.rglob("*.arrow")]) == is_prepared


def test_processes_that_ask_at_once_get_the_same_arrays(sample: Path, cache: Path) -> None:
    command = [sys.executable, "-c", DECODE, str(sample), str(cache)]
    processes = [subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        _, said = process.communicate()
        assert process.returncode == 0, said
    assert len([*cache.rglob("image.npy")]) == 1
    assert not [*cache.rglob("*.incomplete")]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_process_that_was_killed_is_made_up_for(sample: Path, cache: Path) -> None:
    kill = """
import os, signal, rock_glacier_dataset
rock_glacier_dataset._decode_rows = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", kill + DECODE, str(sample), str(cache)]
    killed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len([*cache.rglob("*.incomplete/image.npy")]) == 1
    assert_equal_to_what_datasets_decodes("image-classification", sample, cache, ("train",))
    assert not [*cache.rglob("*.incomplete")]
