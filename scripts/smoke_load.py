#!/usr/bin/env python
"""Load the dataset as a user would, and tell whether it is what it should be.

    python scripts/smoke_load.py                                       # a sample, made for it
    python scripts/smoke_load.py --data-dir data                       # a folder of archives
    python scripts/smoke_load.py --repo-id alkzar90/rock-glacier-dataset  # what is published on the Hub
    python scripts/smoke_load.py --repo-id alkzar90/rock-glacier-dataset --revision script --trust-remote-code

Every config and split is loaded, whole and streaming, and a line of a table is printed for each: config, split, the way
it was loaded, number of examples, and the first one. The table is plain text of at most 80 columns, wherever it goes.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import datasets
from audit_record import audit_record
from make_sample_archives import make_sample_archives

import rock_glacier_dataset
from rock_glacier.console import run, say
from rock_glacier_dataset import (
    CLASS_NAMES,
    CONFIG_NAMES,
    RELEASE_SIZES,
    REPO_ID,
    SPLIT_NAMES,
    TILE_SIZE,
    features_of,
    mask_to_class_indices,
)

SAMPLE_SIZES: dict[str, Any] = {"train": 14, "validation": 4, "test": 6}

DECODED = 8
"""Examples of each split whose images are decoded; of the others, the paths and labels are read."""


class Origin(NamedTuple):
    """Where the dataset is loaded from.

    Attributes:
        data_dir: folder of archives; None for the Hub.
        repo_id: Hub dataset; None for a folder.
        revision: branch, tag or commit of the Hub dataset.
        sizes: number of tiles that each split must have, where that is known.
        trust_remote_code: run the Hub dataset's loading script, as `datasets` < 4 does for its branch `script`.
    """

    data_dir: str | None
    repo_id: str | None = None
    revision: str | None = None
    sizes: Mapping[str, int] | None = None
    trust_remote_code: bool = False


class LoadedSplit(NamedTuple):
    """What was found in one split of one config.

    Attributes:
        config: name of the config.
        split: name of the split.
        way: "whole" or "streaming".
        examples: number of examples.
        first_path: path of the first example.
    """

    config: str
    split: str
    way: str
    examples: int
    first_path: str

    def __str__(self) -> str:
        """Return its row of the table, in at most 80 columns.

        Example:
            >>> print(HEADINGS)
            config                split       loaded     examples  first example
            >>> print(LoadedSplit("image-segmentation", "test", "whole", 2700, "test/glaciar/3.png"))
            image-segmentation    test        whole          2700  glaciar/3.png
        """
        first = self.first_path.removeprefix(f"{self.split}/")
        return _row(self.config, self.split, self.way, str(self.examples), _shortened(first))


def _row(config: str, split: str, way: str, examples: str, first: str) -> str:
    return f"{config:20}  {split:10}  {way:9}  {examples:>8}  {first}"


def _shortened(text: str, width: int = 25) -> str:
    """Leave out the middle of a text that is too long for the last column of 80."""
    kept = width - len("...")
    return text if len(text) <= width else f"{text[: kept // 2]}...{text[-(kept - kept // 2) :]}"


HEADINGS = _row("config", "split", "loaded", "examples", "first example")


class SmokeError(Exception):
    """The dataset loads, but is not what the contract says."""


def smoke_load(origin: Origin, configs: Sequence[str], ways: Sequence[str], cache_dir: str) -> Iterator[LoadedSplit]:
    """Load configs in the ways asked for, and check and count their examples.

    Args:
        origin: where to load from.
        configs: names of the configs.
        ways: "whole", "streaming" or both.
        cache_dir: where archives of a folder are prepared.

    Yields:
        what was found in each split, as soon as it is checked.

    Raises:
        SmokeError: if something is not as the contract says.
        Exception: whatever loading raises.
    """
    for config, way in itertools.product(configs, ways):
        loaded = _load(origin, config, way == "streaming", cache_dir)
        if list(loaded) != list(SPLIT_NAMES):
            raise SmokeError(f"{config}: the splits are {', '.join(loaded)}; they should be {', '.join(SPLIT_NAMES)}")
        for split, examples in loaded.items():
            found = _check_split(config, split, way, examples)
            if origin.sizes and found.examples != origin.sizes[split]:
                raise SmokeError(f"{config} {split} {way}: {found.examples} examples; {origin.sizes[split]} expected")
            yield found
        # A reader of Parquet that is left in the middle of a file must end before the interpreter does: its threads
        # would end the process with an abort (https://github.com/apache/arrow/issues/45214).
        del loaded, examples
        gc.collect()


def _load(origin: Origin, config: str, streaming: bool, cache_dir: str) -> Any:  # a dictionary of splits
    if origin.repo_id is None:
        return rock_glacier_dataset.load_dataset(
            config, data_dir=origin.data_dir, streaming=streaming, cache_dir=cache_dir
        )
    trust = {"trust_remote_code": True} if origin.trust_remote_code else {}
    return datasets.load_dataset(origin.repo_id, name=config, revision=origin.revision, streaming=streaming, **trust)


def _check_split(config: str, split: str, way: str, examples: Any) -> LoadedSplit:
    place = f"{config} {split} {way}"
    expected = features_of(config)
    if examples.features != expected or list(examples.features) != list(expected):
        raise SmokeError(f"{place}: the features are {examples.features}; they should be {expected}")
    for example in itertools.islice(examples, DECODED):
        _check_images(f"{place}: {example['path']}", example)
    paths: dict[str, None] = {}
    for example in _undecoded(examples):
        path, label = example["path"], example.get("labels")
        match = re.fullmatch(rf"{split}/({'|'.join(CLASS_NAMES)})/(?:0|[1-9][0-9]*)\.png", path)
        if match is None or path in paths:
            raise SmokeError(f"{place}: {path} {'stands twice' if match else f'is not of {split}/<class>/<id>.png'}")
        if label is not None and CLASS_NAMES[label] != match[1]:
            raise SmokeError(f"{place}: {path} has the label {label}, {CLASS_NAMES[label]}")
        paths[path] = None
    if not paths:
        raise SmokeError(f"{place}: no examples")
    return LoadedSplit(config, split, way, len(paths), next(iter(paths)))


def _undecoded(examples: Any) -> Any:
    for column, feature in examples.features.items():
        if isinstance(feature, datasets.Image):
            examples = examples.cast_column(column, datasets.Image(decode=False))
    return examples


def _check_images(place: str, example: Mapping[str, Any]) -> None:
    for column in example.keys() & {"image", "masks"}:
        image = example[column]
        if (image.mode, image.size) != ("RGBA", (TILE_SIZE, TILE_SIZE)):
            raise SmokeError(f"{place}: {column} is {image.mode} of {image.size[0]} x {image.size[1]} pixels")
    if "masks" in example:
        try:
            mask_to_class_indices(example["masks"])
        except ValueError as error:
            raise SmokeError(f"{place}: {error}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Load every config and split as a user would, whole and streaming, and check what comes. "
        "Without arguments: from synthetic sample archives, made in a temporary folder.",
        epilog="Prints a line for each config, split and way: number of examples, and the first one without its split. "
        "Exit status: 0 when all is as it should be, 1 when it is not, 2 for wrong usage.",
    )
    origin = parser.add_mutually_exclusive_group()
    origin.add_argument("--data-dir", metavar="DIR", help="load from this folder of archives, or URL of one")
    origin.add_argument("--repo-id", metavar="ID", help=f"load from this Hub dataset, such as {REPO_ID}")
    parser.add_argument("--revision", metavar="REV", help="branch, tag or commit of the Hub dataset (default: main)")
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="run the loading script of the Hub dataset's branch `script`, which datasets < 4 does when told to",
    )
    parser.add_argument(
        "--name",
        metavar="CONFIG",
        action="append",
        choices=CONFIG_NAMES,
        help=f"load this config alone; may be repeated ({' or '.join(CONFIG_NAMES)}; default: both)",
    )
    parser.add_argument("--streaming", action="store_true", help="load streaming alone (default: whole and streaming)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.revision is not None and options.repo_id is None:
        parser.error("--revision is of a Hub dataset: give --repo-id too")
    if options.trust_remote_code and options.repo_id is None:
        parser.error("--trust-remote-code is for the script of a Hub dataset: give --repo-id too")
    ways = ["streaming"] if options.streaming else ["whole", "streaming"]

    def load() -> None:
        with tempfile.TemporaryDirectory(prefix="rock-glacier-") as temporary:
            if options.repo_id is not None:
                released = RELEASE_SIZES if options.repo_id == REPO_ID else None
                origin = Origin(None, options.repo_id, options.revision, released, options.trust_remote_code)
            elif options.data_dir is not None:
                origin = Origin(options.data_dir)
                print(audit_record(options.data_dir), file=sys.stderr)
            else:
                datasets.disable_progress_bar()  # there is nothing to wait for
                sample = Path(temporary) / "sample"
                make_sample_archives(sample, **SAMPLE_SIZES)
                origin = Origin(str(sample), sizes=SAMPLE_SIZES)
            loaded = smoke_load(origin, options.name or CONFIG_NAMES, ways, temporary)
            for number, found in enumerate(loaded):
                say(found if number else f"{HEADINGS}\n{found}")

    return run(parser.prog, load, Exception)  # whatever a client library raises, one line says it


if __name__ == "__main__":
    sys.exit(main())
