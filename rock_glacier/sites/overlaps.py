"""Find all pairs of tiles that overlap under any turn, exactly, without comparing each tile with each.

Two tiles overlap when under some turn of the second and at some offset (dx, dy) they are identical over the whole
rectangle in which they would lie on each other, and that rectangle is at least 16 x 16 pixels and holds at least 16
colours. Colours are red, green and blue; how a PNG file encodes them makes no difference.

Method:

1. The shared rectangle holds a corner of each tile. So the window of 16 x 16 pixels at one of a tile's four corners
   stands, turned, in the other tile. `anchor_windows` takes these windows, and `AnchorTable` holds them by a hash that
   no turn changes.
2. Every window of every tile is looked up in the table. The sums of a window's quadrants tell which turns are
   possible, and single pixels of the shared rectangle rule out most windows that are equal by chance. What remains is
   a candidate: a pair of tiles, a turn and an offset.
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

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from rock_glacier.grounds.pairs import Overlap
from rock_glacier.grounds.pixels import Pixels
from rock_glacier.grounds.turns import MATRICES, TURNS, turned
from rock_glacier_dataset import TILE_SIZE

WINDOW = 16
"""Width and height of a window, and of the smallest shared rectangle, in pixels."""

LEAST_COLOURS = 16
"""Smallest number of colours in the shared rectangle."""

_LAST = TILE_SIZE - WINDOW  # where the last window of a row or column begins
_LEAST_CHANGES = 96  # a window is flat when fewer of its 480 pairs of neighbouring pixels differ
_BITMAP_BITS = 22
_AT_CORNERS = np.r_[:WINDOW, _LAST:TILE_SIZE]  # rows and columns of the windows at the corners
_HITS = 1 << 16  # hits that are filtered at once
_SAMPLED = np.arange(8, TILE_SIZE, 16)  # rows and columns whose crossings are compared before whole tiles are
SAMPLES = (len(_SAMPLED), len(_SAMPLED))
"""Shape of what `sample_pixels` returns."""

# Of the four quadrants of a window, which stands where after each turn.
_QUADRANTS = np.array([turned(np.arange(4).reshape(2, 2), turn).ravel() for turn in TURNS])
# Windows whose hashes agree have equal sums in these squares around their centre.
_NESTED = (16, 12, 8, 4)

ANCHOR = np.dtype([("hash", "u4"), ("tile", "i4"), ("x", "i2"), ("y", "i2"), ("quadrants", "u4", 4)])
"""An anchor window: its hash, the tile, its place there, and the sums of its quadrants."""

CANDIDATE = np.dtype([("a", "i4"), ("b", "i4"), ("turn", "i2"), ("dx", "i2"), ("dy", "i2")])
"""Two tiles, `a` < `b`, and a link from a to b (`rock_glacier.grounds.turns`)."""


def _integral(values: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return the sums over all rectangles that begin at the upper left, shape (height + 1, width + 1)."""
    integral = np.zeros((values.shape[0] + 1, values.shape[1] + 1), dtype)
    np.cumsum(values, 0, out=integral[1:, 1:])
    np.cumsum(integral[1:, 1:], 1, out=integral[1:, 1:])
    return integral


