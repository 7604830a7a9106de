"""Write tiles and masks into archives: the same members give the same bytes on every system."""

from __future__ import annotations

import hashlib
import stat
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from rock_glacier_dataset import GLACIAR, MASKS, sha256_of_file

_EARLIEST_DATE = (1980, 1, 1, 0, 0, 0)  # that a zip archive can state
_UNIX = 3  # the system whose file attributes a member has
_MODE = stat.S_IFREG | 0o644


class WrittenArchive(NamedTuple):
    """An archive that was written.

    Attributes:
        name: file name.
        tiles: number of tiles in it.
        bytes: size of the file.
        sha256: checksum of the file, 64 hexadecimal digits.
    """

    name: str
    tiles: int
    bytes: int
    sha256: str


def archive_name(split: str, shard: int = 0, shards: int = 1) -> str:
    """Return the file name of a split's archive, or of one of its shards.

    Example:
        >>> archive_name("train"), archive_name("train", 0, 4)
        ('train.zip', 'train-00000-of-00004.zip')
    """
    return f"{split}.zip" if shards == 1 else f"{split}-{shard:05d}-of-{shards:05d}.zip"


def mask_path(path: str) -> str:
    """Return the path of a glaciar tile's mask.

    Example:
        >>> mask_path("train/glaciar/007.png")
        'train/masks/007.png'
    """
    split, _, file = path.split("/")
    return f"{split}/{MASKS}/{file}"


def sort_key(path: str) -> bytes:
    """Return the sort key of members and rows: the SHA-256 of the path, which mixes the classes."""
    return hashlib.sha256(path.encode()).digest()


def plan_shards(tiles: Iterable[str], *, masks: bool = True, shards: int = 1) -> list[list[str]]:
    """Assign a split's tiles to shards, and each glaciar tile's mask to the shard of its tile.

    Args:
        tiles: the tiles' paths, such as `train/glaciar/007.png`, in any order.
        masks: whether glaciar tiles have masks.
        shards: number of shards, from 1 to the number of tiles.

    Returns:
        the members' paths for each shard, in the order in which they are to be written.

    Raises:
        ValueError: `shards` does not fit.
    """
    ordered = sorted(tiles, key=sort_key)
    if not 1 <= shards <= len(ordered):
        raise ValueError(f"{shards} shards for {len(ordered)} tiles; from 1 to {len(ordered)} are allowed")
    planned = []
    for shard in range(shards):
        members = ordered[len(ordered) * shard // shards : len(ordered) * (shard + 1) // shards]
        members += [mask_path(path) for path in members if masks and path.split("/")[1] == GLACIAR]
        planned.append(sorted(members, key=sort_key))
    return planned


def write_split(
    folder: Path, split: str, tiles: Mapping[str, str], source: zipfile.ZipFile, *, masks: bool = True, shards: int = 1
) -> list[WrittenArchive]:
    """Write the archives of a split from another archive's members.

    Args:
        folder: folder of the archives.
        split: name of the split.
        tiles: path of each tile in `source`, by its path in the split. Masks are named after their tiles in both.
        source: archive of the tiles, and of masks.
        masks: whether glaciar tiles have masks.
        shards: number of shards, from 1 to the number of tiles.

    Raises:
        ValueError: `shards` does not fit.
        OSError: an archive cannot be written, or is there already.
    """
    members = dict(tiles) | {mask_path(path): mask_path(before) for path, before in tiles.items()}
    return [
        write_archive(
            folder / archive_name(split, shard, shards), ((path, source.read(members[path])) for path in paths)
        )
        for shard, paths in enumerate(plan_shards(tiles, masks=masks, shards=shards))
    ]


def write_archive(file: Path, members: Iterable[tuple[str, bytes]]) -> WrittenArchive:
    """Write an archive, stored; memory does not grow with it.

    Args:
        file: the archive; it must not be there yet.
        members: path and PNG file of each member, in their order.

    Raises:
        OSError: the archive cannot be written, or is there already.
    """
    tiles = 0
    with zipfile.ZipFile(file, "x") as archive:
        for path, png in members:
            member = zipfile.ZipInfo(path, _EARLIEST_DATE)
            # Each of these would otherwise depend on the system that writes.
            member.create_system, member.external_attr = _UNIX, _MODE << 16
            archive.writestr(member, png)
            tiles += path.split("/")[1] != MASKS
    return WrittenArchive(file.name, tiles, file.stat().st_size, sha256_of_file(file))
