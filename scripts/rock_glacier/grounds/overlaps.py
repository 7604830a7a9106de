"""Find all pairs of tiles that overlap, exactly, without comparing each tile with each.

Two tiles overlap when at some offset (dx, dy) they are identical over the whole rectangle in which they would lie on
each other, and that rectangle is at least 16 x 16 pixels and holds at least 16 colours. Colours are red, green and
blue; how a PNG file encodes them makes no difference. Out of reach: the same ground on another date, or resampled.

Method:

1. The upper edge of the shared rectangle is the upper edge of one of the two tiles, the lower one. So an upper corner
   of that tile lies in the rectangle, and a window of 16 x 16 pixels at this corner stands unchanged in the other tile.
   `anchor_windows` takes a window at each upper corner of each tile, and `AnchorTable` holds them by a hash of their
   pixels.
2. Every window of every tile is looked up in the table. A hit is a candidate: a pair of tiles and an offset.
3. `shared_pixels` compares the candidate's tiles pixel by pixel. What it confirms is an overlap.

Flat ground, such as snow or shadow, would match everywhere. Where a corner's window is flat, windows further in are the
anchors: for each width that the rectangle may have, the first window, row by row, that is not flat. The rectangle then
holds one of these windows, whatever its height, or it is flat all over, and then it has 16 colours only if the largest
such rectangle has. Only then are windows of few colours anchors too. A window of one colour never is, for a rectangle
of such windows has one colour.

So every overlap is a candidate, and nothing else is confirmed. Windows whose hashes are equal by chance cost a
comparison and change no result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rock_glacier.grounds.pixels import Pixels
from rock_glacier_dataset import TILE_SIZE

WINDOW = 16
"""Width and height of a window, and of the smallest shared rectangle, in pixels."""

LEAST_COLOURS = 16
"""Smallest number of colours in the shared rectangle."""

_LAST = TILE_SIZE - WINDOW  # where the last window of a row or column begins
_LEAST_CHANGES = 96  # a window is flat when fewer of its 480 pairs of neighbouring pixels differ
_BITMAP_BITS = 22
# Where windows are checked along a tile's upper edge: closely at the corners, for a shared rectangle may be narrow.
_EDGE = np.array([0, 4, 8, *range(WINDOW, _LAST, WINDOW), 104, 108, _LAST])

ANCHOR = np.dtype(
    [("hash", "u4"), ("tile", "i4"), ("x", "i2"), ("y", "i2"), ("right", "?"), ("edge", "u4", len(_EDGE))]
)
"""An anchor window, in the array of `anchor_windows`: its hash, the tile, its place there, whether it belongs to the
right corner, and the hashes of the windows along the tile's upper edge."""

CANDIDATE = np.dtype([("a", "i4"), ("b", "i4"), ("dx", "i2"), ("dy", "i2")])
"""A pair of tiles, `a` < `b`, and an offset, in the array of `AnchorTable.candidates`."""


class Overlap(NamedTuple):
    """Two tiles that overlap.

    Attributes:
        a: number of a tile.
        b: number of the other, larger than `a`.
        dx: tile a's pixel (x, y) is tile b's pixel (x - dx, y - dy).
        dy: see `dx`.
        pixels: size of the shared rectangle.
    """

    a: int
    b: int
    dx: int
    dy: int
    pixels: int


_MIX = np.array([0x9E3779B1, 0x85EBCA6B, 0x7FEB352D], np.uint32)
# Odd multipliers of the doublings from 1 to 16 pixels.
_OF_WIDTH = np.array([0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F], np.uint32)
_OF_HEIGHT = np.array([0x165667B1, 0xD3A2646D, 0xFD7046C5, 0xB55A4F09], np.uint32)


def window_hashes(pixels: Pixels) -> npt.NDArray[np.uint32]:
    """Hash every window of a tile, or of some of its rows: each colour, then by doubling width and height four times.

    Args:
        pixels: uint32 array of shape (height, 128).

    Returns:
        uint32 array of shape (height - 15, 113): at (y, x) the hash of the window whose upper left pixel is (x, y).
    """
    hashes = pixels * _MIX[0]
    hashes ^= hashes >> np.uint32(15)
    hashes *= _MIX[1]
    hashes ^= hashes >> np.uint32(13)
    for doubling, width in zip(_OF_WIDTH, (1, 2, 4, 8), strict=True):
        wider = hashes[:, :-width] * doubling
        wider += hashes[:, width:]
        hashes = wider
    for doubling, height in zip(_OF_HEIGHT, (1, 2, 4, 8), strict=True):
        taller = hashes[:-height] * doubling
        taller += hashes[height:]
        hashes = taller
    hashes ^= hashes >> np.uint32(16)
    hashes *= _MIX[2]
    hashes ^= hashes >> np.uint32(15)
    return hashes


