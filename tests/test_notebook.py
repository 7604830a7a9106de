"""The notebook runs as it stands, and shows pictures and scores."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from card_blocks import OWN_CODE, RUNNER
from conftest import REPOSITORY, SAMPLE_SIZES

from rock_glacier.sample.generate import make_sample_archives


def test_notebook_goes_from_tiles_to_scores_and_shows_pictures(tmp_path: Path) -> None:
    notebook = json.loads((REPOSITORY / "docs" / "first_model.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    shown = ["".join(line for output in cell["outputs"] for line in output.get("text", [])) for cell in cells]
    make_sample_archives(tmp_path / "sample", **SAMPLE_SIZES, overlap=0.5)
    (tmp_path / "docs").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps(["".join(cell["source"]) for cell in cells]),
        cwd=tmp_path / "docs",
        env=os.environ | OWN_CODE | {"MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # What is printed depends on the sample's size and the versions of libraries: its form is the same.
    form = [re.sub(r"[\d.]+", "0", text).split()[:12] for text in json.loads(done.stdout)]
    assert form == [re.sub(r"[\d.]+", "0", text).split()[:12] for text in shown]
    assert sum("95 %" in text for text in shown) == 2
    assert sum("image/png" in output.get("data", {}) for cell in cells for output in cell["outputs"]) == 2
