"""Find pairs of tiles that show the same ground, on one date or on two, in any orientation.

1. The local features of all tiles are put into a nearest-neighbour index.
2. The nearest neighbours of each feature are searched, as it is and as in the transposed tile. A
   neighbour votes for a link (an orientation and an offset) if it has a similar size and its angle
   differs by a multiple of 90 degrees, within 12 degrees. Offsets are counted in fields of 3 x 3
   pixels. Votes from one location count once, because one spot often yields several features.
3. A link with at least 4 votes is a candidate. It is confirmed if the gradient magnitudes of the
   two tiles correlate over the common rectangle, at the best offset within 3 pixels: at least 0.25,
   and at least 18 / sqrt(pixels), which is more if the rectangle has fewer than 5,184 pixels.

How the thresholds were chosen: a false pair costs tiles in the splits, and a missed pair is a leak.
The search ran four times on the 300 early tiles: as they are, and three times with each tile in a
random orientation. It confirmed none of the 26,588 pairs of tiles of two places, and 872 to 876
pairs of `glaciar` tiles on two dates. On 11,700 synthetic tiles of different scenes, it confirmed
no pair. When votes from one location counted more than once, 8 pairs of 2,900 synthetic tiles were
false; with at least 5 votes, about 80 true pairs were lost.

If there are many features, only part of the index is searched, so a different order of the tiles
changes about 30 of 1,970 pairs.

Not detected: flat snow or shadow, other scales, rotations other than multiples of 90 degrees, and
two dates that have nothing in common, unless other dates connect them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import faiss
import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from rock_glacier.parallel import Workers, cut_ranges
from rock_glacier.sites.features import (
    FEATURE,
    MAX_FEATURES,
    detect_features,
    transpose_descriptors,
)
from rock_glacier.sites.orientations import INVERSE, MATRICES, oriented
from rock_glacier.sites.overlaps import WINDOW
from rock_glacier.tiles import ArrayFiles, check_scratch_space
from rock_glacier_dataset import TILE_SIZE

MIN_VOTES = 4
MIN_CORRELATION = 0.25

_MIN_DEVIATION = 18  # correlation times the square root of the pixels, for small rectangles
_NEIGHBOURS = 32  # neighbours of each feature
_MIN_SIZE_RATIO = 0.8  # of the sizes of two features that vote
_MAX_SIZE_RATIO = 1.25
_MAX_ANGLE = 12  # degrees between a rotation and the nearest multiple of 90 degrees
_FIELD = 3  # pixels; votes for offsets in one field are counted together
_LOCATION = 4  # pixels; features of a tile in one square of this size are at one location
_SEARCH = 3  # pixels; how far a link is moved to find the best correlation
_EXACT_SEARCH = 20_000  # features; above this, only the nearest clusters are searched
_PROBES = 8  # clusters that are searched
_TRAINING = 100_000  # features that the clusters are computed from; 51 MB as float32
_MIN_TRAINING_PER_CLUSTER = 39  # features; faiss warns if there are fewer
_QUERIED_TILES = 64  # tiles whose features are searched at once
_CACHED_TILES = 500  # tiles whose gradients a worker keeps, 64 KiB each

_LINK = np.dtype(
    [("a", "i4"), ("b", "i4"), ("orientation", "i2"), ("dx", "i2"), ("dy", "i2"), ("votes", "i4")]
)


@dataclass(frozen=True)
class _Features:
    """The features of all tiles, grouped by tile.

    Attributes:
        descriptors: uint8 array of shape (features, 128).
        geometry: float32 array of shape (features, 4): x, y, size, angle.
        tiles: int32 array of shape (features,): number of the tile of each feature.
        ends: int64 array of shape (tiles + 1,): first feature of each tile, and the end.
    """

    descriptors: npt.NDArray[np.uint8]
    geometry: npt.NDArray[np.float32]
    tiles: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int64]


def find_matches(files: ArrayFiles, workers: Workers, overlaps: pd.DataFrame) -> pd.DataFrame:
    """Find pairs of tiles that show the same ground and do not overlap.

    Args:
        files: The decoded tiles.
        workers: Processes to use.
        overlaps: The pairs that overlap, to skip: columns `a` and `b`.

    Returns:
        A row for each pair, sorted by `a` and `b` (row numbers of the tiles, `a` < `b`), with the
        link from a to b in `orientation`, `dx`, `dy`, the size of the common rectangle in `pixels`,
        the number of `votes`, and the `correlation` of the gradients, at most 1.
    """
    check_scratch_space(files.tiles * MAX_FEATURES * FEATURE.itemsize)
    ranges = cut_ranges(files.tiles, workers.parts)
    tasks = [(files, first, last) for first, last in ranges]
    described = workers.map(_describe_tiles, tasks, "Detecting features")
    features = _collect(files, described)
    links = _vote(features, threads=workers.num_proc)
    known = set(zip(overlaps["a"].tolist(), overlaps["b"].tolist(), strict=True))
    is_new = [pair not in known for pair in links[["a", "b"]].tolist()]
    links = links[np.array(is_new, bool)]
    link_ranges = cut_ranges(len(links), workers.parts)
    confirm_tasks = [(files, links[first:last]) for first, last in link_ranges]
    confirmed = [_as_frame([]), *workers.map(_confirm, confirm_tasks, "Confirming matches")]
    return pd.concat(confirmed, ignore_index=True)


def _describe_tiles(files: ArrayFiles, first: int, last: int) -> list[np.ndarray]:
    images = files.open_images()
    return [detect_features(images[tile]) for tile in range(first, last)]


def _collect(files: ArrayFiles, parts: Iterable[list[np.ndarray]]) -> _Features:
    """Collect the features of all tiles in scratch files, because they may not fit in memory."""
    descriptor_file = files.images.parent / "descriptors"
    geometry_file = files.images.parent / "geometry"
    numbers = []
    # Write to the files: on a full disk, assigning to a mapped array would kill the process.
    with descriptor_file.open("wb") as descriptors, geometry_file.open("wb") as geometry:
        for part in parts:
            for features in part:
                numbers.append(len(features))
                descriptors.write(features["descriptor"].tobytes())
                columns = [features[name] for name in ("x", "y", "size", "angle")]
                geometry.write(np.column_stack(columns).tobytes())
    ends = np.concatenate([[0], np.cumsum(numbers)]).astype(np.int64)
    return _Features(
        _map(descriptor_file, np.uint8, (int(ends[-1]), 128)),
        _map(geometry_file, np.float32, (int(ends[-1]), 4)),
        np.repeat(np.arange(files.tiles, dtype=np.int32), np.diff(ends)),
        ends,
    )


def _map(file: Path, dtype: Any, shape: tuple[int, int]) -> npt.NDArray[Any]:
    if shape[0] == 0:  # an empty file cannot be mapped
        return np.zeros(shape, dtype)
    return np.memmap(file, dtype, "r", shape=shape)


def _vote(features: _Features, *, threads: int) -> np.ndarray:
    """Return each pair's link with the most votes, if there are enough: array of `_LINK`."""
    index = _make_index(features.descriptors, threads=threads)
    number = len(features.ends) - 1
    found = [np.zeros(0, _LINK)]
    with tqdm(total=number, desc="Searching matches", unit=" tiles", disable=None) as bar:
        for first in range(0, number, _QUERIED_TILES):
            last = min(first + _QUERIED_TILES, number)
            span = slice(features.ends[first], features.ends[last])
            if span.start < span.stop:
                votes = [
                    _search(index, features, span, mirrored=mirrored) for mirrored in (False, True)
                ]
                found.append(_count_votes(np.concatenate(votes)))
            bar.update(last - first)
    return _best_of_pairs(_order(np.concatenate(found)))


