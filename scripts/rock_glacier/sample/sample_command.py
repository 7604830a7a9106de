"""Command line of the sample generator."""

from __future__ import annotations

from rock_glacier.sample.generate import main

__all__ = ["main"]
