"""Check archives, and write reports and the tile index."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

from rock_glacier import output
from rock_glacier.cli.options import add_data_dir, add_num_proc, add_outlines, output_file

HELP = "Check archives, find sites, and write the tile index and reports"

_EPILOG = """\
Checks archives, names, PNG files, masks, the manifest and the tile index of DATA_DIR, and finds
duplicate tiles, labels that contradict each other, and tiles of different splits that show the same
ground.

Two tiles overlap if they are identical in a common rectangle of at least 16 x 16 pixels with at
least 16 colours, in any of eight orientations. Two masks overlap if they are identical in a common
rectangle that shows enough of a rock glacier's edge. Matches are other pairs of tiles that show the
same ground, often on different dates; they are found with local features. Flat snow, shadow and
other scales are not detected.

With --outlines, groups of masks are placed on the outlines. This gives the coordinates of their
tiles and of the other tiles of their sites. Without --outlines, coordinates are read from the tile
index in DATA_DIR, if it fits the tiles. With coordinates, the report shows how far apart the splits
are.

With --dask, all workers need DATA_DIR and the folder for temporary files (TMPDIR) under the same
paths as this machine.

Exit status: 0 if there are no errors (warnings are possible), 1 if there are errors, 2 for wrong
usage."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    add_data_dir(parser)
    add_outlines(parser, "locate the tiles by their masks")
    parser.add_argument(
        "--index", metavar="FILE", type=output_file, help="write the tile index (GeoParquet)"
    )
    parser.add_argument(
        "--json", metavar="FILE", type=output_file, help="write all faults and pairs as JSON"
    )
    parser.add_argument(
        "--html", metavar="FILE", type=output_file, help="write a web page with pictures"
    )
    parser.add_argument(
        "--no-matches",
        action="store_true",
        help="search only for overlaps of tiles and of masks, not for matches; much faster",
    )
    add_num_proc(parser)
    parser.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="use the workers of this Dask scheduler, for example tcp://host:8786",
    )


def run(options: argparse.Namespace) -> int:
    """Audit a folder of archives; return 1 if there are errors."""
    from rock_glacier.audit.checks import check
    from rock_glacier.audit.report import report_lines
    from rock_glacier.parallel import Workers, count_cores
    from rock_glacier.sites import find_sites
    from rock_glacier.tiles import TileSet

    _check_archives(options.data_dir)
    outlines = None
    if options.outlines:
        from rock_glacier.places.outlines import read_outlines

        outlines = read_outlines(options.outlines)
    workers = Workers(options.num_proc or count_cores(), options.dask)
    with TileSet.read(options.data_dir, workers) as tiles:
        matches = not options.no_matches
        sites = find_sites(tiles, workers, matches=matches)
        audit = check(tiles, sites, outlines=outlines, matches=matches, workers=workers)
        for line in report_lines(audit):
            output.text(line)
        if options.index:
            from rock_glacier.index import write_index

            write_index(audit.index, options.index)
        if options.json:
            # `json.dumps` would need several times the memory: it joins a string for each token.
            report = io.StringIO()
            json.dump(audit.to_json(), report, indent=2)
            output.write_file(options.json, report.getvalue() + "\n")
        if options.html:
            from rock_glacier.audit.page import render_page

            output.write_file(options.html, render_page(audit, tiles))
    for file in (options.index, options.json, options.html):
        if file:
            output.message(f"Wrote {file}")
    return int(audit.errors > 0)


def _check_archives(data_dir: str) -> None:
    """Raise an error if a folder holds PNG files, as `build` reads them, but no archives."""
    from rock_glacier.faults import InputError

    folder = Path(data_dir)
    if not any(folder.glob("*.zip")) and any(folder.rglob("*.png")):
        raise InputError(
            f"{data_dir}: holds PNG files, not archives. "
            f"Make archives with: rock-glacier build {data_dir} OUT"
        )
