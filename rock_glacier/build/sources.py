"""Find tiles and their masks: PNG files in folders, or members of archives.

In folders, the class of a tile is the name of a folder or the beginning of the file's name, and its
split is the name of a folder. Masks are in a folder `masks` or in a folder of their own. A mask is
named like its tile, with or without `mask_` before it or `_m` behind it. A file that does not fit
is a fault, so that no tile is lost silently.
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
    ArchiveError,
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
    """A PNG file in a folder, or in an archive.

    Attributes:
        file: The PNG file, or the archive.
        split: Split of the archive.
        member: Path in the archive; empty for a file in a folder.
    """

    file: Path
    split: str = ""
    member: str = ""

    @property
    def place(self) -> str:
        """Where the file is, as faults state it."""
        if self.member:
            return f"{self.file.name}: {self.member}"
        return str(self.file)


@dataclass(frozen=True)
class Source:
    """A tile to build from.

    Attributes:
        name: Path in the folder of tiles, or archive and path in it.
        label: Name of the class.
        split: Split that a folder or the archive names, or None.
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
        prefixes: Class of the files whose names begin so, and of the folders of this name. The
            longest prefix counts. Names of classes are prefixes of their own.

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
        faults += find_archive_faults(
            split, [os.path.basename(path) for path in archives], str(folder)
        )
        known: set[str] = set()
        for archive in archives:
            members = _list_members(split, archive, faults)
            for member in members:
                tile = PngFile(Path(archive), split, member)
                if member in known:
                    problem = "is also in another archive of the split"
                    faults.append(Fault("member-duplicate", tile.place, problem, "Remove one"))
                known.add(member)
                mask = None
                if class_of(member) == GLACIAR:
                    mask = replace(tile, member=mask_path(member))
                sources.append(Source(tile.place, class_of(member), split, tile, mask))
    raise_faults(faults)
    return sources


def _list_members(split: str, archive: str, faults: list[Fault]) -> list[str]:
    """Return the paths of an archive's tiles."""
    try:
        with ArchiveReader(split, archive) as reader:
            faults += reader.faults + reader.find_pair_faults()
            return reader.tiles
    except ArchiveError as error:
        faults.append(error.fault)
        return []


def _find_in_folders(folder: Path, masks: Path | None, prefixes: Mapping[str, str]) -> list[Source]:
    classes = {name: name for name in CLASS_NAMES}
    classes |= {_normal(prefix): label for prefix, label in prefixes.items()}
    faults: list[Fault] = []
    sources = []
    mask_files = []
    for name in _list_pngs(folder, masks, faults):
        if MASKS in PurePosixPath(name).parts[:-1]:
            mask_files.append(_MaskFile(name, PngFile(folder / name)))
            continue
        try:
            sources.append(_make_source(folder, name, classes))
        except ArchiveError as error:
            faults.append(error.fault)
    if masks is not None:
        names = _list_pngs(masks, None, faults)
        mask_files += [_MaskFile(name, PngFile(masks / name)) for name in names]
    sources = _add_masks(sources, mask_files, classes, faults)
    raise_faults(faults)
    return sources


def _list_pngs(folder: Path, excluded: Path | None, faults: list[Fault]) -> list[str]:
    """List the PNG files below a folder by relative name; links to folders are followed.

    Args:
        folder: The folder.
        excluded: Folder below it that is not listed.
        faults: Gets a fault for each file of another kind.
    """
    names = []
    visited = {os.path.realpath(excluded)} if excluded else set()
    for directory, folders, files in os.walk(folder, onerror=_raise, followlinks=True):
        # A link may lead back to a folder above it.
        folders[:] = [
            name for name in sorted(folders) if _visit(os.path.join(directory, name), visited)
        ]
        for file in files:
            name = Path(directory, file).relative_to(folder).as_posix()
            if is_ignored(name):
                continue
            if name.lower().endswith(".png"):
                names.append(name)
            else:
                fix = "Move it to another folder, or save it as PNG if it is a tile or a mask"
                faults.append(Fault("member-name", str(folder / name), "is not a PNG file", fix))
    return sorted(names, key=_natural_key)


def _visit(folder: str, visited: set[str]) -> bool:
    """Return whether a folder was not visited before, and remember it."""
    real_path = os.path.realpath(folder)
    if real_path in visited:
        return False
    visited.add(real_path)
    return True


