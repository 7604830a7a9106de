#!/usr/bin/env python
"""Check everything about a folder of archives, and report all that is wrong at once.

    python scripts/audit_archives.py data
    python scripts/audit_archives.py data --json audit.json --html audit.html

Every tile and mask is decoded and checked; every pair of tiles that was cut over the same ground is found, pixel
by pixel, at any offset, and so are tiles that are one another turned or mirrored.

The tables on the terminal are for a first look, the JSON for programs, and the HTML page for people: it shows the tiles
and masks of each finding, and is one file that loads nothing from elsewhere.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from archive_audit import Audit, audit
from audit_report import across_splits, report_page
from findings import Finding
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tile_groups import GROUPS_NAME

import rock_glacier_dataset
from rock_glacier.console import run, say
from rock_glacier.files import new_output_file
from rock_glacier.parallel import BACKENDS, BackendError, Workers
from rock_glacier_dataset import CLASS_NAMES, MANIFEST_NAME, SPLIT_NAMES, ArchiveError

PIPED_WIDTH = 80
"""Columns of the tables where standard output is no terminal."""

EXAMPLES = 3
"""Findings of each code that the report on the terminal shows; the JSON holds all."""


def tables(found: Audit) -> Iterator[Table]:
    """Yield what a person reads: tiles, masks, and findings by code with some examples.

    Their columns have names of their own, for without colour the tables say the same.
    """
    tiles = _table("tiles", *SPLIT_NAMES)
    for name in CLASS_NAMES:
        tiles.add_row(name, *(str(found.tiles[split][name]) for split in SPLIT_NAMES))
    tiles.add_row("both", *(str(sum(found.tiles[split].values())) for split in SPLIT_NAMES))
    yield tiles
    if found.coverage:
        masks = _table("rock glacier in masks", *SPLIT_NAMES)
        covered = [found.coverage.get(split) for split in SPLIT_NAMES]
        masks.add_row("masks that show one", *(str(one.masks) if one else "none" for one in covered))
        for name in ("mean", "least", "most"):
            shares = (f"{getattr(one, name):.1%}" if one else "" for one in covered)
            masks.add_row(f"{name} share of pixels", *shares)
        yield masks
    if found.findings:
        findings = Table("finding", box=None, header_style="bold", pad_edge=False)
        findings.columns[0].no_wrap = True
        findings.add_column("number", justify="right", no_wrap=True)
        findings.add_column("examples", overflow="fold")
        for (code, severity), group in itertools.groupby(found.findings, lambda one: (one.code, one.severity)):
            several = list(group)
            named = Text.assemble((severity, "red" if severity == "error" else "yellow"), f" {code}")
            findings.add_row(named, str(len(several)), _examples(several))
        yield findings


def _table(subject: str, *columns: str) -> Table:
    """Make a table of numbers, in columns of the same width in each such table."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(subject, min_width=len("rock glacier in masks"), no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", min_width=10, no_wrap=True)
    return table


def _examples(findings: Sequence[Finding]) -> Text:
    more = len(findings) - EXAMPLES
    shown = [finding.message for finding in findings[:EXAMPLES]]
    return Text("\n".join(shown + ([f"... and {more} more"] if more > 0 else [])))  # a Text, for a [name] is no style


def verdict(found: Audit) -> str:
    """Say in two lines what came of it."""
    tiles = sum(sum(counts.values()) for counts in found.tiles.values())
    return (
        f"{tiles} tiles in {len(set(found.groups.values()))} groups, {len(found.overlaps)} overlapping "
        f"pairs ({across_splits(found)} across splits)\n"
        f"{_count(found.errors, 'error')}, {_count(found.warnings, 'warning')}"
    )


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _write(file: Path, text: str) -> None:
    with new_output_file(file) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")


def _is_of_archives(name: str) -> bool:
    return bool(rock_glacier_dataset._ARCHIVE_NAME.fullmatch(name)) or name in (MANIFEST_NAME, GROUPS_NAME)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
Check everything about a folder of archives, and report all that is wrong:
archives, names, PNG files, masks, the manifest, tiles that stand twice (also
turned or mirrored), and tiles of two splits that show the same ground.""",
        epilog="""\
Two tiles show the same ground when at some offset they are the same, pixel by
pixel, over the rectangle that they share, which is at least 16 x 16 pixels
with 16 colours. The same ground on another date or resampled is not seen.

The page of --html is one file that works without a network: the verdict, the
counts as pictures, tiles and masks, and each finding with what it is about.

With --backend dask, ray or spark the work is done by a cluster that sees
DATA_DIR under the same path; for dask, DASK_SCHEDULER_ADDRESS names it.

Exit status: 0 without errors (there may be warnings), 1 with errors or when
the archives cannot be read at all, 2 for wrong usage.""",
    )
    parser.add_argument("data_dir", metavar="DATA_DIR", help="folder of archives: train.zip and so on")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the whole report to this file too")
    parser.add_argument("--html", metavar="FILE", type=Path, help="write a page with pictures to this file")
    parser.add_argument(
        "--num-proc", metavar="N", type=int, help="processes that work on this machine (default: one for each core)"
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="loky",
        help="who works: this machine (loky, the default) or a cluster, through joblib",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.num_proc is not None and options.num_proc < 1:
        parser.error(f"--num-proc is {options.num_proc}; it is 1 at least")
    for option, file in (("--json", options.json), ("--html", options.html)):
        if file and (file.is_dir() or not file.parent.is_dir()):
            parser.error(f"{option} is {file}; name a file in a folder that is there")
        if file and file.parent.resolve() == Path(options.data_dir).resolve() and _is_of_archives(file.name):
            parser.error(f"{option} is {file}, which is audited, and would be lost; name another file")
    if options.html and options.json and options.html.resolve() == options.json.resolve():
        parser.error(f"--json and --html are both {options.html}; name two files")
    errors = 0

    def check() -> None:
        nonlocal errors
        found = audit(options.data_dir, Workers(options.num_proc, options.backend, progress=True))
        errors = found.errors
        # Of a pipe, rich would take the width of the terminal that stands at another of its streams.
        console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
        for table in tables(found):
            with console.capture() as captured:
                console.print(table)
            say("\n".join(map(str.rstrip, captured.get().splitlines())) + "\n")
        say(verdict(found))
        if options.json:
            _write(options.json, json.dumps(found.as_json(), indent=2) + "\n")
        if options.html:
            _write(options.html, report_page(found, options.data_dir, progress=True))

    status = run(parser.prog, check, (ArchiveError, BackendError, OSError))
    return status or int(errors > 0)


if __name__ == "__main__":
    sys.exit(main())
