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
_BITMAP_BITS = 20
# Where windows are checked along a tile's upper edge: closely at the corners, for a shared rectangle may be narrow.
_EDGE = np.array([0, 4, 8, *range(WINDOW, _LAST, WINDOW), 104, 108, _LAST])
# A window of a tile: its hash and a second one, the tile, its place, whether it belongs to the right corner, and the
# hashes of the windows at `_EDGE`.
_ANCHOR_FIELDS = [("hash", "u4"), ("check", "u8"), ("tile", "i4"), ("x", "i2"), ("y", "i2"), ("right", "?")]

ANCHOR = np.dtype([*_ANCHOR_FIELDS, ("edge", "u4", len(_EDGE))])
"""An anchor window, in the array of `anchor_windows`."""

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


_MIX = [np.uint32(number) for number in (0x9E3779B1, 0x85EBCA6B, 0x7FEB352D)]
# Odd multipliers of the eight doublings: of the width from 1 to 16 pixels, then of the height.
_MULTIPLIERS = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1, 0xD3A2646D, 0xFD7046C5, 0xB55A4F09)
_DOUBLINGS = [np.uint32(number) for number in _MULTIPLIERS]
_CHECKED = np.random.default_rng(0).integers(0, WINDOW, (2, 12))  # rows and columns of a window


def colour_hashes(pixels: Pixels) -> npt.NDArray[np.uint32]:
    """Hash the colour of each pixel, into an array of the same shape."""
    hashes = pixels * _MIX[0]
    hashes ^= hashes >> np.uint32(15)
    hashes *= _MIX[1]
    hashes ^= hashes >> np.uint32(13)
    return hashes


def window_hashes(colours: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Hash every window of a tile, or of some of its rows, by doubling width and height four times each.

    Args:
        colours: what `colour_hashes` returns, shape (height, 128).

    Returns:
        uint32 array of shape (height - 15, 113): at (y, x) the hash of the window whose upper left pixel is (x, y).
    """
    hashes = colours
    for doubling, width in zip(_DOUBLINGS[:4], (1, 2, 4, 8), strict=True):
        wider = hashes[:, :-width] * doubling
        wider += hashes[:, width:]
        hashes = wider
    for doubling, height in zip(_DOUBLINGS[4:], (1, 2, 4, 8), strict=True):
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
    hashes = window_hashes(colour_hashes(pixels[:rows]))
    anchors["hash"], anchors["check"], anchors["edge"] = hashes[y, x], _checks(pixels, y, x), hashes[0, _EDGE]
    return anchors


def _count_changes(pixels: Pixels) -> npt.NDArray[np.int32]:
    """Count in each window the pairs of neighbouring pixels that differ, in rows and in columns."""
    rows, columns = pixels.shape
    in_rows = np.zeros((rows + 1, columns), np.int32)
    in_rows[1:, 1:] = (pixels[:, 1:] != pixels[:, :-1]).cumsum(0, np.int32).cumsum(1, np.int32)
    in_columns = np.zeros((rows, columns + 1), np.int32)
    in_columns[1:, 1:] = (pixels[1:] != pixels[:-1]).cumsum(0, np.int32).cumsum(1, np.int32)
    return _sums(in_rows, WINDOW, WINDOW - 1) + _sums(in_columns, WINDOW - 1, WINDOW)


def _sums(integral: npt.NDArray[np.int32], height: int, width: int) -> npt.NDArray[np.int32]:
    upper, lower = integral[:-height], integral[height:]
    return lower[:, width:] - lower[:, :-width] - upper[:, width:] + upper[:, :-width]


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


def _checks(pixels: Pixels, y: npt.NDArray[np.intp], x: npt.NDArray[np.intp]) -> npt.NDArray[np.uint64]:
    """Hash twelve pixels of each window in a second way, to tell apart windows whose hashes are equal by chance."""
    sample = pixels[y[:, None] + _CHECKED[0], x[:, None] + _CHECKED[1]].astype(np.uint64)
    powers = np.uint64(0x9E3779B97F4A7C15) ** np.arange(sample.shape[-1], dtype=np.uint64)
    return (sample * powers).sum(-1, np.uint64)


class AnchorTable:
    """The anchor windows of all tiles, in which the windows of a tile are looked up.

    Args:
        anchors: what `anchor_windows` returned for each tile.
    """

    def __init__(self, anchors: Iterable[np.ndarray]) -> None:
        joined = np.concatenate([np.zeros(0, ANCHOR), *anchors])
        self._anchors = joined[np.argsort(joined["hash"], kind="stable")]
        self._hashes = np.ascontiguousarray(self._anchors["hash"])
        self._tiles = np.ascontiguousarray(self._anchors["tile"])
        self._upper_bits = np.zeros(2**_BITMAP_BITS, bool)
        self._upper_bits[self._hashes >> np.uint32(32 - _BITMAP_BITS)] = True
        self._lower_bits = np.zeros(2**_BITMAP_BITS, bool)
        self._lower_bits[self._hashes & np.uint32(2**_BITMAP_BITS - 1)] = True

    def candidates(self, tile: int, pixels: Pixels) -> np.ndarray:
        """Find the tiles that may be the lower one of an overlap with this tile, and their offsets.

        Args:
            tile: number of the tile.
            pixels: uint32 array of shape (128, 128).

        Returns:
            array of `CANDIDATE`, each once.
        """
        hashes = window_hashes(colour_hashes(pixels))
        flat = hashes.ravel()
        # The two bitmaps leave about one window in a thousand to the slow search in a sorted array.
        windows = np.flatnonzero(self._upper_bits.take(flat >> np.uint32(32 - _BITMAP_BITS)))
        windows = windows[self._lower_bits[flat[windows] & np.uint32(2**_BITMAP_BITS - 1)]]
        wanted = flat[windows]
        first = np.searchsorted(self._hashes, wanted, "left")
        counts = np.searchsorted(self._hashes, wanted, "right") - first
        rows = np.repeat(first - counts.cumsum() + counts, counts) + np.arange(counts.sum())
        others = np.flatnonzero(self._tiles[rows] != tile)
        if not others.size:
            return np.zeros(0, CANDIDATE)
        anchors = self._anchors[rows[others]]
        y, x = np.divmod(np.repeat(windows, counts)[others], hashes.shape[1])
        dx, dy = x - anchors["x"], y - anchors["y"]
        # The anchor's tile is the lower one, and its corner lies in the shared rectangle.
        fits = (dy >= 0) & (dy <= _LAST) & np.where(anchors["right"], dx <= 0, dx >= 0)
        fits &= (np.abs(dx) <= _LAST) & (anchors["check"] == _checks(pixels, y, x))
        fits &= _edges_fit(anchors["edge"], hashes, dx, dy)
        found = np.zeros(int(fits.sum()), CANDIDATE)
        found["a"], found["b"], found["dx"], found["dy"] = tile, anchors["tile"][fits], dx[fits], dy[fits]
        swapped = found["b"] < tile
        found["a"][swapped], found["b"][swapped] = found["b"][swapped], tile
        found["dx"][swapped] *= -1
        found["dy"][swapped] *= -1
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
    found = hashes[np.clip(dy, 0, _LAST)[:, None], np.clip(x, 0, _LAST)]
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
