"""The command `smoke-load`: load the dataset as a user would, and check the examples."""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any

from rock_glacier import output
from rock_glacier.cli import options as shared_options

HELP = "Load every config and split as a user would, and check the examples"

# Tiles of the sample that is made if neither a folder nor a repository is given.
_SAMPLE_SIZES: dict[str, Any] = {"train": 14, "validation": 4, "test": 6}

# Examples of each split that are decoded. The others are checked for path and label only.
_DECODED = 8

_HEADINGS = f"{'config':20}  {'split':10}  {'loaded':9}  {'examples':>8}  first example"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""
    parser.epilog = (
        "Loads each config twice, whole and streaming, and prints the number of examples of each "
        "split. Without DATA_DIR and --repo-id, a synthetic sample is made and loaded."
    )
    shared_options.add_data_dir(parser, nargs="?")
    shared_options.add_repo_id(parser, default=None)
    shared_options.add_revision(parser)


def run(options: argparse.Namespace) -> None:
    """Load, check and print a line for each config, loading mode and split."""
    if options.data_dir and options.repo_id:
        raise shared_options.UsageError("give either DATA_DIR or --repo-id")
    if options.revision and not options.repo_id:
        raise shared_options.UsageError("--revision needs --repo-id")

    from rock_glacier.faults import InputError
    from rock_glacier.synthetic import make_sample

    with tempfile.TemporaryDirectory(prefix="rock-glacier-") as folder:
        data_dir = options.data_dir
        if not data_dir and not options.repo_id:
            data_dir = os.path.join(folder, "sample")
            make_sample(data_dir, **_SAMPLE_SIZES)
            output.message("Loading synthetic tiles, which are not tiles of the dataset")
        elif options.repo_id and os.path.exists(options.repo_id):
            raise InputError(
                f"{options.repo_id}: exists in this folder, so `datasets` would load it instead of "
                "the repository. Run the command in another folder."
            )
        output.text(_HEADINGS)
        for config, streaming in itertools.product(shared_options.CONFIG_NAMES, (False, True)):
            loaded = _load(config, streaming, data_dir, options, cache_dir=folder)
            way = "streaming" if streaming else "whole"
            for split, (size, path) in check_dataset(loaded, config).items():
                output.text(f"{config:20}  {split:10}  {way:9}  {size:>8,}  {path}")


def _load(
    config: str, streaming: bool, data_dir: str | None, options: argparse.Namespace, cache_dir: str
) -> Any:
    import datasets

    from rock_glacier_dataset import load_archives

    if data_dir:
        return load_archives(config, data_dir=data_dir, streaming=streaming, cache_dir=cache_dir)
    return datasets.load_dataset(
        options.repo_id, config, revision=options.revision, streaming=streaming
    )


def check_dataset(loaded: Mapping[str, Any], config: str) -> dict[str, tuple[int, str]]:
    """Check that a loaded dataset has the splits, features and examples of a config.

    Returns:
        The number of examples and the path of the first one, by split.

    Raises:
        InputError: If something differs from the data sheet.
    """
    from rock_glacier.faults import InputError
    from rock_glacier_dataset import SPLIT_NAMES, features_of

    if list(loaded) != list(SPLIT_NAMES):
        raise InputError(f"{config}: has the splits {list(loaded)}, not {list(SPLIT_NAMES)}")
    expected = features_of(config)
    results = {}
    for split, examples in loaded.items():
        # The order of features matters, but `==` ignores it.
        if list(examples.features.items()) != list(expected.items()):
            raise InputError(f"{config}, {split}: has the features {examples.features}")
        paths = list(_check_examples(examples, config, split))
        if not paths:
            raise InputError(f"{config}, {split}: has no examples")
        if len(set(paths)) < len(paths):
            raise InputError(f"{config}, {split}: two examples have the same path")
        results[split] = (len(paths), paths[0])
    return results


def _check_examples(examples: Any, config: str, split: str) -> Iterable[str]:
    """Check the examples of a split, and yield their paths."""
    import datasets

    from rock_glacier.faults import InputError
    from rock_glacier.png import decode_tile
    from rock_glacier_dataset import CLASS_NAMES, class_of, split_of

    columns = [column for column in ("image", "masks") if column in examples.features]
    for column in columns:
        examples = examples.cast_column(column, datasets.Image(decode=False))
    for number, example in enumerate(examples):
        path = example["path"]
        place = f"{config}, {split}: {path}"
        if split_of(path) != split or class_of(path) not in CLASS_NAMES:
            raise InputError(f"{place}: is not the path of a tile of this split")
        if "labels" in example and CLASS_NAMES[example["labels"]] != class_of(path):
            raise InputError(f"{place}: has the label {example['labels']}")
        if number < _DECODED:
            for column in columns:
                image = decode_tile(example[column]["bytes"], place)
                if column == "masks":
                    _check_mask(image, place)
        yield path


def _check_mask(mask: Any, place: str) -> None:
    from rock_glacier.faults import InputError
    from rock_glacier.masks import mask_to_class_indices

    try:
        mask_to_class_indices(mask)
    except ValueError as error:
        raise InputError(f"{place}: its mask has wrong colours ({error})") from error
