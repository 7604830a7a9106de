#!/usr/bin/env python
"""Make synthetic tiles and masks in archives: a stand-in for the dataset in tests, benchmarks and examples.

    python scripts/make_sample_archives.py sample
    python scripts/make_sample_archives.py release --train 7875 --validation 1125 --test 2700 --shards 4
    python scripts/make_sample_archives.py faulty --overlap 0.3 --faults

What comes out looks like the dataset and is none of it: the terrain is made up (see synthetic_terrain.py). About half
of each split's tiles are of each class, glaciar getting the odd one, so that a split of one tile is a glaciar tile and
has a mask. Tiles never overlap: each split, and each class in it, is cut from scenes of its own, along a grid. At least
3 % of a glaciar tile is rock glacier; nothing of a cordillera tile is, and it has no mask file.

audit_archives.py finds nothing in such a sample. Two options let it bite: `--overlap` cuts that share of the validation
and test tiles over the ground of train tiles, and `--faults` plants one of each fault (see planted_faults.py).

The same seed and sizes give the same bytes, however many processes work and however the tiles are dealt to shards;
other versions of numpy, Pillow or zlib may round or compress differently.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import itertools
import math
import os
import sys
import tempfile
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar

from tqdm import tqdm

from rock_glacier.archives.manifest import SAMPLE_VERSION, write_manifest
from rock_glacier.archives.writer import WrittenArchive, archive_name, mask_path, plan_shards, write_archive
from rock_glacier.console import run, say
from rock_glacier.files import new_output_folder
from rock_glacier.sample.faults import LEAST_TILES_FOR_FAULTS, describe_archives, plant_all
from rock_glacier.sample.tiles import CutTile, Scene, SharedGround, cut
from rock_glacier.sample.worker_pool import worker_pool
from rock_glacier_dataset import CLASS_NAMES, RELEASE_SIZES, SPLIT_NAMES

DEFAULT_SIZES = {"train": 70, "validation": 10, "test": 24}
"""Tiles in each split of a sample: about the proportions of the release, in a size for tests."""

SMALLEST_GRID = 2
"""Tiles along a side of the smallest scene; a rock glacier is longer than one tile is wide."""

LARGEST_GRID = 8
"""Tiles along a side of the largest scene; a larger one would save no time and take more memory."""

LEAST_TILES_FOR_POOL = 300
"""Starting processes costs more than it saves in a smaller sample."""

MOST_SHARING = 16
"""Tiles of other splits that share ground with train, for each train tile of their class; there is place for more."""

_Work = TypeVar("_Work")
_Result = TypeVar("_Result")


class Sample(NamedTuple):
    """What was made.

    Attributes:
        splits: How many tiles of each class each split has.
        archives: The archives, in the order in which they were written.
        faults: Where each fault lies that was planted, by its code.
    """

    splits: dict[str, dict[str, int]]
    archives: list[WrittenArchive]
    faults: dict[str, str]


def class_sizes(tiles: int) -> dict[str, int]:
    """Say how many tiles of each class are among `tiles`; the odd one is a glaciar tile.

    Example:
        >>> class_sizes(25)
        {'cordillera': 12, 'glaciar': 13}
    """
    return {"cordillera": tiles // 2, "glaciar": tiles - tiles // 2}


def grid_size(tiles: int) -> int:
    """Say how many tiles a scene is wide, so that a small sample shows several scenes too and wastes none.

    Example:
        >>> [grid_size(tiles) for tiles in (1, 35, 5850)]
        [2, 3, 8]
    """
    return min(max(math.ceil(math.sqrt(tiles / 4)), SMALLEST_GRID), LARGEST_GRID)


def shared_size(tiles: int, train: int, overlap: float) -> int:
    """Say how many of a split's tiles of one class share ground with the `train` tiles of that class.

    Example:
        >>> shared_size(10, 35, 0.3), shared_size(10, 0, 0.3)
        (3, 0)
    """
    return round(overlap * tiles) if train else 0


def planned_scenes(seed: int, split: int, label: int, tiles: int) -> Iterator[Scene]:
    """Yield the scenes that a split's tiles of one class are cut from, in the order of ids.

    Args:
        seed: Seed of the sample.
        split: Number of the split.
        label: Number of the class.
        tiles: How many tiles.

    Yields:
        The scenes; together they give just these tiles.
    """
    grid = grid_size(tiles)
    for number, first in enumerate(range(0, tiles, grid**2)):
        yield Scene(seed, split, label, number, grid, min(grid**2, tiles - first))


def planned_sharing(scenes: Sequence[Scene], first: int, tiles: int) -> Iterator[SharedGround]:
    """Yield the ground that tiles share with those of `scenes`, which lend theirs in turn.

    Args:
        scenes: The scenes of train; each lends as many tiles as it has, until it is its turn again.
        first: How many were lent to other splits before.
        tiles: How many tiles to lend.

    Yields:
        The ground; together it gives just these tiles.
    """
    begin, end = 0, first + tiles
    for turn in itertools.count():
        for scene in scenes:
            if begin >= end:
                return
            skipped = max(first - begin, 0)
            lent = min(end - begin, scene.tiles) - skipped
            if lent > 0:
                yield SharedGround(scene, turn * scene.tiles + skipped, lent)
            begin += scene.tiles


def planned_cuts(seed: int, splits: dict[str, dict[str, int]], overlap: float) -> Iterator[Scene | SharedGround]:
    """Yield what the tiles of all splits are cut from, in the order split, class, id.

    Args:
        seed: Seed of the sample.
        splits: How many tiles of each class each split has.
        overlap: Share of the validation and test tiles that share ground with train tiles; they come last in a class.
    """
    lent = dict.fromkeys(CLASS_NAMES, 0)
    for number, split in enumerate(SPLIT_NAMES):
        for label, class_name in enumerate(CLASS_NAMES):
            tiles, train = splits[split][class_name], splits["train"][class_name]
            shared = shared_size(tiles, train, overlap) if split != "train" else 0
            yield from planned_scenes(seed, number, label, tiles - shared)
            if shared:
                train_scenes = list(planned_scenes(seed, SPLIT_NAMES.index("train"), label, train))
                yield from planned_sharing(train_scenes, lent[class_name], shared)
                lent[class_name] += shared


def _write_split(folder: Path, split: str, tiles: Iterator[tuple[str, CutTile]], shards: int) -> list[WrittenArchive]:
    """Write a split's archives from tiles as they are cut, which is in another order than they are to stand in."""
    paths = []
    with tempfile.TemporaryFile(dir=folder) as file, zipfile.ZipFile(file, "w") as cut_so_far:
        for path, tile in tiles:
            paths.append(path)
            cut_so_far.writestr(path, tile.image)
            if tile.mask is not None:
                cut_so_far.writestr(mask_path(path), tile.mask)
        planned = plan_shards(paths, shards=shards)
        return [
            write_archive(
                folder / archive_name(split, shard, shards), ((path, cut_so_far.read(path)) for path in members)
            )
            for shard, members in enumerate(planned)
        ]


