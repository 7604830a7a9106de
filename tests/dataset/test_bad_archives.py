"""Whatever is wrong with the archives: one error that names archive, member and remedy, and nothing left behind."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import io
import json
import shutil
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from archive_contents import Members, change_manifest, rewrite
from PIL import Image

from rock_glacier_dataset import ArchiveError, load_dataset

Fault = Callable[[Path], Any]

_SHARDED: set[Fault] = set()


def renamed(old: str, new: str) -> Fault:
    """Rename a member of the test tiles."""

    def change(members: Members) -> None:
        for member, _ in members:
            if member.filename == old:
                member.filename = new

    return lambda folder: rewrite(folder / "test.zip", change)


def replaced(content: bytes, archive: str = "test.zip", name: str = "test/glaciar/0.png") -> Fault:
    """Replace a member's content."""

    def change(members: Members) -> Members:
        return [(member, content if member.filename == name else old) for member, old in members]

    return lambda folder: rewrite(folder / archive, change)


def without(archive: str, name: str) -> Fault:
    """Leave a member out."""
    return lambda folder: rewrite(folder / archive, lambda members: [m for m in members if m[0].filename != name])


def doubled(archive: str, name: str) -> Fault:
    """Let a member stand twice."""

    def change(members: Members) -> Members:
        return members + [(zipfile.ZipInfo(name), content) for member, content in members if member.filename == name]

    return lambda folder: rewrite(folder / archive, change)


def patched(archive: str, change: Callable[[bytearray], object]) -> Fault:
    """Change an archive's bytes."""

    def apply(folder: Path) -> None:
        content = bytearray((folder / archive).read_bytes())
        change(content)
        (folder / archive).write_bytes(content)
        (folder / "manifest.json").unlink()

    return apply


def cut(share: float) -> Fault:
    """Cut an archive short."""

    def shorten(content: bytearray) -> None:
        del content[int(len(content) * share) :]

    return patched("test.zip", shorten)


def in_directory(name: bytes, offset: int, format: str, value: int) -> Fault:
    """Set a field of the directory entry of a member: its offset counts from the entry's signature."""

    def change(content: bytearray) -> None:
        struct.pack_into(format, content, content.rfind(name) - 46 + offset, value)

    return patched("test.zip", change)


def renamed_in_directory(old: bytes, new: bytes) -> Fault:
    """Change a name in the directory, and leave it as it is before the member."""

    def change(content: bytearray) -> None:
        place = content.rfind(old)
        content[place : place + len(old)] = new

    return patched("test.zip", change)


def points_at_its_neighbour(content: bytearray) -> None:
    """Let the directory lead from one member to the next."""
    entry = content.rfind(b"test/cordillera/0.png") - 46
    struct.pack_into("<I", content, entry + 42, content.find(b"test/cordillera/1.png") - 30)


def beyond_all_numbers(folder: Path) -> None:
    """Give a member the largest offset of zip64."""

    def change(members: Members) -> None:
        for member, _ in members:
            if member.filename == TILE:
                member.extra = struct.pack("<HHQ", 1, 8, 2**64 - 1)

    rewrite(folder / "test.zip", change)
    content = bytearray((folder / "test.zip").read_bytes())
    struct.pack_into("<I", content, content.rfind(TILE.encode()) - 46 + 42, 2**32 - 1)
    (folder / "test.zip").write_bytes(content)


def image(mode: str = "RGBA", size: tuple[int, int] = (128, 128), format: str = "PNG") -> bytes:
    """Encode an image."""
    file = io.BytesIO()
    Image.new(mode, size).save(file, format)
    return file.getvalue()


def with_header(width: int, height: int, depth: int, colour_type: int) -> bytes:
    """Give a PNG another header, checksum and all."""
    png = image()
    header = struct.pack(">4sIIBBBBB", b"IHDR", width, height, depth, colour_type, 0, 0, 0)
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


