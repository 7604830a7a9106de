"""Placeholder."""

from __future__ import annotations

import argparse

HELP = "Write the folders of the Hub repository"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""


def run(options: argparse.Namespace) -> int | None:
    """Do the work."""
    raise NotImplementedError
