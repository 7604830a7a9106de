"""Find tiles that show the same ground, on one date or on two, under any turn.

1. `tile_features` of all tiles go into an index of nearest neighbours.
2. Each feature is looked up, as it is and as in the transposed tile. A neighbour of similar size, within 12 degrees of
   a quarter turn, votes for a link: a turn and an offset, in fields of 3 x 3 pixels. Votes from one place count once,
   for a lone spot has several features.
3. A link of at least 4 votes is a candidate. It is confirmed when the gradient magnitudes of the two tiles correlate
   over the shared rectangle, at the best offset within 3 pixels: by at least 0.25, and by 18 / sqrt(pixels) where the
   rectangle has fewer than 5,184 pixels.

Choice of thresholds: a false pair costs room in the splits, a missed pair leaks. No false pair was confirmed among the
26,900 pairs of two places of the 300 early tiles, as they are and in three runs with each tile turned at random, nor
among the 68 million pairs of 11,700 synthetic tiles of distinct scenes; 872 to 876 pairs of glaciar tiles on two dates
were. With an earlier index, which found some 800, 8 pairs of 2,900 synthetic tiles passed where votes from one place
counted each, and 5 votes lost some 80 pairs on two dates. In another order of the tiles some 30 of 1,970 pairs are
others, for the index is searched in part.

Out of reach: flat snow and shadow, another scale, a rotation that is no quarter turn, and two dates that have nothing
in common, unless other dates lie between. A feature that 32 tiles show alike may hide its other dates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import cv2
import faiss
import numpy as np
import numpy.typing as npt

from rock_glacier.grounds.features import MOST_FEATURES, transposed_descriptors
from rock_glacier.grounds.overlaps import WINDOW
from rock_glacier.grounds.pairs import SameGround
from rock_glacier.grounds.turns import INVERSE, MATRICES, turned
from rock_glacier.parallel import Workers
from rock_glacier_dataset import TILE_SIZE

LEAST_VOTES = 4
LEAST_CORRELATION = 0.25

_LEAST_DEVIATION = 18  # correlation times the square root of the pixels, for rectangles of less than 5,184
_NEIGHBOURS = 32  # that are looked up for each feature
_SIZES = (0.8, 1.25)  # of a neighbour, by the size of the feature
_ANGLE = 12  # degrees by which two features may differ from a quarter turn
_FIELD = 3  # pixels in which votes are counted together
_PLACE = 4  # pixels within which features of a tile are at one place
_SEARCH = 3  # pixels by which a link is moved for the best correlation
_EXACT_SEARCH = 20_000  # features; more are searched in part, by their clusters
_PROBES = 8
_TRAINING = 100_000  # features by which the clusters are chosen
_QUERIED_TILES = 256  # whose features are looked up at once

LINK = np.dtype([("a", "i4"), ("b", "i4"), ("turn", "i2"), ("dx", "i2"), ("dy", "i2"), ("votes", "i4")])
"""Two tiles, `a` < `b`, a link from a to b (`rock_glacier.grounds.turns`), and its votes."""


def find_links(features: Iterable[np.ndarray], number: int, workers: Workers | None = None) -> np.ndarray:
    """Find links between tiles by their features.

    Args:
        features: array of `FEATURE` of each tile.
        number: number of tiles.
        workers: gives the number of threads, and whether a progress bar is shown; by default one for each core.

    Returns:
        array of `LINK`: of each pair of tiles the link with most votes, if these are enough, in the order of the pairs.
    """
    workers = workers or Workers()
    faiss.omp_set_num_threads(workers.num_proc)
    descriptors = np.empty((number * MOST_FEATURES, 128), np.uint8)
    geometry = np.empty((number * MOST_FEATURES, 4), np.float32)
    ends = np.zeros(number + 1, np.int64)
    for tile, one in enumerate(features):
        ends[tile + 1] = ends[tile] + len(one)
        descriptors[ends[tile] : ends[tile + 1]] = one["descriptor"]
        geometry[ends[tile] : ends[tile + 1]] = np.column_stack([one[name] for name in ("x", "y", "size", "angle")])
    descriptors, geometry = descriptors[: ends[-1]], geometry[: ends[-1]]
    tiles = np.repeat(np.arange(number, dtype=np.int32), np.diff(ends))
    index = _index_of(descriptors)
    found = [np.zeros(0, LINK)]
    with workers.bar(number, "Finding the same ground", "tiles") as bar:
        for first in range(0, number, _QUERIED_TILES):
            last = min(first + _QUERIED_TILES, number)
            span = slice(ends[first], ends[last])
            if span.start < span.stop:
                votes = [_votes(index, descriptors, geometry, tiles, span, mirrored) for mirrored in (False, True)]
                found.append(_best_links(np.concatenate(votes)))
            bar.update(last - first)
    return _best_of_pairs(_in_order(np.concatenate(found)))


def _index_of(descriptors: npt.NDArray[np.uint8]) -> Any:
    """Return an index of nearest neighbours of descriptors: of many, 32 bytes for each, searched in part."""
    index: Any = faiss.IndexFlatL2(128)
    if len(descriptors) > _EXACT_SEARCH:
        index = faiss.index_factory(128, f"IVF{int(len(descriptors) ** 0.5 / 2)},PQ64x4fs")
        index.nprobe = _PROBES
        sample = np.linspace(0, len(descriptors) - 1, min(len(descriptors), _TRAINING)).astype(np.intp)
        index.train(descriptors[sample].astype(np.float32))
    for first in range(0, len(descriptors), _TRAINING):  # 51 MB as floats
        index.add(descriptors[first : first + _TRAINING].astype(np.float32))
    return index


def _votes(
    index: Any,
    descriptors: npt.NDArray[np.uint8],
    geometry: npt.NDArray[np.float32],
    tiles: npt.NDArray[np.int32],
    span: slice,
    mirrored: bool,
) -> npt.NDArray[np.float64]:
    """Look some features up, as they are or as in the transposed tile; rows of a, b, turn, dx, dy, place in a."""
    queries = transposed_descriptors(descriptors[span]) if mirrored else descriptors[span]
    _, neighbours = index.search(queries.astype(np.float32), _NEIGHBOURS)
    others = (neighbours >= 0) & (tiles[neighbours] != tiles[span, None])
    a = neighbours[others]
    b = np.repeat(np.arange(span.start, span.stop), others.sum(1))
    sizes = geometry[b, 2] / geometry[a, 2]
    # `numpy.rot90` takes 90 degrees from a feature's angle; a transposition takes the angle from 90 degrees.
    angles = geometry[a, 3] + geometry[b, 3] - 90 if mirrored else geometry[b, 3] - geometry[a, 3]
    nearest = np.rint(angles / 90)
    fits = (np.abs(angles - 90 * nearest) < _ANGLE) & (sizes > _SIZES[0]) & (sizes < _SIZES[1])
    a, b, turns = a[fits], b[fits], nearest[fits].astype(np.int64) % 4 + 4 * mirrored
    centre = (TILE_SIZE - 1) / 2
    places = np.einsum("nij,nj->ni", MATRICES[turns], geometry[b, :2] - centre) + centre
    offsets = geometry[a, :2] - places
    columns, rows = geometry[a, :2].T // _PLACE
    votes = np.column_stack([tiles[a], tiles[b], turns, offsets, TILE_SIZE * rows + columns])
    return votes[(np.abs(offsets) <= TILE_SIZE - WINDOW).all(1)]


def _best_links(votes: npt.NDArray[np.float64]) -> np.ndarray:
    """Count votes in overlapping fields, and return the link with most votes of each pair: array of `LINK`."""
    found = [np.zeros(0, LINK)]
    for x in (0, 0.5):
        for y in (0, 0.5):
            fields = np.column_stack([votes[:, :3], np.floor(votes[:, 3:5] / _FIELD + (x, y))]).astype(np.int64)
            # One number for each field: `numpy.unique` sorts rows slowly.
            shape = (int(fields[:, 0].max(initial=0)) + 1, int(fields[:, 1].max(initial=0)) + 1, 8, 128, 128)
            keys = np.ravel_multi_index((*fields[:, :3].T, fields[:, 3] + 64, fields[:, 4] + 64), shape)
            _, first, field = np.unique(keys, return_index=True, return_inverse=True)
            offsets = [np.bincount(field, votes[:, axis]) for axis in (3, 4)] / np.bincount(field)
            counts = np.bincount(np.unique(field * TILE_SIZE**2 + votes[:, 5].astype(np.int64)) // TILE_SIZE**2)
            links = np.zeros(len(first), LINK)
            links["a"], links["b"], links["turn"] = fields[first, :3].T
            links["dx"], links["dy"] = np.rint(offsets)
            links["votes"] = counts
            found.append(links[counts >= LEAST_VOTES])
    return _best_of_pairs(np.concatenate(found))


def _in_order(links: np.ndarray) -> np.ndarray:
    """Return links, of which those from a later tile to an earlier one are inverted."""
    links = links.copy()
    later = links["a"] > links["b"]
    a, b, turn, dx, dy = (links[later][name] for name in ("a", "b", "turn", "dx", "dy"))
    links["a"][later], links["b"][later], links["turn"][later] = b, a, INVERSE[turn]
    shifts = -np.einsum("nij,nj->ni", MATRICES[INVERSE[turn]], np.column_stack([dx, dy]))
    links["dx"][later], links["dy"][later] = shifts.T
    return links


def _best_of_pairs(links: np.ndarray) -> np.ndarray:
    """Return the link with most votes of each pair of tiles, in the order of the pairs."""
    links = links[np.lexsort((links["dy"], links["dx"], links["turn"], -links["votes"], links["b"], links["a"]))]
    _, first = np.unique(links[["a", "b"]], return_index=True)
    return links[first]


def gradients(rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the logarithms of a tile's gradient magnitudes.

    Args:
        rgba: uint8 array of shape (128, 128, 4).

    Returns:
        float32 array of shape (128, 128), not negative.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(rgba, cv2.COLOR_RGBA2GRAY).astype(np.float32), (0, 0), 1)
    return np.log1p(np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)))


def confirm_links(links: np.ndarray, gradients_of: Callable[[int], npt.NDArray[np.float32]]) -> list[SameGround]:
    """Confirm links by correlation.

    Args:
        links: array of `LINK`.
        gradients_of: returns `gradients` of a tile by its number.

    Returns:
        the confirmed links in their order, each moved to where the correlation is best.
    """
    confirmed = []
    for a, b, turn, dx, dy, votes in links.tolist():
        correlation, dx, dy = _best_correlation(gradients_of(a), turned(gradients_of(b), turn), dx, dy)
        pixels = (TILE_SIZE - abs(dx)) * (TILE_SIZE - abs(dy))
        if correlation >= max(LEAST_CORRELATION, _LEAST_DEVIATION / pixels**0.5):
            confirmed.append(SameGround(a, b, turn, dx, dy, votes, round(correlation, 4)))
    return confirmed


def _best_correlation(
    a: npt.NDArray[np.float32], b: npt.NDArray[np.float32], dx: int, dy: int
) -> tuple[float, int, int]:
    """Return the highest correlation within 3 pixels of an offset, and its offset; b is turned already."""
    top, bottom, left, right = max(dy, 0), TILE_SIZE + min(dy, 0), max(dx, 0), TILE_SIZE + min(dx, 0)
    inner = np.ascontiguousarray(
        b[top - dy + _SEARCH : bottom - dy - _SEARCH, left - dx + _SEARCH : right - dx - _SEARCH]
    )
    if inner.std() < 1e-3:  # to which OpenCV gives a correlation of 1
        return 0.0, dx, dy
    found = cv2.matchTemplate(a[top:bottom, left:right], inner, cv2.TM_CCOEFF_NORMED)
    _, correlation, _, (x, y) = cv2.minMaxLoc(found)
    return correlation, dx + x - _SEARCH, dy + y - _SEARCH
