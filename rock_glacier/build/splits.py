"""Assign tiles to train, validation and test. No two splits share ground.

Tiles of one site share ground, so all tiles of a small site get the same split. A site that is too
large for that is cut into strips by one or two parallel lines, one strip for each split. Tiles on a
line are dropped.

Small sites are assigned greedily, the largest first. Then each large site is cut. Lines across both
axes and all orders of the splits are tried, and the cut is chosen that brings the splits closest to
their targets. No more sites are cut than the targets need.

Numbers of tiles are arrays of shape (..., splits, classes), in the order of `SPLIT_NAMES` and
`CLASS_NAMES`. Targets are shares of the tiles that are kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rock_glacier.faults import InputError
from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES, TILE_SIZE

DROPPED = -1
"""Number of the split and the block of a tile that is in no split."""

TOLERANCE = 0.1
"""A target is met if the number of tiles differs by at most this share of it, or by one tile."""

MATCH_MARGIN = 3
"""Pixels to keep between a tile and a line in a site with matches: the error of the positions."""

_MOST_CUTS = 8  # Each more takes time; the release has two sites in its test masks.
# Positions of lines to try per axis. With 120, about 0.3 % fewer tiles are dropped.
_MOST_LINES = 60
_ATTEMPTS = 20  # Orders of the small sites to try: enough for 30 sites of 10 tiles.
_JITTER = 0.3  # Share by which the sizes of sites vary between attempts.

# Weights of the parts of the cost. Dropping all tiles of a class costs 1.
_LACKING_WEIGHT = 100.0  # per split without a tile of a class
_MISSED_WEIGHT = 2.0  # times the departure from a target beyond the tolerance, as a share of it
_DEPARTURE_WEIGHT = 0.02  # times the departure from a target, as a share of it

_ORDERS = np.array(list(itertools.permutations(range(len(SPLIT_NAMES)))))

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """Splits and blocks of tiles.

    Attributes:
        splits: Number of each tile's split, or `DROPPED`: int64 array of shape (tiles,).
        blocks: Number of each tile's block in its site, or `DROPPED`: likewise.
    """

    splits: _Ints
    blocks: _Ints

    def drop(self, tile: int) -> Plan:
        """Return a plan in which a tile is dropped as well."""
        plan = Plan(self.splits.copy(), self.blocks.copy())
        plan.splits[tile] = DROPPED
        plan.blocks[tile] = DROPPED
        return plan


@dataclass(frozen=True)
class _Site:
    """A site: rows of its tiles, their corners (tiles, 2) and classes, and the margin in pixels."""

    rows: _Ints
    corners: _Floats
    labels: _Ints
    margin: float

    @property
    def sizes(self) -> _Ints:
        """Number of tiles of each class."""
        return np.bincount(self.labels, minlength=len(CLASS_NAMES))

    @property
    def can_be_cut(self) -> bool:
        """Whether a line along some axis has tiles on both sides."""
        extent = np.ptp(self.corners, axis=0).max()
        return bool(extent >= TILE_SIZE + 2 * self.margin)


@dataclass(frozen=True)
class _Cut:
    """Two lines across an axis, and the split of each of the three strips."""

    axis: int
    lines: _Floats
    order: _Ints


def count_tiles(splits: npt.ArrayLike, labels: npt.ArrayLike) -> _Ints:
    """Count the tiles of each split and class; dropped tiles do not count.

    Args:
        splits: Number of each tile's split, or `DROPPED`.
        labels: Number of each tile's class.

    Returns:
        int64 array of shape (splits, classes).
    """
    splits = np.asarray(splits, np.int64)
    is_kept = splits != DROPPED
    counts = np.zeros((len(SPLIT_NAMES), len(CLASS_NAMES)), np.int64)
    np.add.at(counts, (splits[is_kept], np.asarray(labels, np.int64)[is_kept]), 1)
    return counts


def target_counts(counts: npt.ArrayLike, ratios: Sequence[float]) -> _Floats:
    """Return the number of tiles that each split should have, given the number that it has.

    Example:
        >>> target_counts([[5, 4], [3, 1], [2, 1]], [3, 1, 1]).tolist()
        [[6.0, 3.6], [2.0, 1.2], [2.0, 1.2]]
    """
    shares = np.array(ratios, float) / sum(ratios)
    return shares[:, None] * np.asarray(counts).sum(-2, keepdims=True)


def find_missed(counts: npt.ArrayLike, ratios: Sequence[float]) -> npt.NDArray[np.bool_]:
    """Return which numbers of tiles miss their targets by more than `TOLERANCE`, or are 0."""
    counts = np.asarray(counts)
    targets = target_counts(counts, ratios)
    is_lacking = (counts == 0) & (targets > 0)
    return is_lacking | (abs(counts - targets) > np.maximum(TOLERANCE * targets, 1))


def plan_random(labels: Sequence[int], ratios: Sequence[float], seed: int) -> Plan:
    """Assign single tiles at random, each class in the same ratios. Splits may share ground.

    Args:
        labels: Number of each tile's class.
        ratios: Relative sizes of the splits.
        seed: Seed of the random numbers.

    Raises:
        InputError: If a class has too few tiles for all splits.
    """
    rng = np.random.default_rng(seed)
    label_of = np.asarray(labels, np.int64)
    splits = np.zeros(len(label_of), np.int64)
    for label in range(len(CLASS_NAMES)):
        rows = rng.permutation(np.flatnonzero(label_of == label))
        ends = np.rint(np.cumsum(ratios) / sum(ratios) * len(rows)).astype(int)
        if len(rows) >= len(SPLIT_NAMES):
            # No split stays empty.
            ends[:2] = np.clip(ends[:2], [1, 2], [len(rows) - 2, len(rows) - 1])
        splits[rows] = np.searchsorted(ends, np.arange(len(rows)), side="right")
    check_classes(splits, labels)
    return Plan(splits, np.zeros_like(splits))


def plan_sites(
    tiles: pd.DataFrame,
    pairs: pd.DataFrame,
    ratios: Sequence[float],
    *,
    buffer: float = 0.0,
    seed: int = 0,
) -> Plan:
    """Assign sites to splits, and cut large sites into strips.

    Args:
        tiles: Columns `site`, `x`, `y` (position in the site, in pixels) and `label` (number of the
            class), with a row number as index.
        pairs: Columns `a`, `b` (rows of `tiles`) and `kind`: tiles that must not be in two splits.
        ratios: Relative sizes of the splits.
        buffer: Pixels to keep between tiles of two splits of one site.
        seed: Seed of the choice among sites of similar size.

    Returns:
        The plan. Each strip of a site is a block.

    Raises:
        InputError: If a split would have no tile of a class.
    """
    labels = tiles["label"].to_numpy(np.int64)
    sites = _make_sites(tiles, pairs, buffer / 2)
    best = _search(sites, np.array(ratios, float) / sum(ratios), seed)
    plan = Plan(np.zeros_like(labels), np.zeros_like(labels))
    for site, cut in zip(sites, best, strict=True):
        strips = _assign_strips(site, cut)
        is_kept = strips != DROPPED
        plan.splits[site.rows] = np.where(is_kept, cut.order[strips], DROPPED)
        # Number the blocks without gaps: a strip may have no tile.
        numbers = np.unique(strips[is_kept])
        plan.blocks[site.rows] = np.where(is_kept, np.searchsorted(numbers, strips), DROPPED)
    plan = drop_pairs_across(plan, tiles["site"], pairs)
    check_classes(plan.splits, labels)
    return plan


def drop_pairs_across(plan: Plan, sites: npt.ArrayLike, pairs: pd.DataFrame) -> Plan:
    """Drop tiles until no pair is in two sites or blocks, always the tile with the most such pairs.

    Args:
        plan: The plan.
        sites: Number of each tile's site.
        pairs: Columns `a` and `b`, numbers of tiles.

    Returns:
        The plan itself if there is no such pair, or a new one.
    """
    all_ends = pairs[["a", "b"]].to_numpy(np.int64)
    while True:
        # Blocks are numbered from 0 to 2 in each site.
        units = np.asarray(sites, np.int64) * len(SPLIT_NAMES) + plan.blocks
        is_kept = (plan.splits[all_ends] != DROPPED).all(axis=1)
        ends = all_ends[is_kept & (units[all_ends[:, 0]] != units[all_ends[:, 1]])]
        if not len(ends):
            return plan
        plan = plan.drop(int(np.bincount(ends.ravel()).argmax()))


def check_classes(splits: npt.ArrayLike, labels: npt.ArrayLike) -> None:
    """Raise an error if a split has no tile of a class that other splits have.

    Raises:
        InputError: The first split that lacks a class.
    """
    counts = count_tiles(splits, labels)
    total = np.bincount(np.asarray(labels, np.int64), minlength=len(CLASS_NAMES))
    for split, label in np.argwhere((counts == 0) & (total > 0)):
        raise InputError(
            f"The split {SPLIT_NAMES[split]} would have no {CLASS_NAMES[label]} tile. "
            f"Add {CLASS_NAMES[label]} tiles of other places, or use another --split."
        )


def _make_sites(tiles: pd.DataFrame, pairs: pd.DataFrame, margin: float) -> list[_Site]:
    site_of = tiles["site"].to_numpy(np.int64)
    corners = tiles[["x", "y"]].to_numpy(float)
    labels = tiles["label"].to_numpy(np.int64)
    inexact = set(site_of[pairs.loc[pairs["kind"] != "overlap", "a"].to_numpy(np.int64)].tolist())
    sites = []
    for number, indices in tiles.groupby("site").indices.items():
        rows = np.asarray(indices)
        site_margin = margin
        if number in inexact:
            site_margin += MATCH_MARGIN
        sites.append(_Site(rows, corners[rows], labels[rows], site_margin))
    return sites


def _search(sites: Sequence[_Site], shares: _Floats, seed: int) -> list[_Cut]:
    """Return a cut of each site. In a site that is not cut, all tiles are in the first strip."""
    rng = np.random.default_rng(seed)
    total = np.sum([site.sizes for site in sites], axis=0)
    weights = np.array([(site.sizes / np.maximum(total, 1)).max() for site in sites])
    largest_first = np.argsort(-weights, kind="stable").tolist()
    large = [number for number in largest_first if sites[number].can_be_cut][:_MOST_CUTS]
    best: list[_Cut] = []
    best_cost = np.inf
    for cuts in range(len(large) + 1):
        for _ in range(_ATTEMPTS):
            jitter = rng.uniform(1 - _JITTER, 1 + _JITTER, len(sites))
            order = np.argsort(-weights * jitter, kind="stable").tolist()
            chosen = _assign_sites(sites, order, set(large[:cuts]), shares)
            counts = np.sum(
                [_count_strips(site, cut) for site, cut in zip(sites, chosen, strict=True)], axis=0
            )
            cost = float(_cost(counts, shares[:, None] * counts.sum(0), total))
            if cost < best_cost:
                best = chosen
                best_cost = cost
            if not find_missed(counts, shares.tolist()).any():
                return best
    return best


def _assign_sites(
    sites: Sequence[_Site], order: Sequence[int], large: set[int], shares: _Floats
) -> list[_Cut]:
    """Assign the small sites greedily in an order, then cut the large sites in this order."""
    remaining = np.sum([site.sizes for site in sites], axis=0)
    counts = np.zeros((len(shares), len(remaining)))
    targets = np.maximum(_append_sum(shares[:, None] * remaining), 1)
    chosen: dict[int, _Cut] = {}
    for number in order:
        if number in large:
            continue
        # The chi-squared distance of the counts from the targets grows by this in each split.
        sizes = _append_sum(sites[number].sizes)
        growth = (sizes * (2 * (_append_sum(counts) - targets) + sizes) / targets).sum(axis=1)
        split = int(growth.argmin())
        chosen[number] = _keep_whole(split)
        counts[split] += sites[number].sizes
        remaining = remaining - sites[number].sizes
    for number in order:
        if number not in large:
            continue
        site = sites[number]
        chosen[number] = _find_cut(site, shares, counts, remaining)
        counts += _count_strips(site, chosen[number])
        remaining = remaining - site.sizes
    return [chosen[number] for number in range(len(sites))]


def _find_cut(site: _Site, shares: _Floats, counts: _Floats, remaining: _Ints) -> _Cut:
    """Return the best of all cuts of a site.

    Args:
        site: The site.
        shares: Share of each split, float64 of shape (splits,).
        counts: Number of tiles of each split and class so far.
        remaining: Number of tiles of each class that are not assigned yet, in this and later sites.
    """
    # This site gives each split the same share of what the split still needs as later sites do.
    total = counts.sum(axis=0) + remaining
    needed = np.maximum(shares[:, None] * total - counts, 0)
    needed /= np.maximum(needed.sum(axis=0), 1)
    best = None
    best_cost = np.inf
    for axis in (0, 1):
        lines = _find_lines(site, axis)
        strips = _count_all_strips(site, axis, lines)
        for order in _ORDERS:
            # Strip i is of split order[i]; so split s has strip argsort(order)[s].
            gained = strips[:, np.argsort(order)]
            aims = counts + needed * gained.sum(axis=1, keepdims=True)
            costs = _cost(counts + gained, aims, total)
            option = int(costs.argmin())
            if costs[option] < best_cost:
                best_cost = costs[option]
                best = _Cut(axis, lines[option], order)
    assert best is not None
    return best


def _cost(counts: _Ints | _Floats, targets: _Floats, total: _Ints) -> _Floats:
    """Return the cost of counts of shape (..., splits, classes): 0 is perfect.

    Args:
        counts: Number of tiles of each split and class.
        targets: Number of tiles that they should be, of the same shape.
        total: Number of tiles of each class, with those that are dropped.
    """
    is_lacking = (counts == 0) & (total > 0)
    dropped = (total - counts.sum(-2)) / np.maximum(total, 1)
    targets = _append_sum(targets)
    departures = abs(_append_sum(counts) - targets)
    missed = np.maximum(departures - np.maximum(TOLERANCE * targets, 1), 0)
    costs = (_MISSED_WEIGHT * missed + _DEPARTURE_WEIGHT * departures) / np.maximum(targets, 1)
    return _LACKING_WEIGHT * is_lacking.sum((-2, -1)) + costs.sum((-2, -1)) + dropped.sum(-1)


def _append_sum(counts: npt.NDArray[Any]) -> _Floats:
    """Append the sum of the classes as a class of its own."""
    return np.concatenate([counts, counts.sum(-1, keepdims=True)], axis=-1, dtype=float)


def _keep_whole(split: int) -> _Cut:
    order = np.roll(np.arange(len(SPLIT_NAMES)), -split)
    return _Cut(0, np.array([np.inf, np.inf]), order)


def _find_lines(site: _Site, axis: int) -> _Floats:
    """Return the pairs of lines to try: float64 of shape (pairs, 2), in pixels along the axis.

    A line at the far edge of a tile and its margin drops fewer tiles than the same line moved on,
    up to the edge of the next tile. So no others need to be tried.
    """
    first = site.corners[:, axis].min() - site.margin
    lines = np.unique([first, *(site.corners[:, axis] + TILE_SIZE + site.margin)])
    if len(lines) > _MOST_LINES:
        lines = lines[np.linspace(0, len(lines) - 1, _MOST_LINES).astype(int)]
    low, high = np.triu_indices(len(lines))
    return np.column_stack([lines[low], lines[high]])


def _count_all_strips(site: _Site, axis: int, lines: _Floats) -> _Ints:
    """Count the tiles in the strips of each pair of lines: int64 of shape (pairs, 3, classes)."""
    counts = np.zeros((len(lines), len(SPLIT_NAMES), len(CLASS_NAMES)), np.int64)
    has_room = lines[:, 1] - lines[:, 0] >= TILE_SIZE + 2 * site.margin
    for label in range(len(CLASS_NAMES)):
        corners = np.sort(site.corners[site.labels == label, axis])
        starts = corners - site.margin
        ends = corners + TILE_SIZE + site.margin
        ends_before = np.searchsorted(ends, lines, side="right")
        starts_before = np.searchsorted(starts, lines, side="left")
        counts[:, 0, label] = ends_before[:, 0]
        counts[:, 1, label] = np.where(has_room, ends_before[:, 1] - starts_before[:, 0], 0)
        counts[:, 2, label] = len(corners) - starts_before[:, 1]
    return counts


def _assign_strips(site: _Site, cut: _Cut) -> _Ints:
    """Return the strip of each tile of a site: 0, 1 or 2, or `DROPPED` if it is on a line."""
    starts = site.corners[:, cut.axis] - site.margin
    ends = site.corners[:, cut.axis] + TILE_SIZE + site.margin
    strips = np.full(len(starts), DROPPED)
    strips[starts >= cut.lines[1]] = 2
    strips[(starts >= cut.lines[0]) & (ends <= cut.lines[1])] = 1
    strips[ends <= cut.lines[0]] = 0
    return strips


def _count_strips(site: _Site, cut: _Cut) -> _Ints:
    """Count the tiles that each split gets of a site: int64 of shape (splits, classes)."""
    strips = _assign_strips(site, cut)
    splits = np.where(strips == DROPPED, DROPPED, cut.order[strips])
    return count_tiles(splits, site.labels)
