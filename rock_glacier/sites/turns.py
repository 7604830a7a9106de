"""The eight ways to turn and mirror a square, and the places of tiles relative to one another.

A turn is a number from 0 to 7: `numpy.rot90` by `turn % 4`, then transposed where it is 4 or more.

A link between two tiles is (turn, dx, dy): the second tile, turned by `turn`, has its upper left pixel at (dx, dy) of
the first. All places are in pixels, x to the right and y downwards.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

TURNS = range(8)

_ROT90 = np.array([[0, 1], [-1, 0]])
_TRANSPOSE = np.array([[0, 1], [1, 0]])
MATRICES = np.array(
    [(_TRANSPOSE if turn >= 4 else np.eye(2, dtype=int)) @ np.linalg.matrix_power(_ROT90, turn % 4) for turn in TURNS]
)
"""Shape (8, 2, 2): each turn as a matrix that takes (x, y) from a square's centre to its place after the turn."""

COMPOSED = np.array(
    [[(MATRICES[after] @ MATRICES[first] == MATRICES).all((1, 2)).argmax() for first in TURNS] for after in TURNS]
)
"""Shape (8, 8): at [after, first] the turn that is `first`, then `after`."""

INVERSE = (COMPOSED == 0).argmax(1)
"""Shape (8,): the turn that undoes each."""


def turned(square: npt.NDArray[Any], turn: int) -> npt.NDArray[Any]:
    """Return a square turned: a view of shape (size, size, ...).

    Example:
        >>> turned(np.array([[1, 2], [3, 4]]), 5).tolist()
        [[2, 1], [4, 3]]
    """
    if turn % 4 >= 2:
        square = square[::-1, ::-1]
    if turn % 2:
        square = square[:, ::-1].swapaxes(0, 1)
    return square.swapaxes(0, 1) if turn >= 4 else square


def inverse_link(turn: int, dx: int, dy: int) -> tuple[int, int, int]:
    """Return the link from the second tile to the first.

    Example:
        >>> inverse_link(1, 5, 0)
        (3, 0, -5)
    """
    back = int(INVERSE[turn])
    x, y = -MATRICES[back] @ (dx, dy)
    return back, int(x), int(y)
