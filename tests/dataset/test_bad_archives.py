"""Whatever is wrong with the archives: one error that names archive, member and remedy, and nothing left behind."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from archive_contents import Members, change_manifest, replace_member, rewrite
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_rock_glacier_dataset import undecoded

from rock_glacier_dataset import EMPTY_MASK, ArchiveError, load_archives

Fault = Callable[[Path], Any]
TILE, MASK = "test/glaciar/000.png", "test/masks/000.png"


def renamed(new: str) -> Fault:
    """Rename a glaciar tile."""

    def change(members: Members) -> None:
        for member, _ in members:
            if member.filename == TILE:
                member.filename = new

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


def cut(share: float) -> Fault:
    """Cut an archive short."""
    return patched(lambda content: content.__delitem__(slice(int(len(content) * share), None)))


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


def points_at_its_neighbour(content: bytearray) -> None:
    """Let the directory lead from one member to another, whose name has the same length."""
    entry = content.rfind(b"test/cordillera/000.png") - 46
    struct.pack_into("<I", content, entry + 42, content.find(b"test/cordillera/001.png") - 30)


def with_zip64_field(*values: int) -> Fault:
    """Give a member's directory entry a zip64 field: uncompressed size, compressed size, offset."""

    def apply(folder: Path) -> None:
        field = struct.pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values)

        def change(members: Members) -> None:
            next(member for member, _ in members if member.filename == TILE).extra = field

        rewrite(folder / "test.zip", change)
        places = {1: (42,), 3: (24, 20, 42)}[len(values)]
        for place in places:
            in_directory(TILE, place, "<I", 2**32 - 1)(folder)

    return apply


def image(mode: str = "RGBA", size: tuple[int, int] = (128, 128), format: str = "PNG") -> bytes:
    """Encode an image."""
    file = io.BytesIO()
    Image.new(mode, size).save(file, format)
    return file.getvalue()


def header(width: int, height: int, depth: int = 8, colour_type: int = 6) -> bytes:
    """Return a PNG's first chunk, checksum and all."""
    chunk = struct.pack(">4sIIBBBBB", b"IHDR", width, height, depth, colour_type, 0, 0, 0)
    return struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def with_header(*arguments: int) -> bytes:
    """Give a PNG another header."""
    return image()[:8] + header(*arguments) + image()[33:]


def with_second_header(*arguments: int) -> bytes:
    """Give a PNG another header behind its own, which some decoders take."""
    return image()[:33] + header(*arguments) + image()[33:]


def bomb(claimed: int | None) -> Fault:
    """Let a member inflate to 50 MiB, where the directory claims so many bytes."""

    def apply(folder: Path) -> None:
        def change(members: Members) -> Members:
            next(member for member, _ in members if member.filename == TILE).compress_type = zipfile.ZIP_DEFLATED
            return [(member, bytes(50 * 2**20) if member.filename == TILE else png) for member, png in members]

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
            for path, png in {**tiles, **masks[number - 1]}.items():
                opened.writestr(path, png)
    (folder / "manifest.json").unlink()


