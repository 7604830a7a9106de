"""Measure speed by hand: `python tests/benchmark.py prepare` or `python tests/benchmark.py audit`.

Both compare with a reference in the same run, because ratios change less between machines than
seconds do. Run them on a quiet machine. docs/performance.md has the last figures.
"""

from __future__ import annotations

import io
import itertools
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from factories import REPOSITORY, read_members, real_folder, write_zip
from PIL import Image

from rock_glacier.png import encode
from rock_glacier.sites.orientations import oriented
from rock_glacier.synthetic import make_sample
from rock_glacier_dataset import CONFIG_NAMES, RELEASE_SIZES, class_of, load_archives, mask_path

_RUNS = 5
_PLACES = 585  # 20 tiles each are as many as the release has
_TILES_PER_PLACE = 20


def compare(name: str, function: Callable[[], object], reference: Callable[[], object]) -> None:
    """Print the median seconds of a function, and their median ratio to those of a reference."""
    seconds = []
    ratios = []
    for run in range(_RUNS + 1):
        reference_taken = measure(reference)
        taken = measure(function)
        if run > 0:  # the first run warms up
            seconds.append(taken)
            ratios.append(taken / reference_taken)
    ratio = f"{statistics.median(ratios):.2f} x the reference"
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"{name}: {statistics.median(seconds):.2f} s, {ratio} ({spread})")


def measure(function: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure_prepare(scratch: Path) -> None:
    """Compare preparing both configs with reading the members and writing them to one file."""
    datasets.disable_progress_bars()
    release = repeat_real_tiles(scratch / "release")
    for config in CONFIG_NAMES:

        def prepare(config: str = config) -> None:
            load_archives(config, data_dir=release, cache_dir=scratch / "cache")
            shutil.rmtree(scratch / "cache")

        def copy(config: str = config) -> None:
            copy_members(release, scratch / "all", masks=config == "image-segmentation")

        compare(f"prepare {config}", prepare, copy)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory: {peak:.0f} MiB")


def repeat_real_tiles(out: Path) -> Path:
    """Repeat the 300 real tiles until there are as many as in the release."""
    out.mkdir()
    members = read_members(real_folder() / "data_v01")
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


def copy_members(data_dir: Path, out: Path, *, masks: bool) -> None:
    """Read the members with `zipfile` and write them to one file."""
    with out.open("wb") as file:
        for path, content in iterate_members(data_dir):
            if masks or class_of(path) != "masks":
                file.write(content)


def iterate_members(data_dir: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the path and the content of each member."""
    for path in sorted(data_dir.glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield name, archive.read(name)


def measure_audit(scratch: Path) -> None:
    """Compare `audit --no-matches` with decoding the tiles by Pillow in one process."""
    distinct = scratch / "distinct"
    train, validation, test = RELEASE_SIZES.values()
    make_sample(distinct, train=train, validation=validation, test=test)
    dense = cut_places(distinct, scratch / "dense")
    for data_dir in (distinct, dense):
        command = [sys.executable, str(REPOSITORY / "scripts/audit.py"), str(data_dir)]
        command += ["--no-matches", "--num-proc", "2"]

        def audit(command: list[str] = command) -> None:
            subprocess.run(command, check=False, stdout=subprocess.DEVNULL)

        def decode(data_dir: Path = data_dir) -> None:
            for path, content in iterate_members(data_dir):
                if class_of(path) != "masks":
                    Image.open(io.BytesIO(content)).load()

        compare(f"audit --no-matches, {data_dir.name}", audit, decode)


def cut_places(source: Path, out: Path) -> Path:
    """Cut each of 585 places 20 times, at random positions and in random orientations."""
    out.mkdir()
    rng = np.random.default_rng(0)
    members = read_members(source, "train")
    tiles = [
        np.array(Image.open(io.BytesIO(content)))
        for path, content in members.items()
        if class_of(path) == "cordillera"
    ]
    slots = [
        f"{split}/cordillera/{n}.png" for split, size in RELEASE_SIZES.items() for n in range(size)
    ]
    paths = iter(rng.permutation(slots).tolist())
    cuts = {}
    for place in range(_PLACES):
        upper = np.concatenate(tiles[4 * place : 4 * place + 2], axis=1)
        lower = np.concatenate(tiles[4 * place + 2 : 4 * place + 4], axis=1)
        scene = np.concatenate([upper, lower])
        for _ in range(_TILES_PER_PLACE):
            y, x = rng.integers(0, 129, 2)
            tile = oriented(scene[y : y + 128, x : x + 128], int(rng.integers(8)))
            cuts[next(paths)] = encode(np.ascontiguousarray(tile), compress_level=2)
    for split in RELEASE_SIZES:
        chosen = {path: content for path, content in cuts.items() if path.startswith(split)}
        write_zip(out / f"{split}.zip", chosen)
    return out


SECTIONS: dict[str, Any] = {"prepare": measure_prepare, "audit": measure_audit}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        SECTIONS[sys.argv[1]](Path(folder))
