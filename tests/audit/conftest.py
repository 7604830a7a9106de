"""Fixtures of the audit's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from factories import make_data_dir, png

from rock_glacier.audit.checks import Audit, check
from rock_glacier.parallel import Workers
from rock_glacier.sites import find_sites
from rock_glacier.tiles import TileSet


@pytest.fixture(scope="session")
def audit() -> Callable[..., Audit]:
    """A function that audits a folder: `audit(data_dir, matches=False)`."""

    def run(data_dir: Path, *, matches: bool = False) -> Audit:
        with TileSet.read(data_dir, Workers(1)) as tiles:
            sites = find_sites(tiles, Workers(1), matches=matches)
            return check(tiles, sites, matches=matches)

    return run


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Six tiles of noise without any fault: one of each class and split."""
    paths = [
        f"{folder}/{label}/000.png"
        for folder in ("train", "val", "test")
        for label in ("cordillera", "glaciar")
    ]
    tiles = {path: png(seed) for seed, path in enumerate(paths)}
    return make_data_dir(tmp_path / "archives", tiles)
