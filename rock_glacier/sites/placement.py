"""Sites, and the position and orientation of every tile in its site."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.sparse.linalg import lsqr

from rock_glacier.sites.orientations import COMPOSED, MATRICES, inverse_link

TOLERANCE = 6
"""Largest difference along an axis, in pixels, between a link and the positions of its tiles."""

_MAX_ROUNDS = 5  # of least squares; real data need two or three


@dataclass(frozen=True)
class Placement:
    """Positions and orientations of tiles.

    Attributes:
        table: A row for each tile: `site` (numbered in the order of the first tiles), `x` and `y`
            (int32, column and row of the upper left pixel in the grid of the site, from 0, after
            `orientation` was applied), `orientation` (int8; 0 for the first tile of a site).
        is_used: bool array of shape (pairs,): whether a pair agrees with the positions. Pairs that
            contradict stronger ones are not used.
    """

    table: pd.DataFrame
    is_used: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Poses:
    """Position (float64, shape (tiles, 2)) and orientation (int64, shape (tiles,)) of each tile."""

    position: npt.NDArray[np.float64]
    orientation: npt.NDArray[np.int64]


def number_sites(tiles: int, pairs: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Number the connected components of tiles, in the order of their first tiles.

    Args:
        tiles: Number of tiles.
        pairs: Columns `a` and `b`: the tiles of each pair.

    Returns:
        int64 array of shape (tiles,): number of the site of each tile, from 0 without gaps.

    Example:
        >>> number_sites(5, pd.DataFrame({"a": [1, 4], "b": [4, 2]})).tolist()
        [0, 1, 1, 2, 1]
    """
    if not tiles:
        return np.zeros(0, np.int64)
    graph = _make_graph(np.ones(len(pairs)), pairs, tiles)
    _, labels = connected_components(graph, directed=False)
    _, first = np.unique(labels, return_index=True)
    rank = np.argsort(np.argsort(first))
    return rank[labels].astype(np.int64)


def _make_graph(weights: npt.NDArray[np.float64], pairs: pd.DataFrame, tiles: int) -> coo_array:
    """Return the graph of tiles with an edge for each pair."""
    # Some versions of scipy do not accept 64-bit indices.
    ends = (pairs["a"].to_numpy(np.int32), pairs["b"].to_numpy(np.int32))
    return coo_array((weights, ends), shape=(tiles, tiles))


def place_tiles(tiles: int, pairs: pd.DataFrame) -> Placement:
    """Place tiles in sites, which are the connected components of tiles under the pairs.

    The strongest links that connect all tiles of a site give orientations and first positions.
    Links that differ from these by more than `TOLERANCE` are not used, and the positions are fitted
    to all others by least squares. Links that fit the new positions are used again, until nothing
    changes. Tiles that overlap are placed exactly relative to each other.

    Args:
        tiles: Number of tiles.
        pairs: A row for each pair: `a`, `b`, `kind` ("overlap" or "match"), `orientation`, `dx`,
            `dy`, `pixels` and, for matches, `votes` and `correlation`.
    """
    site = number_sites(tiles, pairs)
    is_exact = (pairs["kind"] == "overlap").to_numpy(bool)
    poses = _place_along_tree(site, pairs, is_exact)
    a = pairs["a"].to_numpy()
    b = pairs["b"].to_numpy()
    offsets = pairs[["dx", "dy"]].to_numpy(np.float64)
    shifts = np.einsum("nij,nj->ni", MATRICES[poses.orientation[a]], offsets)
    has_orientation = (
        COMPOSED[poses.orientation[a], pairs["orientation"].to_numpy(np.int64)]
        == poses.orientation[b]
    )
    position = poses.position
    is_used = np.zeros(len(pairs), bool)
    # Errors add up along the tree, so a link that seemed wrong at first may fit after all.
    for _ in range(_MAX_ROUNDS):
        missed = np.abs(position[a] + shifts - position[b]).max(1, initial=0)
        fits = has_orientation & (missed <= TOLERANCE)
        if (fits == is_used).all():
            break
        is_used = fits
        position = _adjust(position, pairs[is_used], shifts[is_used], is_exact[is_used])
    table = pd.DataFrame({"site": site})
    for column, name in enumerate(("x", "y")):
        first = np.full(site.max(initial=-1) + 1, np.inf)
        np.minimum.at(first, site, position[:, column])
        table[name] = np.rint(position[:, column] - first[site])
    table["orientation"] = poses.orientation
    types = {"site": np.int32, "x": np.int32, "y": np.int32, "orientation": np.int8}
    return Placement(table.astype(types), is_used)


def _place_along_tree(
    site: npt.NDArray[np.int64], pairs: pd.DataFrame, is_exact: npt.NDArray[np.bool_]
) -> _Poses:
    """Place the tiles of each site along the spanning tree of its strongest links."""
    tiles = len(site)
    # Every overlap is stronger than any match. Larger overlaps are stronger, and so are matches
    # with more votes and a higher correlation.
    strength = np.where(is_exact, pairs["pixels"], pairs["votes"] * pairs["correlation"])
    rank = np.empty(len(pairs))
    rank[np.lexsort((strength, is_exact))[::-1]] = np.arange(1, len(pairs) + 1)
    tree = minimum_spanning_tree(_make_graph(rank, pairs, tiles).tocsr())
    in_tree = pairs.iloc[np.argsort(rank)[tree.data.astype(np.int64) - 1]]
    links = {
        (pair.a, pair.b): (pair.orientation, pair.dx, pair.dy) for pair in in_tree.itertuples()
    }
    position = np.zeros((tiles, 2))
    orientations = np.zeros(tiles, np.int64)
    _, roots, sizes = np.unique(site, return_index=True, return_counts=True)
    for root in roots[sizes > 1]:
        order, predecessors = breadth_first_order(tree, root, directed=False)
        for tile in order[1:].tolist():
            before = int(predecessors[tile])
            if (before, tile) in links:
                orientation, dx, dy = links[before, tile]
            else:
                orientation, dx, dy = inverse_link(*links[tile, before])
            orientations[tile] = COMPOSED[orientations[before], orientation]
            position[tile] = position[before] + MATRICES[orientations[before]] @ (dx, dy)
    return _Poses(position, orientations)


def _adjust(
    position: npt.NDArray[np.float64],
    pairs: pd.DataFrame,
    shifts: npt.NDArray[np.float64],
    is_exact: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float64]:
    """Move tiles to fit matches by least squares; tiles that overlap move together.

    Args:
        position: Position of each tile, shape (tiles, 2).
        pairs: The pairs to fit.
        shifts: Offset from a to b of each pair, in the grid of the site, shape (pairs, 2).
        is_exact: Whether each pair is an overlap.

    Returns:
        The new positions; each tile was moved by whole pixels.
    """
    a = pairs["a"].to_numpy()
    b = pairs["b"].to_numpy()
    overlaps = _make_graph(np.ones(is_exact.sum()), pairs[is_exact], len(position))
    clusters, cluster = connected_components(overlaps, directed=False)
    a = a[~is_exact]
    b = b[~is_exact]
    if not len(a):
        return position
    missed = position[a] + shifts[~is_exact] - position[b]
    rows = np.tile(np.arange(len(a)), 2)
    columns = np.concatenate([cluster[a], cluster[b]])
    signs = np.repeat([-1.0, 1.0], len(a))
    matrix = coo_array((signs, (rows, columns)), shape=(len(a), clusters)).tocsr()
    moves = np.column_stack(
        [lsqr(matrix, missed[:, axis], atol=1e-10, btol=1e-10)[0] for axis in (0, 1)]
    )
    return position + np.rint(moves[cluster])
