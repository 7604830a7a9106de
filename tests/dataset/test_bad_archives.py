"""Faulty archives: the first fault is raised with its code and place."""

from __future__ import annotations

import io
import shutil
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets.builder import DatasetGenerationError
from factories import png, replace_member, write_zip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from rock_glacier_dataset import (
    EMPTY_MASK,
    FAULT_CODES,
    ArchiveError,
    ArchiveReader,
    Fault,
    check_png,
    find_archive_faults,
    is_ignored,
    load_archives,
)

TILE = "test/glaciar/000.png"
MASK = "test/masks/000.png"
OTHER = "test/cordillera/000.png"


@pytest.fixture
def archive(tmp_path) -> Path:
    """An archive of a glaciar tile, its mask and a cordillera tile, which a test may change."""
    return write_zip(tmp_path / "test.zip", {TILE: png(1), MASK: EMPTY_MASK, OTHER: png(2)})


def fault_of(archive: Path, *, streaming: bool = False) -> Fault:
    """Load an archive for segmentation, and return the fault that is raised."""
    options: dict[str, Any] = {"data_dir": archive.parent, "split": "test", "streaming": streaming}
    with pytest.raises(ArchiveError) as caught:
        list(load_archives("image-segmentation", cache_dir=archive.parent / "cache", **options))
    assert caught.value.fault.code in FAULT_CODES
    return caught.value.fault


def check_fault(archive: Path, code: str, place: str) -> None:
    """Check the fault of an archive in both ways of loading, and that nothing was prepared."""
    for streaming in (False, True):
        fault = fault_of(archive, streaming=streaming)
        assert (fault.code, fault.place) == (code, place)
    assert not list(archive.parent.rglob("*.arrow"))


def change_bytes(archive: Path, change: Callable[[bytearray], object]) -> None:
    content = bytearray(archive.read_bytes())
    change(content)
    archive.write_bytes(content)


def set_in_directory(archive: Path, name: str, offset: int, field: str, value: int) -> None:
    """Set a field of a member's entry in the directory, at an offset from its signature."""

    def change(content: bytearray) -> None:
        struct.pack_into(field, content, content.rfind(name.encode()) - 46 + offset, value)

    change_bytes(archive, change)


def encode(mode: str = "RGBA", size: tuple[int, int] = (128, 128), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def header(width: int, height: int, depth: int = 8, colour_type: int = 6) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))


# Members


@pytest.mark.parametrize(
    "name",
    [
        "test/0.png",
        "0.png",
        "test/glaciar/a/0.png",
        "test\\glaciar\\0.png",
        "train/glaciar/000.png",
        "test/volcan/0.png",
        "test/Glaciar/0.png",
        "test/glaciar/a.png",
        "test/glaciar/٣.png",
        f"test/glaciar/{10**18}.png",
        "test/glaciar/0.tif",
        "test/glaciar/\n.png",
    ],
)
def test_member_name(name, archive):
    replace_member(archive, name, png(1))
    check_fault(archive, "member-name", f"test.zip: {name}")


@pytest.mark.parametrize("name", [TILE, MASK, f"a/{TILE}"])
def test_member_twice(name, archive):
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(name, EMPTY_MASK)
    check_fault(archive, "member-duplicate", f"test.zip: {name}")


@pytest.mark.parametrize("name", [None, "test/masks/0.png"])
def test_mask_missing(name, archive):
    replace_member(archive, MASK, None)
    if name:
        replace_member(archive, name, EMPTY_MASK)
    check_fault(archive, "mask-missing", f"test.zip: {TILE}")


def test_mask_orphan(archive):
    replace_member(archive, TILE, None)
    check_fault(archive, "mask-orphan", f"test.zip: {MASK}")


@pytest.mark.parametrize(
    ("offset", "field", "value"),
    [
        (42, "<I", 7),  # where the member starts
        (42, "<I", 2**32 - 2),
        (24, "<I", 2**31),  # its size
        (10, "<H", 12),  # how it is packed
        (16, "<I", 0),  # its checksum
    ],
)
def test_wrong_entry_of_the_directory(offset, field, value, archive):
    set_in_directory(archive, TILE, offset, field, value)
    assert fault_of(archive).code in ("png-corrupt", "archive-unreadable")