def _raise(error: OSError) -> None:
    raise error


def _make_source(folder: Path, name: str, classes: Mapping[str, str]) -> Source:
    tile = PngFile(folder / name)
    path = PurePosixPath(_normal(name))
    labels = {classes[part] for part in path.parts[:-1] if part in classes}
    prefix = max(
        (prefix for prefix in classes if path.name.startswith(prefix)), key=len, default=""
    )
    if prefix:
        labels.add(classes[prefix])
    splits = _splits_in(path)
    if not labels:
        beginning = re.split(r"[_0-9]", path.stem)[0] or path.stem
        problem = f"neither its folders nor its name begin with {' or '.join(sorted(classes))}"
        fix = f"Give its class, for example --class {beginning}={GLACIAR}"
        raise ArchiveError(Fault("member-name", tile.place, problem, fix))
    if len(labels) > 1 or len(splits) > 1:
        conflict = sorted(labels if len(labels) > 1 else splits)
        problem = f"its folders and its name say both {' and '.join(conflict)}"
        raise ArchiveError(Fault("member-name", tile.place, problem, "Move or rename it"))
    return Source(name, min(labels), min(splits, default=None), tile)


@dataclass(frozen=True)
class _MaskFile:
    """A mask, and its name in the folder where it was found."""

    name: str
    png: PngFile


def _add_masks(
    sources: Sequence[Source],
    mask_files: Iterable[_MaskFile],
    classes: Mapping[str, str],
    faults: list[Fault],
) -> list[Source]:
    """Return the sources with their masks."""
    by_stem: dict[str, list[Source]] = {}
    for source in sources:
        by_stem.setdefault(PurePosixPath(_normal(source.name)).stem, []).append(source)
    masks: dict[str, PngFile] = {}
    for mask in mask_files:
        fitting = _find_fitting(mask.name, by_stem, classes)
        if not fitting:
            fix = "Remove it, or add its tile"
            faults.append(Fault("mask-orphan", mask.png.place, "no tile has its name", fix))
        elif len(fitting) > 1:
            problem = f"fits several tiles, {fitting[0].name} and {fitting[1].name}"
            fix = "Put masks into folders that are named like those of the tiles"
            faults.append(Fault("mask-orphan", mask.png.place, problem, fix))
        elif fitting[0].name in masks:
            problem = (
                f"is a second mask of {fitting[0].name}, next to {masks[fitting[0].name].place}"
            )
            faults.append(Fault("member-duplicate", mask.png.place, problem, "Remove one"))
        else:
            masks[fitting[0].name] = mask.png
    for source in sources:
        if source.label == GLACIAR and source.name not in masks:
            fix = "Add its mask (--masks), or make it a cordillera tile"
            faults.append(Fault("mask-missing", source.tile.place, "has no mask", fix))
    return [replace(source, mask=masks.get(source.name)) for source in sources]


def _find_fitting(
    name: str, by_stem: Mapping[str, list[Source]], classes: Mapping[str, str]
) -> list[Source]:
    """Return the tiles that a mask fits by its name, its class and its split."""
    path = PurePosixPath(_normal(name))
    splits = _splits_in(path)
    labels = {classes[part] for part in path.parts[:-1] if part in classes}
    bare = path.stem.removeprefix("mask_")
    for stem in (path.stem, path.stem.removesuffix("_m"), bare, bare.removesuffix("_m")):
        fitting = [
            source
            for source in by_stem.get(stem, [])
            if splits <= {source.split} and labels <= {source.label}
        ]
        # The curators give tiles of both classes the same names.
        fitting = [source for source in fitting if source.label == GLACIAR] or fitting
        if fitting:
            return fitting
    return []


def _splits_in(path: PurePosixPath) -> set[str]:
    return {_SPLIT_OF_FOLDER[part] for part in path.parts[:-1] if part in _SPLIT_OF_FOLDER}


def _normal(name: str) -> str:
    """Compose letters and accents: macOS stores them apart."""
    return unicodedata.normalize("NFC", name)


def _natural_key(name: str) -> list[list[str | int]]:
    """Return a sort key by which `tile_2` comes before `tile_10`."""
    return [
        [int(part) if part.isdecimal() else part for part in re.split("([0-9]+)", folder)]
        for folder in _normal(name).split("/")
    ]
