"""The command line: `rock-glacier COMMAND`, or `python scripts/COMMAND.py`.

Each command is a module of this package with

    HELP: the purpose of the command in one line, without a full stop
    add_arguments(parser): add the arguments and options to an `argparse.ArgumentParser`
    run(options): do the work; return the exit status, or None for success

To keep `--help` fast, these modules import everything else in `run`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rock_glacier import output
from rock_glacier.cli.extras import describe_missing_package
from rock_glacier.cli.options import UsageError


class Command(Protocol):
    """Functions and constants that the module of a command defines."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add arguments and options."""

    def run(self, options: argparse.Namespace) -> int | None:
        """Do the work and return the exit status."""


# In the order of the overview.
COMMANDS = ("smoke-load", "sample", "build", "audit", "stage", "upload", "score")

# Exit statuses. After an interruption it is 128 + SIGINT, as in shells.
FAILURE = 1
WRONG_USAGE = 2
INTERRUPTED = 130


def main(
    arguments: Sequence[str] | None = None, commands: Mapping[str, Command] | None = None
) -> int:
    """Run a command.

    A known error is one line on standard error; `--debug` shows its traceback. Any other exception
    is a bug and is raised.

    Args:
        arguments: The command's name and its arguments. Default: `sys.argv[1:]`.
        commands: Commands by name. Default: the commands of this package.

    Returns:
        Exit status: 0 for success, 1 for errors in the data or another failure, 2 for wrong usage,
        130 if interrupted.

    Raises:
        SystemExit: If the usage is wrong (status 2), or for `--help` and `--version` (status 0).
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if commands is None:
            commands = _load_commands(arguments)
        options = _parse(_make_parser(commands), arguments)
        _prepare_streams()
        return _run(options)
    except KeyboardInterrupt:
        output.message("Interrupted")
        return INTERRUPTED
    except output.StdoutClosedError:
        # Python flushes standard output at exit:
        # https://docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE


def _load_commands(arguments: Sequence[str]) -> dict[str, Command]:
    """Import the module of the requested command, or all modules for the overview."""
    asked = [name for name in COMMANDS if name in arguments[:1]]
    return {
        name: importlib.import_module(f"rock_glacier.cli.{name.replace('-', '_')}")
        for name in asked or COMMANDS
    }


def _make_parser(commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rock-glacier",
        description="Build, check, publish and score the Rock Glacier dataset.",
        epilog="Exit status: 0 for success, 1 for errors in the data or another failure, "
        "2 for wrong usage.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version and exit")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command in commands.items():
        command_parser = subparsers.add_parser(
            name, help=command.HELP, description=f"{command.HELP}.", allow_abbrev=False
        )
        command.add_arguments(command_parser)
        command_parser.add_argument(
            "--debug", action="store_true", help="show the traceback of an error"
        )
        command_parser.set_defaults(command=name, run=command.run, parser=command_parser)
    return parser


def _parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse arguments; if one is unknown, show the usage of the command, not of all commands."""
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return options


class _ShowVersion(argparse.Action):
    """Print the version. The action `version` of argparse would make every command import it."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from rock_glacier_dataset import RockGlacierDataset

        output.text(f"{parser.prog} {RockGlacierDataset.VERSION}")
        parser.exit()


def _prepare_streams() -> None:
    """Print any character, and let libraries draw progress bars in a terminal only."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if not sys.stderr.isatty():
        os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"


def _run(options: argparse.Namespace) -> int:
    try:
        return options.run(options) or 0
    except UsageError as error:
        options.parser.print_usage(sys.stderr)
        output.message(f"{options.parser.prog}: error: {error}")
        return WRONG_USAGE
    except BrokenPipeError:
        raise  # Either the reader has closed standard output, or it is a bug.
    except Exception as error:
        description = _describe(error, options.command)
        if description is None or options.debug:
            raise
        output.message(f"Error: {description}")
        return FAILURE


def _describe(error: Exception, command: str) -> str | None:
    """Describe an error in one line, or return None if it is not known."""
    if isinstance(error, ModuleNotFoundError):
        return describe_missing_package(error, command)
    # Imported here because its imports are slow.
    from rock_glacier.cli.errors import describe_known_error

    return describe_known_error(error)
