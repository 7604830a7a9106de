"""Planted faults: each is found by the audit, at its path and with nothing beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from archive_contents import contents

from rock_glacier.audit.checks import audit
from rock_glacier.audit.findings import CODES
from rock_glacier.parallel import Workers
from rock_glacier.sample.faults import FAULTS
from rock_glacier.sample.generate import make_sample_archives

DUPLICATE_OVERLAPS = ("overlap-across-splits", "train/cordillera/000.png")
"""What is found as well where a test tile has the pixels of a train tile."""


def findings(folder: Path) -> list[tuple[str, str]]:
    return [(found.code, found.path) for found in audit(folder, Workers(num_proc=1)).findings]


def test_every_code_has_its_fault() -> None:
    assert [*FAULTS] == [*CODES]


@pytest.mark.parametrize("code", FAULTS)
def test_fault_is_found_alone_and_where_it_was_planted(sample_copy: Path, code: str) -> None:
    path = FAULTS[code](sample_copy)
    assert findings(sample_copy) == [(code, path), *[DUPLICATE_OVERLAPS] * (code == "duplicate-pixels")]


@pytest.mark.parametrize("shards", [1, 4])
def test_all_faults_are_found_side_by_side_in_four_tiles_a_split(tmp_path: Path, shards: int) -> None:
    made = make_sample_archives(tmp_path / "out", train=4, validation=4, test=4, shards=shards, faults=True)
    found = findings(tmp_path / "out")
    found.remove(DUPLICATE_OVERLAPS)
    assert found == [*made.faults.items()]


def test_fault_leaves_the_other_tiles_as_they_were(sample: Path, sample_copy: Path) -> None:
    path = FAULTS["png-corrupt"](sample_copy)
    before, after = contents(sample, "test"), contents(sample_copy, "test")
    assert [*before] == [*after]
    assert [name for name in before if before[name] != after[name]] == [path]


def test_tile_that_a_fault_needs_is_named_where_it_is_missing(tmp_path: Path) -> None:
    make_sample_archives(tmp_path / "out", train=1, validation=1, test=1)
    with pytest.raises(
        ValueError, match=r"train/cordillera/000.png: not in .*; make a sample of 4 tiles in each split"
    ):
        FAULTS["duplicate-pixels"](tmp_path / "out")
