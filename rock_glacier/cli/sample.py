"""Placeholder."""

from __future__ import annotations

import argparse

HELP = "Make synthetic tiles and masks in archives"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""


def run(options: argparse.Namespace) -> int | None:
    """Do the work."""
    raise NotImplementedError