def deflated_bomb(folder: Path) -> None:
    """Let a member inflate to 50 MB where the directory says 999 bytes."""

    def change(members: Members) -> Members:
        bomb = next(member for member, _ in members if member.filename == TILE)
        bomb.compress_type = zipfile.ZIP_DEFLATED
        return [(member, bytes(50 * 2**20) if member is bomb else content) for member, content in members]

    rewrite(folder / "test.zip", change)
    content = bytearray((folder / "test.zip").read_bytes())
    struct.pack_into("<I", content, content.rfind(TILE.encode()) - 46 + 24, 999)
    (folder / "test.zip").write_bytes(content)


def shards_of(fault: Fault) -> Fault:
    """Mark a fault of sharded archives."""
    _SHARDED.add(fault)
    return fault


def manifest_entry(*keys: str, value: object) -> Fault:
    """Set an entry of the manifest."""

    def change(manifest: dict) -> None:  # type: ignore[type-arg]
        for key in keys[:-1]:
            manifest = manifest[key]
        manifest[keys[-1]] = value

    return lambda folder: change_manifest(folder, change)


def folder_for_archive(folder: Path) -> None:
    (folder / "test.zip").unlink()
    (folder / "test.zip").mkdir()


def swapped_shards(folder: Path) -> None:
    one, two = (folder / f"test_masks-0000{shard}-of-00003.zip" for shard in (1, 2))
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    (folder / "manifest.json").unlink()


def fewer_shards(folder: Path) -> None:
    first, *others = sorted(folder.glob("test_masks-*.zip"))
    first.replace(folder / "test_masks.zip")
    for other in others:
        other.unlink()


TILE = "test/glaciar/0.png"
NAMED = "members are named test/<class>/<id>.png"

