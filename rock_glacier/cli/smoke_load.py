"""Placeholder."""

from __future__ import annotations

import argparse

HELP = "Load every config and split as a user would, and check the examples"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""


def run(options: argparse.Namespace) -> int | None:
    """Do the work."""
    raise NotImplementedError
