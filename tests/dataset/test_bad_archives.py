"""Faulty archives: one error that names the archive, the member and the remedy, and no files left behind."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import errno
import io
import os
import shutil
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from archive_contents import Members, change_manifest, replace_member, rewrite, undecoded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_rock_glacier_dataset import WAYS

from rock_glacier.console import printable
from rock_glacier_dataset import EMPTY_MASK, ArchiveError, load_archives

Fault = Callable[[Path], Any]
TILE, MASK = "test/glaciar/000.png", "test/masks/000.png"


def renamed(new: str, old: str = TILE) -> Fault:
    """Rename a member."""

    def change(members: Members) -> None:
        next(member for member, _ in members if member.filename == old).filename = new

    return lambda folder: rewrite(folder / "test.zip", change)


def replaced(content: bytes, name: str = TILE) -> Fault:
    """Replace a member's content."""
    return lambda folder: replace_member(folder / "test.zip", name, content)


def without(name: str) -> Fault:
    """Leave a member out."""
    return lambda folder: rewrite(folder / "test.zip", lambda members: [m for m in members if m[0].filename != name])


def added(name: str, content: bytes = EMPTY_MASK, archive: str = "test.zip") -> Fault:
    """Add a member."""
    return lambda folder: rewrite(folder / archive, lambda members: [*members, (zipfile.ZipInfo(name), content)])


def patched(change: Callable[[bytearray], object]) -> Fault:
    """Change an archive's bytes."""

    def apply(folder: Path) -> None:
        content = bytearray((folder / "test.zip").read_bytes())
        change(content)
        (folder / "test.zip").write_bytes(content)
        (folder / "manifest.json").unlink(missing_ok=True)

    return apply


def archive_of(new: bytes) -> Fault:
    """Replace an archive."""
    return patched(lambda content: content.__setitem__(slice(None), new))


def set_byte(name: str, offset: int) -> Fault:
    """Flip the bits of a byte behind a member's name."""

    def change(content: bytearray) -> None:
        content[content.find(name.encode()) + offset] ^= 255

    return patched(change)


def in_directory(name: str, offset: int, format: str, value: int) -> Fault:
    """Set a field of a member's directory entry, at an offset from the entry's signature."""
    return patched(lambda content: struct.pack_into(format, content, content.rfind(name.encode()) - 46 + offset, value))


def renamed_in_directory(old: str, new: str) -> Fault:
    """Change a name in the directory, and leave it as it is before the member."""

    def change(content: bytearray) -> None:
        place = content.rfind(old.encode())
        content[place : place + len(old)] = new.encode()

    return patched(change)


def image(mode: str = "RGBA", size: tuple[int, int] = (128, 128), format: str = "PNG") -> bytes:
    """Encode an image."""
    file = io.BytesIO()
    Image.new(mode, size).save(file, format)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    """Encode a chunk of a PNG, checksum and all."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


TEXT_CHUNK = chunk(b"tEXt", b"")


def header(width: int, height: int, depth: int = 8, colour_type: int = 6) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))


def with_header(*arguments: int) -> bytes:
    """Give a PNG another header."""
    return image()[:8] + header(*arguments) + image()[33:]


def with_second_header(*arguments: int) -> bytes:
    """Give a PNG another header behind its own, which some decoders take."""
    return image()[:33] + header(*arguments) + image()[33:]


def bomb(claimed: int | None) -> Fault:
    """Let a member inflate to 20 MiB, where the directory claims so many bytes."""

    def apply(folder: Path) -> None:
        def change(members: Members) -> Members:
            next(member for member, _ in members if member.filename == TILE).compress_type = zipfile.ZIP_DEFLATED
            return [(member, bytes(20 * 2**20) if member.filename == TILE else png) for member, png in members]

        rewrite(folder / "test.zip", change)
        if claimed is not None:
            in_directory(TILE, 24, "<I", claimed)(folder)

    return apply


def manifest_entry(*keys: str, value: object) -> Fault:
    """Set an entry of the manifest."""

    def change(manifest: dict) -> None:  # type: ignore[type-arg]
        for key in keys[:-1]:
            manifest = manifest[key]
        manifest[keys[-1]] = value

    return lambda folder: change_manifest(folder, change)


def manifest_of(content: bytes) -> Fault:
    return lambda folder: (folder / "manifest.json").write_bytes(content)


def copied(source: str, target: str) -> Fault:
    def apply(folder: Path) -> None:
        shutil.copy(folder / source, folder / target)
        (folder / "manifest.json").unlink()

    return apply


def folder_for_archive(folder: Path) -> None:
    (folder / "test.zip").unlink()
    (folder / "test.zip").mkdir()


def masks_in_other_shards(folder: Path) -> None:
    """Move each shard's masks to the next."""
    shards = sorted(folder.glob("test-*.zip"))
    masks = [{path: png for path, png in members_of(shard).items() if "/masks/" in path} for shard in shards]
    for number, shard in enumerate(shards):
        tiles = {path: png for path, png in members_of(shard).items() if "/masks/" not in path}
        with zipfile.ZipFile(shard, "w") as opened:
            for path, png in (tiles | masks[number - 1]).items():
                opened.writestr(path, png)
    (folder / "manifest.json").unlink()


