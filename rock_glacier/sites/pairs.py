"""Pairs of tiles that show one place."""

from __future__ import annotations

from typing import NamedTuple


class Overlap(NamedTuple):
    """Two tiles that overlap.

    Attributes:
        a: number of a tile.
        b: number of the other, larger than `a`.
        turn: from 0 to 7; tile a's pixel (x, y) is pixel (x - dx, y - dy) of tile b under this turn.
        dx: see `turn`.
        dy: see `turn`.
        pixels: size of the shared rectangle.
    """

    a: int
    b: int
    turn: int
    dx: int
    dy: int
    pixels: int


class SameGround(NamedTuple):
    """Two tiles that show the same ground.

    Attributes:
        a: number of a tile.
        b: number of the other, larger than `a`.
        turn: from 0 to 7; tile a's pixel (x, y) shows what pixel (x - dx, y - dy) of tile b under this turn shows.
        dx: see `turn`.
        dy: see `turn`.
        matches: number of features that match.
        correlation: of gradient magnitudes over the shared rectangle, at most 1.
    """

    a: int
    b: int
    turn: int
    dx: int
    dy: int
    matches: int
    correlation: float
