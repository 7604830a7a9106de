#!/usr/bin/env python
"""Build contract archives from a folder of tiles, so that no ground is in two splits.

    python scripts/build_archives.py tiles data --masks masks --class glaciarRoca=glaciar
    python scripts/audit_archives.py data

Tiles cut from one scene overlap. Where one is trained on and the other tested on, the test measures memory. By default
all tiles that are connected by overlaps are therefore dealt to one split, as are tiles that are one another, turned or
mirrored. `--split random` and `--split keep` are there to compare with, and say how much leaks.

The same files, options and seed give the same bytes, with the same versions of numpy, Pillow and zlib.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import csv
import os
import re
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from archive_audit import Audit, audit
from contract_archives import Tile, WrittenArchive, archive_name, member_name, write_manifest, write_split
from tile_folders import ReadTile, SourceTile, TileFolderError, find_tiles, pair_masks, read_tile
from tile_splits import Counts, TooLarge, asked_counts, connected_groups, deal, groups_too_large, numbered, tile_counts
from tqdm import tqdm

from rock_glacier.console import run, say
from rock_glacier.files import new_output_folder
from rock_glacier.parallel import Workers
from rock_glacier_dataset import CLASS_NAMES, RELEASE_SIZES, SPLIT_NAMES, ArchiveError, RockGlacierDataset

SPLIT_MODES = ("overlap-free", "random", "keep")

GROUPS_NAME = "groups.csv"

RELEASE_RATIOS = tuple(Fraction(RELEASE_SIZES[split]) for split in SPLIT_NAMES)

TOOL = f"build_archives.py {RockGlacierDataset.VERSION}"
"""What the manifest names as the tool of the audit."""

_PART = 512
"""Tiles that are read at a time, so that memory does not grow with their number."""

_LEAKS = ("overlap-across-splits", "duplicate-pixels")
"""Findings of what two splits share."""


class Built(NamedTuple):
    """What was built.

    Attributes:
        tiles: number of tiles of each class.
        tiles_converted: number of tiles whose files were not RGBA.
        masks: number of masks; None where no masks were given.
        masks_converted: number of masks whose files were not opaque, black and white RGBA.
        groups: number of groups.
        largest: number of tiles in the largest group, and the source of its first.
        asked: tiles that were asked for, int64 of shape (splits, classes).
        got: tiles that each split has; the same shape.
        split_groups: number of groups that have tiles in each split.
        too_large: groups that alone have more tiles of a class than their split was to have, each with the source of
            its first tile.
        lacking: splits without a class that they were to have: split, class, and the tiles of the smallest group that
            has any of it, with the source of its first tile.
        archives: the archives, in the order in which they were written.
        audit: the audit of the archives.
    """

    tiles: dict[str, int]
    tiles_converted: int
    masks: int | None
    masks_converted: int
    groups: int
    largest: tuple[int, str]
    asked: Counts
    got: Counts
    split_groups: list[int]
    too_large: list[tuple[TooLarge, str]]
    lacking: list[tuple[str, str, int, str]]
    archives: list[WrittenArchive]
    audit: Audit


class _Conversion:
    """Reads tiles in the form that the archives hold, and keeps count.

    Args:
        num_proc: number of processes; by default one for each core.
        progress: whether to show a progress bar on standard error.

    Attributes:
        looks: what makes each tile itself, turned or mirrored.
        tiles_converted: number of tiles that had another form.
        masks_converted: number of masks that had another form.
    """

    def __init__(self, num_proc: int | None, progress: bool) -> None:
        self._workers = Workers(num_proc)  # without bars of their own, which would start anew with each part
        self._progress = progress
        self.looks: list[bytes] = []
        self.tiles_converted = self.masks_converted = 0

    def read(self, tiles: Sequence[SourceTile]) -> Iterator[ReadTile]:
        """Yield the tiles in their order; raise the first fault in that order, whichever process finds it."""
        with tqdm(
            total=len(tiles), desc="Reading tiles", unit=" tiles", disable=not self._progress, leave=False
        ) as bar:
            for start in range(0, len(tiles), _PART):
                part = [(tile,) for tile in tiles[start : start + _PART]]
                for one in self._workers.run("Reading tiles", _read_or_fault, part):
                    if isinstance(one, TileFolderError):
                        raise one
                    self.looks.append(one.look)
                    self.tiles_converted += one.image_converted
                    self.masks_converted += one.mask_converted
                    yield one
                    bar.update()


def _read_or_fault(tile: SourceTile) -> ReadTile | TileFolderError:
    try:
        return read_tile(tile)
    except TileFolderError as fault:
        return fault


def build_archives(
    tiles: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    masks: str | os.PathLike[str] | None = None,
    prefixes: Mapping[str, str] | None = None,
    split: str = SPLIT_MODES[0],
    ratios: Sequence[Fraction | int] = RELEASE_RATIOS,
    seed: int = 0,
    num_proc: int | None = None,
    progress: bool = False,
) -> Built:
    """Build contract archives, with manifest.json and groups.csv, from a folder of tiles.

    Args:
        tiles: folder of tiles, RGB or RGBA, as `tile_folders` finds them.
        out: the folder to make; it may exist when it is empty. It appears when it is complete, or not at all.
        masks: folder of masks; without it, archives of tiles alone are built, for `image-classification`.
        prefixes: the class of folders of this name, and of files whose names begin so.
        split: "overlap-free" keeps each group in one split, "random" deals each tile by itself, "keep" leaves the
            tiles in the splits that their folders name.
        ratios: of train, validation and test, each above 0.
        seed: not negative; the same seed deals the same tiles to the same splits.
        num_proc: number of processes; by default one for each core.
        progress: whether to show progress bars on standard error.

    Returns:
        what was built.

    Raises:
        TileFolderError: a file of the folders does not fit, or they do not fit one another.
        ArchiveError: the archives that were built have a fault.
        FileExistsError: `out` exists and is not an empty folder; it stays as it is.
        OSError: the archives cannot be written.
    """
    tiles, out = Path(tiles), Path(out)
    prefixes = prefixes or {}
    sources = _find_sources(tiles, None if masks is None else Path(masks), out, prefixes)
    if split == "keep":
        _check_kept_splits(sources)
    labels = [CLASS_NAMES.index(source.class_name) for source in sources]
    asked = asked_counts([labels.count(label) for label in range(len(CLASS_NAMES))], ratios)
    conversion, workers = _Conversion(num_proc, progress), Workers(num_proc, progress=progress)
    with new_output_folder(out) as folder:
        with tempfile.TemporaryDirectory(prefix=".all-tiles-", dir=folder) as name:
            everything = Path(name)
            groups = _gather(sources, everything, conversion, workers)
            splits = _dealt(split, tiles, sources, groups, labels, ratios, seed)
            order = sorted(range(len(sources)), key=lambda number: (splits[number], number))
            archives, paths = _write_archives(folder, everything, sources, splits, order, masks is not None)
        found = audit(folder, workers)
        _check_audit(found, may_leak=split != SPLIT_MODES[0])
        report: dict[str, str | int] = {"tool": TOOL, "errors": found.errors, "warnings": found.warnings}
        version = str(RockGlacierDataset.VERSION)
        write_manifest(folder, version=version, splits=found.tiles, archives=archives, audit=report)
        in_order = numbered(groups[number] for number in order)
        _write_groups(folder / GROUPS_NAME, paths, in_order, [sources[number].name for number in order])
    too_large = groups_too_large(groups, labels, splits, asked) if split == SPLIT_MODES[0] else []
    largest, size = Counter(groups).most_common(1)[0]
    got = tile_counts(splits, labels)
    return Built(
        tiles={name: labels.count(label) for label, name in enumerate(CLASS_NAMES)},
        tiles_converted=conversion.tiles_converted,
        masks=None if masks is None else sum(source.mask is not None for source in sources),
        masks_converted=conversion.masks_converted,
        groups=len(set(groups)),
        largest=(size, sources[groups.index(largest)].name),
        asked=asked,
        got=got,
        split_groups=[
            len({group for group, place in zip(groups, splits, strict=True) if place == number})
            for number in range(len(SPLIT_NAMES))
        ],
        too_large=[(one, sources[groups.index(one.group)].name) for one in too_large],
        lacking=list(_lacking(sources, groups, labels, asked, got)),
        archives=archives,
        audit=found,
    )


def _find_sources(tiles: Path, masks: Path | None, out: Path, prefixes: Mapping[str, str]) -> list[SourceTile]:
    """Find tiles and masks, in the order class, then natural order."""
    for folder in filter(None, (tiles, masks)):
        if out.resolve() != folder.resolve() and out.resolve().is_relative_to(folder.resolve()):
            raise TileFolderError(f"{out}: lies in {folder}, which is read; name a folder outside")
    if masks is not None and masks.resolve() == tiles.resolve():
        raise TileFolderError(f"{masks}: is the folder of tiles too; put the masks into a folder of their own")
    found = find_tiles(tiles, prefixes, leave_out=[] if masks is None else [masks])
    if masks is not None:
        found = pair_masks(found, tiles, masks, prefixes, leave_out=[tiles])
    return sorted(found, key=lambda tile: CLASS_NAMES.index(tile.class_name))


def _check_kept_splits(sources: Sequence[SourceTile]) -> None:
    remedy = "put it into a folder called " + ", ".join(SPLIT_NAMES[:-1]) + f" or {SPLIT_NAMES[-1]}"
    for source in sources:
        if source.split is None:
            raise TileFolderError(f"{source.path}: no folder says its split; {remedy}, or leave out --split keep")
    for split in SPLIT_NAMES:
        if all(source.split != split for source in sources):
            raise TileFolderError(
                f"{split}: has no tiles; put some into a folder of this name, or leave out --split keep"
            )


def _gather(sources: Sequence[SourceTile], folder: Path, conversion: _Conversion, workers: Workers) -> list[int]:
    """Write all tiles, converted, into one archive, and find the groups of those that share their ground."""
    ids = _ids(sources, [0] * len(sources))
    tiles = (
        Tile(source.class_name, tile_id, read.image, read.mask)
        for source, tile_id, read in zip(sources, ids, conversion.read(sources), strict=True)
    )
    write_split(folder, SPLIT_NAMES[0], tiles, count=len(sources))
    found = audit(folder, workers)
    by_overlap = [
        found.groups[member_name(SPLIT_NAMES[0], source.class_name, tile_id)]
        for source, tile_id in zip(sources, ids, strict=True)
    ]
    return connected_groups(by_overlap, conversion.looks)


def _ids(sources: Sequence[SourceTile], splits: Sequence[int]) -> list[int]:
    """Number the tiles of each split and class from 0, in their order."""
    given: Counter[tuple[int, str]] = Counter()
    ids = []
    for source, split in zip(sources, splits, strict=True):
        ids.append(given[split, source.class_name])
        given[split, source.class_name] += 1
    return ids


def _dealt(
    mode: str,
    folder: Path,
    sources: Sequence[SourceTile],
    groups: Sequence[int],
    labels: Sequence[int],
    ratios: Sequence[Fraction | int],
    seed: int,
) -> list[int]:
    """Return the number of each tile's split."""
    if mode == "keep":
        return [SPLIT_NAMES.index(source.split or "") for source in sources]
    dealt = groups if mode == SPLIT_MODES[0] else range(len(sources))
    if len(set(dealt)) < len(SPLIT_NAMES):
        kind = "groups of tiles that share no ground" if mode == SPLIT_MODES[0] else "tiles"
        raise TileFolderError(
            f"{folder}: holds {len(set(dealt))} {kind}, too few for {len(SPLIT_NAMES)} splits; "
            "add tiles of other ground"
        )
    return [int(split) for split in deal(dealt, labels, ratios, seed)]


