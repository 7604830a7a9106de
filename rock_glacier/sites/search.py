"""Find the grounds of archived tiles with worker processes.

A worker opens the archives itself. Members' places, anchor windows, features and links are sent between processes, but
no whole tiles. The index of features is one, in this process, and searched by all its cores.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rock_glacier.archives.listing import ListedArchive, ListedMember, decode_member, open_members
from rock_glacier.grounds.components import number_grounds
from rock_glacier.grounds.overlaps import CANDIDATE, AnchorTable, confirm_overlaps, sort_candidates
from rock_glacier.grounds.pairs import Overlap, SameGround
from rock_glacier.grounds.pixels import pack_pixels
from rock_glacier.grounds.positions import Positions, place_tiles
from rock_glacier.parallel import Workers
from rock_glacier_dataset import ArchiveError, TileArchive

_PART = 16  # tiles that a worker is given at once, at least
_PAIRS = 500  # that a worker compares at once, at least
_KEPT_TILES = 1500  # that a worker keeps decoded while it compares pairs, 64 KiB each


class Grounds(NamedTuple):
    """The grounds of tiles.

    Attributes:
        overlaps: every pair of tiles that overlap.
        same_ground: the other pairs that were found to show the same ground; None where they were not searched.
        positions: where each tile lies.
    """

    overlaps: list[Overlap]
    same_ground: list[SameGround] | None
    positions: Positions


def find_grounds(
    tiles: Sequence[ListedMember], table: AnchorTable, workers: Workers, *, same_ground: bool = True
) -> Grounds:
    """Find which tiles overlap or show the same ground, and place them.

    Args:
        tiles: the tiles; those that cannot be decoded are passed over.
        table: the anchors of all tiles that can be decoded.
        workers: processes to use.
        same_ground: whether to search for the same ground beyond identical pixels.

    Raises:
        WorkerError: the workers cannot be reached, or one was killed.
    """
    lookups = [(*part, table) for part in parts_of(tiles, workers)]
    candidates = np.concatenate([np.zeros(0, CANDIDATE), *workers.map("Finding candidate pairs", _look_up, lookups)])
    # Of a pair that a piece's end divides, the larger overlap comes first.
    overlaps: dict[tuple[int, int], Overlap] = {}
    for one in _confirm(tiles, sort_candidates(candidates), workers, "Comparing pairs"):
        overlaps.setdefault((one.a, one.b), one)
    in_order = [overlaps[pair] for pair in sorted(overlaps)]
    links = _same_ground(tiles, overlaps, workers) if same_ground else None
    return Grounds(in_order, links, place_tiles(len(tiles), in_order, links or []))


def parts_of(members: Sequence[ListedMember], workers: Workers) -> list[tuple[int, Sequence[ListedMember]]]:
    """Cut members into parts, as (number of the first, members); few, for each begins by reading a directory."""
    size = max(_PART, -(-len(members) // workers.parts))
    return [(first, members[first : first + size]) for first in range(0, len(members), size)]


def _same_ground(
    tiles: Sequence[ListedMember], overlaps: Mapping[tuple[int, int], Overlap], workers: Workers
) -> list[SameGround]:
    from rock_glacier.grounds.same_ground import find_links

    parts = [(part,) for _, part in parts_of(tiles, workers)]
    described = workers.map("Detecting features", _describe, parts)
    links = find_links((one for part in described for one in part), len(tiles), workers)
    known = np.fromiter((pair in overlaps for pair in links[["a", "b"]].tolist()), bool, len(links))
    found = _confirm(tiles, links[~known], workers, "Confirming the same ground")
    return sorted(found)


def _look_up(first: int, tiles: Sequence[ListedMember], table: AnchorTable) -> np.ndarray:
    """Look the windows of tiles, whose numbers begin at `first`, up among the anchors of all: array of `CANDIDATE`."""
    found = [np.zeros(0, CANDIDATE)]
    for number, (archive, tile) in enumerate(open_members(tiles), first):
        with contextlib.suppress(ArchiveError):  # which the audit reports
            pixels = pack_pixels(decode_member(archive, tile.folder, tile.member_id))
            found.append(table.candidates(number, pixels))
    return np.concatenate(found)


def _describe(tiles: Sequence[ListedMember]) -> list[np.ndarray]:
    """Return the features of tiles; none of those that cannot be decoded."""
    from rock_glacier.grounds.features import FEATURE, tile_features

    features = []
    for archive, tile in open_members(tiles):
        try:
            features.append(tile_features(decode_member(archive, tile.folder, tile.member_id)))
        except ArchiveError:
            features.append(np.zeros(0, FEATURE))
    return features


def _confirm(tiles: Sequence[ListedMember], pairs: np.ndarray, workers: Workers, name: str) -> list[Any]:
    """Compare the tiles of pairs, those of a ground together, so that a worker decodes each tile once or twice."""
    ends = pairs[["a", "b"]].tolist()
    ground = np.array(number_grounds(len(tiles), ends), np.int64)
    pairs = pairs[np.argsort(ground[pairs["a"]], kind="stable")]
    size = max(_PAIRS, -(-len(pairs) // workers.parts))
    pieces = []
    for start in range(0, len(pairs), size):
        piece = pairs[start : start + size]
        numbers = np.unique([piece["a"], piece["b"]]).tolist()
        pieces.append(({number: tiles[number] for number in numbers}, piece))
    return [one for found in workers.map(name, _compare, pieces) for one in found]


def _compare(tiles: Mapping[int, ListedMember], pairs: np.ndarray) -> list[Any]:
    """Confirm pairs, an array of `CANDIDATE` or of `LINK`, where `tiles` gives the tiles by their numbers."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def opened(archive: ListedArchive) -> TileArchive:
            return stack.enter_context(archive.open())

        def decoded(number: int) -> npt.NDArray[np.uint8]:
            tile = tiles[number]
            return decode_member(opened(tile.archive), tile.folder, tile.member_id)

        kept = functools.lru_cache(_KEPT_TILES)
        if pairs.dtype == CANDIDATE:
            return confirm_overlaps(pairs, kept(lambda number: pack_pixels(decoded(number))))
        from rock_glacier.grounds.same_ground import confirm_links, gradients

        return confirm_links(pairs, kept(lambda number: gradients(decoded(number))))
