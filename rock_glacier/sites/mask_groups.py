"""Group the tiles whose masks overlap, unless their images show different ground.

Two masks with smooth edges can agree by chance if their common rectangle shows little of the edge.
So only *strong* mask overlaps, with at least 100 boundary steps, form groups and place their tiles.
A weaker one is accepted if it agrees, to the pixel, with the places of two tiles of one group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rock_glacier.parallel import Workers, cut_ranges
from rock_glacier.sites.mask_overlaps import find_mask_overlaps
from rock_glacier.sites.orientations import oriented
from rock_glacier.sites.pairs import make_pairs
from rock_glacier.sites.phase import phase_peak, spectrum_of
from rock_glacier.sites.placement import measure_misfits, place_tiles
from rock_glacier.sites.windows import shared_rectangles
from rock_glacier.tiles import ArrayFiles, TileSet
from rock_glacier_dataset import Fault

MIN_STRONG_STEPS = 100
"""Smallest number of boundary steps of a strong mask overlap."""

MIN_PEAK = 0.03
"""Smallest phase correlation of two images that show the same ground."""

_SEARCH = 2  # pixels; two dates of one scene may differ by one
_MAX_SAMPLE = 64  # pairs of a group that are compared
_MIN_DEVIATION = 2  # grey levels; an image with less is flat


@dataclass(frozen=True)
class MaskGroups:
    """Groups of tiles whose masks overlap.

    Attributes:
        pairs: A row for each mask overlap that is accepted, with the columns of `Sites.pairs`.
        group: int32 array of shape (tiles,): number of the group of each tile. A mask without
            partner is a group of its own. -1 for tiles without a mask, with an empty mask, or of a
            group that was rejected.
        faults: A fault `mask-unrelated` for each group that was rejected.
    """

    pairs: pd.DataFrame
    group: npt.NDArray[np.int32]
    faults: list[Fault]


def find_mask_groups(tiles: TileSet, workers: Workers) -> MaskGroups:
    """Find mask overlaps, group them, and check the groups against the images.

    Args:
        tiles: The decoded tiles.
        workers: Processes to use.
    """
    is_usable = (tiles.table["has_mask"] & (tiles.table["mask_share"] > 0)).to_numpy(bool)
    overlaps = find_mask_overlaps(tiles.files, np.flatnonzero(is_usable), workers)
    pairs = make_pairs(overlaps, "mask-overlap")
    strong = pairs[pairs["steps"] >= MIN_STRONG_STEPS]
    placed = place_tiles(len(tiles), strong).table
    pairs = pairs[measure_misfits(placed, pairs) == 0]
    site = placed["site"].to_numpy(np.int64)
    evidence = _check_images(tiles.files, pairs.assign(group=site[pairs["a"]]), workers)
    rejected = evidence[(evidence["tested"] > 0) & (2 * evidence["agree"] <= evidence["tested"])]
    is_rejected = np.isin(site, rejected.index)
    group = np.full(len(tiles), -1, np.int32)
    is_grouped = is_usable & ~is_rejected
    group[is_grouped] = pd.factorize(site[is_grouped])[0]
    faults = []
    for number, row in rejected.iterrows():
        faults.append(_make_fault(tiles.table[site == number], row))
    pairs = pairs[~is_rejected[pairs["a"]]].reset_index(drop=True)
    return MaskGroups(pairs, group, faults)


def _check_images(files: ArrayFiles, pairs: pd.DataFrame, workers: Workers) -> pd.DataFrame:
    """Compare the images of a sample of the pairs of each group.

    Args:
        files: The decoded tiles.
        pairs: Columns of `Sites.pairs`, and `group`.
        workers: Processes to use.

    Returns:
        A row for each group: the number of pairs that were `tested`, and of those that `agree`.
    """
    sample = _sample_pairs(pairs)
    ranges = cut_ranges(len(sample), workers.parts)
    tasks = [(files, sample[first:last]) for first, last in ranges]
    peaks = np.concatenate([np.zeros(0), *workers.map(_correlate, tasks, "Comparing images")])
    results = pd.DataFrame({"tested": ~np.isnan(peaks), "agree": peaks >= MIN_PEAK})
    return results.groupby(sample["group"].to_numpy()).sum()


def _sample_pairs(pairs: pd.DataFrame) -> pd.DataFrame:
    """Choose up to 64 pairs of each group: of each tile the pair that shares most, evenly."""
    largest = pairs.sort_values(["pixels", "a", "b"], ascending=[False, True, True])
    largest = largest.drop_duplicates("a").sort_values("a")
    samples = [largest[:0]]
    for _, members in largest.groupby("group"):
        number = min(len(members), _MAX_SAMPLE)
        samples.append(members.iloc[np.linspace(0, len(members) - 1, number).astype(np.intp)])
    return pd.concat(samples)


def _correlate(files: ArrayFiles, pairs: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return the phase correlation of each pair at its offset, NaN if a common part is flat."""
    images = files.open_images()
    return np.array([_correlate_pair(images, pair) for pair in pairs.itertuples()], np.float64)


def _correlate_pair(images: npt.NDArray[np.uint8], pair: Any) -> float:
    first = images[pair.a]
    second = oriented(images[pair.b], pair.orientation)
    shared = shared_rectangles(first, second, pair.dx, pair.dy)
    if min(part[..., 1].std() for part in shared) < _MIN_DEVIATION:
        return np.nan
    spectra = (spectrum_of(first), spectrum_of(second))
    peak, _, _ = phase_peak(*spectra, pair.dx, pair.dy, radius=_SEARCH)
    return peak


def _make_fault(members: pd.DataFrame, evidence: pd.Series) -> Fault:
    first = members.iloc[0]
    problem = (
        f"the masks of this tile and {len(members) - 1:,} others overlap, but only "
        f"{evidence['agree']} of {evidence['tested']} pairs of their images show the same ground"
    )
    fix = "Check that each mask belongs to its tile and follows the outline of the rock glacier"
    return Fault("mask-unrelated", f"{first['archive']}: {first['path']}", problem, fix)
