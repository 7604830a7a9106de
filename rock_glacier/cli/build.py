"""The command `build`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from rock_glacier import output
from rock_glacier.cli.options import (
    UsageError,
    add_num_proc,
    add_out,
    add_outlines,
    add_seed,
    to_number,
)

if TYPE_CHECKING:
    from rock_glacier.build.build import Built, SplitOptions

HELP = "Build archives from folders of tiles and masks, in splits that share no ground"

_EPILOG = """\
TILES holds archives (train.zip, val.zip, test.zip), or PNG files of 128 x 128 pixels, RGB or
RGBA: in folders named cordillera and glaciar, or with the class at the beginning of each name.
Masks are in folders named masks, or below --masks. A mask is named like its tile, with or
without _m at the end.

--split keep leaves each tile in the split that its folder or archive names (train, val or
validation, test), and counts the pairs of tiles that share ground across splits. Use it if the
splits were made with care.
--split sites keeps tiles that share ground in one split. Sites that are too large are cut by
straight lines; tiles on a line between two splits are dropped and listed in OUT/dropped.csv.
--split random assigns single tiles. Splits then share ground, and scores are too high.

  rock-glacier build tiles data --masks masks --class rocoso=glaciar
  rock-glacier audit data
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("tiles", metavar="TILES", type=Path, help="folder of tiles or of archives")
    add_out(parser)
    parser.add_argument(
        "--masks", metavar="DIR", type=Path, help="folder of masks, if they are not below TILES"
    )
    parser.add_argument(
        "--class",
        dest="prefixes",
        metavar="PREFIX=CLASS",
        type=_prefix,
        action="append",
        default=[],
        help="class of files whose names begin with PREFIX and of folders with this name; "
        "may be given more than once",
    )
    parser.add_argument(
        "--split",
        choices=("keep", "sites", "random"),
        default="sites",
        help="how to assign tiles to splits, see below (default: %(default)s)",
    )
    parser.add_argument(
        "--ratios",
        metavar="A:B:C",
        type=_ratios,
        help="relative sizes of train, validation and test, such as 70:10:20 "
        "(default: as in the release)",
    )
    parser.add_argument(
        "--buffer",
        metavar="METRES",
        type=_metres,
        default=0.0,
        help="distance to keep between tiles of a site in different splits; needs --split sites",
    )
    add_outlines(
        parser,
        "locate the tiles by their masks, and keep sites with intersecting footprints together",
    )
    add_seed(parser)
    add_num_proc(parser)


def run(options: argparse.Namespace) -> int | None:
    """Build the archives, and print the number of tiles of each split."""
    if options.split == "keep" and options.ratios:
        raise UsageError("--ratios cannot be combined with --split keep")
    if options.split != "sites" and options.buffer:
        raise UsageError("--buffer needs --split sites")

    from rock_glacier.build.build import SplitOptions, build_archives
    from rock_glacier.parallel import Workers
    from rock_glacier.places.outlines import PIXEL, read_outlines
    from rock_glacier_dataset import RELEASE_SIZES

    outlines = None
    if options.outlines:
        outlines = read_outlines(options.outlines)
    split_options = SplitOptions(
        method=options.split,
        ratios=options.ratios or tuple(RELEASE_SIZES.values()),
        buffer=options.buffer / PIXEL,
        seed=options.seed,
        outlines=outlines,
    )
    workers = Workers()
    if options.num_proc:
        workers = Workers(options.num_proc)
    built = build_archives(
        options.tiles,
        options.out,
        masks=options.masks,
        prefixes=dict(options.prefixes),
        options=split_options,
        workers=workers,
    )
    _print_counts(built, split_options)
    _print_notes(built, split_options)
    return None


def _print_counts(built: Built, options: SplitOptions) -> None:
    """Print a table with a row for each split, and a line about dropped tiles."""
    from rock_glacier.build.build import DROPPED_NAME
    from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES

    tiles = built.tiles
    kept = tiles["path"].notna().sum()
    header = "".join(f"{name:>12}" for name in (*CLASS_NAMES, "tiles", "target", "sites"))
    output.text(f"{'split':<12}{header}")
    for split, ratio in zip(SPLIT_NAMES, options.ratios, strict=True):
        counts = built.audit.counts[split]
        row = "".join(f"{counts[label]:>12,}" for label in CLASS_NAMES)
        target = "-"
        if options.method != "keep":
            target = f"{ratio / sum(options.ratios) * kept:,.1f}"
        sites = tiles["site"][tiles["split"] == split].nunique()
        output.text(f"{split:<12}{row}{sum(counts.values()):>12,}{target:>12}{sites:>12,}")
    dropped = tiles[tiles["path"].isna()]
    if len(dropped):
        by_class = ", ".join(
            f"{(dropped['label'] == label).sum():,} {label}" for label in CLASS_NAMES
        )
        share = len(dropped) / len(tiles)
        output.text(
            f"dropped: {output.count(len(dropped), 'tile')} ({by_class}), {share:.1%} of all"
        )
        output.text(f"The dropped tiles are listed in {DROPPED_NAME}.")
    if options.outlines is not None:
        located = tiles["easting"].notna().sum()
        output.text(f"located: {located:,} of {output.count(len(tiles), 'tile')}")
        if located < len(tiles):
            output.text("For the reasons, run: rock-glacier audit OUT --outlines PATH")


def _print_notes(built: Built, options: SplitOptions) -> None:
    """Print a sentence for each problem that the user should know about."""
    from rock_glacier.build.splits import TOLERANCE, find_missed

    if built.masks_with_greys:
        masks = output.count(built.masks_with_greys, "mask")
        output.message(f"{masks} had grey pixels, which became white (128 or brighter) or black.")
    counts = [list(counts.values()) for counts in built.audit.counts.values()]
    if options.method == "sites" and find_missed(counts, options.ratios).any():
        output.message(
            f"Splits differ from their targets by more than {TOLERANCE:.0%}. "
            "To improve this, add tiles of other places."
        )
    across = int(built.audit.pairs["across"].sum())
    if across:
        pairs = output.count(across, "pair")
        output.message(
            f"{pairs} of tiles share ground across splits. `rock-glacier audit` lists them."
        )
    if built.audit.warnings:
        warnings = output.count(built.audit.warnings, "warning")
        output.message(f"{warnings}. `rock-glacier audit` shows the details.")


def _ratios(text: str) -> tuple[float, ...]:
    """Read three numbers above 0, separated by colons."""
    ratios = tuple(to_number(part) for part in text.split(":"))
    if len(ratios) != 3 or not all(0 < ratio < math.inf for ratio in ratios):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not three numbers above 0, separated by colons, such as 70:10:20"
        )
    return ratios


def _metres(text: str) -> float:
    metres = to_number(text)
    if not 0 <= metres < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a distance in metres")
    return metres


def _prefix(text: str) -> tuple[str, str]:
    """Read the class of a prefix."""
    from rock_glacier_dataset import CLASS_NAMES

    prefix, _, label = text.rpartition("=")
    if not prefix or label not in CLASS_NAMES:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not PREFIX=CLASS, such as rocoso=glaciar; "
            f"the classes are {' and '.join(CLASS_NAMES)}"
        )
    return prefix, label
