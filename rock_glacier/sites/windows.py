"""Windows of a tile or mask, and the rectangle that two tiles share at an offset."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from rock_glacier_dataset import TILE_SIZE

Positions = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
"""Rows and columns of the upper left pixels of windows, two arrays of shape (windows,)."""


def integrate(values: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return the integral image: sums from the upper left, shape (height + 1, width + 1)."""
    integral = np.zeros((values.shape[0] + 1, values.shape[1] + 1), dtype)
    np.cumsum(values, 0, out=integral[1:, 1:])
    np.cumsum(integral[1:, 1:], 1, out=integral[1:, 1:])
    return integral


def sum_rectangles(integral: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[Any]:
    """Return the sum over each rectangle of this size, by its upper left pixel."""
    columns = integral[height:] - integral[:-height]
    return columns[:, width:] - columns[:, :-width]


def count_changes(pixels: npt.NDArray[Any], window: int) -> npt.NDArray[np.int32]:
    """Count the neighbouring pixels that differ in each window, in rows and in columns.

    Args:
        pixels: Array of shape (height, width).
        window: Width and height of a window, in pixels.

    Returns:
        int32 array of shape (height - window + 1, width - window + 1): the number by the upper left
        pixel of the window.
    """
    in_rows = integrate(pixels[:, 1:] != pixels[:, :-1], np.int32)
    in_columns = integrate(pixels[1:] != pixels[:-1], np.int32)
    horizontal = sum_rectangles(in_rows, window, window - 1)
    return horizontal + sum_rectangles(in_columns, window - 1, window)


def find_from_corners(
    find: Callable[..., Iterable[tuple[int, int]]], *squares: npt.NDArray[Any]
) -> Positions:
    """Find windows from each corner of a tile; returns each once, row by row.

    Args:
        find: Returns the (row, column) of windows, given the squares after they were flipped to
            make a corner the upper left one.
        squares: Arrays of shape (n, n). The first has a value for each window.
    """
    last = len(squares[0]) - 1
    windows: set[tuple[int, int]] = set()
    for down in (1, -1):
        for right in (1, -1):
            for y, x in find(*(square[::down, ::right] for square in squares)):
                windows.add((y if down == 1 else last - y, x if right == 1 else last - x))
    ordered = np.array(sorted(windows), np.intp).reshape(-1, 2)
    return ordered[:, 0], ordered[:, 1]


def first_by_width(marked: npt.NDArray[np.bool_], widest: int) -> list[tuple[int, int]]:
    """Find the first marked window, row by row, for each width up to `widest`; each once."""
    rows = len(marked)
    first = np.where(marked.any(0), marked.argmax(0), rows)[: widest + 1]
    lowest = np.minimum.accumulate(first)
    steps = np.flatnonzero(np.diff(lowest, prepend=rows) < 0)
    return [(int(first[x]), int(x)) for x in steps]


def match_hashes(
    hashes: npt.NDArray[Any], wanted: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return all positions (i, j) with `hashes[i] == wanted[j]`; `hashes` must be sorted.

    Example:
        >>> i, j = match_hashes(np.array([2, 5, 5, 9]), np.array([5, 3, 9]))
        >>> i.tolist(), j.tolist()
        ([1, 2, 3], [0, 0, 2])
    """
    first = np.searchsorted(hashes, wanted, "left")
    counts = np.searchsorted(hashes, wanted, "right") - first
    starts = np.repeat(first - counts.cumsum() + counts, counts)
    return starts + np.arange(counts.sum()), np.repeat(np.arange(len(wanted)), counts)


def shared_rectangles(
    a: npt.NDArray[Any], b: npt.NDArray[Any], dx: int, dy: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the rectangle that two tiles share at an offset, as a view of each.

    Args:
        a: Array of shape (128, 128, ...).
        b: The same, already in its orientation.
        dx: Pixel (x, y) of tile a is pixel (x - dx, y - dy) of tile b; from -127 to 127.
        dy: See `dx`.
    """
    width = TILE_SIZE - abs(dx)
    height = TILE_SIZE - abs(dy)
    in_a = a[max(dy, 0) : max(dy, 0) + height, max(dx, 0) : max(dx, 0) + width]
    in_b = b[max(-dy, 0) : max(-dy, 0) + height, max(-dx, 0) : max(-dx, 0) + width]
    return in_a, in_b
