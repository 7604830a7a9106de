"""Find all pairs of tiles that overlap, in any orientation, without comparing all pairs of tiles.

Two tiles overlap if, for some orientation of the second and some offset (dx, dy), they are
identical over their whole common rectangle, and this rectangle is at least 16 x 16 pixels and holds
at least 16 colours. Colours are red, green and blue.

Method:

1. The common rectangle contains a corner of each tile. So the window of 16 x 16 pixels at one of
   the four corners of a tile is also somewhere in the other tile. These windows are the anchors.
   They are stored by a hash that is the same in all orientations.
2. Every window of every tile is compared with the anchors. The sums over the quadrants of a window
   show which orientations are possible, and a few pixels of the common rectangle rule out most
   windows that are equal by chance. What remains is a candidate: a pair of tiles, an orientation
   and an offset.
3. Candidates are compared pixel by pixel. Those that are identical are overlaps.

Flat ground, such as snow or shadow, would match everywhere. If the window at a corner is flat,
windows further in are anchors instead: for each width that the common rectangle may have, the first
window, row by row, that is not flat. The rectangle then contains one of these windows, whatever its
height, or it is flat everywhere. A rectangle that is flat everywhere can hold 16 colours only if
the largest such rectangle does; only then are windows of few colours anchors too. A window of one
colour never is, because a rectangle of such windows has one colour.

So every overlap is a candidate, and nothing else is confirmed. Windows whose hashes are equal by
chance cost a comparison and change no result.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from rock_glacier.parallel import Workers, cut_ranges
from rock_glacier.sites.orientations import MATRICES, ORIENTATIONS, oriented
from rock_glacier.sites.pixels import Pixels, pack_pixels
from rock_glacier.sites.windows import (
    count_changes,
    find_from_corners,
    first_by_width,
    integrate,
    match_hashes,
    shared_rectangles,
    sum_rectangles,
)
from rock_glacier.tiles import ArrayFiles
from rock_glacier_dataset import TILE_SIZE

WINDOW = 16
"""Width and height of a window, and of the smallest common rectangle, in pixels."""

MIN_COLOURS = 16
"""Smallest number of colours in the common rectangle."""

_LAST = TILE_SIZE - WINDOW  # start of the last window in a row or column
_MIN_CHANGES = 96  # a window is flat if fewer of its 480 pairs of neighbouring pixels differ
_BITMAP_BITS = 22  # 4 MiB; with 50,000 anchors it leaves about 1 % of the windows
_CORNERS = np.r_[:WINDOW, _LAST:TILE_SIZE]  # rows and columns of the windows at the corners
_HITS = 1 << 16  # hits that are filtered at once
_PAIRS_PER_TASK = 2_000
_SAMPLED = np.arange(8, TILE_SIZE, 16)  # rows and columns of the pixels that rule out candidates
_CACHED_TILES = 500  # packed tiles that a worker keeps, 64 KiB each

# For each orientation, the quadrants of a window in their new order.
_QUADRANTS = np.array(
    [oriented(np.arange(4).reshape(2, 2), orientation).ravel() for orientation in ORIENTATIONS]
)
# Windows with equal hashes have equal sums over these centred squares.
_NESTED_SIZES = (16, 12, 8, 4)

_ANCHOR = np.dtype(
    [("hash", "u4"), ("tile", "i4"), ("x", "i2"), ("y", "i2"), ("quadrants", "u4", 4)]
)
_CANDIDATE = np.dtype([("a", "i4"), ("b", "i4"), ("orientation", "i2"), ("dx", "i2"), ("dy", "i2")])


def find_overlaps(files: ArrayFiles, workers: Workers) -> pd.DataFrame:
    """Find all pairs of tiles that overlap.

    Args:
        files: The decoded tiles.
        workers: Processes to use.

    Returns:
        A row for each pair, sorted by `a` and `b` (row numbers of the tiles, `a` < `b`), with the
        link from a to b in `orientation`, `dx`, `dy`, and the size of the common rectangle in
        `pixels`. If a pair has several overlaps, it is the largest.
    """
    ranges = cut_ranges(files.tiles, workers.parts)
    tasks = [(files, first, last) for first, last in ranges]
    parts = list(workers.map(_describe_tiles, tasks, "Choosing anchors"))
    anchors = [anchor for part_anchors, _ in parts for anchor in part_anchors]
    samples = np.concatenate([np.zeros((0, 8, 8), np.uint32), *(samples for _, samples in parts)])
    table = _AnchorTable(anchors, samples)
    search_tasks = [(files, first, last, table) for first, last in ranges]
    found = workers.map(_search_tiles, search_tasks, "Searching overlaps")
    candidates = _sort_candidates(np.concatenate([np.zeros(0, _CANDIDATE), *found]))
    overlaps = [_as_frame([])]
    confirm_tasks = [(files, part) for part in _split_by_pair(candidates)]
    overlaps += workers.map(_confirm, confirm_tasks, "Comparing pairs")
    return pd.concat(overlaps, ignore_index=True)


def _describe_tiles(
    files: ArrayFiles, first: int, last: int
) -> tuple[list[np.ndarray], npt.NDArray[np.uint32]]:
    """Return the anchors of some tiles, and the pixels of each that rule out candidates."""
    images = files.open_images()
    anchors = []
    samples = np.zeros((last - first, len(_SAMPLED), len(_SAMPLED)), np.uint32)
    for tile in range(first, last):
        pixels = pack_pixels(images[tile])
        anchors.append(_choose_anchors(tile, pixels))
        samples[tile - first] = pixels[np.ix_(_SAMPLED, _SAMPLED)]
    return anchors, samples


def _search_tiles(files: ArrayFiles, first: int, last: int, table: _AnchorTable) -> np.ndarray:
    """Return the candidates of some tiles, each with tiles before it: array of `_CANDIDATE`."""
    images = files.open_images()
    found = [table.find_candidates(tile, pack_pixels(images[tile])) for tile in range(first, last)]
    return np.concatenate([np.zeros(0, _CANDIDATE), *found])


def _integrate_mixed(pixels: Pixels) -> npt.NDArray[np.uint32]:
    """Mix and integrate the colours, so sums of different colours are rarely equal."""
    mixed = pixels * np.uint32(0x9E3779B1)
    mixed ^= mixed >> np.uint32(15)
    mixed *= np.uint32(0x85EBCA6B)
    mixed ^= mixed >> np.uint32(13)
    return integrate(mixed, np.uint32)


def _hash_windows(integral: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Hash every window; a window has the same hash in all orientations.

    Args:
        integral: From `_integrate_mixed`.

    Returns:
        uint32 array of shape (height - 15, width - 15): the hash by the upper left pixel.
    """
    hashes = np.uint32(0)
    for size in _NESTED_SIZES:
        margin = (WINDOW - size) // 2
        height, width = integral.shape
        inner = integral[margin : height - margin, margin : width - margin]
        hashes = (hashes ^ sum_rectangles(inner, size, size)) * np.uint32(0x7FEB352D)
        hashes ^= hashes >> np.uint32(15)
    return hashes


