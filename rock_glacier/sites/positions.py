"""Grounds, and where their tiles lie: every tile's turn and place in the coordinates of its ground."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.sparse.linalg import lsqr

from rock_glacier.grounds.components import number_grounds
from rock_glacier.grounds.pairs import Overlap, SameGround
from rock_glacier.grounds.turns import COMPOSED, MATRICES, inverse_link

TOLERANCE = 6
"""Pixels by which a link may miss the place that the other links give a tile."""

_ROUNDS = 5  # of least squares at most


class Positions(NamedTuple):
    """The grounds of tiles, and the places of the tiles there.

    Attributes:
        ground: int64 array of shape (tiles,): number of each tile's ground, in the order of the grounds' first tiles.
        turn: int64 array of shape (tiles,): the tile, turned by it, lies in its ground; 0 for a ground's first tile.
        x: int64 array of shape (tiles,): column of the turned tile's upper left pixel in its ground, from 0.
        y: int64 array of shape (tiles,): its row.
        unclosed: the links that contradict stronger ones, and were left out.
    """

    ground: npt.NDArray[np.int64]
    turn: npt.NDArray[np.int64]
    x: npt.NDArray[np.int64]
    y: npt.NDArray[np.int64]
    unclosed: list[Overlap | SameGround]


def place_tiles(tiles: int, overlaps: Sequence[Overlap], same_ground: Sequence[SameGround]) -> Positions:
    """Place tiles in grounds, which are the connected components of tiles under the links.

    The strongest links that connect all tiles of a ground give their turns and first places. Links that miss these by
    more than `TOLERANCE` are left out, and the places are the least squares of all others; links that fit the new
    places are taken in again, until none changes. Tiles that overlap lie exactly.

    Args:
        tiles: number of tiles.
        overlaps: pairs of tiles that overlap.
        same_ground: pairs of tiles that show the same ground.
    """
    links: list[Overlap | SameGround] = [*overlaps, *same_ground]
    ends = np.array([one[:2] for one in links], np.int64).reshape(-1, 2)
    shifts = np.array([(one.dx, one.dy) for one in links], np.float64).reshape(-1, 2)
    turns = np.array([one.turn for one in links], np.int64)
    exact = np.arange(len(links)) < len(overlaps)
    ground, turn, place = _along_tree(tiles, links, ends, exact)
    a, b = ends.T
    shifts = np.einsum("nij,nj->ni", MATRICES[turn[a]], shifts)
    closed = np.zeros(len(links), bool)
    for _ in range(_ROUNDS):  # errors add up along the tree, and a link that seemed to miss may fit after all
        missed = np.abs(place[a] + shifts - place[b]).max(1, initial=0)
        before, closed = closed, (COMPOSED[turn[a], turns] == turn[b]) & (missed <= TOLERANCE)
        if (closed == before).all():
            break
        place = _least_squares(place, ends[closed], shifts[closed], exact[closed])
    for axis in (0, 1):
        least = np.full(ground.max(initial=-1) + 1, np.inf)
        np.minimum.at(least, ground, place[:, axis])
        place[:, axis] -= least[ground]
    x, y = np.rint(place).astype(np.int64).T
    return Positions(ground, turn, x, y, [one for one, closes in zip(links, closed, strict=True) if not closes])


def _along_tree(
    tiles: int, links: Sequence[Overlap | SameGround], ends: npt.NDArray[np.int64], exact: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return each tile's ground, turn, and place, along the spanning tree of the strongest links."""
    # Overlaps are stronger than any other link, the larger the stronger.
    strength = [one.pixels if isinstance(one, Overlap) else one.matches * one.correlation for one in links]
    rank = np.empty(len(links))
    rank[np.lexsort((np.array(strength), exact))[::-1]] = np.arange(1, len(links) + 1)
    tree = minimum_spanning_tree(coo_array((rank, ends.T), shape=(tiles, tiles)).tocsr())
    ground = np.array(number_grounds(tiles, ends.tolist()), np.int64)
    _, first, sizes = np.unique(ground, return_index=True, return_counts=True)
    by_ends = {(one.a, one.b): (one.turn, one.dx, one.dy) for one in reversed(links)}
    turn, place = np.zeros(tiles, np.int64), np.zeros((tiles, 2))
    for root in first[sizes > 1]:
        found, before = breadth_first_order(tree, root, directed=False)
        for tile in found[1:].tolist():
            a = int(before[tile])
            of_b, dx, dy = by_ends[a, tile] if (a, tile) in by_ends else inverse_link(*by_ends[tile, a])
            turn[tile] = COMPOSED[turn[a], of_b]
            place[tile] = place[a] + MATRICES[turn[a]] @ (dx, dy)
    return ground, turn, place


def _least_squares(
    place: npt.NDArray[np.float64],
    ends: npt.NDArray[np.int64],
    shifts: npt.NDArray[np.float64],
    exact: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float64]:
    """Move tiles so that the links fit best; those that overlap move together, by whole pixels."""
    graph = coo_array((np.ones(int(exact.sum())), ends[exact].T), shape=(len(place), len(place)))
    clusters, cluster = connected_components(graph, directed=False)
    a, b = ends[~exact].T
    missed = place[a] + shifts[~exact] - place[b]
    rows = np.tile(np.arange(len(a)), 2)
    signs = np.repeat([-1.0, 1.0], len(a))
    matrix = coo_array((signs, (rows, np.concatenate([cluster[a], cluster[b]]))), shape=(len(a), clusters)).tocsr()
    moved = np.zeros((clusters, 2))
    for axis in (0, 1) if len(a) else ():
        moved[:, axis] = lsqr(matrix, missed[:, axis], atol=1e-10, btol=1e-10)[0]
    return place + np.rint(moved[cluster])
