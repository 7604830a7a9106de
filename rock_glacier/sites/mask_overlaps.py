"""Find all pairs of masks that overlap, in any orientation, without comparing all pairs of masks.

Two masks overlap if, for some orientation of the second and some offset (dx, dy), they are
identical over their whole common rectangle, and this rectangle holds a distinctive window: 32 x 32
pixels with at least 40 boundary steps and without symmetry. A boundary step is a pair of
neighbouring pixels that differ. Masks do not change with the date of a tile.

Method, as in `overlaps`:

1. The common rectangle contains a corner of each mask. For each corner and each width that the
   rectangle may have, the first distinctive window, row by row, is an anchor of the mask. So the
   rectangle holds an anchor of the first mask, and the second mask has an equal window.
2. Every distinctive window of every mask is compared with the anchors by a hash. A window is hashed
   in its eight orientations, and the smallest hash is kept: it is the same in all orientations of
   the window. Windows without symmetry have it in one orientation only, which shows how an anchor
   and an equal window fit together. The result is a candidate.
3. Candidates are compared pixel by pixel over the whole common rectangle.

So every overlap is found, and nothing else. There are two exceptions: hashes may be equal by
chance, which is unlikely with 64 bits, and anchors are dropped if more than 2,000 are equal, which
happens if masks are drawn as boxes.

Measured on two cores:

| masks | pairs | CPU | largest process |
|---|---:|---:|---:|
| the 1,165 of the release's test split that can be read | 23,269 | 5 s | 206 MiB |
| 4,700 that were cut from the same ground | 438,261 | 55 s | 355 MiB |
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from rock_glacier.parallel import Workers, cut_ranges
from rock_glacier.sites.orientations import COMPOSED, INVERSE, MATRICES, ORIENTATIONS, oriented
from rock_glacier.sites.windows import (
    count_changes,
    find_from_corners,
    first_by_width,
    match_hashes,
    shared_rectangles,
)
from rock_glacier.tiles import ArrayFiles
from rock_glacier_dataset import TILE_SIZE

WINDOW = 32
"""Width and height of a window, in pixels."""

MIN_STEPS = 40
"""Smallest number of boundary steps in a distinctive window."""

# Largest number of equal anchors. The 1,165 masks have up to 191. If masks are drawn as boxes, it
# grows with their number: with this limit 4,700 boxes take 5 minutes of CPU time, without it hours.
_MAX_EQUAL = 2_000

_LAST = TILE_SIZE - WINDOW  # start of the last window in a row or column
_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)  # of rows and columns: odd, random

_COLUMNS = ["a", "b", "orientation", "dx", "dy", "pixels", "steps"]
_WINDOW = np.dtype(
    [("hash", "u8"), ("tile", "i4"), ("orientation", "i2"), ("x", "i2"), ("y", "i2")]
)


def find_mask_overlaps(
    files: ArrayFiles, rows: npt.NDArray[np.int64], workers: Workers
) -> pd.DataFrame:
    """Find all pairs of masks that overlap.

    Args:
        files: The decoded tiles.
        rows: Row numbers of the tiles whose masks are compared, in ascending order.
        workers: Processes to use.

    Returns:
        A row for each pair, sorted by `a` and `b` (row numbers of the tiles, `a` < `b`), with the
        link from a to b in `orientation`, `dx`, `dy`, the size of the common rectangle in `pixels`,
        and the number of boundary `steps` in it. If a pair has several overlaps, it is the one with
        the most steps.
    """
    ranges = cut_ranges(len(rows), workers.parts)
    tasks = [(files, rows[first:last]) for first, last in ranges]
    chosen = workers.map(_choose_anchors, tasks, "Choosing anchors of masks")
    anchors = _sort_anchors(np.concatenate([np.zeros(0, _WINDOW), *chosen]))
    search_tasks = [(*task, anchors) for task in tasks]
    found = [_as_frame([]), *workers.map(_search, search_tasks, "Searching mask overlaps")]
    overlaps = pd.concat(found, ignore_index=True)
    overlaps = overlaps.sort_values(["a", "b", "steps", "pixels", "orientation", "dx", "dy"])
    return overlaps.drop_duplicates(["a", "b"], keep="last", ignore_index=True)


def _choose_anchors(files: ArrayFiles, rows: npt.NDArray[np.int64]) -> np.ndarray:
    """Return the anchors of some masks: array of `_WINDOW`."""
    masks = files.open_masks()
    anchors = [np.zeros(0, _WINDOW)]
    for tile in rows.tolist():
        windows, is_distinctive = _describe_windows(tile, masks[tile])
        y, x = find_from_corners(lambda marked: first_by_width(marked, _LAST), is_distinctive)
        anchors.append(windows[y, x])
    return np.concatenate(anchors)


def _sort_anchors(anchors: np.ndarray) -> np.ndarray:
    """Sort anchors by hash, and drop those that are equal to too many others."""
    _, numbers, counts = np.unique(anchors["hash"], return_inverse=True, return_counts=True)
    anchors = anchors[counts[numbers] <= _MAX_EQUAL]
    return anchors[np.argsort(anchors["hash"], kind="stable")]


def _describe_windows(
    tile: int, mask: npt.NDArray[np.uint8]
) -> tuple[np.ndarray, npt.NDArray[np.bool_]]:
    """Describe every window of a mask.

    Returns:
        Array of `_WINDOW` of shape (97, 97), and whether each window is distinctive. A window has
        its hash after `orientation` was applied.
    """
    hashes = np.stack(
        [
            oriented(_hash_windows(oriented(mask, orientation)), INVERSE[orientation])
            for orientation in ORIENTATIONS
        ]
    )
    windows = np.zeros((_LAST + 1, _LAST + 1), _WINDOW)
    windows["tile"] = tile
    windows["hash"] = hashes.min(0)
    windows["orientation"] = hashes.argmin(0)
    windows["y"] = np.arange(_LAST + 1)[:, None]
    windows["x"] = np.arange(_LAST + 1)
    is_symmetric = (hashes[1:] == hashes[0]).any(0)
    return windows, (count_changes(mask, WINDOW) >= MIN_STEPS) & ~is_symmetric


def _hash_windows(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Hash every window of a mask: shape (97, 97), by the upper left pixel.

    The hash is a polynomial modulo 2**64 whose coefficients are the pixels.
    """
    hashes = mask.astype(np.uint64)
    for multiplier in _MULTIPLIERS:
        power = np.array([multiplier], np.uint64)
        height = 1
        while height < WINDOW:
            # Join the hashes of two windows that are one above the other.
            hashes = hashes[:-height] + power * hashes[height:]
            power = power * power
            height *= 2
        hashes = hashes.T
    return hashes