def _sum_quadrants(
    integral: npt.NDArray[np.uint32], y: npt.NDArray[np.intp], x: npt.NDArray[np.intp]
) -> np.ndarray:
    """Return the sums over the quadrants of windows, row by row: shape (windows, 4)."""
    steps = WINDOW // 2 * np.arange(3)
    corners = integral[y[:, None, None] + steps[:, None], x[:, None, None] + steps]
    rows = corners[:, 1:] - corners[:, :-1]
    return (rows[:, :, 1:] - rows[:, :, :-1]).reshape(-1, 4)


def _choose_anchors(tile: int, pixels: Pixels) -> np.ndarray:
    """Return the anchors of a tile: one for each corner, or several if a corner is flat."""
    # If no corner is flat, only the four windows are needed, side by side in a small image.
    image = pixels[np.ix_(_CORNERS, _CORNERS)]
    y = np.array([0, 0, WINDOW, WINDOW])
    x = np.array([0, WINDOW, 0, WINDOW])
    has_flat_corner = (count_changes(image, WINDOW)[y, x] < _MIN_CHANGES).any()
    if has_flat_corner:
        image = pixels
        y, x = find_from_corners(_find_corner_windows, count_changes(pixels, WINDOW), pixels)
    integral = _integrate_mixed(image)
    anchors = np.zeros(len(y), _ANCHOR)
    anchors["tile"] = tile
    anchors["hash"] = _hash_windows(integral)[y, x]
    anchors["quadrants"] = _sum_quadrants(integral, y, x)
    anchors["y"] = y if has_flat_corner else _CORNERS[y]
    anchors["x"] = x if has_flat_corner else _CORNERS[x]
    return anchors


