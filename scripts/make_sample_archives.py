#!/usr/bin/env python
"""Make synthetic tiles and masks in contract archives: a stand-in for the dataset in tests, benchmarks and examples.

    python scripts/make_sample_archives.py sample
    python scripts/make_sample_archives.py release --train 7875 --validation 1125 --test 2700 --shards 4

What comes out looks like the dataset and is none of it: the terrain is made up (see synthetic_terrain.py). About half
of each split's tiles are of each class, glaciar getting the odd one, so that a split of one tile is a glaciar tile and
has a mask. Tiles never overlap: each split, and each class in it, is cut from scenes of its own, along a grid. At least
3 % of a glaciar tile is rock glacier; nothing of a cordillera tile is, and it has no mask file.

The same seed and sizes give the same bytes, however many processes work and however the tiles are dealt to shards;
other versions of numpy, Pillow or zlib may round or compress differently.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import io
import itertools
import math
import os
import sys
from collections import deque
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import NamedTuple
from typing import NoReturn
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from command_line import run
from command_line import say
from contract_archives import Tile
from contract_archives import WrittenArchive
from contract_archives import write_manifest
from contract_archives import write_split
from output_folder import new_output_folder
from PIL import Image
from synthetic_terrain import render_scene
from tqdm import tqdm
from worker_pool import worker_pool

from rock_glacier_dataset import BACKGROUND_COLOUR
from rock_glacier_dataset import CLASS_NAMES
from rock_glacier_dataset import RELEASE_SIZES
from rock_glacier_dataset import ROCK_GLACIER_COLOUR
from rock_glacier_dataset import SPLIT_NAMES
from rock_glacier_dataset import TILE_SIZE

DEFAULT_SIZES = {"train": 70, "validation": 10, "test": 24}
"""Tiles in each split of a sample: about the proportions of the release, in a size for tests."""

SAMPLE_VERSION = "0.0.0"
"""Version in a sample's manifest, below that of any release."""

LEAST_COVERAGE = 0.03
"""A tile is cut as glaciar when at least this share of its pixels is rock glacier."""

SMALLEST_GRID = 2
"""Tiles along a side of the smallest scene; a rock glacier is longer than one tile is wide."""

LARGEST_GRID = 8
"""Tiles along a side of the largest scene; a larger one would save no time and take more memory."""

MOST_ATTEMPTS = 20
"""How often a scene is rendered anew that has a square without enough rock glacier."""

LEAST_TILES_FOR_POOL = 300
"""Starting processes costs more than it saves in a smaller sample."""

IMAGE_COMPRESSION = 2
"""zlib level; synthetic tiles become as small at this one as at the usual 6, in a third of the time."""

MASK_COMPRESSION = 6

_Work = TypeVar("_Work")
_Result = TypeVar("_Result")


class Scene(NamedTuple):
    """What a worker needs to know to render a scene and to cut tiles from it.

    Attributes:
        seed: Seed of the sample.
        split: Number of the split.
        label: Number of the class.
        number: Number of the scene within split and class.
        grid: Tiles along a side.
        tiles: How many tiles to cut.
    """

    seed: int
    split: int
    label: int
    number: int
    grid: int
    tiles: int


class CutTile(NamedTuple):
    """A tile's PNG file and its mask's, which a cordillera tile has not."""

    image: bytes
    mask: bytes | None


class Sample(NamedTuple):
    """What was made.

    Attributes:
        splits: How many tiles of each class each split has.
        archives: The archives, in the order in which they were written.
    """

    splits: dict[str, dict[str, int]]
    archives: list[WrittenArchive]


def encoded_tile(rgb: npt.NDArray[np.uint8]) -> bytes:
    """Encode red, green and blue, uint8 (rows, columns, 3), as an opaque RGBA PNG file."""
    image = Image.fromarray(rgb).convert("RGBA")
    return _png(image, IMAGE_COMPRESSION)


def encoded_mask(mask: npt.NDArray[np.bool_]) -> bytes:
    """Encode a mask, bool (rows, columns), True on a rock glacier, as an RGBA PNG file in the contract's colours."""
    palette = np.array([BACKGROUND_COLOUR, ROCK_GLACIER_COLOUR], dtype=np.uint8)
    return _png(Image.fromarray(palette[mask.astype(np.intp)]), MASK_COMPRESSION)


def _png(image: Image.Image, compression: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=compression)
    return file.getvalue()


def cut_scene(scene: Scene) -> list[CutTile]:
    """Render a scene and cut it into tiles along its grid, row by row.

    Args:
        scene: The scene.

    Returns:
        Its tiles, each 128 x 128 pixels.

    Raises:
        RuntimeError: The renderer makes no scene with enough rock glacier, which is a fault in it.
    """
    glaciar = CLASS_NAMES[scene.label] == "glaciar"
    size = scene.grid * TILE_SIZE
    corners = itertools.product(range(0, size, TILE_SIZE), repeat=2)
    squares = [
        np.s_[row : row + TILE_SIZE, column : column + TILE_SIZE]
        for row, column in itertools.islice(corners, scene.tiles)
    ]
    for attempt in range(MOST_ATTEMPTS):
        # A key for each scene: it looks the same whatever else is made, before it or beside it.
        key = (scene.split, scene.label, scene.number, attempt)
        rng = np.random.default_rng(np.random.SeedSequence(scene.seed, spawn_key=key))
        rgb, mask = render_scene(rng, size=size, rock_glaciers=glaciar, spacing=TILE_SIZE)
        if not glaciar:
            return [CutTile(encoded_tile(rgb[square]), None) for square in squares]
        # Each square has a rock glacier; that it is too small a part of it can hardly be, but is not ruled out.
        if all(mask[square].mean() >= LEAST_COVERAGE for square in squares):
            return [CutTile(encoded_tile(rgb[square]), encoded_mask(mask[square])) for square in squares]
    raise RuntimeError(f"{scene}: {MOST_ATTEMPTS} attempts left a square with too little rock glacier")


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


