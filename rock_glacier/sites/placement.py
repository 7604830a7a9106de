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
    changes. Tiles that overlap, or whose masks do, are placed exactly relative to each other.

    Args:
        tiles: Number of tiles.
        pairs: A row for each pair, with the columns of `Sites.pairs` except `kinds`. Overlaps and
            mask overlaps are exact; the kind "match" is not.
    """
    site = number_sites(tiles, pairs)
    table = _place_along_tree(site, pairs)
    is_used = np.zeros(len(pairs), bool)
    # Errors add up along the tree, so a link that seemed wrong at first may fit after all.
    for _ in range(_MAX_ROUNDS):
        fits = measure_misfits(table, pairs) <= TOLERANCE
        if (fits == is_used).all():
            break
        is_used = fits
        table[["x", "y"]] = _adjust(table, pairs[is_used])
    for name in ("x", "y"):
        table[name] = (table[name] - table.groupby("site")[name].transform("min")).round()
    types = {"site": np.int32, "x": np.int32, "y": np.int32, "orientation": np.int8}
    return Placement(table.astype(types), is_used)


def measure_misfits(table: pd.DataFrame, pairs: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Measure how far links are from the positions of their tiles.

    Args:
        table: A row for each tile: `site`, `x`, `y`, `orientation`.
        pairs: A row for each pair: `a`, `b`, `orientation`, `dx`, `dy`.

    Returns:
        float64 array of shape (pairs,): the largest difference along an axis, in pixels; infinite
        if the tiles are in different sites, or the orientations do not agree.
    """
    a = table.iloc[pairs["a"]]
    b = table.iloc[pairs["b"]]
    orientation = COMPOSED[a["orientation"], pairs["orientation"]]
    is_other = (orientation != b["orientation"]) | (a["site"].to_numpy() != b["site"])
    missed = _missed(table, pairs)
    return np.where(is_other, np.inf, np.abs(missed).max(1, initial=0))


def _missed(table: pd.DataFrame, pairs: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return the distance of tile b of each pair from the place that the link gives: (pairs, 2)."""
    position = table[["x", "y"]].to_numpy(np.float64)
    a = pairs["a"].to_numpy()
    into_site = MATRICES[table["orientation"].to_numpy()[a]]
    shifts = np.einsum("nij,nj->ni", into_site, pairs[["dx", "dy"]].to_numpy(np.float64))
    return position[a] + shifts - position[pairs["b"].to_numpy()]


def _place_along_tree(site: npt.NDArray[np.int64], pairs: pd.DataFrame) -> pd.DataFrame:
    """Place the tiles of each site along the spanning tree of its strongest links.

    Returns:
        A row for each tile: `site`, `x` and `y` (float64), `orientation`.
    """
    tiles = len(site)
    rank = _rank_by_strength(pairs)
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
    return pd.DataFrame(
        {"site": site, "x": position[:, 0], "y": position[:, 1], "orientation": orientations}
    )


def _rank_by_strength(pairs: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Rank pairs from the strongest, which is 1."""
    kind = pairs["kind"].to_numpy(object)
    # Larger overlaps are stronger, mask overlaps with more boundary steps, and matches with more
    # votes and a higher correlation. Every overlap is stronger than any mask overlap or match.
    strength = np.select(
        [kind == "overlap", kind == "mask-overlap"],
        [pairs["pixels"], pairs["steps"]],
        pairs["votes"] * pairs["correlation"].fillna(0),
    )
    order = np.lexsort((strength, kind == "mask-overlap", kind == "overlap"))[::-1]
    rank = np.empty(len(pairs))
    rank[order] = np.arange(1, len(pairs) + 1)
    return rank


def _adjust(table: pd.DataFrame, pairs: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Move tiles to fit matches by least squares; tiles of exact pairs move together.

    Args:
        table: A row for each tile: `x`, `y`, `orientation`.
        pairs: The pairs to fit.

    Returns:
        The new positions, shape (tiles, 2); each tile was moved by whole pixels.
    """
    is_exact = (pairs["kind"] != "match").to_numpy(bool)
    position = table[["x", "y"]].to_numpy(np.float64)
    exact = _make_graph(np.ones(is_exact.sum()), pairs[is_exact], len(table))
    clusters, cluster = connected_components(exact, directed=False)
    matches = pairs[~is_exact]
    if matches.empty:
        return position
    missed = _missed(table, matches)
    rows = np.tile(np.arange(len(matches)), 2)
    columns = np.concatenate([cluster[matches["a"]], cluster[matches["b"]]])
    signs = np.repeat([-1.0, 1.0], len(matches))
    matrix = coo_array((signs, (rows, columns)), shape=(len(matches), clusters)).tocsr()
    moves = np.column_stack(
        [lsqr(matrix, missed[:, axis], atol=1e-10, btol=1e-10)[0] for axis in (0, 1)]
    )
    return position + np.rint(moves[cluster])
