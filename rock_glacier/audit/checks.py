"""Check a folder of archives, every tile and mask of it, and report all faults.

1. List the archives (`rock_glacier.archives.listing`).
2. Decode and check every tile and mask, choose the tiles' anchor windows, and hash the tiles; a tile has the same hash
   however it is turned or mirrored.
3. Find the tiles that overlap or show the same ground, and where they lie (`rock_glacier.grounds.search`).
4. Compare grounds.csv with what was found, where there is one (`rock_glacier.audit.stated_grounds`).
"""

from __future__ import annotations

import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rock_glacier.archives.grounds_file import GroundRow
from rock_glacier.archives.listing import ListedMember, Listing, split_of
from rock_glacier.audit import parts
from rock_glacier.audit.findings import CODES, ERROR, WARNING, Code, Finding, finding_of
from rock_glacier.audit.parts import MaskShape
from rock_glacier.audit.stated_grounds import check_grounds_file
from rock_glacier.console import count
from rock_glacier.grounds.overlaps import SAMPLES, AnchorTable
from rock_glacier.grounds.pairs import Overlap, SameGround
from rock_glacier.grounds.positions import Positions
from rock_glacier.grounds.search import find_grounds, parts_of
from rock_glacier.parallel import Workers
from rock_glacier_dataset import GLACIAR, SPLIT_NAMES