def _write_archives(
    folder: Path,
    everything: Path,
    sources: Sequence[SourceTile],
    splits: Sequence[int],
    order: Sequence[int],
    with_masks: bool,
) -> tuple[list[WrittenArchive], list[str]]:
    """Write the archives of each split from the archive of all tiles; return them, and the tiles' paths in order."""
    ids, before = _ids(sources, splits), _ids(sources, [0] * len(sources))
    archives: list[WrittenArchive] = []
    with (
        zipfile.ZipFile(everything / archive_name(SPLIT_NAMES[0])) as all_tiles,
        zipfile.ZipFile(everything / archive_name(SPLIT_NAMES[0], masks=True)) as all_masks,
    ):

        def tiles_of(numbers: Sequence[int]) -> Iterator[Tile]:
            for number in numbers:
                source = sources[number]
                member = member_name(SPLIT_NAMES[0], source.class_name, before[number])
                mask = None if source.mask is None else all_masks.read(member)
                yield Tile(source.class_name, ids[number], all_tiles.read(member), mask)

        for place, split in enumerate(SPLIT_NAMES):
            numbers = [number for number in order if splits[number] == place]
            archives += write_split(folder, split, tiles_of(numbers), count=len(numbers), masks=with_masks)
    paths = [member_name(SPLIT_NAMES[splits[n]], sources[n].class_name, ids[n]) for n in order]
    return archives, paths


