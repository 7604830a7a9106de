"""Tiles and masks in folders as maintainers have them: found, paired, and read into the form of the contract.

A tile's class is a folder's name or the beginning of the file's, its split a folder's name. A mask has its tile's stem,
perhaps with `_m` behind or `mask_` before it. Files are taken in natural order, `tile_2` before `tile_10`. What does
not fit is an error that names the file and the remedy: a tile that is left out in silence is a tile lost.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from natsort import natsorted, ns
from PIL import Image
from tile_pixels import BACKGROUND, COLOURS, ROCK_GLACIER, Pixels, check_chunks, decoded, turned_alike

import rock_glacier_dataset
from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES, TILE_SIZE, class_indices_to_mask

_PASSED_OVER = ("__MACOSX", "Thumbs.db", "desktop.ini")  # what macOS and Windows put into folders unasked

_LIGHT = 128
"""From this grey on, of 0 to 255, a mask's pixel is rock glacier."""

_LARGEST_FILE = 2**24  # bytes; above this no file is read, for a tile's pixels are 64 KiB

_PNG_FORM = struct.Struct(">16xLLBB")  # width, height, bit depth, colour type (ISO/IEC 15948, 11.2.2)
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6

_DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)  # Pillow's, for damaged PNGs


class TileFolderError(ValueError):
    """A fault in the maintainer's folders: names the file, what is wrong, and what to do."""


class SourceTile(NamedTuple):
    """A tile as it was found.

    Attributes:
        path: the file.
        name: its path in the folder of tiles, with "/" between folders.
        class_name: one of `CLASS_NAMES`.
        split: one of `SPLIT_NAMES`; None where no folder says it.
        mask: the mask's file; None where there is none.
    """

    path: Path
    name: str
    class_name: str
    split: str | None = None
    mask: Path | None = None


class ReadTile(NamedTuple):
    """A tile as the archives hold it.

    Attributes:
        image: RGBA PNG file.
        mask: PNG file of the mask, opaque, black and white; None where there is none.
        image_converted: whether the image's file had another form.
        mask_converted: the same of the mask's.
        look: the same bytes for tiles that are one another, also turned or mirrored.
    """

    image: bytes
    mask: bytes | None
    image_converted: bool
    mask_converted: bool
    look: bytes


# -------------------------------------------------------------------------------------------------- what is in a folder


def list_pngs(folder: Path, leave_out: Iterable[Path] = ()) -> list[str]:
    """List the PNG files in a folder and those below it.

    Args:
        folder: where to look.
        leave_out: folders that are not looked into.

    Returns:
        the files' paths in the folder, with "/" between folders, in natural order.

    Raises:
        TileFolderError: there is no such folder, or something in it is no PNG file. Hidden files, and what macOS and
            Windows add to folders, are passed over.
    """
    if not folder.is_dir():
        raise TileFolderError(f"{_shown(folder)}: no such folder; give the folder that holds the PNG files")
    names = natsorted(sorted(_walk(folder, {path.resolve() for path in leave_out})), alg=ns.PATH)
    for name in names:
        path = folder / name
        if not _is_utf8(name):
            raise _fault(path, "its name is not UTF-8", "rename it")
        if path.suffix.lower() != ".png":
            raise _fault(path, "is no PNG file", "save it as PNG from what it was made of, or move it elsewhere")
    return names


def _walk(folder: Path, leave_out: set[Path]) -> Iterator[str]:
    def cannot_list(error: OSError) -> None:
        raise _fault(Path(error.filename), f"cannot be listed ({error.strerror})", "make it readable") from None

    for here, folders, files in os.walk(folder, onerror=cannot_list, followlinks=True):
        for name in folders:
            if (Path(here) / name).is_symlink() and Path(here).resolve().is_relative_to((Path(here) / name).resolve()):
                raise _fault(Path(here) / name, "is a link to a folder that it lies in", "remove it")
        folders[:] = [
            name for name in folders if not _is_passed_over(name) and (Path(here) / name).resolve() not in leave_out
        ]
        for name in files:
            if not _is_passed_over(name):
                yield (Path(here) / name).relative_to(folder).as_posix()


