"""Assign tiles to train, validation and test. No two splits share ground.

Tiles of one site share ground, so sites stay together if possible: they are assigned one after the
other, the largest first, to the split that lacks most. If a split then misses its target, the
largest site is cut; if that is not enough, the two largest, and so on. Two parallel lines cut a
site into three strips, one for each split. Tiles on a line are dropped.

Numbers of tiles are arrays of shape (..., splits, classes), in the order of `SPLIT_NAMES` and
`CLASS_NAMES`. Targets are shares of the tiles that are kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from rock_glacier.faults import InputError
from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES, TILE_SIZE

TOLERANCE = 0.1
"""A split meets its target if its number of tiles differs by at most this share of the target."""

MATCH_MARGIN = 3
"""Pixels to keep between a tile and a line, in a site with matches or joined by footprints: the
error of the positions."""

_MOST_CUTS = 8  # Each cut takes time; the masks of the release's test split show two sites.
_MOST_LINES = 100  # Positions of lines to try per axis.

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


def find_missed(counts: npt.ArrayLike, ratios: Sequence[float]) -> npt.NDArray[np.bool_]:
    """Return which splits miss their targets by more than `TOLERANCE` and more than one tile.

    Example:
        >>> find_missed([[70, 0], [6, 6], [9, 9]], (7, 1, 2)).tolist()
        [False, True, False]
    """
    sizes = np.asarray(counts).sum(axis=1)
    targets = np.array(ratios, float) / sum(ratios) * sizes.sum()
    return np.asarray(abs(sizes - targets) > np.maximum(TOLERANCE * targets, 1))


def check_classes(splits: pd.Series, labels: pd.Series) -> None:
    """Check that every split has tiles of every class in the labels.

    Raises:
        InputError: If a split has no tile of a class.
    """
    for split, label in itertools.product(SPLIT_NAMES, labels.unique()):
        if not ((splits == split) & (labels == label)).any():
            raise InputError(
                f"The split {split} would have no {label} tile. "
                f"Add {label} tiles of other places, or use another --split."
            )


def assign_random(labels: pd.Series, ratios: Sequence[float], *, seed: int = 0) -> pd.Series:
    """Assign single tiles at random, each class in the same ratios. Splits may share ground.

    Args:
        labels: Name of each tile's class.
        ratios: Relative sizes of the splits.
        seed: Seed of the random numbers.

    Returns:
        Name of each tile's split.

    Raises:
        InputError: If a split would have no tile of a class.
    """
    rng = np.random.default_rng(seed)
    splits = pd.Series(SPLIT_NAMES[0], labels.index, dtype=object)
    for label in CLASS_NAMES:
        rows = rng.permutation(np.flatnonzero(labels == label))
        ends = np.rint(np.cumsum(ratios) / sum(ratios) * len(rows)).astype(int)
        splits.iloc[rows[ends[0] : ends[1]]] = SPLIT_NAMES[1]
        splits.iloc[rows[ends[1] :]] = SPLIT_NAMES[2]
    check_classes(splits, labels)
    return splits


def assign_sites(
    tiles: pd.DataFrame,
    pairs: pd.DataFrame,
    ratios: Sequence[float],
    *,
    buffer: float = 0.0,
    seed: int = 0,
) -> pd.Series:
    """Assign sites to splits, and cut large sites into strips.

    Args:
        tiles: Columns `site`, `x`, `y` (position in the site, in pixels) and `label` (class name);
            the index counts from 0.
        pairs: Columns `a`, `b` (rows of `tiles`) and `kind`: tiles that must not be in two splits.
        ratios: Relative sizes of the splits.
        buffer: Pixels to keep between tiles of two splits of one site.
        seed: Seed for the order of sites of the same size.

    Returns:
        Name of each tile's split, None if it is dropped.

    Raises:
        InputError: If a split would have no tile of a class.
    """
    # A column for each class: 1 if a tile is of the class.
    classes = pd.get_dummies(tiles["label"]).to_numpy(np.int64)
    starts, ends = _find_extents(tiles, pairs, buffer / 2)
    sites = _sort_sites(tiles["site"], classes, seed)
    # A line needs tiles on both sides.
    large = [
        number
        for number, rows in enumerate(sites)
        if (ends[rows].min(axis=0) <= starts[rows].max(axis=0)).any()
    ]
    best = None
    for cuts in range(min(len(large), _MOST_CUTS) + 1):
        assignment = _Assignment(classes, ratios)
        for number, rows in enumerate(sites):
            if number not in large[:cuts]:
                assignment.add_whole(rows)
        for number in large[:cuts]:
            rows = sites[number]
            assignment.add_cut(rows, starts[rows], ends[rows])
        if best is None or assignment.cost < best.cost:
            best = assignment
        if assignment.counts.all() and not find_missed(assignment.counts, ratios).any():
            break
    assert best is not None
    splits = pd.Series([*SPLIT_NAMES, None], dtype=object).iloc[best.splits]
    splits = splits.set_axis(tiles.index)
    names = splits.to_numpy()
    splits = drop_pairs(splits, pairs[names[pairs["a"]] != names[pairs["b"]]])
    check_classes(splits, tiles["label"])
    return splits


def drop_pairs(splits: pd.Series, pairs: pd.DataFrame) -> pd.Series:
    """Drop tiles until no pair remains: first the tile with most pairs.

    Args:
        splits: Name of each tile's split, None if it is dropped; its index counts from 0.
        pairs: Columns `a` and `b`, rows of the tiles.

    Returns:
        The splits after dropping.
    """
    splits = splits.copy()
    a = pairs["a"].to_numpy()
    b = pairs["b"].to_numpy()
    while True:
        is_kept = splits.notna().to_numpy()
        remains = is_kept[a] & is_kept[b]
        if not remains.any():
            return splits
        rows = np.concatenate([a[remains], b[remains]])
        splits.iloc[int(np.bincount(rows).argmax())] = None


def _find_extents(
    tiles: pd.DataFrame, pairs: pd.DataFrame, margin: float
) -> tuple[_Floats, _Floats]:
    """Return the start and the end of each tile along x and y, with its margin."""
    matches = pairs[~pairs["kind"].isin(["overlap", "mask-overlap"])]
    has_matches = tiles["site"].isin(tiles["site"][matches["a"]]).to_numpy()
    margins = margin + MATCH_MARGIN * has_matches[:, None]
    corners = tiles[["x", "y"]].to_numpy(float)
    return corners - margins, corners + TILE_SIZE + margins


def _sort_sites(sites: pd.Series, classes: _Ints, seed: int) -> list[_Ints]:
    """Return the rows of each site's tiles, by the site's largest share of a class."""
    groups = [np.asarray(rows) for rows in sites.groupby(sites).indices.values()]
    shares = [(classes[rows].sum(axis=0) / classes.sum(axis=0)).max() for rows in groups]
    order = np.random.default_rng(seed).permutation(len(groups))
    return [groups[number] for number in sorted(order, key=lambda number: -shares[number])]


class _Assignment:
    """Splits of tiles, to which sites are added one after the other.

    Attributes:
        splits: Number of each tile's split, or -1 if it is dropped: int64 of shape (tiles,).
        counts: Number of tiles of each split and class.
        dropped: Number of dropped tiles of each class.
    """

    def __init__(self, classes: _Ints, ratios: Sequence[float]) -> None:
        self.splits = np.full(len(classes), -1)
        self.counts = np.zeros((len(SPLIT_NAMES), classes.shape[1]), np.int64)
        self.dropped = np.zeros(classes.shape[1], np.int64)
        self._classes = classes
        self._total = classes.sum(axis=0)
        self._shares = np.array(ratios, float)[:, None] / sum(ratios)

    @property
    def cost(self) -> float:
        """Cost of the splits' distance from their targets and of the dropped tiles."""
        return float(self._cost(self.counts, self.dropped))

    def _cost(self, counts: _Ints, dropped: _Ints) -> _Floats:
        """Return the cost of counts of shape (..., splits, classes): 0 is perfect.

        The cost is the sum of the missing share of each target, of 1 for each target that is
        missing entirely, and of the dropped share of each class.
        """
        targets = self._shares * (self._total - dropped)[..., None, :]
        missing = np.maximum(targets - counts, 0) / np.maximum(targets, 1)
        costs = missing + (counts == 0)
        return np.asarray(costs.sum((-2, -1)) + (dropped / self._total).sum(-1))

    def add_whole(self, rows: _Ints) -> None:
        """Add a site to the split whose squared distance from its targets grows least.

        The targets of the classes and the target of all tiles count.
        """
        targets = self._shares * self._total
        before = self.counts - targets
        after = before + self._classes[rows].sum(axis=0)
        growth = ((after**2 - before**2) / targets).sum(axis=1)
        growth += (after.sum(axis=1) ** 2 - before.sum(axis=1) ** 2) / targets.sum(axis=1)
        self._add(rows, np.full(len(rows), growth.argmin()))

    def add_cut(self, rows: _Ints, starts: _Floats, ends: _Floats) -> None:
        """Cut a site by the best of all cuts, and add its strips to the splits.

        Args:
            rows: Rows of the tiles of the site.
            starts: Start of each tile along x and y, in pixels: float64 of shape (rows, 2).
            ends: End of each tile, likewise.
        """
        classes = self._classes[rows]
        best_cost = np.inf
        best_splits = np.full(len(rows), -1)
        for axis in (0, 1):
            start = starts[:, axis]
            end = ends[:, axis]
            lines = _find_lines(start, end)
            # Number of tiles of each class before and behind each line.
            before = (end <= lines[:, None]) @ classes
            behind = (start >= lines[:, None]) @ classes
            low, high = np.triu_indices(len(lines))
            between = np.maximum(before[high] + behind[low] - classes.sum(axis=0), 0)
            strips = np.stack([before[low], between, behind[high]], axis=1)
            dropped = self.dropped + classes.sum(axis=0) - strips.sum(axis=1)
            for order in itertools.permutations(range(len(SPLIT_NAMES))):
                # Split number i gets strip number order[i].
                costs = self._cost(self.counts + strips[:, order], dropped)
                cheapest = costs.argmin()
                if costs[cheapest] < best_cost:
                    best_cost = costs[cheapest]
                    line_1 = lines[low[cheapest]]
                    line_2 = lines[high[cheapest]]
                    best_splits = np.full(len(rows), -1)
                    best_splits[start >= line_2] = order.index(2)
                    best_splits[(start >= line_1) & (end <= line_2)] = order.index(1)
                    best_splits[end <= line_1] = order.index(0)
        self._add(rows, best_splits)

    def _add(self, rows: _Ints, splits: _Ints) -> None:
        self.splits[rows] = splits
        for split in range(len(SPLIT_NAMES)):
            self.counts[split] += self._classes[rows[splits == split]].sum(axis=0)
        self.dropped += self._classes[rows[splits < 0]].sum(axis=0)


def _find_lines(starts: _Floats, ends: _Floats) -> _Floats:
    """Return the positions of lines to try.

    A line at the end of a tile drops fewer tiles than a line further on, up to the end of the next
    tile. So no others need to be tried.
    """
    lines = np.unique([starts.min(), *ends])
    if len(lines) > _MOST_LINES:
        lines = lines[np.linspace(0, len(lines) - 1, _MOST_LINES).astype(int)]
    return lines
