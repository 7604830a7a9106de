"""The audit as tables and lines on a terminal."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rock_glacier.audit.checks import Audit, count_across_splits
from rock_glacier.console import count
from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES

_PIPED_WIDTH = 80  # columns where standard output is no terminal
_EXAMPLES = 3  # findings of each code; the JSON holds all


def report_lines(found: Audit) -> Iterator[str]:
    """Yield the lines of the report: tables of tiles, masks and findings, and the verdict."""
    # Without a width, rich takes that of a terminal at any of the program's streams.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    for table in _tables(found):
        with console.capture() as captured:
            console.print(table)
        yield "\n".join(map(str.rstrip, captured.get().splitlines())) + "\n"
    tiles, grounds = len(found.grounds), len(set(found.grounds.values()))
    pairs = f"{count(len(found.overlaps), 'overlapping pair')} ({count_across_splits(found.overlaps):,} across splits)"
    yield f"{count(tiles, 'tile')} on {count(grounds, 'ground')}, {pairs}"
    if found.same_ground is None:
        yield "shared ground was searched for by identical pixels only (--without-same-ground)"
    else:
        across = f"{count_across_splits(found.same_ground):,} across splits"
        yield f"{count(len(found.same_ground), 'other pair')} of the same ground ({across})"
    if found.links_left_out:
        yield found.links_left_out
    yield f"{count(found.errors, 'error')}, {count(found.warnings, 'warning')}"


def _tables(found: Audit) -> Iterator[Table]:
    tiles = _number_table("tiles")
    for name in CLASS_NAMES:
        tiles.add_row(name, *(f"{found.tiles[split][name]:,}" for split in SPLIT_NAMES))
    tiles.add_row("both", *(f"{sum(found.tiles[split].values()):,}" for split in SPLIT_NAMES))
    yield tiles
    coverages = found.coverages().values()
    if any(shares.size for shares in coverages):
        masks = _number_table("rock glacier in masks")
        masks.add_row("masks that show one", *(f"{shares.size:,}" if shares.size else "none" for shares in coverages))
        for name, statistic in (("mean", np.mean), ("least", np.min), ("most", np.max)):
            figures = (f"{statistic(shares):.1%}" if shares.size else "" for shares in coverages)
            masks.add_row(f"{name} share of pixels", *figures)
        yield masks
    if found.findings:
        findings = Table("finding", box=None, header_style="bold", pad_edge=False)
        findings.columns[0].no_wrap = True
        findings.add_column("number", justify="right", no_wrap=True)
        findings.add_column("examples", overflow="fold")
        for (code, severity), of_code in itertools.groupby(found.findings, lambda one: (one.code, one.severity)):
            messages = [finding.message for finding in of_code]
            more = [f"... and {len(messages) - _EXAMPLES:,} more"] if len(messages) > _EXAMPLES else []
            # As Text, because rich takes [name] in a str for a style.
            examples = Text("\n".join(messages[:_EXAMPLES] + more))
            named = Text.assemble((severity, "red" if severity == "error" else "yellow"), f" {code}")
            findings.add_row(named, f"{len(messages):,}", examples)
        yield findings


def _number_table(subject: str) -> Table:
    """Make a table with a column for each split, of the same width in each such table."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(subject, min_width=len("rock glacier in masks"), no_wrap=True)
    for split in SPLIT_NAMES:
        table.add_column(split, justify="right", min_width=10, no_wrap=True)
    return table
