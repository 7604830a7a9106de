"""Find pairs of tiles that show the same ground, on one date or on two, in any orientation.

1. The local features of all tiles are put into a nearest-neighbour index.
2. The nearest neighbours of each feature are searched, as it is and as in the transposed tile. A
   neighbour votes for a link (an orientation and an offset) if it has a similar size and its angle
   differs by a multiple of 90 degrees, within 12 degrees. Offsets are counted in fields of 3 x 3
   pixels. Votes from one place of a tile count once, because one spot often yields several
   features. The link with the most votes is the candidate of a pair, if there are at least 2.
3. The phase correlation of the two tiles is computed within 3 pixels of the candidate's offset. The
   place of its peak is the offset of the match.
4. The candidate is confirmed if the peak is at least 0.045. Candidates with at least 4 votes are
   also confirmed if the gradient magnitudes of the two tiles correlate over the common rectangle:
   at least 0.25, or at least 18 / sqrt(pixels) if the rectangle has fewer than 5,184 pixels.

A false pair can join two places in one site, which moves tiles to other splits. A missed pair can
leave shared ground between splits. The thresholds were chosen to avoid false pairs, on two tests:

- 11,700 synthetic tiles of different scenes: none of the 46,803 candidates is confirmed. Their
  highest peak is 0.040; 7 are above 0.035. The gradients confirm none of the 14 candidates with at
  least 4 votes, but would confirm 367 with fewer votes.
- The 300 early tiles in random orientations: none of the 40,131 pairs that share no ground, 26,588
  of which are of two places, is confirmed. The same holds for the tiles in their own orientations,
  and after JPEG compression of quality 90. With a threshold of 0.035, each of these two cases has
  one false pair.

In random orientations, 1,955 of the 3,854 pairs on two dates that share at least 16 x 16 pixels are
confirmed (1,290 by gradients alone): 313 of 1,000 that share less than a quarter of a tile, 310 of
828 up to half, 706 of 1,211 up to three quarters, and 626 of 815 above. All orientations are right;
89 % of the offsets are exact and all but one are within 1 pixel. Most of the other pairs are still
in one site, through other tiles. How many depends on how dense the tiles are. Share of the pairs on
two dates that end at one site, in random subsets of the 300 tiles:

===================== ======= ===== =========== ==============
tiles                 subsets pairs all matches gradients only
===================== ======= ===== =========== ==============
300                         1 3,854     100.0 %        100.0 %
150                         3 2,824     100.0 %         97.8 %
two dates of each place     5 1,980      98.0 %         95.3 %
75                          5 1,069      95.8 %         83.5 %
40                         10   707      86.7 %         71.6 %
20                         20   334      84.7 %         54.2 %
===================== ======= ===== =========== ==============

In one of the subsets, two tiles of one place that share no ground matched. No site had two places.

A lossy step such as JPEG removes all exact overlaps, because they need identical pixels. The pairs
then appear as matches: 683 of the 689 overlaps of the early tiles, after JPEG of quality 90.

If there are many features, only part of the index is searched, so a different order of the tiles
changes a few matches.

Not detected: flat snow or shadow, other scales, rotations other than multiples of 90 degrees, and
two dates that have nothing in common, unless other dates connect them.
"""

from __future__ import annotations

import functools
import itertools
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
    GEOMETRY,
    MAX_FEATURES,
    detect_features,
    transpose_descriptors,
)
from rock_glacier.sites.orientations import MATRICES, oriented
from rock_glacier.sites.overlaps import WINDOW
from rock_glacier.sites.pairs import sort_ends
from rock_glacier.sites.phase import Spectrum, phase_peak, spectrum_of
from rock_glacier.sites.windows import shared_rectangles
from rock_glacier.tiles import ArrayFiles, check_scratch_space
from rock_glacier_dataset import TILE_SIZE

MIN_VOTES = 2
"""Smallest number of votes of a candidate."""

MIN_PHASE = 0.045
"""Smallest phase correlation that confirms a candidate."""

MIN_GRADIENT_VOTES = 4
"""Smallest number of votes of a candidate that the gradients can confirm."""

