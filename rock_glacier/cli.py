"""The command `rock-glacier`: a subcommand for each script."""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from rock_glacier.console import one_line

COMMANDS = {
    "smoke-load": ("rock_glacier.smoke_load", "load every config and split as a user would"),
    "sample": ("rock_glacier.sample.sample_command", "make synthetic tiles and masks in archives"),
    "build": ("rock_glacier.curation.build_command", "build archives from folders of tiles, or from archives"),
    "audit": ("rock_glacier.audit.audit_command", "check archives"),
    "figures": ("rock_glacier.figures.figures_command", "draw the card's pictures"),
    "stage": ("rock_glacier.publication.stage_command", "write the folders of the Hub repository"),
    "upload": ("rock_glacier.publication.upload_command", "publish a staged folder on the Hub"),
    "baseline": ("rock_glacier.baselines.baseline_command", "train plain models and write their predictions"),
    "evaluate": ("rock_glacier.scoring.evaluate_command", "score predictions"),
    "leak": ("rock_glacier.baselines.leak_command", "measure what a leak is worth"),
    "benchmark": ("rock_glacier.benchmark", "measure speed and memory"),
}
"""Subcommands: the module whose `main` does each, and what it does."""


def main() -> int:
    """Run a subcommand, and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="rock-glacier",
        description="Build, check, publish and score archives of the Rock Glacier dataset.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"  {name:<12}{what}" for name, (_, what) in COMMANDS.items())
        + "\n\nEach takes --debug, which shows the traceback of an unexpected error.",
    )
    parser.add_argument(
        "command", choices=COMMANDS, metavar="COMMAND", help="one of those below; COMMAND --help says more"
    )
    command = parser.parse_args(sys.argv[1:2]).command
    return run_command(command, f"rock-glacier {command}", sys.argv[2:])


def run_command(command: str, program: str, arguments: list[str]) -> int:
    """Run a subcommand under a program's name; `--debug` shows the traceback of an unexpected error."""
    sys.argv[0] = program
    try:
        module = importlib.import_module(COMMANDS[command][0])
        status: int = module.main([argument for argument in arguments if argument != "--debug"])
    except KeyboardInterrupt:  # before the work began, while packages are imported
        print(f"{os.path.basename(program)}: interrupted", file=sys.stderr)
        return 1
    except Exception as error:
        if "--debug" in arguments:
            raise
        what = f"unexpected {type(error).__name__}: {one_line(error)}; add --debug for the traceback"
        print(f"{os.path.basename(program)}: error: {what}", file=sys.stderr)
        return 1
    return status


def run_script(command: str) -> int:
    """Run the subcommand that a file of `scripts/` stands for."""
    folder = sys.path.pop(0)  # of the script, whose evaluate.py would stand for the package of that name
    sys.path.append(folder)
    return run_command(command, sys.argv[0], sys.argv[1:])
