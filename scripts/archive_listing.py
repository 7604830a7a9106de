"""What stands in a folder of archives: its shards, their tiles and masks by number, and whether the manifest agrees."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import datasets
import numpy as np
from findings import Finding, finding_of, telling

import rock_glacier_dataset
from rock_glacier_dataset import CLASS_NAMES, MANIFEST_NAME, SPLIT_NAMES, ArchiveError, sha256_of_file


class Shard(NamedTuple):
    """One archive of tiles, or one of masks.

    Attributes:
        split: name of the split.
        name: file name.
        members: rows of its members, in the order of the examples; what `rock_glacier_dataset` reads of its directory.
        first: number of its first tile, counting through all shards of tiles; 0 for masks.
    """

    split: str
    name: str
    members: np.ndarray
    first: int = 0

    def part(self, start: int, end: int) -> Shard:
        """Return some of its members, as if it held no others."""
        return self._replace(members=self.members[start:end], first=self.first + start)

    def parts(self, size: int) -> Iterator[Shard]:
        """Cut it into parts of at most so many members."""
        for start in range(0, len(self.members), size):
            yield self.part(start, start + size)


def open_shard(folder: str, shard: Shard) -> Any:
    """Open an archive whose directory was read before."""
    path = rock_glacier_dataset._join(folder, shard.name)
    return rock_glacier_dataset._Archive(
        shard.name, path, shard.split, datasets.DownloadConfig(), members=shard.members
    )


class Listing:
    """The tiles and masks of a folder of archives.

    Args:
        data_dir: the folder, local or a URL.

    Attributes:
        folder: the same, absolute.
        tiles: the shards of tiles that can be read.
        masks: the shards of masks that can be read.
        findings: what is wrong with the archives' directories, and with the pairs of tiles and masks.
        splits: int8 array of shape (tiles,), each tile's place in `SPLIT_NAMES`.
        are_first: bool array of shape (tiles,); whether a tile is the first of its path.

    Raises:
        ArchiveError: there is no such folder, or no archive in it.
    """

    def __init__(self, data_dir: str) -> None:
        self.folder = rock_glacier_dataset._absolute(data_dir)
        self._files = rock_glacier_dataset._list_files(self.folder, datasets.DownloadConfig())
        self._names = sorted(name for name in self._files if rock_glacier_dataset._ARCHIVE_NAME.fullmatch(name))
        if not self._names:
            raise ArchiveError(f"{self.folder}: holds no archives; give the folder that holds train.zip")
        self.findings: list[Finding] = [*self._foreign_archives()]
        self.tiles: list[Shard] = []
        self.masks: list[Shard] = []
        for split in SPLIT_NAMES:
            for tiles, masks in self._shards_of(split):
                self._read(split, tiles, masks)
        self._keys = np.concatenate([np.zeros(0, np.int64), *(shard.members["key"] for shard in self.tiles)])
        sizes = [len(shard.members) for shard in self.tiles]
        self.splits = np.repeat([SPLIT_NAMES.index(shard.split) for shard in self.tiles], sizes).astype(np.int8)
        self.are_first = np.zeros(len(self._keys), bool)
        for place in range(len(SPLIT_NAMES)):
            numbers = np.flatnonzero(self.splits == place)
            self.are_first[numbers[np.unique(self._keys[numbers], return_index=True)[1]]] = True
        self.findings += self._doubled_across_shards()

    def _shards_of(self, split: str) -> Iterator[tuple[str, str | None]]:
        """Yield the archives of a split's tiles, each with the one of their masks, and tell what is missing."""
        with_masks = any("_masks" in name for name in self._names)
        faults = {
            kind: [*rock_glacier_dataset._archive_faults(self._files, split, kind, self.folder)]
            for kind in (("", "_masks") if with_masks else ("",))
        }
        self.findings += map(finding_of, itertools.chain.from_iterable(faults.values()))
        tiles, masks = (rock_glacier_dataset._names_of(self._files, split, kind) for kind in ("", "_masks"))
        if with_masks and not any(faults.values()):
            with telling(self.findings):
                rock_glacier_dataset._find_masks(self._files, split, tiles, self.folder)
        for name in tiles:
            of_masks = name.replace(split, f"{split}_masks", 1)
            yield name, of_masks if of_masks in masks else None

    def _foreign_archives(self) -> Iterator[Finding]:
        """Yield what looks like an archive, and is none that a split is read from."""
        for name in sorted(self._files):
            if name.lower().endswith(".zip") and name not in self._names:
                known = ", ".join(f"{split}.zip" for split in SPLIT_NAMES)
                message = f"{name}: is no archive of a split; name it as one ({known}, ..._masks.zip), or remove it"
                yield Finding("archive-unreadable", "error", name, message)

    def _read(self, split: str, tiles: str, masks: str | None) -> None:
        """Read the directories of an archive of tiles and the one of their masks, and pair them."""

        def tell(fault: ArchiveError) -> None:
            self.findings.append(finding_of(fault))

        opened: dict[str, Any] = {}
        with contextlib.ExitStack() as stack:
            for name in filter(None, (tiles, masks)):
                with telling(self.findings):
                    path = rock_glacier_dataset._join(self.folder, name)
                    archive = rock_glacier_dataset._Archive(name, path, split, datasets.DownloadConfig(), tell)
                    opened[name] = stack.enter_context(archive)
            if masks in opened:
                self.masks.append(Shard(split, str(masks), opened[str(masks)].members))
            if tiles not in opened:
                return
            if not len(opened[tiles].members):
                tell(opened[tiles].fault("holds no tiles", "add them, or build the archives again"))
            if masks in opened:
                rock_glacier_dataset._pair(opened[tiles], opened[str(masks)], tell)
            self.tiles.append(Shard(split, tiles, opened[tiles].members, self.tile_count))

    def _doubled_across_shards(self) -> Iterator[Finding]:
        """Yield the tiles that stand in two shards of their split; within one, the archive tells."""
        for number in np.flatnonzero(~self.are_first).tolist():
            shard = self.shard_of(number)
            with open_shard(self.folder, shard) as archive:
                yield finding_of(archive.doubled_across_shards(int(self._keys[number])))

    @property
    def tile_count(self) -> int:
        """Number of tiles of all shards."""
        return sum(len(shard.members) for shard in self.tiles)

    def shard_of(self, number: int) -> Shard:
        """Return the shard of tiles that a tile stands in."""
        return self.tiles[int(np.searchsorted([shard.first for shard in self.tiles], number, "right")) - 1]

    def path(self, number: int) -> str:
        """Return a tile's path, such as `train/glaciar/12.png`."""
        label, tile_id = divmod(int(self._keys[number]), 10**rock_glacier_dataset._ID_DIGITS)
        return f"{SPLIT_NAMES[self.splits[number]]}/{CLASS_NAMES[label]}/{tile_id}.png"

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of tiles of each split and class."""
        labels = self._keys // 10**rock_glacier_dataset._ID_DIGITS
        return {
            split: {
                name: int(((self.splits == number) & (labels == label)).sum()) for label, name in enumerate(CLASS_NAMES)
            }
            for number, split in enumerate(SPLIT_NAMES)
        }

    def places(self, paths: Iterable[str]) -> dict[str, int]:
        """Return for each path the number of its first tile; -1 for what is no tile of an archive."""
        wanted = dict.fromkeys(paths, -1)
        for number in range(self.tile_count - 1 if wanted else -1, -1, -1):
            path = self.path(number)
            if path in wanted:
                wanted[path] = number
        return wanted

    def manifest_findings(self) -> list[Finding]:
        """Tell what differs from the manifest: sizes and checksums of the archives, and numbers of tiles."""
        found: list[Finding] = []
        manifest: dict[str, Any] = {}
        with telling(found):
            manifest = rock_glacier_dataset._read_manifest(self._files.get(MANIFEST_NAME), datasets.DownloadConfig())
        archives = manifest.get("archives", {})
        for name in self._names:
            with telling(found):
                rock_glacier_dataset._check_sizes(manifest, [name], self._files)
                path = self._files[name].path
                is_local = not rock_glacier_dataset._is_url(path)
                if name in archives and is_local and sha256_of_file(path) != archives[name]["sha256"]:
                    raise rock_glacier_dataset._manifest_fault(name, f"has another SHA-256 than in {MANIFEST_NAME}")
        for name in sorted(archives.keys() - set(self._names)):
            fault = rock_glacier_dataset._manifest_fault(name, f"is in {MANIFEST_NAME}, but not in the folder")
            found.append(finding_of(fault))
        for split, counts in self.counts().items() if "splits" in manifest else ():
            for name, count in counts.items():
                expected = manifest["splits"].get(split, {}).get(name, 0)
                if count != expected:
                    what = f"tells of {expected} {name} tiles in {split}, where there are {count}"
                    found.append(finding_of(rock_glacier_dataset._manifest_fault(MANIFEST_NAME, what)))
        return found
