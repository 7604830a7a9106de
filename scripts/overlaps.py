"""Tiles that were cut over the same ground: every pair that overlaps, exactly, without comparing all with all.

Two tiles overlap when at some offset (dx, dy) they are identical over the whole rectangle in which they would lie on
each other, and that rectangle is at least 16 x 16 pixels and holds at least 16 colours.

How they are found. The upper edge of that rectangle is the upper edge of one of the two tiles, the lower one; so the
rectangle has an upper corner of that tile, and a window of 16 x 16 pixels at this corner stands unchanged in the other.
`landmarks` therefore names a window at each upper corner of each tile, a table (`LandmarkTable`) holds them by a hash
of their pixels, and every window of every tile is looked up in it. A hit proposes a pair and an offset, and
`shared_pixels` compares the two pixel by pixel. Whatever it confirms is an overlap.

Flat ground, snow or shadow, would stand everywhere. Where a corner's window is flat, the landmarks are windows further
in: for each width that the rectangle may have, the first one that is not flat, going along the rows from that corner.
Whatever its height, either that window lies in the rectangle, and is found in the other tile; or the rectangle is flat
all over, and then it has 16 colours only if the largest such rectangle has. Only then are windows of almost one colour
landmarks too. A window of one colour never is: a rectangle that holds nothing else has not 16 colours.

What is guaranteed: every pair that fits the definition is proposed, and nothing else is confirmed. Hashes of different
windows may be equal, which costs a comparison and changes no result. What is out of reach: the same ground on another
date, resampled, recoloured or recompressed with loss, for these are other pixels.

Pixels are compared as red, green and blue; how a PNG file encodes them changes nothing. The functions take them without
alpha, as `pixels & COLOURS` gives them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from rock_glacier_dataset import TILE_SIZE

if TYPE_CHECKING:  # the sample generator comes by here, and needs nothing but datasets and Pillow
    from tile_pixels import Pixels

WINDOW = 16
"""Width and height of a window, and the least of the shared rectangle, in pixels."""

LEAST_COLOURS = 16
"""Colours that the shared rectangle holds at least."""

_FIRST_TO_LAST = TILE_SIZE - WINDOW
"""Pixels between the first and the last window of a row."""

_FLAT = 96
"""A window is flat when fewer of its 480 pairs of neighbouring pixels differ."""

_BITMAP_BITS = 20

_EDGE = np.array([0, 4, 8, *range(WINDOW, _FIRST_TO_LAST, WINDOW), 104, 108, _FIRST_TO_LAST])
"""Where the windows along a tile's upper edge stand by which proposals are looked at again: close to each corner, for a
shared rectangle may be narrow."""

LANDMARK = np.dtype(
    [
        ("hash", "u4"),
        ("check", "u8"),
        ("tile", "i4"),
        ("x", "i2"),
        ("y", "i2"),
        ("right", "?"),
        ("edge", "u4", len(_EDGE)),
    ]
)
"""A window of a tile: its hash and another, the tile, its place there, whether it goes out from the right corner, and
the hashes of the windows along the tile's upper edge, at `_EDGE`."""

PROPOSAL = np.dtype([("a", "i4"), ("b", "i4"), ("dx", "i2"), ("dy", "i2")])


class Overlap(NamedTuple):
    """Two tiles that were cut over the same ground.

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
_DOUBLINGS = [
    np.uint32(number)
    for number in (
        0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1, 0xD3A2646D, 0xFD7046C5, 0xB55A4F09,
    )
]  # fmt: skip


def colour_hashes(pixels: Pixels) -> npt.NDArray[np.uint32]:
    """Hash each pixel's colour, into an array of the same shape."""
    hashes = pixels * _MIX[0]
    hashes ^= hashes >> np.uint32(15)
    hashes *= _MIX[1]
    hashes ^= hashes >> np.uint32(13)
    return hashes


