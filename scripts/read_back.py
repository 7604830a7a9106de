#!/usr/bin/env python
"""Load the dataset from the Hub as a user would, and compare every row with a staged folder.

    python scripts/read_back.py staged --repo-id alkzar90/rock-glacier-dataset --revision main

`upload.py` does this after each commit. Both configs are loaded whole, by plain `datasets.load_dataset`, into a cache
that is made for it, so that nothing comes from an earlier load.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from hub_errors import HubError, check_token, without_token
from huggingface_hub import constants
from staged_folder import StagedError, StagedFolder, read_staged, repo_id_option
from tqdm import tqdm

from rock_glacier.console import causes, one_line, run, say
from rock_glacier_dataset import CONFIG_NAMES, SPLIT_NAMES, features_of

ROWS = 100
"""Rows that are compared at once."""


class DifferenceError(Exception):
    """The Hub gives something else than what was staged: says where."""


def read_back(staged: StagedFolder, repo_id: str, revision: str) -> Iterator[str]:
    """Load every config and split from the Hub, and compare each row with what was staged.

    Args:
        staged: what the Hub should give.
        repo_id: the Hub dataset.
        revision: branch, tag or commit.

    Yields:
        a line for each config and split that is the same.

    Raises:
        DifferenceError: at the first row that is another, or where a config cannot be loaded.
    """
    if os.path.exists(repo_id):
        raise DifferenceError(f"{repo_id}: is a folder here, which datasets would load; work in another folder")
    for config in CONFIG_NAMES:
        try:
            loaded = datasets.load_dataset(repo_id, name=config, revision=revision)
        except Exception as error:
            remedy = "check --repo-id, --revision and the token"
            raise DifferenceError(f"{config}: cannot be loaded: {_told_by(error)}; {remedy}") from error
        if list(loaded) != list(SPLIT_NAMES):
            raise DifferenceError(f"{config}: the splits are {', '.join(loaded)}; staged are {', '.join(SPLIT_NAMES)}")
        for split, examples in loaded.items():
            _compare(f"{config} {split}", examples, staged.shards[config][split], staged.sizes[split])
            if examples.features != features_of(config):
                expected = features_of(config)
                raise DifferenceError(f"{config} {split}: the features are {examples.features}, not {expected}")
            yield f"{config} {split}: {len(examples)} examples, as staged"


def _told_by(error: BaseException) -> str:
    """Say in one line what an exception and those behind it say, for `datasets` wraps what a reader raises."""
    told = [f"{type(one).__name__}: {one_line(one)}" for one in causes(error)]
    return without_token("; ".join(dict.fromkeys(told)))


def _compare(place: str, examples: Any, shards: Sequence[Path], rows: int) -> None:
    """Compare a loaded split with the Parquet files that it should be."""
    if len(examples) != rows:
        raise DifferenceError(f"{place}: {len(examples)} examples; staged are {rows}")
    batches = itertools.chain.from_iterable(pq.ParquetFile(path).iter_batches(ROWS) for path in shards)
    row = 0
    with tqdm(total=rows, desc=f"Comparing {place}", unit=" rows", leave=False) as bar:
        for batch in batches:
            staged = pa.Table.from_batches([batch])
            loaded = examples.with_format("arrow")[row : row + len(staged)]
            if loaded.column_names != staged.column_names:
                raise DifferenceError(
                    f"{place}: the columns are {loaded.column_names}; they should be {staged.column_names}"
                )
            if not loaded.equals(staged):
                raise DifferenceError(f"{place}: {_first_difference(loaded, staged, row)}")
            row += len(staged)
            bar.update(len(staged))


def _first_difference(loaded: pa.Table, staged: pa.Table, row: int) -> str:
    for number, (got, wanted) in enumerate(zip(loaded.to_pylist(), staged.to_pylist(), strict=True), row):
        for column in wanted:
            if got[column] != wanted[column]:
                return f"row {number} ({wanted['path']}): {column} is another than was staged"
    return f"the types are {loaded.schema.types}; staged are {staged.schema.types}"


def run_in_fresh_cache(folder: Path, repo_id: str, revision: str) -> bool:
    """Run this script in a process of its own whose caches are new; tokens come from where they always do.

    Args:
        folder: the staged folder.
        repo_id: the Hub dataset.
        revision: branch, tag or commit.

    Returns:
        whether the Hub gives what was staged; if not, it has been said on standard error.
    """
    with tempfile.TemporaryDirectory(prefix="rock-glacier-") as home:
        elsewhere = re.compile(r"(HF|HUGGINGFACE)_.*_(CACHE|PATH|HOME|OFFLINE)|HF_HOME")
        environment = {name: value for name, value in os.environ.items() if not elsewhere.fullmatch(name)}
        environment |= {"HF_HOME": home, "HF_TOKEN_PATH": constants.HF_TOKEN_PATH}
        script = str(Path(__file__).resolve())
        command = [sys.executable, script, str(folder.resolve()), "--this-cache"]
        command += ["--repo-id", repo_id, "--revision", revision]
        # In a session of its own, so that the terminal's interruption reaches the parent alone, which then ends it.
        # In a folder of its own, because datasets would take a folder of the repository's name for it.
        done = subprocess.run(  # noqa: S603 - this script
            command, env=environment, cwd=home, check=False, start_new_session=True
        )
        return done.returncode == 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Load both configs from the Hub as a user would, whole and into a new cache, and compare every row "
        "with a staged folder.",
        epilog="Prints a line for each config and split. Exit status: 0 when every row is as staged, 1 when one is "
        "not or cannot be loaded, 2 for wrong usage.",
    )
    parser.add_argument("staged", metavar="STAGED", type=Path, help="folder that stage_hub_repo.py wrote")
    parser.add_argument("--repo-id", metavar="ID", type=repo_id_option, required=True, help="the Hub dataset")
    parser.add_argument("--revision", metavar="REV", default="main", help="branch, tag or commit (default: main)")
    parser.add_argument(
        "--this-cache", action="store_true", help="load into the cache that the environment names, not into a new one"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    is_same = True

    def compare() -> None:
        nonlocal is_same
        check_token()
        if not options.this_cache:
            is_same = run_in_fresh_cache(options.staged, options.repo_id, options.revision)
            return
        for line in read_back(read_staged(options.staged), options.repo_id, options.revision):
            say(line)

    return run(parser.prog, compare, (DifferenceError, StagedError, HubError, OSError)) or int(not is_same)


if __name__ == "__main__":
    sys.exit(main())