def members_of(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


AGAIN = "copy or download the archive again"
BOTH_AGAIN = "copy or download the archives and manifest.json again"
REMOVE = "build the archives again, or remove it"
NAMED = "rename it or take it out"
PNG = "save it as an 8-bit RGBA PNG of 128 x 128 pixels"
LOST = "add it, or give another folder as data_dir"
NAMES = "is not named test/<class>/<id>.png or test/masks/<id>.png"
EMPTY_ZIP = b"PK\5\6" + bytes(18)

FAULTS_OF_MANIFEST: dict[str, tuple[Fault, str, str, str]] = {
    "a manifest that counts other tiles": (
        manifest_entry("splits", "test", "glaciar", value=4),
        "test",
        "is {'cordillera': 3, 'glaciar': 3}, and {'cordillera': 3, 'glaciar': 4} in manifest.json",
        BOTH_AGAIN,
    ),
    "a manifest of another size": (
        manifest_entry("archives", "test.zip", "bytes", value=1),
        "test.zip",
        "'bytes': 1",
        BOTH_AGAIN,
    ),
    "a manifest of another digest": (
        manifest_entry("archives", "test.zip", "sha256", value="0" * 64),
        "test.zip",
        "'sha256': '0000",
        BOTH_AGAIN,
    ),
    "a manifest without the archive": (
        lambda f: change_manifest(f, lambda manifest: manifest["archives"].pop("test.zip")),
        "test.zip",
        "and None in manifest.json",
        BOTH_AGAIN,
    ),
    "a manifest without the split": (
        lambda f: change_manifest(f, lambda manifest: manifest["splits"].pop("test")),
        "test",
        "and None in manifest.json",
        BOTH_AGAIN,
    ),
    "a manifest that is no JSON": (manifest_of(b"{"), "manifest.json", "is not a manifest", REMOVE),
    "a manifest that is a list": (manifest_of(b"[1]"), "manifest.json", "is not a manifest", REMOVE),
    "a manifest that is no text": (manifest_of(b"\xff\xfe\0"), "manifest.json", "is not a manifest", REMOVE),
    "a manifest nested without end": (manifest_of(b"[" * 100_000), "manifest.json", "is not a manifest", REMOVE),
    "a manifest whose splits are a list": (manifest_of(b'{"splits": [1]}'), "test", "and None in manifest", BOTH_AGAIN),
    "a manifest of an unknown split": (manifest_entry("splits", "dev", value={}), "dev", "is None", BOTH_AGAIN),
    "a manifest of an unknown class": (
        manifest_entry("splits", "test", value={"volcan": 1}),
        "test",
        "and {'volcan': 1} in manifest.json",
        BOTH_AGAIN,
    ),
}
"""What streaming does not look at."""

# what is wrong: (how it is made so, the archive and member that the error begins with, what it says, its remedy)
FAULTS: dict[str, tuple[Fault, str, str, str]] = {
    "no such folder": (shutil.rmtree, "'{folder}'", "no such folder", "give the folder that holds train.zip"),
    "an archive missing": (lambda f: (f / "test.zip").unlink(), "test.zip", "not in {folder}", LOST),
    "a folder in an archive's place": (folder_for_archive, "test.zip", "not in {folder}", LOST),
    "val.zip beside validation.zip": (
        copied("validation.zip", "val.zip"),
        "validation.zip",
        "does not belong with val.zip",
        "remove one of the two",
    ),
    "not a zip": (
        patched(lambda content: content.__setitem__(slice(None), b"PNG" * 99)),
        "test.zip",
        "not a zip file",
        AGAIN,
    ),
    "no bytes at all": (patched(bytearray.clear), "test.zip", "not a zip file", AGAIN),
    "an archive of 22 bytes": (
        patched(lambda content: content.__setitem__(slice(None), EMPTY_ZIP)),
        "test.zip",
        "holds no tiles",
        AGAIN,
    ),
    "an archive without members": (
        lambda f: rewrite(f / "test.zip", lambda members: [(zipfile.ZipInfo(".DS_Store"), b"")]),
        "test.zip",
        "holds no tiles",
        AGAIN,
    ),
    "cut short in the members": (cut(0.6), "test.zip", "not a zip file", AGAIN),
    "cut short in the directory": (cut(0.999), "test.zip", "not a zip file", AGAIN),
    "a flipped byte in a tile": (set_byte(TILE, 999), f"test.zip: {TILE}", "Bad CRC-32", AGAIN),
    "a flipped byte in a mask": (set_byte(MASK, 99), f"test.zip: {MASK}", "Bad CRC-32", AGAIN),
    "a flipped byte in the directory": (in_directory(TILE, 0, "<B", 0), "test.zip", "central directory", AGAIN),
    "a member that stands elsewhere": (in_directory(TILE, 42, "<I", 7), f"test.zip: {TILE}", "cannot be read", AGAIN),
    "a directory that points at another member": (
        in_directory(TILE, 42, "<I", 0),
        f"test.zip: {TILE}",
        "differ",
        AGAIN,
    ),
    "a directory that points at another member of the same length": (
        patched(points_at_its_neighbour),
        "test.zip: test/cordillera/000.png",
        "differ",
        AGAIN,
    ),
    "a directory that names a glaciar tile otherwise": (
        renamed_in_directory(TILE, "test/glaciar/999.png"),
        "test.zip: test/glaciar/999.png",
        "no test/masks/999.png",
        "add it or move the tile to cordillera",
    ),
    "a directory that names a cordillera tile otherwise": (
        renamed_in_directory("test/cordillera/000.png", "test/cordillera/999.png"),
        "test.zip: test/cordillera/999.png",
        "differ",
        AGAIN,
    ),
    "an entry swallowed by the one before it": (
        in_directory("test/cordillera/000.png", 32, "<H", 46 + len(TILE)),
        "test.zip: test/cordillera/000.png",
        "directory is damaged here",
        AGAIN,
    ),
    "a member beyond the archive": (
        in_directory(TILE, 42, "<I", 2**32 - 2),
        f"test.zip: {TILE}",
        "does not stand where",
        AGAIN,
    ),
    "a member beyond all numbers": (with_zip64_field(2**64 - 1), f"test.zip: {TILE}", "does not stand where", AGAIN),
    "a member of 16 EiB": (with_zip64_field(*[2**64 - 1] * 3), f"test.zip: {TILE}", f"{2**64 - 1} bytes", AGAIN),
    "a member that claims gigabytes packed": (
        in_directory(TILE, 20, "<I", 2**31),
        f"test.zip: {TILE}",
        "2147483648 bytes",
        AGAIN,
    ),
    "a member that claims gigabytes": (
        in_directory(TILE, 24, "<I", 2**31),
        f"test.zip: {TILE}",
        "2147483648 bytes",
        AGAIN,
    ),
    "a member that inflates to 50 MiB": (bomb(None), f"test.zip: {TILE}", "52428800 bytes", AGAIN),
    "a member that inflates to more than it claims": (bomb(999), f"test.zip: {TILE}", "cannot be read", AGAIN),
    "an encrypted member": (in_directory(TILE, 8, "<H", 1), f"test.zip: {TILE}", "encrypted", AGAIN),
    "an unknown method": (in_directory(TILE, 10, "<H", 12), f"test.zip: {TILE}", "method 12", "stored"),
    "no PNG": (replaced(b"GIF89a" * 99), f"test.zip: {TILE}", "is no PNG", PNG),
    "an empty member": (replaced(b""), f"test.zip: {TILE}", "is empty", PNG),
    "a JPEG under a PNG's name": (replaced(image("RGB", format="JPEG")), f"test.zip: {TILE}", "is a JPEG", PNG),
    "a PNG cut short": (replaced(image()[:-20]), f"test.zip: {TILE}", "PNG cut short", PNG),
    "a PNG's signature alone": (replaced(image()[:8]), f"test.zip: {TILE}", "PNG cut short", PNG),
    "a damaged header": (
        replaced(image()[:29] + bytes(4) + image()[33:]),
        f"test.zip: {TILE}",
        "header is damaged",
        PNG,
    ),
    "a header that is not the first chunk": (
        replaced(image()[:8] + struct.pack(">I4sI", 0, b"tEXt", zlib.crc32(b"tEXt")) + image()[8:]),
        f"test.zip: {TILE}",
        "header is damaged",
        PNG,
    ),
    "127 x 128": (replaced(image(size=(127, 128))), f"test.zip: {TILE}", "127 x 128", PNG),
    "16 bit": (replaced(image("I;16")), f"test.zip: {TILE}", "16-bit grey", PNG),
    "16 bit RGBA": (replaced(with_header(128, 128, 16)), f"test.zip: {TILE}", "16-bit RGBA", PNG),
    "palette": (replaced(image("P")), f"test.zip: {TILE}", "-bit palette", PNG),
    "grey": (replaced(image("L")), f"test.zip: {TILE}", "8-bit grey", PNG),
    "grey with alpha": (replaced(image("LA")), f"test.zip: {TILE}", "8-bit grey with alpha", PNG),
    "RGB": (replaced(image("RGB")), f"test.zip: {TILE}", "8-bit RGB", PNG),
    "no known colours": (replaced(with_header(128, 128, 8, 9)), f"test.zip: {TILE}", "8-bit unknown", PNG),
    "60,000 x 60,000": (replaced(with_header(60_000, 60_000)), f"test.zip: {TILE}", "60000 x 60000", PNG),
    "a second header": (replaced(with_second_header(128, 128)), f"test.zip: {TILE}", "2 headers", PNG),
    "a second header of another size": (replaced(with_second_header(64, 64)), f"test.zip: {TILE}", "2 headers", PNG),
    "a second header of RGB": (replaced(with_second_header(128, 128, 8, 2)), f"test.zip: {TILE}", "2 headers", PNG),
    "a second header of 13,300 x 13,300": (
        replaced(with_second_header(13_300, 13_300)),
        f"test.zip: {TILE}",
        "2 headers",
        PNG,
    ),
    "a mask of another size": (replaced(image(size=(64, 64)), MASK), f"test.zip: {MASK}", "64 x 64", PNG),
    "a mask of another mode": (replaced(image("L"), MASK), f"test.zip: {MASK}", "8-bit grey", PNG),
    "a mask with a second header": (replaced(with_second_header(9, 9), MASK), f"test.zip: {MASK}", "2 headers", PNG),
    "outside the class": (renamed("test/0.png"), "test.zip: test/0.png", NAMES, NAMED),
    "outside the split": (renamed("0.png"), "test.zip: 0.png", NAMES, NAMED),
    "too deep": (renamed("test/glaciar/a/0.png"), "test.zip: test/glaciar/a/0.png", NAMES, NAMED),
    "a folder with content": (renamed("test/glaciar/0.pn/"), "test.zip: test/glaciar/0.pn/", NAMES, NAMED),
    "dots": (renamed("../test/glaciar/0.png"), "test.zip: ../test/glaciar/0.png", NAMES, NAMED),
    "dots within": (renamed("a/../test/glaciar/0.png"), "test.zip: a/../test/glaciar/0.png", NAMES, NAMED),
    "a backslash": (renamed("test\\glaciar\\0.png"), "test.zip: test\\glaciar\\0.png", NAMES, NAMED),
    "an absolute path": (renamed(f"/{TILE}"), f"test.zip: /{TILE}", NAMES, NAMED),
    "a drive": (renamed(f"C:/{TILE}"), f"test.zip: C:/{TILE}", NAMES, NAMED),
    "another split's folder": (renamed("train/glaciar/0.png"), "test.zip: train/glaciar/0.png", NAMES, NAMED),
    "an unknown class": (renamed("test/volcan/0.png"), "test.zip: test/volcan/0.png", NAMES, NAMED),
    "Glaciar": (renamed("test/Glaciar/0.png"), "test.zip: test/Glaciar/0.png", NAMES, NAMED),
    "an id that is no number": (renamed("test/glaciar/a.png"), "test.zip: test/glaciar/a.png", NAMES, NAMED),
    "digits of another script": (renamed("test/glaciar/٣.png"), "test.zip: test/glaciar/٣.png", NAMES, NAMED),
    "an id of 19 digits": (
        renamed(f"test/glaciar/{10**18}.png"),
        "test.zip: test/glaciar/1",
        "an id of 1 to 18 digits",
        NAMED,
    ),
    "another extension": (renamed("test/glaciar/0.PNG"), "test.zip: test/glaciar/0.PNG", NAMES, NAMED),
    "a line break in a name": (renamed("test/glaciar/\n.png"), "test.zip: 'test/glaciar/\\n.png'", NAMES, NAMED),
    "a NUL in a name": (
        renamed_in_directory(TILE, "test/glaciar/0.png\0s"),
        "test.zip: 'test/glaciar/0.png\\x00s'",
        NAMES,
        NAMED,
    ),
    "the empty mask among the tiles": (added("test/zeros.png"), "test.zip: test/zeros.png", NAMES, NAMED),
    "the same tile twice": (added(TILE), f"test.zip: {TILE}", "stands twice", "remove one"),
    "the same mask twice": (added(MASK), f"test.zip: {MASK}", "stands twice", "remove one"),
    "the same tile below another folder": (added(f"a/{TILE}"), f"test.zip: a/{TILE}", "stands twice", "remove one"),
    "a glaciar tile without a mask": (
        without(MASK),
        f"test.zip: {TILE}",
        f"no {MASK}",
        "add it or move the tile to cordillera",
    ),
    "a mask without a tile": (without(TILE), f"test.zip: {MASK}", f"no {TILE}", "add it or remove the mask"),
    "a mask of a cordillera tile": (
        added("test/masks/999.png"),
        "test.zip: test/masks/999.png",
        "no test/glaciar/999.png",
        "remove the mask",
    ),
    "a mask without its leading zeros": (
        lambda f: rewrite(
            f / "test.zip",
            lambda members: (
                [m for m in members if m[0].filename != MASK] + [(zipfile.ZipInfo("test/masks/0.png"), EMPTY_MASK)]
            ),
        ),
        f"test.zip: {TILE}",
        f"no {MASK}",
        "add it",
    ),
    **FAULTS_OF_MANIFEST,
}

SHARD = "test-00001-of-00003.zip"
FAULTS_OF_SHARDS: dict[str, tuple[Fault, str, str, str]] = {
    "shard 2 of 3 missing": (lambda f: (f / SHARD).unlink(), SHARD, "not in {folder}", LOST),
    "shards of two sets": (
        copied("test-00000-of-00003.zip", "test-00003-of-00004.zip"),
        "test-00003-of-00004.zip",
        "does not belong with test-00000-of-00003.zip",
        "remove one of the two",
    ),
    "shards beside the whole": (
        copied("test-00000-of-00003.zip", "test.zip"),
        "test.zip",
        "does not belong with test-00000-of-00003.zip",
        "remove one of the two",
    ),
    "a tile in two shards": (
        lambda f: [added("test/cordillera/999.png", archive=f"test-0000{n}-of-00003.zip")(f) for n in (0, 1)],
        f"{SHARD}: test/cordillera/999.png",
        "is in another shard too",
        "remove one",
    ),
    "masks in other shards than their tiles": (
        masks_in_other_shards,
        "test-0000",
        "no test/masks/",
        "add it or move the tile",
    ),
}

STREAM_PASSES = {*FAULTS_OF_MANIFEST, "a tile in two shards"}
"""What cannot be seen without reading more than is asked for."""

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


def test_unknown_config_names_those_that_there_are(sample):
    with pytest.raises(ValueError, match=r"'image-detection' not found.*image-classification.*image-segmentation"):
        load_archives("image-detection", data_dir=sample)


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])
def test_unknown_split_names_those_that_there_are(sample, streaming):
    with pytest.raises(ValueError, match=r"dev.*train.*validation.*test"):
        load_archives(data_dir=sample, split="dev", streaming=streaming)


