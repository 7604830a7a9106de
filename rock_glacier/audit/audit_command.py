"""Command line of the audit."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from rock_glacier.console import add_options, output_file, run, say, show


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
Check a folder of archives and report every fault: archives, names, PNG files,
masks, the manifest, duplicate tiles (also turned or mirrored), tiles of two
splits that show the same ground, and a grounds.csv that contradicts them.""",
        epilog="""\
Two tiles overlap when under some turn, at some offset, they are identical over
the rectangle in which they lie on each other, at least 16 x 16 pixels with 16
colours. The same ground on another date is found by matching local features.
Flat snow and shadow, another scale, and a rotation that is no quarter turn are
out of reach.

The page of --html is one file that needs no network: the verdict, the counts,
the largest grounds as mosaics, tiles with their masks, and the findings with
their tiles, by code and ground; of a pair, the second is turned to fit.

Exit status: 0 without errors (there may be warnings), 1 with errors or where
the archives cannot be read at all, 2 for wrong usage.""",
    )
    add_options(parser, "data_dir")
    parser.add_argument("--json", metavar="FILE", type=output_file, help="write the whole report to this file")
    parser.add_argument("--html", metavar="FILE", type=output_file, help="write a page with pictures to this file")
    parser.add_argument(
        "--without-same-ground",
        action="store_true",
        help="search for shared ground by identical pixels only, which is much faster",
    )
    add_options(parser, "--num-proc", "--dask")
    options = parser.parse_args(arguments)
    for option, file in (("--json", options.json), ("--html", options.html)):
        is_part = file and (file.suffix in (".zip", ".csv") or file.name == "manifest.json")
        if is_part and file.resolve().parent == Path(options.data_dir).resolve():
            parser.error(f"{option} is {file}, in the folder that is audited; name another file")
    if options.html and options.json and options.html.resolve() == options.json.resolve():
        parser.error(f"--json and --html are both {options.html}; name two files")

    errors = 0

    def check() -> None:
        nonlocal errors
        from rock_glacier.audit.checks import audit
        from rock_glacier.audit.page import report_page
        from rock_glacier.audit.tables import report_lines
        from rock_glacier.files import write_file
        from rock_glacier.parallel import Workers

        workers = Workers(options.num_proc, options.dask, progress=True)
        found = audit(options.data_dir, workers, same_ground=not options.without_same_ground)
        errors = found.errors
        for line in report_lines(found):
            show(line)
        if options.json:
            write_file(options.json, json.dumps(found.as_json(), indent=2) + "\n")
            say(f"wrote {options.json}")
        if options.html:
            write_file(options.html, report_page(found))
            say(f"wrote {options.html}")

    return run(parser.prog, check, extra="curate") or int(errors > 0)