def _is_passed_over(name: str) -> bool:
    return name.startswith(".") or name in _PASSED_OVER


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def find_tiles(folder: Path, prefixes: Mapping[str, str], leave_out: Iterable[Path] = ()) -> list[SourceTile]:
    """Find the tiles in a folder, and tell their classes and splits.

    Args:
        folder: the tiles: in class folders, or flat with the class before each name; perhaps in split folders.
        prefixes: the class of each folder of this name, and of each file whose name begins so; the longest that fits
            counts. The classes' own names stand for themselves where this says nothing else of them.
        leave_out: folders that are not looked into.

    Returns:
        the tiles, in natural order.

    Raises:
        TileFolderError: there is none, something is no PNG file, a class cannot be told, or two tiles of one class have
            the same stem.
    """
    classes = {name: name for name in CLASS_NAMES} | dict(prefixes)
    tiles = []
    first: dict[tuple[str | None, str, str], Path] = {}
    for name in list_pngs(folder, leave_out):
        path = folder / name
        folders = PurePosixPath(name).parts[:-1]
        split = _only(path, "splits", [part for part in folders if part in SPLIT_NAMES])
        of_folders = [classes[part] for part in folders if part in classes]
        of_name = [classes[prefix] for prefix in (_longest_prefix(path.name, classes),) if prefix]
        class_name = _only(path, "classes", of_folders + of_name)
        if class_name is None:
            beginning = path.stem.split("_")[0] or path.stem
            raise _fault(
                path,
                f"its class cannot be told: neither folder nor name says {' or '.join(sorted(classes))}",
                f"add --class PREFIX=CLASS, such as --class {beginning}={CLASS_NAMES[1]}",
            )
        same = first.setdefault((split, class_name, path.stem), path)
        if same != path:
            raise _fault(path, f"has the name of {_shown(same)}", "remove one if they are one tile, or else rename it")
        tiles.append(SourceTile(path, name, class_name, split))
    if not tiles:
        raise TileFolderError(f"{_shown(folder)}: holds no tiles; give the folder that holds the PNG files")
    return tiles


def _longest_prefix(name: str, prefixes: Iterable[str]) -> str:
    """Return the longest of these that a name begins with; "" where none does."""
    return max((prefix for prefix in prefixes if name.startswith(prefix)), key=len, default="")


def _only(path: Path, what: str, found: Sequence[str]) -> str | None:
    if len(set(found)) > 1:
        raise _fault(path, f"is of two {what}, {' and '.join(sorted(set(found)))}", "move or rename it")
    return found[0] if found else None


# ----------------------------------------------------------------------------------------------------- masks of tiles


def pair_masks(
    tiles: Sequence[SourceTile], folder: Path, masks: Path, prefixes: Mapping[str, str], leave_out: Iterable[Path] = ()
) -> list[SourceTile]:
    """Find the mask of each tile.

    A mask belongs to the tile of its stem, or of its stem without `_m` behind or `mask_` before it. Where several tiles
    have that stem, it belongs to the one in the folder of the same name, or of the same class and split.

    Args:
        tiles: the tiles.
        folder: the folder of tiles, for messages.
        masks: the folder of masks.
        prefixes: as for `find_tiles`.
        leave_out: folders that are not looked into.

    Returns:
        the tiles with their masks.

    Raises:
        TileFolderError: a mask fits no tile, or several; two masks fit one; or a glaciar tile has none.
    """
    classes = {name: name for name in CLASS_NAMES} | dict(prefixes)
    by_stem = defaultdict(list)
    for number, tile in enumerate(tiles):
        by_stem[tile.path.stem].append(number)
    paired: dict[int, Path] = {}
    for name in list_pngs(masks, leave_out):
        mask, place = masks / name, PurePosixPath(name).parent
        fitting: list[int] = []
        for stem in _tile_stems(mask.stem):
            fitting = fitting or [n for n in by_stem[stem] if PurePosixPath(tiles[n].name).parent == place]
        for stem in _tile_stems(mask.stem):
            fitting = fitting or [n for n in by_stem[stem] if _are_compatible(place.parts, tiles[n], classes)]
        if not fitting:
            raise _fault(mask, f"no tile of this name in {_shown(folder)}", "remove the mask, or add its tile")
        if len(fitting) > 1:
            several = " and ".join(_shown(tiles[n].path) for n in fitting[:2])
            raise _fault(mask, f"fits several tiles, {several}", "put masks into folders named as those of the tiles")
        same = paired.setdefault(fitting[0], mask)
        if same != mask:
            raise _fault(tiles[fitting[0]].path, f"has two masks, {_shown(same)} and {_shown(mask)}", "remove one")
    for number, tile in enumerate(tiles):
        if tile.class_name == "glaciar" and number not in paired:
            raise _fault(tile.path, f"no mask of this name in {_shown(masks)}", "add one, or make the tile cordillera")
    return [tile._replace(mask=paired.get(number)) for number, tile in enumerate(tiles)]


def _tile_stems(stem: str) -> list[str]:
    """List the stems that the tile of a mask may have, the likeliest first.

    Example:
        >>> _tile_stems("mask_glaciar_7")
        ['mask_glaciar_7', 'glaciar_7']
    """
    stems = [stem, stem.removesuffix("_m"), stem.removeprefix("mask_"), stem.removeprefix("mask_").removesuffix("_m")]
    return list(dict.fromkeys(stems))


def _are_compatible(folders: Sequence[str], tile: SourceTile, classes: Mapping[str, str]) -> bool:
    """Tell whether no folder of a mask names another class or split than the tile's."""
    return all(
        classes.get(part, tile.class_name) == tile.class_name and (part not in SPLIT_NAMES or part == tile.split)
        for part in folders
    )


# ------------------------------------------------------------------------------------------------ files into PNG files


