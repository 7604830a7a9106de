"""Sample archives: synthetic tiles and masks in the layout of the dataset.

About half of each split's tiles are of each class; the odd one is a glaciar tile, so that a split of one tile has a
mask. Each split, and each class in it, is cut from scenes of its own, of one date each; but `overlap` of its tiles come
from scenes that the splits share, of several dates. Some 30 % of a glaciar tile is rock glacier, and 9 % at least.

The same seed and sizes give the same bytes, whatever the number of processes, and the same tiles, whatever the number
of shards; other versions of numpy, Pillow or zlib may round or compress differently.
"""

from __future__ import annotations

import math
import os
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import NamedTuple

from rock_glacier.archives.grounds_file import GroundRow, write_grounds
from rock_glacier.archives.manifest import REPLACEABLE, SAMPLE_VERSION, write_manifest
from rock_glacier.archives.writer import WrittenArchive, mask_path, write_split
from rock_glacier.files import new_output_folder
from rock_glacier.parallel import Workers
from rock_glacier.sample import DEFAULT_SIZES
from rock_glacier.sample.faults import LEAST_TILES_FOR_FAULTS, describe_archives, plant_all
from rock_glacier.sample.tiles import Scene, cut
from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES

_SMALLEST_GRID, _LARGEST_GRID = 2, 8  # tiles along a side of a scene; a rock glacier is longer than a tile is wide
_DATES = 3  # of a scene that the splits share
_TILES_PER_SQUARE = 4  # of 128 x 128 pixels of such a scene
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
    overwrite: bool = False,
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
        overlap: share in [0, 1] of the tiles of each split and class that are cut from scenes that the splits share, as
            the curators do: at random places, on several dates, turned at random. With any, `grounds.csv` says where.
        faults: whether to plant one of each fault that the audit finds; the sample cannot be loaded then.
        overwrite: whether to replace `out` where it holds archives and what belongs to them, and nothing else.
        num_proc: number of processes; by default one for each core, and one alone for a small sample.
        dask: address of a Dask scheduler whose workers to use instead.
        progress: whether to show a progress bar on standard error, where that is a terminal.

    Raises:
        ValueError: a number does not fit.
        FileExistsError: `out` exists, and is neither empty nor to be replaced; it stays as it is.
        WorkerError: the workers cannot be reached, or one was killed.
        OSError: the archives cannot be written.
    """
    sizes = dict(zip(SPLIT_NAMES, (train, validation, test), strict=True))
    check_numbers(sizes, shards=shards, seed=seed, overlap=overlap, faults=faults)
    splits = {split: {"cordillera": size // 2, "glaciar": size - size // 2} for split, size in sizes.items()}
    if num_proc is None and (sum(sizes.values()) < _LEAST_TILES_FOR_PROCESSES or find_spec("joblib") is None):
        num_proc = 1
    scenes = [Scene(seed, number, *scene) for number, scene in enumerate(_plan_scenes(splits, overlap))]
    archives: list[WrittenArchive] = []
    planted: dict[str, str] = {}
    rows: list[GroundRow] = []
    with new_output_folder(out, REPLACEABLE if overwrite else ()) as folder:
        with tempfile.TemporaryFile(dir=folder) as file, zipfile.ZipFile(file, "w") as rendered:
            cut_scenes = Workers(num_proc, dask, progress).map("Rendering", cut, [(one,) for one in scenes], "scenes")
            for scene, tiles in zip(scenes, cut_scenes, strict=True):
                first = len(rows)
                for path, (x, y, turn, date), image, mask in tiles:
                    rendered.writestr(path, image)
                    if mask is not None:
                        rendered.writestr(mask_path(path), mask)
                    ground = first if scene.dates > 1 else len(rows)  # tiles along a grid share none
                    rows.append(GroundRow(path, ground, 0, x, y, turn, f"scene_{scene.number}_date_{date}"))
            for split in splits:
                paths = [row.path for row in rows if row.path.startswith(f"{split}/")]
                archives += write_split(folder, split, dict(zip(paths, paths, strict=True)), rendered, shards=shards)
        if overlap:
            write_grounds(folder, rows)
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


def _plan_scenes(splits: dict[str, dict[str, int]], overlap: float) -> Iterator[tuple[str, int, int, Sequence[str]]]:
    """Yield each scene's class, grid, number of dates and paths of tiles."""
    for class_name in CLASS_NAMES:
        shared: list[str] = []
        for split in SPLIT_NAMES:
            paths = [f"{split}/{class_name}/{tile_id:03d}.png" for tile_id in range(splits[split][class_name])]
            alone = len(paths) - round(overlap * len(paths))
            shared += paths[alone:]
            yield from _spread(class_name, paths[:alone], 1, 1)
        yield from _spread(class_name, shared, _DATES, _TILES_PER_SQUARE)


def _spread(
    class_name: str, paths: Sequence[str], dates: int, per_square: int
) -> Iterator[tuple[str, int, int, Sequence[str]]]:
    """Spread tiles evenly over scenes, several in a small sample, too."""
    squares = len(paths) / per_square
    grid = min(max(math.ceil(math.sqrt(squares / 4)), _SMALLEST_GRID), _LARGEST_GRID)
    scenes = math.ceil(squares / grid**2)
    yield from ((class_name, grid, dates, paths[scene::scenes]) for scene in range(scenes))
