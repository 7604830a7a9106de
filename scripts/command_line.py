"""How each script ends: a message and an exit status, never a traceback for bad input."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from collections.abc import Iterator


def run(
    program: str,
    work: Callable[[], None],
    expected: type[Exception] | tuple[type[Exception], ...],
    *,
    if_interrupted: str = "interrupted",
) -> int:
    """Do a script's work and turn its end into an exit status.

    Args:
        program: name of the script, for messages.
        work: says its results as it goes, and raises what went wrong.
        expected: exceptions that are the input's or the machine's fault; each is told in one line on standard error.
        if_interrupted: what to say when the user or the system asks the script to stop.

    Returns:
        0 for success, 1 for a failure.

    Example:
        >>> run("smoke_load.py", lambda: say("train: 7875 examples"), ValueError)
        train: 7875 examples
        0
    """
    try:
        work()
    except KeyboardInterrupt:
        print(f"{program}: {if_interrupted}", file=sys.stderr)
        return 1
    except expected as error:
        print(f"{program}: error: {one_line(error)}", file=sys.stderr)
        return 1
    return 0


def say(line: object) -> None:
    """Print a result at once; where the reader has left, as `head` does, the work goes on all the same."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        # Whatever is printed later, or when Python ends, goes nowhere rather than into the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def one_line(error: BaseException) -> str:
    r"""Return what an exception says, in one line; its kind where it says nothing.

    Example:
        >>> one_line(ValueError("not a zip\n  archive"))
        'not a zip archive'
    """
    return " ".join(str(error).split()) or type(error).__name__


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that it was raised from."""
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or one.__context__
