"""Everything that can be wrong with a folder of archives, found by looking at every tile and mask.

1. The archives' directories say what there is (`archive_listing`).
2. Every tile's upper rows give the landmarks by which overlaps are found (`overlaps`); every mask is checked.
3. Every tile is decoded and checked, and its windows are looked up among the landmarks (`tile_checks`).
4. The pairs that this proposes are compared pixel by pixel, and so are tiles that may be one another, turned
   (`tile_comparisons`).
"""

from __future__ import annotations

import concurrent.futures
import itertools
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from archive_listing import Listing, Shard
from findings import CODES, Finding
from overlaps import PROPOSAL, LandmarkTable, Overlap, largest_overlaps
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tile_checks import CheckedMasks, CheckedTiles, check_masks, check_tiles, read_landmarks
from tile_comparisons import canonical_checksums, compare_pairs, pieces_of_candidates, pieces_of_pairs

from rock_glacier.parallel import Workers, call
from rock_glacier_dataset import SPLIT_NAMES, TILE_SIZE

_PART = 250
"""Tiles in one piece of work."""

_MASK_PART = 500
"""Masks in one piece of work."""

_Run = Callable[[str, Callable[..., Any], Sequence[tuple[Any, ...]]], list[Any]]


class Coverage(NamedTuple):
    """How much of the masks of one split is rock glacier.

    Attributes:
        masks: number of masks that show a rock glacier.
        mean: mean share of their pixels that do, in [0, 1].
        least: the smallest share.
        most: the largest share.
    """

    masks: int
    mean: float
    least: float
    most: float


class Audit(NamedTuple):
    """What was found in a folder of archives.

    Attributes:
        tiles: number of tiles in each split and class.
        findings: in the order of `CODES`, then of paths.
        overlaps: every pair of tiles cut over the same ground, with their paths in place of numbers.
        groups: group of each tile, by its path: tiles of one group are connected by overlaps.
        coverage: of each split that has masks.
    """

    tiles: dict[str, dict[str, int]]
    findings: list[Finding]
    overlaps: list[dict[str, Any]]
    groups: dict[str, int]
    coverage: dict[str, Coverage]

    @property
    def errors(self) -> int:
        """Number of findings that are errors."""
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        """Number of findings that are warnings."""
        return len(self.findings) - self.errors

    def as_json(self) -> dict[str, Any]:
        """Return the report as design contracts it: tiles, findings, overlaps, groups."""
        return {
            "tiles": self.tiles,
            "findings": [finding._asdict() for finding in self.findings],
            "overlaps": self.overlaps,
            "groups": len(set(self.groups.values())),
        }


def audit(data_dir: str | os.PathLike[str], workers: Workers | None = None) -> Audit:
    """Check everything about a folder of archives.

    Args:
        data_dir: the folder, local or on storage that all workers see.
        workers: who does the work; by default every core of this machine.

    Returns:
        what was found; a broken archive is a finding, and the others are checked.

    Raises:
        ArchiveError: there is no such folder, or no archive in it.
        BackendError: the workers cannot be reached.
    """
    listing = Listing(os.fspath(data_dir))
    run = (workers or Workers()).run
    with concurrent.futures.ThreadPoolExecutor(1) as beside:  # the checksums, while the workers start
        manifest_findings = beside.submit(listing.manifest_findings)
        parts = _parts(listing, listing.tiles, _PART)
        mask_parts = _parts(listing, listing.masks, _MASK_PART)
        pieces = [(read_landmarks, *part) for part in parts] + [(check_masks, *part) for part in mask_parts]
        looked = run("Reading landmarks and masks", call, pieces)
        table, checked_masks = LandmarkTable(looked[: len(parts)]), looked[len(parts) :]
        checked = run("Checking tiles", check_tiles, [(*part, table) for part in parts])
        found = listing.findings + manifest_findings.result()
    found += itertools.chain.from_iterable(part.findings for part in (*checked, *checked_masks))
    sound = np.concatenate([np.zeros(0, bool), *(part.sound for part in checked)]) & listing.are_first
    overlaps = _confirm(listing, checked, sound, run)
    found += _overlap_findings(overlaps, listing)
    found += _duplicate_findings(listing, checked, sound, run)
    places = listing.places([one.path for one in found])
    ordered = sorted(set(found), key=lambda one: (CODES.index(one.code), one.severity, places[one.path], one))
    rows = [{**one._asdict(), "a": listing.path(one.a), "b": listing.path(one.b)} for one in overlaps]
    return Audit(listing.counts(), ordered, rows, _groups(overlaps, listing), _coverage(checked_masks))


