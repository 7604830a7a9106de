"""Grounds: connected components of tiles."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def number_grounds(tiles: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Number the grounds of tiles in the order of their first tiles.

    Args:
        tiles: number of tiles.
        pairs: numbers of two tiles that show the same ground.

    Returns:
        the number of each tile's ground, from 0 without gaps.

    Example:
        >>> number_grounds(5, [(1, 4), (4, 2)])
        [0, 1, 1, 2, 1]
    """
    if not tiles:
        return []
    ends = np.array(list(pairs), np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), bool), ends.T), shape=(tiles, tiles))
    _, labels = connected_components(graph, directed=False)
    _, first = np.unique(labels, return_index=True)
    order = np.argsort(np.argsort(first))
    numbers: list[int] = order[labels].tolist()
    return numbers
