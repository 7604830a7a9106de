"""Load the dataset from the Hub as a user would, and compare every row with the archives that were staged."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import datasets
from huggingface_hub import constants
from tqdm import tqdm

from rock_glacier.archives.listing import ListedMember, Listing
from rock_glacier.console import PrintableError, causes, one_line, run, say
from rock_glacier.publication.hub import HubError, prepare_client, without_token
from rock_glacier.publication.rows import plan_rows, read_rows
from rock_glacier.publication.sums import SCRIPT
from rock_glacier_dataset import CONFIG_NAMES, SPLIT_NAMES, features_of

_ROWS = 100  # that are compared at once


class DifferenceError(PrintableError, RuntimeError):
    """A row, or a column, that is not as it was staged: says which."""


def read_back(folder: Path, repo_id: str, commit: str) -> Iterator[str]:
    """Load every config and split from the Hub, and compare each row with the staged archives.

    Yields:
        a line for each config and split whose rows are the same.

    Raises:
        DifferenceError: at the first difference, or where a config cannot be loaded.
    """
    listing = Listing(folder / SCRIPT / "data")
    tiles = {split: list(itertools.chain.from_iterable(plan_rows(listing, split))) for split in SPLIT_NAMES}
    for config in CONFIG_NAMES:
        try:
            loaded = datasets.load_dataset(repo_id, name=config, revision=commit)
        except Exception as error:  # whatever `datasets` and its readers raise
            said = "; ".join(dict.fromkeys(f"{type(one).__name__}: {one_line(one)}" for one in causes(error)))
            raise DifferenceError(f"{config}: cannot be loaded: {without_token(said)}") from error
        for split in SPLIT_NAMES:
            place = f"{config} {split}"
            if split not in loaded or loaded[split].features != features_of(config):
                raise DifferenceError(
                    f"{place}: is missing, or has other columns than {', '.join(features_of(config))}"
                )
            _compare(place, loaded[split], tiles[split], config)
            yield f"{place}: {len(loaded[split])} examples, as staged"


def _compare(place: str, examples: datasets.Dataset, tiles: list[ListedMember], config: str) -> None:
    """Compare rows with the staged archives rather than with the staged Parquet, whose faults it finds as well."""
    if len(examples) != len(tiles):
        raise DifferenceError(f"{place}: {len(examples)} examples; staged are {len(tiles)}")
    loaded = (row for table in examples.with_format("arrow").iter(_ROWS) for row in table.to_pylist())
    pairs = zip(loaded, read_rows(tiles, config), strict=True)
    rows = tqdm(pairs, f"Comparing {place}", len(tiles), unit=" rows", leave=False, disable=None)
    for number, (row, expected) in enumerate(rows):
        for name, value in expected.items():
            if row[name] != ({"bytes": value, "path": None} if isinstance(value, bytes) else value):
                raise DifferenceError(f"{place}: row {number} ({expected['path']}): {name} is another than was staged")


def read_back_in_new_cache(folder: Path, repo_id: str, commit: str, remedy: str) -> None:
    """Read back in a new process with empty caches and the user's token.

    Args:
        folder: the staged folder.
        repo_id: the Hub dataset.
        commit: its commit.
        remedy: what to do where the rows differ.

    Raises:
        HubError: the rows differ from what was staged; standard error says where.
    """
    with tempfile.TemporaryDirectory(prefix="rock-glacier-") as home:
        elsewhere = re.compile(r"(HF|HUGGINGFACE)_.*_(CACHE|PATH|HOME|OFFLINE)|HF_HOME")
        environment = {name: value for name, value in os.environ.items() if not elsewhere.fullmatch(name)}
        environment |= {"HF_HOME": home, "HF_TOKEN_PATH": constants.HF_TOKEN_PATH}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        # A session of its own, so that the terminal's interruption reaches the parent alone, which then ends it; and a
        # folder of its own, because `datasets` would take a folder of the repository's name for it.
        command = [sys.executable, "-m", __name__, str(folder.resolve()), repo_id, commit]
        done = subprocess.run(  # noqa: S603 - this module
            command, env=environment, cwd=home, check=False, start_new_session=True
        )
    if done.returncode:
        raise HubError(f"{repo_id}: {commit} is there, but could not be loaded back as it was staged; {remedy}")


if __name__ == "__main__":

    def _work() -> None:
        prepare_client()
        for line in read_back(Path(sys.argv[1]), *sys.argv[2:]):
            say(line)

    sys.exit(run("upload.py", _work))