def _lacking(
    sources: Sequence[SourceTile], groups: Sequence[int], labels: Sequence[int], asked: Counts, got: Counts
) -> Iterator[tuple[str, str, int, str]]:
    """Yield the splits that got no tile of a class, as `Built.lacking` has them."""
    for label, name in enumerate(CLASS_NAMES):
        sizes = Counter(group for group, its in zip(groups, labels, strict=True) if its == label)
        for place, split in enumerate(SPLIT_NAMES):
            if asked[place, label] and not got[place, label]:
                group, size = min(sizes.items(), key=lambda one: (one[1], one[0]))
                yield split, name, size, sources[groups.index(group)].name


def _check_audit(found: Audit, *, may_leak: bool) -> None:
    """Raise ArchiveError for what the archives must not have."""
    errors = [
        finding
        for finding in found.findings
        if finding.severity == "error" and not (may_leak and finding.code in _LEAKS)
    ]
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise ArchiveError(f"{errors[0].message}{more}", errors[0].code, errors[0].path)


def _write_groups(path: Path, paths: Sequence[str], groups: Sequence[int], names: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "group", "source"])
        writer.writerows(zip(paths, groups, names, strict=True))


# --------------------------------------------------------------------------------------------------- the command line


def class_of_prefix(text: str) -> tuple[str, str]:
    """Read what `--class` is given.

    Example:
        >>> class_of_prefix("glaciarRoca=glaciar")
        ('glaciarRoca', 'glaciar')
    """
    prefix, _, name = text.rpartition("=")
    if not prefix or name not in CLASS_NAMES:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not PREFIX=CLASS, such as glaciarRoca=glaciar; the classes are {' and '.join(CLASS_NAMES)}"
        )
    return prefix, name


