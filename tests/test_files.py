"""A folder that is written whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

from rock_glacier.files import new_output_folder


def test_output_folder_appears_when_all_is_written(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with new_output_folder(out) as folder:
        (folder / "file").write_text("content")
        assert not out.exists()
    assert (out / "file").read_text() == "content"
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_output_folder_has_the_permissions_of_any_new_folder(tmp_path: Path) -> None:
    (tmp_path / "usual").mkdir()
    with new_output_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_empty_output_folder_is_filled(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with new_output_folder(out) as folder:
        (folder / "file").touch()
    assert [path.name for path in out.iterdir()] == ["file"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_occupied_output_folder_is_refused_and_stays_as_it_is(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    precious = out
    if kind == "folder":
        out.mkdir()
        precious = out / "precious"
    precious.write_text("content")
    with pytest.raises(FileExistsError, match="name a new folder or an empty one"), new_output_folder(out):
        pytest.fail("the block must not run")
    assert precious.read_text() == "content"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_output_folder_that_was_filled_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def overtaken() -> None:
        with new_output_folder(out):
            out.mkdir()
            (out / "precious").touch()

    with pytest.raises(FileExistsError):
        overtaken()
    assert [path.name for path in out.iterdir()] == ["precious"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("fault", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_failed_block_leaves_nothing(tmp_path: Path, fault: type[BaseException]) -> None:
    def failing() -> None:
        with new_output_folder(tmp_path / "above" / "out") as folder:
            (folder / "file").touch()
            raise fault

    with pytest.raises(fault):
        failing()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that a process could answer")
def test_terminated_process_leaves_nothing(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from output_folder import new_output_folder\n"
        "with new_output_folder(sys.argv[1]) as folder:\n"
        "    (folder / 'file').touch()\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "scripts")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode != 0
    assert "SIGTERM" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_output_folder_gives_the_signal_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with new_output_folder(tmp_path / "out"):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
