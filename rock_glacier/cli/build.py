"""The command `build`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rock_glacier import output
from rock_glacier.cli.options import UsageError, add_num_proc, add_out, add_seed

if TYPE_CHECKING:
    from rock_glacier.build.build import Built, SplitOptions

HELP = "Build archives from folders of tiles and masks, in splits that share no ground"

_EPILOG = """\
TILES holds archives (train.zip, val.zip, test.zip), or PNG files of 128 x 128 pixels, RGB or
RGBA: in folders named cordillera and glaciar, or with the class at the beginning of each name.
Masks are in folders named masks, or below --masks. A mask is named like its tile, with or
without _m behind it.

--split keep leaves each tile in the split that its folder or archive names (train, val or
validation, test), and reports pairs of tiles that share ground across splits. Use it for tiles
that were assigned with care, as in the release.
--split sites keeps tiles that share ground in one split. Sites that are too large are cut by
straight lines; tiles on a line between two splits are dropped and listed in OUT/dropped.csv.
--split random assigns single tiles. Splits then share ground, and scores are too high.

  rock-glacier build tiles data --masks masks --class rocoso=glaciar
  rock-glacier audit data
"""

# Width of a pixel of a tile on the ground, in metres.
_METRES_PER_PIXEL = 10


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
        "(default: those of the release)",
    )
    parser.add_argument(
        "--buffer",
        metavar="METRES",
        type=_metres,
        default=0.0,
        help="distance to keep between tiles of two splits of a site, with --split sites",
    )
    add_seed(parser)
    add_num_proc(parser)


def run(options: argparse.Namespace) -> int | None:
    """Build the archives, and print what they hold."""
    if options.split == "keep" and options.ratios:
        raise UsageError("--ratios does not go with --split keep")
    if options.split != "sites" and options.buffer:
        raise UsageError("--buffer needs --split sites")

    from rock_glacier.build.build import SplitOptions, build_archives
    from rock_glacier.parallel import Workers
    from rock_glacier_dataset import RELEASE_SIZES

    split_options = SplitOptions(
        method=options.split,
        ratios=options.ratios or tuple(RELEASE_SIZES.values()),
        buffer=options.buffer / _METRES_PER_PIXEL,
        seed=options.seed,
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
    for line in _describe(built, split_options):
        output.text(line)
    for note in _find_notes(built, split_options):
        output.message(note)
    return None


def _describe(built: Built, options: SplitOptions) -> Iterator[str]:
    """Yield a table with a row per split, and a line about dropped tiles."""
    from rock_glacier.build.build import DROPPED_NAME
    from rock_glacier.build.splits import target_counts
    from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES

    tiles = built.tiles
    counts = [[built.audit.counts[split][label] for label in CLASS_NAMES] for split in SPLIT_NAMES]
    targets = target_counts(counts, options.ratios)
    header = "".join(f"{label:>12}{'target':>10}" for label in CLASS_NAMES)
    if options.method == "keep":
        header = "".join(f"{label:>12}" for label in CLASS_NAMES)
    yield f"{'split':<12}{header}{'sites':>10}{'blocks':>10}"
    for number, split in enumerate(SPLIT_NAMES):
        row = f"{split:<12}"
        for label in range(len(CLASS_NAMES)):
            row += f"{counts[number][label]:>12,}"
            if options.method != "keep":
                row += f"{targets[number, label]:>10,.1f}"
        in_split = tiles[tiles["split"] == split]
        blocks = in_split[["site", "block"]].drop_duplicates()
        yield f"{row}{blocks['site'].nunique():>10,}{len(blocks):>10,}"
    dropped = tiles[tiles["path"].isna()]
    if len(dropped):
        share = len(dropped) / len(tiles)
        by_class = ", ".join(
            f"{(dropped['label'] == label).sum():,} {label}" for label in CLASS_NAMES
        )
        yield f"dropped: {output.count(len(dropped), 'tile')} ({by_class}), {share:.1%} of all"
        yield f"The dropped tiles are listed in {DROPPED_NAME}."


def _find_notes(built: Built, options: SplitOptions) -> Iterator[str]:
    """Yield a sentence on each thing that is not as it should be."""
    import numpy as np

    from rock_glacier.build.splits import TOLERANCE, find_missed
    from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES

    if built.masks_with_greys:
        yield f"{output.count(built.masks_with_greys, 'mask')} had greys, which were cut at half."
    if built.dropped_by_audit:
        dropped = output.count(built.dropped_by_audit, "tile")
        yield f"{dropped} dropped because only the audit found pairs between sites or blocks."
    counts = np.array([list(built.audit.counts[split].values()) for split in SPLIT_NAMES])
    for number, label in np.argwhere(counts == 0):
        yield f"The split {SPLIT_NAMES[number]} has no {CLASS_NAMES[label]} tile."
    missed = int(find_missed(counts, options.ratios).sum())
    if options.method == "sites" and missed:
        yield (
            f"{missed} of {counts.size} numbers differ from their targets by more than "
            f"{TOLERANCE:.0%}. Add tiles of other places to come closer."
        )
    across = int(built.audit.pairs["across"].sum())
    if across:
        yield (
            f"{output.count(across, 'pair')} of tiles share ground across splits. "
            "`rock-glacier audit` lists them."
        )
    if built.audit.warnings:
        yield f"{output.count(built.audit.warnings, 'warning')}. `rock-glacier audit` lists them."


def _ratios(text: str) -> tuple[float, ...]:
    """Read three numbers above 0 with colons between them."""
    ratios = tuple(float(part) for part in text.split(":"))
    if len(ratios) != 3 or not all(0 < ratio < math.inf for ratio in ratios):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not three numbers above 0 with colons between them, such as 70:10:20"
        )
    return ratios


def _metres(text: str) -> float:
    metres = float(text)
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
