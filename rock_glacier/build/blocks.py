"""Cut grounds that are too large for one split into blocks, and assign grounds and blocks to splits.

Where whole grounds give every split both classes and meet the targets, nothing is cut. Otherwise the largest grounds of
each class may be cut into rectangles by straight lines along their own axes. A tile that comes within `MARGIN` of
rectangles of two splits is left out, so that no two splits share a pixel of ground.

Of each such ground, the ways to cut it by two or three of a few lines, each through the whole ground or through a part
that another has cut off, and to assign the parts to splits, are counted. One ground after the other takes the way that
costs least given the others, until none changes; the best of several starts is kept. While a target is missed, the
parts are cut again in the same manner.

Targets are shares of the tiles that are kept. Counts of tiles have the shape (..., splits, classes).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rock_glacier.console import count
from rock_glacier.curation.assignment import assign_splits, count_tiles
from rock_glacier.grounds.components import number_grounds
from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES, TILE_SIZE

MARGIN = 3
"""Pixels to keep between a tile and a line: about the error of the places of tiles of two dates."""

TOLERANCE = 0.1
"""A target is met where the tiles depart from it by at most this share of it, or by one tile."""

MOST_LEFT_OUT = 0.35
"""Share of the tiles of a class: rather than leave out more, a target is missed."""

_GROUNDS = 6  # of each class, the largest, that may be cut
_ROUNDS = (18, 6), (12, 1), (12, 1)  # of cutting: lines along each axis of a ground, or of a part, and starts
_ALIKE = 0.02  # ways whose tiles differ by less than about this share of the targets count as one
# Costs where a split lacks a class, where more than MOST_LEFT_OUT of a class is left out, of what is beyond the
# tolerance of a target, as a share of it, and of the departure within. Each share of a class left out costs itself.
_LACKING, _TOO_MANY, _MISSED, _DEPARTURE = 1e8, 1e6, 10, 0.01

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]
_Flags = npt.NDArray[np.bool_]
_Box = tuple[float, float, float, float]  # left, top, right, bottom

_EVERYWHERE: _Box = (-np.inf, -np.inf, np.inf, np.inf)
_SPLITS = np.arange(len(SPLIT_NAMES))
_PARTS = 4  # of a cell that three lines cut
_WAYS = np.array(list(itertools.product(_SPLITS, repeat=_PARTS)))  # to assign the parts to splits


class Assigned(NamedTuple):
    """Splits and blocks of tiles.

    Attributes:
        splits: int64 array of shape (tiles,): number of the tile's split; -1 for a tile that is left out.
        blocks: int64 array of shape (tiles,): number of the tile's block in its ground, from 0; -1 for a tile left out.
        notes: sentences on what was cut and which targets are missed.
    """

    splits: _Ints
    blocks: _Ints
    notes: list[str]


class _Tiles(NamedTuple):
    """Tiles of the grounds that may be cut: arrays of their grounds, boxes with margin (tiles, 4), and classes."""

    grounds: _Ints
    boxes: _Floats
    labels: _Ints


class _Cell(NamedTuple):
    """A ground, or a rectangle of it, that is in one split."""

    ground: int
    box: _Box
    split: int


class _Choices(NamedTuple):
    """Ways to cut a cell and to assign its parts: boxes and splits of the parts, and counts of the tiles they keep."""

    parts: list[list[tuple[_Box, int]]]
    counts: _Ints


class _Targets(NamedTuple):
    """What the splits are to have: arrays of the splits' shares, which add up to 1, and of the tiles of each class."""

    shares: _Floats
    sizes: _Ints

    def departures(self, tiles: _Ints) -> tuple[_Floats, _Floats]:
        """Return by what share of each target the tiles depart from it, and by what share beyond the tolerance."""
        targets = self.shares[:, None] * tiles.sum(-2, keepdims=True)
        off = abs(tiles - targets)
        beyond = np.maximum(off - np.maximum(TOLERANCE * targets, 1), 0)
        return off / np.maximum(targets, 1), beyond / np.maximum(targets, 1)

    def cost(self, tiles: _Ints) -> _Floats:
        """Return the cost of tiles of shape (..., splits, classes)."""
        departures, beyond = self.departures(tiles)
        empty = tiles.sum(-1, keepdims=True) == 0
        lacking = ((tiles == 0) & (self.sizes > 0)).astype(np.int64) + empty
        left_out = (self.sizes - tiles.sum(-2)) / np.maximum(self.sizes, 1)
        too_many = (left_out > MOST_LEFT_OUT) * (1 + left_out)
        of_splits = _LACKING * lacking + _MISSED * beyond + _DEPARTURE * departures
        return of_splits.sum((-2, -1)) + (left_out + _TOO_MANY * too_many).sum(-1)

    def missed(self, tiles: _Ints) -> Iterator[str]:
        """Yield a sentence on each target that the tiles of shape (splits, classes) miss."""
        departures, beyond = self.departures(tiles)
        targets = self.shares[:, None] * tiles.sum(0)
        for label, split in itertools.product(range(len(CLASS_NAMES)), _SPLITS):
            what = f"{CLASS_NAMES[label]}: {SPLIT_NAMES[split]}"
            if self.sizes[label] and not tiles[split, label]:
                yield f"{what} has none"
            elif beyond[split, label]:
                more = "more" if tiles[split, label] > targets[split, label] else "fewer"
                share = f"{departures[split, label]:.0%} {more} than its share"
                yield f"{what} has {tiles[split, label]} of {tiles[:, label].sum()} tiles, {share}"


