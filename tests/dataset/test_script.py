"""The dataset file as a loading script, which `datasets` < 4 runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest
from factories import REPOSITORY, assert_holds, assert_holds_all

from rock_glacier_dataset import CONFIG_NAMES, ArchiveError

SCRIPT = REPOSITORY / "rock_glacier_dataset.py"
RUNS_SCRIPTS = int(datasets.__version__.split(".")[0]) < 4

needs_scripts = pytest.mark.skipif(
    not RUNS_SCRIPTS, reason="this version of datasets does not run scripts"
)
both_ways = pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])


def load_script(script: Path = SCRIPT, **arguments: Any) -> Any:
    return datasets.load_dataset(str(script), trust_remote_code=True, **arguments)


@pytest.mark.skipif(RUNS_SCRIPTS, reason="this version of datasets runs scripts")
def test_script_is_refused_by_later_versions(sample):
    with pytest.raises(RuntimeError):
        datasets.load_dataset(str(SCRIPT), data_dir=str(sample))


@needs_scripts
@both_ways
@pytest.mark.parametrize("config", CONFIG_NAMES)
def test_script_loads_archives(config, streaming, sharded_sample):
    loaded = load_script(name=config, data_dir=str(sharded_sample), streaming=streaming)
    assert_holds_all(loaded, sharded_sample)


@needs_scripts
def test_script_in_processes(sharded_sample):
    loaded = load_script(data_dir=str(sharded_sample), num_proc=2)
    assert_holds(loaded["train"], sharded_sample, "train")


@needs_scripts
@both_ways
def test_script_finds_the_archives_next_to_it(streaming, sample, tmp_path):
    script = Path(shutil.copy(SCRIPT, tmp_path))
    shutil.copytree(sample, tmp_path / "data")
    loaded = load_script(script, name="image-segmentation", streaming=streaming)
    assert_holds(loaded["train"], sample, "train")


@needs_scripts
def test_script_raises_faults(sample_copy):
    """The script is a separate module, so its error type differs from the imported one."""
    (sample_copy / "test.zip").unlink()
    with pytest.raises(ValueError, match=r"test\.zip") as caught:
        load_script(data_dir=str(sample_copy))
    assert type(caught.value).__name__ == ArchiveError.__name__


def test_imports_are_one_per_line():
    """Early versions of `datasets` cannot parse `import a, b`."""
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    imports = [line for line in lines if line.startswith("import ")]
    assert imports
    assert [line for line in imports if "," in line] == []


def test_file_does_not_import_the_package():
    """It is published alone."""
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    imports = [line for line in lines if line.startswith(("import ", "from "))]
    assert [line for line in imports if line.split()[1].startswith("rock_glacier")] == []