# what is wrong: (how it is made so, the archive and member that the error begins with, what it says, its remedy)
FAULTS: dict[str, tuple[Fault, str, str, str]] = {
    "no such folder": (shutil.rmtree, "{folder}", "no such folder", "data_dir"),
    "a tiles archive missing": (lambda f: (f / "test.zip").unlink(), "test.zip", "not in {folder}", "add it"),
    "a masks archive missing": (
        lambda f: (f / "test_masks.zip").unlink(),
        "test_masks.zip",
        "not in {folder}",
        "image-classification",
    ),
    "a folder in an archive's place": (
        folder_for_archive,
        "test.zip",
        "is no file in {folder}",
        "replace it",
    ),
    "not a zip": (
        patched("test.zip", lambda content: content.__setitem__(slice(None), b"PNG" * 99)),
        "test.zip",
        "not a zip archive",
        "download",
    ),
    "no bytes at all": (patched("test.zip", bytearray.clear), "test.zip", "not a zip archive", "download"),
    "cut short in the tiles": (cut(0.6), "test.zip", "cut short", "download"),
    "cut short in the directory": (cut(0.999), "test.zip", "cut short", "download"),
    "a flipped byte in a member": (
        patched("test.zip", lambda content: content.__setitem__(content.find(TILE.encode()) + 999, 0)),
        f"test.zip: {TILE}",
        "checksum",
        "replace the member",
    ),
    "a flipped byte in a mask": (
        patched("test_masks.zip", lambda content: content.__setitem__(content.find(TILE.encode()) + 99, 77)),
        f"test_masks.zip: {TILE}",
        "checksum",
        "replace the member",
    ),
    "a flipped byte in the directory": (in_directory(TILE.encode(), 0, "<B", 0), "test.zip", "directory", "download"),
    "a member that stands elsewhere": (
        in_directory(TILE.encode(), 42, "<I", 7),
        f"test.zip: {TILE}",
        "does not stand",
        "replace the member",
    ),
    "a directory that points at another member": (
        in_directory(TILE.encode(), 42, "<I", 0),
        f"test.zip: {TILE}",
        "another name",
        "replace the member",
    ),
    "a directory that points at another member of the same length": (
        patched("test.zip", points_at_its_neighbour),
        "test.zip: test/cordillera/0.png",
        "another name",
        "replace the member",
    ),
    "a directory that names a glaciar tile otherwise": (
        renamed_in_directory(b"test/glaciar/0.png", b"test/glaciar/9.png"),
        "test.zip: test/glaciar/9.png",
        "no mask",
        "add one",
    ),
    "a directory that names a cordillera tile otherwise": (
        renamed_in_directory(b"test/cordillera/2.png", b"test/cordillera/9.png"),
        "test.zip: test/cordillera/9.png",
        "another name",
        "replace the member",
    ),
    "an entry swallowed by the one before it": (
        in_directory(b"test/cordillera/0.png", 32, "<H", 46 + len("test/cordillera/1.png")),
        "test.zip",
        "entries are missing",
        "download",
    ),
    "a member beyond the archive": (
        in_directory(TILE.encode(), 42, "<I", 2**32 - 1),
        f"test.zip: {TILE}",
        "does not stand",
        "replace the member",
    ),
    "a member beyond all numbers": (
        beyond_all_numbers,
        f"test.zip: {TILE}",
        "does not stand",
        "replace the member",
    ),
    "a member that claims gigabytes packed": (
        in_directory(TILE.encode(), 20, "<I", 2**31),
        f"test.zip: {TILE}",
        "2147483648 bytes",
        "replace the member",
    ),
    "a member that inflates to more than it says": (
        deflated_bomb,
        f"test.zip: {TILE}",
        "checksum",
        "replace the member",
    ),
    "an empty archive": (
        lambda f: rewrite(f / "test.zip", lambda members: members.clear()),
        "test.zip",
        "holds no tiles",
        "rebuild",
    ),
    "an encrypted member": (
        in_directory(TILE.encode(), 8, "<H", 1),
        f"test.zip: {TILE}",
        "encrypted",
        "without a password",
    ),
    "an unknown method": (in_directory(TILE.encode(), 10, "<H", 12), f"test.zip: {TILE}", "method 12", "stored"),
    "a member that claims gigabytes": (
        in_directory(TILE.encode(), 24, "<I", 2**31),
        f"test.zip: {TILE}",
        "2147483648 bytes",
        "replace the member",
    ),
    "no PNG": (replaced(b"GIF89a" * 99), f"test.zip: {TILE}", "no PNG", "save it again"),
    "an empty member": (replaced(b""), f"test.zip: {TILE}", "is empty", "save it again"),
    "a JPEG under a PNG's name": (replaced(image("RGB", format="JPEG")), f"test.zip: {TILE}", "JPEG", "save it again"),
    "a PNG cut short": (replaced(image()[:-20]), f"test.zip: {TILE}", "PNG cut short", "save it again"),
    "a PNG's signature alone": (replaced(image()[:8]), f"test.zip: {TILE}", "PNG cut short", "save it again"),
    "127 x 128": (replaced(image(size=(127, 128))), f"test.zip: {TILE}", "127 x 128", "128 x 128"),
    "16 bit": (replaced(image("I;16")), f"test.zip: {TILE}", "16-bit grey", "8-bit RGBA"),
    "16 bit RGBA": (replaced(with_header(128, 128, 16, 6)), f"test.zip: {TILE}", "16-bit RGBA", "8-bit RGBA"),
    "palette": (replaced(image("P")), f"test.zip: {TILE}", "-bit palette", "8-bit RGBA"),
    "grey": (replaced(image("L")), f"test.zip: {TILE}", "8-bit grey", "8-bit RGBA"),
    "grey with alpha": (replaced(image("LA")), f"test.zip: {TILE}", "8-bit grey with alpha", "8-bit RGBA"),
    "RGB": (replaced(image("RGB")), f"test.zip: {TILE}", "8-bit RGB;", "8-bit RGBA"),
    "a damaged header": (
        replaced(image()[:29] + bytes(4) + image()[33:]),
        f"test.zip: {TILE}",
        "header is damaged",
        "save it again",
    ),
    "60,000 x 60,000": (replaced(with_header(60_000, 60_000, 8, 6)), f"test.zip: {TILE}", "60000 x 60000", "128 x 128"),
    "outside the class": (renamed(TILE, "test/0.png"), "test.zip: test/0.png", "outside test/<class>/", NAMED),
    "outside the split": (renamed(TILE, "0.png"), "test.zip: 0.png", "outside test/<class>/", NAMED),
    "too deep": (renamed(TILE, "test/glaciar/a/0.png"), "test.zip: test/glaciar/a/0.png", "outside", NAMED),
    "a folder with content": (renamed(TILE, "test/glaciar/0.pn/"), "test.zip: test/glaciar/0.pn/", "outside", NAMED),
    "dots": (renamed(TILE, "test/../../0.png"), "test.zip: test/../../0.png", "leads out", NAMED),
    "a backslash": (renamed(TILE, "test\\glaciar\\0.png"), "test.zip: test\\glaciar\\0.png", "backslash", NAMED),
    "an absolute path": (renamed(TILE, f"/{TILE}"), f"test.zip: /{TILE}", "absolute", NAMED),
    "a drive": (renamed(TILE, f"C:/{TILE}"), f"test.zip: C:/{TILE}", "absolute", NAMED),
    "another split's prefix": (
        renamed(TILE, "train/glaciar/0.png"),
        "test.zip: train/glaciar/0.png",
        "belongs to the split train",
        NAMED,
    ),
    "an unknown class": (renamed(TILE, "test/volcan/0.png"), "test.zip: test/volcan/0.png", "class 'volcan'", NAMED),
    "Glaciar": (renamed(TILE, "test/Glaciar/0.png"), "test.zip: test/Glaciar/0.png", "'Glaciar'", NAMED),
    "an id that is no number": (renamed(TILE, "test/glaciar/a.png"), "test.zip: test/glaciar/a.png", "'a'", NAMED),
    "leading zeros": (renamed(TILE, "test/glaciar/007.png"), "test.zip: test/glaciar/007.png", "leading zeros", NAMED),
    "digits of another script": (renamed(TILE, "test/glaciar/٣.png"), "test.zip: test/glaciar/٣.png", "decimal", NAMED),
    "an id of 19 digits": (renamed(TILE, f"test/glaciar/{10**18}.png"), "test.zip: test/glaciar/1", "18 digits", NAMED),
    "another extension": (renamed(TILE, "test/glaciar/0.PNG"), "test.zip: test/glaciar/0.PNG", ".png", NAMED),
    "a line break in a name": (renamed(TILE, "test/glaciar/\n.png"), "test.zip: 'test/glaciar/\\n.png'", "id", NAMED),
    "the same tile twice": (doubled("test.zip", TILE), f"test.zip: {TILE}", "twice", "remove one"),
    "the same mask twice": (doubled("test_masks.zip", TILE), f"test_masks.zip: {TILE}", "twice", "remove one"),
    "a glaciar tile without a mask": (
        without("test_masks.zip", TILE),
        f"test.zip: {TILE}",
        "no mask in test_masks.zip",
        "add one or move the tile to cordillera",
    ),
    "a mask without a tile": (
        without("test.zip", TILE),
        f"test_masks.zip: {TILE}",
        "no tile in test.zip",
        "add the tile or remove the mask",
    ),
    "a mask of another size": (
        replaced(image(size=(64, 64)), "test_masks.zip"),
        f"test_masks.zip: {TILE}",
        "64 x 64",
        "128 x 128",
    ),
    "a mask of another mode": (
        replaced(image("L"), "test_masks.zip"),
        f"test_masks.zip: {TILE}",
        "8-bit grey",
        "8-bit RGBA",
    ),
    "shard 2 of 3 missing": (
        shards_of(lambda f: (f / "test-00001-of-00003.zip").unlink()),
        "test-00001-of-00003.zip",
        "missing from {folder}",
        "add it",
    ),
    "a shard of masks missing": (
        shards_of(lambda f: (f / "test_masks-00001-of-00003.zip").unlink()),
        "test_masks-00001-of-00003.zip",
        "missing from {folder}",
        "add it",
    ),
    "masks in other shards": (
        shards_of(swapped_shards),
        "test",
        "no ",
        "add ",
    ),
    "masks in fewer shards": (
        shards_of(fewer_shards),
        "test_masks.zip",
        "masks in 1 and tiles in 3",
        "the same number of shards",
    ),
    "shards of two sets": (
        shards_of(lambda f: shutil.copy(f / "test-00000-of-00003.zip", f / "test-00003-of-00004.zip")),
        "test-00003-of-00004.zip",
        "not of the set of 3",
        "remove",
    ),
    "shards beside the whole": (
        shards_of(lambda f: shutil.copy(f / "test-00000-of-00003.zip", f / "test.zip")),
        "test.zip",
        "beside shards",
        "remove",
    ),
    "a tile in two shards": (
        shards_of(
            lambda f: rewrite(
                f / "test-00001-of-00003.zip",
                lambda members: [*members, (zipfile.ZipInfo("test/cordillera/0.png"), image())],
            )
        ),
        "test-00001-of-00003.zip: test/cordillera/0.png",
        "in another shard too",
        "remove one",
    ),
    "a manifest that counts other tiles": (
        manifest_entry("splits", "test", "glaciar", value=4),
        "test.zip",
        "has 3 glaciar tiles, 4 in manifest.json",
        "copy or download both again",
    ),
    "a manifest that counts other tiles in shards": (
        shards_of(manifest_entry("splits", "test", "glaciar", value=4)),
        "test-00000-of-00003.zip",
        "has 3 glaciar tiles, 4 in manifest.json",
        "copy or download both again",
    ),
    "a manifest of another size": (
        manifest_entry("archives", "test.zip", "bytes", value=1),
        "test.zip",
        "bytes, 1 in manifest.json",
        "copy or download both again",
    ),
    "a manifest of another digest": (
        manifest_entry("archives", "test_masks.zip", "sha256", value="0" * 64),
        "test_masks.zip",
        "SHA-256",
        "copy or download both again",
    ),
    "a manifest without the archive": (
        lambda f: change_manifest(f, lambda manifest: manifest["archives"].pop("test.zip")),
        "test.zip",
        "not in manifest.json",
        "copy or download both again",
    ),
    "a manifest that is no JSON": (
        lambda f: (f / "manifest.json").write_text("{"),
        "manifest.json",
        "not a manifest",
        "remove it",
    ),
    "a manifest that is a list": (
        lambda f: (f / "manifest.json").write_text("[]"),
        "manifest.json",
        "not a manifest",
        "remove it",
    ),
    "a manifest without digests": (
        manifest_entry("archives", "test.zip", value={"bytes": 1}),
        "manifest.json",
        "not a manifest",
        "remove it",
    ),
    "a manifest without the split": (
        lambda f: change_manifest(f, lambda manifest: manifest["splits"].pop("test")),
        "test.zip",
        "has 3 cordillera tiles, 0 in manifest.json",
        "copy or download both again",
    ),
    "a manifest of an unknown split": (
        manifest_entry("splits", "dev", value={"glaciar": 1}),
        "manifest.json",
        "dev",
        "remove it",
    ),
    "a manifest nested without end": (
        lambda f: (f / "manifest.json").write_text("[" * 100_000),
        "manifest.json",
        "not a manifest",
        "remove it",
    ),
    "a manifest of an unknown class": (
        manifest_entry("splits", "test", value={"volcan": 1}),
        "manifest.json",
        "volcan",
        "remove it",
    ),
}

