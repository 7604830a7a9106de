"""Faults to plant in a sample, one of each code that the audit knows.

Each function plants one fault in a folder as make_sample_archives writes it, with 4 tiles in each split at least, and
returns the path that the audit names. The manifest is brought up to date, so that it tells of no other fault. No two
faults touch the same tile, so that all of them can be planted side by side and each is seen.
"""

from __future__ import annotations

import contextlib
import io
import json
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from rock_glacier.archives.manifest import write_manifest
from rock_glacier.archives.writer import WrittenArchive, archive_name
from rock_glacier.sample.tiles import encoded_mask, encoded_tile
from rock_glacier_dataset import MANIFEST_NAME, ROCK_GLACIER_COLOUR, TILE_SIZE, sha256_of_file

LEAST_TILES_FOR_FAULTS = 4
"""Tiles in each split, with which it has the two of each class that are spoilt here."""

GREY = (128, 128, 128, 255)
RED = (255, 0, 0, 255)


def archive_unreadable(folder: Path) -> str:
    """Cut an archive of validation masks short, as a broken download does."""
    path = _archives(folder, "validation", masks=True)[0]
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    _update_manifest(folder)
    return path.name


def member_name_with_zero(folder: Path) -> str:
    """Add a tile whose id has a leading zero."""
    return _add(folder, "train/glaciar/07.png", _read(folder, "train/glaciar/0.png"))


def member_twice(folder: Path) -> str:
    """Let a tile stand twice in its archive."""
    path = "validation/glaciar/0.png"
    return _add(folder, path, _read(folder, path), beside=path)


def class_unknown(folder: Path) -> str:
    """Add a tile of a class that there is not."""
    return _add(folder, "train/nieve/1.png", _read(folder, "train/cordillera/0.png"))


def png_corrupt(folder: Path) -> str:
    """Overwrite the beginning of a tile's compressed pixels; the archive's checksum is right."""
    path = "validation/cordillera/0.png"
    png = bytearray(_read(folder, path))
    start = png.index(b"IDAT") + len(b"IDAT")
    png[start : start + 8] = bytes(8)
    return _replace(folder, path, bytes(png))


def png_format(folder: Path) -> str:
    """Save a tile without its alpha channel."""
    path = "validation/cordillera/1.png"
    return _replace(folder, path, _encoded(Image.fromarray(_pixels(folder, path)).convert("RGB")))


def mask_missing(folder: Path) -> str:
    """Remove the mask of a glaciar tile."""
    return _replace(folder, "train/glaciar/0.png", None, masks=True)


def mask_orphan(folder: Path) -> str:
    """Add a mask of a tile that there is not."""
    next_id = _manifest(folder)["splits"]["train"]["glaciar"]
    mask = _read(folder, "train/glaciar/1.png", masks=True)
    return _add(folder, member_name("train", "glaciar", next_id), mask, masks=True)


def mask_format(folder: Path) -> str:
    """Save a mask as a greyscale image."""
    path = "train/glaciar/1.png"
    mask = Image.fromarray(_pixels(folder, path, masks=True)).convert("L")
    return _replace(folder, path, _encoded(mask), masks=True)