MIN_CORRELATION = 0.25
"""Smallest correlation of the gradients that confirms a candidate."""

_MIN_DEVIATION = 18  # correlation times the square root of the pixels, for small rectangles
_NEIGHBOURS = 32  # neighbours of each feature
_MIN_SIZE_RATIO = 0.8  # of the sizes of two features that vote
_MAX_SIZE_RATIO = 1.25
_MAX_ANGLE = 12  # degrees between a rotation and the nearest multiple of 90 degrees
_FIELD = 3  # pixels; votes for offsets in one field are counted together
_LOCATION = 4  # pixels; features of a tile in one square of this size are at one location
_EXACT_SEARCH = 20_000  # features; above this, only the nearest clusters are searched
_PROBES = 8  # clusters that are searched
_TRAINING = 100_000  # features that the clusters are computed from; 51 MB as float32
_MIN_TRAINING_PER_CLUSTER = 39  # features; faiss warns if there are fewer
_QUERIED_TILES = 64  # tiles whose features are searched at once
_CACHED_TILES = 200  # spectra (258 KiB each) and gradients (64 KiB) that a worker keeps

_VOTE = np.dtype(
    [("a", "i4"), ("b", "i4"), ("orientation", "i4"), ("dx", "f4"), ("dy", "f4"), ("place", "i4")]
)
"""A vote for a link from tile a to tile b; `place` is the square of tile a that it comes from."""

_TYPES = {
    **dict.fromkeys(("a", "b", "orientation", "dx", "dy", "pixels", "votes"), np.int64),
    "correlation": np.float64,
}


@dataclass(frozen=True)
class _Features:
    """The features of all tiles, grouped by tile.

    Attributes:
        descriptors: uint8 array of shape (features, 128).
        geometry: Array of `GEOMETRY` of shape (features,).
        tiles: int32 array of shape (features,): number of the tile of each feature.
        ends: int64 array of shape (tiles + 1,): first feature of each tile, and the end.
    """

    descriptors: npt.NDArray[np.uint8]
    geometry: npt.NDArray[Any]
    tiles: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int64]


def find_matches(files: ArrayFiles, workers: Workers, known: pd.DataFrame) -> pd.DataFrame:
    """Find pairs of tiles that show the same ground.

    Args:
        files: The decoded tiles.
        workers: Processes to use.
        known: Pairs to skip, such as exact overlaps: columns `a` and `b`, with `a` < `b`.

    Returns:
        A row for each pair, sorted by `a` and `b` (row numbers of the tiles, `a` < `b`), with the
        link from a to b in `orientation`, `dx`, `dy`, the size of the common rectangle in `pixels`,
        the number of `votes`, and the `correlation` of the gradients over the common rectangle,
        from -1 to 1. A match is stronger the larger `votes` times `correlation` is.
    """
    check_scratch_space(files.tiles * MAX_FEATURES * FEATURE.itemsize)
    ranges = cut_ranges(files.tiles, workers.parts)
    tasks = [(files, first, last) for first, last in ranges]
    described = workers.map(_describe_tiles, tasks, "Detecting features")
    features = _collect(files, described)
    links = _find_candidates(features, threads=workers.num_proc)
    keys = pd.MultiIndex.from_frame(links[["a", "b"]])
    links = links[~keys.isin(pd.MultiIndex.from_frame(known[["a", "b"]]))]
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
                geometry.write(features["geometry"].tobytes())
    ends = np.concatenate([[0], np.cumsum(numbers)]).astype(np.int64)
    return _Features(
        _map(descriptor_file, np.uint8, (int(ends[-1]), 128)),
        _map(geometry_file, GEOMETRY, (int(ends[-1]),)),
        np.repeat(np.arange(files.tiles, dtype=np.int32), np.diff(ends)),
        ends,
    )


