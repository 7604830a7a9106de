"""Check a folder of archives, every tile and mask of it, and report all faults.

1. List the archives (`rock_glacier.archives.listing`).
2. Decode and check every tile and mask, choose the tiles' anchor windows, and hash the tiles; a tile has the same hash
   however it is turned or mirrored.
3. Look the windows of every tile up among the anchors, which gives candidate pairs (`rock_glacier.grounds.overlaps`).
4. Compare the candidate pairs pixel by pixel.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rock_glacier.archives.listing import ListedMember, Listing, split_of
from rock_glacier.audit import parts
from rock_glacier.audit.findings import CODES, ERROR, WARNING, Code, Finding, finding_of
from rock_glacier.audit.parts import MaskShape
from rock_glacier.grounds.components import number_grounds
from rock_glacier.grounds.overlaps import CANDIDATE, AnchorTable, Overlap, sort_candidates
from rock_glacier.parallel import Workers
from rock_glacier_dataset import SPLIT_NAMES

_PART = 16  # smallest number of tiles or masks that a worker is given at once
_PARTS = 64  # largest number of parts, because each begins by reading an archive's directory
_PAIRS = 500  # number of pairs that a worker compares at once


class Audit(NamedTuple):
    """What was found in a folder of archives.

    Attributes:
        findings: in the order of `Code`, then of the tiles.
        overlaps: every pair of tiles that overlap, as rows of the JSON: a, b, turn, dx, dy, pixels.
        grounds: number of each tile's ground, by the tile's path, in the order of the tiles.
        listing: the archives.
        shapes: shape of each mask that can be decoded, by the path of its tile.
    """

    findings: list[Finding]
    overlaps: list[dict[str, Any]]
    grounds: dict[str, int]
    listing: Listing
    shapes: dict[str, MaskShape]

    @property
    def tiles(self) -> dict[str, dict[str, int]]:
        """Number of tiles in each split and class."""
        return self.listing.counts()

    def coverages(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return the coverage of each mask that shows rock glacier, by split, values in (0, 1]."""
        covered: dict[str, list[float]] = {split: [] for split in SPLIT_NAMES}
        for path, shape in self.shapes.items():
            if shape.coverage:
                covered[split_of(path) or ""].append(shape.coverage)
        return {split: np.array(shares) for split, shares in covered.items()}

    def count_pairs(self) -> Counter[tuple[str, str]]:
        """Count the overlapping pairs by the splits of their tiles, which are in the order of `SPLIT_NAMES`."""
        splits = ((split_of(pair["a"]) or "", split_of(pair["b"]) or "") for pair in self.overlaps)
        return Counter((min(pair, key=SPLIT_NAMES.index), max(pair, key=SPLIT_NAMES.index)) for pair in splits)

    @property
    def pairs_across_splits(self) -> int:
        """Number of overlapping pairs whose tiles are in two splits."""
        return sum(number for (a, b), number in self.count_pairs().items() if a != b)

    @property
    def errors(self) -> int:
        """Number of findings that are errors."""
        return sum(finding.severity == ERROR for finding in self.findings)

    @property
    def warnings(self) -> int:
        """Number of findings that are warnings."""
        return len(self.findings) - self.errors

    def as_json(self) -> dict[str, Any]:
        """Return the report that `--json` writes."""
        return {
            "tiles": self.tiles,
            "findings": [finding._asdict() for finding in self.findings],
            "overlaps": self.overlaps,
            "grounds": len(set(self.grounds.values())),
        }


