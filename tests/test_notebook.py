"""The notebooks run as they are."""

from __future__ import annotations

import json
import re

import matplotlib as mpl
import pytest
from factories import REPOSITORY


@pytest.fixture
def run_notebook(tmp_path, monkeypatch, capsys):
    """Return a function that runs the cells of a notebook and returns what they print."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)  # computed again from TMPDIR
    mpl.use("agg")

    def run(name):
        notebook = json.loads((REPOSITORY / "docs" / name).read_text(encoding="utf-8"))
        names = {"__name__": "__main__"}
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                assert cell["outputs"] == []
                exec("".join(cell["source"]), names)
        return capsys.readouterr().out

    return run


def test_first_model_scores_both_configs(run_notebook):
    printed = run_notebook("first_model.ipynb")
    for name in ("balanced_accuracy", "miou"):
        assert re.search(rf"^{name} +0\.\d{{4}}", printed, re.MULTILINE)


def test_random_folds_score_higher_than_block_folds(run_notebook):
    printed = run_notebook("leakage.ipynb")
    row = re.search(r"^random forest +(\S+) +(\S+)$", printed, re.MULTILINE)
    assert row is not None
    random_folds, block_folds = map(float, row.groups())
    assert random_folds > block_folds + 0.1
    assert block_folds < 0.65