@pytest.mark.parametrize("name", [TILE, MASK])
def test_changed_byte(name, archive):
    change_bytes(archive, lambda b: b.__setitem__(b.find(name.encode()) + 60, b[-1] ^ 255))
    change_bytes(archive, lambda b: b.__setitem__(b.find(name.encode()) + 61, 1))
    check_fault(archive, "png-corrupt", f"test.zip: {name}")


@pytest.mark.parametrize("claimed", [None, 999])
def test_very_large_member(claimed, archive):
    write_zip(archive, {TILE: bytes(50 * 2**20), MASK: EMPTY_MASK}, zipfile.ZIP_DEFLATED)
    if claimed:
        set_in_directory(archive, TILE, 24, "<I", claimed)
    tracemalloc.start()
    fault = fault_of(archive)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (fault.code, fault.place) == ("png-corrupt", f"test.zip: {TILE}")
    assert peak < 10 * 2**20


# PNG files


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not a PNG file"),
        (encode("RGB", kind="JPEG"), "is not a PNG file"),
        (encode()[:8], "is a PNG file that is damaged or cut short"),
        (encode()[:-20], "is a PNG file that is damaged or cut short"),
        (encode()[:-9] + b"\1" + encode()[-8:], "is a PNG file that is damaged or cut short"),
        (
            encode()[:8] + chunk(b"tEXt", b"") + encode()[8:],
            "is a PNG file that is damaged or cut short",
        ),
    ],
)
def test_png_corrupt(content, problem, archive):
    assert check_png(content, "place") == Fault(
        "png-corrupt", "place", problem, "Save it as an 8-bit RGBA PNG file of 128 x 128 pixels"
    )
    replace_member(archive, OTHER, content)
    check_fault(archive, "png-corrupt", f"test.zip: {OTHER}")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (encode(size=(127, 128)), "127 x 128, 8-bit RGBA"),
        (encode("I;16"), "128 x 128, 16-bit grey"),
        (encode("P"), "palette"),
        (encode("LA"), "8-bit grey with alpha"),
        (encode("RGB"), "8-bit RGB"),
        (encode()[:8] + header(128, 128, 16) + encode()[33:], "16-bit RGBA"),
        (encode()[:8] + header(128, 128, 8, 9) + encode()[33:], "8-bit unknown"),
        (encode()[:8] + header(60_000, 60_000) + encode()[33:], "60000 x 60000"),
    ],
)
def test_png_format(content, problem, archive):
    replace_member(archive, MASK, content)
    check_fault(archive, "mask-format", f"test.zip: {MASK}")
    replace_member(archive, OTHER, content)
    fault = check_png(content, OTHER)
    assert fault is not None
    assert fault.code == "png-format"
    assert problem in fault.problem


@pytest.mark.parametrize("content", [png(1), EMPTY_MASK])
def test_valid_png(content):
    assert check_png(content, "place") is None


# Archives


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a zip archive"),
        (b"PNG" * 99, "not a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>Log in</html>", "web page"),
        (b"PK\3\4" + bytes(999), "is incomplete"),
        (b"PK\7\x08PK\3\4" + bytes(999), "join its parts"),  # the first part
        (b"PK\5\6" + bytes(18), "holds no tiles"),
    ],
)
def test_file_that_is_not_an_archive_of_tiles(content, words, archive):
    archive.write_bytes(content)
    check_fault(archive, "archive-unreadable", "test.zip")
    assert words in str(fault_of(archive))


def test_last_part_of_a_split_archive(archive):
    set_in_directory(archive, TILE, 34, "<H", 1)  # the number of the part that holds the member
    check_fault(archive, "archive-unreadable", "test.zip")
    assert "split zip archive" in str(fault_of(archive))


def test_encrypted_archive(archive):
    set_in_directory(archive, TILE, 8, "<H", 1)
    set_in_directory(archive, TILE, 10, "<H", 99)  # AES
    check_fault(archive, "archive-unreadable", "test.zip")
    assert "encrypted" in str(fault_of(archive))


@pytest.mark.parametrize("change", [Path.unlink, lambda file: (file.unlink(), file.mkdir())])
def test_missing_archive(change, archive):
    change(archive)
    check_fault(archive, "archive-unreadable", "test.zip")


