"""Small pictures of tiles and masks for a page, as `data:` URIs.

Tiles are encoded again with loss. A mask is drawn as outline and hatching, so that it is visible without its colour.
"""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from rock_glacier.archives.listing import ListedMember, Listing, open_members, tile_path
from rock_glacier.arrays import decode_any_png
from rock_glacier_dataset import BACKGROUND_COLOUR, MASKS, ROCK_GLACIER_COLOUR, ArchiveError, TileArchive

_QUALITY = 70  # of WebP: some 2 KB a tile, where PNG takes 40 KB
_HATCHING = 8  # pixels from one stroke to the next
# RGBA, after Okabe and Ito (2008), Color Universal Design.
_OVERLAY_COLOURS = (
    (0, 0, 0, 0),  # background
    (240, 228, 66, 40),  # rock glacier
    (240, 228, 66, 130),  # its hatching
    (240, 228, 66, 255),  # its outline
    (0, 0, 0, 200),  # the line around the outline, which shows on light ground too
    (213, 94, 0, 255),  # pixels that are neither white nor black
)
_BACKGROUND, _ROCK_GLACIER, _STROKE, _OUTLINE, _AROUND, _OTHER = range(len(_OVERLAY_COLOURS))


class Picture(NamedTuple):
    """What a page shows of one tile.

    Attributes:
        tile: URI of its picture; empty where there is none, or where it cannot be decoded.
        overlay: URI of its mask's picture; empty where that is all background.
        share: share of the mask's pixels that are rock glacier, in [0, 1]; None where no mask can be decoded.
    """

    tile: str = ""
    overlay: str = ""
    share: float | None = None


def read_pictures(listing: Listing, paths: Iterable[str]) -> dict[str, Picture]:
    """Draw tiles and their masks; what cannot be decoded is left out.

    Args:
        listing: the archives.
        paths: the tiles' paths, such as `train/glaciar/012.png`.

    Returns:
        one for each path, in their order; an empty one where nothing can be shown.
    """
    pictures = dict.fromkeys(paths, Picture())
    members = [member for member in (*listing.tiles, *listing.masks) if tile_path(member) in pictures]
    for archive, member in open_members(tqdm(members, "Drawing tiles and masks", unit=" pictures", disable=None)):
        pixels = _decode(archive, member)
        if pixels is None:
            continue
        path = tile_path(member)
        if member.folder == MASKS:
            share = float((pixels == ROCK_GLACIER_COLOUR).all(-1).mean())
            pictures[path] = pictures[path]._replace(overlay=draw_overlay(pixels), share=share)
        else:
            tile = Image.fromarray(pixels).convert("RGB")
            pictures[path] = pictures[path]._replace(tile=image_uri(tile, "webp", quality=_QUALITY, method=2))
    return pictures


def _decode(archive: TileArchive, member: ListedMember) -> npt.NDArray[np.uint8] | None:
    """Decode a tile or mask, of another colour type too; None where it cannot be decoded."""
    try:
        png = archive.read(member.folder, member.member_id)
    except ArchiveError as fault:
        if fault.code not in ("png-format", "mask-format") or "://" in member.archive.path:
            return None
        with zipfile.ZipFile(member.archive.path) as opened:
            png = opened.read(archive.members[member.folder, member.member_id])
    try:
        return decode_any_png(png)
    except ValueError:
        return None


def draw_overlay(mask: npt.NDArray[np.uint8]) -> str:
    """Draw a mask, to be laid over its tile.

    Args:
        mask: uint8 array of shape (128, 128, 4).

    Returns:
        URI of the picture; an empty text where all is background.
    """
    rock_glacier = (mask == ROCK_GLACIER_COLOUR).all(-1)
    others = ~rock_glacier & (mask != BACKGROUND_COLOUR).any(-1)
    if not (rock_glacier | others).any():
        return ""
    y, x = np.indices(rock_glacier.shape)
    places = np.full(rock_glacier.shape, _BACKGROUND, np.uint8)
    places[ndimage.binary_dilation(rock_glacier | others)] = _AROUND
    places[rock_glacier] = _ROCK_GLACIER
    places[rock_glacier & ((x + y) % _HATCHING < 2)] = _STROKE
    places[rock_glacier & ~ndimage.binary_erosion(rock_glacier)] = _OUTLINE
    places[others] = _OTHER
    image = Image.fromarray(places)
    image.putpalette([channel for colour in _OVERLAY_COLOURS for channel in colour[:3]])
    return image_uri(image, "png", bits=4, transparency=bytes(colour[3] for colour in _OVERLAY_COLOURS))


def image_uri(image: Image.Image, kind: str, **options: Any) -> str:
    """Encode an image as `data:` URI, in a format of Pillow with its options."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
