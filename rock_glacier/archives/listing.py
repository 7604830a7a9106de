"""List the archives of a folder and their tiles, and collect the faults of both."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import numpy as np
import numpy.typing as npt

from rock_glacier.arrays import decode_png
from rock_glacier_dataset import (
    ARCHIVE_NAME,
    CLASS_NAMES,
    GLACIAR,
    MASKS,
    SPLIT_FOLDERS,
    SPLIT_NAMES,
    ArchiveError,
    TileArchive,
    find_archives,
    locate,
    manifest_faults,
    name_faults,
    name_of,
    read_manifest,
)


class ListedArchive(NamedTuple):
    """An archive: the split, the file name, and the local path or URL."""

    split: str
    name: str
    path: str

    def open(self) -> TileArchive:
        """Open the archive."""
        return TileArchive(*self)


class ListedMember(NamedTuple):
    """A tile or a mask: its archive, folder (a class or `masks`), id, and path, such as `val/glaciar/007.png`."""

    archive: ListedArchive
    folder: str
    member_id: str
    path: str


class Listing:
    """The archives of a folder, local or a URL, and the tiles and masks in them.

    Attributes:
        folder: absolute path or URL of the folder; on the Hub, at a commit.
        tiles: the tiles, in the order in which they stand; one that stands in two shards is listed once.
        masks: the masks, likewise.
        manifest: content of manifest.json; empty where it is missing or damaged.
        faults: what is wrong with the archives, their names, their members' names, pairs, and against the manifest.

    Raises:
        ArchiveError: the folder cannot be listed, or holds no archives.
    """

    def __init__(self, data_dir: str | os.PathLike[str]) -> None:
        self.folder = locate(data_dir)
        self.tiles: list[ListedMember] = []
        self.masks: list[ListedMember] = []
        self.manifest: dict[str, Any] = {}
        files = find_archives(self.folder)
        archives = [ListedArchive(split, name_of(url), url) for split in SPLIT_NAMES for url in files[split]]
        if not archives:
            check_folder(self.folder)
            raise ArchiveError(f"{self.folder}: holds no archives; give the folder that holds train.zip")
        self.faults = list(self._foreign_archives())
        self._pair_faults: dict[str, list[ArchiveError]] = {}
        in_doubt = set()  # splits of which not every archive can be read
        for split in SPLIT_NAMES:
            unread = self._list_split(split, [one for one in archives if one.split == split])
            self.faults += unread
            in_doubt |= {split} if unread else set()
        for name, faults in self._pair_faults.items():
            what = "holds no masks; add them, or load image-classification alone"
            no_masks = [ArchiveError(f"{name}: {what}", "mask-missing", name)] if faults else []
            self.faults += faults if self.masks else no_masks
        try:
            self.manifest = read_manifest(files)
        except ArchiveError as fault:
            self.faults.append(fault)
        # Archives at a URL are not fetched for their checksums.
        manifest = {key: self.manifest[key] for key in self.manifest if key != "archives" or "://" not in self.folder}
        against = manifest_faults(manifest, self.counts(), {one.name: one.path for one in archives})
        self.faults += (fault for fault in against if fault.path not in in_doubt)

    def _foreign_archives(self) -> Iterator[ArchiveError]:
        """Yield the zip archives that no split is read from."""
        system, root = fsspec.core.url_to_fs(self.folder)
        for name in sorted(os.path.basename(path.rstrip("/")) for path in system.ls(root, detail=False)):
            if name.lower().endswith(".zip") and not ARCHIVE_NAME.fullmatch(name):
                what = "is no archive of a split; name it train.zip, val.zip or test.zip, or remove it"
                yield ArchiveError(f"{name}: {what}", path=name)

    def _list_split(self, split: str, archives: list[ListedArchive]) -> list[ArchiveError]:
        """List the archives of a split, and return why some of them cannot be read."""
        faults = list(name_faults(split, [one.name for one in archives], self.folder))
        rejected = {fault.path for fault in faults}
        known: set[tuple[str, str]] = set()
        for listed in archives:
            if listed.name not in rejected:
                try:
                    self._list_archive(listed, known)
                except ArchiveError as fault:
                    faults.append(fault)
        return faults

    def _list_archive(self, listed: ListedArchive, known: set[tuple[str, str]]) -> None:
        with listed.open() as archive:
            self.faults += archive.faults
            self._pair_faults[listed.name] = list(archive.pair_faults())
            for key in archive.members:
                path = archive.path_of(*key)
                if key in known:
                    fault = archive.fault("is in another shard too", "remove one", "member-duplicate", path)
                    self.faults.append(fault)
                else:
                    (self.masks if key[0] == MASKS else self.tiles).append(ListedMember(listed, *key, path))
            known.update(archive.members)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of tiles in each split and class."""
        found = {split: dict.fromkeys(CLASS_NAMES, 0) for split in SPLIT_NAMES}
        for tile in self.tiles:
            found[tile.archive.split][tile.folder] += 1
        return found