def anchor_windows(tile: int, pixels: Pixels) -> np.ndarray:
    """Choose the windows of a tile by which the tiles above it are found.

    Args:
        tile: number of the tile.
        pixels: uint32 array of shape (128, 128).

    Returns:
        array of `ANCHOR`: for each upper corner one window, or several where that is flat.
    """
    rows = WINDOW  # are enough where neither corner is flat
    changes = _count_changes(pixels[:rows])
    left = right = [(0, 0)]
    if min(changes[0, 0], changes[0, -1]) < _LEAST_CHANGES:
        rows = TILE_SIZE
        changes = _count_changes(pixels)
        left, right = _anchor_places(changes, pixels), _anchor_places(changes[:, ::-1], pixels[:, ::-1])
    anchors = np.zeros(len(left) + len(right), ANCHOR)
    anchors["tile"] = tile
    anchors["right"][len(left) :] = True
    anchors["y"] = y = np.array([y for y, _ in left + right], np.intp)
    anchors["x"] = x = np.array([steps for _, steps in left] + [_LAST - steps for _, steps in right], np.intp)
    hashes = window_hashes(pixels[:rows])
    anchors["hash"], anchors["edge"] = hashes[y, x], hashes[0, _EDGE]
    return anchors


def _count_changes(pixels: Pixels) -> npt.NDArray[np.int32]:
    """Count in each window the pairs of neighbouring pixels that differ, in rows and in columns."""
    in_rows = _sums(pixels[:, 1:] != pixels[:, :-1], WINDOW, WINDOW - 1)
    return in_rows + _sums(pixels[1:] != pixels[:-1], WINDOW - 1, WINDOW)


def _sums(marked: npt.NDArray[np.bool_], height: int, width: int) -> npt.NDArray[np.int32]:
    """Count the marked places in each rectangle of this size."""
    integral = np.pad(marked, ((1, 0), (1, 0))).cumsum(0, np.int32).cumsum(1, np.int32)
    of_columns = integral[height:] - integral[:-height]
    return of_columns[:, width:] - of_columns[:, :-width]


def _anchor_places(changes: npt.NDArray[np.int32], pixels: Pixels) -> list[tuple[int, int]]:
    """Place the anchors of the upper left corner, as (y, x)."""
    rich = _first_by_width(changes >= _LEAST_CHANGES, _LAST)
    places = list(rich)
    # Flat rectangles at the corner, each the largest between two anchors.
    widest = [*(x - 1 for _, x in rich), _LAST]
    lowest = [_LAST, *(y - 1 for y, _ in rich)]
    for x, y in zip(widest, lowest, strict=True):
        if min(x, y) >= 0 and np.unique(pixels[: y + WINDOW, : x + WINDOW]).size >= LEAST_COLOURS:
            places += [place for place in _first_by_width(changes[: y + 1] > 0, x) if place not in places]
    return places


def _first_by_width(marked: npt.NDArray[np.bool_], widest: int) -> list[tuple[int, int]]:
    """Find the first marked window, row by row, for each width up to `widest`; each once, as (y, x)."""
    rows = len(marked)
    first = np.where(marked.any(0), marked.argmax(0), rows)[: widest + 1]
    lowest = np.minimum.accumulate(first)
    steps = np.flatnonzero(np.diff(lowest, prepend=rows) < 0)
    return [(int(first[x]), int(x)) for x in steps]


