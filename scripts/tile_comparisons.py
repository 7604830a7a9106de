"""The pieces of work of an audit that compare tiles: pairs that may overlap, and tiles that may be one another."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from archive_listing import Listing, Shard, open_shard
from overlaps import Overlap, shared_pixels
from tile_pixels import COLOURS, Pixels, decoded, turned_alike

from rock_glacier_dataset import TILE_SIZE

_PART = 500
"""Pairs or tiles in one piece of work."""

_KEPT_TILES = 1500
"""Tiles whose pixels a worker keeps while it compares pairs, 64 KiB each."""


class Tiles(NamedTuple):
    """Some tiles of a folder of archives, of which a worker needs the pixels.

    Attributes:
        folder: the folder.
        numbers: their numbers, ascending.
        shards: for each archive that they stand in, its rows of these tiles alone.
    """

    folder: str
    numbers: npt.NDArray[np.int64]
    shards: list[Shard]

    @contextlib.contextmanager
    def reader(self) -> Iterator[Callable[[int], Pixels]]:
        """Give a function that returns a tile's colours by its number, and keeps those that were asked for last."""
        starts = np.cumsum([0, *(len(shard.members) for shard in self.shards)])
        archives: dict[int, Any] = {}
        with contextlib.ExitStack() as stack:

            @functools.lru_cache(_KEPT_TILES)
            def pixels_of(number: int) -> Pixels:
                place = int(np.searchsorted(self.numbers, number))
                index = int(np.searchsorted(starts, place, "right")) - 1
                if index not in archives:
                    archives[index] = stack.enter_context(open_shard(self.folder, self.shards[index]))
                archive = archives[index]
                member = archive.members[place - starts[index]].item()
                return decoded(archive.read_png(member, archive.member_name(member[0]))) & COLOURS

            yield pixels_of


def pick(listing: Listing, numbers: npt.NDArray[np.integer]) -> Tiles:
    """Name some tiles to a worker, without those that it does not need."""
    wanted = np.unique(numbers).astype(np.int64)
    shards = []
    for shard in listing.tiles:
        rows = wanted[(wanted >= shard.first) & (wanted < shard.first + len(shard.members))] - shard.first
        if rows.size:
            shards.append(shard._replace(members=shard.members[rows]))
    return Tiles(listing.folder, wanted, shards)


def pieces_of_pairs(listing: Listing, proposals: np.ndarray) -> list[tuple[Tiles, np.ndarray]]:
    """Cut proposed pairs into pieces for `compare_pairs`, the largest overlap of a pair first."""
    dx, dy = proposals["dx"], proposals["dy"]
    areas = (TILE_SIZE - np.abs(dx).astype(np.int32)) * (TILE_SIZE - np.abs(dy).astype(np.int32))
    ordered = proposals[np.lexsort((dx, dy, np.abs(dx), np.abs(dy), -areas, proposals["b"], proposals["a"]))]
    pieces = (ordered[start : start + _PART] for start in range(0, len(ordered), _PART))
    return [(pick(listing, np.concatenate([piece["a"], piece["b"]])), piece) for piece in pieces]


def compare_pairs(tiles: Tiles, proposals: np.ndarray) -> list[Overlap]:
    """Compare proposed pairs pixel by pixel, each until an overlap is confirmed."""
    confirmed: dict[tuple[int, int], Overlap] = {}
    with tiles.reader() as pixels_of:
        for a, b, dx, dy in proposals.tolist():
            if (a, b) not in confirmed:
                pixels = shared_pixels(pixels_of(a), pixels_of(b), dx, dy)
                if pixels:
                    confirmed[a, b] = Overlap(a, b, dx, dy, pixels)
    return list(confirmed.values())


def pieces_of_candidates(listing: Listing, numbers: npt.NDArray[np.integer]) -> list[tuple[Tiles]]:
    """Cut the tiles that may be one another into pieces for `canonical_checksums`."""
    return [(pick(listing, numbers[start : start + _PART]),) for start in range(0, len(numbers), _PART)]


def canonical_checksums(tiles: Tiles) -> list[bytes]:
    """Return for each tile the same checksum as for every other that is it, turned or mirrored."""
    with tiles.reader() as pixels_of:
        return [hashlib.sha256(turned_alike(pixels_of(number))).digest() for number in tiles.numbers.tolist()]
