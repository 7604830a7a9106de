"""Small pictures of tiles and masks, as `data:` URIs that a page holds in itself.

A picture is for looking at: tiles are encoded again with loss, a mask becomes an outline with hatching, and what the
audit finds fault with is shown as far as it can be decoded.
"""

from __future__ import annotations

import base64
import io
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import datasets
import numpy as np
import numpy.typing as npt
from PIL import Image
from tile_pixels import BACKGROUND, ROCK_GLACIER, Pixels, decoded
from tqdm import tqdm

import rock_glacier_dataset
from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES, TILE_SIZE, ArchiveError

TILE_PATH = re.compile(rf"(?:{'|'.join(SPLIT_NAMES)})/(?:{'|'.join(CLASS_NAMES)})/(?:0|[1-9][0-9]{{0,17}})\.png")
"""A path as a sound archive has it, wherever it stands in a text."""

QUALITY = 70
"""Of the tiles as WebP: some 2 KB each, against 40 KB as PNG, at the size that a page shows them in."""

_MOST_PIXELS = 2**20
"""An image above this is no tile, whatever it is, and is not decoded for a picture."""

_OVERLAY_COLOURS = (
    (0, 0, 0, 0),  # background
    (240, 228, 66, 40),  # rock glacier
    (240, 228, 66, 130),  # its hatching
    (240, 228, 66, 255),  # its outline
    (0, 0, 0, 200),  # the line around the outline, so that it shows on light ground too
    (213, 94, 0, 255),  # pixels that are neither white nor black
)
"""RGBA of an overlay's pixels, in colours of Okabe and Ito (2008), Color Universal Design."""

_HATCHING = 8
"""Pixels from one stroke of the hatching to the next."""


class Picture(NamedTuple):
    """What a page shows of one tile.

    Attributes:
        tile: URI of its picture; empty where there is none, or where it cannot be decoded.
        overlay: URI of its mask's picture, transparent on background; empty where it is nothing else.
        share: share of the mask's pixels that are rock glacier, in [0, 1]; None where no mask can be decoded.
    """

    tile: str = ""
    overlay: str = ""
    share: float | None = None


def read_pictures(data_dir: str | os.PathLike[str], paths: Iterable[str], progress: bool = False) -> dict[str, Picture]:
    """Read pictures of tiles and of their masks from archives, whatever is wrong with those.

    Args:
        data_dir: the folder of archives.
        paths: the tiles, such as `train/glaciar/12.png`.
        progress: whether to show a progress bar on standard error.

    Returns:
        one for each path, in their order; an empty one where neither tile nor mask can be shown.
    """
    pictures = dict.fromkeys(paths, Picture())
    wanted: dict[str, list[int]] = defaultdict(list)
    for path in pictures:
        wanted[path.split("/")[0]].append(_key(path))
    folder = rock_glacier_dataset._absolute(os.fspath(data_dir))
    files = rock_glacier_dataset._list_files(folder, datasets.DownloadConfig())
    with tqdm(total=len(pictures), desc="Taking pictures", unit=" tiles", disable=not progress) as bar:
        for name in sorted(files):
            match = rock_glacier_dataset._ARCHIVE_NAME.fullmatch(name)
            split, _, kind = match[1].partition("_") if match else ("", "", "")
            if wanted[split]:
                taken = _take(name, files[name].path, split, wanted[split], pictures, is_mask=bool(kind))
                bar.update(0 if kind else taken)
    return pictures


def _key(path: str) -> int:
    """Return the key that an archive's `members` have for a path."""
    _, class_name, file_name = path.split("/")
    number = int(file_name.removesuffix(".png"))
    return CLASS_NAMES.index(class_name) * 10**rock_glacier_dataset._ID_DIGITS + number


def _take(name: str, path: str, split: str, keys: list[int], pictures: dict[str, Picture], *, is_mask: bool) -> int:
    """Fill in the pictures that one archive gives, and return how many it has members of."""
    try:
        archive = rock_glacier_dataset._Archive(name, path, split, datasets.DownloadConfig(), lambda fault: None)
    except ArchiveError:
        return 0  # a finding says so
    with archive:
        rows = np.flatnonzero(np.isin(archive.members["key"], keys))
        for row in rows.tolist():
            member = archive.members[row].item()
            place = archive.member_name(member[0])
            pixels = _decoded_if_it_can_be(archive, member, place)
            if pixels is None:
                continue
            if is_mask:
                share = float((pixels == ROCK_GLACIER).mean())
                pictures[place] = pictures[place]._replace(overlay=overlay_uri(pixels), share=share)
            elif not pictures[place].tile:
                pictures[place] = pictures[place]._replace(tile=tile_uri(pixels))
    return len(rows)


def _decoded_if_it_can_be(archive: Any, member: tuple[int, ...], path: str) -> Pixels | None:
    """Decode a member, of another format too: a tile that lacks its alpha channel is worth a look."""
    try:
        png = archive._read_member(path, *member[1:])
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            is_small = image.width * image.height <= _MOST_PIXELS
        return decoded(png) if is_small else None
    except Exception:  # of many kinds, by what is damaged; a finding says what
        return None


def tile_uri(pixels: Pixels) -> str:
    """Return the picture of a tile.

    Args:
        pixels: shape (height, width); as the audit does, it looks at red, green and blue alone.
    """
    channels = np.ascontiguousarray(pixels).view(np.uint8).reshape(*pixels.shape, 4)
    image = Image.fromarray(np.ascontiguousarray(channels[..., :3]))
    image.thumbnail((TILE_SIZE, TILE_SIZE))
    file = io.BytesIO()
    image.save(file, "WEBP", quality=QUALITY, method=2)
    return _uri("image/webp", file)


def overlay_uri(mask: Pixels) -> str:
    """Return the picture of a mask, to be laid over its tile; an empty text where there is nothing to see.

    Rock glacier is hatched and outlined, so that it can be told without its colour.

    Args:
        mask: shape (height, width).
    """
    rock_glacier, background = mask == ROCK_GLACIER, mask == BACKGROUND
    if background.all():
        return ""
    y, x = np.indices(mask.shape)
    places = np.zeros(mask.shape, np.uint8)
    places[_grown(rock_glacier)] = 4
    places[rock_glacier] = 1
    places[rock_glacier & ((x + y) % _HATCHING < 2)] = 2
    places[rock_glacier & _grown(np.pad(~rock_glacier, 1, constant_values=True))[1:-1, 1:-1]] = 3
    others = ~(rock_glacier | background)
    places[_grown(others)] = 4
    places[others] = 5
    image = Image.fromarray(places)
    image.putpalette([channel for colour in _OVERLAY_COLOURS for channel in colour[:3]])
    image.thumbnail((TILE_SIZE, TILE_SIZE), Image.Resampling.NEAREST)
    file = io.BytesIO()
    image.save(file, "PNG", bits=4, transparency=bytes(colour[3] for colour in _OVERLAY_COLOURS))
    return _uri("image/png", file)


def _grown(marked: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Mark the pixels beside, above and below the marked ones too."""
    grown = marked.copy()
    grown[1:] |= marked[:-1]
    grown[:-1] |= marked[1:]
    grown[:, 1:] |= marked[:, :-1]
    grown[:, :-1] |= marked[:, 1:]
    return grown


def _uri(kind: str, file: io.BytesIO) -> str:
    return f"data:{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
