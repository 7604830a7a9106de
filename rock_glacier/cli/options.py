"""Options that several commands share, and types of their values."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

# The same as in rock_glacier_dataset, which takes too long to import for --help.
# A test compares them.
REPO_ID = "alkzar90/rock-glacier-dataset"
CONFIG_NAMES = ("image-classification", "image-segmentation")
SPLIT_NAMES = ("train", "validation", "test")


class UsageError(Exception):
    """Options do not go together. `run` of a command may raise it: the exit status is 2."""


def add_data_dir(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """Add the argument DATA_DIR, which is optional with `nargs="?"`."""
    parser.add_argument(
        "data_dir",
        metavar="DATA_DIR",
        nargs=nargs,
        help="folder of archives (train.zip, val.zip, test.zip): a local folder, "
        "or hf://datasets/<repository>[@<revision>]/<folder>",
    )


def add_out(parser: argparse.ArgumentParser) -> None:
    """Add the argument OUT."""
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to write, new or empty")


def add_num_proc(parser: argparse.ArgumentParser) -> None:
    """Add the option --num-proc."""
    parser.add_argument(
        "--num-proc",
        metavar="N",
        type=positive,
        help="number of processes (default: one per core)",
    )


def add_seed(parser: argparse.ArgumentParser) -> None:
    """Add the option --seed."""
    parser.add_argument(
        "--seed",
        metavar="N",
        type=not_negative,
        default=0,
        help="seed of the random numbers (default: %(default)s)",
    )


def add_repo_id(parser: argparse.ArgumentParser, default: str | None = REPO_ID) -> None:
    """Add the option --repo-id."""
    suffix = "" if default is None else " (default: %(default)s)"
    parser.add_argument(
        "--repo-id",
        metavar="ID",
        type=repo_id,
        default=default,
        help=f"dataset repository on the Hub{suffix}",
    )


def add_revision(parser: argparse.ArgumentParser) -> None:
    """Add the option --revision."""
    parser.add_argument(
        "--revision", metavar="REV", help="branch, tag or commit of the dataset repository"
    )


def positive(text: str) -> int:
    """Read an integer of at least 1 from the command line."""
    return _at_least(1, text)


def not_negative(text: str) -> int:
    """Read an integer of at least 0 from the command line."""
    return _at_least(0, text)


def fraction(text: str) -> float:
    """Read a number from 0 to 1 from the command line."""
    number = float(text)
    if not 0 <= number <= 1:  # also true for NaN
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return number


def output_file(text: str) -> Path:
    """Read the name of a file to write from the command line. Its folder must exist."""
    file = Path(text)
    if file.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a folder; name a file")
    if not file.parent.is_dir():
        raise argparse.ArgumentTypeError(f"the folder {str(file.parent)!r} does not exist")
    return file


def repo_id(text: str) -> str:
    """Read the id of a repository on the Hub from the command line."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", text, re.ASCII):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not of the form <user or organization>/<name>"
        )
    return text


def _at_least(smallest: int, text: str) -> int:
    number = int(text)
    if number < smallest:
        raise argparse.ArgumentTypeError(f"{text} is less than {smallest}")
    return number
