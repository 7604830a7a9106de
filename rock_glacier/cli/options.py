"""Options that several commands share, and types of their values."""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path

# Copies of the constants in rock_glacier_dataset, which takes too long to import for --help.
# A test compares them.
REPO_ID = "alkzar90/rock-glacier-dataset"
CONFIG_NAMES = ("image-classification", "image-segmentation")
SPLIT_NAMES = ("train", "validation", "test")


class UsageError(Exception):
    """Raised by `run` of a command if options cannot be combined: the exit status is 2."""


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


def add_outlines(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Add the option --outlines; its help ends with the purpose."""
    parser.add_argument(
        "--outlines",
        metavar="PATH",
        type=Path,
        help="outlines of rock glaciers (GeoPackage, GeoJSON, Shapefile, KML, GeoParquet, the "
        f"curators' .tsv, or a folder of such files): {purpose}",
    )


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
        help="seed for random numbers (default: %(default)s)",
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
    number = to_number(text)
    if not 0 <= number <= 1:  # also true for NaN
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return number


def to_number(text: str) -> float:
    """Read a number from the command line."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def input_file(text: str) -> Path:
    """Read the name of an existing file from the command line."""
    file = Path(text)
    if file.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a folder; name a file")
    if not file.exists():
        raise argparse.ArgumentTypeError(f"the file {text!r} does not exist")
    return file


def output_file(text: str) -> Path:
    """Read the name of a file to write from the command line. Its folder must be writable."""
    file = Path(text)
    if file.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a folder; name a file")
    if not file.parent.is_dir():
        raise argparse.ArgumentTypeError(f"the folder {str(file.parent)!r} does not exist")
    if file.is_file() or not file.exists():  # neither a device nor a pipe
        try:
            tempfile.TemporaryFile(dir=file.resolve().parent).close()
        except OSError as error:
            raise argparse.ArgumentTypeError(
                f"{text!r} cannot be written: {error.strerror}"
            ) from None
    return file


def repo_id(text: str) -> str:
    """Read the id of a repository on the Hub from the command line."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", text, re.ASCII):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not of the form <user or organization>/<name>"
        )
    return text


def _at_least(smallest: int, text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if number < smallest:
        raise argparse.ArgumentTypeError(f"{text} is less than {smallest}")
    return number
