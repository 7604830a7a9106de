"""Sample archives: synthetic tiles and masks in the layout of the dataset.

About half of each split's tiles are of each class; the odd one is a glaciar tile, so that a split of one tile has a
mask. Each split, and each class in it, is cut from scenes of its own, so that tiles of two splits overlap only where
`overlap` asks for it. Some 30 % of a glaciar tile is rock glacier, and 9 % at least.

The same seed and sizes give the same bytes, whatever the number of processes, and the same tiles, whatever the number
of shards; other versions of numpy, Pillow or zlib may round or compress differently.
"""

from __future__ import annotations

import itertools
import math
import os
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from rock_glacier.archives.manifest import SAMPLE_VERSION, write_manifest
from rock_glacier.archives.writer import WrittenArchive, mask_path, write_split
from rock_glacier.files import new_output_folder
from rock_glacier.parallel import Workers
from rock_glacier.sample import DEFAULT_SIZES
from rock_glacier.sample.faults import LEAST_TILES_FOR_FAULTS, describe_archives, plant_all
from rock_glacier.sample.tiles import CutTile, Scene, cut
from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES

_SMALLEST_GRID, _LARGEST_GRID = 2, 8  # tiles along a side of a scene; a rock glacier is longer than a tile is wide
_LEAST_TILES_FOR_PROCESSES = 1000  # starting them costs more than it saves in a smaller sample


class Sample(NamedTuple):
    """A sample that was made.

    Attributes:
        archives: the archives, in the order in which they were written.
        faults: path of each planted fault, by its code.
    """

    archives: list[WrittenArchive]
    faults: dict[str, str]


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
    dask: str | None = None,
    progress: bool = False,
) -> Sample:
    """Make a folder of archives with synthetic tiles and masks.

    Args:
        out: the folder to make; it may exist when it is empty. It appears when it is complete, or not at all.
        train: number of tiles in the train split, at least 1.
        validation: number of tiles in the validation split, at least 1.
        test: number of tiles in the test split, at least 1.
        shards: number of shards of each split, at most the number of its tiles.
        seed: seed of the tiles, at least 0.
        overlap: share in [0, 1] of the validation and test tiles of each class that overlap train tiles of that class.
        faults: whether to plant one of each fault that the audit finds; the sample cannot be loaded then.
        num_proc: number of processes; by default one for each core, and one alone for a small sample.
        dask: address of a Dask scheduler whose workers to use instead.
        progress: whether to show a progress bar on standard error, where that is a terminal.

    Raises:
        ValueError: a number does not fit.
        FileExistsError: `out` exists and is not an empty folder; it stays as it is.
        WorkerError: the workers cannot be reached, or one was killed.
        OSError: the archives cannot be written.
    """
    sizes = dict(zip(SPLIT_NAMES, (train, validation, test), strict=True))
    check_numbers(sizes, shards=shards, seed=seed, overlap=overlap, faults=faults)
    splits = {split: {"cordillera": size // 2, "glaciar": size - size // 2} for split, size in sizes.items()}
    if num_proc is None and (sum(sizes.values()) < _LEAST_TILES_FOR_PROCESSES or find_spec("joblib") is None):
        num_proc = 1
    cuts = list(_plan_cuts(seed, splits, overlap))
    archives: list[WrittenArchive] = []
    planted: dict[str, str] = {}
    with new_output_folder(out) as folder:
        scenes = Workers(num_proc, dask, progress).map("Rendering", cut, cuts, "scenes")
        tiles = itertools.chain.from_iterable(scenes)
        for split, size in sizes.items():
            archives += _write_split(folder, split, splits[split], itertools.islice(tiles, size), shards)
        write_manifest(folder, version=SAMPLE_VERSION, splits=splits, archives=archives)
        if faults:
            planted, archives = plant_all(folder), describe_archives(folder)
    return Sample(archives, planted)


def check_numbers(sizes: dict[str, int], *, shards: int, seed: int, overlap: float, faults: bool) -> None:
    """Check arguments of `make_sample_archives`.

    Raises:
        ValueError: a number does not fit; names it and the remedy.
    """
    smallest = min(sizes, key=lambda split: sizes[split])
    least = LEAST_TILES_FOR_FAULTS if faults else 1
    if sizes[smallest] < least:
        raise ValueError(f"{smallest} is {sizes[smallest]}; give at least {least}{' to plant faults' * faults}")
    if not 1 <= shards <= sizes[smallest]:
        raise ValueError(f"shards is {shards}; give 1 to {sizes[smallest]}, the number of {smallest} tiles")
    if seed < 0:
        raise ValueError(f"seed is {seed}; give at least 0")
    if not 0 <= overlap <= 1:
        raise ValueError(f"overlap is {overlap}; give a share from 0 to 1")


def _plan_cuts(
    seed: int, splits: dict[str, dict[str, int]], overlap: float
) -> Iterator[tuple[Scene] | tuple[Scene, range]]:
    """Yield what to cut, in the order split, class, id; tiles that overlap train tiles come last in their class."""
    lent: Counter[str] = Counter()
    for split, class_name in itertools.product(SPLIT_NAMES, CLASS_NAMES):
        lenders = list(_plan_scenes(seed, "train", class_name, splits["train"][class_name]))
        tiles = splits[split][class_name]
        sharing = round(overlap * tiles) if lenders and split != "train" else 0
        yield from ((scene,) for scene in _plan_scenes(seed, split, class_name, tiles - sharing))
        for number, scene in enumerate(lenders):  # a place of each in turn
            first, last = (
                len(range(number, end, len(lenders))) for end in (lent[class_name], lent[class_name] + sharing)
            )
            if last > first:
                yield scene, range(first, last)
        lent[class_name] += sharing


def _plan_scenes(seed: int, split: str, class_name: str, tiles: int) -> Iterator[Scene]:
    """Yield scenes that give this number of tiles together; several scenes in a small sample, too."""
    grid = min(max(math.ceil(math.sqrt(tiles / 4)), _SMALLEST_GRID), _LARGEST_GRID)
    for number, first in enumerate(range(0, tiles, grid**2)):
        yield Scene(seed, split, class_name, number, grid, min(grid**2, tiles - first))


def _write_split(
    folder: Path, split: str, counts: dict[str, int], tiles: Iterator[CutTile], shards: int
) -> list[WrittenArchive]:
    """Write a split's archives; `tiles` come in the order of class and id, which is not that of the archives."""
    paths = [f"{split}/{name}/{tile_id:03d}.png" for name in CLASS_NAMES for tile_id in range(counts[name])]
    with tempfile.TemporaryFile(dir=folder) as file, zipfile.ZipFile(file, "w") as rendered:
        for path, tile in zip(paths, tiles, strict=True):
            rendered.writestr(path, tile.image)
            if tile.mask is not None:
                rendered.writestr(mask_path(path), tile.mask)
        return write_split(folder, split, dict(zip(paths, paths, strict=True)), rendered, shards=shards)