def mask_values(folder: Path) -> str:
    """Paint a pixel of a mask red."""
    path = "test/glaciar/0.png"
    mask = _pixels(folder, path, masks=True)
    mask[TILE_SIZE // 2, TILE_SIZE // 2] = RED
    return _replace(folder, path, _encoded(Image.fromarray(mask)), masks=True)


def mask_values_along_edges(folder: Path) -> str:
    """Soften the right edges of a mask, as antialiasing does, of which the audit only warns."""
    path = "test/glaciar/0.png"
    mask = _pixels(folder, path, masks=True)
    rock_glacier = (mask == ROCK_GLACIER_COLOUR).all(axis=-1)
    inside, edge, outside = rock_glacier[:, :-2], rock_glacier[:, 1:-1], rock_glacier[:, 2:]
    mask[:, 1:-1][inside & ~edge & ~outside] = GREY
    return _replace(folder, path, _encoded(Image.fromarray(mask)), masks=True)


def mask_not_empty(folder: Path) -> str:
    """Give a cordillera tile a mask that is all rock glacier."""
    path = "train/cordillera/0.png"
    mask = np.ones((TILE_SIZE, TILE_SIZE), dtype=np.bool_)
    return _add(folder, path, encoded_mask(mask), masks=True, beside=path)


def mask_empty(folder: Path) -> str:
    """Give a glaciar tile a mask that is all background."""
    mask = np.zeros((TILE_SIZE, TILE_SIZE), dtype=np.bool_)
    return _replace(folder, "test/glaciar/1.png", encoded_mask(mask), masks=True)


def duplicate_pixels(folder: Path) -> str:
    """Put a train tile, mirrored, in the place of a test tile."""
    mirrored = _pixels(folder, "train/cordillera/0.png")[:, ::-1, :3]
    return _replace(folder, "test/cordillera/0.png", encoded_tile(np.ascontiguousarray(mirrored)))


def overlap_across_splits(folder: Path) -> str:
    """Let the left half of a test tile show what the right half of a train tile does.

    Returns:
        The train tile: of a pair, the audit names the first.
    """
    train, test = "train/cordillera/1.png", "test/cordillera/1.png"
    half = TILE_SIZE // 2
    joined = np.hstack([_pixels(folder, train)[:, half:, :3], _pixels(folder, test)[:, half:, :3]])
    _replace(folder, test, encoded_tile(joined))
    return train


def manifest_mismatch(folder: Path) -> str:
    """Write the SHA-256 of another file for an archive of test tiles into the manifest."""
    name = _archives(folder, "test")[0].name
    manifest = _manifest(folder)
    manifest["archives"][name]["sha256"] = manifest["archives"][name]["sha256"][::-1]
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8", newline="\n")
    return name


FAULTS: dict[str, Callable[[Path], str]] = {
    "archive-unreadable": archive_unreadable,
    "member-name": member_name_with_zero,
    "member-duplicate": member_twice,
    "class-unknown": class_unknown,
    "png-corrupt": png_corrupt,
    "png-format": png_format,
    "mask-missing": mask_missing,
    "mask-orphan": mask_orphan,
    "mask-format": mask_format,
    "mask-values": mask_values,
    "mask-not-empty": mask_not_empty,
    "mask-empty": mask_empty,
    "duplicate-pixels": duplicate_pixels,
    "overlap-across-splits": overlap_across_splits,
    "manifest-mismatch": manifest_mismatch,
}
"""How the fault of each code is planted. The manifest's comes last: each of the others brings it up to date."""


def plant_all(folder: Path) -> dict[str, str]:
    """Plant one fault of each code.

    Args:
        folder: Sample archives, with 4 tiles in each split at least.

    Returns:
        The path that the audit names, by code.

    Raises:
        ValueError: A tile that is to be spoilt is not there.
        OSError: The archives cannot be written.
    """
    return {code: plant(folder) for code, plant in FAULTS.items()}


def archives_as_they_are(folder: Path) -> list[WrittenArchive]:
    """List the archives of a folder's manifest, in its order, with the members, sizes and checksums that they have.

    An archive that cannot be read has no members.
    """
    return [_as_it_is(folder / name) for name in _manifest(folder)["archives"]]


def _as_it_is(path: Path) -> WrittenArchive:
    try:
        with zipfile.ZipFile(path) as archive:
            members = len(archive.namelist())
    except zipfile.BadZipFile:
        members = 0
    return WrittenArchive(path.name, members, path.stat().st_size, sha256_of_file(path))


def _manifest(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    return manifest


def _update_manifest(folder: Path) -> None:
    """Write the archives' sizes and checksums anew. No fault changes how many tiles count."""
    manifest = _manifest(folder)
    archives = archives_as_they_are(folder)
    write_manifest(folder, version=manifest["version"], splits=manifest["splits"], archives=archives)


def _archives(folder: Path, split: str, *, masks: bool = False) -> list[Path]:
    """List a split's archives of tiles, or of masks, in the order of shards."""
    shards = len([name for name in _manifest(folder)["archives"] if name.startswith(f"{split}_masks")])
    return [folder / archive_name(split, shard, shards, masks=masks) for shard in range(shards)]


def _archive_of(folder: Path, path: str, *, masks: bool = False) -> Path:
    """Find the archive that has a member."""
    for archive in _archives(folder, path.split("/")[0], masks=masks):
        with zipfile.ZipFile(archive) as opened:
            if path in opened.namelist():
                return archive
    raise ValueError(f"{path}: not in {folder}; make a sample of {LEAST_TILES_FOR_FAULTS} tiles in each split")


def _read(folder: Path, path: str, *, masks: bool = False) -> bytes:
    with zipfile.ZipFile(_archive_of(folder, path, masks=masks)) as archive:
        return archive.read(path)


def _pixels(folder: Path, path: str, *, masks: bool = False) -> npt.NDArray[np.uint8]:
    """Decode a tile or a mask: uint8 (128, 128, 4), writable."""
    with Image.open(io.BytesIO(_read(folder, path, masks=masks))) as image:
        return np.array(image)


def _encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@contextlib.contextmanager
def _doubles_allowed() -> Iterator[None]:
    """Keep zipfile from warning of a name that stands twice, which is what was asked for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate name", UserWarning)
        yield


def _add(folder: Path, path: str, png: bytes, *, masks: bool = False, beside: str | None = None) -> str:
    """Add a member to the first shard, or to that of the tile `beside`; return its path."""
    split = path.split("/")[0]
    tiles = _archives(folder, split)
    shard = tiles.index(_archive_of(folder, beside)) if beside else 0
    member = zipfile.ZipInfo(path)
    member.external_attr = 0o644 << 16  # without it, unzip makes a file that nobody may read
    with _doubles_allowed(), zipfile.ZipFile(_archives(folder, split, masks=masks)[shard], "a") as archive:
        archive.writestr(member, png)
    _update_manifest(folder)
    return path


def _replace(folder: Path, path: str, png: bytes | None, *, masks: bool = False) -> str:
    """Replace a member's content, or remove the member; return its path."""
    archive = _archive_of(folder, path, masks=masks)
    changed = archive.with_name(f"{archive.name}.changed")
    with _doubles_allowed(), zipfile.ZipFile(archive) as old, zipfile.ZipFile(changed, "x") as new:
        for member in old.infolist():
            if member.filename != path:
                new.writestr(member, old.read(member))
            elif png is not None:
                new.writestr(member, png)
    changed.replace(archive)
    _update_manifest(folder)
    return path