class Audit(NamedTuple):
    """What was found in a folder of archives.

    Attributes:
        findings: in the order of `Code`, then of the tiles.
        overlaps: every pair of tiles that overlap, as rows of the JSON: a, b, turn, dx, dy, pixels.
        same_ground: every other pair of tiles that show the same ground, as rows of the JSON: a, b, turn, dx, dy,
            matches, correlation; None where they were not searched.
        positions: where each tile lies, in the order of the listing.
        listing: the archives.
        shapes: shape of each mask that can be decoded, by the path of its tile.
        rows: the rows of grounds.csv by path; empty where there is none, or where it is damaged or of other tiles.
    """

    findings: list[Finding]
    overlaps: list[dict[str, Any]]
    same_ground: list[dict[str, Any]] | None
    positions: Positions
    listing: Listing
    shapes: dict[str, MaskShape]
    rows: dict[str, GroundRow]

    @property
    def tiles(self) -> dict[str, dict[str, int]]:
        """Number of tiles in each split and class."""
        return self.listing.counts()

    @property
    def links_left_out(self) -> str:
        """How many links were left out and why, for a report; "" if none were."""
        links = len(self.positions.unclosed)
        verbs = ("contradicts", "was") if links == 1 else ("contradict", "were")
        return "{} {} stronger ones and {} left out".format(count(links, "link"), *verbs) if links else ""

    @property
    def grounds(self) -> dict[str, int]:
        """Number of each tile's ground, by the tile's path, in the order of the tiles."""
        return {
            tile.path: number for tile, number in zip(self.listing.tiles, self.positions.ground.tolist(), strict=True)
        }

    def coverages(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return the coverage of each mask that shows rock glacier, by split, values in (0, 1]."""
        covered: dict[str, list[float]] = {split: [] for split in SPLIT_NAMES}
        for path, shape in self.shapes.items():
            if shape.coverage:
                covered[split_of(path) or ""].append(shape.coverage)
        return {split: np.array(shares) for split, shares in covered.items()}

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
            "findings": [finding.as_json() for finding in self.findings],
            "overlaps": self.overlaps,
            "same_ground": self.same_ground,
            "grounds": int(self.positions.ground.max(initial=-1)) + 1,
        }


def count_pairs(pairs: Iterable[Mapping[str, Any]]) -> Counter[tuple[str, str]]:
    """Count pairs of tiles, rows of the JSON, by the splits of their tiles, in the order of `SPLIT_NAMES`."""
    splits = (sorted((split_of(pair[side]) or "" for side in "ab"), key=SPLIT_NAMES.index) for pair in pairs)
    return Counter((a, b) for a, b in splits)


def count_across_splits(pairs: Iterable[Mapping[str, Any]]) -> int:
    """Count the pairs whose tiles are in two splits."""
    return sum(number for (a, b), number in count_pairs(pairs).items() if a != b)


def audit(data_dir: str | os.PathLike[str], workers: Workers | None = None, *, same_ground: bool = True) -> Audit:
    """Check a folder of archives. A broken archive is a finding; the others are checked all the same.

    Args:
        data_dir: the folder, local or a URL; all workers see it.
        workers: processes to use; by default one for each core of this machine.
        same_ground: whether to search for the same ground beyond identical pixels, which takes most of the time.

    Raises:
        ArchiveError: the folder cannot be listed, or holds no archives.
        WorkerError: the workers cannot be reached, or one was killed.
    """
    workers = workers or Workers()
    listing = Listing(data_dir)
    tiles = listing.tiles
    checked = list(workers.map("Checking tiles", parts.check_tiles, parts_of(tiles, workers)))
    mask_parts = [(masks,) for _, masks in parts_of(listing.masks, workers)]
    checked_masks = list(workers.map("Checking masks", parts.check_masks, mask_parts))
    samples = np.concatenate([np.zeros((0, *SAMPLES), np.uint32), *(part.samples for part in checked)])
    table = AnchorTable((part.anchors for part in checked), samples)
    grounds = find_grounds(tiles, table, workers, same_ground=same_ground)
    # Archives without any mask are a warning, because image-classification needs none.
    unpaired = {} if listing.masks else {Code.MASK_MISSING.code: WARNING}
    findings = {finding_of(fault, unpaired.get(fault.code)) for fault in listing.faults}
    findings.update(*(part.findings for part in checked), *(found for found, _ in checked_masks))
    pairs: list[Overlap | SameGround] = [*grounds.overlaps, *(grounds.same_ground or [])]
    rows_of_file, of_file = check_grounds_file(listing, pairs)
    findings.update(of_file, _ground_findings(pairs, tiles))
    findings.update(_duplicate_findings(tiles, [one for part in checked for one in part.hashes], workers))
    places = {tile.path: number for number, tile in enumerate(tiles)}
    codes = list(CODES)

    def rows(pairs: Sequence[Overlap | SameGround]) -> list[dict[str, Any]]:
        return [{**one._asdict(), "a": tiles[one.a].path, "b": tiles[one.b].path} for one in pairs]

    return Audit(
        sorted(findings, key=lambda one: (codes.index(one.code), one.severity, places.get(one.path, -1), one)),
        rows(grounds.overlaps),
        None if grounds.same_ground is None else rows(grounds.same_ground),
        grounds.positions,
        listing,
        {path: shape for _, shapes in checked_masks for path, shape in shapes.items()},
        rows_of_file,
    )


def _ground_findings(pairs: Iterable[Overlap | SameGround], tiles: Sequence[ListedMember]) -> Iterator[Finding]:
    for one in pairs:
        a, b = tiles[one.a], tiles[one.b]
        if a.archive.split != b.archive.split:
            if isinstance(one, Overlap):
                code, what = Code.OVERLAP_ACROSS_SPLITS, f"overlaps {b.path} on {one.pixels} pixels"
            else:
                measured = f"{one.matches} matches, correlation {one.correlation:.2f}"
                code, what = Code.SAME_GROUND_ACROSS_SPLITS, f"shows the same ground as {b.path} ({measured})"
            place = f"turn={one.turn}, dx={one.dx}, dy={one.dy}"
            message = f"{a.path}: {what}, at {place}; put both into one split, as build_archives.py does"
            yield Finding(code.code, code.severity, a.path, message, b.path)


def _duplicate_findings(tiles: Sequence[ListedMember], hashes: Sequence[bytes], workers: Workers) -> Iterator[Finding]:
    """Yield each tile that has the pixels of an earlier one, as they are, turned or mirrored."""
    alike = defaultdict(list)
    for tile, hash_of_tile in zip(tiles, hashes, strict=True):
        if hash_of_tile:
            alike[hash_of_tile].append(tile)
    groups = [of_hash for of_hash in alike.values() if len(of_hash) > 1]
    repeated = {tile for group in groups for tile in group if tile.folder == GLACIAR}
    masked = [tile for tile in tiles if tile in repeated]
    of_parts = workers.map("Comparing masks", parts.hash_with_masks, [(one,) for _, one in parts_of(masked, workers)])
    with_masks = dict(zip(masked, itertools.chain.from_iterable(of_parts), strict=True))
    for first, *others in groups:
        splits = {tile.archive.split for tile in (first, *others)}
        for tile in others:
            masks = {with_masks.get(first), with_masks.get(tile)} - {None, b""}
            differs = "class" if tile.folder != first.folder else "mask" if len(masks) > 1 else ""
            remedy = f", but another {differs}; keep the right one" if differs else "; remove one"
            message = f"{tile.path}: has the pixels of {first.path}, as they are, turned or mirrored{remedy}"
            if len(splits) > 1:
                message += ", for no tile may stand in two splits"
            yield Finding(
                Code.DUPLICATE_PIXELS.code, ERROR if len(splits) > 1 else WARNING, tile.path, message, first.path
            )