class AnchorTable:
    """The anchor windows of all tiles, in which the windows of a tile are looked up.

    Args:
        anchors: what `anchor_windows` returned for each tile.
    """

    def __init__(self, anchors: Iterable[np.ndarray]) -> None:
        joined = np.concatenate([np.zeros(0, ANCHOR), *anchors])
        self._anchors = joined[np.argsort(joined["hash"], kind="stable")]
        self._hashes = np.ascontiguousarray(self._anchors["hash"])
        self._bitmap = np.zeros(2**_BITMAP_BITS, bool)
        self._bitmap[self._hashes >> np.uint32(32 - _BITMAP_BITS)] = True

    def candidates(self, tile: int, pixels: Pixels) -> np.ndarray:
        """Find the tiles that may be the lower one of an overlap with this tile, and their offsets.

        Args:
            tile: number of the tile.
            pixels: uint32 array of shape (128, 128).

        Returns:
            array of `CANDIDATE`, each once.
        """
        hashes = window_hashes(pixels)
        # The bitmap leaves few windows to the slow search in a sorted array.
        windows = np.flatnonzero(self._bitmap.take(hashes >> np.uint32(32 - _BITMAP_BITS)))
        wanted = hashes.take(windows)
        first = np.searchsorted(self._hashes, wanted, "left")
        counts = np.searchsorted(self._hashes, wanted, "right") - first
        anchors = self._anchors[np.repeat(first - counts.cumsum() + counts, counts) + np.arange(counts.sum())]
        y, x = np.divmod(np.repeat(windows, counts), hashes.shape[1])
        dx, dy = x - anchors["x"], y - anchors["y"]
        # The anchor's tile is the lower one, and its corner lies in the shared rectangle.
        fits = (anchors["tile"] != tile) & (dy >= 0) & np.where(anchors["right"], dx <= 0, dx >= 0)
        fits &= _edges_fit(anchors["edge"], hashes, dx, dy)
        others = anchors["tile"][fits]
        found = np.zeros(len(others), CANDIDATE)
        found["a"], found["b"] = np.minimum(tile, others), np.maximum(tile, others)
        sign = np.where(tile < others, 1, -1)
        found["dx"], found["dy"] = sign * dx[fits], sign * dy[fits]
        return np.unique(found)


def _edges_fit(
    edges: npt.NDArray[np.uint32],
    hashes: npt.NDArray[np.uint32],
    dx: npt.NDArray[np.intp],
    dy: npt.NDArray[np.intp],
) -> npt.NDArray[np.bool_]:
    """Check that each window along the lower tile's upper edge, as far as it is shared, stands in the upper tile too.

    Ground of few colours has many windows that are alike, but few such edges.
    """
    x = dx[:, None] + _EDGE
    shared = (x >= 0) & (x <= _LAST)
    found = hashes[dy.clip(0)[:, None], x.clip(0, _LAST)]
    return (~shared | (found == edges)).all(1)


def shared_pixels(a: Pixels, b: Pixels, dx: int, dy: int) -> int:
    """Return the size of the rectangle that two tiles share at an offset; 0 where they do not overlap.

    Args:
        a: uint32 array of shape (128, 128).
        b: the same.
        dx: tile a's pixel (x, y) is compared with tile b's pixel (x - dx, y - dy).
        dy: see `dx`.
    """
    width, height = TILE_SIZE - abs(dx), TILE_SIZE - abs(dy)
    if min(width, height) < WINDOW:
        return 0
    of_a = a[max(dy, 0) : max(dy, 0) + height, max(dx, 0) : max(dx, 0) + width]
    of_b = b[max(-dy, 0) : max(-dy, 0) + height, max(-dx, 0) : max(-dx, 0) + width]
    if not np.array_equal(of_a, of_b) or np.unique(of_a).size < LEAST_COLOURS:
        return 0
    return width * height


def sort_candidates(candidates: np.ndarray) -> np.ndarray:
    """Sort candidates by pair, and those of a pair so that the largest overlap comes first."""
    dx, dy = candidates["dx"], candidates["dy"]
    areas = (TILE_SIZE - np.abs(dx).astype(np.int32)) * (TILE_SIZE - np.abs(dy).astype(np.int32))
    return candidates[np.lexsort((dx, dy, np.abs(dx), np.abs(dy), -areas, candidates["b"], candidates["a"]))]


def confirm_overlaps(candidates: np.ndarray, pixels_of: Callable[[int], Pixels]) -> list[Overlap]:
    """Compare the tiles of candidates pixel by pixel.

    Args:
        candidates: array of `CANDIDATE`.
        pixels_of: returns a tile's pixels by its number.

    Returns:
        one for each pair that overlaps, the largest, in the order of the pairs.
    """
    largest: dict[tuple[int, int], Overlap] = {}
    for a, b, dx, dy in sort_candidates(candidates).tolist():
        if (a, b) not in largest and (pixels := shared_pixels(pixels_of(a), pixels_of(b), dx, dy)):
            largest[a, b] = Overlap(a, b, dx, dy, pixels)
    return list(largest.values())


def find_overlaps(tiles: Sequence[Pixels]) -> list[Overlap]:
    """Find every pair of tiles that overlaps, in tiles that fit into memory.

    Args:
        tiles: uint32 arrays of shape (128, 128).

    Returns:
        one for each pair, the largest, in the order of the pairs.
    """
    table = AnchorTable(anchor_windows(number, pixels) for number, pixels in enumerate(tiles))
    found = [table.candidates(number, pixels) for number, pixels in enumerate(tiles)]
    return confirm_overlaps(np.unique(np.concatenate([np.zeros(0, CANDIDATE), *found])), tiles.__getitem__)
