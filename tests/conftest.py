"""What the tests share: a cache of their own, samples made by the generator, and the real tiles where they are."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before `datasets` is imported: no test reads or fills the user's cache, or asks anything of the network.
_HOME = tempfile.TemporaryDirectory(prefix="rock-glacier-tests-")
os.environ["HF_HOME"] = _HOME.name
os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"

import datasets  # noqa: E402
import pytest  # noqa: E402

from rock_glacier.sample.generate import make_sample_archives  # noqa: E402

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
    """The sample as it goes to the Hub: the folders `main` and `script`. Not to be changed: copy it."""
    from rock_glacier.publication.staging import stage

    folder = tmp_path_factory.mktemp("staged") / "staged"
    stage(sample, folder)
    return folder


def real_folder() -> Path:
    """Return the folder of real tiles and masks, or skip the test where it does not exist."""
    folder = REPOSITORY.parent / "shared" / "real"
    if not folder.is_dir():
        pytest.skip("left out: the real tiles are not part of the project (no ../shared/real)")
    return folder


@pytest.fixture(scope="session")
def real_archives() -> Path:
    """300 real tiles in the layout in which the curators publish the release."""
    return real_folder() / "data_v01"


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real tiles and masks that the project's developers have beside it."""
    return real_folder()


@pytest.fixture
def staged_copy(staged: Path, tmp_path: Path) -> Path:
    """A copy of the staged sample that may be changed."""
    return Path(shutil.copytree(staged, tmp_path / "staged"))


@pytest.fixture
def sample_copy(sample: Path, tmp_path: Path) -> Path:
    """A copy of the sample that may be changed."""
    return Path(shutil.copytree(sample, tmp_path / "sample"))


@pytest.fixture
def files_of_at_most() -> Iterator[Callable[[int], None]]:
    """Limit the size of files in bytes, as on a disk that is full; the error differs in its number alone."""
    resource = pytest.importorskip("resource", reason="left out: Windows limits no file's size")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
