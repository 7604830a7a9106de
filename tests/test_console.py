"""How commands end and what they print: one printable line on failure, and no progress bars outside a terminal."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import rock_glacier_dataset
from rock_glacier.console import REPO_ID, run

PROGRAM = """
import sys
{first}
from rock_glacier.console import run
def work():
    import datasets, huggingface_hub.utils
    assert datasets.are_progress_bars_disabled() and huggingface_hub.utils.are_progress_bars_disabled()
sys.exit(run("audit.py", work, ValueError))
"""


@pytest.mark.parametrize("first", ["", "import datasets, huggingface_hub.utils"])
def test_no_library_draws_a_progress_bar_where_standard_error_is_no_terminal(first: str) -> None:
    names = ("HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    program = PROGRAM.format(first=first)
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_failure_is_one_line_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise ValueError("\x1b[2J\udcff.png:\n  is no PNG")

    assert run("build.py", work, ValueError) == 1
    assert capsys.readouterr().err == "build.py: error: \\x1b[2J\\udcff.png: is no PNG\n"


def test_name_of_the_dataset_is_the_builders() -> None:
    assert REPO_ID == rock_glacier_dataset.REPO_ID
