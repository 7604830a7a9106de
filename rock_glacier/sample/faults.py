"""Faults to plant in a sample: one of each code that the audit can find.

Each function plants one fault in a folder as `make_sample_archives` writes it, with 4 tiles in each split at least, and
returns the path that the audit names. The manifest is brought up to date, so that it shows no other fault. No two
faults touch the same member, so that all of them can be planted side by side.
"""

from __future__ import annotations

import io
import json
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageOps

from rock_glacier.archives.manifest import write_manifest
from rock_glacier.archives.writer import WrittenArchive, sort_key, write_archive
from rock_glacier.arrays import encode_png
from rock_glacier_dataset import EMPTY_MASK, MANIFEST_NAME, TILE_SIZE, sha256_of_file

LEAST_TILES_FOR_FAULTS = 4
"""Tiles in each split, with which it has the two of each class that the faults need."""


def archive_unreadable(folder: Path) -> str:
    """Cut an archive of the validation split short, as a broken download does."""
    archive = min(folder.glob("validation*.zip"))
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])
    _update_manifest(folder)
    return archive.name


def member_name(folder: Path) -> str:
    """Add a tile of an unknown class."""
    return _change(folder, "train/cordillera/000.png", lambda png: png, added="train/nieve/000.png")


def member_duplicate(folder: Path) -> str:
    """Store a tile twice in its archive."""
    return _change(folder, "train/glaciar/000.png", lambda png: png, added="train/glaciar/000.png")


def png_corrupt(folder: Path) -> str:
    """Overwrite the beginning of a tile's compressed pixels; the archive's own checksum is right."""
    return _change(folder, "test/glaciar/000.png", lambda png: re.sub(rb"(?s)(?<=IDAT).{8}", bytes(8), png, count=1))


def png_format(folder: Path) -> str:
    """Save a tile without its alpha channel."""
    return _change_image(folder, "train/glaciar/001.png", lambda tile: tile.convert("RGB"))


def mask_missing(folder: Path) -> str:
    """Remove the mask of a glaciar tile."""
    _change(folder, "train/masks/000.png", lambda png: None)
    return "train/glaciar/000.png"


def mask_orphan(folder: Path) -> str:
    """Add a mask whose id no tile has."""
    return _change(folder, "train/masks/001.png", lambda png: png, added="train/masks/99999999.png")


def mask_format(folder: Path) -> str:
    """Save a mask as a greyscale image."""
    return _change_image(folder, "train/masks/001.png", lambda mask: mask.convert("L"))


def mask_values(folder: Path) -> str:
    """Paint a square of a mask red."""
    return _change_image(folder, "test/masks/000.png", lambda mask: mask.paste("red", (60, 60, 68, 68)))


def mask_empty(folder: Path) -> str:
    """Give a glaciar tile a mask that is all background."""
    return _change(folder, "test/masks/001.png", lambda png: EMPTY_MASK)


def duplicate_pixels(folder: Path) -> str:
    """Replace a test tile by a train tile, mirrored."""
    train = _read(folder, "train/cordillera/000.png")
    return _change_image(folder, "test/cordillera/000.png", lambda tile: tile.paste(ImageOps.mirror(train)))


def overlap_across_splits(folder: Path) -> str:
    """Replace the left half of a test tile by the right half of a train tile."""
    path = "train/cordillera/001.png"
    half = _read(folder, path).crop((TILE_SIZE // 2, 0, TILE_SIZE, TILE_SIZE))
    _change_image(folder, "test/cordillera/001.png", lambda tile: tile.paste(half))
    return path  # the audit names the first tile of a pair


def same_ground_across_splits(folder: Path) -> str:
    """Replace a test tile by a train tile in other light."""
    path = "train/glaciar/000.png"
    other_light = _read(folder, path).convert("RGB").point(lambda value: 3 * value // 4 + 10)
    _change_image(folder, "test/glaciar/001.png", lambda tile: tile.paste(other_light))
    return path


def manifest_mismatch(folder: Path) -> str:
    """Write a wrong SHA-256 of an archive of the test split into the manifest."""
    archive = min(folder.glob("test*.zip"))
    _update_manifest(folder, spoiled=archive.name)
    return archive.name


_PLANTERS: tuple[Callable[[Path], str], ...] = (
    archive_unreadable,
    member_name,
    member_duplicate,
    png_corrupt,
    png_format,
    mask_missing,
    mask_orphan,
    mask_format,
    mask_values,
    mask_empty,
    duplicate_pixels,
    overlap_across_splits,
    same_ground_across_splits,
    manifest_mismatch,  # last, since each of the others rewrites the manifest
)
FAULTS = {plant.__name__.replace("_", "-"): plant for plant in _PLANTERS}
"""The function that plants each code's fault."""


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


def _archive_of(folder: Path, path: str) -> tuple[Path, list[tuple[str, bytes]]]:
    """Find the archive that has a member, and read its members."""
    for archive in folder.glob(f"{path.split('/')[0]}*.zip"):
        with zipfile.ZipFile(archive) as opened:
            if path in opened.namelist():
                return archive, [(member.filename, opened.read(member)) for member in opened.infolist()]
    raise ValueError(f"{path}: not in {folder}; make a sample of {LEAST_TILES_FOR_FAULTS} tiles in each split")


def _read(folder: Path, path: str) -> Image.Image:
    return Image.open(io.BytesIO(dict(_archive_of(folder, path)[1])[path]))


def _change(folder: Path, path: str, change: Callable[[bytes], bytes | None], added: str | None = None) -> str:
    """Replace a member by the result of `change`, remove it where that is None, or add the result as `added`."""
    archive, members = _archive_of(folder, path)
    changed = change(dict(members)[path])
    if added is None:
        members = [member for member in members if member[0] != path]
    if changed is not None:
        members.append((added or path, changed))
    archive.unlink()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate name", UserWarning)  # which is wanted here
        write_archive(archive, sorted(members, key=lambda member: sort_key(member[0])))
    _update_manifest(folder)
    return added or path


def _change_image(folder: Path, path: str, change: Callable[[Image.Image], Image.Image | None]) -> str:
    """Replace a tile or mask by the result of `change`, which may change the image in place."""

    def change_png(png: bytes) -> bytes:
        image = Image.open(io.BytesIO(png))
        return encode_png(change(image) or image)

    return _change(folder, path, change_png)
