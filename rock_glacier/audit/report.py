"""Write the result of an audit as text for a terminal."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pandas as pd

from rock_glacier.audit.checks import Audit
from rock_glacier.faults import severity_of
from rock_glacier.output import count
from rock_glacier_dataset import SPLIT_NAMES

# Faults of each code that the text shows. The JSON report has all faults.
_EXAMPLES = 3

# Sites whose sizes the text lists.
_LARGEST_SITES = 5

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


def count_pairs(audit: Audit) -> pd.DataFrame:
    """Count pairs by kind (rows), `within` a split and `across` splits (columns)."""
    kinds = ["overlap", "match"] if audit.has_matches else ["overlap"]
    pairs = audit.pairs
    within = pairs["kind"][~pairs["across"]].value_counts()
    across = pairs["kind"][pairs["across"]].value_counts()
    counts = pd.DataFrame({"within": within, "across": across}, index=kinds)
    return counts.fillna(0).astype(int)


def _site_lines(audit: Audit) -> Iterator[str]:
    pairs = count_pairs(audit).set_axis(["within a split", "across splits"], axis="columns")
    yield from _table_lines(pairs, "Pairs of tiles that share ground")
    if not audit.has_matches:
        yield "Matches were not searched for (--no-matches)."
    if audit.contradictions:
        pairs_text = count(audit.contradictions, "pair")
        yield f"Not used to place tiles: {pairs_text}, because stronger pairs contradict."
    sizes = audit.table["site"].value_counts()
    largest = ", ".join(f"{size:,}" for size in sizes.head(_LARGEST_SITES))
    tiles = count(len(audit.table), "tile")
    yield f"{tiles} at {count(len(sizes), 'site')}; tiles per site, largest first: {largest}"
    yield ""


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
    """Yield the lines of a table of numbers, and an empty line."""
    texts = table.apply(lambda column: column.map("{:,}".format))
    yield from texts.rename_axis(columns=title).to_string().split("\n")
    yield ""