def _map(file: Path, dtype: Any, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    if shape[0] == 0:  # an empty file cannot be mapped
        return np.zeros(shape, dtype)
    return np.memmap(file, dtype, "r", shape=shape)


def _find_candidates(features: _Features, *, threads: int) -> pd.DataFrame:
    """Find each pair's link with the most votes, if there are at least 2.

    Returns:
        A row for each pair: `a`, `b` (`a` < `b`), `orientation`, `dx`, `dy`, `votes`.
    """
    index = _make_index(features.descriptors, threads=threads)
    number = len(features.ends) - 1
    found = [_count_votes(np.zeros(0, _VOTE))]
    with tqdm(total=number, desc="Searching matches", unit=" tiles", disable=None) as bar:
        for first in range(0, number, _QUERIED_TILES):
            last = min(first + _QUERIED_TILES, number)
            span = slice(features.ends[first], features.ends[last])
            if span.start < span.stop:
                votes = [
                    _cast_votes(index, features, span, mirrored=mirrored)
                    for mirrored in (False, True)
                ]
                found.append(_count_votes(np.concatenate(votes)))
            bar.update(last - first)
    return _best_of_pairs(sort_ends(pd.concat(found, ignore_index=True)))


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


def _cast_votes(
    index: Any, features: _Features, span: slice, *, mirrored: bool
) -> npt.NDArray[Any]:
    """Let the neighbours of some features vote for links.

    Args:
        index: Index of all features.
        features: All features.
        span: The features whose neighbours are searched.
        mirrored: Whether to search as in the transposed tile.

    Returns:
        Array of `_VOTE`.
    """
    queries = features.descriptors[span]
    if mirrored:
        queries = transpose_descriptors(queries)
    _, neighbours = index.search(queries.astype(np.float32), _NEIGHBOURS)
    is_other_tile = features.tiles[neighbours] != features.tiles[span, None]
    is_neighbour = (neighbours >= 0) & is_other_tile
    a = neighbours[is_neighbour]
    b = np.repeat(np.arange(span.start, span.stop), is_neighbour.sum(1))
    quarter_turns, fits = _compare(features.geometry[a], features.geometry[b], mirrored=mirrored)
    a = a[fits]
    b = b[fits]
    votes = np.zeros(len(a), _VOTE)
    votes["a"] = features.tiles[a]
    votes["b"] = features.tiles[b]
    votes["orientation"] = quarter_turns[fits] % 4 + 4 * mirrored
    first = features.geometry[a]
    second = features.geometry[b]
    centre = (TILE_SIZE - 1) / 2
    centred = np.column_stack([second["x"], second["y"]]) - centre
    moved = np.einsum("nij,nj->ni", MATRICES[votes["orientation"]], centred) + centre
    votes["dx"] = first["x"] - moved[:, 0]
    votes["dy"] = first["y"] - moved[:, 1]
    votes["place"] = TILE_SIZE * (first["y"] // _LOCATION) + first["x"] // _LOCATION
    farthest = TILE_SIZE - WINDOW
    return votes[(np.abs(votes["dx"]) <= farthest) & (np.abs(votes["dy"]) <= farthest)]


def _compare(
    a: npt.NDArray[Any], b: npt.NDArray[Any], *, mirrored: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Compare the sizes and angles of features.

    Args:
        a: Features, an array of `GEOMETRY`.
        b: The feature to compare each with.
        mirrored: Whether the tile of b was transposed.

    Returns:
        The number of quarter turns that is nearest to the difference of the angles, and whether
        the two features fit each other.
    """
    # `numpy.rot90` reduces a feature's angle by 90 degrees; a transposition subtracts it from 90.
    angles = a["angle"] + b["angle"] - 90 if mirrored else b["angle"] - a["angle"]
    quarter_turns = np.rint(angles / 90)
    ratios = b["size"] / a["size"]
    fits = np.abs(angles - 90 * quarter_turns) < _MAX_ANGLE
    fits &= (ratios > _MIN_SIZE_RATIO) & (ratios < _MAX_SIZE_RATIO)
    return quarter_turns.astype(np.int64), fits


def _count_votes(votes: npt.NDArray[Any]) -> pd.DataFrame:
    """Count votes in overlapping fields; returns rows as `_find_candidates` does, in any order."""
    shifts = itertools.product((0, 0.5), repeat=2)
    return _best_of_pairs(
        pd.concat([_count_in_fields(votes, *shift) for shift in shifts], ignore_index=True)
    )


def _count_in_fields(votes: npt.NDArray[Any], shift_x: float, shift_y: float) -> pd.DataFrame:
    """Count the places that vote for each field; returns the links with at least 2 votes.

    Args:
        votes: Array of `_VOTE`.
        shift_x: Shift of the fields to the left, as a share of their width.
        shift_y: The same, upwards.
    """
    column = np.floor(votes["dx"] / _FIELD + shift_x).astype(np.int64) + TILE_SIZE // 2
    row = np.floor(votes["dy"] / _FIELD + shift_y).astype(np.int64) + TILE_SIZE // 2
    # One number for each field, because `numpy.unique` sorts rows slowly.
    parts = (votes["a"], votes["b"], votes["orientation"], column, row)
    shape = [int(part.max(initial=0)) + 1 for part in parts]
    _, first, field = np.unique(
        np.ravel_multi_index(parts, shape), return_index=True, return_inverse=True
    )
    places = TILE_SIZE**2
    distinct = pd.unique(field * places + votes["place"])
    counts = np.bincount(distinct // places)
    totals = np.bincount(field)
    is_link = counts >= MIN_VOTES
    links = pd.DataFrame(votes[["a", "b", "orientation"]][first[is_link]])
    links["dx"] = np.rint(np.bincount(field, votes["dx"]) / totals)[is_link]
    links["dy"] = np.rint(np.bincount(field, votes["dy"]) / totals)[is_link]
    links["votes"] = counts[is_link]
    return links.astype(np.int64)


def _best_of_pairs(links: pd.DataFrame) -> pd.DataFrame:
    """Return each pair's link with the most votes, in the order of the pairs."""
    keys = ["a", "b", "votes", "orientation", "dx", "dy"]
    is_ascending = [key != "votes" for key in keys]
    ordered = links.sort_values(keys, ascending=is_ascending, ignore_index=True)
    return ordered.drop_duplicates(["a", "b"], ignore_index=True)


def _confirm(files: ArrayFiles, links: pd.DataFrame) -> pd.DataFrame:
    """Confirm candidates; returns rows as `find_matches` does."""
    images = files.open_images()

    @functools.lru_cache(_CACHED_TILES)
    def spectrum(tile: int, orientation: int) -> Spectrum:
        return spectrum_of(oriented(images[tile], orientation))

    @functools.lru_cache(_CACHED_TILES)
    def gradients(tile: int) -> npt.NDArray[np.float32]:
        return _compute_gradients(images[tile])

    rows = []
    link: Any
    for link in links.itertuples(index=False):
        spectrum_a = spectrum(link.a, 0)
        spectrum_b = spectrum(link.b, link.orientation)
        phase, dx, dy = phase_peak(spectrum_a, spectrum_b, link.dx, link.dy)
        if phase < MIN_PHASE and link.votes < MIN_GRADIENT_VOTES:
            continue
        gradients_b = oriented(gradients(link.b), link.orientation)
        shared_a, shared_b = shared_rectangles(gradients(link.a), gradients_b, dx, dy)
        pixels = shared_a.size
        correlation = _correlate(shared_a, shared_b)
        if phase >= MIN_PHASE or correlation >= max(MIN_CORRELATION, _MIN_DEVIATION / pixels**0.5):
            confirmed = link._replace(dx=dx, dy=dy)
            rows.append({**confirmed._asdict(), "pixels": pixels, "correlation": correlation})
    return _as_frame(rows)


def _as_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(_TYPES)).astype(_TYPES).round(4)


def _compute_gradients(rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the logarithms of the gradient magnitudes: float32 of shape (128, 128), from 0 up."""
    luminance = cv2.cvtColor(np.ascontiguousarray(rgba), cv2.COLOR_RGBA2GRAY).astype(np.float32)
    smooth = cv2.GaussianBlur(luminance, (0, 0), 1)
    horizontal = cv2.Sobel(smooth, cv2.CV_32F, 1, 0)
    vertical = cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    return np.log1p(np.hypot(horizontal, vertical))


def _correlate(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """Return the correlation of two rectangles, 0 if one of them is flat."""
    if min(a.std(), b.std()) < 1e-3:
        return 0.0
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
