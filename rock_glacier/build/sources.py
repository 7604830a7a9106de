"""Find tiles and their masks: PNG files in folders, or members of archives.

In folders, a tile's class is the name of a folder or the beginning of the file's name, and its split the name of a
folder. A mask lies in a folder called `masks` or in a folder of its own, and has its tile's stem, perhaps with `_m`
behind it or `mask_` before it. A file that does not fit is an error, so that no tile is left out silently.
"""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from natsort import natsorted, ns

from rock_glacier.archives.grounds_file import GROUNDS_NAME, read_grounds
from rock_glacier.archives.listing import ListedMember, Listing, archives_near
from rock_glacier.arrays import decode_any_png
from rock_glacier.console import PrintableError, count
from rock_glacier.files import read_png_file
from rock_glacier_dataset import CLASS_NAMES, GLACIAR, MASKS, SPLIT_FOLDERS, ArchiveError

_SPLIT_OF_FOLDER = {folder: split for split, folders in SPLIT_FOLDERS.items() for folder in folders}
_PASSED_OVER = ("__MACOSX", "Thumbs.db", "desktop.ini", "zeros.png")  # the last is the curators' empty mask
_FIRST_FEW = 3  # files that a message names


class SourceError(PrintableError, ValueError):
    """A fault in the tiles and masks to build from: names the file, what is wrong and the remedy."""


class Source(NamedTuple):
    """A tile and its files.

    Attributes:
        name: path in the folder of tiles, with "/" between folders. A member's is its source in grounds.csv, or else
            its archive and path.
        class_name: `cordillera` or `glaciar`.
        split: `train`, `validation` or `test`; None where no folder has such a name.
        tile: the PNG file, or a member of an archive.
        mask: the same of its mask; None without one.
    """

    name: str
    class_name: str
    split: str | None
    tile: Path | ListedMember
    mask: Path | ListedMember | None = None


def fault(place: Path | ListedMember, what: str, remedy: str) -> SourceError:
    """Make the error that names a file or member, what is wrong and the remedy."""
    name = str(place) if isinstance(place, Path) else f"{place.archive.name}: {place.path}"
    return SourceError(f"{name}: {what}; {remedy}")


def raise_faults(faults: Sequence[SourceError | ArchiveError]) -> None:
    """Raise the first of some faults, if there are any; its message counts those of the same remedy, and the others."""
    if not faults:
        return
    remedies = [str(one).rpartition("; ")[2].partition(",")[0] for one in faults]
    alike = [str(one) for one, remedy in zip(faults, remedies, strict=True) if remedy == remedies[0]]
    also = [message.partition("; ")[0].rpartition(": ")[0] for message in alike[1:_FIRST_FEW]]
    more = [f"{len(alike) - 1:,} more: {', '.join(also)}{', ...' if alike[_FIRST_FEW:] else ''}"] if also else []
    others = len(faults) - len(alike)
    more += [count(others, "other fault")] if others else []
    raise type(faults[0])(str(faults[0]) + (f" (and {'; '.join(more)})" if more else ""))


def find_sources(tiles: Path, masks: Path | None = None, prefixes: Mapping[str, str] | None = None) -> list[Source]:
    """Find tiles and their masks.

    Args:
        tiles: folder of tiles, perhaps with folders called `masks`; or folder of archives.
        masks: folder of masks, for tiles in folders.
        prefixes: the class of folders of this name, and of files whose names begin so; the longest that fits counts.
            The classes' own names stand for themselves where this says nothing else.

    Returns:
        the tiles by class, then in natural order of their names: `tile_2` before `tile_10`. Where there is any mask,
        each glaciar tile has one.

    Raises:
        SourceError: there are no tiles, a file is no PNG file, a PNG file lies beside archives, a tile's class or a
            mask's tile is not clear, or a glaciar tile has no mask.
        ArchiveError: the archives have a fault.
        OSError: a folder cannot be listed.
    """
    prefixes = prefixes or {}
    if not tiles.is_dir():
        what = "is a file" if tiles.exists() else "no such folder"
        raise fault(tiles, what, "give the folder that holds tiles or archives")
    if masks is not None and (near := archives_near(masks)):
        raise fault(masks, f"is no folder of masks: there are archives in {near}", "give the folder of their PNG files")
    near = archives_near(tiles)
    if near and near.samefile(tiles):
        if masks is not None:
            raise fault(masks, f"is not read, for {tiles} holds archives with their masks", "leave out --masks")
        if prefixes:
            raise fault(tiles, "holds archives, which say each tile's class", "leave out --class")
        found = _sources_in_archives(tiles)
    elif near:
        raise fault(tiles, f"holds no archives; they are in {near}", "give that folder")
    else:
        found = _sources_in_folders(tiles, masks, prefixes)
    missing = [source.name for source in found if source.class_name == GLACIAR and source.mask is None]
    if missing and (masks is not None or any(source.mask is not None for source in found)):
        some = ", ".join(missing[:_FIRST_FEW]) + (", ..." if missing[_FIRST_FEW:] else "")
        what = f"no masks of {count(len(missing), 'glaciar tile')}: {some}"
        raise fault(masks or tiles, what, "add them, or make the tiles cordillera")
    return sorted(found, key=lambda source: CLASS_NAMES.index(source.class_name))