def add_class_option(parser: argparse.ArgumentParser) -> None:
    """Add `--class`, which says by which prefix of its name a tile is of which class."""
    parser.add_argument(
        "--class",
        dest="prefixes",
        metavar="PREFIX=CLASS",
        type=class_of_prefix,
        action="append",
        default=[],
        help="files whose names begin with PREFIX, and folders of this name, are of this class; the longest PREFIX "
        "counts; may be given several times",
    )


_RATIO = re.compile(r"\d{1,15}(\.\d{1,15}|/\d{1,15})?")  # without exponent, whose number may fill the memory


def ratios_of(text: str) -> tuple[Fraction, ...]:
    """Read what `--ratios` is given.

    Example:
        >>> ratios_of("70:10:20")
        (Fraction(70, 1), Fraction(10, 1), Fraction(20, 1))
    """
    try:
        ratios = tuple(Fraction(part) for part in text.split(":") if _RATIO.fullmatch(part))
    except (ValueError, ZeroDivisionError):
        ratios = ()
    if len(ratios) != len(SPLIT_NAMES) or min(ratios) <= 0:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not three numbers above 0 with colons between them, such as 70:10:20"
        )
    return ratios


def _parser() -> argparse.ArgumentParser:
    release = ":".join(str(RELEASE_SIZES[split]) for split in SPLIT_NAMES)
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
Build contract archives from a folder of tiles: RGBA tiles, opaque black and
white masks, ids numbered per class in natural order, manifest.json, and
groups.csv, which says what each tile was called and which tiles share ground.
Tiles that share ground are dealt to one split.""",
        epilog=f"""\
TILES holds PNG files of 128 x 128 pixels, RGB or RGBA: in class folders
({", ".join(CLASS_NAMES)}), or flat with the class before each name; perhaps in
split folders ({", ".join(SPLIT_NAMES)}). A mask has its tile's name, perhaps
with _m behind or mask_ before it.

  python scripts/build_archives.py tiles data --masks masks --class glaciarRoca=glaciar
  python scripts/audit_archives.py data