def _parts(listing: Listing, shards: Iterable[Shard], size: int) -> list[tuple[str, Shard]]:
    return [(listing.folder, part) for shard in shards for part in shard.parts(size)]


def _confirm(
    listing: Listing, checked: Sequence[CheckedTiles], sound: npt.NDArray[np.bool_], run: _Run
) -> list[Overlap]:
    """Compare the proposed pairs of sound tiles, and keep the largest overlap of each."""
    proposed = np.unique(np.concatenate([np.zeros(0, PROPOSAL), *(part.proposals for part in checked)]))
    proposed = proposed[sound[proposed["a"]] & sound[proposed["b"]]]
    confirmed = run("Comparing pairs", compare_pairs, pieces_of_pairs(listing, proposed))
    return largest_overlaps(itertools.chain.from_iterable(confirmed))


def _overlap_findings(overlaps: Iterable[Overlap], listing: Listing) -> Iterator[Finding]:
    for one in overlaps:
        if listing.splits[one.a] != listing.splits[one.b]:
            a, b = listing.path(one.a), listing.path(one.b)
            message = (
                f"{a}: shows the same ground as {b}, on {one.pixels} pixels at dx={one.dx}, dy={one.dy}; "
                "put both into one split, as build_archives.py does"
            )
            yield Finding("overlap-across-splits", "error", a, message)


def _duplicate_findings(
    listing: Listing, checked: Sequence[CheckedTiles], sound: npt.NDArray[np.bool_], run: _Run
) -> Iterator[Finding]:
    """Yield each tile whose pixels another has too, as they are or turned or mirrored."""
    signatures = np.concatenate([np.zeros(0, np.uint32), *(part.signatures for part in checked)])
    numbers_of_sound = np.flatnonzero(sound)
    _, inverse, counts = np.unique(signatures[numbers_of_sound], return_inverse=True, return_counts=True)
    candidates = numbers_of_sound[counts[inverse] > 1]
    canonical = run("Comparing doubles", canonical_checksums, pieces_of_candidates(listing, candidates))
    alike = defaultdict(list)
    for number, checksum in zip(candidates.tolist(), itertools.chain.from_iterable(canonical), strict=True):
        alike[checksum].append(number)
    for numbers in alike.values():
        across = len({int(listing.splits[number]) for number in numbers}) > 1
        for number in numbers[1:]:
            path = listing.path(number)
            message = (
                f"{path}: has the pixels of {listing.path(numbers[0])}, as they are, turned or mirrored; remove one"
                + (", for a test tile must be no train tile" if across else "")
            )
            yield Finding("duplicate-pixels", "error" if across else "warning", path, message)


def _groups(overlaps: Sequence[Overlap], listing: Listing) -> dict[str, int]:
    """Number the connected components of tiles under overlap, in the order of their first tiles."""
    total = listing.tile_count
    if not total:
        return {}
    pairs = np.array([(one.a, one.b) for one in overlaps], np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(pairs), bool), pairs.T), shape=(total, total))
    _, labels = connected_components(graph, directed=False)
    _, first = np.unique(labels, return_index=True)
    order = np.argsort(np.argsort(first))
    return {listing.path(number): int(order[label]) for number, label in enumerate(labels)}


def _coverage(checked: Iterable[CheckedMasks]) -> dict[str, Coverage]:
    """Sum up the masks that show a rock glacier, by their split."""
    shares: dict[str, list[np.ndarray]] = {split: [np.zeros(0)] for split in SPLIT_NAMES}
    for part in checked:
        shares[part.split].append(part.covered[part.covered > 0] / TILE_SIZE**2)
    joined = {split: np.concatenate(found) for split, found in shares.items()}
    return {
        split: Coverage(len(share), float(share.mean()), float(share.min()), float(share.max()))
        for split, share in joined.items()
        if len(share)
    }