def _sources_in_archives(folder: Path) -> list[Source]:
    faults: list[SourceError | ArchiveError] = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        passed_over = any(part.startswith(".") or part in (*_PASSED_OVER, "assets") for part in parts)
        if path.suffix.lower() == ".png" and not passed_over:  # assets: the pictures of the dataset's card
            faults.append(fault(path, "lies beside archives, which are read alone", "move it, or them"))
    listing = Listing(folder)
    # All tiles may lack masks.
    faults += [one for one in listing.faults if listing.masks or one.code != "mask-missing"]
    raise_faults(faults)
    try:
        rows = read_grounds(folder / GROUNDS_NAME, [tile.path for tile in listing.tiles])
    except FileNotFoundError:
        rows = {}
    masks = {(mask.archive, mask.member_id): mask for mask in listing.masks}
    found = []
    for tile in natsorted(listing.tiles, key=lambda tile: tile.path, alg=ns.PATH):
        mask = masks.get((tile.archive, tile.member_id)) if tile.folder == GLACIAR else None
        source = rows[tile.path].source if rows else ""
        found.append(Source(source or f"{tile.archive.name}/{tile.path}", tile.folder, tile.archive.split, tile, mask))
    return found


def _sources_in_folders(folder: Path, masks: Path | None, prefixes: Mapping[str, str]) -> list[Source]:
    classes = {name: name for name in CLASS_NAMES} | dict(prefixes)
    found: list[Source] = []
    faults: list[SourceError | ArchiveError] = []
    mask_files: list[tuple[str, Path]] = []
    first: dict[tuple[str | None, str, str], Path] = {}
    unused = dict(prefixes)
    for name in _list_pngs(folder, masks, faults):
        path, folders = folder / name, PurePosixPath(name).parts[:-1]
        if MASKS in folders:
            mask_files.append((name, path))
            continue
        fitting = [prefix for prefix in classes if path.name.startswith(prefix)]
        for prefix in (*fitting, *folders):
            unused.pop(prefix, None)
        try:
            of_name = (classes[part] for part in (*folders, max(fitting, key=len, default="")) if part in classes)
            class_name = _only(path, "classes", of_name)
            split = _only(path, "splits", (_SPLIT_OF_FOLDER[part] for part in folders if part in _SPLIT_OF_FOLDER))
            if class_name is None:
                beginning = path.stem.split("_")[0] or path.stem
                what = f"neither its folders nor its name say {' or '.join(sorted(classes))}"
                raise fault(path, what, f"give its class with --class PREFIX=CLASS, such as {beginning}={GLACIAR}")
            same = first.setdefault((split, class_name, path.stem), path)
            if same != path:
                raise fault(path, f"has the name of {same}", "remove one if they are one tile, or else rename it")
        except SourceError as error:
            faults.append(error)
        else:
            found.append(Source(name, class_name, split, path))
    for prefix, class_name in unused.items():
        what = f"no folder is called {prefix}, and no file's name begins so"
        raise fault(folder, what, f"correct --class {prefix}={class_name}, or leave it out")
    raise_faults(faults)
    if not found:
        raise fault(folder, "holds no tiles", "give the folder that holds tiles or archives")
    if _are_masks(folder / source.name for source in found):
        raise fault(folder, "holds masks, not tiles", "give the folder of tiles, and this one with --masks")
    if masks is not None:
        mask_files += [(name, masks / name) for name in _list_pngs(masks, folder, faults)]
    return _pair(found, mask_files, classes, faults)


