"""How commands end and what they print: one printable line on failure, and no progress bars outside a terminal."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

import rock_glacier_dataset
from rock_glacier.console import CONFIG_NAMES, REPO_ID, add_options, note, run, say

LATE = """
import os, sys
sys.path = {path}
for name in ("HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS"):
    os.environ.pop(name, None)
from rock_glacier.console import run
def work():
    import datasets, huggingface_hub.utils
    assert datasets.are_progress_bars_disabled() and huggingface_hub.utils.are_progress_bars_disabled()
sys.exit(run("audit.py", work, ValueError))
"""
PRINTING = """
import os, sys
sys.path = {path}
from rock_glacier.console import run, say
def work():
    with open({file!r}, "w") as file:
        say("first")
        say("last")
        file.write("done")
sys.exit(run("audit.py", work, ValueError))
"""
UNREAD = """
import os, sys
sys.path = {path}
from rock_glacier.console import run, say
def work():
    say("first")
    print("a message", file=sys.stderr)
    say("last")
    with open({file!r}, "w") as file:
        file.write("done")
reader, writer = os.pipe()
os.dup2(writer, {stream})
os.close(reader)
sys.exit(run("audit.py", work, ValueError))
"""


def run_alone(program: str, **values: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program.format(path=sys.path, **values)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_no_library_draws_a_progress_bar_where_standard_error_is_no_terminal() -> None:
    ended = run_alone(LATE)  # where the libraries are imported by the work
    assert (ended.returncode, ended.stderr) == (0, "")
    datasets.enable_progress_bars()
    assert run("audit.py", lambda: None, ValueError) == 0
    assert datasets.are_progress_bars_disabled()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other pipes")
@pytest.mark.parametrize(
    ("stream", "output"), [(1, ("", "a message\n")), (2, ("first\nlast\n", ""))], ids=["output", "messages"]
)
def test_work_goes_on_where_nobody_reads(tmp_path: Path, stream: int, output: tuple[str, str]) -> None:
    file = tmp_path / "file"
    ended = run_alone(UNREAD, stream=stream, file=str(file))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, *output)
    assert file.read_text() == "done"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has such a device")
@pytest.mark.parametrize(
    ("redirection", "fault"), [("> /dev/full", "No space left on device"), (">&-", "Bad file descriptor")]
)
def test_output_that_cannot_be_written_is_said_after_the_work(tmp_path: Path, redirection: str, fault: str) -> None:
    program = PRINTING.format(path=sys.path, file=str(tmp_path / "file"))
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(program)} {redirection}"
    ended = subprocess.run(["/bin/sh", "-c", command], stderr=subprocess.PIPE, text=True, check=False)
    assert ended.stderr == f"audit.py: error: standard output cannot be written ({fault}); all other work was done\n"
    assert ended.returncode == 1
    assert (tmp_path / "file").read_text() == "done"


def fail_with(error: Exception) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\x1b[2J\udcff.png:\n  is no PNG"), "error: \\x1b[2J\\udcff.png: is no PNG"),
        (ValueError(), "error: ValueError"),
        (
            ModuleNotFoundError("x", name="scipy"),
            "error: the package scipy is not installed; pip install 'rock-glacier-dataset[curate]'",
        ),
    ],
)
def test_failure_is_one_line_without_control_characters(
    capsys: pytest.CaptureFixture[str], error: Exception, line: str
) -> None:
    assert run("build.py", fail_with(error), ValueError, extra="curate") == 1
    assert capsys.readouterr().err == f"build.py: {line}\n"


def test_results_and_messages_show_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    say(Path("a\n\x1b[2J.json"))
    note("ñ\n\x9b.png: left out")
    assert capsys.readouterr() == ("a\\n\\x1b[2J.json\n", "ñ\\n\\x9b.png: left out\n")


def test_options_name_the_dataset_and_the_configs_as_the_builder_does() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, "--repo-id", "--name")
    for name in rock_glacier_dataset.CONFIG_NAMES:
        options = parser.parse_args(["--name", name])
        assert (options.repo_id, options.name) == (rock_glacier_dataset.REPO_ID, name)
    assert (REPO_ID, CONFIG_NAMES) == (rock_glacier_dataset.REPO_ID, rock_glacier_dataset.CONFIG_NAMES)