def _counted(items: Iterable[_Work], bar: tqdm[NoReturn]) -> Iterator[_Work]:
    for item in items:
        yield item
        bar.update()


@contextlib.contextmanager
def cutting(cuts: Iterable[Scene | SharedGround], num_proc: int) -> Iterator[Iterator[CutTile]]:
    """Cut scenes in `num_proc` processes, or in this one when that is 1.

    Args:
        cuts: The scenes, and ground that is shared with them.
        num_proc: Number of processes.

    Yields:
        The tiles in the order of the cuts.
    """
    if num_proc == 1:
        yield itertools.chain.from_iterable(map(cut, cuts))
        return
    with worker_pool(num_proc) as pool:
        # Two scenes ahead of each worker keep it busy while another's larger one is waited for.
        yield itertools.chain.from_iterable(_map_ahead(pool, 3 * num_proc, cut, cuts))


def _map_ahead(
    pool: concurrent.futures.Executor, ahead: int, function: Callable[[_Work], _Result], work: Iterable[_Work]
) -> Iterator[_Result]:
    """Map like `Executor.map`, but with no more than `ahead` results under way, so that memory is bounded."""
    pending: deque[concurrent.futures.Future[_Result]] = deque()
    for item in work:
        pending.append(pool.submit(function, item))
        if len(pending) >= ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def make_sample_archives(
    out: str | os.PathLike[str],
    *,
    train: int = DEFAULT_SIZES["train"],
    validation: int = DEFAULT_SIZES["validation"],
    test: int = DEFAULT_SIZES["test"],
    shards: int = 1,
    seed: int = 0,
    overlap: float = 0.0,
    faults: bool = False,
    num_proc: int | None = None,
    progress: bool = False,
) -> Sample:
    """Make a folder of archives with synthetic tiles and masks.

    Args:
        out: The folder to make; it may exist when it is empty. It appears when it is complete, or not at all.
        train: Tiles in the train split, at least 1.
        validation: Tiles in the validation split, at least 1.
        test: Tiles in the test split, at least 1.
        shards: Shards of each split, at most as many as it has tiles.
        seed: Not negative; the same seed gives the same tiles.
        overlap: Share of the validation and test tiles of each class, in [0, 1], that are cut over the ground of train
            tiles of that class; none where train has no tile of it.
        faults: Whether to plant one of each fault that the audit finds, which takes 4 tiles in each split. The sample
            cannot be loaded then.
        num_proc: Processes that render; by default one for each core, and one alone for a small sample.
        progress: Whether to show a progress bar on standard error.

    Returns:
        What was made.

    Raises:
        ValueError: A number does not fit.
        FileExistsError: `out` exists and is not an empty folder; it stays as it is.
        OSError: The archives cannot be written.
    """
    sizes = dict(zip(SPLIT_NAMES, (train, validation, test), strict=True))
    _check_numbers(sizes, shards, seed, overlap, faults, num_proc)
    if num_proc is None:
        num_proc = (os.cpu_count() or 1) if sum(sizes.values()) >= LEAST_TILES_FOR_POOL else 1
    splits = {split: class_sizes(size) for split, size in sizes.items()}
    archives: list[WrittenArchive] = []
    with (
        new_output_folder(out) as folder,
        tqdm(total=sum(sizes.values()), unit="tile", disable=not progress) as bar,
        cutting(planned_cuts(seed, splits, overlap), num_proc) as cut_tiles,
    ):
        for split, size in sizes.items():
            paths = [
                f"{split}/{name}/{number:03d}.png" for name in CLASS_NAMES for number in range(splits[split][name])
            ]
            tiles = zip(paths, itertools.islice(cut_tiles, size), strict=True)
            archives += _write_split(folder, split, _counted(tiles, bar), shards)
        write_manifest(folder, version=SAMPLE_VERSION, splits=splits, archives=archives)
        planted = {}
        if faults:
            planted = plant_all(folder)
            archives = describe_archives(folder)
    return Sample(splits, archives, planted)


