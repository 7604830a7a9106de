"""The file as a loading script: what `datasets` < 4 runs, and what later versions refuse."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest
from archive_contents import assert_holds, assert_holds_all
from conftest import REPOSITORY
from test_rock_glacier_dataset import CONFIGS, WAYS

from rock_glacier_dataset import SPLIT_NAMES, ArchiveError

SCRIPT = REPOSITORY / "rock_glacier_dataset.py"
RUNS_SCRIPTS = int(datasets.__version__.split(".")[0]) < 4


def load_script(script: Path = SCRIPT, name: str | None = None, **arguments: Any) -> Any:
    """Run the script, or see it refused by a version that runs none."""
    if RUNS_SCRIPTS:
        return datasets.load_dataset(str(script), name=name, trust_remote_code=True, **arguments)
    with pytest.raises(RuntimeError, match="scripts are no longer supported"):
        datasets.load_dataset(str(script), name=name, **arguments)
    return None


@WAYS
@pytest.mark.parametrize("name", CONFIGS)
def test_script_loads_below_4_and_is_refused_from_4_on(name, streaming, sharded_sample):
    loaded = load_script(name=name, data_dir=str(sharded_sample), streaming=streaming)
    assert (loaded is not None) == RUNS_SCRIPTS
    if RUNS_SCRIPTS:
        assert_holds_all(loaded, sharded_sample)
        assert [list(loaded[split].features) for split in SPLIT_NAMES] == [list(CONFIGS[name])] * 3


def test_script_prepares_shards_in_processes(sharded_sample):
    loaded = load_script(data_dir=str(sharded_sample), num_proc=2)
    if RUNS_SCRIPTS:
        assert_holds(loaded["train"], sharded_sample, "train")


@WAYS
def test_script_finds_the_archives_beside_it(streaming, sample, tmp_path):
    script = Path(shutil.copy(SCRIPT, tmp_path))
    shutil.copytree(sample, tmp_path / "data")
    loaded = load_script(script, "image-segmentation", streaming=streaming)
    if RUNS_SCRIPTS:
        assert_holds(loaded["train"], sample, "train")


@pytest.mark.skipif(not RUNS_SCRIPTS, reason="this version of datasets runs no scripts")
def test_script_names_a_fault_as_the_module_does(sample_copy):
    (sample_copy / "test.zip").unlink()
    with pytest.raises(ValueError, match=r"test\.zip: not in .*; add it") as caught:
        load_script(data_dir=str(sample_copy))
    assert type(caught.value).__name__ == ArchiveError.__name__


def test_early_versions_can_parse_every_import_line():
    lines = [line for line in SCRIPT.read_text(encoding="utf-8").splitlines() if line.startswith("import ")]
    assert lines
    assert [line for line in lines if "," in line] == []