def assign_blocks(
    grounds: Sequence[int],
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    labels: Sequence[int],
    ratios: Sequence[float],
    seed: int = 0,
    margin: npt.ArrayLike = MARGIN,
    linked: Sequence[tuple[int, int]] = (),
) -> Assigned:
    """Assign grounds to splits, whole or in blocks.

    What comes first: every split has both classes; then at most `MOST_LEFT_OUT` of a class is left out; then the
    targets are nearly met and few tiles are left out, as shares of their classes, one weighed against the other.

    Args:
        grounds: number of each tile's ground, from 0 without gaps.
        x: left edge of each tile in its ground, in pixels.
        y: upper edge of each tile in its ground, in pixels.
        labels: number of each tile's class.
        ratios: of the splits, each above 0.
        seed: chooses among grounds of one size, and where the search starts.
        margin: pixels to keep between a tile and a line, for all tiles or for each; 0 where places are exact.
        linked: numbers of two tiles of one ground that must not be in two blocks, even against their places: tiles are
            left out, that of most such pairs first.

    Raises:
        ValueError: a split or a class would have no tile: there are too few, or too few grounds, and no line cuts them.

    Example:
        >>> assign_blocks([0] * 4, [0, 100, 200, 400], [0] * 4, [0] * 4, [1, 1, 1], margin=0)[:2]
        (array([ 0, -1,  1,  2]), array([ 0, -1,  1,  2]))
    """
    ground, label = np.asarray(grounds, np.int64), np.asarray(labels, np.int64)
    if len(ground) < len(SPLIT_NAMES):
        raise ValueError(f"{len(SPLIT_NAMES)} splits need as many tiles, and there are {len(ground)}; add tiles")
    sizes = _count(ground, label, int(ground.max()) + 1)
    targets = _Targets(np.array(ratios) / sum(ratios), sizes.sum(0))
    splits, blocks = np.zeros_like(ground), np.zeros_like(ground)
    if len(sizes) >= len(SPLIT_NAMES):
        splits[:] = assign_splits(grounds, labels, ratios, seed)
        if not any(targets.missed(_count(splits, label))):
            return Assigned(splits, blocks, [])
    largest = np.unique(np.argsort(-sizes, axis=0, kind="stable")[:_GROUNDS])
    may = np.isin(ground, largest)
    corners, margins = np.column_stack([x, y]).astype(float), np.broadcast_to(margin, ground.shape)[:, None]
    tiles = _Tiles(ground[may], np.hstack([corners - margins, corners + TILE_SIZE + margins])[may], label[may])
    cells = [_Cell(one, _EVERYWHERE, int(splits[ground == one][0])) for one in largest.tolist()]
    cells = _cut_cells(cells, tiles, _count(splits[~may], label[~may]), targets, np.random.default_rng(seed))
    splits[may], blocks[may] = _tiles_of_cells(cells, tiles)
    notes = [*_what_was_done(ground, blocks, sizes, tiles)]
    left_out = _contradicting(linked, splits, blocks)
    splits[left_out] = blocks[left_out] = -1
    if left_out:
        notes.append(f"{count(len(left_out), 'tile')} left out because of a match in another block")
    kept = _count(splits, label)
    have_tiles = [*(kept.sum(1) > 0), *((kept.sum(0) > 0) | (targets.sizes == 0))]
    if not all(have_tiles):
        names = zip((*SPLIT_NAMES, *CLASS_NAMES), have_tiles, strict=True)
        empty = " and ".join(name for name, has_tiles in names if not has_tiles)
        cut = f"no cut of {count(len(sizes), 'ground')}"
        raise ValueError(f"{cut} leaves tiles for {empty}; add tiles of other ground")
    return Assigned(splits, blocks, [*notes, *targets.missed(kept)])


