"""Load the dataset as a user would, and check that it matches the data sheet."""

from __future__ import annotations

import argparse
import gc
import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rock_glacier.console import CONFIG_NAMES, REPO_ID, PrintableError, add_options, note, repo_id, run, say

_SAMPLE_SIZES: dict[str, Any] = {"train": 14, "validation": 4, "test": 6}
_DECODED = 8  # examples of each split; of the others, paths and labels are read
_WAYS = ("whole", "streaming")


class LoadedSplit(NamedTuple):
    """What was found in a split of a config.

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
            >>> print(LoadedSplit("image-segmentation", "test", "whole", 2700, "test/glaciar/003.png"))
            image-segmentation    test        whole          2700  glaciar/003.png
        """
        first = self.first_path.partition("/")[2]
        first = first if len(first) <= 25 else f"{first[:11]}...{first[-11:]}"
        return f"{self.config:20}  {self.split:10}  {self.way:9}  {self.examples:>8}  {first}"


HEADINGS = f"{'config':20}  {'split':10}  {'loaded':9}  {'examples':>8}  first example"


class SmokeError(PrintableError, RuntimeError):
    """The dataset loads, but does not match the data sheet."""


def smoke_load(
    load: Callable[[str, bool], Any],
    configs: Sequence[str],
    ways: Sequence[str] = _WAYS,
    sizes: Mapping[str, int] | None = None,
) -> Iterator[LoadedSplit]:
    """Load configs, and check and count their examples.

    Args:
        load: called with a config's name and whether to stream; returns a dataset for each split.
        configs: names of the configs.
        ways: "whole", "streaming" or both.
        sizes: number of tiles that each split must have, where that is known.

    Yields:
        what was found in each split, as soon as it is checked.

    Raises:
        SmokeError: something does not match the data sheet.
        Exception: whatever `load` raises.
    """
    from rock_glacier_dataset import SPLIT_NAMES

    for config, way in itertools.product(configs, ways):
        loaded = load(config, way == "streaming")
        if list(loaded) != list(SPLIT_NAMES):
            raise SmokeError(f"{config}: the splits are {', '.join(loaded)}; expected {', '.join(SPLIT_NAMES)}")
        for split, examples in loaded.items():
            found = _check_split(config, split, way, examples)
            if sizes and found.examples != sizes[split]:
                raise SmokeError(f"{config} {split} {way}: {found.examples} examples; expected {sizes[split]}")
            yield found
        # A reader of Parquet that is left in the middle of a file must end before the interpreter does: its threads
        # would end the process with an abort (https://github.com/apache/arrow/issues/45214).
        del loaded, examples
        gc.collect()


def _check_split(config: str, split: str, way: str, examples: Any) -> LoadedSplit:
    import datasets

    from rock_glacier_dataset import CLASS_NAMES, MEMBER_NAME, SPLIT_FOLDERS, features_of

    place = f"{config} {split} {way}"
    expected = features_of(config)
    if examples.features != expected or list(examples.features) != list(expected):
        raise SmokeError(f"{place}: the features are {examples.features}; expected {expected}")
    for example in itertools.islice(examples, _DECODED):
        _check_images(f"{place}: {example['path']}", example)
    for column in {"image", "masks"} & expected.keys():
        examples = examples.cast_column(column, datasets.Image(decode=False))
    paths: dict[str, None] = {}
    for example in examples:
        path, label = example["path"], example.get("labels")
        match = MEMBER_NAME.fullmatch(path) if path.count("/") == 2 else None
        if match is None or match[1] not in SPLIT_FOLDERS[split] or match[2] not in CLASS_NAMES:
            raise SmokeError(f"{place}: {path} is not named {split}/<class>/<id>.png")
        if path in paths:
            raise SmokeError(f"{place}: {path} is there twice")
        if label is not None and CLASS_NAMES[label] != match[2]:
            raise SmokeError(f"{place}: {path} has the label {label}, {CLASS_NAMES[label]}")
        paths[path] = None
    if not paths:
        raise SmokeError(f"{place}: no examples")
    return LoadedSplit(config, split, way, len(paths), next(iter(paths)))


