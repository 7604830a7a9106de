"""The notebooks run as they are."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

from factories import REPOSITORY


def run_notebook(name, folder):
    """Run the cells of a notebook in a separate process, and return their output."""
    notebook = json.loads((REPOSITORY / "docs" / name).read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in cells)
    code = "\n".join("".join(cell["source"]) for cell in cells)
    settings = {"PYTHONPATH": str(REPOSITORY), "TMPDIR": str(folder), "MPLBACKEND": "agg"}
    settings["OMP_NUM_THREADS"] = "1"  # threads of small models wait for each other
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_first_model_is_scored_and_drawn_on_a_map(tmp_path):
    printed = run_notebook("first_model.ipynb", tmp_path)
    for name in ("balanced_accuracy", "ground_iou"):
        assert re.search(rf"^{name} +0\.\d{{4}}", printed, re.MULTILINE)
    [number] = re.findall(
        r"^(\d+) predicted rock glaciers in predicted.gpkg$", printed, re.MULTILINE
    )
    assert 1 <= int(number) < 100


def test_random_folds_score_higher_than_block_folds(tmp_path):
    printed = run_notebook("leakage.ipynb", tmp_path)
    row = re.search(r"^random forest +(\S+) +(\S+)$", printed, re.MULTILINE)
    assert row is not None
    random_folds, block_folds = map(float, row.groups())
    assert random_folds > block_folds + 0.1
    assert block_folds < 0.65
