"""Read tiles and masks, and convert them to the format of archives."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from rock_glacier.build.sources import PngFile, Source
from rock_glacier.masks import class_indices_to_mask
from rock_glacier.output import count
from rock_glacier.png import decode_any, encode
from rock_glacier_dataset import GLACIAR, ArchiveError, ArchiveReader, Fault, check_png

_THRESHOLD = 128  # Grey levels from 128 to 255 are rock glacier.


@dataclass(frozen=True)
class Converted:
    """A tile and its mask in the format of archives.

    Attributes:
        tile: RGBA PNG file; the bytes of the source, if it has this format.
        mask: RGBA PNG file of two colours, likewise; None for a cordillera tile.
        has_greys: Whether the mask had greys, which became white or black.
        pixels: The tile: uint8 of shape (128, 128, 4).
        rock_glacier: The mask: uint8 of shape (128, 128), 1 is rock glacier; all 0 without a mask.
    """

    tile: bytes
    mask: bytes | None
    has_greys: bool
    pixels: npt.NDArray[np.uint8]
    rock_glacier: npt.NDArray[np.uint8]


def convert_sources(sources: Sequence[Source]) -> list[Converted | Fault]:
    """Read and convert tiles and their masks.

    Returns:
        For each source, the converted tile and mask, or the fault.

    Raises:
        OSError: If a file cannot be read.
    """
    with _Files() as files:
        return [_convert_or_fault(source, files) for source in sources]


class _Files(contextlib.ExitStack):
    """Read PNG files; an archive is opened once."""

    def __init__(self) -> None:
        super().__init__()
        self._readers: dict[Path, ArchiveReader] = {}

    def read(self, png: PngFile) -> bytes:
        if png.archive_split is None:
            return (png.root / png.name).read_bytes()
        if png.root not in self._readers:
            reader = ArchiveReader(png.archive_split, str(png.root))
            self._readers[png.root] = self.enter_context(reader)
        return self._readers[png.root].read(png.name)


def _convert_or_fault(source: Source, files: _Files) -> Converted | Fault:
    try:
        return _convert(source, files)
    except ArchiveError as error:
        return error.fault


def _convert(source: Source, files: _Files) -> Converted:
    tile, pixels = _convert_tile(files.read(source.tile), source.tile.place)
    background = np.zeros(pixels.shape[:2], np.uint8)
    if source.mask is None:
        return Converted(tile, None, False, pixels, background)
    png = files.read(source.mask)
    place = source.mask.place
    colours = decode_any(png, place)
    # A transparent pixel is background.
    over_black = colours[..., :3].astype(np.uint32) * colours[..., 3:] // 255
    indices = _find_rock_glacier(over_black, place)
    _check_mask(indices, source.label, place)
    if source.label != GLACIAR:
        return Converted(tile, None, False, pixels, background)
    has_greys = bool(((over_black > 0) & (over_black < 255)).any())
    mask = class_indices_to_mask(indices)
    is_unchanged = check_png(png, place) is None and np.array_equal(colours, np.asarray(mask))
    content = png if is_unchanged else encode(mask)
    return Converted(tile, content, has_greys, pixels, indices.astype(np.uint8))


def _convert_tile(png: bytes, place: str) -> tuple[bytes, npt.NDArray[np.uint8]]:
    """Return the PNG file of a tile and its pixels."""
    pixels = decode_any(png, place)
    with Image.open(io.BytesIO(png)) as image:
        mode = image.mode
    if mode not in ("RGB", "RGBA"):
        problem = f"has colours of mode {mode}, neither RGB nor RGBA"
        fix = "Save it as an RGB or RGBA PNG file; if it is a mask, pass its folder with --masks"
        raise ArchiveError(Fault("png-format", place, problem, fix))
    if check_png(png, place) is None:
        return png, pixels
    return encode(pixels), pixels


def _find_rock_glacier(colours: npt.NDArray[np.uint32], place: str) -> npt.NDArray[np.bool_]:
    """Return which pixels of a mask are rock glacier: those of grey level 128 or brighter.

    Raises:
        ArchiveError: If a pixel is not grey.
    """
    is_white = colours.min(axis=-1) >= _THRESHOLD
    coloured = int(((colours.max(axis=-1) >= _THRESHOLD) & ~is_white).sum())
    if coloured:
        problem = f"has {count(coloured, 'coloured pixel')}"
        fix = "Draw rock glacier white and the rest black; move it if it is a tile"
        raise ArchiveError(Fault("mask-values", place, problem, fix))
    return is_white


def _check_mask(indices: npt.NDArray[np.bool_], label: str, place: str) -> None:
    covered = int(indices.sum())
    if label == GLACIAR and not covered:
        problem = f"shows no rock glacier: no pixel is {_THRESHOLD} or brighter"
        fix = "Draw the rock glacier white, or move the tile to cordillera"
        raise ArchiveError(Fault("mask-empty", place, problem, fix))
    if label != GLACIAR and covered:
        problem = f"shows rock glacier on {count(covered, 'pixel')}, but its tile is {label}"
        fix = f"Remove the mask, or make the tile {GLACIAR}"
        raise ArchiveError(Fault("mask-orphan", place, problem, fix))