def members_of(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


AGAIN = "copy or download the archive again"
PNG = "save it as an 8-bit RGBA PNG of 128 x 128 pixels"
LOST = "add it, or give another folder as data_dir"
ONE_OF_TWO = "remove one of the two"
ADD = "add it or move the tile to cordillera"
EMPTY_ZIP = b"PK\5\6" + bytes(18)

AT_TILE, AT_MASK = f"test.zip: {TILE}", f"test.zip: {MASK}"
CORDILLERA, OTHER = "test/cordillera/000.png", "test/cordillera/999.png"

# fault: (how to plant it, the archive and member that the message starts with, what it says, its remedy)
Faults = dict[str, tuple[Fault, str, str, str]]

FAULTS_OF_MANIFEST: Faults = {
    what: (manifest_entry(*keys, value=value), place, said, "copy or download the archives and manifest.json again")
    for what, keys, value, place, said in [
        (
            "a manifest that counts other tiles",
            ("splits", "test", "glaciar"),
            4,
            "test",
            "'glaciar': 4} in manifest.json",
        ),
        ("a manifest of another size", ("archives", "test.zip", "bytes"), 1, "test.zip", "'bytes': 1"),
        ("a manifest of another digest", ("archives", "test.zip", "sha256"), "0" * 64, "test.zip", "'sha256': '0000"),
        ("a manifest without the archive", ("archives", "test.zip"), None, "test.zip", "and None in manifest.json"),
        ("a manifest without the split", ("splits", "test"), None, "test", "and None in manifest.json"),
        ("a manifest whose splits are a list", ("splits",), [1], "test", "'glaciar': 3}, and None in manifest.json"),
        ("a manifest of an unknown split", ("splits", "dev"), {}, "dev", "is None, and {} in manifest.json"),
    ]
} | {
    what: (manifest_of(content), "manifest.json", "is not a manifest", "build the archives again, or remove it")
    for what, content in {
        "a manifest that is no JSON": b"{",
        "a manifest that is a list": b"[1]",
        "a manifest nested without end": b"[" * 100_000,
        "a manifest of more than 1 MiB": b" " * 2**20 + b"{}",
    }.items()
}
"""Streaming does not read the manifest."""

FAULTS_OF_NAMES: Faults = {
    what: (
        renamed(name),
        f"test.zip: {printable(name)}",
        "is not named test/<class>/<id>.png or test/masks/<id>.png, with an id of 1 to 18 digits",
        "rename it or take it out",
    )
    for what, name in {
        "outside the class": "test/0.png",
        "outside the split": "0.png",
        "too deep": "test/glaciar/a/0.png",
        "a folder with content": "test/glaciar/0.pn/",
        "dots": "../test/glaciar/0.png",
        "dots within": "a/../test/glaciar/0.png",
        "a backslash": "test\\glaciar\\0.png",
        "an absolute path": f"/{TILE}",
        "a drive": f"C:/{TILE}",
        "another split's folder": "train/glaciar/0.png",
        "an unknown class": "test/volcan/0.png",
        "Glaciar": "test/Glaciar/0.png",
        "an id that is no number": "test/glaciar/a.png",
        "digits of another script": "test/glaciar/٣.png",
        "an id of 19 digits": f"test/glaciar/{10**18}.png",
        "another extension": "test/glaciar/0.PNG",
        "a line break in a name": "test/glaciar/\n.png",
        "the curators' empty mask": "test/zeros.png",
    }.items()
}

FAULTS_OF_IMAGES: Faults = {
    what: (replaced(png, name), f"test.zip: {name}", said, PNG)
    for what, name, png, said in [
        ("no PNG", TILE, b"GIF89a" * 99, "is no PNG"),
        ("an empty member", TILE, b"", "is empty"),
        ("a JPEG under a PNG's name", TILE, image("RGB", format="JPEG"), "is a JPEG"),
        ("a PNG cut short", TILE, image()[:-20], "PNG cut short"),
        ("a PNG whose last chunk claims a byte more", TILE, image()[:-9] + b"\1" + image()[-8:], "PNG cut short"),
        ("a PNG's signature alone", TILE, image()[:8], "PNG cut short"),
        ("a damaged header", TILE, image()[:29] + bytes(4) + image()[33:], "header is damaged"),
        ("a header that is not the first chunk", TILE, image()[:8] + TEXT_CHUNK + image()[8:], "header is damaged"),
        ("127 x 128", TILE, image(size=(127, 128)), "127 x 128"),
        ("16 bit", TILE, image("I;16"), "16-bit grey"),
        ("16 bit RGBA", TILE, with_header(128, 128, 16), "16-bit RGBA"),
        ("palette", TILE, image("P"), "-bit palette"),
        ("grey with alpha", TILE, image("LA"), "8-bit grey with alpha"),
        ("RGB", TILE, image("RGB"), "8-bit RGB"),
        ("no known colours", TILE, with_header(128, 128, 8, 9), "8-bit unknown"),
        ("60,000 x 60,000", TILE, with_header(60_000, 60_000), "60000 x 60000"),
        ("a second header", TILE, with_second_header(128, 128), "2 headers"),
        ("a second header of another size", TILE, with_second_header(64, 64), "2 headers"),
        ("a mask of another size", MASK, image(size=(64, 64)), "64 x 64"),
        ("a mask of another mode", MASK, image("L"), "8-bit grey"),
        ("a mask with a second header", MASK, with_second_header(9, 9), "2 headers"),
    ]
}

FAULTS: Faults = {
    "no such folder": (shutil.rmtree, "'{folder}'", "no such folder", "give the folder that holds train.zip"),
    "an archive missing": (lambda f: (f / "test.zip").unlink(), "test.zip", "not in {folder}", LOST),
    "a folder in an archive's place": (folder_for_archive, "test.zip", "not in {folder}", LOST),
    "val.zip beside validation.zip": (
        copied("validation.zip", "val.zip"),
        "validation.zip",
        "does not belong with val.zip",
        ONE_OF_TWO,
    ),
    "not a zip": (archive_of(b"PNG" * 99), "test.zip", "not a zip file", AGAIN),
    "no bytes at all": (archive_of(b""), "test.zip", "not a zip file", AGAIN),
    "an archive without members": (archive_of(EMPTY_ZIP), "test.zip", "holds no tiles", AGAIN),
    "a flipped byte in a tile": (set_byte(TILE, 999), AT_TILE, "Bad CRC-32", AGAIN),
    "a flipped byte in a mask": (set_byte(MASK, 99), AT_MASK, "Bad CRC-32", AGAIN),
    "a flipped byte in the directory": (in_directory(TILE, 0, "<B", 0), "test.zip", "central directory", AGAIN),
    "a member that stands elsewhere": (in_directory(TILE, 42, "<I", 7), AT_TILE, "cannot be read", AGAIN),
    "a directory that points at another member": (in_directory(TILE, 42, "<I", 0), AT_TILE, "differ", AGAIN),
    "a glaciar tile of another name in the directory": (
        renamed_in_directory(TILE, "test/glaciar/999.png"),
        "test.zip: test/glaciar/999.png",
        "no test/masks/999.png",
        ADD,
    ),
    "a tile of another name in the directory": (
        renamed_in_directory(CORDILLERA, OTHER),
        f"test.zip: {OTHER}",
        "differ",
        AGAIN,
    ),
    "an entry swallowed by the one before it": (
        in_directory(CORDILLERA, 32, "<H", 46 + len(TILE)),
        f"test.zip: {CORDILLERA}",
        "directory is damaged",
        AGAIN,
    ),
    "a member beyond the archive": (in_directory(TILE, 42, "<I", 2**32 - 2), AT_TILE, "is not where", AGAIN),
    "a member that claims gigabytes packed": (in_directory(TILE, 20, "<I", 2**31), AT_TILE, "2147483648 bytes", AGAIN),
    "a member that claims gigabytes": (in_directory(TILE, 24, "<I", 2**31), AT_TILE, "2147483648 bytes", AGAIN),
    "a member that inflates to 20 MiB": (bomb(None), AT_TILE, "20971520 bytes", AGAIN),
    "a member that inflates to more than it claims": (bomb(999), AT_TILE, "cannot be read", AGAIN),
    "an encrypted member": (in_directory(TILE, 8, "<H", 1), AT_TILE, "encrypted", AGAIN),
    "an unknown method": (in_directory(TILE, 10, "<H", 12), AT_TILE, "method 12", "stored"),
    "a NUL in a name": (
        renamed_in_directory(TILE, "test/glaciar/0.png\0s"),
        "test.zip: test/glaciar/0.png\\x00s",
        "is not named test/<class>/<id>.png",
        "rename it",
    ),
    "the same tile twice": (added(TILE), AT_TILE, "archive twice", "remove one"),
    "the same mask twice": (added(MASK), AT_MASK, "archive twice", "remove one"),
    "the same tile below another folder": (added(f"a/{TILE}"), f"test.zip: a/{TILE}", "archive twice", "remove one"),
    "a glaciar tile without a mask": (without(MASK), AT_TILE, f"no {MASK}", ADD),
    "a mask without a tile": (without(TILE), AT_MASK, f"no {TILE}", "add it or remove the mask"),
    "a mask of a cordillera tile": (
        added("test/masks/999.png"),
        "test.zip: test/masks/999.png",
        "no test/glaciar/999.png",
        "remove the mask",
    ),
    "a mask without its leading zeros": (renamed("test/masks/0.png", MASK), AT_TILE, f"no {MASK}", ADD),
    **FAULTS_OF_NAMES,
    **FAULTS_OF_IMAGES,
    **FAULTS_OF_MANIFEST,
}

FIRST, SECOND = "test-00000-of-00003.zip", "test-00001-of-00003.zip"
FAULTS_OF_SHARDS: Faults = {
    "shard 2 of 3 missing": (lambda f: (f / SECOND).unlink(), SECOND, "not in {folder}", LOST),
    "shards of two sets": (
        copied(FIRST, "test-00003-of-00004.zip"),
        "test-00003-of-00004.zip",
        f"does not belong with {FIRST}",
        ONE_OF_TWO,
    ),
    "shards beside the whole": (copied(FIRST, "test.zip"), "test.zip", f"does not belong with {FIRST}", ONE_OF_TWO),
    "a tile in two shards": (
        lambda f: [added(OTHER, archive=name)(f) for name in (FIRST, SECOND)],
        f"{SECOND}: {OTHER}",
        "is in another shard too",
        "remove one",
    ),
    "masks in other shards than their tiles": (masks_in_other_shards, "test-0000", "no test/masks/", ADD),
}

STREAM_PASSES = {*FAULTS_OF_MANIFEST, "a tile in two shards"}
"""Faults that show only where every archive is read."""

ALL = {**FAULTS, **FAULTS_OF_SHARDS}


@pytest.fixture
def faulty(request, sample, sharded_sample, tmp_path):
    fault, *expected = ALL[request.param]
    folder = tmp_path / "archives"
    shutil.copytree(sharded_sample if request.param in FAULTS_OF_SHARDS else sample, folder)
    fault(folder)
    return folder, [text.replace("{folder}", str(folder)) for text in expected]


def assert_says(error, expected):
    """Assert that an error is one line that names the place, what is wrong there and the remedy, in this order."""
    place, what, remedy = expected
    message = str(error)
    assert message.startswith(place)
    assert what in message
    assert remedy in message[message.index(what) :]
    assert "\n" not in message


@pytest.mark.parametrize("faulty", ALL, indirect=True)
def test_fault_is_named_and_leaves_nothing_behind(faulty, tmp_path):
    folder, expected = faulty
    cache = tmp_path / "cache"
    for _ in range(2):  # the second call must not take what the first left for a prepared dataset
        with pytest.raises(ArchiveError) as caught:
            load_archives("image-segmentation", data_dir=folder, cache_dir=cache)
        assert_says(caught.value, expected)
    left = [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert left == []


@pytest.mark.parametrize("faulty", [fault for fault in ALL if fault not in STREAM_PASSES], indirect=True)
def test_fault_is_named_while_streaming(faulty):
    folder, expected = faulty
    with pytest.raises(ArchiveError) as caught:
        for _ in load_archives("image-segmentation", data_dir=folder, streaming=True)["test"]:
            pass
    assert_says(caught.value, expected)


def test_fault_is_named_from_another_process(sharded_sample, tmp_path):
    folder = Path(shutil.copytree(sharded_sample, tmp_path / "archives"))
    archive = folder / "train-00001-of-00003.zip"
    path = next(path for path in zipfile.ZipFile(archive).namelist() if "/masks/" not in path)
    replace_member(archive, path, b"GIF89a")
    with pytest.raises(ArchiveError, match=rf"train-00001-of-00003\.zip: {path}: is no PNG"):
        load_archives(data_dir=folder, cache_dir=tmp_path / "cache", num_proc=2)


def test_repaired_archive_loads_where_a_faulty_one_did_not(sample, sample_copy, tmp_path):
    (sample_copy / "test.zip").write_bytes(b"")
    with pytest.raises(ArchiveError):
        load_archives(data_dir=sample_copy, cache_dir=tmp_path / "cache")
    shutil.copy(sample / "test.zip", sample_copy)
    assert len(load_archives(data_dir=sample_copy, cache_dir=tmp_path / "cache", split="test")) == 6


def test_unknown_config_lists_the_configs(sample):
    with pytest.raises(ValueError, match=r"'image-detection' not found.*image-classification.*image-segmentation"):
        load_archives("image-detection", data_dir=sample)


@WAYS
def test_unknown_split_lists_the_splits(sample, streaming):
    with pytest.raises(ValueError, match=r"dev.*train.*validation.*test"):
        load_archives(data_dir=sample, split="dev", streaming=streaming)


def test_data_files_are_refused(sample):
    with pytest.raises(ValueError, match=r"data_files are not read; give the folder .* as data_dir"):
        load_archives(data_dir=sample, data_files={"train": "train.zip"})


@pytest.mark.parametrize(
    "data_dir", ["", "a::b", "x://y", "nope://x", "zip://x::file", "hf://datasets/x", "hf://datasets/x/y", "memory://x"]
)
def test_place_without_archives_is_named_in_one_line(data_dir, sample, tmp_path, monkeypatch):
    """Also where a local folder has the name of a URL."""
    monkeypatch.chdir(tmp_path)
    if data_dir in ("a::b", "x://y"):
        shutil.copytree(sample, data_dir)
    with pytest.raises(ArchiveError) as caught:
        load_archives(data_dir=data_dir, cache_dir=tmp_path / "cache")
    assert data_dir in str(caught.value)
    assert "as data_dir" in str(caught.value).partition("; ")[2]
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the administrator may read everything")
def test_archive_without_read_permission_is_named(sample_copy):
    (sample_copy / "train.zip").chmod(0)
    with pytest.raises(ArchiveError, match=r"sample: .*Permission denied"):
        load_archives(data_dir=sample_copy, split="train", streaming=True)


def test_member_is_not_inflated_beyond_what_it_claims(sample_copy):
    bomb(10**6)(sample_copy)
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError, match=TILE):
            list(load_archives(data_dir=sample_copy, split="test", streaming=True))
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("num_proc", [None, 2])
def test_full_disk_is_reported(num_proc, sharded_sample, tmp_path, files_of_at_most):
    files_of_at_most(40_000)
    with pytest.raises(Exception, match="File too large") as caught:
        load_archives(data_dir=sharded_sample, cache_dir=tmp_path, num_proc=num_proc)
    if num_proc is None:
        assert isinstance(caught.value, OSError)
        assert caught.value.errno == errno.EFBIG
    assert not list(tmp_path.rglob("dataset_info.json"))


def load_validation(folder):
    return list(undecoded(load_archives("image-segmentation", data_dir=folder, streaming=True, split="validation")))


@given(data=st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_archive_with_a_changed_byte_or_cut_short_is_refused_or_read_as_it_was(data, sample, tmp_path):
    folder = Path(shutil.copytree(sample, tmp_path / "damaged", dirs_exist_ok=True))
    content = bytearray((sample / "validation.zip").read_bytes())
    # Half of the draws hit the directory at the end, where there is more to go wrong than in the pixels.
    place = data.draw(st.integers(0, len(content) - 1) | st.integers(len(content) - 600, len(content) - 1))
    if data.draw(st.integers(0, 3)):
        content[place] ^= data.draw(st.integers(1, 255))
    else:
        del content[place:]
    (folder / "validation.zip").write_bytes(content)
    try:
        examples = load_validation(folder)
    except ArchiveError as error:
        assert str(error).startswith("validation")
    else:
        assert examples == load_validation(sample)
