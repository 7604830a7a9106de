"""Find, write and describe folders of archives.

The same tiles give the same bytes on every system: members are stored, ordered by the SHA-256 of
their paths, and carry no date or owner.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rock_glacier_dataset import (
    ARCHIVE_NAME,
    GLACIAR,
    MANIFEST_NAME,
    ArchiveError,
    Fault,
    class_of,
    download_archives,
    locate,
    mask_path,
)

SAMPLE_VERSION = "0.0.0"
"""Version in the manifest of a synthetic sample."""

_EARLIEST_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip archive can hold
_UNIX = 3  # code of the system that a member's file attributes belong to
_FILE_MODE = stat.S_IFREG | 0o644
_COPY_AGAIN = "Copy or download the folder again, or build the archives again"

# Without this file, `datasets` 2.14 to 4.0 load a folder of archives as images of three classes.
_README = """\
---
configs:
- config_name: default
  data_files: "archives of the Rock Glacier dataset: load them with load_archives(data_dir=...)"
---

Archives of the Rock Glacier dataset. Load them with
`rock_glacier_dataset.load_archives(data_dir=...)`.
"""


def archive_name(split: str, shard: int = 0, shards: int = 1) -> str:
    """Return the file name of an archive.

    Example:
        >>> archive_name("train"), archive_name("train", 0, 4)
        ('train.zip', 'train-00000-of-00004.zip')
    """
    if shards == 1:
        return f"{split}.zip"
    return f"{split}-{shard:05d}-of-{shards:05d}.zip"


def sort_key(path: str) -> bytes:
    """Return the SHA-256 of a path, by which members and rows are sorted: it mixes the classes."""
    return hashlib.sha256(path.encode()).digest()


def write_archives(
    folder: Path,
    split: str,
    tiles: Iterable[str],
    read: Callable[[str], bytes],
    *,
    shards: int = 1,
) -> None:
    """Write the archives of a split; memory does not grow with their size.

    Args:
        folder: Folder of the archives.
        split: Name of the split.
        tiles: Paths of the tiles, such as `train/glaciar/007.png`. A `glaciar` tile has a mask.
        read: Function that returns the PNG file of a tile or a mask, given its path.
        shards: Number of archives, at most the number of tiles. A mask is in the same archive as
            its tile.
    """
    ordered = sorted(tiles, key=sort_key)
    for shard in range(shards):
        first = len(ordered) * shard // shards
        last = len(ordered) * (shard + 1) // shards
        members = ordered[first:last]
        members += [mask_path(path) for path in members if class_of(path) == GLACIAR]
        with zipfile.ZipFile(folder / archive_name(split, shard, shards), "x") as archive:
            for path in sorted(members, key=sort_key):
                # These fields would otherwise depend on the system and the time.
                info = zipfile.ZipInfo(path, _EARLIEST_DATE)
                info.create_system = _UNIX
                info.external_attr = _FILE_MODE << 16
                archive.writestr(info, read(path))


def write_manifest(folder: Path, version: str, counts: dict[str, dict[str, int]]) -> None:
    """Write manifest.json, and a README.md that keeps `datasets` from misreading the folder.

    Args:
        folder: Folder of the archives.
        version: Version of the dataset, such as "3.0.0".
        counts: Number of tiles of each class in each split.
    """
    manifest = {"version": version, "splits": counts, "archives": describe_archives(folder)}
    (folder / "README.md").write_text(_README, encoding="utf-8", newline="\n")
    text = json.dumps(manifest, indent=2) + "\n"
    (folder / MANIFEST_NAME).write_text(text, encoding="utf-8", newline="\n")


def describe_archives(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the size in bytes and the SHA-256 of each archive in a folder, by file name."""
    names = sorted(name for name in os.listdir(folder) if ARCHIVE_NAME.fullmatch(name))
    return {
        name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_of_file(folder / name)}
        for name in names
    }


def sha256_of_file(file: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the content of manifest.json, or an empty dictionary if there is no such file.

    Raises:
        ArchiveError: If the file is not a JSON object.
    """
    try:
        manifest = json.loads((folder / MANIFEST_NAME).read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        problem = f"is not a JSON file ({error})"
        raise ArchiveError(
            Fault("manifest-mismatch", MANIFEST_NAME, problem, _COPY_AGAIN)
        ) from None
    if not isinstance(manifest, dict):
        raise ArchiveError(
            Fault("manifest-mismatch", MANIFEST_NAME, "is not a JSON object", _COPY_AGAIN)
        )
    return manifest


def find_manifest_faults(folder: Path, counts: dict[str, dict[str, int]]) -> list[Fault]:
    """Compare a folder of archives with its manifest.json, if it has one.

    Args:
        folder: Folder of the archives.
        counts: Number of tiles of each class in each split of the archives.

    Returns:
        A `manifest-mismatch` for each split and each archive that differs.
    """
    try:
        manifest = read_manifest(folder)
    except ArchiveError as error:
        return [error.fault]
    faults = []
    found: dict[str, dict[str, Any]] = {"splits": counts}
    if "archives" in manifest:
        found["archives"] = describe_archives(folder)
    for key, values in found.items():
        stated = manifest.get(key, values)
        if not isinstance(stated, dict):
            stated = {}
        for name in sorted(values.keys() | stated.keys()):
            if values.get(name) != stated.get(name):
                problem = f"is {values.get(name)}, but {MANIFEST_NAME} says {stated.get(name)}"
                faults.append(Fault("manifest-mismatch", name, problem, _COPY_AGAIN))
    return faults


def is_sample(folder: Path) -> bool:
    """Return whether the manifest of a folder of archives says that its tiles are synthetic."""
    return read_manifest(folder).get("version") == SAMPLE_VERSION


def local_folder(data_dir: str | os.PathLike[str]) -> Path:
    """Return the local folder of some archives; download them if they are on the Hub.

    Args:
        data_dir: A local folder, or `hf://datasets/<repo>[@<revision>]/<folder>`.

    Raises:
        ArchiveError: If there is no such folder, or it holds no archives.
    """
    place = os.fspath(data_dir)
    if place.startswith("hf://"):
        folder = Path(download_archives(place))
    elif "://" in place:
        problem = "is neither a local folder nor an address such as hf://datasets/<repo>/data"
        fault = Fault("archive-unreadable", place, problem, "Copy the archives to a local folder")
        raise ArchiveError(fault)
    else:
        folder = Path(locate(place))
    if not any(ARCHIVE_NAME.fullmatch(name) for name in os.listdir(folder)):
        fix = "Pass the folder that holds train.zip"
        raise ArchiveError(Fault("archive-unreadable", place, "holds no archives", fix))
    return folder
