"""The command `rock-glacier`: a subcommand for each script."""

from __future__ import annotations

import argparse
import importlib
import sys

COMMANDS = {
    "smoke-load": ("rock_glacier.smoke_load", "load every config and split as a user would", "curate"),
    "sample": ("rock_glacier.sample.sample_command", "make synthetic tiles and masks in archives", "curate"),
    "build": (
        "rock_glacier.curation.build_command",
        "build archives from folders of tiles, or from archives",
        "curate",
    ),
    "audit": ("rock_glacier.audit.audit_command", "check archives", "curate"),
    "figures": ("rock_glacier.figures.figures_command", "draw the card's pictures", "assets"),
    "stage": ("rock_glacier.publication.stage_command", "write the folders of the Hub repository", "publish"),
    "upload": ("rock_glacier.publication.upload_command", "publish a staged folder on the Hub", "publish"),
    "baseline": (
        "rock_glacier.baselines.baseline_command",
        "train plain models and write their predictions",
        "baseline",
    ),
    "evaluate": ("rock_glacier.scoring.evaluate_command", "score predictions", "evaluate"),
    "leak": ("rock_glacier.baselines.leak_command", "measure what a leak is worth", "baseline"),
    "benchmark": ("rock_glacier.benchmark", "measure speed and memory", "test"),
}
"""Subcommands: the module whose `main` does each, what it does, and the extra that it needs."""


def main() -> int:
    """Run a subcommand, and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="rock-glacier",
        description="Build, check, publish and score archives of the Rock Glacier dataset.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"  {name:<12}{what}" for name, (_, what, _) in COMMANDS.items()),
    )
    parser.add_argument(
        "command", choices=COMMANDS, metavar="COMMAND", help="one of those below; COMMAND --help says more"
    )
    command = parser.parse_args(sys.argv[1:2]).command
    return run_command(command, f"rock-glacier {command}", sys.argv[2:])


def run_command(command: str, program: str, arguments: list[str]) -> int:
    """Run a subcommand under a program's name."""
    sys.argv[0] = program
    module, _, extra = COMMANDS[command]
    try:
        status: int = importlib.import_module(module).main(arguments)
    except ModuleNotFoundError as error:
        if (error.name or "rock_glacier").startswith("rock_glacier"):
            raise
        remedy = f"pip install 'rock-glacier-dataset[{extra}]'"
        print(f"{program}: error: the package {error.name} is missing; {remedy}", file=sys.stderr)
        return 1
    return status


def run_script(command: str) -> int:
    """Run the subcommand that a file of `scripts/` stands for."""
    folder = sys.path.pop(0)  # of the script, whose evaluate.py would stand for the package of that name
    sys.path.append(folder)
    return run_command(command, sys.argv[0], sys.argv[1:])
