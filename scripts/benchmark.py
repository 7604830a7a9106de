#!/usr/bin/env python
"""Measure how fast the dataset is prepared and read, against what the machine allows and against its peers.

    python scripts/benchmark.py
    python scripts/benchmark.py --tiles 1170 --rounds 3 --json benchmark.json

Makes archives of synthetic tiles, by default as many as the release has, and prints a line for each measure:

* preparing each config, as a ratio to the limit: reading every member of the zips that it needs with `zipfile`, and
  writing the same bytes to one file;
* auditing the archives, as a ratio to decoding every tile with Pillow in a plain loop on one core;
* staging both configs for the Hub, as a ratio to both limits together;
* preparing `image-classification` against `imagefolder` on the same tiles as a folder, and against `webdataset` on the
  same tiles as tar files;
* the peak memory of each, and of preparing both configs at ten times the tiles;
* examples a second, whole and streaming, with and without decoding;
* the bytes that uploading and streaming move, to and from a Hub on the loopback interface;
* tiles a second that a training loop is given: random batches of arrays, as a ratio to decoding with Pillow on one
  core, and where there is torch, each loader beside one over a folder of PNG files.

Every measurement is made in a process of its own. Each round takes all of them in turn, the first to warm up, and what
is printed is the median of the others; a ratio is the median of the ratios of one round's times.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import statistics
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
from archive_audit import audit
from benchmark_hub import measure_moved
from benchmark_loaders import DECODING, GATHERING, measure_loaders
from contract_archives import Tile, write_split
from joblib.externals.loky import get_reusable_executor
from make_sample_archives import make_sample_archives
from measurement import Measurement, Work, measure
from PIL import Image
from stage_hub_repo import stage
from tqdm import tqdm

import rock_glacier_dataset
from rock_glacier.console import run, say
from rock_glacier_dataset import RELEASE_SIZES, SPLIT_NAMES, RockGlacierDataset

DEFAULT_ROUNDS = 7

READ_SPLIT = "test"
"""The split whose examples are read, whole and streaming."""

TENFOLD = 10


class Inputs(NamedTuple):
    """The same tiles in the forms that are compared.

    Attributes:
        archives: folder of contract archives.
        image_folder: a folder of PNG files, for `imagefolder`.
        tars: a folder of tar files, for `webdataset`.
        tiles: number of tiles.
    """

    archives: Path
    image_folder: Path
    tars: Path
    tiles: int


# What a process of its own does. Each gets the folder of its input and a scratch folder, and returns the number of
# examples that it read.


def limit(kinds: Sequence[str], data_dir: Path, scratch: Path) -> int:
    """Read every member of the archives and write the same bytes to one file."""
    with open(scratch / "all", "wb") as file:
        for split in SPLIT_NAMES:
            for kind in kinds:
                with zipfile.ZipFile(data_dir / f"{split}{kind}.zip") as archive:
                    for member in archive.infolist():
                        file.write(archive.read(member))
    return 0


def limit_classification(data_dir: Path, scratch: Path) -> int:
    """Do the least that preparing `image-classification` asks for."""
    return limit([""], data_dir, scratch)


def limit_segmentation(data_dir: Path, scratch: Path) -> int:
    """Do the least that preparing `image-segmentation` asks for."""
    return limit(["", "_masks"], data_dir, scratch)


def limit_stage(data_dir: Path, scratch: Path) -> int:
    """Do the least that writing both configs asks for."""
    return limit(["", "", "_masks"], data_dir, scratch)


def stage_both(data_dir: Path, scratch: Path) -> int:
    """Write the folder that is the Hub repository, with the archives in it."""
    stage(data_dir, scratch / "staged")
    return 0


def decode_all(data_dir: Path, scratch: Path) -> int:
    """Decode every tile with Pillow, in a plain loop on one core."""
    for split in SPLIT_NAMES:
        with zipfile.ZipFile(data_dir / f"{split}.zip") as archive:
            for member in archive.infolist():
                Image.open(io.BytesIO(archive.read(member))).load()
    return 0


def audit_all(data_dir: Path, scratch: Path) -> int:
    """Audit the archives on all cores, from the start of the workers to the report."""
    found = audit(data_dir)
    get_reusable_executor().shutdown()  # whose processes this one would wait for at its end, for minutes
    if found.errors:
        raise RuntimeError(f"the sample has faults, such as {found.findings[0]}")
    return 0


def _prepare(builder: Any) -> int:
    builder.download_and_prepare()
    return 0


def prepare_classification(data_dir: Path, scratch: Path) -> int:
    """Prepare `image-classification`."""
    return _prepare(RockGlacierDataset(str(scratch), config_name="image-classification", data_dir=data_dir))


def prepare_segmentation(data_dir: Path, scratch: Path) -> int:
    """Prepare `image-segmentation`."""
    return _prepare(RockGlacierDataset(str(scratch), config_name="image-segmentation", data_dir=data_dir))


def prepare_image_folder(folder: Path, scratch: Path) -> int:
    """Prepare the tiles as `imagefolder` does."""
    return _prepare(datasets.load_dataset_builder("imagefolder", data_dir=str(folder), cache_dir=str(scratch)))


def prepare_web_dataset(folder: Path, scratch: Path) -> int:
    """Prepare the tiles as `webdataset` does."""
    files = {split: str(folder / f"{split}.tar") for split in SPLIT_NAMES}
    return _prepare(datasets.load_dataset_builder("webdataset", data_files=files, cache_dir=str(scratch)))


def _read(examples: Any, decode: bool) -> int:
    if not decode:
        for column in ("image", "masks"):
            examples = examples.cast_column(column, datasets.Image(decode=False))
    return sum(1 for _ in examples)


def _prepared(data_dir: Path, scratch: Path) -> Any:
    return rock_glacier_dataset.load_dataset(
        "image-segmentation", data_dir=data_dir, split=READ_SPLIT, cache_dir=scratch
    )


def _stream(data_dir: Path) -> Any:
    return rock_glacier_dataset.load_dataset("image-segmentation", data_dir=data_dir, split=READ_SPLIT, streaming=True)


def read_whole(data_dir: Path, scratch: Path) -> int:
    """Read tiles and masks of a prepared split as bytes."""
    return _read(_prepared(data_dir, scratch), decode=False)


def read_whole_decoded(data_dir: Path, scratch: Path) -> int:
    """Read tiles and masks of a prepared split as images."""
    return _read(_prepared(data_dir, scratch), decode=True)


def read_streaming(data_dir: Path, scratch: Path) -> int:
    """Stream tiles and masks as bytes."""
    return _read(_stream(data_dir), decode=False)


def read_streaming_decoded(data_dir: Path, scratch: Path) -> int:
    """Stream tiles and masks as images."""
    return _read(_stream(data_dir), decode=True)


def make_inputs(folder: Path, tiles: int) -> Inputs:
    """Make the same tiles in the forms that are compared.

    Args:
        folder: where they are made.
        tiles: number of tiles, dealt to the splits as in the release.
    """
    sizes: dict[str, Any] = {
        split: max(1, round(tiles * size / sum(RELEASE_SIZES.values()))) for split, size in RELEASE_SIZES.items()
    }
    archives = folder / "archives"
    make_sample_archives(archives, **sizes, progress=True)
    for split in SPLIT_NAMES:
        with zipfile.ZipFile(archives / f"{split}.zip") as archive:
            archive.extractall(folder / "image_folder")  # noqa: S202 - made above
            _write_tar(archive, folder / "tars" / f"{split}.tar")
    return Inputs(archives, folder / "image_folder", folder / "tars", sum(sizes.values()))


def _write_tar(archive: zipfile.ZipFile, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name in archive.namelist():
            _, class_name, file_name = name.split("/")
            key = f"{class_name}_{Path(file_name).stem}"
            label = str(rock_glacier_dataset.CLASS_NAMES.index(class_name)).encode()
            for ending, content in (("png", archive.read(name)), ("cls", label)):
                member = tarfile.TarInfo(f"{key}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def _write_tenfold(archives: Path, folder: Path) -> None:
    for split in SPLIT_NAMES:
        with zipfile.ZipFile(archives / f"{split}.zip") as tiles:
            count = TENFOLD * len(tiles.namelist())
        write_split(folder, split, _tenfold_tiles(archives, split), count=count, shards=1)


def _tenfold_tiles(archives: Path, split: str) -> Iterator[Tile]:
    with zipfile.ZipFile(archives / f"{split}.zip") as tiles, zipfile.ZipFile(archives / f"{split}_masks.zip") as masks:
        with_masks = set(masks.namelist())
        for class_name in rock_glacier_dataset.CLASS_NAMES:
            names = [name for name in tiles.namelist() if name.split("/")[1] == class_name]
            for number in range(TENFOLD * len(names)):
                time, place = divmod(number, len(names))
                name = names[place]
                tile = _recoloured(tiles.read(name), time)
                yield Tile(class_name, number, tile, masks.read(name) if name in with_masks else None)


def _recoloured(png: bytes, number: int) -> bytes:
    """Make of a tile another one, which shares no ground with it for an audit; itself where the number is 0."""
    if not number:
        return png
    pixels = np.array(Image.open(io.BytesIO(png)))
    pixels[..., 0] ^= np.uint8(number)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def run_rounds(inputs: Inputs, rounds: int, scratch: Path) -> dict[str, list[Measurement]]:
    """Measure everything in turn, round after round.

    Returns:
        for each measure the measurements of all rounds but the first.
    """
    prepared = scratch / "prepared"  # outlives the rounds, so that reading is measured without preparing
    _prepared(inputs.archives, prepared)
    works: list[tuple[Work, Path]] = [
        (limit_classification, inputs.archives),
        (prepare_classification, inputs.archives),
        (prepare_image_folder, inputs.image_folder),
        (prepare_web_dataset, inputs.tars),
        (limit_segmentation, inputs.archives),
        (prepare_segmentation, inputs.archives),
        (limit_stage, inputs.archives),
        (stage_both, inputs.archives),
        (decode_all, inputs.archives),
        (audit_all, inputs.archives),
        (read_whole, inputs.archives),
        (read_whole_decoded, inputs.archives),
        (read_streaming, inputs.archives),
        (read_streaming_decoded, inputs.archives),
    ]
    found: dict[str, list[Measurement]] = {}
    with tqdm(total=(1 + rounds) * len(works), desc="Measuring", unit=" runs") as bar:
        for number in range(1 + rounds):
            for work, data in works:
                own = prepared if work in (read_whole, read_whole_decoded) else None
                measurement = _measure_in(work, data, scratch, own)
                if number > 0:  # the first round warms up: a machine's memory is slower where it was never used
                    found.setdefault(work.__name__, []).append(measurement)
                bar.update()
    return found


def measure_tenfold(archives: Path, scratch: Path) -> dict[str, list[Measurement]]:
    """Measure preparing both configs and the audit once, from the same tiles in ten colourings.

    Returns:
        the measurements by name; none where the disk has no room.
    """
    if shutil.disk_usage(scratch).free < 3 * TENFOLD * sum(file.stat().st_size for file in archives.iterdir()):
        print(f"no room for ten times the tiles in {scratch}; left out", file=sys.stderr)
        return {}
    tenfold = scratch / "tenfold"
    tenfold.mkdir()
    _write_tenfold(archives, tenfold)
    works = (prepare_classification, prepare_segmentation)
    found = {
        f"{work.__name__}_tenfold": [_measure_in(work, tenfold, scratch)]
        for work in tqdm(works, desc="Measuring ten times the tiles", unit=" runs")
    }
    return found | {"audit_memory_tenfold": [measure_audit_memory(tenfold, scratch)]}


def measure_audit_memory(archives: Path, scratch: Path) -> Measurement:
    """Measure the memory of all processes of an audit, apart from its time: looking at them takes time from them."""
    return measure(audit_all, archives, scratch, family=True)


def _measure_in(work: Work, data: Path, scratch: Path, folder: Path | None = None) -> Measurement:
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=scratch)))
        return measure(work, data, folder)


class Result(NamedTuple):
    """One line of the report.

    Attributes:
        name: what was measured.
        value: the figure.
        unit: its unit, or "x" for a ratio.
        note: what the figure should be, or what it was measured on.
    """

    name: str
    value: float
    unit: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.value:.4g} {self.unit}{f' ({self.note})' if self.note else ''}"


def summarise(found: dict[str, list[Measurement]]) -> Iterator[Result]:
    """Turn measurements into the lines of the report."""

    def seconds(name: str) -> float:
        return statistics.median(measurement.seconds for measurement in found[name])

    def memory(name: str) -> float:
        return statistics.median(measurement.megabytes for measurement in found[name])

    def ratio(name: str, base: str) -> float:
        pairs = zip(found[name], found[base], strict=True)
        return statistics.median(measured.seconds / of.seconds for measured, of in pairs)

    for config in ("classification", "segmentation"):
        work, least = f"prepare_{config}", f"limit_{config}"
        note = f"{seconds(work):.2f} s against {seconds(least):.2f} s; should be at most 1.15"
        yield Result(f"prepare image-{config} / limit", ratio(work, least), "x", note)
    note = f"{seconds('stage_both'):.2f} s against {seconds('limit_stage'):.2f} s; should be at most 2.5"
    yield Result("stage both configs / limit", ratio("stage_both", "limit_stage"), "x", note)
    note = f"{seconds('audit_all'):.2f} s against {seconds('decode_all'):.2f} s; should be at most 1.0"
    yield Result("audit / decoding every tile on one core", ratio("audit_all", "decode_all"), "x", note)
    for peer, should in (("image_folder", "; should be at least 5"), ("web_dataset", "")):
        note = f"{seconds(f'prepare_{peer}'):.2f} s against {seconds('prepare_classification'):.2f} s{should}"
        name = f"{peer.replace('_', '')} / prepare image-classification"
        yield Result(name, ratio(f"prepare_{peer}", "prepare_classification"), "x", note)
    bounds = {"prepare_classification": 300, "prepare_segmentation": 300, "stage_both": 400, "audit_memory": 600}
    kinds = ("limit", "prepare", "stage", "audit")
    for name in (name for name in found if name.startswith(kinds) and not name.endswith("tenfold")):
        if name == "audit_all":
            continue  # of its parent alone; audit_memory is of all its processes
        should = f"should be at most {bounds[name]}" if name in bounds else ""
        yield Result(f"peak memory of {name.replace('_', ' ').replace(' memory', '')}", memory(name), "MiB", should)
    for name in (name for name in found if name.endswith("tenfold")):
        once = name.removesuffix("_tenfold")
        if once == "audit_memory":
            yield Result("peak memory of audit, ten times", memory(name), "MiB", "should be at most 1024")
            continue
        note = f"{memory(name):.0f} MiB against {memory(once):.0f} MiB; should be at most 1.10"
        yield Result(f"peak memory of {once.replace('_', ' ')}, ten times", memory(name) / memory(once), "x", note)
    for name in (name for name in found if name.startswith("read")):
        rate = statistics.median(measurement.examples / measurement.seconds for measurement in found[name])
        yield Result(f"{name.replace('_', ' ')}", rate, "examples/s", f"image-segmentation, {READ_SPLIT}")


def summarise_moved(moved: dict[str, int]) -> Iterator[Result]:
    """Turn bytes that were moved into lines of the report."""
    bounds = {
        "a second upload of the same": "should be less than 0.1",
        "a first example, streaming archives by the module": "should be less than 4",
        "a first example, streaming Parquet by datasets": "should be less than 4",
    }
    for name, number in moved.items():
        yield Result(f"bytes moved by {name}", number / 2**20, "MiB", bounds.get(name, ""))


def summarise_loaders(rates: dict[str, list[float]]) -> Iterator[Result]:
    """Turn tiles a second into lines of the report."""
    pairs = zip(rates[GATHERING], rates[DECODING], strict=True)
    ratio = statistics.median(gathered / decoded for gathered, decoded in pairs)
    yield Result(f"{GATHERING} / {DECODING}", ratio, "x", "should be at least 100")
    for name, of_rounds in rates.items():
        yield Result(name, statistics.median(of_rounds), "tiles/s")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Measure how fast the dataset is prepared and read, as ratios to reading the archives and writing "
        "the bytes, and to imagefolder and webdataset, all in one run.",
        epilog="At the release's size it takes some minutes. Ten times the tiles are left out where the temporary "
        "folder (TMPDIR) has less room than thirty times the archives, some 10 GB.",
    )
    parser.add_argument(
        "--tiles",
        metavar="N",
        type=int,
        default=sum(RELEASE_SIZES.values()),
        help="number of tiles (default: %(default)s, the release's)",
    )
    parser.add_argument(
        "--rounds",
        metavar="N",
        type=int,
        default=DEFAULT_ROUNDS,
        help="rounds that count, beside the first (default: %(default)s)",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write results and measurements to this file too")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.tiles < len(SPLIT_NAMES) or options.rounds < 1:
        parser.error(f"there must be at least {len(SPLIT_NAMES)} tiles and one round")
    if options.json and not options.json.parent.is_dir():
        parser.error(f"--json: {options.json.parent} is no folder")

    def benchmark() -> None:
        with tempfile.TemporaryDirectory(prefix="rock-glacier-") as temporary:
            inputs = make_inputs(Path(temporary), options.tiles)
            found = run_rounds(inputs, options.rounds, Path(temporary))
            found["audit_memory"] = [measure_audit_memory(inputs.archives, Path(temporary))]
            found |= measure_tenfold(inputs.archives, Path(temporary))
            moved = measure_moved(inputs.archives, Path(temporary))
            loaders = measure_loaders(inputs.archives, inputs.image_folder, Path(temporary))
        results = [*summarise(found), *summarise_moved(moved), *summarise_loaders(loaders)]
        for result in results:
            say(result)
        if options.json:
            report = {
                "tiles": inputs.tiles,
                "rounds": options.rounds,
                "results": [result._asdict() for result in results],
                "measurements": {name: [one._asdict() for one in several] for name, several in found.items()},
                "moved": moved,
                "loaders": loaders,
            }
            options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")

    return run(parser.prog, benchmark, (OSError, RuntimeError))


if __name__ == "__main__":
    sys.exit(main())
