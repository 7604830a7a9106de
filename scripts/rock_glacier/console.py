"""How each script ends: a message and an exit status, never a traceback for bad input."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TextIO

REPO_ID = "alkzar90/rock-glacier-dataset"
"""The dataset on the Hub."""


def run(
    program: str,
    work: Callable[[], None],
    expected: type[Exception] | tuple[type[Exception], ...],
    *,
    if_interrupted: str = "interrupted",
    extra: str = "",
) -> int:
    """Do a script's work and turn its end into an exit status.

    Args:
        program: name of the script, for messages.
        work: says its results as it goes, and raises what went wrong.
        expected: exceptions that are the input's or the machine's fault; each is told in one line on standard error.
        if_interrupted: what to say when the user or the system asks the script to stop.
        extra: the extra of this project that installs what the script imports, such as `curate`.

    Returns:
        0 for success, 1 for a failure.

    Example:
        >>> run("smoke_load.py", lambda: say("train: 7875 examples"), ValueError)
        train: 7875 examples
        0
    """
    _mend_streams()
    if not sys.stderr.isatty():
        _hide_progress_bars()
    try:
        with termination_as_interruption():
            work()
    except KeyboardInterrupt:
        print(f"{program}: {if_interrupted}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        package = f"'rock-glacier-dataset[{extra}]'" if extra else error.name
        print(f"{program}: error: the package {error.name} is not installed; pip install {package}", file=sys.stderr)
        return 1
    except expected as error:
        print(f"{program}: error: {one_line(error)}", file=sys.stderr)
        return 1
    return 0


@contextlib.contextmanager
def termination_as_interruption() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into KeyboardInterrupt, so that what a block has begun is cleared away."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what a signal does
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(f"received {signal.Signals(number).name}")

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # What ignores a signal, as under nohup, goes on ignoring it.
    heeded = [number for number in numbers if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    before = [(number, signal.signal(number, interrupt)) for number in heeded]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


class _LastingStream(io.TextIOBase):
    """Standard error whose reader may leave: progress bars and messages then go nowhere, and the work goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_read = True

    def write(self, text: str) -> int:
        if self._is_read:
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):
                self._is_read = False
        return len(text)

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding


def _mend_streams() -> None:
    """Let no stream that is closed, or that lacks a letter, end the work."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if sys.stderr is None:  # as Python has it where the caller has closed it
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - as long as the program
    elif isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = _LastingStream(sys.stderr)


def _hide_progress_bars() -> None:
    """Let no client library draw a progress bar, whether it is imported already or later."""
    for name, hide in (("datasets", "disable_progress_bar"), ("huggingface_hub.utils", "disable_progress_bars")):
        if name in sys.modules:
            getattr(sys.modules[name], hide)()
    os.environ.update(HF_DATASETS_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_PROGRESS_BARS="1")


def say(line: object) -> None:
    """Print a result at once; where the reader has left, as `head` does, the work goes on all the same."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        # Whatever is printed later, or when Python ends, goes nowhere rather than into the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def one_line(error: BaseException) -> str:
    r"""Return what an exception says, in one line without control characters; its kind where it says nothing.

    Example:
        >>> one_line(ValueError("not a zip\n  archive: \x1b.zip"))
        'not a zip archive: \\x1b.zip'
    """
    line = " ".join(str(error).split()) or type(error).__name__
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that it was raised from."""
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def count(number: int, noun: str) -> str:
    """Return a number with its noun.

    Example:
        >>> count(1, "tile"), count(11_700, "tile")
        ('1 tile', '11,700 tiles')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def positive(text: str) -> int:
    """Read an integer of at least 1 from the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number


def not_negative(text: str) -> int:
    """Read an integer of at least 0 from the command line."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number


def add_options(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add arguments and options that several commands share, in this order.

    Args:
        parser: the command's parser.
        names: of `data_dir`, `out`, `--num-proc`, `--dask`, `--seed`, `--repo-id`, `--revision`, `--name`,
            `--class`.
    """
    for name in names:
        parser.add_argument(name, **_OPTIONS[name])


def class_of_prefix(text: str) -> tuple[str, str]:
    """Read what `--class` is given.

    Example:
        >>> class_of_prefix("glaciarRoca=glaciar")
        ('glaciarRoca', 'glaciar')
    """
    prefix, _, name = text.rpartition("=")
    if not prefix or name not in ("cordillera", "glaciar"):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not PREFIX=CLASS, such as glaciarRoca=glaciar; the classes are cordillera and glaciar"
        )
    return prefix, name


def repo_id(text: str) -> str:
    """Read the id of a Hub dataset from the command line."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is no Hub dataset; its id is <user or organization>/<name>")
    return text


_OPTIONS: dict[str, dict[str, Any]] = {
    "data_dir": {"metavar": "DATA_DIR", "help": "folder of archives: train.zip, val.zip, test.zip"},
    "out": {"metavar": "OUT", "help": "folder to write; it may exist when it is empty"},
    "--num-proc": {"metavar": "N", "type": positive, "help": "number of processes (default: one for each core)"},
    "--dask": {
        "metavar": "ADDRESS",
        "help": "address of a Dask scheduler whose workers to use, such as tcp://host:8786",
    },
    "--seed": {"metavar": "S", "type": not_negative, "default": 0, "help": "seed (default: %(default)s)"},
    "--repo-id": {
        "metavar": "ID",
        "type": repo_id,
        "default": REPO_ID,
        "help": "the Hub dataset (default: %(default)s)",
    },
    "--revision": {"metavar": "REV", "help": "branch, tag or commit of the Hub dataset"},
    "--name": {
        "metavar": "CONFIG",
        "choices": ("image-classification", "image-segmentation"),
        "required": True,
        "help": "the config: image-classification or image-segmentation",
    },
    "--class": {
        "dest": "prefixes",
        "metavar": "PREFIX=CLASS",
        "type": class_of_prefix,
        "action": "append",
        "default": [],
        "help": "files whose names begin with PREFIX, and folders of this name, are of this class; may be given often",
    },
}
