"""Which tiles the pictures of the card show: drawn from a seed or the best of their kind, always the same ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from archive_survey import MaskShape, Survey

from rock_glacier_dataset import TILE_SIZE

PLAIN_COVERAGE = 0.25
"""Mask coverage of a tile that explains a mask well: enough to see, and enough left of the mountain around it."""

PLAIN_SHARE = 0.5
"""Share of two tiles that is the same ground, where that is plainly seen."""

SHORTLIST = 32
"""Tiles, or pairs of them, out of which the one with the most shades is shown."""


def draw_tiles(surveyed: Survey, class_name: str, number: int, groups: Mapping[str, int], seed: int = 0) -> list[str]:
    """Draw tiles of a class at random, of all splits; no two that share ground, as long as there are others.

    Args:
        surveyed: the folder of archives.
        class_name: name of the class.
        number: how many tiles to draw.
        groups: group of each tile, by its path.
        seed: seed of the draw.

    Returns:
        their paths; fewer where the class has fewer. Glaciar tiles whose mask is empty are left out.
    """
    candidates = [
        path
        for path in surveyed.paths
        if path.split("/")[1] == class_name and (path not in surveyed.shapes or surveyed.shapes[path].coverage > 0)
    ]
    order = np.random.default_rng(seed).permutation(len(candidates)).tolist()
    shuffled = [candidates[place] for place in order]
    first_of_group = {groups[path]: path for path in reversed(shuffled)}
    others = [path for path in shuffled if first_of_group[groups[path]] != path]
    apart = [path for path in shuffled if first_of_group[groups[path]] == path]
    return (apart + others)[:number]


def plainest_masks(shapes: Mapping[str, MaskShape]) -> list[str]:
    """Name the tiles whose masks are most plainly seen: of a fair size, and away from the tile's border.

    Returns:
        up to `SHORTLIST` paths, the best first; tiles whose mask is empty are left out.

    Example:
        >>> plainest_masks({"a": MaskShape(0.9, 0.8), "b": MaskShape(0.3, 0.0), "c": MaskShape(0.0, 0.0)})
        ['b', 'a']
    """
    seen = [path for path, shape in shapes.items() if shape.coverage > 0]
    return sorted(seen, key=lambda path: abs(shapes[path].coverage - PLAIN_COVERAGE) + shapes[path].border)[:SHORTLIST]


def plainest_pairs(overlaps: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Name pairs of tiles that share about half of their ground, of two splits if there are any.

    Args:
        overlaps: what the audit found: {"a", "b", "dx", "dy", "pixels"} of each pair.

    Returns:
        up to `SHORTLIST` pairs, the best first.
    """
    pairs = sorted(overlaps, key=lambda pair: (_is_dull(pair), _far_from_half(pair), pair["a"], pair["b"]))
    return [pair for pair in pairs if _is_dull(pair) == _is_dull(pairs[0])][:SHORTLIST]


def _is_dull(pair: Mapping[str, Any]) -> tuple[bool, bool]:
    """Tell whether a pair is of one split, and whether one tile lies beside or above the other and not across."""
    return pair["a"].split("/")[0] == pair["b"].split("/")[0], not (pair["dx"] and pair["dy"])


def _far_from_half(pair: Mapping[str, Any]) -> float:
    return abs(pair["pixels"] / TILE_SIZE**2 - PLAIN_SHARE)


def tonal_range(rgb: npt.NDArray[np.uint8]) -> float:
    """Say how many shades a tile has: low where it lies in the shadow, or under snow, and high where much can be seen.

    Args:
        rgb: uint8 array of shape (rows, columns, 3).

    Returns:
        the entropy of its brightness in 32 levels, in bits, in [0, 5] (Shannon, A Mathematical Theory of
        Communication, 1948).

    Example:
        >>> tonal_range(np.zeros((4, 4, 3), np.uint8))
        0.0
    """
    brightness = rgb.mean(axis=-1)
    counts, _ = np.histogram(brightness, bins=32, range=(0, 256))
    shares = counts[counts > 0] / brightness.size
    return float((shares * np.log2(1 / shares)).sum())
