"""What the tests share: a cache of their own, samples made by the generator, and the real tiles where they are."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

# Before `datasets` is imported: no test reads or fills the user's cache, or asks anything of the network.
_HOME = tempfile.TemporaryDirectory(prefix="rock-glacier-tests-")
os.environ["HF_HOME"] = _HOME.name
os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"

import datasets  # noqa: E402
import pytest  # noqa: E402
from make_sample_archives import make_sample_archives  # noqa: E402
from stage_hub_repo import stage  # noqa: E402

datasets.disable_progress_bar()

REPOSITORY = Path(__file__).resolve().parent.parent
SAMPLE_SIZES: dict[str, Any] = {"train": 12, "validation": 4, "test": 6}


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sample archives, one for each split. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("samples") / "sample"
    make_sample_archives(folder, **SAMPLE_SIZES)
    return folder


@pytest.fixture(scope="session")
def sharded_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same tiles and masks in three shards a split. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("samples") / "sharded"
    make_sample_archives(folder, **SAMPLE_SIZES, shards=3)
    return folder


@pytest.fixture(scope="session")
def staged(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample as it goes to the Hub. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("staged") / "staged"
    stage(sample, folder)
    return folder


@pytest.fixture(scope="session")
def real_archives() -> Path:
    """The real tiles and masks that the project's developers have beside it."""
    folder = REPOSITORY.parent / "shared" / "real" / "archives"
    if not folder.is_dir():
        pytest.skip("left out: the real tiles are not part of the project (no ../shared/real)")
    return folder


@pytest.fixture
def staged_copy(staged: Path, tmp_path: Path) -> Path:
    """A copy of the staged sample that may be changed."""
    return Path(shutil.copytree(staged, tmp_path / "staged"))


@pytest.fixture
def sample_copy(sample: Path, tmp_path: Path) -> Path:
    """A copy of the sample that may be changed."""
    return Path(shutil.copytree(sample, tmp_path / "sample"))