def test_data_files_are_refused(sample):
    with pytest.raises(ValueError, match=r"data_files are not read; give the folder .* as data_dir"):
        load_archives(data_dir=sample, data_files={"train": "train.zip"})


LOCATIONS = [
    "",
    "a::b",
    "x://y",
    "nope://x",
    "zip://x::file",
    "hf://datasets/x",
    "hf://datasets/x/y",
    "memory://nowhere",
]


@pytest.mark.parametrize("data_dir", LOCATIONS)
def test_place_without_archives_gives_one_clear_error(data_dir, sample, tmp_path, monkeypatch):
    """Among them folders of the user's own, whose names URLs have."""
    monkeypatch.chdir(tmp_path)
    if data_dir in ("a::b", "x://y"):
        shutil.copytree(sample, data_dir)
    with pytest.raises(ArchiveError) as caught:
        load_archives(data_dir=data_dir, cache_dir=tmp_path / "cache")
    assert data_dir in str(caught.value)
    assert "as data_dir" in str(caught.value).partition("; ")[2]
    assert "\n" not in str(caught.value)


def test_empty_zip_over_fsspec_is_named(sample_copy):
    (sample_copy / "test.zip").write_bytes(EMPTY_ZIP)
    (sample_copy / "manifest.json").unlink()
    memory = fsspec.filesystem("memory")
    memory.put(f"{sample_copy}/", "/empty/", recursive=True)
    try:
        with pytest.raises(ArchiveError, match=r"test\.zip: holds no tiles"):
            list(load_archives(data_dir="memory://empty", streaming=True)["test"])
    finally:
        memory.rm("/empty", recursive=True)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the administrator may read everything")
