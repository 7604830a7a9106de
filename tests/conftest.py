"""Settings and fixtures that the tests share."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

# Set before `datasets` is imported: tests use neither the user's cache nor the network.
_HOME = tempfile.TemporaryDirectory(prefix="rock-glacier-tests-")
os.environ["HF_HOME"] = _HOME.name
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import factories  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of synthetic archives with 12, 4 and 6 tiles. Use `sample_copy` to change it."""
    from rock_glacier.synthetic import make_sample

    folder = tmp_path_factory.mktemp("synthetic") / "sample"
    make_sample(folder, train=12, validation=4, test=6)
    return folder


@pytest.fixture(scope="session")
def sharded_sample(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiles of `sample` in three archives per split. Do not change it."""
    from rock_glacier.archives import SAMPLE_VERSION, read_manifest, write_archives, write_manifest

    folder = tmp_path_factory.mktemp("sharded")
    for split in ("train", "validation", "test"):
        members = factories.read_members(sample, split)
        tiles = factories.tile_paths(sample, split)
        write_archives(folder, split, tiles, members.__getitem__, shards=3)
    write_manifest(folder, SAMPLE_VERSION, read_manifest(sample)["splits"])
    return folder


@pytest.fixture
def sample_copy(sample: Path, tmp_path: Path) -> Path:
    """A copy of `sample` that the test may change."""
    return factories.copy(sample, tmp_path / "sample")


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real tiles, masks and outlines, or skip."""
    return factories.real_folder()


@pytest.fixture(scope="session")
def real_archives(real: Path) -> Path:
    """Archives of 300 real tiles, in the layout of the release."""
    return real / "data_v01"
