"""Decode a folder of archives once, into a table and arrays that everything else works on."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rock_glacier.archives import find_manifest_faults, local_folder
from rock_glacier.masks import mask_to_class_indices
from rock_glacier.parallel import Workers, cut_ranges
from rock_glacier.png import decode_tile
from rock_glacier_dataset import (
    ARCHIVE_NAME,
    CLASS_NAMES,
    GLACIAR,
    SPLIT_NAMES,
    TILE_SIZE,
    ArchiveError,
    ArchiveReader,
    Fault,
    class_of,
    find_archive_faults,
    find_archives,
    mask_path,
)

_IMAGE_SHAPE = (TILE_SIZE, TILE_SIZE, 4)
_MASK_SHAPE = (TILE_SIZE, TILE_SIZE)
_BYTES_PER_TILE = TILE_SIZE * TILE_SIZE * 5  # four channels and the mask


@dataclass(frozen=True)
class ArrayFiles:
    """The files of the decoded tiles, for worker processes.

    Attributes:
        images: Raw file of the images.
        masks: Raw file of the masks.
        tiles: Number of tiles.
    """

    images: Path
    masks: Path
    tiles: int

    def open_images(self) -> npt.NDArray[np.uint8]:
        """Map the images: uint8 of shape (tiles, 128, 128, 4)."""
        return _map(self.images, (self.tiles, *_IMAGE_SHAPE))

    def open_masks(self) -> npt.NDArray[np.uint8]:
        """Map the masks: uint8 of shape (tiles, 128, 128)."""
        return _map(self.masks, (self.tiles, *_MASK_SHAPE))


@dataclass(frozen=True)
class TileSet:
    """The tiles of a folder of archives, decoded; a context manager that removes its scratch files.

    Attributes:
        folder: Local folder of the archives.
        table: A row for each tile that could be decoded, in the order of splits and members. Its
            index counts from 0. Columns: `path`, `split`, `label` (class name), `archive` (file
            name), `has_mask` (bool), `mask_share` (float32, share of the tile that is masked).
        files: Scratch files that hold the arrays.
        counts: Number of tiles of each class in each split, faulty ones included.
        faults: Faults of the archives, their members, PNG files, masks and the manifest.
    """

    folder: Path
    table: pd.DataFrame
    files: ArrayFiles
    counts: dict[str, dict[str, int]]
    faults: list[Fault]
    _scratch: tempfile.TemporaryDirectory[str] = field(repr=False)

    @classmethod
    def read(cls, data_dir: str | os.PathLike[str], workers: Workers | None = None) -> TileSet:
        """Decode and check every tile and mask of a folder of archives.

        The arrays are files in the folder for temporary files; they take 80 KiB per tile. Memory
        does not grow with the number of tiles.

        Args:
            data_dir: Folder of archives, local or `hf://datasets/<repo>[@<revision>]/<folder>`.
            workers: Processes to use. Default: one for each core.

        Raises:
            ArchiveError: If the folder does not exist or holds no archives. All other faults are
                in `faults`.
            OSError: If the disk has no room for the arrays.
        """
        workers = workers or Workers()
        folder = local_folder(data_dir)
        listing = _Listing(folder)
        check_scratch_space(len(listing.tiles) * _BYTES_PER_TILE)
        scratch = tempfile.TemporaryDirectory(prefix="rock-glacier-", ignore_cleanup_errors=True)
        files = ArrayFiles(
            Path(scratch.name, "images"), Path(scratch.name, "masks"), len(listing.tiles)
        )
        for file in (files.images, files.masks):
            file.touch()
        ranges = cut_ranges(len(listing.tiles), workers.parts)
        tasks = [(files, first, listing.tiles[first:end]) for first, end in ranges]
        decoded: list[_DecodedTile] = []
        faults = listing.faults
        for part in workers.map(_decode_tiles, tasks, "Decoding tiles"):
            decoded += part
        for tile in decoded:
            faults += tile.faults
        table = pd.DataFrame(
            {
                "path": pd.array([tile.path for tile in listing.tiles], "string"),
                "split": pd.array([tile.split for tile in listing.tiles], "string"),
                "label": pd.array([class_of(tile.path) for tile in listing.tiles], "string"),
                "archive": pd.array([tile.archive.name for tile in listing.tiles], "string"),
                "has_mask": np.array([tile.has_mask for tile in decoded], bool),
                "mask_share": np.array([tile.mask_share for tile in decoded], np.float32),
            }
        )
        is_readable = np.array([tile.is_readable for tile in decoded], bool)
        if not is_readable.all():
            files = _drop_rows(files, np.flatnonzero(is_readable))
            table = table[is_readable].reset_index(drop=True)
        return cls(folder, table, files, listing.counts, faults, scratch)

    @property
    def images(self) -> npt.NDArray[np.uint8]:
        """RGBA as uint8 of shape (tiles, 128, 128, 4), mapped from a file."""
        return self.files.open_images()

    @property
    def masks(self) -> npt.NDArray[np.uint8]:
        """uint8 array of shape (tiles, 128, 128), mapped from a file: 1 is rock glacier.

        The mask of a `cordillera` tile, and a mask that is missing or faulty, is all 0.
        """
        return self.files.open_masks()

    def __len__(self) -> int:
        return len(self.table)

    def __enter__(self) -> TileSet:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._scratch.cleanup()


@dataclass(frozen=True)
class _ListedTile:
    """A tile in an archive.

    Attributes:
        path: Path of the tile, such as `train/glaciar/007.png`.
        split: Split of the archive.
        archive: Path of the archive.
        has_mask: Whether the archive has the mask of the tile.
    """

    path: str
    split: str
    archive: Path
    has_mask: bool


@dataclass(frozen=True)
class _DecodedTile:
    """The result of decoding a tile; see `TileSet`."""

    is_readable: bool
    has_mask: bool
    mask_share: float
    faults: list[Fault]


class _Listing:
    """The tiles in a folder of archives, found without reading the members.

    Attributes:
        tiles: The tiles, in the order of splits, archives and members.
        counts: Number of tiles of each class in each split.
        faults: Faults of archives, names, missing masks or tiles, and the manifest.
    """

    def __init__(self, folder: Path) -> None:
        self.tiles: list[_ListedTile] = []
        self.counts = {split: dict.fromkeys(CLASS_NAMES, 0) for split in SPLIT_NAMES}
        self.faults = _find_foreign_archives(folder)
        is_complete = True
        for split, archives in find_archives(str(folder)).items():
            names = [os.path.basename(archive) for archive in archives]
            set_faults = find_archive_faults(split, names, str(folder))
            self.faults += set_faults
            is_complete = is_complete and not set_faults
            known: set[str] = set()
            for archive in archives:
                is_readable = self._list_archive(split, Path(archive), known)
                is_complete = is_complete and is_readable
        if is_complete:
            self.faults += find_manifest_faults(folder, self.counts)

    def _list_archive(self, split: str, archive: Path, known: set[str]) -> bool:
        """List the tiles of an archive that are not known yet; return whether it can be read."""
        try:
            reader = ArchiveReader(split, str(archive))
        except ArchiveError as error:
            self.faults.append(error.fault)
            return False
        with reader:
            self.faults += reader.faults
            self.faults += reader.find_pair_faults()
            for path in reader.tiles:
                if path in known:
                    place = f"{archive.name}: {path}"
                    problem = "is also in another archive of the split"
                    self.faults.append(Fault("member-duplicate", place, problem, "Remove one"))
                    continue
                known.add(path)
                self.counts[split][class_of(path)] += 1
                has_mask = class_of(path) == GLACIAR and mask_path(path) in reader.members
                self.tiles.append(_ListedTile(path, split, archive, has_mask))
        return True


def _find_foreign_archives(folder: Path) -> list[Fault]:
    """Return a fault for each zip archive that does not belong to a split."""
    fix = "Rename it to train.zip, validation.zip or test.zip, or remove it"
    return [
        Fault("archive-unreadable", name, "is not named like the archive of a split", fix)
        for name in sorted(os.listdir(folder))
        if name.lower().endswith(".zip") and not ARCHIVE_NAME.fullmatch(name)
    ]


def check_scratch_space(needed: int) -> None:
    """Check that the folder for temporary files has room for scratch files.

    Args:
        needed: Size of the files in bytes.

    Raises:
        OSError: If there is not enough free space.
    """
    place = tempfile.gettempdir()
    free = shutil.disk_usage(place).free
    if needed > free:
        problem = f"scratch files need {needed / 1e9:.1f} GB, but only {free / 1e9:.1f} GB is free"
        fix = "Free some space, or set TMPDIR to a folder on a larger disk"
        raise OSError(errno.ENOSPC, f"{problem}. {fix}", place)


def _decode_tiles(files: ArrayFiles, first: int, tiles: list[_ListedTile]) -> list[_DecodedTile]:
    """Decode tiles and write them into the files, from row `first` on."""
    # Write to the files: on a full disk, assigning to a mapped array would kill the process.
    with files.images.open("r+b") as images, files.masks.open("r+b") as masks:
        images.seek(first * int(np.prod(_IMAGE_SHAPE)))
        masks.seek(first * int(np.prod(_MASK_SHAPE)))
        decoded = []
        for reader, tile in _open(tiles):
            faults: list[Fault] = []
            image = _read_image(reader, tile, faults)
            mask = _read_mask(reader, tile, faults)
            is_readable = image is not None
            if image is None:
                image = np.zeros(_IMAGE_SHAPE, np.uint8)
            has_mask = mask is not None
            if mask is None:
                mask = np.zeros(_MASK_SHAPE, np.uint8)
            images.write(image.data)
            masks.write(mask.data)
            decoded.append(_DecodedTile(is_readable, has_mask, float(mask.mean()), faults))
    return decoded


def _open(tiles: Iterable[_ListedTile]) -> Iterator[tuple[ArchiveReader, _ListedTile]]:
    """Yield each tile with the reader of its archive; each archive is opened once."""
    for archive, group in itertools.groupby(tiles, key=lambda tile: (tile.split, tile.archive)):
        split, file = archive
        with ArchiveReader(split, str(file)) as reader:
            for tile in group:
                yield reader, tile


def _read_image(
    reader: ArchiveReader, tile: _ListedTile, faults: list[Fault]
) -> npt.NDArray[np.uint8] | None:
    """Return the pixels of a tile, or None if it is faulty."""
    try:
        return decode_tile(reader.read(tile.path), f"{reader.name}: {tile.path}")
    except ArchiveError as error:
        faults.append(error.fault)
        return None


def _read_mask(
    reader: ArchiveReader, tile: _ListedTile, faults: list[Fault]
) -> npt.NDArray[np.uint8] | None:
    """Return a mask as class indices, or None if the tile has none or the mask is faulty."""
    if not tile.has_mask:
        return None
    path = mask_path(tile.path)
    place = f"{reader.name}: {path}"
    try:
        mask = mask_to_class_indices(decode_tile(reader.read(path), place, "mask-format"))
    except ArchiveError as error:
        faults.append(error.fault)
        return None
    except ValueError as error:
        fix = "Use only these two colours, or convert greys with `build`"
        faults.append(Fault("mask-values", place, str(error), fix))
        return None
    if not mask.any():
        fix = "Draw the rock glacier white, or move the tile to cordillera"
        faults.append(Fault("mask-empty", place, "shows no rock glacier", fix))
    return mask


def _drop_rows(files: ArrayFiles, kept: npt.NDArray[np.intp]) -> ArrayFiles:
    """Move the rows that are kept to the beginning of the files."""
    for file, shape in ((files.images, _IMAGE_SHAPE), (files.masks, _MASK_SHAPE)):
        array = _map(file, (files.tiles, *shape), "r+")
        for row, source in enumerate(kept):
            array[row] = array[source]
    return ArrayFiles(files.images, files.masks, len(kept))


def _map(file: Path, shape: tuple[int, ...], mode: Any = "r") -> npt.NDArray[np.uint8]:
    if shape[0] == 0:  # an empty file cannot be mapped
        return np.zeros(shape, np.uint8)
    return np.memmap(file, np.uint8, mode, shape=shape)
