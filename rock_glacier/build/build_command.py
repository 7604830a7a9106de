"""Command line: build archives, and report what they hold."""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rock_glacier.console import add_options, count, megabytes, note, positive, run, say

if TYPE_CHECKING:
    from rock_glacier.curation.build import Built


def _ratios(text: str) -> tuple[float, ...]:
    try:
        ratios = tuple(float(part) for part in text.split(":"))
    except ValueError:
        ratios = ()
    if len(ratios) != 3 or not all(0 < ratio < math.inf for ratio in ratios):
        raise argparse.ArgumentTypeError(f"{text!r} is not three numbers above 0 with colons, such as 70:10:20")
    return ratios


def _class_of_prefix(text: str) -> tuple[str, str]:
    from rock_glacier_dataset import CLASS_NAMES

    prefix, _, name = text.rpartition("=")
    if not prefix or name not in CLASS_NAMES:
        classes = " and ".join(CLASS_NAMES)
        raise argparse.ArgumentTypeError(
            f"{text!r} is not PREFIX=CLASS, such as glaciarRoca=glaciar; the classes are {classes}"
        )
    return prefix, name


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
Build archives in splits that share no ground, from folders of tiles and masks
or from archives. Tiles become RGBA, masks white and black; ids are numbered
per split and class in the natural order of the sources. Writes manifest.json
and grounds.csv as well: each tile's source, and its ground, block and place.

Tiles that overlap, or show the same ground on another date, are of one ground.
Where whole grounds cannot give every split its share of both classes, straight
lines cut the largest into blocks. Tiles across a line between two splits are
left out; dropped.csv names them.""",
        epilog="""\
TILES holds archives (train.zip, val.zip, test.zip), or PNG files of 128 x 128
pixels, RGB or RGBA: in folders called cordillera and glaciar, or with the class
before each name; perhaps in folders called train, validation or val, and test.
A mask lies in a folder called masks, or below --masks, and has its tile's name,
perhaps with _m behind it or mask_ before it.

  python scripts/build_archives.py tiles data --masks masks --class glaciarRoca=glaciar
  python scripts/audit_archives.py data