def _sums(integral: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[Any]:
    """Return the sum over each rectangle of this size, by its upper left pixel."""
    of_columns = integral[height:] - integral[:-height]
    return of_columns[:, width:] - of_columns[:, :-width]


def _mixed_integral(pixels: Pixels) -> npt.NDArray[np.uint32]:
    """Return the integral image of the colours, each mixed so that sums of different colours are seldom equal."""
    mixed = pixels * np.uint32(0x9E3779B1)
    mixed ^= mixed >> np.uint32(15)
    mixed *= np.uint32(0x85EBCA6B)
    mixed ^= mixed >> np.uint32(13)
    return _integral(mixed, np.uint32)


def _window_hashes(integral: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Hash every window so that no turn changes the hash.

    Args:
        integral: from `_mixed_integral`, of a tile or of some of its rows.

    Returns:
        uint32 array of shape (height - 15, width - 15): the hash of each window by its upper left pixel.
    """
    hashes = np.uint32(0)
    for size in _NESTED:
        margin = (WINDOW - size) // 2
        sums = _sums(integral[margin : len(integral) - margin, margin : integral.shape[1] - margin], size, size)
        hashes = (hashes ^ sums) * np.uint32(0x7FEB352D)
        hashes ^= hashes >> np.uint32(15)
    return hashes


def _quadrant_sums(integral: npt.NDArray[np.uint32], y: npt.NDArray[np.intp], x: npt.NDArray[np.intp]) -> np.ndarray:
    """Return the sums over the quadrants of windows, row by row: shape (windows, 4)."""
    half = WINDOW // 2
    corners = integral[y[:, None, None] + half * np.arange(3)[:, None], x[:, None, None] + half * np.arange(3)]
    rows = corners[:, 1:] - corners[:, :-1]
    return (rows[:, :, 1:] - rows[:, :, :-1]).reshape(-1, 4)


def anchor_windows(tile: int, pixels: Pixels) -> np.ndarray:
    """Choose the windows of a tile by which the other tiles find it.

    Args:
        tile: number of the tile.
        pixels: uint32 array of shape (128, 128).

    Returns:
        array of `ANCHOR`: for each corner one window, or several where that is flat.
    """
    # The windows at the corners, side by side, are enough where none is flat.
    image = pixels[np.ix_(_AT_CORNERS, _AT_CORNERS)]
    y, x = np.array([(0, 0), (0, WINDOW), (WINDOW, 0), (WINDOW, WINDOW)]).T
    if (_count_changes(image)[y, x] < _LEAST_CHANGES).any():
        image, changes = pixels, _count_changes(pixels)
        places = {
            (y if down == 1 else _LAST - y, x if right == 1 else _LAST - x)
            for down in (1, -1)
            for right in (1, -1)
            for y, x in _anchor_places(changes[::down, ::right], pixels[::down, ::right])
        }
        y, x = np.array(sorted(places), np.intp).reshape(-1, 2).T
    integral = _mixed_integral(image)
    anchors = np.zeros(len(y), ANCHOR)
    anchors["tile"] = tile
    anchors["hash"] = _window_hashes(integral)[y, x]
    anchors["quadrants"] = _quadrant_sums(integral, y, x)
    if image is not pixels:
        y, x = _AT_CORNERS[y], _AT_CORNERS[x]
    anchors["y"], anchors["x"] = y, x
    return anchors


def sample_pixels(pixels: Pixels) -> Pixels:
    """Return the pixels of a tile, uint32 of the shape `SAMPLES`, by which `AnchorTable` rules candidates out."""
    return pixels[np.ix_(_SAMPLED, _SAMPLED)]


def _count_changes(pixels: Pixels) -> npt.NDArray[np.int32]:
    """Count in each window the pairs of neighbouring pixels that differ, in rows and in columns."""
    in_rows = _sums(_integral(pixels[:, 1:] != pixels[:, :-1], np.int32), WINDOW, WINDOW - 1)
    return in_rows + _sums(_integral(pixels[1:] != pixels[:-1], np.int32), WINDOW - 1, WINDOW)


def _anchor_places(changes: npt.NDArray[np.int32], pixels: Pixels) -> list[tuple[int, int]]:
    """Place the anchors of the upper left corner, as (y, x)."""
    if changes[0, 0] >= _LEAST_CHANGES:
        return [(0, 0)]
    rich = _first_by_width(changes >= _LEAST_CHANGES, _LAST)
    places = list(rich)
    # Flat rectangles at the corner, each the largest between two anchors.
    widest = [*(x - 1 for _, x in rich), _LAST]
    lowest = [_LAST, *(y - 1 for y, _ in rich)]
    for x, y in zip(widest, lowest, strict=True):
        if min(x, y) >= 0 and np.unique(pixels[: y + WINDOW, : x + WINDOW]).size >= LEAST_COLOURS:
            places += _first_by_width(changes[: y + 1] > 0, x)
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
        samples: what `sample_pixels` returned for each tile, uint32 of shape (tiles, *SAMPLES).
    """

    def __init__(self, anchors: Iterable[np.ndarray], samples: npt.NDArray[np.uint32]) -> None:
        self._samples = samples
        joined = np.concatenate([np.zeros(0, ANCHOR), *anchors])
        self._anchors = joined[np.argsort(joined["hash"], kind="stable")]
        self._hashes = np.ascontiguousarray(self._anchors["hash"])
        self._bitmap = np.zeros(2**_BITMAP_BITS, bool)
        self._bitmap[self._hashes >> np.uint32(32 - _BITMAP_BITS)] = True

    def candidates(self, tile: int, pixels: Pixels) -> np.ndarray:
        """Find the tiles before this one with which it may overlap, with turns and offsets.

        Args:
            tile: number of the tile, which is `b` of each candidate.
            pixels: uint32 array of shape (128, 128).

        Returns:
            array of `CANDIDATE`, each once.
        """
        integral = _mixed_integral(pixels)
        hashes = _window_hashes(integral)
        # The bitmap leaves few windows to the slow search in a sorted array.
        windows = np.flatnonzero(self._bitmap.take(hashes >> np.uint32(32 - _BITMAP_BITS)))
        wanted = hashes.take(windows)
        first = np.searchsorted(self._hashes, wanted, "left")
        counts = np.searchsorted(self._hashes, wanted, "right") - first
        anchors = np.repeat(first - counts.cumsum() + counts, counts) + np.arange(counts.sum())
        windows = np.repeat(windows, counts)
        before = self._anchors["tile"][anchors] < tile
        anchors, windows = anchors[before], windows[before]
        if not len(anchors):
            return np.zeros(0, CANDIDATE)
        views = np.stack([turned(pixels, turn) for turn in TURNS])
        found = []
        for start in range(0, len(anchors), _HITS):
            hits = self._anchors[anchors[start : start + _HITS]]
            found.append(_fitting(hits, self._samples, windows[start : start + _HITS], integral, views))
        candidates = np.unique(np.concatenate(found))
        candidates["b"] = tile
        return candidates


def _fitting(
    anchors: np.ndarray,
    of_tiles: npt.NDArray[np.uint32],
    windows: npt.NDArray[np.intp],
    integral: npt.NDArray[np.uint32],
    views: npt.NDArray[np.uint32],
) -> np.ndarray:
    """Return the candidates of anchors and the windows of equal hash, under each turn by which their pixels agree."""
    y, x = np.divmod(windows, _LAST + 1)
    permuted = _quadrant_sums(integral, y, x)[:, _QUADRANTS]
    hits, turns = np.nonzero((permuted == anchors["quadrants"][:, None]).all(-1))
    anchors = anchors[hits]
    # From the centre of the tile to that of the window.
    places = np.einsum("nij,nj->ni", MATRICES[turns], np.column_stack([x, y])[hits] - _LAST // 2) + _LAST // 2
    dx, dy = anchors["x"] - places[:, 0], anchors["y"] - places[:, 1]
    columns, rows = _SAMPLED - dx[:, None, None], _SAMPLED[:, None] - dy[:, None, None]
    shared = (columns >= 0) & (columns < TILE_SIZE) & (rows >= 0) & (rows < TILE_SIZE)
    samples = views[turns[:, None, None], rows.clip(0, TILE_SIZE - 1), columns.clip(0, TILE_SIZE - 1)]
    fits = (~shared | (samples == of_tiles[anchors["tile"]])).all((1, 2))
    found = np.zeros(fits.sum(), CANDIDATE)
    found["a"], found["turn"], found["dx"], found["dy"] = anchors["tile"][fits], turns[fits], dx[fits], dy[fits]
    return np.unique(found)


def shared_pixels(a: Pixels, b: Pixels, dx: int, dy: int) -> int:
    """Return the size of the rectangle that two tiles share at an offset; 0 where they do not overlap.

    Args:
        a: uint32 array of shape (128, 128).
        b: the same, turned already.
        dx: tile a's pixel (x, y) is compared with tile b's pixel (x - dx, y - dy).
        dy: see `dx`.
    """
    width, height = TILE_SIZE - abs(dx), TILE_SIZE - abs(dy)
    if min(width, height) < WINDOW:
        return 0
    of_a = a[max(dy, 0) : max(dy, 0) + height, max(dx, 0) : max(dx, 0) + width]
    of_b = b[max(-dy, 0) : max(-dy, 0) + height, max(-dx, 0) : max(-dx, 0) + width]
    if not np.array_equal(of_a, of_b):
        return 0
    colourful = any(np.unique(of_a[::step, ::step]).size >= LEAST_COLOURS for step in (8, 1))  # few pixels often tell
    return width * height if colourful else 0


def sort_candidates(candidates: np.ndarray) -> np.ndarray:
    """Sort candidates by pair, and those of a pair so that the largest overlap comes first."""
    dx, dy = candidates["dx"], candidates["dy"]
    areas = (TILE_SIZE - np.abs(dx).astype(np.int32)) * (TILE_SIZE - np.abs(dy).astype(np.int32))
    keys = (dx, dy, np.abs(dx), np.abs(dy), candidates["turn"], -areas, candidates["b"], candidates["a"])
    return candidates[np.lexsort(keys)]


def confirm_overlaps(candidates: np.ndarray, pixels_of: Callable[[int], Pixels]) -> list[Overlap]:
    """Compare the tiles of candidates pixel by pixel.

    Args:
        candidates: array of `CANDIDATE`, in the order of `sort_candidates`.
        pixels_of: returns a tile's pixels by its number.

    Returns:
        one for each pair that overlaps, the largest, in the order of the pairs.
    """
    largest: dict[tuple[int, int], Overlap] = {}
    for a, b, turn, dx, dy in candidates.tolist():
        if (a, b) not in largest and (pixels := shared_pixels(pixels_of(a), turned(pixels_of(b), turn), dx, dy)):
            largest[a, b] = Overlap(a, b, turn, dx, dy, pixels)
    return list(largest.values())
