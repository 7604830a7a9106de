"""Contract archives: how tiles and masks lie in zip archives, and the manifest beside them.

The contract is what `rock_glacier_dataset` reads as a `data_dir`: for each split an archive of tiles and one of masks,
each perhaps in shards, and a `manifest.json`. The archives are deterministic: the same members give the same bytes,
whenever and wherever they are written. Members are written as they come, so that memory does not grow with the dataset.
"""

from __future__ import annotations

import contextlib
import json
import stat
import zipfile
from collections.abc import Iterable
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rock_glacier_dataset import CLASS_NAMES
from rock_glacier_dataset import MANIFEST_NAME
from rock_glacier_dataset import sha256_of_file

_MEMBER_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip archive can state
_UNIX = 3  # zip's "version made by": the attributes are those of a Unix file system
_MEMBER_MODE = stat.S_IFREG | 0o644


class Tile(NamedTuple):
    """A tile on its way into an archive.

    Attributes:
        class_name: One of `CLASS_NAMES`.
        id: The number in the member's name.
        image: The tile's PNG file.
        mask: The mask's PNG file, or None for a tile without one.
    """

    class_name: str
    id: int
    image: bytes
    mask: bytes | None


class WrittenArchive(NamedTuple):
    """What became of one archive.

    Attributes:
        name: File name.
        members: Number of tiles or masks in it.
        bytes: Size of the file.
        sha256: Checksum of the file, in hexadecimal digits.
    """

    name: str
    members: int
    bytes: int
    sha256: str


def archive_name(split: str, shard: int = 0, shards: int = 1, *, masks: bool = False) -> str:
    """Name an archive.

    Args:
        split: Name of the split.
        shard: Number of the shard, from 0.
        shards: How many shards the split has; an only shard is not numbered.
        masks: Whether the archive holds masks rather than tiles.

    Returns:
        The file name.

    Example:
        >>> archive_name("train")
        'train.zip'
        >>> archive_name("train", 0, 4, masks=True)
        'train_masks-00000-of-00004.zip'
    """
    stem = f"{split}_masks" if masks else split
    return f"{stem}.zip" if shards == 1 else f"{stem}-{shard:05d}-of-{shards:05d}.zip"


def member_name(split: str, class_name: str, tile_id: int) -> str:
    """Name the member that holds a tile, or its mask.

    Example:
        >>> member_name("train", "cordillera", 1512)
        'train/cordillera/1512.png'
    """
    return f"{split}/{class_name}/{tile_id}.png"


def shard_sizes(tiles: int, shards: int) -> list[int]:
    """Deal tiles to shards: as evenly as can be, the larger shards first.

    Example:
        >>> shard_sizes(10, 4)
        [3, 3, 2, 2]
    """
    return [tiles // shards + (shard < tiles % shards) for shard in range(shards)]


def write_split(
    folder: Path, split: str, tiles: Iterable[Tile], *, count: int, shards: int = 1, masks: bool = True
) -> list[WrittenArchive]:
    """Write the archives of one split: its tiles and, in shards that go with them, their masks.

    Args:
        folder: Where to write; the archives must not be there yet.
        split: Name of the split.
        tiles: In the order class, then id; they are written as they come.
        count: How many tiles there are, which decides where a shard ends.
        shards: How many shards; 1 to `count`.
        masks: Whether to write archives of masks; without them the archives are for `image-classification` alone.

    Returns:
        The archives in the order tiles, masks of each shard.

    Raises:
        ValueError: The tiles are out of order, not `count`, or of an unknown class, or `shards` does not fit.
        OSError: An archive cannot be written.
    """
    if not 1 <= shards <= count:
        raise ValueError(f"{split}: {shards} shards for {count} tiles; from 1 to {count} are allowed")
    in_order = _in_order(split, tiles)
    written = []
    for shard, size in enumerate(shard_sizes(count, shards)):
        tile_path = folder / archive_name(split, shard, shards)
        mask_path = folder / archive_name(split, shard, shards, masks=True)
        members = mask_members = 0
        with contextlib.ExitStack() as stack:
            tile_archive = stack.enter_context(zipfile.ZipFile(tile_path, "x"))
            mask_archive = stack.enter_context(zipfile.ZipFile(mask_path, "x")) if masks else None
            while members < size:
                tile = next(in_order, None)
                if tile is None:
                    raise ValueError(f"{split}: the tiles end before the {count} that were announced")
                name = member_name(split, tile.class_name, tile.id)
                _write_member(tile_archive, name, tile.image)
                members += 1
                if tile.mask is not None and mask_archive is not None:
                    _write_member(mask_archive, name, tile.mask)
                    mask_members += 1
        written.append(_closed_archive(tile_path, members))
        if masks:
            written.append(_closed_archive(mask_path, mask_members))
    if next(in_order, None) is not None:
        raise ValueError(f"{split}: there are more tiles than the {count} that were announced")
    return written


def _in_order(split: str, tiles: Iterable[Tile]) -> Iterator[Tile]:
    """Yield `tiles`, and raise ValueError at one that is not behind the one before it."""
    previous = (-1, -1)
    for tile in tiles:
        if tile.class_name not in CLASS_NAMES:
            raise ValueError(f"{split}: no class is called {tile.class_name!r}; there are {', '.join(CLASS_NAMES)}")
        place = (CLASS_NAMES.index(tile.class_name), tile.id)
        if place <= previous or tile.id < 0:
            name = member_name(split, tile.class_name, tile.id)
            raise ValueError(f"{name}: out of order; members come by class, then by id from 0, none twice")
        previous = place
        yield tile


def _write_member(archive: zipfile.ZipFile, name: str, png: bytes) -> None:
    member = zipfile.ZipInfo(name, _MEMBER_DATE)
    # Each of these would otherwise depend on the system that writes, or on its clock.
    member.create_system = _UNIX
    member.external_attr = _MEMBER_MODE << 16
    member.compress_type = zipfile.ZIP_STORED
    archive.writestr(member, png)


def _closed_archive(path: Path, members: int) -> WrittenArchive:
    return WrittenArchive(path.name, members, path.stat().st_size, sha256_of_file(path))


def write_manifest(
    folder: Path,
    *,
    version: str,
    splits: dict[str, dict[str, int]],
    archives: Iterable[WrittenArchive],
    audit: dict[str, str | int] | None = None,
) -> Path:
    """Write `manifest.json`, which says what a folder of archives holds.

    Args:
        folder: Where the archives lie.
        version: Version of the dataset, as in "1.0.0".
        splits: How many tiles of each class each split has.
        archives: The archives.
        audit: The tool, errors and warnings of an audit of these archives; left out where none was made.

    Returns:
        The manifest's path.
    """
    manifest: dict[str, object] = {
        "version": version,
        "splits": splits,
        "archives": {archive.name: {"bytes": archive.bytes, "sha256": archive.sha256} for archive in archives},
    }
    if audit is not None:
        manifest["audit"] = audit
    path = folder / MANIFEST_NAME
    path.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8", newline="\n")
    return path