def _contradicting(linked: Iterable[tuple[int, int]], splits: _Ints, blocks: _Ints) -> list[int]:
    """Return tiles without which no pair is in two blocks."""
    found: list[int] = []
    pairs = [(a, b) for a, b in linked if -1 < blocks[a] != blocks[b] > -1]
    while pairs:
        number = Counter(itertools.chain(*pairs))
        found.append(max(number, key=lambda tile: (number[tile], -splits[tile])))  # of train, which has most tiles
        pairs = [pair for pair in pairs if found[-1] not in pair]
    return found


def _count(numbers: _Ints, labels: _Ints, rows: int = len(SPLIT_NAMES)) -> _Ints:
    """Count the tiles of each split and class, or ground and class, without those that are left out."""
    kept = numbers >= 0
    return count_tiles(numbers[kept].tolist(), labels[kept].tolist(), rows)


def _what_was_done(ground: _Ints, blocks: _Ints, sizes: _Ints, tiles: _Tiles) -> Iterator[str]:
    for name, number in zip(CLASS_NAMES, (sizes > 0).sum(0).tolist(), strict=True):
        if 0 < number < len(SPLIT_NAMES):
            yield f"{name}: has {count(number, 'ground')} for {len(SPLIT_NAMES)} splits"
    for one in np.unique(tiles.grounds).tolist():
        of_ground, boxes = blocks[ground == one], tiles.boxes[tiles.grounds == one]
        if of_ground.any():
            left_out = f"{(of_ground < 0).sum()} of its {len(of_ground)} tiles lie across a line and are left out"
            yield f"ground {one}: is cut into {of_ground.max() + 1} blocks; {left_out}"
        elif len(of_ground) > 1 and (boxes[:, :2].max(0) < boxes[:, 2:].min(0)).all():
            yield f"ground {one}: no line cuts its {len(of_ground)} tiles apart; it stays whole"


def _cut_cells(
    cells: list[_Cell], tiles: _Tiles, others: _Ints, targets: _Targets, rng: np.random.Generator
) -> list[_Cell]:
    """Cut cells and assign their parts to splits; `others` counts the tiles of grounds that stay whole."""
    best, best_cost = cells, np.inf
    for lines, starts in _ROUNDS:
        touched = _touched_cells(best, tiles)
        inside = touched & (touched.sum(1) == 1)[:, None]
        choices = [
            _ways_to_cut(cell.box, tiles.boxes[of_cell], tiles.labels[of_cell], lines, targets)
            for cell, of_cell in zip(best, inside.T, strict=True)
        ]
        counts = [of_cell.counts for of_cell in choices]
        chosen = _choose(counts, [cell.split for cell in best], others, targets, rng, starts)
        parts = [of_cell.parts[number] for of_cell, number in zip(choices, chosen, strict=True)]
        cells = [_Cell(cell.ground, *part) for cell, of_cell in zip(best, parts, strict=True) for part in of_cell]
        splits, _ = _tiles_of_cells(cells, tiles)
        kept = others + _count(splits, tiles.labels)
        cost = float(targets.cost(kept))
        if cost >= best_cost:
            break
        best, best_cost = cells, cost
        if not any(targets.missed(kept)):
            break
    return best