def window_hashes(colours: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Hash every window of a tile, in eight doublings of its width and its height.

    Args:
        colours: what `colour_hashes` gives for the tile, shape (128, 128), for some of its rows, or for several tiles,
            shape (..., 128, 128).

    Returns:
        uint32 array of shape (..., 113, 113): at (y, x) the hash of the window whose upper left pixel is (x, y).
        Windows of the same pixels have the same hash.
    """
    hashes = colours
    for doubling, width in zip(_DOUBLINGS[:4], (1, 2, 4, 8), strict=True):
        wider = hashes[..., :-width] * doubling
        wider += hashes[..., width:]
        hashes = wider
    for doubling, height in zip(_DOUBLINGS[4:], (1, 2, 4, 8), strict=True):
        taller = hashes[..., :-height, :] * doubling
        taller += hashes[..., height:, :]
        hashes = taller
    hashes ^= hashes >> np.uint32(16)
    hashes *= _MIX[2]
    hashes ^= hashes >> np.uint32(15)
    return hashes


def landmarks(tile: int, pixels: Pixels) -> np.ndarray:
    """Name the windows of a tile by which the tiles that lie above it are found.

    Args:
        tile: number of the tile.
        pixels: uint32 array of shape (128, 128).

    Returns:
        array of `LANDMARK`: for each upper corner one window where that is not flat, else some.
    """
    upper = pixels[None, :WINDOW]
    if are_corners_rich(upper)[0]:
        return landmarks_of_rich(np.array([tile]), upper)
    changes = _changes(pixels)
    left, right = _places(changes, pixels), _places(changes[:, ::-1], pixels[:, ::-1])
    found = np.zeros(len(left) + len(right), LANDMARK)
    found["tile"] = tile
    found["right"][len(left) :] = True
    found["y"] = y = np.array([y for y, _ in left + right], np.intp)
    found["x"] = x = np.array([steps for _, steps in left] + [_FIRST_TO_LAST - steps for _, steps in right], np.intp)
    hashes = window_hashes(colour_hashes(pixels))
    found["hash"], found["check"], found["edge"] = hashes[y, x], _checks(pixels, y, x), hashes[0, _EDGE]
    return found


def landmarks_of_rich(tiles: npt.NDArray[np.integer], upper: Pixels) -> np.ndarray:
    """Do what `landmarks` does for many tiles at once, none of which has a flat upper corner.

    Args:
        tiles: integer array of shape (n,), the numbers of the tiles.
        upper: uint32 array of shape (n, 16, 128), their upper rows.

    Returns:
        array of `LANDMARK`, two for each tile.
    """
    found = np.zeros((len(tiles), 2), LANDMARK)
    found["tile"] = np.asarray(tiles)[:, None]
    found["right"] = [False, True]
    found["x"] = x = np.array([0, _FIRST_TO_LAST])
    hashes = window_hashes(colour_hashes(upper))[:, 0]
    found["hash"], found["edge"] = hashes[:, x], hashes[:, None, _EDGE]
    found["check"] = _checks(upper, np.zeros(2, np.intp), x)
    return found.ravel()


def are_corners_rich(upper: Pixels) -> npt.NDArray[np.bool_]:
    """Tell which tiles have no flat upper corner, so that their upper 16 rows give their landmarks.

    Args:
        upper: uint32 array of shape (n, 16, 128), the tiles' upper rows.

    Returns:
        bool array of shape (n,).
    """
    corners = np.stack([upper[..., :WINDOW], upper[..., -WINDOW:]])
    beside = (corners[..., 1:] != corners[..., :-1]).sum((-1, -2))
    above = (corners[..., 1:, :] != corners[..., :-1, :]).sum((-1, -2))
    return (beside + above >= _FLAT).all(0)


def _changes(pixels: Pixels) -> npt.NDArray[np.int32]:
    """Count in each window the pairs of neighbouring pixels that differ, beside and above each other."""
    rows, columns = pixels.shape
    beside = np.zeros((rows + 1, columns), np.int32)
    beside[1:, 1:] = (pixels[:, 1:] != pixels[:, :-1]).cumsum(0, np.int32).cumsum(1, np.int32)
    above = np.zeros((rows, columns + 1), np.int32)
    above[1:, 1:] = (pixels[1:] != pixels[:-1]).cumsum(0, np.int32).cumsum(1, np.int32)
    return _sums(beside, WINDOW, WINDOW - 1) + _sums(above, WINDOW - 1, WINDOW)


def _sums(integral: npt.NDArray[np.int32], height: int, width: int) -> npt.NDArray[np.int32]:
    upper, lower = integral[:-height], integral[height:]
    return lower[:, width:] - lower[:, :-width] - upper[:, width:] + upper[:, :-width]


def _places(changes: npt.NDArray[np.int32], pixels: Pixels) -> list[tuple[int, int]]:
    """Find a corner's landmarks, as (y, steps from the corner's side), in a tile whose corner is the upper left one."""
    rich = _staircase(changes >= _FLAT, _FIRST_TO_LAST)
    places = list(rich)
    # Flat rectangles at the corner, each the largest between two steps: as wide as the step allows, down to its window.
    ends = [*(steps - 1 for _, steps in rich), _FIRST_TO_LAST]
    heights = [_FIRST_TO_LAST, *(y - 1 for y, _ in rich)]
    for widest, lowest in zip(ends, heights, strict=True):
        if widest < 0 or lowest < 0:
            continue
        rectangle = pixels[: lowest + WINDOW, : widest + WINDOW]
        if np.unique(rectangle).size >= LEAST_COLOURS:
            poor = _staircase(changes[: lowest + 1] > 0, widest)
            places += [place for place in poor if place not in places]
    return places


def _staircase(marked: npt.NDArray[np.bool_], widest: int) -> list[tuple[int, int]]:
    """For each width, find the first marked window going along the rows; one for each that is found, as (y, x)."""
    rows = len(marked)
    first = np.where(marked.any(0), marked.argmax(0), rows)[: widest + 1]
    lowest = np.minimum.accumulate(first)
    steps = np.flatnonzero(np.diff(lowest, prepend=rows) < 0)
    return [(int(first[x]), int(x)) for x in steps]


_CHECKED = np.random.default_rng(0).integers(0, WINDOW, (2, 12))


def _checks(pixels: Pixels, y: npt.NDArray[np.intp], x: npt.NDArray[np.intp]) -> npt.NDArray[np.uint64]:
    """Hash twelve pixels of each window another way, so that windows of one hash by chance are told apart."""
    sample = pixels[..., y[:, None] + _CHECKED[0], x[:, None] + _CHECKED[1]].astype(np.uint64)
    powers = np.uint64(0x9E3779B97F4A7C15) ** np.arange(sample.shape[-1], dtype=np.uint64)
    return (sample * powers).sum(-1, np.uint64)


class LandmarkTable:
    """The landmarks of all tiles, to look the windows of a tile up in.

    Args:
        found: what `landmarks` gave for each tile.
    """

    def __init__(self, found: Iterable[np.ndarray]) -> None:
        joined = np.concatenate([np.zeros(0, LANDMARK), *found])
        self._landmarks = joined[np.argsort(joined["hash"], kind="stable")]
        self._hashes = np.ascontiguousarray(self._landmarks["hash"])
        self._tiles = np.ascontiguousarray(self._landmarks["tile"])
        self._upper_bits = np.zeros(2**_BITMAP_BITS, bool)
        self._upper_bits[self._hashes >> np.uint32(32 - _BITMAP_BITS)] = True
        self._lower_bits = np.zeros(2**_BITMAP_BITS, bool)
        self._lower_bits[self._hashes & np.uint32(2**_BITMAP_BITS - 1)] = True

    def proposals(self, tile: int, pixels: Pixels, hashes: npt.NDArray[np.uint32] | None = None) -> np.ndarray:
        """Propose the tiles that lie lower on the same ground as this one, and at which offsets.

        Args:
            tile: number of the tile.
            pixels: uint32 array of shape (128, 128).
            hashes: what `window_hashes` gave for these pixels, if that is known.

        Returns:
            array of `PROPOSAL`, none twice.
        """
        if hashes is None:
            hashes = window_hashes(colour_hashes(pixels))
        flat = hashes.ravel()
        # Two bitmaps leave one window in a thousand, for a search in a sorted array is slow.
        windows = np.flatnonzero(self._upper_bits.take(flat >> np.uint32(32 - _BITMAP_BITS)))
        windows = windows[self._lower_bits[flat[windows] & np.uint32(2**_BITMAP_BITS - 1)]]
        wanted = flat[windows]
        first = np.searchsorted(self._hashes, wanted, "left")
        counts = np.searchsorted(self._hashes, wanted, "right") - first
        rows = np.repeat(first - counts.cumsum() + counts, counts) + np.arange(counts.sum())
        other = np.flatnonzero(self._tiles[rows] != tile)  # of its own landmarks each is found
        if not other.size:
            return np.zeros(0, PROPOSAL)
        found = self._landmarks[rows[other]]
        y, x = np.divmod(np.repeat(windows, counts)[other], hashes.shape[1])
        dx, dy = x - found["x"], y - found["y"]
        # The landmark's tile is the lower one, and its landmark goes out from its corner in the shared rectangle.
        fits = (dy >= 0) & (dy <= _FIRST_TO_LAST) & np.where(found["right"], dx <= 0, dx >= 0)
        fits &= (np.abs(dx) <= _FIRST_TO_LAST) & (found["check"] == _checks(pixels, y, x))
        fits &= _edges_fit(found["edge"], hashes, dx, dy)
        proposed = np.zeros(int(fits.sum()), PROPOSAL)
        proposed["a"], proposed["b"], proposed["dx"], proposed["dy"] = tile, found["tile"][fits], dx[fits], dy[fits]
        return np.unique(_with_smaller_first(proposed))


def _edges_fit(
    edges: npt.NDArray[np.uint32],
    hashes: npt.NDArray[np.uint32],
    dx: npt.NDArray[np.intp],
    dy: npt.NDArray[np.intp],
) -> npt.NDArray[np.bool_]:
    """Tell whether each window along a lower tile's upper edge, as far as it is shared, stands in the upper tile too.

    Ground with few colours has many windows that are alike, and few rows of them.
    """
    x = dx[:, None] + _EDGE
    shared = (x >= 0) & (x <= _FIRST_TO_LAST)
    there = hashes[np.clip(dy, 0, _FIRST_TO_LAST)[:, None], np.clip(x, 0, _FIRST_TO_LAST)]
    return (~shared | (there == edges)).all(1)


def _with_smaller_first(proposals: np.ndarray) -> np.ndarray:
    """Name each pair by its smaller number first."""
    swapped = proposals["a"] > proposals["b"]
    turned = proposals.copy()
    turned["a"][swapped], turned["b"][swapped] = proposals["b"][swapped], proposals["a"][swapped]
    turned["dx"][swapped] *= -1
    turned["dy"][swapped] *= -1
    return turned


def shared_pixels(a: Pixels, b: Pixels, dx: int, dy: int) -> int:
    """Return the size of the rectangle that two tiles share at an offset; 0 where they do not overlap there.

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


