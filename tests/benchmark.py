"""Measure the project by hand: `python tests/benchmark.py SECTION [DATA_DIR]`.

The tiles of DATA_DIR, by default 300 real ones, are repeated to the size of the release.
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


def measure(function: Callable[..., object], *arguments: Any) -> tuple[float, float]:
    """Return the seconds of wall time and of processor time that a call takes."""
    start = time.perf_counter()
    cpu_start = time.process_time()
    function(*arguments)
    return time.perf_counter() - start, time.process_time() - cpu_start


def copy_members(data_dir: Path, out: Path, config: str) -> None:
    """Read the members with `zipfile` and write them to one file: the limit of preparing."""
    with out.open("wb") as file:
        for path in sorted(data_dir.glob("*.zip")):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if config == "image-segmentation" or class_of(name) != "masks":
                        file.write(archive.read(name))


def load(config: str, data_dir: Path, cache: Path) -> None:
    """Prepare a config."""
    load_archives(config, data_dir=data_dir, cache_dir=cache)


def prepare(data_dir: Path, scratch: Path) -> None:
    """Compare preparing the dataset with reading its members and writing them to one file."""
    for config in CONFIG_NAMES:
        ratios = []
        cpu_ratios = []
        seconds = []
        for run in range(_RUNS + 1):
            limit, cpu_limit = measure(copy_members, data_dir, scratch / "all", config)
            taken, cpu_taken = measure(load, config, data_dir, scratch / "cache")
            shutil.rmtree(scratch / "cache")
            if run > 0:  # The first run warms up.
                ratios.append(taken / limit)
                cpu_ratios.append(cpu_taken / cpu_limit)
                seconds.append(taken)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"prepare {config}: {statistics.median(seconds):.2f} s, "
            f"{statistics.median(ratios):.2f} x the limit, "
            f"{statistics.median(cpu_ratios):.2f} x its processor time; peak {peak:.0f} MiB"
        )


SECTIONS = {"prepare": prepare}


def main() -> None:
    """Run a section on tiles of the release's number."""
    source = Path(sys.argv[2]) if len(sys.argv) > 2 else real_folder() / "data_v01"
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        release = Path(folder) / "release"
        release.mkdir()
        SECTIONS[sys.argv[1]](make_release(source, release), Path(folder))


if __name__ == "__main__":
    main()
