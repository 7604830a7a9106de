"""The pieces of work of an audit: each reads a part of one archive, and tells what it found there.

A worker opens the archive for itself, so that `data_dir` may lie on storage that several machines see; what goes
between them is small: members' places, landmarks, proposals and findings, never pixels.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from archive_listing import Shard, open_shard
from findings import Finding, finding_of
from overlaps import (
    LANDMARK,
    PROPOSAL,
    WINDOW,
    LandmarkTable,
    are_corners_rich,
    colour_hashes,
    landmarks,
    landmarks_of_rich,
    window_hashes,
)
from tile_pixels import BACKGROUND, COLOURS, ROCK_GLACIER, Pixels, check_chunks, decoded, decoded_upper_rows

from rock_glacier_dataset import TILE_SIZE, ArchiveError


class CheckedTiles(NamedTuple):
    """What came of checking a part of an archive of tiles.

    Attributes:
        findings: the tiles' faults.
        proposals: array of `PROPOSAL`.
        signatures: uint32 for each tile, the same for tiles that are one another turned or mirrored.
        sound: for each tile whether it could be decoded.
    """

    findings: list[Finding]
    proposals: np.ndarray
    signatures: npt.NDArray[np.uint32]
    sound: npt.NDArray[np.bool_]


class CheckedMasks(NamedTuple):
    """What came of checking a part of an archive of masks.

    Attributes:
        split: name of the split.
        findings: the masks' faults.
        covered: int32 for each mask, the number of its rock glacier pixels.
    """

    split: str
    findings: list[Finding]
    covered: npt.NDArray[np.int32]


def read_landmarks(folder: str, part: Shard) -> np.ndarray:
    """Find the landmarks of a part's tiles; those that cannot be decoded have none, and `check_tiles` tells of them."""
    upper = np.zeros((len(part.members), WINDOW, TILE_SIZE), np.uint32)
    sound = np.zeros(len(part.members), bool)
    read: dict[int, bytes] = {}
    with open_shard(folder, part) as archive:
        for row, (member, path) in enumerate(_members(archive)):
            with contextlib.suppress(ArchiveError):
                read[row] = archive.read_png(member, path)
    for row, pixels in zip(read, decoded_upper_rows([*read.values()], WINDOW), strict=True):
        if pixels is not None:
            upper[row], sound[row] = pixels & COLOURS, True
    rich = sound & are_corners_rich(upper)
    found = [landmarks_of_rich(part.first + np.flatnonzero(rich), upper[rich])]
    for row in np.flatnonzero(sound & ~rich).tolist():
        with contextlib.suppress(ValueError):
            found.append(landmarks(part.first + row, decoded(read[row]) & COLOURS))
    return np.concatenate([np.zeros(0, LANDMARK), *found])


def check_tiles(folder: str, part: Shard, table: LandmarkTable) -> CheckedTiles:
    """Decode and check a part's tiles, and look their windows up among the landmarks of all."""
    findings: list[Finding] = []
    proposals = [np.zeros(0, PROPOSAL)]
    signatures = np.zeros(len(part.members), np.uint32)
    sound = np.zeros(len(part.members), bool)
    with open_shard(folder, part) as archive:
        for row, (member, path) in enumerate(_members(archive)):
            pixels = _decoded_member(archive, member, path, findings)
            if pixels is not None:
                pixels = pixels & COLOURS
                colours = colour_hashes(pixels)
                proposals.append(table.proposals(part.first + row, pixels, window_hashes(colours)))
                # The sum of its colours' hashes is the same for a tile that is turned or mirrored.
                signatures[row] = colours.sum(dtype=np.uint32)
                sound[row] = True
    return CheckedTiles(findings, np.concatenate(proposals), signatures, sound)


def check_masks(folder: str, part: Shard) -> CheckedMasks:
    """Decode and check a part of an archive of masks."""
    findings: list[Finding] = []
    covered = np.zeros(len(part.members), np.int32)
    with open_shard(folder, part) as archive:
        for row, (member, path) in enumerate(_members(archive)):
            mask = _decoded_member(archive, member, path, findings)
            if mask is not None:
                covered[row] = _check_mask(archive, path, mask, findings)
    return CheckedMasks(part.split, findings, covered)


def _members(archive: Any) -> Iterator[tuple[tuple[int, ...], str]]:
    """Yield an archive's members, each with its path."""
    for member in archive.members.tolist():
        yield member, archive.member_name(member[0])


def _decoded_member(archive: Any, member: tuple[int, ...], path: str, findings: list[Finding]) -> Pixels | None:
    try:
        png = archive.read_png(member, path)
        check_chunks(png)
        return decoded(png)
    except ArchiveError as error:
        findings.append(finding_of(error))
    except ValueError as error:
        what = f"cannot be decoded ({' '.join(str(error).split())})"
        remedy = "replace the member, or copy or download the archive again"
        findings.append(finding_of(archive.fault(what, remedy, path, "png-corrupt")))
    return None


def _check_mask(masks: Any, path: str, mask: Pixels, findings: list[Finding]) -> int:
    """Check a mask's colours, and return the number of its rock glacier pixels."""
    rock_glacier = mask == ROCK_GLACIER
    covered = int(np.count_nonzero(rock_glacier))
    others = mask.size - covered - int(np.count_nonzero(mask == BACKGROUND))
    if others:
        edge = _only_antialiases(mask, rock_glacier)
        what = f"has {others} pixels of other colours than white and black" + (", along its edges" if edge else "")
        fault = masks.fault(what, "save it without antialiasing, opaque, in the two colours", path, "mask-values")
        findings.append(finding_of(fault, "warning" if edge else "error"))
    is_glaciar = path.split("/")[1] == "glaciar"
    if covered and not is_glaciar:
        what = f"shows rock glacier on {covered} pixels, but its tile is cordillera"
        fault = masks.fault(what, "empty it, or move the tile and its mask to glaciar", path, "mask-not-empty")
        findings.append(finding_of(fault))
    if not covered and is_glaciar:
        what, remedy = "shows no rock glacier, but its tile is glaciar", "draw it, or move the tile to cordillera"
        findings.append(finding_of(masks.fault(what, remedy, path, "mask-empty")))
    return covered


def _only_antialiases(mask: Pixels, rock_glacier: npt.NDArray[np.bool_]) -> bool:
    """Tell whether all other colours are opaque greys between white and black, at most 2 pixels from both."""
    background = mask == BACKGROUND
    red, green, blue, alpha = (mask >> np.uint32(shift) & np.uint32(0xFF) for shift in (0, 8, 16, 24))
    grey = (red == green) & (green == blue) & (alpha == 255)
    between = grey & _grown(rock_glacier) & _grown(background)
    return bool((rock_glacier | background | between).all())


def _grown(marked: npt.NDArray[np.bool_], by: int = 2) -> npt.NDArray[np.bool_]:
    """Mark all pixels that are at most `by` rows and columns from a marked one."""
    padded = np.pad(marked, by)
    grown = np.zeros_like(marked)
    for y, x in itertools.product(range(2 * by + 1), repeat=2):
        grown |= padded[y : y + TILE_SIZE, x : x + TILE_SIZE]
    return grown
