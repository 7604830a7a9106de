"""Command line of the benchmark: speed, memory and bytes moved, against the machine's limits and the peers.

Every measurement is made in a process of its own. Each round makes all of them in turn, the first to warm up; a figure
is the median of the others, and a ratio the median of the ratios of one round's figures.
"""

from __future__ import annotations

import argparse
import functools
import io
import itertools
import multiprocessing
import os
import re
import statistics
import sys
import tarfile
import tempfile
import time
import unittest.mock
import zipfile
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from rock_glacier.console import note, positive, run, say

CONFIGS = ("image-classification", "image-segmentation")

_TESTS = Path(__file__).resolve().parents[2] / "tests"  # where the loopback Hub is
_HUB_FOLDER = "data/data_v01"
_BATCH_SIZE = 64  # tiles
_LEAST_SECONDS = 0.5  # that random batches are taken for
Work = Callable[[str, Path], float]
"""What a process does with the folder or URL of its input and a scratch folder; it returns a rate or a count."""

Line = tuple[str, float, str, str]
"""A line of the report: what was measured, the figure, its unit, and what it should be."""


class Measurement(NamedTuple):
    """Wall time in seconds, without imports, peak resident memory in MiB, and what the work returned."""

    seconds: float
    memory: float
    figure: float


def copy_members(with_masks: Sequence[bool], data_dir: str, scratch: Path) -> float:
    """Read the members by `zipfile` and write their bytes to one file: the least that preparing a config asks for."""
    with open(scratch / "all", "wb") as file:
        for masks, path in itertools.product(with_masks, sorted(Path(data_dir).glob("*.zip"))):
            with zipfile.ZipFile(path) as archive:
                for member in archive.infolist():
                    if masks or "/masks/" not in member.filename:
                        file.write(archive.read(member))
    return 0


def prepare(config: str, data_dir: str, scratch: Path) -> float:
    """Prepare a config from archives."""
    from rock_glacier_dataset import RockGlacierDataset

    RockGlacierDataset(config_name=config, data_dir=data_dir, cache_dir=str(scratch)).download_and_prepare()
    return 0


def prepare_peer(builder: str, folder: str, scratch: Path) -> float:
    """Prepare the tiles by a builder of `datasets`."""
    import datasets

    files = {path.stem: str(path) for path in sorted(Path(folder).glob("*.tar"))}
    where: dict[str, Any] = {"data_files": files} if files else {"data_dir": folder}
    datasets.load_dataset_builder(builder, **where, cache_dir=str(scratch)).download_and_prepare()
    return 0


def stream(config: str, tiles: int, data_dir: str, scratch: Path) -> float:
    """Stream at most so many tiles of the train split, undecoded."""
    import datasets

    from rock_glacier_dataset import load_archives

    examples: Any = load_archives(config, data_dir=data_dir, split="train", streaming=True).take(tiles)
    for column in {"image", "masks"}.intersection(examples.features):
        examples = examples.cast_column(column, datasets.Image(decode=False))
    return sum(1 for _ in examples)


def stage_both(data_dir: str, scratch: Path) -> float:
    """Write the folders of the Hub repository, by one process."""
    from rock_glacier.publication.staging import stage

    stage(data_dir, scratch / "staged")
    return 0


def gather(data_dir: str, scratch: Path) -> float:
    """Take random batches of decoded arrays, and return tiles a second."""
    from rock_glacier.arrays import to_arrays
    from rock_glacier_dataset import load_archives

    image = to_arrays(load_archives(data_dir=data_dir, split="train", cache_dir=scratch), cache_dir=scratch)["image"]
    return _random_batches(lambda rows: image[rows], len(image))


def decode(data_dir: str, scratch: Path) -> float:
    """Decode random batches with Pillow on one core, and return tiles a second."""
    import numpy as np
    from PIL import Image

    with zipfile.ZipFile(Path(data_dir) / "train.zip") as archive:
        pngs = [archive.read(name) for name in archive.namelist() if "/masks/" not in name]
    return _random_batches(
        lambda rows: np.stack([np.array(Image.open(io.BytesIO(pngs[row])).convert("RGB")) for row in rows]), len(pngs)
    )


