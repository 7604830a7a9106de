"""Folders and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rock_glacier.files import new_output_file, new_output_folder

WITHIN = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run(program: str, *arguments: object, limit: str = "unlimited") -> subprocess.CompletedProcess[str]:
    """Run a program in a process that may write files of so many KiB."""
    command = ["bash", "-c", f'ulimit -f {limit}; exec "$0" "$@"', sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, env=WITHIN, capture_output=True, text=True, check=False)


def test_output_folder_appears_when_all_is_written(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with new_output_folder(out) as folder:
        (folder / "file").write_text("content")
        assert not out.exists()
    assert (out / "file").read_text() == "content"
    assert names(out.parent) == ["out"]


def test_empty_output_folder_is_filled_and_has_the_permissions_of_any_new_one(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "usual").mkdir()
    with new_output_folder(tmp_path / "out") as folder:
        (folder / "file").touch()
    assert names(tmp_path / "out") == ["file"]
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_link_to_an_empty_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with new_output_folder(tmp_path / "link") as folder:
        (folder / "file").touch()
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "real") == ["file"]


@pytest.mark.parametrize("kind", ["file", "folder that is not empty"])
def test_occupied_output_folder_is_refused_and_stays_as_it_is(tmp_path: Path, kind: str) -> None:
    out = precious = tmp_path / "out"
    if kind != "file":
        out.mkdir()
        precious = out / "precious"
    precious.write_text("content")
    with pytest.raises(FileExistsError, match=f"is a {kind}; name a new"), new_output_folder(out):
        pytest.fail("the block must not run")
    assert precious.read_text() == "content"
    assert names(tmp_path) == ["out"]


def test_output_folder_that_was_filled_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def overtaken() -> None:
        with new_output_folder(out):
            out.mkdir()
            (out / "precious").touch()

    with pytest.raises(FileExistsError):
        overtaken()
    assert names(out) == ["precious"]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("fault", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_failed_block_leaves_nothing_and_passes_its_error_on(tmp_path: Path, fault: type[BaseException]) -> None:
    def failing() -> None:
        with new_output_folder(tmp_path / "above" / "out") as folder:
            (folder / "file").touch()
            raise fault

    with pytest.raises(fault):
        failing()
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit of a file's size")
def test_full_disk_is_said_with_the_folder_and_what_to_do(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from rock_glacier.files import new_output_folder\n"
        "with new_output_folder(sys.argv[1]) as folder:\n"
        "    (folder / 'file').write_bytes(bytes(100_000))\n"
    )
    ended = run(program, tmp_path / "out", limit="64")
    assert f"OSError: {tmp_path / 'out'}: cannot be written (File too large); make room" in ended.stderr
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that a process could answer")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_terminated_process_leaves_nothing(tmp_path: Path, name: str) -> None:
    program = (
        "import os, signal, sys\n"
        "from rock_glacier.files import new_output_folder\n"
        "with new_output_folder(sys.argv[1]) as folder:\n"
        "    (folder / 'file').touch()\n"
        f"    os.kill(os.getpid(), signal.{name})\n"
    )
    ended = run(program, tmp_path / "out")
    assert ended.returncode != 0
    assert f"KeyboardInterrupt: received {name}" in ended.stderr
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGHUP")
def test_hangup_is_ignored_where_it_was_before_as_under_nohup(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from rock_glacier.files import new_output_folder\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with new_output_folder(sys.argv[1]) as folder:\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
    )
    assert run(program, tmp_path / "out").returncode == 0
    assert names(tmp_path) == ["out"]


def test_signal_is_handled_as_before_afterwards(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with new_output_folder(tmp_path / "out"):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("fault", [None, ValueError, KeyboardInterrupt])
def test_file_is_replaced_when_all_is_written_or_stays_as_it_was(
    tmp_path: Path, fault: type[BaseException] | None
) -> None:
    file = tmp_path / "report.json"
    file.write_text("old")
    with contextlib.suppress(ValueError, KeyboardInterrupt), new_output_file(file) as beside:
        beside.write_text("new")
        assert file.read_text() == "old"
        if fault:
            raise fault
    assert file.read_text() == ("old" if fault else "new")
    assert names(tmp_path) == ["report.json"]