def planned_scenes(seed: int, split: int, sizes: dict[str, int]) -> Iterator[Scene]:
    """Yield the scenes that the tiles of a split are cut from, in the order class, then id.

    Args:
        seed: Seed of the sample.
        split: Number of the split.
        sizes: How many tiles of each class.

    Yields:
        The scenes; together they give just these tiles.
    """
    for label, class_name in enumerate(CLASS_NAMES):
        grid = grid_size(sizes[class_name])
        for number, first in enumerate(range(0, sizes[class_name], grid**2)):
            yield Scene(seed, split, label, number, grid, min(grid**2, sizes[class_name] - first))


def split_tiles(sizes: dict[str, int], cut_tiles: Iterator[CutTile], bar: tqdm[NoReturn]) -> Iterator[Tile]:
    """Take the tiles of one split from `cut_tiles`, numbering them from 0 within each class.

    Args:
        sizes: How many tiles of each class.
        cut_tiles: Tiles in the order class, then id.
        bar: Progress bar to move.

    Yields:
        The tiles.
    """
    for class_name in CLASS_NAMES:
        for tile_id in range(sizes[class_name]):
            cut = next(cut_tiles)
            yield Tile(class_name, tile_id, cut.image, cut.mask)
            bar.update()


@contextlib.contextmanager
def cutting(scenes: Iterable[Scene], num_proc: int) -> Iterator[Iterator[CutTile]]:
    """Cut scenes in `num_proc` processes, or in this one when that is 1.

    Args:
        scenes: The scenes.
        num_proc: Number of processes.

    Yields:
        The tiles in the order of the scenes.
    """
    if num_proc == 1:
        yield itertools.chain.from_iterable(map(cut_scene, scenes))
        return
    with worker_pool(num_proc) as pool:
        # Two scenes ahead of each worker keep it busy while another's larger one is waited for.
        yield itertools.chain.from_iterable(_map_ahead(pool, 3 * num_proc, cut_scene, scenes))


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
    num_proc: int | None = None,
    progress: bool = False,
) -> Sample:
    """Make a folder of contract archives with synthetic tiles and masks.

    Args:
        out: The folder to make; it may exist when it is empty. It appears when it is complete, or not at all.
        train: Tiles in the train split, at least 1.
        validation: Tiles in the validation split, at least 1.
        test: Tiles in the test split, at least 1.
        shards: Shards of each split, at most as many as it has tiles.
        seed: Not negative; the same seed gives the same tiles.
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
    _check_numbers(sizes, shards, seed, num_proc)
    if num_proc is None:
        num_proc = (os.cpu_count() or 1) if sum(sizes.values()) >= LEAST_TILES_FOR_POOL else 1
    splits = {split: class_sizes(size) for split, size in sizes.items()}
    scenes = itertools.chain.from_iterable(
        planned_scenes(seed, number, splits[split]) for number, split in enumerate(splits)
    )
    archives: list[WrittenArchive] = []
    with (
        new_output_folder(out) as folder,
        tqdm(total=sum(sizes.values()), unit="tile", disable=not progress) as bar,
        cutting(scenes, num_proc) as cut_tiles,
    ):
        for split, size in sizes.items():
            tiles = split_tiles(splits[split], cut_tiles, bar)
            archives += write_split(folder, split, tiles, count=size, shards=shards)
        write_manifest(folder, version=SAMPLE_VERSION, splits=splits, archives=archives)
    return Sample(splits, archives)


def _check_numbers(sizes: dict[str, int], shards: int, seed: int, num_proc: int | None = None) -> None:
    for split, size in sizes.items():
        if size < 1:
            raise ValueError(f"{split} is {size}; a split has 1 tile at least")
    if not 1 <= shards <= min(sizes.values()):
        smallest = min(sizes, key=lambda split: sizes[split])
        raise ValueError(
            f"shards is {shards}; from 1 to {sizes[smallest]} are possible, as many as {smallest} has tiles"
        )
    if seed < 0:
        raise ValueError(f"seed is {seed}; it is 0 at least")
    if num_proc is not None and num_proc < 1:
        raise ValueError(f"num_proc is {num_proc}; it is 1 at least")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Make synthetic tiles and masks in contract archives: a stand-in for the dataset, whose tiles look "
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
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    sizes = {split: getattr(options, split) for split in SPLIT_NAMES}
    try:
        _check_numbers(sizes, options.shards, options.seed)
    except ValueError as error:
        parser.error(str(error))

    def make() -> None:
        sample = make_sample_archives(options.out, **sizes, shards=options.shards, seed=options.seed, progress=True)
        for archive in sample.archives:
            kind = "masks" if "_masks" in archive.name else "tiles"
            say(f"{archive.name}: {archive.members} {kind}, {archive.bytes} bytes")

    return run(
        parser.prog,
        make,
        (OSError, concurrent.futures.BrokenExecutor),
        if_interrupted="interrupted; nothing was written",
    )


if __name__ == "__main__":
    sys.exit(main())