def _make_index(descriptors: npt.NDArray[np.uint8], *, threads: int) -> Any:
    """Make a nearest-neighbour index; many descriptors are compressed to 32 bytes each."""
    index: Any = faiss.IndexFlatL2(128)
    if len(descriptors) > _EXACT_SEARCH:
        clusters = min(int(len(descriptors) ** 0.5 / 2), _TRAINING // _MIN_TRAINING_PER_CLUSTER)
        index = faiss.index_factory(128, f"IVF{clusters},PQ64x4fs")
        index.nprobe = _PROBES
        number = min(len(descriptors), _TRAINING)
        sample = np.linspace(0, len(descriptors) - 1, number).astype(np.intp)
        # With several threads, the clusters would depend on their number.
        faiss.omp_set_num_threads(1)
        index.train(descriptors[sample].astype(np.float32))
    faiss.omp_set_num_threads(threads)
    for first in range(0, len(descriptors), _TRAINING):
        index.add(descriptors[first : first + _TRAINING].astype(np.float32))
    return index


def _search(
    index: Any, features: _Features, span: slice, *, mirrored: bool
) -> npt.NDArray[np.float64]:
    """Search the neighbours of some features, as they are or as in the transposed tile.

    Returns:
        A row for each vote: a, b, orientation, dx, dy, location in a.
    """
    queries = features.descriptors[span]
    if mirrored:
        queries = transpose_descriptors(queries)
    _, neighbours = index.search(queries.astype(np.float32), _NEIGHBOURS)
    is_other_tile = features.tiles[neighbours] != features.tiles[span, None]
    is_vote = (neighbours >= 0) & is_other_tile
    a = neighbours[is_vote]
    b = np.repeat(np.arange(span.start, span.stop), is_vote.sum(1))
    geometry_a = features.geometry[a]
    geometry_b = features.geometry[b]
    ratios = geometry_b[:, 2] / geometry_a[:, 2]
    # `numpy.rot90` reduces a feature's angle by 90 degrees; a transposition subtracts it from 90.
    if mirrored:
        angles = geometry_a[:, 3] + geometry_b[:, 3] - 90
    else:
        angles = geometry_b[:, 3] - geometry_a[:, 3]
    quarter_turns = np.rint(angles / 90)
    fits = np.abs(angles - 90 * quarter_turns) < _MAX_ANGLE
    fits &= (ratios > _MIN_SIZE_RATIO) & (ratios < _MAX_SIZE_RATIO)
    a = a[fits]
    b = b[fits]
    geometry_a = geometry_a[fits]
    orientations = quarter_turns[fits].astype(np.int64) % 4 + 4 * mirrored
    centre = (TILE_SIZE - 1) / 2
    centred = geometry_b[fits, :2] - centre
    moved = np.einsum("nij,nj->ni", MATRICES[orientations], centred) + centre
    offsets = geometry_a[:, :2] - moved
    locations = TILE_SIZE * (geometry_a[:, 1] // _LOCATION) + geometry_a[:, 0] // _LOCATION
    votes = np.column_stack(
        [features.tiles[a], features.tiles[b], orientations, offsets, locations]
    )
    return votes[(np.abs(offsets) <= TILE_SIZE - WINDOW).all(1)]


def _count_votes(votes: npt.NDArray[np.float64]) -> np.ndarray:
    """Count votes in overlapping fields; returns the best link of each pair: array of `_LINK`."""
    pairs = votes[:, :3].astype(np.int64)
    locations = votes[:, 5].astype(np.int64)
    # One number for each field, because `numpy.unique` sorts rows slowly.
    most = pairs[:, :2].max(0, initial=0) + 1
    shape = (int(most[0]), int(most[1]), 8, TILE_SIZE, TILE_SIZE)
    found = [np.zeros(0, _LINK)]
    for shift_x in (0, 0.5):
        for shift_y in (0, 0.5):
            cells = np.floor(votes[:, 3:5] / _FIELD + (shift_x, shift_y)).astype(np.int64)
            cells += TILE_SIZE // 2
            keys = np.ravel_multi_index((*pairs.T, *cells.T), shape)
            _, first, field = np.unique(keys, return_index=True, return_inverse=True)
            distinct = np.unique(field * TILE_SIZE**2 + locations)
            totals = np.bincount(field)
            links = np.zeros(len(first), _LINK)
            for column, name in enumerate(("a", "b", "orientation")):
                links[name] = pairs[first, column]
            links["dx"] = np.rint(np.bincount(field, votes[:, 3]) / totals)
            links["dy"] = np.rint(np.bincount(field, votes[:, 4]) / totals)
            links["votes"] = np.bincount(distinct // TILE_SIZE**2)
            found.append(links[links["votes"] >= MIN_VOTES])
    return _best_of_pairs(np.concatenate(found))


def _order(links: np.ndarray) -> np.ndarray:
    """Invert the links from a later tile to an earlier one."""
    ordered = links.copy()
    is_later = links["a"] > links["b"]
    inverse = INVERSE[links["orientation"][is_later]]
    offsets = np.column_stack([links["dx"][is_later], links["dy"][is_later]])
    inverse_offsets = -np.einsum("nij,nj->ni", MATRICES[inverse], offsets)
    ordered["a"][is_later] = links["b"][is_later]
    ordered["b"][is_later] = links["a"][is_later]
    ordered["orientation"][is_later] = inverse
    ordered["dx"][is_later] = inverse_offsets[:, 0]
    ordered["dy"][is_later] = inverse_offsets[:, 1]
    return ordered


def _best_of_pairs(links: np.ndarray) -> np.ndarray:
    """Return each pair's link with the most votes, in the order of the pairs."""
    # The last key is the most important one.
    keys = [links[name] for name in ("dy", "dx", "orientation")]
    links = links[np.lexsort((*keys, -links["votes"], links["b"], links["a"]))]
    _, first = np.unique(links[["a", "b"]], return_index=True)
    return links[first]


def _confirm(files: ArrayFiles, links: np.ndarray) -> pd.DataFrame:
    """Confirm links by correlation; returns rows as `find_matches` does."""
    images = files.open_images()

    @functools.lru_cache(_CACHED_TILES)
    def gradients_of(tile: int) -> npt.NDArray[np.float32]:
        return _compute_gradients(images[tile])

    rows = []
    for link in links:
        a = gradients_of(int(link["a"]))
        b = oriented(gradients_of(int(link["b"])), int(link["orientation"]))
        correlation, dx, dy = _best_correlation(a, b, int(link["dx"]), int(link["dy"]))
        pixels = (TILE_SIZE - abs(dx)) * (TILE_SIZE - abs(dy))
        if correlation >= max(MIN_CORRELATION, _MIN_DEVIATION / pixels**0.5):
            row = (link["a"], link["b"], link["orientation"], dx, dy, pixels, link["votes"])
            rows.append((*row, round(correlation, 4)))
    return _as_frame(rows)


def _as_frame(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    columns = ["a", "b", "orientation", "dx", "dy", "pixels", "votes"]
    frame = pd.DataFrame(rows, columns=[*columns, "correlation"])
    return frame.astype({**dict.fromkeys(columns, np.int64), "correlation": np.float64})


def _compute_gradients(rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the logarithms of the gradient magnitudes: float32 of shape (128, 128), from 0 up."""
    luminance = cv2.cvtColor(np.ascontiguousarray(rgba), cv2.COLOR_RGBA2GRAY).astype(np.float32)
    smooth = cv2.GaussianBlur(luminance, (0, 0), 1)
    horizontal = cv2.Sobel(smooth, cv2.CV_32F, 1, 0)
    vertical = cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    return np.log1p(np.hypot(horizontal, vertical))


def _best_correlation(
    a: npt.NDArray[np.float32], b: npt.NDArray[np.float32], dx: int, dy: int
) -> tuple[float, int, int]:
    """Return the highest correlation within 3 pixels of an offset, and its offset.

    Args:
        a: Gradients of the first tile.
        b: Gradients of the second tile, already in its orientation.
        dx: Horizontal offset of the link.
        dy: Vertical offset of the link.
    """
    top = max(dy, 0)
    bottom = TILE_SIZE + min(dy, 0)
    left = max(dx, 0)
    right = TILE_SIZE + min(dx, 0)
    rows = slice(top - dy + _SEARCH, bottom - dy - _SEARCH)
    columns = slice(left - dx + _SEARCH, right - dx - _SEARCH)
    template = np.ascontiguousarray(b[rows, columns])
    if template.std() < 1e-3:  # OpenCV gives a flat template a correlation of 1
        return 0.0, dx, dy
    correlations = cv2.matchTemplate(a[top:bottom, left:right], template, cv2.TM_CCOEFF_NORMED)
    y, x = np.unravel_index(correlations.argmax(), correlations.shape)
    return float(correlations[y, x]), dx + int(x) - _SEARCH, dy + int(y) - _SEARCH