def audit(data_dir: str | os.PathLike[str], workers: Workers | None = None) -> Audit:
    """Check a folder of archives. A broken archive is a finding; the others are checked all the same.

    Args:
        data_dir: the folder, local or a URL; all workers see it.
        workers: processes to use; by default one for each core of this machine.

    Raises:
        ArchiveError: the folder cannot be listed, or holds no archives.
        WorkerError: the workers cannot be reached, or one was killed.
    """
    workers = workers or Workers()
    listing = Listing(data_dir)
    tiles = listing.tiles
    tile_parts = _parts(tiles)
    checked = list(workers.map("Checking tiles", parts.check_tiles, tile_parts))
    mask_parts = [(masks,) for _, masks in _parts(listing.masks)]
    checked_masks = list(workers.map("Checking masks", parts.check_masks, mask_parts))
    table = AnchorTable(part.anchors for part in checked)
    lookups = [(*part, table) for part in tile_parts]
    candidates = workers.map("Finding candidate pairs", parts.find_candidates, lookups)
    overlaps = _confirm(tiles, np.unique(np.concatenate([np.zeros(0, CANDIDATE), *candidates])), workers)
    # Archives without any mask are a warning, because image-classification needs none.
    unpaired = {} if listing.masks else {Code.MASK_MISSING.code: WARNING}
    findings = {finding_of(fault, unpaired.get(fault.code)) for fault in listing.faults}
    findings.update(*(part.findings for part in checked), *(found for found, _ in checked_masks))
    findings.update(_overlap_findings(overlaps, tiles))
    findings.update(_duplicate_findings(tiles, [one for part in checked for one in part.hashes]))
    places = {tile.path: number for number, tile in enumerate(tiles)}
    codes = list(CODES)
    rows = [
        {"a": tiles[a].path, "b": tiles[b].path, "turn": 0, "dx": dx, "dy": dy, "pixels": n}
        for a, b, dx, dy, n in overlaps
    ]
    numbers = number_grounds(len(tiles), ((one.a, one.b) for one in overlaps))
    return Audit(
        sorted(findings, key=lambda one: (codes.index(one.code), one.severity, places.get(one.path, -1), one)),
        rows,
        {tile.path: number for tile, number in zip(tiles, numbers, strict=True)},
        listing,
        {path: shape for _, shapes in checked_masks for path, shape in shapes.items()},
    )


def _parts(members: list[ListedMember]) -> list[tuple[int, list[ListedMember]]]:
    """Cut members into parts: the number of the first, and the members."""
    size = max(_PART, -(-len(members) // _PARTS))
    return [(first, members[first : first + size]) for first in range(0, len(members), size)]


def _confirm(tiles: Sequence[ListedMember], candidates: np.ndarray, workers: Workers) -> list[Overlap]:
    """Compare candidate pairs, and keep the largest overlap of each."""
    candidates = sort_candidates(candidates)
    pieces = []
    for start in range(0, len(candidates), _PAIRS):
        piece = candidates[start : start + _PAIRS]
        numbers = np.unique([piece["a"], piece["b"]]).tolist()
        pieces.append(({number: tiles[number] for number in numbers}, piece))
    largest: dict[tuple[int, int], Overlap] = {}  # a pair's candidates may stand in two pieces, the largest first
    for overlaps in workers.map("Comparing pairs", parts.compare_pairs, pieces):
        for overlap in overlaps:
            largest.setdefault((overlap.a, overlap.b), overlap)
    return list(largest.values())


def _overlap_findings(overlaps: Iterable[Overlap], tiles: Sequence[ListedMember]) -> Iterator[Finding]:
    for one in overlaps:
        a, b = tiles[one.a], tiles[one.b]
        if a.archive.split != b.archive.split:
            message = (
                f"{a.path}: shows the same ground as {b.path}, on {one.pixels} pixels at dx={one.dx}, dy={one.dy}; "
                "put both into one split, as build_archives.py does"
            )
            yield Finding(Code.OVERLAP_ACROSS_SPLITS.code, ERROR, a.path, message)


def _duplicate_findings(tiles: Sequence[ListedMember], hashes: Sequence[bytes]) -> Iterator[Finding]:
    """Yield each tile that has the pixels of an earlier one, as they are, turned or mirrored."""
    alike = defaultdict(list)
    for tile, hash_of_tile in zip(tiles, hashes, strict=True):
        if hash_of_tile:
            alike[hash_of_tile].append(tile)
    for first, *others in alike.values():
        splits = {tile.archive.split for tile in (first, *others)}
        for tile in others:
            message = f"{tile.path}: has the pixels of {first.path}, as they are, turned or mirrored; remove one"
            if len(splits) > 1:
                message += ", for no tile may stand in two splits"
            yield Finding(Code.DUPLICATE_PIXELS.code, ERROR if len(splits) > 1 else WARNING, tile.path, message)