@pytest.mark.parametrize("name", ["", "train.zip"])
def test_what_may_not_be_read_is_named(name, sample_copy):
    (sample_copy / name).chmod(0)
    try:
        with pytest.raises(ArchiveError, match=rf"{name or 'sample'}: .*Permission denied"):
            list(load_archives(data_dir=sample_copy, split="train", streaming=True))
    finally:
        (sample_copy / name).chmod(0o755)


@pytest.mark.parametrize("claimed", [None, 999, 10**6])
def test_member_is_not_inflated_beyond_a_tile(claimed, sample_copy):
    bomb(claimed)(sample_copy)
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError, match=TILE):
            list(load_archives(data_dir=sample_copy, split="test", streaming=True))
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(os.name == "nt", reason="Windows limits no file's size")
@pytest.mark.parametrize("num_proc", [None, 2])
def test_full_disk_is_said(num_proc, sharded_sample, tmp_path):
    """A file that may not grow stands for a disk that is full; the error differs in its number alone."""
    options = {"data_dir": str(sharded_sample), "cache_dir": str(tmp_path), "num_proc": num_proc}
    code = f"""
import errno, resource, datasets, rock_glacier_dataset
datasets.disable_progress_bar()
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
try:
    rock_glacier_dataset.load_archives(**{options})
except Exception as error:
    print(type(error).__name__, getattr(error, "errno", None) == errno.EFBIG, "File too large" in str(error))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    expected = "OSError True True" if num_proc is None else "DatasetGenerationError False True"
    assert done.stdout.strip() == expected, done.stderr[-2000:]
    assert not list(tmp_path.rglob("dataset_info.json"))


def load_validation(folder):
    return list(undecoded(load_archives("image-segmentation", data_dir=folder, streaming=True, split="validation")))


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_changed_byte_is_found_or_changes_nothing(data, sample, tmp_path):
    folder = Path(shutil.copytree(sample, tmp_path / "damaged", dirs_exist_ok=True))
    (folder / "manifest.json").unlink()
    content = bytearray((sample / "validation.zip").read_bytes())
    # Half of the draws hit the directory at the end, where there is more to go wrong than in the pixels.
    place = data.draw(st.integers(0, len(content) - 1) | st.integers(len(content) - 600, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    (folder / "validation.zip").write_bytes(content)
    try:
        examples = load_validation(folder)
    except ArchiveError as error:
        assert str(error).startswith("validation")
    else:
        assert examples == load_validation(sample)


@given(size=st.floats(0, 1))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_archive_cut_short_anywhere_is_found(size, sample, tmp_path):
    folder = Path(shutil.copytree(sample, tmp_path / "cut", dirs_exist_ok=True))
    (folder / "manifest.json").unlink()
    content = (sample / "validation.zip").read_bytes()
    (folder / "validation.zip").write_bytes(content[: int(size * (len(content) - 1))])
    with pytest.raises(ArchiveError, match=r"validation\.zip"):
        load_validation(folder)