def _find_corner_windows(changes: npt.NDArray[np.int32], pixels: Pixels) -> list[tuple[int, int]]:
    """Return the anchors of the upper left corner, as (y, x)."""
    if changes[0, 0] >= _MIN_CHANGES:
        return [(0, 0)]
    rich = first_by_width(changes >= _MIN_CHANGES, _LAST)
    windows = list(rich)
    # Flat rectangles at the corner, each the largest between two anchors.
    widest = [*(x - 1 for _, x in rich), _LAST]
    lowest = [_LAST, *(y - 1 for y, _ in rich)]
    for x, y in zip(widest, lowest, strict=True):
        if min(x, y) < 0:
            continue
        if np.unique(pixels[: y + WINDOW, : x + WINDOW]).size >= MIN_COLOURS:
            windows += first_by_width(changes[: y + 1] > 0, x)
    return windows


class _AnchorTable:
    """The anchors of all tiles, sorted by hash.

    Args:
        anchors: The anchors of each tile.
        samples: uint32 array of shape (tiles, 8, 8): the sampled pixels of each tile.
    """

    def __init__(self, anchors: Iterable[np.ndarray], samples: npt.NDArray[np.uint32]) -> None:
        self._samples = samples
        joined = np.concatenate([np.zeros(0, _ANCHOR), *anchors])
        self._anchors = joined[np.argsort(joined["hash"], kind="stable")]
        self._hashes = np.ascontiguousarray(self._anchors["hash"])
        self._bitmap = np.zeros(2**_BITMAP_BITS, bool)
        self._bitmap[self._hashes >> np.uint32(32 - _BITMAP_BITS)] = True

    def find_candidates(self, tile: int, pixels: Pixels) -> np.ndarray:
        """Find the tiles before this one that may overlap it: array of `_CANDIDATE`, each once.

        Args:
            tile: Number of the tile, which becomes `b` of each candidate.
            pixels: uint32 array of shape (128, 128).
        """
        integral = _integrate_mixed(pixels)
        hashes = _hash_windows(integral)
        # The bitmap leaves few windows for the slow search in a sorted array.
        windows = np.flatnonzero(self._bitmap.take(hashes >> np.uint32(32 - _BITMAP_BITS)))
        anchors, hits = match_hashes(self._hashes, hashes.take(windows))
        windows = windows[hits]
        is_before = self._anchors["tile"][anchors] < tile
        anchors = anchors[is_before]
        windows = windows[is_before]
        if not len(anchors):
            return np.zeros(0, _CANDIDATE)
        views = np.stack([oriented(pixels, orientation) for orientation in ORIENTATIONS])
        found = []
        for start in range(0, len(anchors), _HITS):
            hits = self._anchors[anchors[start : start + _HITS]]
            found.append(self._filter(hits, windows[start : start + _HITS], integral, views))
        candidates = np.unique(np.concatenate(found))
        candidates["b"] = tile
        return candidates

    def _filter(
        self,
        anchors: np.ndarray,
        windows: npt.NDArray[np.intp],
        integral: npt.NDArray[np.uint32],
        views: npt.NDArray[np.uint32],
    ) -> np.ndarray:
        """Return the candidates among anchors and windows with equal hashes.

        Args:
            anchors: Array of `_ANCHOR`.
            windows: The window with the same hash as each anchor.
            integral: Integral of the tile of the windows.
            views: That tile in its eight orientations, shape (8, 128, 128).
        """
        y, x = np.divmod(windows, _LAST + 1)
        quadrants = _sum_quadrants(integral, y, x)[:, _QUADRANTS]
        hits, orientations = np.nonzero((quadrants == anchors["quadrants"][:, None]).all(-1))
        anchors = anchors[hits]
        # Orientations apply to positions that are measured from the centre of the tile.
        centred = np.column_stack([x, y])[hits] - _LAST // 2
        moved = np.einsum("nij,nj->ni", MATRICES[orientations], centred) + _LAST // 2
        dx = anchors["x"] - moved[:, 0]
        dy = anchors["y"] - moved[:, 1]
        columns = _SAMPLED - dx[:, None, None]
        rows = _SAMPLED[:, None] - dy[:, None, None]
        is_shared = (columns >= 0) & (columns < TILE_SIZE) & (rows >= 0) & (rows < TILE_SIZE)
        last = TILE_SIZE - 1
        samples = views[orientations[:, None, None], rows.clip(0, last), columns.clip(0, last)]
        fits = (~is_shared | (samples == self._samples[anchors["tile"]])).all((1, 2))
        candidates = np.zeros(fits.sum(), _CANDIDATE)
        candidates["a"] = anchors["tile"][fits]
        candidates["orientation"] = orientations[fits]
        candidates["dx"] = dx[fits]
        candidates["dy"] = dy[fits]
        return np.unique(candidates)


