"""The eight orientations of a square, and links between tiles.

An orientation is a number from 0 to 7: `numpy.rot90` by `orientation % 4`, then transposed if it is
4 or more.

A link from tile a to tile b is (orientation, dx, dy): tile b, after its orientation was applied,
has its upper left pixel at (dx, dy) of tile a. All positions are in pixels, x to the right and y
downwards.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

ORIENTATIONS = range(8)

_ROT90 = np.array([[0, 1], [-1, 0]])
_TRANSPOSE = np.array([[0, 1], [1, 0]])


def _matrix(orientation: int) -> npt.NDArray[np.int64]:
    rotation = np.linalg.matrix_power(_ROT90, orientation % 4)
    if orientation >= 4:
        return _TRANSPOSE @ rotation
    return rotation


MATRICES = np.array([_matrix(orientation) for orientation in ORIENTATIONS])
"""Shape (8, 2, 2). Each takes (x, y), measured from the centre of a square, to its new position."""


def _find(matrix: npt.NDArray[np.int64]) -> int:
    return int((matrix == MATRICES).all((1, 2)).argmax())


COMPOSED = np.array(
    [
        [_find(MATRICES[second] @ MATRICES[first]) for first in ORIENTATIONS]
        for second in ORIENTATIONS
    ]
)
"""Shape (8, 8). At [second, first], the orientation that equals `first` followed by `second`."""

INVERSE = (COMPOSED == 0).argmax(1)
"""Shape (8,). The orientation that undoes each."""


def oriented(square: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Apply an orientation to a square; returns a view of shape (size, size, ...).

    Example:
        >>> oriented(np.array([[1, 2], [3, 4]]), 5).tolist()
        [[2, 1], [4, 3]]
    """
    if orientation % 4 >= 2:
        square = square[::-1, ::-1]
    if orientation % 2:
        square = square[:, ::-1].swapaxes(0, 1)
    if orientation >= 4:
        square = square.swapaxes(0, 1)
    return square


def inverse_link(orientation: int, dx: int, dy: int) -> tuple[int, int, int]:
    """Return the link from the second tile to the first.

    Example:
        >>> inverse_link(1, 5, 0)
        (3, 0, -5)
    """
    inverse = int(INVERSE[orientation])
    x, y = -MATRICES[inverse] @ (dx, dy)
    return inverse, int(x), int(y)