def _check_images(place: str, example: Mapping[str, Any]) -> None:
    from rock_glacier.masks import mask_to_class_indices
    from rock_glacier_dataset import TILE_SIZE

    for column in example.keys() & {"image", "masks"}:
        image = example[column]
        if (image.mode, image.size) != ("RGBA", (TILE_SIZE, TILE_SIZE)):
            raise SmokeError(f"{place}: {column} is {image.mode} of {image.size[0]} x {image.size[1]} pixels")
    if "masks" in example:
        try:
            mask_to_class_indices(example["masks"])
        except ValueError as error:
            raise SmokeError(f"{place}: {error}") from None


def _say_what_is_loaded(data_dir: str) -> None:
    """Say that a folder holds a sample, or whether its archives were audited."""
    from rock_glacier.archives.listing import check_folder
    from rock_glacier.archives.manifest import is_sample
    from rock_glacier.audit.record import audit_record

    check_folder(data_dir)
    if is_sample(data_dir):
        say("These are synthetic sample tiles, none of the dataset's.")
    else:
        note(audit_record(data_dir))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        description="Load every config and split as a user would, whole and streaming, and check the examples: from a "
        "folder of archives, from the Hub, or, without either, from a synthetic sample that is made first.",
        epilog="Prints a line for each config, split and way: number of examples, and the first one without its split. "
        "Exit status: 0 when everything is right, 1 when it is not, 2 for wrong usage.",
    )
    what = "load from this folder of archives, or URL of one"
    parser.add_argument("data_dir", metavar="DATA_DIR", nargs="?", help=what)
    parser.add_argument("--repo-id", metavar="ID", type=repo_id, help=f"load this Hub dataset, such as {REPO_ID}")
    add_options(parser, "--revision")
    what = "load this config alone: image-classification or image-segmentation (default: both)"
    parser.add_argument("--name", metavar="CONFIG", choices=CONFIG_NAMES, help=what)
    parser.add_argument("--streaming", action="store_true", help="stream only (default: whole and streaming)")
    what = "run the loading script of the Hub dataset's branch `script`, as datasets < 4 does when told to"
    parser.add_argument("--trust-remote-code", action="store_true", help=what)
    options = parser.parse_args(arguments)
    if options.data_dir is not None and options.repo_id is not None:
        parser.error("DATA_DIR and --repo-id are two places to load from; give one")
    if options.repo_id is None and (options.revision is not None or options.trust_remote_code):
        parser.error("--revision and --trust-remote-code are for a Hub dataset; give --repo-id too")

    def load() -> None:
        import datasets

        from rock_glacier.sample.generate import make_sample_archives
        from rock_glacier_dataset import RELEASE_SIZES, load_archives

        with tempfile.TemporaryDirectory(prefix="rock-glacier-") as temporary:
            place, sizes = options.repo_id or options.data_dir, RELEASE_SIZES if options.repo_id == REPO_ID else None
            if place is None:
                place, sizes = f"{temporary}/sample", _SAMPLE_SIZES
                datasets.disable_progress_bar()  # there is nothing to wait for
                make_sample_archives(place, num_proc=1, **_SAMPLE_SIZES)
            if options.repo_id is None:
                _say_what_is_loaded(place)

            def load_config(config: str, streaming: bool) -> Any:
                if options.repo_id is None:
                    return load_archives(config, data_dir=place, streaming=streaming, cache_dir=temporary)
                trust = (
                    {"trust_remote_code": True} if options.trust_remote_code else {}
                )  # which datasets 4 does not take
                return datasets.load_dataset(place, config, revision=options.revision, streaming=streaming, **trust)

            configs = [options.name] if options.name else CONFIG_NAMES
            ways = ["streaming"] if options.streaming else _WAYS
            for number, found in enumerate(smoke_load(load_config, configs, ways, sizes)):
                if number == 0:
                    say(HEADINGS)
                say(found)

    return run(parser.prog, load)
