"""Group the tiles whose masks overlap, unless their images show different ground.

Two masks with smooth edges can agree by chance if their common rectangle shows little of the edge.
So only strong mask overlaps, with at least 100 boundary steps (see `mask_overlaps`), form groups.
Weaker overlaps are accepted if they agree, to the pixel, with the places of two tiles of one group.
Among the 1,165 masks of the release's test split that can be read, all 18,359 strong pairs agree
with each other to the pixel and form 11 groups (447, 216, 144, 87, 87, 72, 53, 36, 9, 3 and 2
masks); 9 masks are left over. Of the 4,910 weaker pairs, 4,465 are accepted.

Masks may belong to other tiles, or be as simple as boxes. Then their overlaps say nothing about the
ground that the images show. So the images of up to 64 pairs of each group are compared by phase
correlation, within 2 pixels of the offset of the masks. The group is rejected unless more than half
of the pairs have a peak of at least 0.03. A pair with a flat image, such as snow or shadow without
texture, neither confirms nor contradicts; a group of only such pairs is kept.

How the threshold was chosen: of 6,000 pairs of real tiles of two places, at the offsets of true
pairs, 0.2 % have such a peak. That is also the risk that a group of one pair is accepted wrongly;
in larger groups it is smaller. No group was accepted in these tests:

- The 300 early tiles with 138 masks of other tiles: none of the 515 strong pairs has such a peak.
  All 17 groups are rejected, and the tiles form the same three sites as without masks.
- The 300 early tiles with boxes of 30 to 110 pixels as masks, three times: of the 1,117 to 1,515
  strong pairs that agree with each other, at most 0.3 % have such a peak. All 6 groups are
  rejected.
- The 300 early tiles with masks of the release, three times: all 38 groups are rejected.

The opposite test used masks that belong to their tiles: they were cut from a random pattern at the
places of the 300 early tiles. Of the 2,537 strong pairs on two dates, 96 % have such a peak; of the
pairs that share less than a quarter of a tile, 87 %. All groups of at least 4 compared pairs are
accepted, and 94 % of the groups of 1 to 3 pairs that form among 12 to 60 of these tiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rock_glacier.output import count
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

_SEARCH = 2  # pixels around the offset, because two dates may be shifted by about one
_MAX_SAMPLE = 64  # pairs of a group that are compared, to bound the time
_MIN_DEVIATION = 2  # grey levels of green; a common rectangle with less is flat


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
    faults = [
        _make_fault(tiles.table[site == number], evidence.loc[number]) for number in rejected.index
    ]
    pairs = pairs[~is_rejected[pairs["a"]]].reset_index(drop=True)
    return MaskGroups(pairs, group, faults)


def _check_images(files: ArrayFiles, pairs: pd.DataFrame, workers: Workers) -> pd.DataFrame:
    """Compare the images of a sample of the pairs of each group.

    Args:
        files: The decoded tiles.
        pairs: Columns of `Sites.pairs`, and `group`.
        workers: Processes to use.

    Returns:
        A row for each group: how many pairs were `tested`, and how many `agree`.
    """
    sample = _sample_pairs(pairs)
    ranges = cut_ranges(len(sample), workers.parts)
    tasks = [(files, sample[first:last]) for first, last in ranges]
    peaks = np.concatenate([np.zeros(0), *workers.map(_correlate, tasks, "Comparing images")])
    results = pd.DataFrame({"tested": ~np.isnan(peaks), "agree": peaks >= MIN_PEAK})
    return results.groupby(sample["group"].to_numpy()).sum()


def _sample_pairs(pairs: pd.DataFrame) -> pd.DataFrame:
    """Choose up to 64 pairs of each group, evenly."""
    samples = [pairs[:0]]
    for _, members in pairs.groupby("group"):
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
        f"its mask and the masks of {count(len(members) - 1, 'other tile')} overlap, but the "
        f"images agree in only {evidence['agree']} of {count(evidence['tested'], 'pair')}"
    )
    fix = "Check that each mask belongs to its tile and follows the edge of the rock glacier"
    return Fault("mask-unrelated", f"{first['archive']}: {first['path']}", problem, fix)
