"""Planted faults: each is found by the audit, with its path and nothing beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from archive_audit import audit
from archive_contents import contents
from findings import CODES, Finding
from make_sample_archives import make_sample_archives
from planted_faults import FAULTS, mask_values_along_edges, plant_all

from rock_glacier.parallel import Workers
from rock_glacier_dataset import CONFIG_NAMES, ArchiveError, load_dataset


@pytest.fixture(params=["sample", "sharded_sample"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the sample, in one archive a split and in three, that may be changed."""
    return Path(shutil.copytree(request.getfixturevalue(request.param), tmp_path / "folder"))


def findings(folder: Path) -> list[Finding]:
    return audit(folder, Workers(num_proc=1)).findings


def test_every_code_has_its_fault() -> None:
    assert tuple(FAULTS) == CODES


@pytest.mark.parametrize("code", FAULTS)
def test_a_fault_is_found_alone_and_where_it_was_planted(folder: Path, code: str) -> None:
    path = FAULTS[code](folder)
    assert [(found.code, found.severity, found.path) for found in findings(folder)] == [(code, "error", path)]


def test_all_faults_are_found_side_by_side(folder: Path) -> None:
    planted = plant_all(folder)
    assert {found.code: found.path for found in findings(folder)} == planted
    assert tuple(planted) == CODES
    assert len(findings(folder)) == len(CODES)


@pytest.mark.parametrize("shards", [1, 4])
def test_four_tiles_in_each_split_are_enough(tmp_path: Path, shards: int) -> None:
    made = make_sample_archives(tmp_path / "out", train=4, validation=4, test=4, shards=shards, faults=True)
    assert {found.code: found.path for found in findings(tmp_path / "out")} == made.faults


def test_edges_of_a_mask_that_are_softened_are_a_warning(sample_copy: Path) -> None:
    path = mask_values_along_edges(sample_copy)
    assert [(found.code, found.severity, found.path) for found in findings(sample_copy)] == [
        ("mask-values", "warning", path)
    ]


def test_a_fault_leaves_the_other_tiles_as_they_were(sample: Path, sample_copy: Path) -> None:
    path = FAULTS["png-corrupt"](sample_copy)
    before, after = contents(sample, "validation"), contents(sample_copy, "validation")
    assert list(before) == list(after)
    assert [name for name in before if before[name] != after[name]] == [path]


@pytest.mark.parametrize("name", CONFIG_NAMES)
def test_a_sample_with_faults_cannot_be_loaded(sample_copy: Path, tmp_path: Path, name: str) -> None:
    plant_all(sample_copy)
    with pytest.raises(ArchiveError):
        load_dataset(name, data_dir=sample_copy, cache_dir=tmp_path / "cache")


def test_tile_that_is_not_there_is_named(tmp_path: Path) -> None:
    make_sample_archives(tmp_path / "out", train=1, validation=1, test=1)
    with pytest.raises(ValueError, match=r"train/cordillera/0.png: not in .*; make a sample of 4 tiles in each split"):
        FAULTS["duplicate-pixels"](tmp_path / "out")