The same files, options and seed give the same bytes. Prints a line for each
split and each archive. Exit status: 0 when all is written, 1 when it is not, in
which case OUT is as it was before, 2 for wrong usage.""",
    )
    parser.add_argument("tiles", metavar="TILES", type=Path, help="folder of tiles")
    parser.add_argument("out", metavar="OUT", help="the folder to make; it may exist when it is empty")
    parser.add_argument(
        "--masks", metavar="DIR", type=Path, help="folder of masks; without it, tiles alone, for image-classification"
    )
    add_class_option(parser)
    parser.add_argument(
        "--split",
        choices=SPLIT_MODES,
        default=SPLIT_MODES[0],
        help="overlap-free: tiles that share ground go to one split; random: each tile by itself; keep: as the folders "
        "say (default: %(default)s)",
    )
    parser.add_argument(
        "--ratios",
        metavar="T:V:E",
        type=ratios_of,
        default=RELEASE_RATIOS,
        help=f"of the tiles in {', '.join(SPLIT_NAMES)} (default: {release}, as in the release)",
    )
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="seed of the dealing (default: %(default)s)")
    parser.add_argument(
        "--num-proc", metavar="N", type=int, default=None, help="number of processes (default: one for each core)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.seed < 0:
        parser.error(f"--seed is {options.seed}; it is 0 at least")
    if options.num_proc is not None and options.num_proc < 1:
        parser.error(f"--num-proc is {options.num_proc}; it is 1 at least")
    prefixes = dict(options.prefixes)
    for prefix, name in options.prefixes:
        if prefixes[prefix] != name:
            parser.error(f"--class gives {prefix} two classes, {name} and {prefixes[prefix]}")

    def build() -> None:
        built = build_archives(
            options.tiles,
            options.out,
            masks=options.masks,
            prefixes=prefixes,
            split=options.split,
            ratios=options.ratios,
            seed=options.seed,
            num_proc=options.num_proc,
            progress=True,
        )
        for line in result_lines(built):
            say(line)
        for line in warning_lines(built, options.split):
            print(f"{parser.prog}: warning: {line}", file=sys.stderr)

    return run(
        parser.prog,
        build,
        (TileFolderError, ArchiveError, OSError, concurrent.futures.BrokenExecutor),
        if_interrupted="interrupted; nothing was written",
    )


def result_lines(built: Built) -> Iterator[str]:
    """Yield what to say of what was built, a line for each result."""
    counts = ", ".join(f"{count} {name}" for name, count in built.tiles.items())
    yield f"tiles: {counts}; {built.tiles_converted} made RGBA"
    if built.masks is None:
        yield "masks: none; the archives are for image-classification alone"
    else:
        yield f"masks: {built.masks}; {built.masks_converted} made opaque black and white"
    size, first = built.largest
    yield f"groups: {built.groups}; the largest has {_count(size, 'tile')}, the first {first}"
    for split, asked, got, groups in zip(SPLIT_NAMES, built.asked, built.got, built.split_groups, strict=True):
        of_classes = (
            f"{number} {name} (asked {wanted})" for name, number, wanted in zip(CLASS_NAMES, got, asked, strict=True)
        )
        yield f"{split}: {', '.join(of_classes)}; {_count(groups, 'group')}"
    off = abs(built.got - built.asked)
    most = tuple(int(place) for place in divmod(int(off.argmax()), off.shape[1]))
    where = f"at most {off.max()} off what was asked, {CLASS_NAMES[most[1]]} in {SPLIT_NAMES[most[0]]}"
    yield f"split: {where if off.any() else 'just as asked'}"
    for archive in built.archives:
        kind = "mask" if "_masks" in archive.name else "tile"
        yield f"{archive.name}: {_count(archive.members, kind)}, {archive.bytes} bytes"
    yield f"audit: {_count(built.audit.errors, 'error')}, {_count(built.audit.warnings, 'warning')}"


def warning_lines(built: Built, mode: str) -> Iterator[str]:
    """Yield what to warn of."""
    for one, source in built.too_large:
        yield (
            f"the group of {source} has {one.tiles} {one.class_name} tiles, {one.tiles - one.asked} more than "
            f"{one.split} was to have; it was kept whole"
        )
    for split, class_name, tiles, source in built.lacking:
        yield (
            f"{split} has no {class_name} tiles; the smallest group of them, that of {source}, has {tiles}, and is "
            "kept whole"
        )
    leaks = Counter(finding.code for finding in built.audit.findings if finding.severity == "error")
    remedy = f"use --split {SPLIT_MODES[0]}"
    for code, what in zip(_LEAKS, ("pairs of tiles show the same ground", "tiles are doubles of others"), strict=True):
        if leaks[code]:
            yield f"--split {mode} leaks: {leaks[code]} {what} across splits; {remedy}"
    warnings = [finding.message for finding in built.audit.findings if finding.severity == "warning"]
    if warnings:
        more = f" (and {len(warnings) - 1} more, which audit_archives.py lists)" if warnings[1:] else ""
        yield f"{warnings[0]}{more}"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


if __name__ == "__main__":
    sys.exit(main())
