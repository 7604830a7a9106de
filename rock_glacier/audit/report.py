"""Write the result of an audit as text for a terminal."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pandas as pd

from rock_glacier.audit.checks import Audit
from rock_glacier.audit.geography import Geography
from rock_glacier.faults import severity_of
from rock_glacier.output import count
from rock_glacier.sites.pairs import KINDS, count_found_alone, find_single_links
from rock_glacier_dataset import SPLIT_NAMES

# Faults of each code that the text shows. The JSON report has all faults.
_EXAMPLES = 3

# Sites whose sizes the text lists.
_LARGEST_SITES = 5

_SPLIT_TITLES = {
    "area_km2": "km2",
    "area_in_tiles": "area in tiles",
    "coverage": "times covered",
}

_DISTANCE_TITLES = {
    "distance_m": "smallest (m)",
    "closer_than_0_m": "intersecting tiles",
    "closer_than_100_m": "tiles < 100 m",
    "closer_than_1000_m": "tiles < 1,000 m",
}

SPLIT_ADVICE = (
    "To put tiles that share ground into one split, run: rock-glacier build DATA_DIR OUT "
    "--split sites (--split keep leaves the splits as they are)."
)
"""Advice if tiles of different splits share ground."""


def report_lines(audit: Audit) -> Iterator[str]:
    """Yield the lines of the report."""
    counts = pd.DataFrame(audit.counts)
    counts.loc["total"] = counts.sum()
    yield from _table_lines(counts, "Tiles")
    for split, text in describe_masks(audit.table).items():
        yield f"{split}: {text}"
    yield ""
    yield from _site_lines(audit)
    yield from _location_lines(audit)
    yield from _fault_lines(audit)
    yield f"{count(audit.errors, 'error')}, {count(audit.warnings, 'warning')}"
    if audit.has_shared_ground:
        yield SPLIT_ADVICE


def describe_masks(table: pd.DataFrame) -> dict[str, str]:
    """Describe how much of their tiles the masks of each split cover, if there are any.

    Args:
        table: The tiles, with the columns `split` and `mask_share`.
    """
    covered = table[table["mask_share"] > 0]
    texts = {}
    for split in SPLIT_NAMES:
        shares = covered["mask_share"][covered["split"] == split]
        if len(shares):
            masks = count(len(shares), "mask")
            extremes = f"{shares.min():.1%} to {shares.max():.1%}"
            texts[split] = f"{masks}, mean coverage {shares.mean():.0%} ({extremes})"
    return texts


def tabulate_pairs(audit: Audit) -> pd.DataFrame:
    """Count pairs by kind.

    Returns:
        A row for each kind that was searched for: the number of pairs of this kind "within a split"
        and "across splits", and the number of pairs of "only this kind".
    """
    listed = audit.pairs[["kinds", "across"]].explode("kinds")
    across = listed["across"].to_numpy(bool)
    counts = pd.DataFrame(
        {
            "within a split": listed["kinds"][~across].value_counts(),
            "across splits": listed["kinds"][across].value_counts(),
            "only this kind": count_found_alone(audit.pairs),
        },
        index=list(KINDS),
    )
    counts = counts.fillna(0).astype(int)
    if not audit.has_matches:
        counts = counts.drop(index="match")
    if audit.located is None:
        counts = counts.drop(index="footprint")
    return counts


def tabulate_splits(geography: Geography) -> pd.DataFrame:
    """Return the ground of each split, in columns with titles."""
    return geography.splits.rename(columns=_SPLIT_TITLES)


def tabulate_distances(geography: Geography) -> pd.DataFrame:
    """Return the distances between splits, in columns with titles."""
    names = geography.pairs["a"] + " and " + geography.pairs["b"]
    return geography.pairs.drop(columns=["a", "b"]).set_axis(names).rename(columns=_DISTANCE_TITLES)


def _site_lines(audit: Audit) -> Iterator[str]:
    yield from _table_lines(tabulate_pairs(audit), "Pairs of tiles that share ground")
    if not audit.has_matches:
        yield "Matches were not searched for (--no-matches)."
    contradictions = int((~audit.pairs["is_used"]).sum())
    if contradictions:
        pairs_text = count(contradictions, "pair")
        yield f"Not used to place tiles: {pairs_text}, because stronger pairs contradict them."
    links = audit.pairs[audit.pairs["is_used"] & (audit.pairs["kind"] != "footprint")]
    single = find_single_links(len(audit.table), links).sum()
    if single:
        yield f"Tiles that only one pair connects to others: {single:,}"
    sizes = audit.table["site"].value_counts()
    largest = ", ".join(f"{size:,}" for size in sizes.head(_LARGEST_SITES))
    tiles = count(len(audit.table), "tile")
    yield f"{tiles} at {count(len(sizes), 'site')}; tiles per site, largest first: {largest}"
    yield ""


def _location_lines(audit: Audit) -> Iterator[str]:
    if audit.unlocated is None:
        return
    yield f"Located: {audit.located:,} of {count(len(audit.table), 'tile')}"
    for reason, number in audit.unlocated.items():
        yield f"    {number:,} not located: {reason}"
    yield ""
    if audit.geography is None:
        return
    yield from _table_lines(tabulate_splits(audit.geography), "Ground of located tiles")
    if len(audit.geography.pairs):
        yield from _table_lines(tabulate_distances(audit.geography), "Distance between splits")


def _fault_lines(audit: Audit) -> Iterator[str]:
    for code, group in itertools.groupby(audit.faults, key=lambda fault: fault.code):
        faults = list(group)
        yield f"{severity_of(faults[0])} {code}: {len(faults):,}"
        for fault in faults[:_EXAMPLES]:
            yield f"    {fault}"
        if len(faults) > _EXAMPLES:
            yield f"    and {len(faults) - _EXAMPLES:,} more"
        yield ""


def _table_lines(table: pd.DataFrame, title: str) -> Iterator[str]:
    """Yield a title, the lines of a table of numbers, and an empty line."""
    yield title
    texts = table.apply(lambda column: column.map("{:,}".format))
    # Two more spaces keep titles of several words apart.
    yield from texts.to_string(col_space=[len(str(name)) + 2 for name in table]).split("\n")
    yield ""