STREAM_PASSES = {"a tile in two shards", "a manifest that counts other tiles in shards", "a manifest of another digest"}
"""What cannot be seen without reading more than is asked for."""


@pytest.fixture
def faulty(request, sample, sharded_sample, tmp_path):
    fault, *expected = FAULTS[request.param]
    folder = tmp_path / "archives"
    shutil.copytree(sharded_sample if fault in _SHARDED else sample, folder)
    fault(folder)
    return folder, [text.replace("{folder}", str(folder)) for text in expected]


def assert_says(error, expected):
    """Assert that an error is one line that names the place, what is wrong there and the remedy, in this order."""
    place, what, remedy = expected
    message = str(error)
    assert message.startswith(place)
    assert what in message
    assert remedy in message.rpartition("; ")[2]
    assert "\n" not in message


@pytest.mark.parametrize("faulty", FAULTS, indirect=True)
def test_a_fault_is_named_and_leaves_nothing_behind(faulty, tmp_path):
    folder, expected = faulty
    cache = tmp_path / "cache"
    for _ in range(2):  # the second call must not take what the first left for a prepared dataset
        with pytest.raises(ArchiveError) as caught:
            load_dataset("image-segmentation", data_dir=folder, cache_dir=cache)
        assert_says(caught.value, expected)
    left = [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert left == []


@pytest.mark.parametrize("faulty", [fault for fault in FAULTS if fault not in STREAM_PASSES], indirect=True)
def test_a_fault_is_named_while_streaming(faulty):
    folder, expected = faulty
    with pytest.raises(ArchiveError) as caught:
        for _ in load_dataset("image-segmentation", data_dir=folder, streaming=True)["test"]:
            pass
    assert_says(caught.value, expected)


def test_a_fault_is_named_from_another_process(sharded_sample, tmp_path):
    folder = Path(shutil.copytree(sharded_sample, tmp_path / "archives"))
    rewrite(folder / "train-00001-of-00003.zip", lambda members: [(members[0][0], b"GIF89a"), *members[1:]])
    with pytest.raises(ArchiveError, match=r"train-00001-of-00003\.zip: train/.*is no PNG"):
        load_dataset(data_dir=folder, cache_dir=tmp_path / "cache", num_proc=2)


def test_a_mended_archive_loads_where_a_faulty_one_did_not(sample, sample_copy, tmp_path):
    (sample_copy / "test.zip").write_bytes(b"")
    with pytest.raises(ArchiveError):
        load_dataset(data_dir=sample_copy, cache_dir=tmp_path / "cache")
    shutil.copy(sample / "test.zip", sample_copy)
    assert len(load_dataset(data_dir=sample_copy, cache_dir=tmp_path / "cache", split="test")) == 6


def test_an_unknown_config_names_those_that_there_are(sample):
    with pytest.raises(ValueError, match=r"'image-detection' not found.*image-classification.*image-segmentation"):
        load_dataset("image-detection", data_dir=sample)


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])
def test_an_unknown_split_names_those_that_there_are(sample, streaming):
    with pytest.raises(ValueError, match=r"dev.*train.*validation.*test"):
        load_dataset(data_dir=sample, split="dev", streaming=streaming)


