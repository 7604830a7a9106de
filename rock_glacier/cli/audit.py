"""Placeholder."""

from __future__ import annotations

import argparse

HELP = "Check archives, find sites, and write the tile index and reports"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""


def run(options: argparse.Namespace) -> int | None:
    """Do the work."""
    raise NotImplementedError
