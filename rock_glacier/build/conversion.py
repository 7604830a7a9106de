"""Read tiles and masks, and convert them to the form of archives: RGBA tiles, masks of two colours."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from rock_glacier.archives.listing import ListedArchive, ListedMember
from rock_glacier.arrays import decode_any_png, encode_png
from rock_glacier.console import count
from rock_glacier.curation.sources import Source, SourceError, fault
from rock_glacier.files import read_png_file
from rock_glacier.grounds.pixels import canonical_hash, pack_pixels
from rock_glacier.masks import class_indices_to_mask
from rock_glacier_dataset import GLACIAR, ArchiveError, TileArchive, png_fault

_THRESHOLD = 128  # from this grey level on, of 0 to 255, a mask's pixel is rock glacier
_FORM = (8, 2), (8, 6)  # bits a channel and colour type of tiles: RGB, RGBA (ISO/IEC 15948, 11.2.2)


class Facts(NamedTuple):
    """Facts about a tile and its mask.

    Attributes:
        tile_changed: whether the tile was converted.
        mask_changed: whether the mask was converted.
        mask_cut: whether it had greys, which were cut at half.
        has_mask: whether the tile has a mask in the archives.
        is_opaque: whether the tile has no transparent pixels.
        is_flat: whether all its pixels have one colour.
        canonical_hash: equal for tiles that differ by a turn at most.
    """

    tile_changed: bool
    mask_changed: bool
    mask_cut: bool
    has_mask: bool
    is_opaque: bool
    is_flat: bool
    canonical_hash: bytes


class Converted(NamedTuple):
    """A tile and its mask in the form of archives.

    Attributes:
        tile: RGBA PNG file; the source's bytes where they are one.
        mask: RGBA PNG file of the mask's two colours, likewise; None for a cordillera tile or without a mask.
        facts: facts about both.
    """

    tile: bytes
    mask: bytes | None
    facts: Facts


def convert_sources(sources: Sequence[Source]) -> list[Converted | SourceError | ArchiveError]:
    """Read and convert tiles and their masks.

    Returns:
        a result for each source: converted, or its fault.
    """
    results: list[Converted | SourceError | ArchiveError] = []
    with contextlib.ExitStack() as opened:
        open_archive = functools.cache(lambda archive: opened.enter_context(archive.open()))
        for source in sources:
            try:
                results.append(_convert(source, open_archive))
            except (SourceError, ArchiveError) as error:
                results.append(error)
    return results


def _convert(source: Source, open_archive: Callable[[ListedArchive], TileArchive]) -> Converted:
    png = _read(source.tile, open_archive)
    pixels = _decode(png, source.tile)
    if (png[24], png[25]) not in _FORM:
        raise fault(source.tile, "is neither RGB nor RGBA of 8 bits a channel", "save it as one of them")
    tile = png if png_fault(png) is None else encode_png(Image.fromarray(pixels))
    mask, mask_changed, mask_cut = None, False, False
    if source.mask is not None:
        given = _read(source.mask, open_archive)
        mask, mask_cut = _convert_mask(given, source.mask, source.class_name)
        mask_changed = mask not in (None, given)
    is_opaque = bool((pixels[..., 3] == 255).all())
    packed = pack_pixels(pixels)
    is_flat = bool((packed == packed[0, 0]).all())
    facts = Facts(tile != png, mask_changed, mask_cut, mask is not None, is_opaque, is_flat, canonical_hash(packed))
    return Converted(tile, mask, facts)


def _read(place: Path | ListedMember, open_archive: Callable[[ListedArchive], TileArchive]) -> bytes:
    if isinstance(place, ListedMember):
        return open_archive(place.archive).read(place.folder, place.member_id)
    try:
        return read_png_file(place)
    except ValueError as error:
        raise SourceError(f"{place}: {error}") from None
    except OSError as error:
        raise fault(place, f"cannot be read ({error.strerror})", "make it readable, or remove it") from None


def _convert_mask(png: bytes, place: Path | ListedMember, class_name: str) -> tuple[bytes | None, bool]:
    """Return a mask's file in the two colours, None for a tile without rock glacier, and whether it had greys."""
    pixels = _decode(png, place)
    over_black = pixels[..., :3].astype(np.uint32) * pixels[..., 3:] // 255
    rock_glacier = over_black.min(-1) >= _THRESHOLD
    coloured = int(((over_black.max(-1) >= _THRESHOLD) & ~rock_glacier).sum())
    if coloured:
        remedy = "draw rock glacier white and the rest black, or if it is a tile give its mask instead"
        raise fault(place, f"has {count(coloured, 'coloured pixel')}", remedy)
    covered = int(rock_glacier.sum())
    if class_name != GLACIAR:
        if covered:
            what = f"shows rock glacier on {count(covered, 'pixel')}, but its tile is {class_name}"
            raise fault(place, what, f"remove the mask, or make the tile {GLACIAR}")
        return None, False
    if not covered:
        what = f"shows no rock glacier; that is {_THRESHOLD} to 255, and its brightest pixel is {over_black.max()}"
        raise fault(place, what, "draw it white, or move the tile to cordillera")
    mask = class_indices_to_mask(rock_glacier)
    is_one = png_fault(png) is None and np.array_equal(pixels, np.asarray(mask))
    return png if is_one else encode_png(mask), bool(((over_black > 0) & (over_black < 255)).any())


def _decode(png: bytes, place: Path | ListedMember) -> npt.NDArray[np.uint8]:
    try:
        return decode_any_png(png)
    except ValueError as error:
        remedy = "save it as an 8-bit PNG of 128 x 128 pixels, or remove it"
        raise fault(place, f"cannot be used ({error})", remedy) from None