def read_tile(tile: SourceTile) -> ReadTile:
    """Read a tile and its mask in the form that the archives hold.

    Raises:
        TileFolderError: a file cannot be read, or is no tile or no mask.
    """
    image, pixels, image_converted = _read_image(tile.path)
    mask, mask_converted = None, False
    if tile.mask is not None:
        mask, mask_converted = _read_mask(tile.mask, tile.class_name)
    look = hashlib.sha256(turned_alike(pixels & COLOURS)).digest()
    return ReadTile(image, mask, image_converted, mask_converted, look)


def _read_image(path: Path) -> tuple[bytes, Pixels, bool]:
    """Read a tile: its RGBA PNG file, its pixels, and whether it had another form."""
    png, depth, colours = _read_png(path, "tile")
    if depth != 8 or colours not in (_RGB, _RGBA):
        raise _fault(path, f"is {_named(depth, colours)}", "save it as 8-bit RGB or RGBA")
    pixels = _decoded(path, png)
    clear = int((pixels >> np.uint32(24) != 255).sum())
    if clear:
        raise _fault(path, f"has {clear} pixels that are not opaque", "lay it over the ground that it shows, opaque")
    if colours == _RGBA and len(png) <= rock_glacier_dataset._LARGEST_MEMBER:
        return png, pixels, False
    return _encoded(Image.fromarray(_channels(pixels))), pixels, True


def _read_mask(path: Path, class_name: str) -> tuple[bytes, bool]:
    """Read a mask: its RGBA PNG file, opaque, black and white; and whether it had another form."""
    png, depth, colours = _read_png(path, "mask")
    if depth > 8:
        raise _fault(path, f"is {_named(depth, colours)}", "save it with 8 bits a channel")
    pixels = _decoded(path, png)
    channels = _channels(pixels).astype(np.uint32)
    over_black = channels[..., :3] * channels[..., 3:] // 255
    rock_glacier = over_black.min(-1) >= _LIGHT
    coloured = int(((over_black.max(-1) >= _LIGHT) & ~rock_glacier).sum())
    if coloured:
        raise _fault(path, f"has {coloured} pixels that are coloured", "draw rock glacier white and the rest black")
    if rock_glacier.any() and class_name == "cordillera":
        what = f"shows rock glacier on {rock_glacier.sum()} pixels, but its tile is cordillera"
        raise _fault(path, what, "remove the mask, or make the tile glaciar")
    if not rock_glacier.any() and class_name == "glaciar":
        what = f"shows no rock glacier, which is {_LIGHT} to 255, its brightest pixel being {over_black.max()}"
        raise _fault(path, what, "draw it in white, or make the tile cordillera")
    in_contract = bool(((pixels == ROCK_GLACIER) | (pixels == BACKGROUND)).all())
    if in_contract and (depth, colours) == (8, _RGBA) and len(png) <= rock_glacier_dataset._LARGEST_MEMBER:
        return png, False
    return _encoded(class_indices_to_mask(rock_glacier)), True


def _read_png(path: Path, kind: str) -> tuple[bytes, int, int]:
    """Read a PNG file of the size of a tile: its bytes, bit depth and colour type."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _fault(path, "is no regular file", "remove it")
        if status.st_size > _LARGEST_FILE:
            raise _fault(path, f"has {status.st_size} bytes, too many for a {kind}", "cut it, or move it elsewhere")
        png = path.read_bytes()
    except OSError as error:
        raise _fault(path, f"cannot be read ({error.strerror})", "make it readable, or remove it") from None
    what, code = rock_glacier_dataset._png_fault(png)
    if code == "png-corrupt":
        raise _fault(path, what, "copy or export it again, or remove it")
    width, height, depth, colours = _PNG_FORM.unpack_from(png)
    if (width, height) != (TILE_SIZE, TILE_SIZE):
        size = f"{TILE_SIZE} x {TILE_SIZE}"
        raise _fault(path, f"has {width} x {height} pixels", f"a {kind} has {size}: cut it again, or remove it")
    return png, depth, colours


def _decoded(path: Path, png: bytes) -> Pixels:
    try:
        check_chunks(png)
        return decoded(png)
    except _DECODING_ERRORS as error:
        reason = " ".join(str(error).split())
        raise _fault(path, f"cannot be decoded ({reason})", "copy or export it again, or remove it") from None


def _named(depth: int, colours: int) -> str:
    return f"{depth}-bit {rock_glacier_dataset._PNG_COLOUR_TYPES.get(colours, 'of an unknown colour type')}"


def _channels(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """View pixels as uint8 of shape (height, width, 4)."""
    return pixels.astype("<u4").view(np.uint8).reshape(*pixels.shape, 4)


def _encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _fault(path: Path, what: str, remedy: str) -> TileFolderError:
    return TileFolderError(f"{_shown(path)}: {what}; {remedy}")


def _shown(path: Path) -> str:
    """Write a path so that a terminal shows it in one line."""
    return str(path) if str(path).isprintable() else ascii(str(path))
