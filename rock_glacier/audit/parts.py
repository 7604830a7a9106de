"""The parts of an audit that run in worker processes.

A worker opens the archives itself. Members' places, anchor windows, hashes and findings are sent between processes, but
no whole tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rock_glacier.archives.listing import ListedMember, decode_member, open_members, tile_path
from rock_glacier.audit.findings import Finding, finding_of
from rock_glacier.console import count
from rock_glacier.grounds.overlaps import ANCHOR, SAMPLES, anchor_windows, sample_pixels
from rock_glacier.grounds.pixels import canonical_hash, pack_pixels
from rock_glacier_dataset import BACKGROUND_COLOUR, MASKS, ROCK_GLACIER_COLOUR, ArchiveError


class CheckedTiles(NamedTuple):
    """Result of `check_tiles`.

    Attributes:
        findings: the tiles' faults.
        anchors: array of `ANCHOR`.
        samples: `sample_pixels` of each tile, uint32 of shape (tiles, *SAMPLES); zeros where it cannot be decoded.
        hashes: canonical hash of each tile; empty where it cannot be decoded.
    """

    findings: list[Finding]
    anchors: np.ndarray
    samples: npt.NDArray[np.uint32]
    hashes: list[bytes]


class MaskShape(NamedTuple):
    """How much of its tile a mask covers.

    Attributes:
        coverage: share of the tile's pixels that are rock glacier, in [0, 1].
        border: share of the pixels along the tile's border that are, in [0, 1].
    """

    coverage: float
    border: float


def check_tiles(first: int, tiles: Sequence[ListedMember]) -> CheckedTiles:
    """Decode tiles, whose numbers begin at `first`, and choose their anchor windows."""
    findings, anchors, hashes = [], [np.zeros(0, ANCHOR)], []
    samples = np.zeros((len(tiles), *SAMPLES), np.uint32)
    for number, (archive, tile) in enumerate(open_members(tiles), first):
        try:
            pixels = pack_pixels(decode_member(archive, tile.folder, tile.member_id))
        except ArchiveError as fault:
            findings.append(finding_of(fault))
            hashes.append(b"")
            continue
        anchors.append(anchor_windows(number, pixels))
        samples[number - first] = sample_pixels(pixels)
        hashes.append(canonical_hash(pixels))
    return CheckedTiles(findings, np.concatenate(anchors), samples, hashes)


def check_masks(masks: Sequence[ListedMember]) -> tuple[list[Finding], dict[str, MaskShape]]:
    """Decode and check masks.

    Returns:
        the masks' faults, and the shape of each mask that can be decoded, by the path of its tile.
    """
    findings: list[Finding] = []
    shapes = {}
    for archive, mask in open_members(masks):
        try:
            pixels = decode_member(archive, mask.folder, mask.member_id)
        except ArchiveError as fault:
            findings.append(finding_of(fault))
            continue
        rock_glacier = (pixels == ROCK_GLACIER_COLOUR).all(-1)
        others = ~(rock_glacier | (pixels == BACKGROUND_COLOUR).all(-1))
        if others.any():
            what = f"has {count(int(others.sum()), 'pixel')} of other colours than white and black"
            remedy = "build the archives again with build_archives.py, which cuts greys at half"
            findings.append(finding_of(archive.fault(what, remedy, "mask-values", mask.path)))
        if not rock_glacier.any():
            remedy = f"draw it, or move {tile_path(mask)} to cordillera and remove the mask"
            findings.append(finding_of(archive.fault("shows no rock glacier", remedy, "mask-empty", mask.path)))
        inner = rock_glacier[1:-1, 1:-1]
        border = (rock_glacier.sum() - inner.sum()) / (rock_glacier.size - inner.size)
        shapes[tile_path(mask)] = MaskShape(float(rock_glacier.mean()), float(border))
    return findings, shapes


def hash_with_masks(tiles: Sequence[ListedMember]) -> list[bytes]:
    """Hash glaciar tiles with their masks; a turn of both does not change the hash.

    Args:
        tiles: tiles that can be decoded.

    Returns:
        the hash of each; empty where its mask is missing or cannot be decoded.
    """
    hashes = []
    for archive, tile in open_members(tiles):
        pixels = pack_pixels(decode_member(archive, tile.folder, tile.member_id))
        try:
            mask = decode_member(archive, MASKS, tile.member_id)
        except (KeyError, ArchiveError):
            hashes.append(b"")
        else:
            hashes.append(canonical_hash(pixels | np.uint32(1 << 24) * (mask == ROCK_GLACIER_COLOUR).all(-1)))
    return hashes
