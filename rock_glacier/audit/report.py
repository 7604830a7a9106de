"""Write the result of an audit as text for a terminal."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pandas as pd

from rock_glacier.audit.checks import Audit
from rock_glacier.faults import severity_of
from rock_glacier.output import count
from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES

# Faults of each code that the text shows. The JSON report has all faults.
_EXAMPLES = 3

# Sites whose sizes the text lists.
_LARGEST_SITES = 5


def report_lines(audit: Audit) -> Iterator[str]:
    """Yield the lines of the report."""
    yield from _count_lines(audit)
    yield from _mask_lines(audit)
    yield from _site_lines(audit)
    yield from _fault_lines(audit)
    yield f"{count(audit.errors, 'error')}, {count(audit.warnings, 'warning')}"


def summarize_masks(audit: Audit) -> pd.DataFrame:
    """Summarize how much of their tiles the masks cover.

    Returns:
        One row per split that has masks with rock glacier. Columns: the number of masks `count`,
        and `mean`, `min` and `max` of the shares that the masks cover, 0 to 1.
    """
    covered = audit.table[audit.table["mask_share"] > 0]
    summary = covered.groupby("split")["mask_share"].agg(["count", "mean", "min", "max"])
    return summary.reindex([split for split in SPLIT_NAMES if split in summary.index])


def count_pairs(audit: Audit) -> pd.DataFrame:
    """Count pairs by kind (rows) and by whether they are `within` a split or `across` splits."""
    counts = pd.crosstab(audit.pairs["kind"], audit.pairs["across"])
    counts = counts.reindex(columns=[False, True], fill_value=0)
    counts.columns = pd.Index(["within", "across"])
    kinds = ["overlap", "match"] if audit.has_matches else ["overlap"]
    return counts.reindex(kinds, fill_value=0)


def _count_lines(audit: Audit) -> Iterator[str]:
    rows = [
        [name, *(f"{audit.counts[split][name]:,}" for split in SPLIT_NAMES)] for name in CLASS_NAMES
    ]
    totals = [f"{sum(audit.counts[split].values()):,}" for split in SPLIT_NAMES]
    yield from _format_table([["Tiles", *SPLIT_NAMES], *rows, ["total", *totals]])
    yield ""


def _mask_lines(audit: Audit) -> Iterator[str]:
    summary = summarize_masks(audit)
    rows = [
        [
            str(split),
            f"{masks['count']:,.0f}",
            *(f"{masks[name]:.1%}" for name in ("mean", "min", "max")),
        ]
        for split, masks in summary.iterrows()
    ]
    if rows:
        yield from _format_table(
            [["Masks with rock glacier", "number", "mean", "min", "max"], *rows]
        )
        yield ""


def _site_lines(audit: Audit) -> Iterator[str]:
    pairs = count_pairs(audit)
    rows = [
        [str(kind), f"{row['within']:,}", f"{row['across']:,}"] for kind, row in pairs.iterrows()
    ]
    yield from _format_table(
        [["Pairs of tiles that share ground", "within a split", "across splits"], *rows]
    )
    if not audit.has_matches:
        yield "Matches were not searched for (--no-matches)."
    if audit.contradictions:
        pairs_text = count(audit.contradictions, "pair")
        yield f"Not used to place tiles: {pairs_text} in contradiction to stronger pairs."
    yield ""
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


def _format_table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Align the cells of a table: the first column to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        first = row[0].ljust(widths[0])
        others = [
            cell.rjust(max(width, 8)) for cell, width in zip(row[1:], widths[1:], strict=True)
        ]
        yield "  ".join([first, *others])
