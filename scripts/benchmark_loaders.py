"""Tiles a second that a training loop is given: random batches of arrays, and each loader with and without workers."""

from __future__ import annotations

import concurrent.futures
import functools
import importlib.util
import io
import multiprocessing
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
from PIL import Image
from tqdm import tqdm

from rock_glacier_dataset import CLASS_NAMES, load_arrays, load_dataset

SPLIT = "train"
BATCH_SIZE = 64
ROUNDS = 3
"""Rounds that count, beside the first."""

DECODING = "decoding with Pillow on one core"
GATHERING = "random batches of load_arrays"

_LEAST_SECONDS = 0.5  # that epochs are repeated for, where one is over in less


class Tiles(NamedTuple):
    """The same tiles in the forms that are compared.

    Attributes:
        archives: folder of contract archives.
        image_folder: folder of PNG files, `<split>/<class>/<id>.png`.
        cache: where the dataset is prepared.
    """

    archives: Path
    image_folder: Path
    cache: Path


# Each work gives the epochs of its loader: a function that goes through all tiles once, and returns their number.

Epoch = Callable[[], int]


def decode(tiles: Tiles) -> Epoch:
    """Decode every tile in a plain loop."""
    with zipfile.ZipFile(tiles.archives / f"{SPLIT}.zip") as archive:
        files = [archive.read(member) for member in archive.infolist()]

    def epoch() -> int:
        for file in files:
            Image.open(io.BytesIO(file)).load()
        return len(files)

    return epoch


def gather(tiles: Tiles) -> Epoch:
    """Gather random batches of the arrays with NumPy."""
    image = _arrays(tiles)["image"]

    def epoch() -> int:
        return sum(len(image[rows]) for rows in _batches(len(image)))

    return epoch


def load_from_arrays(tiles: Tiles, workers: int) -> Epoch:
    """Load batches of the arrays by their rows."""
    return _epoch_of(_Batches(_arrays(tiles)), workers, batch_size=None, sampler=_batches)


def load_from_prepared(tiles: Tiles, workers: int) -> Epoch:
    """Load the prepared dataset in torch's format."""
    examples: Any = load_dataset(split=SPLIT, data_dir=tiles.archives, cache_dir=tiles.cache)
    return _epoch_of(examples.with_format("torch"), workers, batch_sampler=_batches)


def load_from_stream(tiles: Tiles, workers: int) -> Epoch:
    """Load the streaming dataset, in its order."""
    examples: Any = load_dataset(split=SPLIT, data_dir=tiles.archives, streaming=True)
    return _epoch_of(examples.with_format("torch"), workers, batch_size=BATCH_SIZE)


def load_from_image_folder(tiles: Tiles, workers: int) -> Epoch:
    """Load a folder of PNG files with torchvision's ImageFolder."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import PILToTensor

    folder = ImageFolder(str(tiles.image_folder / SPLIT), transform=PILToTensor())
    return _epoch_of(folder, workers, batch_sampler=_batches)


def load_from_files(tiles: Tiles, workers: int) -> Epoch:
    """Load a folder of PNG files with Pillow."""
    return _epoch_of(_Files(tiles.image_folder / SPLIT), workers, batch_sampler=_batches)


class _Batches:
    """Arrays whose items are batches."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self._arrays = arrays

    def __len__(self) -> int:
        return len(self._arrays["image"])

    def __getitem__(self, rows: np.ndarray) -> list[np.ndarray]:
        return [self._arrays["image"][rows], self._arrays["labels"][rows]]


class _Files:
    """What ImageFolder gives, where torchvision cannot be had."""

    def __init__(self, folder: Path) -> None:
        self._files = [(file, label) for label, name in enumerate(CLASS_NAMES) for file in (folder / name).iterdir()]

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, row: int) -> tuple[np.ndarray, int]:
        file, label = self._files[row]
        with Image.open(file) as tile:
            return np.array(tile.convert("RGB")).transpose(2, 0, 1), label


def _arrays(tiles: Tiles) -> dict[str, np.ndarray]:
    return load_arrays(split=SPLIT, data_dir=tiles.archives, cache_dir=tiles.cache)


def _batches(tiles: int) -> list[np.ndarray]:
    rows = np.random.default_rng().permutation(tiles)
    return np.split(rows, range(BATCH_SIZE, tiles, BATCH_SIZE))


def _epoch_of(examples: Any, workers: int, **options: Any) -> Epoch:
    """Return the epochs of a loader, of which each that has a sampler is dealt anew."""
    from torch.utils.data import DataLoader

    def epoch() -> int:
        dealt = {name: option(len(examples)) if callable(option) else option for name, option in options.items()}
        count = 0
        for batch in DataLoader(examples, num_workers=workers, **dealt):
            count += len(batch["image"] if isinstance(batch, dict) else batch[0])
        return count

    return epoch


def _rate(work: Callable[[Tiles], Epoch], tiles: Tiles) -> float:
    """Return the tiles a second of a work: of whole epochs, their workers' start among them.

    A loader's first epoch counts, alike for each; the two plain loops, which are compared with one another, have one
    that does not.
    """
    datasets.disable_progress_bar()
    multiprocessing.set_start_method(None, force=True)  # a loader's workers start as a user's, not as this process did
    epoch = work(tiles)
    if work in (decode, gather):
        epoch()  # as a training loop does from its second epoch on, without which it measures the kernel's page faults
    count = 0
    start = time.perf_counter()
    while (seconds := time.perf_counter() - start) < _LEAST_SECONDS:
        count += epoch()
    return count / seconds


def _works() -> Iterator[tuple[str, Callable[[Tiles], Epoch]]]:
    yield DECODING, decode
    yield GATHERING, gather
    if importlib.util.find_spec("torch") is None:
        print("the loaders are left out: there is no torch; pip install -e '.[torch]'", file=sys.stderr)
        return
    loaders = {
        "DataLoader over load_arrays": load_from_arrays,
        'DataLoader over with_format("torch")': load_from_prepared,
        "DataLoader over the stream": load_from_stream,
    }
    try:
        importlib.import_module("torchvision.datasets")
        loaders["DataLoader over torchvision's ImageFolder"] = load_from_image_folder
    except (ImportError, RuntimeError) as error:  # the latter where it was built for another torch
        print(f"a plain folder stands in for torchvision's ImageFolder: {error}", file=sys.stderr)
        loaders["DataLoader over a folder, with Pillow"] = load_from_files
    for name, loader in loaders.items():
        for workers in (0, 2):
            yield f"{name}, {workers} workers", functools.partial(loader, workers=workers)


def measure_loaders(archives: Path, image_folder: Path, scratch: Path) -> dict[str, list[float]]:
    """Measure in turn, round after round, each time in a process of its own.

    Args:
        archives: folder of contract archives.
        image_folder: folder of the same tiles as PNG files, `<split>/<class>/<id>.png`.
        scratch: folder for the prepared dataset and the arrays.

    Returns:
        tiles a second by what gave them, of all rounds but the first; without the loaders where there is no torch.
    """
    tiles = Tiles(archives, image_folder, scratch / "loaders")
    _arrays(tiles)
    works = list(_works())
    found: dict[str, list[float]] = {name: [] for name, _ in works}
    with tqdm(total=(1 + ROUNDS) * len(works), desc="Measuring loaders", unit=" runs") as bar:
        for number in range(1 + ROUNDS):
            for name, work in works:
                spawn = multiprocessing.get_context("spawn")
                with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as process:
                    rate = process.submit(_rate, work, tiles).result()
                if number > 0:  # the first warms up
                    found[name].append(rate)
                bar.update()
    return found