def _sort_candidates(candidates: np.ndarray) -> np.ndarray:
    """Sort candidates by pair, and those of a pair by the size of the overlap, largest first."""
    dx = candidates["dx"].astype(np.int32)
    dy = candidates["dy"].astype(np.int32)
    areas = (TILE_SIZE - np.abs(dx)) * (TILE_SIZE - np.abs(dy))
    # The last key is the most important one.
    keys = (dx, dy, np.abs(dx), np.abs(dy), candidates["orientation"], -areas)
    return candidates[np.lexsort((*keys, candidates["b"], candidates["a"]))]


def _split_by_pair(candidates: np.ndarray) -> Sequence[np.ndarray]:
    """Split sorted candidates into tasks; the candidates of a pair stay together."""
    pairs = candidates["a"].astype(np.int64) << 32 | candidates["b"]
    starts = np.flatnonzero(np.diff(pairs, prepend=-1))
    return np.split(candidates, starts[_PAIRS_PER_TASK::_PAIRS_PER_TASK])


def _confirm(files: ArrayFiles, candidates: np.ndarray) -> pd.DataFrame:
    """Compare candidates pixel by pixel; returns rows as `find_overlaps` does."""
    images = files.open_images()

    @functools.lru_cache(_CACHED_TILES)
    def pixels_of(tile: int) -> Pixels:
        return pack_pixels(images[tile])

    rows = []
    previous = (-1, -1)
    for a, b, orientation, dx, dy in candidates.tolist():
        if (a, b) == previous:  # a larger overlap of this pair was found
            continue
        pixels = count_shared_pixels(pixels_of(a), oriented(pixels_of(b), orientation), dx, dy)
        if pixels:
            rows.append((a, b, orientation, dx, dy, pixels))
            previous = (a, b)
    return _as_frame(rows)


def _as_frame(rows: Sequence[tuple[int, ...]]) -> pd.DataFrame:
    columns = ["a", "b", "orientation", "dx", "dy", "pixels"]
    return pd.DataFrame(np.array(rows, np.int64).reshape(-1, len(columns)), columns=columns)


def count_shared_pixels(a: Pixels, b: Pixels, dx: int, dy: int) -> int:
    """Return the size of the rectangle that two tiles share at an offset, 0 if they do not overlap.

    Args:
        a: uint32 array of shape (128, 128).
        b: The same, already in its orientation.
        dx: Pixel (x, y) of tile a is compared with pixel (x - dx, y - dy) of tile b.
        dy: See `dx`.
    """
    width = TILE_SIZE - abs(dx)
    height = TILE_SIZE - abs(dy)
    if min(width, height) < WINDOW:
        return 0
    shared_a, shared_b = shared_rectangles(a, b, dx, dy)
    if not np.array_equal(shared_a, shared_b):
        return 0
    # A coarse subset of the pixels usually has enough colours.
    for step in (8, 1):
        if np.unique(shared_a[::step, ::step]).size >= MIN_COLOURS:
            return width * height
    return 0