def test_a_folder_without_archives_lists_what_is_there(tmp_path):
    (tmp_path / "tiles.tar").write_bytes(b"")
    with pytest.raises(ArchiveError, match=r"train\.zip: not in .*tiles\.tar"):
        load_dataset(data_dir=tmp_path)


def test_an_archive_that_may_not_be_read_is_named(sample_copy, monkeypatch):
    def forbidden(path, *arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("rock_glacier_dataset.open", forbidden, raising=False)
    (sample_copy / "manifest.json").unlink()
    with pytest.raises(ArchiveError, match=r"train\.zip: cannot be opened \(Permission denied\)"):
        list(load_dataset(data_dir=sample_copy, split="train", streaming=True))


def test_a_folder_that_may_not_be_listed_is_named(sample, monkeypatch):
    def forbidden(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("rock_glacier_dataset.os.scandir", forbidden)
    with pytest.raises(ArchiveError, match=r"sample: cannot be listed \(Permission denied\); make it readable"):
        load_dataset(data_dir=sample)


def test_no_folder_at_all_is_named():
    with pytest.raises(ArchiveError, match="data_dir is empty"):
        load_dataset(data_dir="")


def test_a_member_that_inflates_is_not_inflated_beyond_its_size(sample_copy):
    deflated_bomb(sample_copy)
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError, match="checksum"):
            list(load_dataset(data_dir=sample_copy, split="test", streaming=True))
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()


def test_the_manifest_of_the_sample_is_sound(sample):
    manifest = json.loads((sample / "manifest.json").read_text())
    assert {name: archive["bytes"] for name, archive in manifest["archives"].items()} == {
        path.name: path.stat().st_size for path in sample.glob("*.zip")
    }