def _check_numbers(
    sizes: dict[str, int], shards: int, seed: int, overlap: float, faults: bool, num_proc: int | None = None
) -> None:
    for split, size in sizes.items():
        if size < 1:
            raise ValueError(f"{split} is {size}; a split has 1 tile at least")
        if faults and size < LEAST_TILES_FOR_FAULTS:
            raise ValueError(f"{split} is {size}; to plant faults, {LEAST_TILES_FOR_FAULTS} tiles at least are needed")
    if not 1 <= shards <= min(sizes.values()):
        smallest = min(sizes, key=lambda split: sizes[split])
        raise ValueError(
            f"shards is {shards}; from 1 to {sizes[smallest]} are possible, as many as {smallest} has tiles"
        )
    if seed < 0:
        raise ValueError(f"seed is {seed}; it is 0 at least")
    if not 0 <= overlap <= 1:
        raise ValueError(f"overlap is {overlap}; it is a share from 0 to 1")
    train = class_sizes(sizes["train"])
    for class_name, there in train.items():
        sharing = sum(shared_size(class_sizes(sizes[split])[class_name], there, overlap) for split in SPLIT_NAMES[1:])
        if sharing > MOST_SHARING * there:
            raise ValueError(
                f"overlap is {overlap}; {sharing} {class_name} tiles would share ground with {there} of train, "
                f"{MOST_SHARING} for each are possible"
            )
    if num_proc is not None and num_proc < 1:
        raise ValueError(f"num_proc is {num_proc}; it is 1 at least")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Make synthetic tiles and masks in archives: a stand-in for the dataset, whose tiles look "
        "like its tiles and are none of them. About half of each split's tiles are of each class.",
        epilog="The same seed and sizes give the same bytes. Exit status: 0 when all is written, 1 when "
        "something failed (OUT is whole, or as it was before), 2 for wrong usage.",
    )
    parser.add_argument("out", metavar="OUT", help="the folder to make; it may exist when it is empty")
    for split in SPLIT_NAMES:
        parser.add_argument(
            f"--{split}",
            metavar="N",
            type=int,
            default=DEFAULT_SIZES[split],
            help=f"tiles in the {split} split (default: %(default)s; the release has {RELEASE_SIZES[split]})",
        )
    parser.add_argument(
        "--shards", metavar="K", type=int, default=1, help="shards of each split's archives (default: %(default)s)"
    )
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="seed of the tiles (default: %(default)s)")
    parser.add_argument(
        "--overlap",
        metavar="FRACTION",
        type=float,
        default=0.0,
        help="share of the validation and test tiles that are cut over the ground of train tiles, from 0 to 1 "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--faults",
        action="store_true",
        help=f"plant one of each fault that audit_archives.py finds, in splits of {LEAST_TILES_FOR_FAULTS} tiles at "
        "least; loading such a sample fails, which is its purpose",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    sizes = {split: getattr(options, split) for split in SPLIT_NAMES}
    try:
        _check_numbers(sizes, options.shards, options.seed, options.overlap, options.faults)
    except ValueError as error:
        parser.error(str(error))

    def make() -> None:
        sample = make_sample_archives(
            options.out,
            **sizes,
            shards=options.shards,
            seed=options.seed,
            overlap=options.overlap,
            faults=options.faults,
            progress=True,
        )
        for archive in sample.archives:
            say(f"{archive.name}: {archive.tiles} tiles, {archive.bytes} bytes")
        for code, path in sample.faults.items():
            say(f"planted {code}: {path}")

    return run(
        parser.prog,
        make,
        (OSError, concurrent.futures.BrokenExecutor),
        if_interrupted="interrupted; nothing was written",
    )


if __name__ == "__main__":
    sys.exit(main())