The same files, options and seed give the same bytes with the same versions of
numpy, scipy, Pillow, zlib, OpenCV and faiss. Prints a line for each split and
archive, and last the number of tiles left out, if there are any. Exit status:
0 when all is written, 1 when something failed (OUT is as it was before), 2 for
wrong usage.""",
    )
    parser.add_argument("tiles", metavar="TILES", type=Path, help="folder of tiles, or of archives")
    add_options(parser, "out")
    parser.add_argument("--masks", metavar="DIR", type=Path, help="folder of masks, where they do not lie in TILES")
    parser.add_argument(
        "--class",
        dest="prefixes",
        metavar="PREFIX=CLASS",
        type=_class_of_prefix,
        action="append",
        default=[],
        help="files whose names begin with PREFIX, and folders of this name, are of this class; may be given often",
    )
    parser.add_argument(
        "--split",
        choices=("ground", "random", "keep"),
        default="ground",
        help="ground: by whole grounds or blocks of them; random: each tile by itself; keep: as the folders or "
        "archives say (default: %(default)s)",
    )
    parser.add_argument(
        "--ratios",
        metavar="T:V:E",
        type=_ratios,
        help="numbers of tiles in train, validation and test, to scale (default: as in the release)",
    )
    parser.add_argument(
        "--shards", metavar="K", type=positive, default=1, help="archives of each split (default: %(default)s)"
    )
    add_options(parser, "--overwrite", "--seed", "--num-proc", "--dask")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    prefixes = dict(options.prefixes)
    for prefix, name in options.prefixes:
        if prefixes[prefix] != name:
            parser.error(f"--class gives {prefix} two classes, {name} and {prefixes[prefix]}")

    def build() -> None:
        from rock_glacier.curation.build import build_archives
        from rock_glacier.parallel import Workers

        built = build_archives(
            options.tiles,
            options.out,
            masks=options.masks,
            prefixes=prefixes,
            split=options.split,
            ratios=options.ratios,
            shards=options.shards,
            seed=options.seed,
            overwrite=options.overwrite,
            workers=Workers(options.num_proc, options.dask, progress=True),
        )
        for line in _results(built):
            say(line)
        for line in _warnings(built, options.split):
            note(f"{parser.prog}: warning: {line}")

    message = "interrupted; nothing was written"
    return run(parser.prog, build, if_interrupted=message, extra="curate")


def _results(built: Built) -> Iterator[str]:
    """Yield a line for each result."""
    from rock_glacier.curation.build import DROPPED_NAME
    from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES

    counts, facts, grounds, splits = built.counts, built.facts, built.positions.ground.tolist(), built.assigned.splits
    read = Counter(source.class_name for source in built.sources)
    of_classes = ", ".join(f"{read[name]:,} {name}" for name in CLASS_NAMES)
    yield f"tiles: {of_classes}; {sum(one.tile_changed for one in facts):,} made RGBA"
    masks = sum(one.has_mask for one in facts)
    changed = sum(one.mask_changed for one in facts)
    cut = f", {n:,} of which had greys, cut at half" if (n := sum(one.mask_cut for one in facts)) else ""
    yield f"masks: {masks:,}; {changed:,} made white and black{cut}" if masks else "masks: none"
    ground, size = Counter(grounds).most_common(1)[0]
    first = built.sources[grounds.index(ground)].name
    yield f"grounds: {len(set(grounds)):,}; the largest has {count(size, 'tile')}, such as {first}"
    for number, split in enumerate(SPLIT_NAMES):
        of_split = {one for one, its in zip(grounds, splits, strict=True) if its == number}
        tiles = (
            f"{n:,} {name} (target {round(target, 1):,g})"
            for name, n, target in zip(CLASS_NAMES, counts[number], built.target[number], strict=True)
        )
        yield f"{split}: {', '.join(tiles)}; {count(len(of_split), 'ground')}"
    for archive in built.archives:
        yield f"{archive.name}: {count(archive.tiles, 'tile')}, {megabytes(archive.bytes)}"
    yield f"audit: {count(built.audit.errors, 'error')}, {count(built.audit.warnings, 'warning')}"
    if dropped := int((splits < 0).sum()):
        yield f"left out: {count(dropped, 'tile')}, {dropped / len(splits):.1%} of all; {DROPPED_NAME} names them"


def _warnings(built: Built, mode: str) -> Iterator[str]:
    """Yield a line for each departure from the targets and each warning of the audit, and last what would help."""
    import numpy as np

    from rock_glacier.audit.findings import ERROR, SHARED_GROUND
    from rock_glacier.curation.blocks import TOLERANCE
    from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES

    yield from built.assigned.notes
    for number, label in np.argwhere((built.target > 0) & (built.counts == 0)) if mode != "ground" else ():
        yield f"{CLASS_NAMES[label]}: {SPLIT_NAMES[number]} has none"
    facts = list(zip((source.name for source in built.sources), built.facts, strict=True))
    for what, names in {
        "with transparent pixels": [name for name, one in facts if not one.is_opaque],
        "of one colour, whose ground cannot be found": [name for name, one in facts if one.is_flat],
    }.items():
        if names:
            yield f"{count(len(names), 'tile')} {what}, the first {names[0]}"
    leaks = Counter(one.code for one in built.audit.findings if one.severity == ERROR)
    for code, what in SHARED_GROUND.items():
        if leaks[code]:
            yield f"--split {mode} leaks: {count(leaks[code], what)} across splits; use --split ground"
    others = [one.message for one in built.audit.findings if one.severity != ERROR]
    if others:
        more = f" (and {len(others) - 1:,} more, which audit_archives.py lists)" if others[1:] else ""
        yield f"{others[0]}{more}"
    off = abs(built.counts - built.target)
    if mode == "ground" and (off > np.maximum(TOLERANCE * built.target, 1)).any():
        places = {*zip((source.class_name for source in built.sources), built.positions.ground.tolist(), strict=True)}
        number = Counter(name for name, _ in places)
        remedy = f"add tiles of other grounds ({', '.join(f'{name} has {number[name]}' for name in CLASS_NAMES)})"
        worst = int((off / np.maximum(built.target, 1)).sum(0).argmax())
        if built.counts[:, worst].all():
            ratios = ":".join(map(str, built.counts[:, worst]))
            remedy += f", or ask for what {CLASS_NAMES[worst]} allows, --ratios {ratios}"
        yield f"the splits are far from what was asked; {remedy}"