def _search(files: ArrayFiles, rows: npt.NDArray[np.int64], anchors: np.ndarray) -> pd.DataFrame:
    """Return the overlaps of some masks, each with masks before it."""
    masks = files.open_masks()
    overlaps = []
    for tile in rows.tolist():
        windows, is_distinctive = _describe_windows(tile, masks[tile])
        candidates = _find_candidates(windows[is_distinctive], anchors)
        for a, orientation, dx, dy in candidates.tolist():
            second = oriented(masks[tile], orientation)
            in_a, in_b = shared_rectangles(masks[a], second, dx, dy)
            if np.array_equal(in_a, in_b):
                overlaps.append((a, tile, orientation, dx, dy, in_a.size, _count_steps(in_a)))
    return _as_frame(overlaps)


def _find_candidates(windows: np.ndarray, anchors: np.ndarray) -> npt.NDArray[np.int64]:
    """Return the links to which equal windows lead.

    Args:
        windows: Windows of a mask.
        anchors: Anchors of all masks, sorted by hash.

    Returns:
        A row for each link from a mask before that mask: its tile, orientation, dx, dy.
    """
    equal_anchors, equal_windows = match_hashes(anchors["hash"], windows["hash"])
    first = anchors[equal_anchors]
    second = windows[equal_windows]
    is_before = first["tile"] < second["tile"]
    first = first[is_before]
    second = second[is_before]
    orientations = COMPOSED[INVERSE[first["orientation"]], second["orientation"]]
    # Orientations apply to positions that are measured from the centre of the tile.
    centred = np.column_stack([second["x"], second["y"]]) - _LAST // 2
    moved = np.einsum("nij,nj->ni", MATRICES[orientations], centred) + _LAST // 2
    dx = first["x"] - moved[:, 0]
    dy = first["y"] - moved[:, 1]
    return np.unique(np.column_stack([first["tile"], orientations, dx, dy]), axis=0)


def _count_steps(mask: npt.NDArray[np.uint8]) -> int:
    in_rows = np.count_nonzero(mask[:, 1:] != mask[:, :-1])
    in_columns = np.count_nonzero(mask[1:] != mask[:-1])
    return in_rows + in_columns


def _as_frame(rows: Sequence[tuple[int, ...]]) -> pd.DataFrame:
    return pd.DataFrame(np.array(rows, np.int64).reshape(-1, len(_COLUMNS)), columns=_COLUMNS)