def test_missing_folder(tmp_path):
    with pytest.raises(ArchiveError) as caught:
        load_archives(data_dir=tmp_path / "nowhere")
    assert caught.value.fault.place == str(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("names", "places"),
    [
        (["test.zip"], []),
        (["test-00000-of-00002.zip", "test-00001-of-00002.zip"], []),
        (["test-00000-of-00002.zip"], ["test-00001-of-00002.zip"]),
        (["test-00000-of-00001.zip", "test.zip"], ["test.zip"]),
        (["test-00000-of-00001.zip", "test-00000-of-00002.zip"], ["test-00000-of-00002.zip"]),
        (["val.zip", "validation.zip"], ["validation.zip"]),
    ],
)
def test_set_of_shards(names, places):
    split = "validation" if "val" in names[0] else "test"
    assert [fault.place for fault in find_archive_faults(split, names, "folder")] == places


def test_faulty_archive_in_processes(archive):
    """`datasets` may lose the cause of an error in another process."""
    for shard in range(2):
        shutil.copy(archive, archive.parent / f"test-0000{shard}-of-00002.zip")
        replace_member(archive.parent / f"test-0000{shard}-of-00002.zip", OTHER, b"")
    archive.unlink()
    options = {"data_dir": archive.parent, "split": "test", "cache_dir": archive.parent / "cache"}
    with pytest.raises((ArchiveError, DatasetGenerationError)):
        load_archives(num_proc=2, **options)
    assert not list(archive.parent.rglob("*.arrow"))


def test_reader_collects_all_faults(archive):
    replace_member(archive, "test/masks/1.png", EMPTY_MASK)
    replace_member(archive, "test/lake/1.png", EMPTY_MASK)
    replace_member(archive, "readme.txt", b"")
    with ArchiveReader("test", str(archive)) as reader:
        places = [fault.place for fault in reader.faults + reader.find_pair_faults()]
        assert reader.tiles == [TILE, OTHER]
        assert list(reader.members) == [TILE, MASK, OTHER, "test/masks/1.png"]
    names = ["test/lake/1.png", "readme.txt", "test/masks/1.png"]
    assert places == [f"test.zip: {name}" for name in names]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_reader_reads_or_raises(data, tmp_path_factory):
    """Whatever happens to the bytes of an archive, only expected errors are raised."""
    folder = tmp_path_factory.mktemp("mutated")
    blank = png(np.zeros((128, 128, 4), np.uint8))
    members = {TILE: blank, MASK: EMPTY_MASK, OTHER: blank}
    compress = data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    path = write_zip(folder / "test.zip", members, compress)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        # Most bytes belong to PNG files, but damage to the directory at the end tests more code.
        last = data.draw(st.sampled_from([len(content), 250]))
        place = len(content) - 1 - data.draw(st.integers(0, min(last, len(content)) - 1))
        if data.draw(st.booleans()):
            content[place] = data.draw(st.integers(0, 255))
        else:
            del content[place : place + data.draw(st.integers(1, 99))]
    path.write_bytes(content)
    try:
        with ArchiveReader("test", str(path)) as reader:
            for member in reader.members:
                assert reader.read(member) in members.values()
    except ArchiveError as error:
        assert error.fault.place.startswith("test.zip")
    finally:
        shutil.rmtree(folder)


# Names and texts


@pytest.mark.parametrize(
    "name",
    [
        "__MACOSX/train/glaciar/._1.png",
        "train/.DS_Store",
        "train/glaciar/._1.png",
        "Thumbs.db",
        "desktop.ini",
        "train/@eaDir/1.png/thumb.png",
        "train/.ipynb_checkpoints/1-checkpoint.png",
        "train/glaciar/1.png.aux.xml",
        "train/glaciar/1.pgw",
        "zeros.png",
    ],
)
def test_ignored_names(name):
    assert is_ignored(name)
    assert is_ignored(name.upper())


@pytest.mark.parametrize("name", ["train/glaciar/1.png", "1.png", "MACOSX/1.png", "a.xml", "a.db"])
def test_names_that_are_not_ignored(name):
    assert not is_ignored(name)


def test_text_of_a_fault():
    fault = Fault("member-name", "test.zip: \n.png", "is wrong", "Rename it")
    assert str(ArchiveError(fault)) == r"test.zip: \n.png: is wrong. Rename it."
    assert str(Fault("member-name", "a", "is wrong")) == "a: is wrong."
