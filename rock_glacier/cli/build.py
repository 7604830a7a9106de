"""Placeholder."""

from __future__ import annotations

import argparse

HELP = "Build archives from folders of tiles and masks, in splits that share no ground"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""


def run(options: argparse.Namespace) -> int | None:
    """Do the work."""
    raise NotImplementedError
