"""Faults to plant in a sample: one of each code that the audit can find.

Each function plants one fault in a folder as `make_sample_archives` writes it, with 4 tiles in each split at least, and
returns the path that the audit names. The manifest is brought up to date, so that it shows no other fault. No two
faults touch the same member, so that all of them can be planted side by side.
"""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from rock_glacier.archives.manifest import write_manifest
from rock_glacier.archives.writer import WrittenArchive, sort_key, write_archive
from rock_glacier_dataset import EMPTY_MASK, MANIFEST_NAME, TILE_SIZE, sha256_of_file

LEAST_TILES_FOR_FAULTS = 4
"""Tiles in each split, with which it has the two of each class that the faults need."""


def archive_unreadable(folder: Path) -> str:
    """Cut an archive of the validation split short, as a broken download does."""
    archive = _archives(folder, "validation")[0]
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])
    _update_manifest(folder)
    return archive.name


def member_name(folder: Path) -> str:
    """Add a tile of an unknown class."""
    return _add(folder, "train/nieve/000.png", _read(folder, "train/cordillera/000.png"))


def member_duplicate(folder: Path) -> str:
    """Let a tile stand twice in its archive."""
    path = "train/glaciar/000.png"
    return _add(folder, path, _read(folder, path))


def png_corrupt(folder: Path) -> str:
    """Overwrite the beginning of a tile's compressed pixels; the archive's own checksum is right."""
    path = "test/glaciar/000.png"
    head, mark, pixels = _read(folder, path).partition(b"IDAT")
    return _replace(folder, path, head + mark + bytes(8) + pixels[8:])


def png_format(folder: Path) -> str:
    """Save a tile without its alpha channel."""
    path = "test/glaciar/001.png"
    return _replace(folder, path, _encode(_image(folder, path).convert("RGB")))


def mask_missing(folder: Path) -> str:
    """Remove the mask of a glaciar tile."""
    _replace(folder, "train/masks/000.png", None)
    return "train/glaciar/000.png"


def mask_orphan(folder: Path) -> str:
    """Add a mask whose id no tile has."""
    next_id = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))["splits"]["train"]["glaciar"]
    return _add(folder, f"train/masks/{next_id:03d}.png", _read(folder, "train/masks/001.png"))


def mask_format(folder: Path) -> str:
    """Save a mask as a greyscale image."""
    path = "train/masks/001.png"
    return _replace(folder, path, _encode(_image(folder, path).convert("L")))


def mask_values(folder: Path) -> str:
    """Paint a pixel of a mask red."""
    path = "test/masks/000.png"
    mask = _image(folder, path)
    mask.putpixel((TILE_SIZE // 2, TILE_SIZE // 2), (255, 0, 0, 255))
    return _replace(folder, path, _encode(mask))


def mask_empty(folder: Path) -> str:
    """Give a glaciar tile a mask that is all background."""
    return _replace(folder, "test/masks/001.png", EMPTY_MASK)


def duplicate_pixels(folder: Path) -> str:
    """Put a train tile, mirrored, in the place of a test tile."""
    mirrored = _image(folder, "train/cordillera/000.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return _replace(folder, "test/cordillera/000.png", _encode(mirrored))


def overlap_across_splits(folder: Path) -> str:
    """Let the left half of a test tile show what the right half of a train tile does."""
    train, test = "train/cordillera/001.png", "test/cordillera/001.png"
    overlapping = _image(folder, test)
    overlapping.paste(_image(folder, train).crop((TILE_SIZE // 2, 0, TILE_SIZE, TILE_SIZE)))
    _replace(folder, test, _encode(overlapping))
    return train  # the first tile of a pair is the one that the audit names


def manifest_mismatch(folder: Path) -> str:
    """Write a wrong SHA-256 of an archive of the test split into the manifest."""
    name = _archives(folder, "test")[0].name
    _update_manifest(folder, spoiled=name)
    return name


FAULTS: dict[str, Callable[[Path], str]] = {
    "archive-unreadable": archive_unreadable,
    "member-name": member_name,
    "member-duplicate": member_duplicate,
    "png-corrupt": png_corrupt,
    "png-format": png_format,
    "mask-missing": mask_missing,
    "mask-orphan": mask_orphan,
    "mask-format": mask_format,
    "mask-values": mask_values,
    "mask-empty": mask_empty,
    "duplicate-pixels": duplicate_pixels,
    "overlap-across-splits": overlap_across_splits,
    "manifest-mismatch": manifest_mismatch,
}
"""The function that plants each code's fault. The manifest's is last, since each of the others rewrites it."""


def plant_all(folder: Path) -> dict[str, str]:
    """Plant one fault of each code.

    Args:
        folder: sample archives with 4 tiles in each split at least.

    Returns:
        the path that the audit names, by code.

    Raises:
        ValueError: a tile that is needed is not in the folder.
        OSError: the archives cannot be written.
    """
    return {code: plant(folder) for code, plant in FAULTS.items()}


def describe_archives(folder: Path) -> list[WrittenArchive]:
    """Describe the archives of a folder's manifest as they are now; an unreadable one has 0 tiles."""
    described = []
    for name in json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))["archives"]:
        archive = folder / name
        tiles = 0
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                tiles = sum("/masks/" not in member for member in opened.namelist())
        described.append(WrittenArchive(name, tiles, archive.stat().st_size, sha256_of_file(archive)))
    return described


def _update_manifest(folder: Path, spoiled: str = "") -> None:
    """Write the archives' sizes and checksums anew, that of `spoiled` wrong; no fault changes the number of tiles."""
    manifest = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    archives = describe_archives(folder)
    archives = [one._replace(sha256=one.sha256[::-1]) if one.name == spoiled else one for one in archives]
    write_manifest(folder, version=manifest["version"], splits=manifest["splits"], archives=archives)


def _archives(folder: Path, split: str) -> list[Path]:
    return sorted(folder.glob(f"{split}*.zip"))


def _archive_of(folder: Path, path: str) -> Path:
    for archive in _archives(folder, path.split("/")[0]):
        with zipfile.ZipFile(archive) as opened:
            if path in opened.namelist():
                return archive
    raise ValueError(f"{path}: not in {folder}; make a sample of {LEAST_TILES_FOR_FAULTS} tiles in each split")


def _read(folder: Path, path: str) -> bytes:
    with zipfile.ZipFile(_archive_of(folder, path)) as archive:
        return archive.read(path)


def _image(folder: Path, path: str) -> Image.Image:
    return Image.open(io.BytesIO(_read(folder, path)))


def _encode(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _add(folder: Path, path: str, png: bytes) -> str:
    """Add a member, beside the one of the same path where there is one."""
    try:
        archive = _archive_of(folder, path)
    except ValueError:
        archive = _archives(folder, path.split("/")[0])[0]
    return _rewrite(folder, archive, path, [*_members(archive), (path, png)])


def _replace(folder: Path, path: str, png: bytes | None) -> str:
    """Replace a member, or remove it where `png` is None."""
    archive = _archive_of(folder, path)
    others = [member for member in _members(archive) if member[0] != path]
    return _rewrite(folder, archive, path, others if png is None else [*others, (path, png)])


def _members(archive: Path) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(archive) as opened:
        return [(member.filename, opened.read(member)) for member in opened.infolist()]


def _rewrite(folder: Path, archive: Path, path: str, members: list[tuple[str, bytes]]) -> str:
    archive.unlink()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate name", UserWarning)  # which is wanted here
        write_archive(archive, sorted(members, key=lambda member: sort_key(member[0])))
    _update_manifest(folder)
    return path
