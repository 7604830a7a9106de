"""List the archives of a folder and their tiles, whatever is wrong with some of them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import fsspec
import numpy as np
import numpy.typing as npt

from rock_glacier.arrays import decode_png
from rock_glacier_dataset import (
    ARCHIVE_NAME,
    CLASS_NAMES,
    GLACIAR,
    MANIFEST_NAME,
    MASKS,
    SPLIT_FOLDERS,
    SPLIT_NAMES,
    ArchiveError,
    TileArchive,
    find_archives,
    manifest_faults,
    name_faults,
    name_of,
    read_manifest,
)


class ListedArchive(NamedTuple):
    """An archive that can be opened: the arguments of `TileArchive`.

    Attributes:
        split: name of the split.
        name: file name.
        path: local path or URL.
    """

    split: str
    name: str
    path: str

    def open(self) -> TileArchive:
        """Open the archive."""
        return TileArchive(*self)


class ListedMember(NamedTuple):
    """A tile or a mask.

    Attributes:
        archive: the archive that it stands in.
        folder: `cordillera`, `glaciar` or `masks`.
        member_id: decimal digits.
        path: such as `val/glaciar/007.png`.
    """

    archive: ListedArchive
    folder: str
    member_id: str
    path: str


class Listing:
    """The archives of a folder, and the tiles in them.

    Args:
        data_dir: the folder, local or a URL.

    Attributes:
        folder: the same, absolute.
        archives: the archives that can be opened.
        tiles: their tiles, in the order in which they stand; one that stands in two shards is listed once.
        masks: their masks, likewise.
        manifest: content of manifest.json; empty where it is missing or damaged.
        has_manifest: whether there is a manifest.json.
        faults: what is wrong with the folder, the names of archives and of members, pairs, and against the manifest.

    Raises:
        ArchiveError: the folder cannot be listed, or holds no archives.
    """

    def __init__(self, data_dir: str | os.PathLike[str]) -> None:
        self.folder = absolute_folder(data_dir)
        self.archives: list[ListedArchive] = []
        self.tiles: list[ListedMember] = []
        self.masks: list[ListedMember] = []
        self.faults: list[ArchiveError] = []
        self.manifest: dict[str, Any] = {}
        self._broken_splits: set[str] = set()
        self._maskless: list[tuple[ListedArchive, list[ArchiveError]]] = []
        files = find_archives(self.folder)
        self.has_manifest = bool(files[MANIFEST_NAME])
        if not any(files[split] for split in SPLIT_NAMES):
            raise ArchiveError(f"{self.folder}: holds no archives; give the folder that holds train.zip")
        try:
            self.manifest = read_manifest(files)
        except ArchiveError as fault:
            self.faults.append(fault)
        self.faults += self._foreign_archives()
        for split in SPLIT_NAMES:
            self._list_split(split, list(files[split]))
        for archive, faults in self._maskless:
            remedy = "add them, or load image-classification alone"
            one = archive_fault(archive.name, f"holds no masks; {remedy}", "mask-missing")
            self.faults += faults if self.masks else [one] if faults else []
        self.faults += self._manifest_faults({name_of(url): url for split in SPLIT_NAMES for url in files[split]})

    def _manifest_faults(self, paths: dict[str, str]) -> Iterable[ArchiveError]:
        """Yield what differs from the manifest, but for tiles of splits that are not whole, and for remote archives."""
        manifest = dict(self.manifest)
        if "://" in self.folder:
            manifest.pop("archives", None)
        if isinstance(splits := manifest.get("splits"), dict):
            manifest["splits"] = {split: counts for split, counts in splits.items() if split not in self._broken_splits}
        counts = {split: count for split, count in self.counts().items() if split not in self._broken_splits}
        return manifest_faults(manifest, counts, paths)

    def _foreign_archives(self) -> Iterable[ArchiveError]:
        """Yield the zip archives that no split is read from."""
        system, root = fsspec.core.url_to_fs(self.folder)
        names = sorted(os.path.basename(path.rstrip("/")) for path in system.ls(root, detail=False))
        for name in names:
            if name.lower().endswith(".zip") and not ARCHIVE_NAME.fullmatch(name):
                known = ", ".join(f"{split}.zip" for split in SPLIT_NAMES)
                yield archive_fault(name, f"is no archive of a split; name it as one ({known}), or remove it")

    def _list_split(self, split: str, urls: list[str]) -> None:
        of_names = list(name_faults(split, [*map(name_of, urls)], self.folder))
        self.faults += of_names
        unexpected = {fault.path for fault in of_names}
        known: set[tuple[str, str]] = set()
        if of_names:
            self._broken_splits.add(split)
        for url in urls:
            if name_of(url) in unexpected:
                continue
            listed = ListedArchive(split, name_of(url), url)
            try:
                with listed.open() as archive:
                    self._list_archive(listed, archive, known)
            except ArchiveError as fault:
                self.faults.append(fault)
                self._broken_splits.add(split)

    def _list_archive(self, listed: ListedArchive, archive: TileArchive, known: set[tuple[str, str]]) -> None:
        self.archives.append(listed)
        self.faults += archive.faults
        if any(folder == MASKS for folder, _ in archive.members):
            self.faults += archive.pair_faults()
        else:
            self._maskless.append((listed, list(archive.pair_faults())))
        for folder, member_id in archive.members:
            path = archive.path_of(folder, member_id)
            if (folder, member_id) in known:
                fault = archive.fault("stands in another shard too", "remove one", "member-duplicate", path)
                self.faults.append(fault)
                continue
            known.add((folder, member_id))
            members = self.masks if folder == MASKS else self.tiles
            members.append(ListedMember(listed, folder, member_id, path))

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of tiles in each split and class."""
        found = {split: dict.fromkeys(CLASS_NAMES, 0) for split in SPLIT_NAMES}
        for tile in self.tiles:
            found[tile.archive.split][tile.folder] += 1
        return found