def _are_masks(files: Iterable[Path]) -> bool:
    """Check that the first few files are white and black, as masks are and tiles are not."""
    colours: set[int] = set()
    for file in itertools.islice(files, _FIRST_FEW):
        try:
            colours.update(np.unique(decode_any_png(read_png_file(file))[..., :3]).tolist())
        except (ValueError, OSError):
            return False
    return colours == {0, 255}


def _list_pngs(folder: Path, leave_out: Path | None, faults: list[SourceError | ArchiveError]) -> list[str]:
    """List the PNG files in and below a folder, but for one that may lie in it, in natural order.

    What else lies there is added to `faults`.
    """
    if not folder.is_dir():
        raise fault(folder, "no such folder", "give the folder that holds the PNG files")
    names = []
    left_out = leave_out if leave_out and leave_out.exists() else None
    unlisted: list[OSError] = []  # folders that cannot be listed, which os.walk passes over
    for here, folders, files in os.walk(folder, onerror=unlisted.append, followlinks=True):
        place = Path(here)
        for link in (place / name for name in folders if (place / name).is_symlink()):
            if place.resolve().is_relative_to(link.resolve()):
                raise fault(link, "is a link to a folder that it lies in", "remove it")
        for several in (folders, files):
            several[:] = [name for name in several if not name.startswith(".") and name not in _PASSED_OVER]
        folders[:] = [name for name in folders if not (left_out and left_out.samefile(place / name))]
        names += [(place / name).relative_to(folder).as_posix() for name in files]
    if unlisted:
        raise unlisted[0]
    pngs = []
    for name in natsorted(sorted(names), alg=ns.PATH):
        if not name.isprintable():
            faults.append(fault(folder / name, "has a name that cannot be printed", "rename it"))
        elif not name.lower().endswith(".png"):
            remedy = "move it elsewhere, or save it as PNG where it is a tile or mask"
            faults.append(fault(folder / name, "is no PNG file", remedy))
        else:
            pngs.append(name)
    return pngs


def _only(path: Path, what: str, found: Iterable[str]) -> str | None:
    several = sorted(set(found))
    if len(several) > 1:
        raise fault(path, f"is of two {what}, {' and '.join(several)}", "move or rename it")
    return several[0] if several else None


def _pair(
    tiles: Sequence[Source],
    masks: Iterable[tuple[str, Path]],
    classes: Mapping[str, str],
    faults: list[SourceError | ArchiveError],
) -> list[Source]:
    """Give each mask to the tile of its stem that fits best: by folder, then by stem, and a glaciar tile first."""
    by_stem: defaultdict[str, list[int]] = defaultdict(list)
    for number, tile in enumerate(tiles):
        by_stem[PurePosixPath(tile.name).stem].append(number)
    paired: dict[int, Path] = {}
    for name, path in masks:
        folder = PurePosixPath(*(part for part in PurePosixPath(name).parts[:-1] if part != MASKS))
        fitting = []
        bare = path.stem.removeprefix("mask_")
        stems = (path.stem, path.stem.removesuffix("_m"), bare, bare.removesuffix("_m"))  # the likeliest first
        for rank, stem in enumerate(dict.fromkeys(stems)):
            for number in by_stem[stem]:
                tile = tiles[number]
                class_names = {classes.get(part, tile.class_name) for part in folder.parts}
                splits = {_SPLIT_OF_FOLDER.get(part, tile.split) for part in folder.parts}
                if class_names <= {tile.class_name} and splits <= {tile.split}:
                    is_elsewhere = PurePosixPath(tile.name).parent != folder
                    fitting.append(((is_elsewhere, rank, tile.class_name != GLACIAR), number))
        fitting.sort()
        if not fitting:
            faults.append(fault(path, "no tile has its name", "remove the mask, or add its tile"))
            continue
        number = fitting[0][1]
        if len(fitting) > 1 and fitting[0][0] == fitting[1][0]:
            what = f"fits several tiles, {' and '.join(tiles[number].name for _, number in fitting[:2])}"
            faults.append(fault(path, what, "put masks into folders named as those of the tiles"))
        elif number in paired:
            what = f"is the second mask of {tiles[number].name}, beside {paired[number]}"
            faults.append(fault(path, what, "remove one"))
        else:
            paired[number] = path
    raise_faults(faults)
    return [tile._replace(mask=paired.get(number)) for number, tile in enumerate(tiles)]
