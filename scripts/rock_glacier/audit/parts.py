"""The parts of an audit that run in worker processes: each reads some members of one archive.

A worker opens the archive itself. What is sent between processes is small: members' places, anchor windows, candidate
pairs and findings, never pixels.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from rock_glacier.archives.listing import ListedArchive, ListedMember, decode_member, open_members, tile_path
from rock_glacier.audit.findings import WARNING, Finding, finding_of
from rock_glacier.audit.survey import MaskShape, mask_shape
from rock_glacier.console import count
from rock_glacier.grounds.overlaps import (
    ANCHOR,
    CANDIDATE,
    AnchorTable,
    Overlap,
    anchor_windows,
    colour_hashes,
    confirm_overlaps,
)
from rock_glacier.grounds.pixels import Pixels, canonical_hash, pack_pixels
from rock_glacier.masks import mask_to_class_indices
from rock_glacier_dataset import BACKGROUND_COLOUR, ROCK_GLACIER_COLOUR, ArchiveError, TileArchive

_KEPT_TILES = 1500  # whose pixels a worker keeps while it compares pairs, 64 KiB each


class CheckedTiles(NamedTuple):
    """Result of checking some tiles.

    Attributes:
        findings: the tiles' faults.
        anchors: array of `ANCHOR`.
        signatures: uint32 array, one for each tile, equal for tiles that are each other turned or mirrored.
        valid: bool array, whether each tile could be decoded.
    """

    findings: list[Finding]
    anchors: np.ndarray
    signatures: npt.NDArray[np.uint32]
    valid: npt.NDArray[np.bool_]


class CheckedMasks(NamedTuple):
    """Result of checking some masks.

    Attributes:
        findings: the masks' faults.
        shapes: of each mask that could be decoded, by the path of its tile.
    """

    findings: list[Finding]
    shapes: dict[str, MaskShape]


def check_tiles(first: int, tiles: Sequence[ListedMember]) -> CheckedTiles:
    """Decode tiles, and choose their anchor windows.

    Args:
        first: number of the first of them; the others follow.
        tiles: tiles of one archive.
    """
    findings: list[Finding] = []
    anchors = [np.zeros(0, ANCHOR)]
    signatures = np.zeros(len(tiles), np.uint32)
    valid = np.zeros(len(tiles), bool)
    for place, (archive, tile) in enumerate(open_members(tiles)):
        try:
            pixels = pack_pixels(decode_member(archive, tile))
        except ArchiveError as fault:
            findings.append(finding_of(fault))
            continue
        anchors.append(anchor_windows(first + place, pixels))
        signatures[place] = colour_hashes(pixels).sum(dtype=np.uint32)
        valid[place] = True
    return CheckedTiles(findings, np.concatenate(anchors), signatures, valid)


def check_masks(masks: Sequence[ListedMember]) -> CheckedMasks:
    """Decode and check masks of one archive."""
    findings: list[Finding] = []
    shapes = {}
    for archive, mask in open_members(masks):
        try:
            pixels = decode_member(archive, mask)
        except ArchiveError as fault:
            findings.append(finding_of(fault))
            continue
        try:
            rock_glacier = mask_to_class_indices(pixels) == 1
        except ValueError:
            rock_glacier = (pixels == ROCK_GLACIER_COLOUR).all(-1)
            findings.append(_colour_finding(archive, mask, pixels, rock_glacier))
        if not rock_glacier.any():
            remedy = f"draw it, or move {tile_path(mask)} to cordillera and remove the mask"
            findings.append(finding_of(archive.fault("shows no rock glacier", remedy, "mask-empty", mask.path)))
        shapes[tile_path(mask)] = mask_shape(rock_glacier)
    return CheckedMasks(findings, shapes)


def _colour_finding(
    archive: TileArchive, mask: ListedMember, pixels: npt.NDArray[np.uint8], rock_glacier: npt.NDArray[np.bool_]
) -> Finding:
    """Make the finding of a mask with other colours: a warning where it is only antialiased.

    Its other colours are then opaque greys, at most 2 pixels from both white and black.
    """
    background = (pixels == BACKGROUND_COLOUR).all(-1)
    others = ~(rock_glacier | background)
    red, green, blue, alpha = np.moveaxis(pixels, -1, 0)
    soft = (red == green) & (green == blue) & (alpha == 255)
    for marked in (rock_glacier, background):
        soft &= ndimage.binary_dilation(marked, np.ones((5, 5), bool))
    on_edges = bool(soft[others].all())
    what = f"has {count(int(others.sum()), 'pixel')} of other colours than white and black"
    what += ", along its edges" if on_edges else ""
    remedy = "save it without antialiasing, opaque, in the two colours"
    return finding_of(archive.fault(what, remedy, "mask-values", mask.path), WARNING if on_edges else None)


def find_candidates(
    first: int, tiles: Sequence[ListedMember], valid: npt.NDArray[np.bool_], table: AnchorTable
) -> np.ndarray:
    """Look the windows of tiles of one archive up among the anchors of all.

    Args:
        first: number of the first tile.
        tiles: the tiles.
        valid: bool array, which of them can be decoded.
        table: the anchors.

    Returns:
        array of `CANDIDATE`.
    """
    found = [np.zeros(0, CANDIDATE)]
    chosen = np.flatnonzero(valid).tolist()
    for place, (archive, tile) in zip(chosen, open_members(tiles[place] for place in chosen), strict=True):
        found.append(table.candidates(first + place, pack_pixels(decode_member(archive, tile))))
    return np.concatenate(found)


def compare_pairs(tiles: Mapping[int, ListedMember], candidates: np.ndarray) -> list[Overlap]:
    """Confirm candidates, where `tiles` gives the tiles by their numbers."""
    with _pixel_reader(tiles) as pixels_of:
        return confirm_overlaps(candidates, pixels_of)


def canonical_hashes(tiles: Mapping[int, ListedMember]) -> list[bytes]:
    """Return the canonical hash of each tile."""
    with _pixel_reader(tiles) as pixels_of:
        return [canonical_hash(pixels_of(number)) for number in tiles]


@contextlib.contextmanager
def _pixel_reader(tiles: Mapping[int, ListedMember]) -> Iterator[Callable[[int], Pixels]]:
    """Give a function that returns a tile's pixels by its number, and keeps those that were asked for last."""
    opened: dict[ListedArchive, TileArchive] = {}
    with contextlib.ExitStack() as stack:

        @functools.lru_cache(_KEPT_TILES)
        def pixels_of(number: int) -> Pixels:
            tile = tiles[number]
            if tile.archive not in opened:
                opened[tile.archive] = stack.enter_context(tile.archive.open())
            return pack_pixels(decode_member(opened[tile.archive], tile))

        yield pixels_of