def _ways_to_cut(box: _Box, boxes: _Floats, labels: _Ints, lines: int, targets: _Targets) -> _Choices:
    """Return ways to cut a cell by two of so many lines along each axis, or by three of a third as many.

    Of ways that keep nearly the same tiles of each split and class, only one that leaves out the fewest is returned.
    """
    cuts = {*_cut(box, _lines(boxes, labels, lines), 2), *_cut(box, _lines(boxes, labels, lines // 3), 3)}
    by_parts = sorted(cuts, key=lambda cut: (len(cut), cut))
    counts = _count_kept(by_parts, boxes, labels)
    alike = np.ceil(counts / np.maximum(_ALIKE * targets.shares[:, None] * targets.sizes, 1)).astype(np.int64)
    order = np.argsort(-counts.sum((1, 2)), kind="stable")
    picked = order[np.unique(alike.reshape(len(alike), -1)[order], axis=0, return_index=True)[1]]
    parts = []
    for cut, way in zip(picked // len(_WAYS), _WAYS[picked % len(_WAYS)].tolist(), strict=True):
        one_split = len(set(way[: len(by_parts[cut])])) == 1
        parts.append(list(zip([box] if one_split else by_parts[cut], way, strict=False)))
    return _Choices(parts, counts[picked])


def _cut(box: _Box, lines: tuple[_Floats, _Floats], most: int) -> set[tuple[_Box, ...]]:
    """Return the sets of rectangles into which so many lines cut a box, or fewer lines."""
    cuts: set[tuple[_Box, ...]] = {(box,)}
    for _ in range(most):
        cuts |= {
            tuple(sorted({*cut} - {one} | {*halves}))
            for cut in cuts
            for one in cut
            for axis in (0, 1)
            for halves in _halves(one, axis, lines[axis])
        }
    return cuts


def _halves(box: _Box, axis: int, lines: _Floats) -> Iterator[tuple[_Box, _Box]]:
    for line in lines[(lines > box[axis]) & (lines < box[axis + 2])].tolist():
        x0, y0, x1, y1 = box
        yield ((x0, y0, x1, line), (x0, line, x1, y1)) if axis else ((x0, y0, line, y1), (line, y0, x1, y1))


def _lines(boxes: _Floats, labels: _Ints, most: int) -> tuple[_Floats, _Floats]:
    """Return up to so many lines across x and across y that have tiles on both sides.

    Of more lines, those are returned that have the least weight of tiles across them, one for each quantile of the
    weight before them; both classes weigh the same. Lines along the far edges of tiles suffice: any other can move back
    to such an edge, and fewer tiles lie across it.
    """
    shares = 1 / np.bincount(labels, minlength=len(CLASS_NAMES)).clip(1)[labels]
    found = []
    for axis in (0, 1):
        near, far = boxes[:, axis], boxes[:, axis + 2]
        lines = np.unique(far[far <= near.max(initial=-np.inf)])
        by_near, by_far = np.argsort(near), np.argsort(far)
        begun = np.append(0, shares[by_near].cumsum())[np.searchsorted(near[by_near], lines, "left")]
        ended = np.append(0, shares[by_far].cumsum())[np.searchsorted(far[by_far], lines, "right")]
        if len(lines) > most:
            quantiles = (ended / shares.sum() * most).astype(np.int64)
            order = np.lexsort([begun - ended, quantiles])
            lines = lines[order[np.unique(quantiles[order], return_index=True)[1]]]
        found.append(lines)
    return found[0], found[1]


def _count_kept(cuts: list[tuple[_Box, ...]], boxes: _Floats, labels: _Ints) -> _Ints:
    """Count the tiles that each cut keeps in each way, shape (cuts * ways, splits, classes)."""
    left, top, right, bottom = np.ascontiguousarray(boxes.T)
    tiles = np.empty((len(cuts), 2**_PARTS, len(CLASS_NAMES)), np.int64)  # by the parts that they touch, as bits
    for number, cut in enumerate(cuts):
        kinds = labels.copy()
        for part, (x0, y0, x1, y1) in enumerate(cut):
            kinds += ((left < x1) & (right > x0) & (top < y1) & (bottom > y0)) * (len(CLASS_NAMES) << part)
        tiles[number] = np.bincount(kinds, minlength=tiles[0].size).reshape(tiles[0].shape)
    touches = (np.arange(2**_PARTS)[:, None] >> np.arange(_PARTS) & 1).astype(bool)
    kept = touches.any(1, keepdims=True) & (~touches[:, :, None] | (_WAYS[:, None, :, None] == _SPLITS)).all(2)
    return np.einsum("ctk,wts->cwsk", tiles, kept.astype(np.int64)).reshape(-1, len(SPLIT_NAMES), len(CLASS_NAMES))


def _choose(
    counts: list[_Ints], splits: list[int], others: _Ints, targets: _Targets, rng: np.random.Generator, starts: int
) -> list[int]:
    """Choose a way for each cell, starting from all whole in these splits, and then in random ones."""
    best: list[int] = []
    best_cost = np.inf
    for start in range(starts):
        begun = rng.choice(_SPLITS, len(counts)) if start else splits
        chosen = [int(one[:, split].sum(1).argmax()) for one, split in zip(counts, begun, strict=True)]
        tiles = others + np.sum([one[way] for one, way in zip(counts, chosen, strict=True)], 0)
        cost, before = np.inf, np.nan
        while cost != before:
            before = cost
            for cell in rng.permutation(len(counts)):
                rest = tiles - counts[cell][chosen[cell]]
                costs = targets.cost(rest + counts[cell])
                if costs.min() < cost:
                    chosen[cell], cost = int(costs.argmin()), float(costs.min())
                    tiles = rest + counts[cell][chosen[cell]]
        if cost < best_cost:
            best, best_cost = chosen, cost
    return best


def _touched_cells(cells: list[_Cell], tiles: _Tiles) -> _Flags:
    """Return which tiles touch which cells, shape (tiles, cells)."""
    boxes = np.array([cell.box for cell in cells])
    before, after = tiles.boxes[:, None, :2] < boxes[:, 2:], tiles.boxes[:, None, 2:] > boxes[:, :2]
    return (tiles.grounds[:, None] == [cell.ground for cell in cells]) & (before & after).all(-1)


def _tiles_of_cells(cells: list[_Cell], tiles: _Tiles) -> tuple[_Ints, _Ints]:
    """Return the split and the block of each tile; cells of one split that share a tile are one block."""
    touched = _touched_cells(cells, tiles)
    split_of_cell = np.array([cell.split for cell in cells])
    in_split = np.stack([touched[:, split_of_cell == split].any(1) for split in _SPLITS], 1)
    kept = in_split.sum(1) == 1
    first = touched.argmax(1)
    shared = ((first[tile], cell) for tile, cell in np.argwhere(touched & kept[:, None]))
    block_of_cell = np.array(number_grounds(len(cells), shared))
    blocks = np.full(len(kept), -1)
    for ground in np.unique(tiles.grounds):
        of_ground = kept & (tiles.grounds == ground)
        blocks[of_ground] = np.unique(block_of_cell[first[of_ground]], return_inverse=True)[1]
    return np.where(kept, in_split.argmax(1), -1), blocks