def open_members(members: Iterable[ListedMember]) -> Iterator[tuple[TileArchive, ListedMember]]:
    """Yield members, each with its archive open; those of an archive are to follow one another."""
    for listed, of_archive in itertools.groupby(members, key=lambda member: member.archive):
        with listed.open() as archive:
            for member in of_archive:
                yield archive, member


def decode_member(archive: TileArchive, member: ListedMember) -> npt.NDArray[np.uint8]:
    """Read and decode a tile or a mask.

    Returns:
        uint8 array of shape (128, 128, 4), values in [0, 255].

    Raises:
        ArchiveError: it is damaged, or of another format.
    """
    png = archive.read(member.folder, member.member_id)
    try:
        return decode_png(png)
    except ValueError as error:
        what, remedy = f"cannot be decoded ({error})", "replace it, or copy or download the archive again"
        raise archive.fault(what, remedy, "png-corrupt", member.path) from None


def tile_path(member: ListedMember) -> str:
    """Return the path of a tile, or of the tile that a mask belongs to."""
    return member.path.replace(f"/{MASKS}/", f"/{GLACIAR}/")


def absolute_folder(data_dir: str | os.PathLike[str]) -> str:
    """Return a local folder's absolute path; a URL as it is."""
    folder = os.path.expanduser(os.fspath(data_dir))
    return folder if "://" in folder else os.path.abspath(folder)


def split_of(path: str) -> str | None:
    """Return the split of a tile's path, or of an archive's name; None where it has none.

    Example:
        >>> split_of("val/glaciar/007.png"), split_of("test-00000-of-00002.zip"), split_of("other.zip")
        ('validation', 'test', None)
    """
    archive = ARCHIVE_NAME.fullmatch(path)
    stem = archive[1] if archive else path.split("/")[0]
    return next((split for split, stems in SPLIT_FOLDERS.items() if stem in stems), None)


def archive_fault(name: str, what: str, code: str = "archive-unreadable") -> ArchiveError:
    """Make the error that says what is wrong with an archive as a whole."""
    return ArchiveError(f"{name}: {what}", code, name)
