"""What commands share: options, exit status, and messages in place of tracebacks for bad input."""

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
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

# Also in rock_glacier_dataset, whose import takes longer than --help may; a test compares them.
REPO_ID = "alkzar90/rock-glacier-dataset"
CONFIG_NAMES = ("image-classification", "image-segmentation")


def run(
    program: str,
    work: Callable[[], None],
    expected: type[Exception] | tuple[type[Exception], ...] = (ValueError, OSError, RuntimeError),
    *,
    if_interrupted: str = "interrupted",
    extra: str = "",
) -> int:
    """Run a command and return its exit status.

    Where standard output cannot be written, the work goes on, and the command fails at its end; where the reader left,
    as `head` does, it does not fail.

    Args:
        program: name of the command, for messages.
        work: does the work, and prints results with `say`.
        expected: exceptions that are the input's or the machine's fault; reported in one line on standard error.
        if_interrupted: message where the user or the system stops the command.
        extra: the extra of this project that installs what the script imports, such as `curate`.

    Returns:
        0 for success, 1 for a failure.

    Example:
        >>> run("smoke_load.py", lambda: say("train: 7875 examples"), ValueError)
        train: 7875 examples
        0
    """
    sys.stdout, sys.stderr = _lasting(sys.stdout), _lasting(sys.stderr)
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
    if fault := getattr(sys.stdout, "fault", ""):
        what = f"standard output cannot be written ({fault}); all other work was done"
        print(f"{program}: error: {what}", file=sys.stderr)
        return 1
    return 0


@contextlib.contextmanager
def termination_as_interruption() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into KeyboardInterrupt, so that unfinished output is removed."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signal handlers
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(f"received {signal.Signals(number).name}")

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # A process that ignores a signal, as under nohup, goes on ignoring it.
    heeded = [number for number in numbers if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    before = [(number, signal.signal(number, interrupt)) for number in heeded]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


class _LastingStream:
    """A stream whose reader may leave, as `head` does: what is printed later goes nowhere, and the work goes on.

    Attributes:
        fault: why it cannot be written, where that is not because the reader left.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.fault = ""

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                self.fault = error.strerror or type(error).__name__
            # What is still buffered goes there too, also when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _lasting(stream: TextIO | None) -> Any:
    """Return a stream that prints every character as far as it can, and whose reader may leave."""
    if stream is None:  # as Python has it where the caller has closed it
        # Read-only, so that writing fails; and so that no file which is opened later takes its number.
        stream = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")  # as long as the program
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
        return _LastingStream(stream)
    return stream


def _hide_progress_bars() -> None:
    """Turn off the progress bars of client libraries, those that are imported already and those imported later."""
    for name, hide in (("datasets", "disable_progress_bar"), ("huggingface_hub.utils", "disable_progress_bars")):
        if name in sys.modules:
            getattr(sys.modules[name], hide)()
    os.environ.update(HF_DATASETS_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_PROGRESS_BARS="1")


def say(line: object) -> None:
    """Print a result in one line."""
    show(printable(str(line)))


def note(line: str) -> None:
    """Print a message in one line on standard error."""
    print(printable(line), file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Print a result of several lines as it is, such as a table with colours; no name in it is from elsewhere."""
    print(text, flush=True)


def one_line(error: BaseException) -> str:
    r"""Return an exception's message in one line without control characters, or its type where it has none.

    Example:
        >>> one_line(ValueError("not a zip\n  archive: \x1b.zip"))
        'not a zip archive: \\x1b.zip'
    """
    return printable(" ".join(str(error).split()) or type(error).__name__)


def printable(text: str) -> str:
    r"""Return a text with its control characters and line ends escaped, such as the name of a file.

    Example:
        >>> printable("a\n\x1b[2Jñ.png")
        'a\\n\\x1b[2Jñ.png'
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


class PrintableError(Exception):
    """An error whose message may have names from anywhere in it, and is printable all the same."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


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


def megabytes(size: int) -> str:
    """Return a size in bytes in megabytes.

    Example:
        >>> megabytes(224_360_127), megabytes(20_000)
        ('224.4 MB', '0.02 MB')
    """
    number = size / 1e6
    return f"{number:,.1f} MB" if number >= 1 else f"{number:.2g} MB"


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


def output_file(text: str) -> Path:
    """Read the name of a file to write from the command line."""
    if text == "-":
        raise argparse.ArgumentTypeError("'-' is no file; give the name of one")
    file = Path(text)
    if file.is_dir() or not file.parent.is_dir():
        what = "is a folder; name a file in it" if file.is_dir() else "lies in no folder that exists; make that first"
        raise argparse.ArgumentTypeError(f"{text!r} {what}")
    return file


def add_options(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add arguments and options that several commands share, in this order.

    Args:
        parser: the command's parser.
        names: of `data_dir`, `out`, `--overwrite`, `--num-proc`, `--dask`, `--seed`, `--repo-id`, `--revision` and
            `--name`.
    """
    for name in names:
        parser.add_argument(name, **_OPTIONS[name])


def repo_id(text: str) -> str:
    """Read the id of a Hub dataset from the command line."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is no Hub dataset; its id is <user or organization>/<name>")
    return text


_OPTIONS: dict[str, dict[str, Any]] = {
    "data_dir": {"metavar": "DATA_DIR", "help": "folder of archives: train.zip, val.zip, test.zip"},
    "out": {"metavar": "OUT", "help": "folder to write; it may exist when it is empty"},
    "--overwrite": {
        "action": "store_true",
        "help": "replace OUT where it holds just what this command writes",
    },
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
        "choices": CONFIG_NAMES,
        "required": True,
        "help": f"the config: {' or '.join(CONFIG_NAMES)}",
    },
}