def archives_near(folder: str | os.PathLike[str]) -> Path | None:
    """Return the folder that holds archives: this one, which is local, one below it, or that beside a staged card's."""
    of_card = ["../script/data/*.zip"] if Path(folder).resolve().name == "main" else []
    patterns = ("*.zip", "*/*.zip", "*/*/*.zip", *of_card)
    found = (path for pattern in patterns for path in Path(folder).glob(pattern))
    return next((Path(os.path.normpath(path.parent)) for path in found if ARCHIVE_NAME.fullmatch(path.name)), None)


def check_folder(data_dir: str | os.PathLike[str]) -> None:
    """Check that a folder of archives, if it is local, holds any; `load_archives` would miss the first split's.

    Raises:
        ArchiveError: it holds none; says where they are if they are near, or what it holds.
    """
    folder = Path(data_dir).expanduser()
    near = archives_near(folder)
    if "://" in os.fspath(data_dir) or not folder.is_dir() or (near and near.samefile(folder)):
        return
    what = "holds no archives; give the folder that holds train.zip"
    if near:
        what = f"holds no archives; they are in {near}; give that folder"
    elif any(next(folder.glob(pattern), None) for pattern in ("*.png", "*/*.png", "*/*/*.png")):
        what = "holds PNG files and no archives; make archives of them with build_archives.py"
    raise ArchiveError(f"{data_dir}: {what}")


def open_members(members: Iterable[ListedMember]) -> Iterator[tuple[TileArchive, ListedMember]]:
    """Yield members, each with its archive open; those of an archive are to follow one another."""
    for listed, of_archive in itertools.groupby(members, key=lambda member: member.archive):
        with listed.open() as archive:
            for member in of_archive:
                yield archive, member


def decode_member(archive: TileArchive, folder: str, member_id: str) -> npt.NDArray[np.uint8]:
    """Read and decode a tile or a mask.

    Returns:
        uint8 array of shape (128, 128, 4), values in [0, 255].

    Raises:
        ArchiveError: it is damaged, or of another format.
    """
    png = archive.read(folder, member_id)
    try:
        return decode_png(png)
    except ValueError as error:
        what, remedy = f"cannot be decoded ({error})", "replace it, or copy or download the archive again"
        raise archive.fault(what, remedy, "png-corrupt", archive.path_of(folder, member_id)) from None


def tile_path(member: ListedMember) -> str:
    """Return the path of a tile, or of the tile that a mask belongs to."""
    return member.path.replace(f"/{MASKS}/", f"/{GLACIAR}/")


def split_of(path: str) -> str | None:
    """Return the split of a tile's path, or of an archive's name; None where it has none.

    Example:
        >>> split_of("val/glaciar/007.png"), split_of("test-00000-of-00002.zip"), split_of("other.zip")
        ('validation', 'test', None)
    """
    archive = ARCHIVE_NAME.fullmatch(path)
    stem = archive[1] if archive else path.split("/")[0]
    return next((split for split, stems in SPLIT_FOLDERS.items() if stem in stems), None)
