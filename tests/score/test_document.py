"""The example of docs/scoring.md runs and prints what is shown."""

from __future__ import annotations

import re

import pytest
from documents import find_commands, read_blocks, run_python
from factories import REPOSITORY
from loopback_hub import LoopbackHub

DOCUMENT = REPOSITORY / "docs" / "scoring.md"
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Run the blocks in their order, and return what each printed."""
    folder = tmp_path_factory.mktemp("document") / "work"
    folder.mkdir()
    sample, score = (find_commands(block)[0] for block in read_blocks("bash", DOCUMENT))
    predict, read_map = (["-c", block.code] for block in read_blocks("python", DOCUMENT))
    outputs = []
    with LoopbackHub() as hub:
        for arguments in (sample, predict, score, read_map):
            done = run_python(arguments, hub, folder)
            assert done.returncode == 0, done.stderr[-3000:]
            outputs.append(done.stdout)
    return outputs


def test_the_report_is_about_the_one_that_is_shown(printed):
    """Masks differ by single pixels between versions of numpy, so numbers may differ a little."""
    shown = read_blocks("bash", DOCUMENT)[1].output
    assert NUMBER.sub("#", printed[2]).split() == NUMBER.sub("#", shown).split()
    numbers = [
        [float(number.replace(",", "")) for number in NUMBER.findall(text)]
        for text in (printed[2], shown)
    ]
    assert numbers[0] == pytest.approx(numbers[1], rel=0.05, abs=0.02)


def test_the_map_is_the_one_that_is_shown(printed):
    assert printed[3] == read_blocks("python", DOCUMENT)[1].output


def test_every_metric_is_defined(printed):
    names = re.findall(r"^([a-z0-9_]+) +\d", printed[2], re.MULTILINE)
    text = DOCUMENT.read_text(encoding="utf-8")
    ground = {name for name in names if name.startswith("ground_")}
    assert len(names) == 18
    assert all(f"`{name}`" in text for name in set(names) - ground)
    assert ground == {f"ground_{name}" for name in ("iou", "miou", "precision", "recall", "f1")}