def _random_batches(take: Callable[[Any], object], tiles: int) -> float:
    import numpy as np

    generator, taken, start = np.random.default_rng(0), 0, time.perf_counter()
    while time.perf_counter() - start < _LEAST_SECONDS:
        for rows in np.array_split(generator.permutation(tiles), -(-tiles // _BATCH_SIZE)):
            take(rows)
            taken += len(rows)
    return taken / (time.perf_counter() - start)


def measure(work: Work, data: str, folder: Path) -> Measurement:
    """Do the work in a process of its own, with a scratch folder.

    Raises:
        RuntimeError: it failed; its traceback is on standard error.
    """
    if hasattr(os, "sync"):
        os.sync()  # so that what others wrote does not slow down this one
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        process = context.Process(target=_measure_here, args=(work, data, Path(scratch), theirs))
        process.start()
        theirs.close()
        try:
            return Measurement(*ours.recv())
        except EOFError:
            raise RuntimeError(f"{work} failed") from None
        finally:
            process.join()


def _measure_here(work: Work, data: str, scratch: Path, answer: Connection) -> None:
    import datasets

    datasets.disable_progress_bar()
    start = time.perf_counter()
    figure = work(data, scratch)
    seconds = time.perf_counter() - start
    status = Path("/proc/self/status")  # proc_pid_status(5); getrusage counts what the parent held, too
    peak = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
    answer.send((seconds, int(peak[1]) / 1024 if peak else float("nan"), figure))


def make_inputs(folder: Path, tiles: int) -> None:
    """Make the same tiles as archives, folders of files and tar files, and archives with masks at other places."""
    from rock_glacier.archives.writer import mask_path, write_archive
    from rock_glacier.sample.generate import make_sample_archives
    from rock_glacier_dataset import CLASS_NAMES, RELEASE_SIZES

    total = sum(RELEASE_SIZES.values())
    sizes: dict[str, Any] = {split: max(2, round(tiles * size / total)) for split, size in RELEASE_SIZES.items()}
    make_sample_archives(folder / "archives", **sizes, progress=True)
    for name in ("tars", "end", "behind"):
        (folder / name).mkdir()
    for split in sizes:
        with zipfile.ZipFile(folder / "archives" / f"{split}.zip") as archive:
            png = {name: archive.read(name) for name in archive.namelist()}
            names = [name for name in png if "/masks/" not in name]
            for name in names:
                archive.extract(name, folder / "imagefolder")
        with tarfile.open(folder / "tars" / f"{split}.tar", "w") as tar:
            for name in names:
                _, class_name, file = name.split("/")
                label = str(CLASS_NAMES.index(class_name)).encode()
                for suffix, content in (("png", png[name]), ("cls", label)):
                    member = tarfile.TarInfo(f"{class_name}_{file.removesuffix('png')}{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        behind = [path for name in names for path in ((name, mask_path(name)) if "/glaciar/" in name else (name,))]
        for layout, order in (("end", sorted(png)), ("behind", behind)):
            write_archive(folder / layout / f"{split}.zip", ((name, png[name]) for name in order))


def measure_streams(folder: Path) -> Iterator[Line]:
    """Stream the train split from a Hub on the loopback interface, and count the bytes that it sends."""
    sys.path.append(str(_TESTS))
    try:
        from hub.server import HubServer, client_environment
    except ImportError as error:
        note(f"the bytes moved are left out ({error}); pip install -e '.[test]'")
        return
    from rock_glacier_dataset import REPO_ID

    layouts = {"end": "masks at the end", "archives": "masks by SHA-256", "behind": "masks behind tiles"}
    with HubServer() as hub:
        for (layout, name), config in itertools.product(layouts.items(), CONFIGS):
            archives = {f"{_HUB_FOLDER}/{path.name}": path for path in (folder / layout).glob("*.zip")}
            hub.add_repository(REPO_ID, archives)
            for tiles in (1, 10**9):
                hub.requests.clear()
                with tempfile.TemporaryDirectory(dir=folder) as home, unittest.mock.patch.dict(os.environ):
                    os.environ.update(client_environment(hub, Path(home)))  # which the process is started with
                    work = functools.partial(stream, config, tiles)
                    measure(work, f"hf://datasets/{REPO_ID}/{_HUB_FOLDER}", folder)
                moved, requests = hub.bytes_sent("train.zip"), sum(bool(request.range) for request in hub.requests)
                if tiles == 1:
                    yield f"{config}, {name}: first example", moved / 2**20, "MiB", "at most 4"
                    continue
                bound = "at most 1" if config == CONFIGS[0] else "at most 1.5"
                size = (folder / layout / "train.zip").stat().st_size
                yield f"{config}, {name}: bytes moved / archive", moved / size, "x", f"{bound}; {requests} requests"


def compare(found: dict[str, list[Measurement]]) -> Iterator[Line]:
    """Compare what was measured with the limits and the peers."""

    def median(work: str, field: str) -> float:
        return statistics.median(getattr(one, field) for one in found[work])

    for work, base, field, bound in (
        ("prepare image-classification", "limit of image-classification", "seconds", "at most 1.15"),
        ("prepare image-segmentation", "limit of image-segmentation", "seconds", "at most 1.15"),
        ("stage both configs", "limit of both configs", "seconds", "at most 2.5"),
        ("prepare imagefolder", "prepare image-classification", "seconds", "at least 5"),
        ("prepare webdataset", "prepare image-classification", "seconds", ""),
        ("random batches of to_arrays", "random batches of Pillow", "figure", "at least 100"),
    ):
        pairs = zip(found[work], found[base], strict=True)
        ratio = statistics.median(getattr(one, field) / getattr(other, field) for one, other in pairs)
        figures = f"{median(work, field):.4g} / {median(base, field):.4g}{' s' if field == 'seconds' else ' tiles/s'}"
        yield f"{work} / {base}", ratio, "x", f"{bound}{bound and '; '}{figures}"
    bounds = {"stage both configs": "at most 400", "prepare imagefolder": "", "prepare webdataset": ""}
    for work in found:
        if work.startswith(("prepare", "stream", "stage")):
            yield f"peak memory: {work}", median(work, "memory"), "MiB", bounds.get(work, "at most 300")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        description="Measure preparing, streaming, staging and random batches of synthetic tiles, as ratios to reading "
        "the archives and writing the bytes, to imagefolder and webdataset of datasets, and to Pillow.",
        epilog="Prints a line for each figure, with what it should be. At the release's size it takes some fifteen "
        "minutes and 3 GB in the temporary folder (TMPDIR); run it on an idle machine.",
    )
    size: dict[str, Any] = {"metavar": "N", "type": positive}
    parser.add_argument("--tiles", **size, default=11700, help="number of tiles (default: %(default)s, the release's)")
    parser.add_argument("--rounds", **size, default=5, help="rounds that count (default: %(default)s)")
    options = parser.parse_args(arguments)

    works: dict[str, tuple[Work, str]] = {
        "limit of image-classification": (functools.partial(copy_members, [False]), "archives"),
        "limit of image-segmentation": (functools.partial(copy_members, [True]), "archives"),
        "limit of both configs": (functools.partial(copy_members, [False, True]), "archives"),
    }
    for config in CONFIGS:
        works[f"prepare {config}"] = functools.partial(prepare, config), "archives"
        works[f"stream {config}"] = functools.partial(stream, config, options.tiles), "archives"
    works |= {
        "prepare imagefolder": (functools.partial(prepare_peer, "imagefolder"), "imagefolder"),
        "prepare webdataset": (functools.partial(prepare_peer, "webdataset"), "tars"),
        "stage both configs": (stage_both, "archives"),
        "random batches of to_arrays": (gather, "archives"),
        "random batches of Pillow": (decode, "archives"),
    }

    def benchmark() -> None:
        with tempfile.TemporaryDirectory(prefix="rock-glacier-") as temporary:
            folder = Path(temporary)
            make_inputs(folder, options.tiles)
            found: dict[str, list[Measurement]] = {name: [] for name in works}
            for _ in range(1 + options.rounds):
                for name, (work, data) in works.items():
                    found[name].append(measure(work, str(folder / data), folder))
            counted = {name: several[1:] for name, several in found.items()}  # the first round warms up
            for name, figure, unit, note in itertools.chain(compare(counted), measure_streams(folder)):
                say(f"{name:<66}{figure:>9.4g} {unit:<4}{note and f'({note})'}")

    return run(parser.prog, benchmark, extra="publish")
