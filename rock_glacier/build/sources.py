"""Find tiles and their masks: PNG files in folders, or members of archives.

In folders, the class of a tile is the name of a folder or the beginning of the file's name, and its
split is the name of a folder. Masks are in a folder `masks` or in a folder of their own. A mask is
named like its tile, with or without `_m` at the end. A file that does not fit is a fault: no tile
is lost silently.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from rock_glacier.faults import InputError, raise_faults
from rock_glacier_dataset import (
    ARCHIVE_NAME,
    CLASS_NAMES,
    GLACIAR,
    MASKS,
    SPLIT_FOLDERS,
    ArchiveReader,
    Fault,
    class_of,
    find_archive_faults,
    find_archives,
    is_ignored,
    locate,
    mask_path,
)

_SPLIT_OF_FOLDER = {folder: split for split, folders in SPLIT_FOLDERS.items() for folder in folders}


@dataclass(frozen=True)
class PngFile:
    """A PNG file below a folder, or a member of an archive.

    Attributes:
        root: The folder, or the archive.
        name: Path below the folder, with "/" between folders, or path of the member.
        archive_split: Split of the archive, or None for a file below a folder.
    """

    root: Path
    name: str
    archive_split: str | None = None

    @property
    def place(self) -> str:
        """The file or member, as faults name it."""
        if self.archive_split:
            return f"{self.root.name}: {self.name}"
        return str(self.root / self.name)

    @property
    def path(self) -> PurePosixPath:
        """The name with composed letters: macOS stores letters and accents separately."""
        return PurePosixPath(unicodedata.normalize("NFC", self.name))


@dataclass(frozen=True)
class Source:
    """A tile to build from.

    Attributes:
        name: Path below the folder of tiles, or archive and path in it.
        label: Name of the class.
        split: Split named by a folder or the archive, or None.
        tile: The tile.
        mask: The mask, or None for a tile without one.
    """

    name: str
    label: str
    split: str | None
    tile: PngFile
    mask: PngFile | None = None


def find_sources(
    tiles: Path, masks: Path | None = None, prefixes: Mapping[str, str] | None = None
) -> list[Source]:
    """Find tiles and their masks.

    Args:
        tiles: Folder of tiles, with or without masks in folders `masks`; or folder of archives.
        masks: Folder of masks, if they are not below `tiles`.
        prefixes: Class by prefix, for files whose names begin with it and folders of this name. The
            longest prefix counts. By default, the name of a class is a prefix of it.

    Returns:
        The tiles by class, then in natural order of their names: `tile_2` before `tile_10`. Each
        glaciar tile has a mask.

    Raises:
        ArchiveError: If files or archives have a fault.
        InputError: If there are no tiles, or an option does not fit archives.
        OSError: If a folder cannot be listed.
    """
    if any(ARCHIVE_NAME.fullmatch(name) for name in os.listdir(tiles)):
        if masks or prefixes:
            raise InputError(f"{tiles}: holds archives. Remove the options --masks and --class.")
        sources = _find_in_archives(tiles)
    else:
        sources = _find_in_folders(tiles, masks, prefixes or {})
    if not sources:
        raise InputError(f"{tiles}: holds no tiles. Give the folder that holds tiles or archives.")
    return sorted(
        sources, key=lambda source: (CLASS_NAMES.index(source.label), _natural_key(source.name))
    )


def _find_in_archives(folder: Path) -> list[Source]:
    sources = []
    faults = []
    for split, archives in find_archives(locate(folder)).items():
        names = [os.path.basename(archive) for archive in archives]
        faults += find_archive_faults(split, names, str(folder))
        for archive in archives:
            with ArchiveReader(split, archive) as reader:
                faults += reader.faults + reader.find_pair_faults()
            for member in reader.tiles:
                tile = PngFile(Path(archive), member, split)
                mask = None
                if class_of(member) == GLACIAR:
                    mask = replace(tile, name=mask_path(member))
                sources.append(Source(tile.place, class_of(member), split, tile, mask))
    raise_faults(faults)
    return sources


def _find_in_folders(
    folder: Path, mask_folder: Path | None, prefixes: Mapping[str, str]
) -> list[Source]:
    classes = {name: name for name in CLASS_NAMES}
    for prefix, label in prefixes.items():
        classes[unicodedata.normalize("NFC", prefix)] = label
    faults: list[Fault] = []
    tiles = []
    masks = []
    for png in _list_pngs(folder, mask_folder, faults):
        if MASKS in png.path.parts[:-1]:
            masks.append(png)
        else:
            tiles.append(png)
    if mask_folder is not None:
        masks += _list_pngs(mask_folder, None, faults)
    sources = [_make_source(tile, classes, faults) for tile in tiles]
    raise_faults(faults)
    sources = _add_masks(sources, masks, classes, faults)
    raise_faults(faults)
    return sources


def _list_pngs(folder: Path, excluded: Path | None, faults: list[Fault]) -> list[PngFile]:
    """List the PNG files below a folder; links to folders are followed.

    Args:
        folder: The folder.
        excluded: Folder below it that is not listed, or None.
        faults: A fault is added for each file of another kind.
    """
    pngs = []
    for directory, _, names in os.walk(folder, onerror=_raise, followlinks=True):
        if excluded and Path(directory).resolve().is_relative_to(excluded.resolve()):
            continue
        for name in names:
            png = PngFile(folder, Path(directory, name).relative_to(folder).as_posix())
            if is_ignored(png.name):
                continue
            if name.lower().endswith(".png"):
                pngs.append(png)
            else:
                fix = "Move it to another folder, or save it as PNG if it is a tile or a mask"
                faults.append(Fault("member-name", png.place, "is not a PNG file", fix))
    return sorted(pngs, key=lambda png: png.name)


def _raise(error: OSError) -> None:
    raise error


def _make_source(tile: PngFile, classes: Mapping[str, str], faults: list[Fault]) -> Source:
    """Find the class and the split of a tile; if the class is not clear, add a fault."""
    labels = _labels_of(tile, classes)
    prefixes = [prefix for prefix in classes if tile.path.name.startswith(prefix)]
    if prefixes:
        labels.add(classes[max(prefixes, key=len)])
    if not labels:
        beginning = re.split(r"[_0-9]", tile.path.stem)[0] or tile.path.stem
        problem = f"neither its folders nor its name begin with {' or '.join(sorted(classes))}"
        fix = f"Give its class: --class {beginning}=CLASS, with {' or '.join(CLASS_NAMES)}"
        faults.append(Fault("member-name", tile.place, problem, fix))
    elif len(labels) > 1:
        problem = f"its folders and its name say {' and '.join(sorted(labels))}"
        faults.append(Fault("member-name", tile.place, problem, "Move or rename it"))
    return Source(tile.name, min(labels, default=""), _split_of(tile), tile)


def _labels_of(png: PngFile, classes: Mapping[str, str]) -> set[str]:
    """Return the classes that are named by the folders of a file."""
    return {classes[folder] for folder in png.path.parts[:-1] if folder in classes}


def _split_of(png: PngFile) -> str | None:
    """Return the split that is named by a folder of a file, or None."""
    for folder in png.path.parts[:-1]:
        if folder in _SPLIT_OF_FOLDER:
            return _SPLIT_OF_FOLDER[folder]
    return None


def _add_masks(
    sources: Sequence[Source],
    masks: Iterable[PngFile],
    classes: Mapping[str, str],
    faults: list[Fault],
) -> list[Source]:
    """Return the sources with their masks."""
    by_stem: dict[str, list[Source]] = {}
    for source in sources:
        by_stem.setdefault(source.tile.path.stem, []).append(source)
    mask_of: dict[str, PngFile] = {}
    for mask in masks:
        candidates = by_stem.get(mask.path.stem.removesuffix("_m"), [])
        fitting = _find_fitting(mask, candidates, classes)
        if not fitting:
            fix = "Remove it, or add its tile"
            faults.append(Fault("mask-orphan", mask.place, "no tile has its name", fix))
        elif len(fitting) > 1:
            problem = f"fits several tiles, {fitting[0].name} and {fitting[1].name}"
            fix = "Put masks into folders with the names of the folders of the tiles"
            faults.append(Fault("mask-orphan", mask.place, problem, fix))
        elif fitting[0].name in mask_of:
            problem = f"is a second mask of {fitting[0].name}"
            faults.append(Fault("member-duplicate", mask.place, problem, "Remove one"))
        else:
            mask_of[fitting[0].name] = mask
    for source in sources:
        if source.label == GLACIAR and source.name not in mask_of:
            fix = "Add its mask (--masks), or make it a cordillera tile"
            faults.append(Fault("mask-missing", source.tile.place, "has no mask", fix))
    return [replace(source, mask=mask_of.get(source.name)) for source in sources]


def _find_fitting(
    mask: PngFile, sources: Iterable[Source], classes: Mapping[str, str]
) -> list[Source]:
    """Return the tiles whose class and split do not contradict the folders of a mask."""
    labels = _labels_of(mask, classes)
    split = _split_of(mask)
    fitting = [
        source for source in sources if labels <= {source.label} and split in (None, source.split)
    ]
    # The curators give tiles of both classes the same names.
    return [source for source in fitting if source.label == GLACIAR] or fitting


def _natural_key(name: str) -> list[list[str | int]]:
    """Return a sort key that puts `tile_2` before `tile_10`."""
    return [
        [int(part) if part.isdecimal() else part for part in re.split("([0-9]+)", folder)]
        for folder in unicodedata.normalize("NFC", name).split("/")
    ]