def largest_overlaps(overlaps: Iterable[Overlap]) -> list[Overlap]:
    """Keep the largest overlap of each pair, in the order of the pairs."""
    largest: dict[tuple[int, int], Overlap] = {}
    for overlap in sorted(overlaps, key=lambda one: (-one.pixels, abs(one.dy), abs(one.dx), one.dy, one.dx)):
        largest.setdefault((overlap.a, overlap.b), overlap)
    return sorted(largest.values())


def find_overlaps(tiles: Sequence[Pixels]) -> list[Overlap]:
    """Find every pair of tiles that overlaps, in tiles that fit into memory.

    Args:
        tiles: uint32 arrays of shape (128, 128).

    Returns:
        one for each pair, the largest, in the order of the pairs.
    """
    table = LandmarkTable(landmarks(number, pixels) for number, pixels in enumerate(tiles))
    proposed = np.unique(np.concatenate([np.zeros(0, PROPOSAL)] + [table.proposals(n, p) for n, p in enumerate(tiles)]))
    confirmed = []
    for a, b, dx, dy in proposed.tolist():
        pixels = shared_pixels(tiles[a], tiles[b], dx, dy)
        if pixels:
            confirmed.append(Overlap(a, b, dx, dy, pixels))
    return largest_overlaps(confirmed)
