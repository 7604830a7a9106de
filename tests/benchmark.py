"""Measure preparing the dataset, by hand: `python tests/benchmark.py [DATA_DIR]`.

The tiles of DATA_DIR, by default 300 real ones, are repeated to the size of the release. The limit
is the time to read the members with `zipfile` and to write them to one file.
"""

from __future__ import annotations

import itertools
import resource
import shutil
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
from factories import read_members, real_folder, write_zip

from rock_glacier_dataset import CONFIG_NAMES, RELEASE_SIZES, class_of, load_archives, mask_path

_RUNS = 5


def make_release(source: Path, out: Path) -> Path:
    """Repeat the tiles of a folder of archives until there are as many as in the release."""
    members = read_members(source)
    tiles = {
        label: itertools.cycle(path for path in members if class_of(path) == label)
        for label in ("cordillera", "glaciar")
    }
    for split, size in RELEASE_SIZES.items():
        copies = {}
        for number in range(size):
            label = ("cordillera", "glaciar")[number % 2]
            tile = next(tiles[label])
            copies[f"{split}/{label}/{number}.png"] = members[tile]
            if label == "glaciar":
                copies[f"{split}/masks/{number}.png"] = members[mask_path(tile)]
        write_zip(out / f"{split}.zip", copies)
    return out


def measure(function: Callable[..., object], *arguments: Any) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def copy_members(data_dir: Path, out: Path, config: str) -> None:
    """Read the members with `zipfile` and write them to one file."""
    with out.open("wb") as file:
        for path in sorted(data_dir.glob("*.zip")):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if config == "image-segmentation" or class_of(name) != "masks":
                        file.write(archive.read(name))


def load(config: str, data_dir: Path, cache: Path) -> None:
    """Prepare a config."""
    load_archives(config, data_dir=data_dir, cache_dir=cache)


def main() -> None:
    """Print the seconds to prepare each config, and their ratio to the limit."""
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else real_folder() / "data_v01"
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        release = scratch / "release"
        release.mkdir()
        make_release(source, release)
        for config in CONFIG_NAMES:
            seconds = []
            ratios = []
            for run in range(_RUNS + 1):
                limit = measure(copy_members, release, scratch / "all", config)
                taken = measure(load, config, release, scratch / "cache")
                shutil.rmtree(scratch / "cache")
                if run > 0:  # The first run warms up.
                    seconds.append(taken)
                    ratios.append(taken / limit)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"{config}: {statistics.median(seconds):.2f} s, "
                f"{statistics.median(ratios):.2f} x the limit; peak {peak:.0f} MiB"
            )


if __name__ == "__main__":
    main()
