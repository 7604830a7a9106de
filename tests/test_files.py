"""Folders and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from pathlib import Path

import pytest

from rock_glacier.files import new_output_file, new_output_folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(out: Path, fault: BaseException | None = None, signal_number: int | None = None) -> None:
    """Write a folder with one file; raise or send a signal before it is finished."""
    with new_output_folder(out) as folder:
        (folder / "file").write_text("content")
        if signal_number is not None:
            os.kill(os.getpid(), signal_number)
        if fault is not None:
            raise fault


def test_output_folder_appears_when_all_is_written_with_the_permissions_of_any_new_one(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with new_output_folder(out) as folder:
        (folder / "file").write_text("content")
        assert not out.exists()
    assert (out / "file").read_text() == "content"
    assert names(out.parent) == ["out"]
    (tmp_path / "usual").mkdir()
    assert out.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_empty_output_folder_is_filled_and_a_link_to_it_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link")
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


@pytest.mark.parametrize("fault", [ValueError("x"), OSError("x"), KeyboardInterrupt("x"), SystemExit("x")])
def test_failed_block_leaves_nothing_and_passes_its_error_on(tmp_path: Path, fault: BaseException) -> None:
    with pytest.raises(type(fault), match=r"^x$"):
        write(tmp_path / "above" / "out", fault)
    assert names(tmp_path) == []


def test_full_disk_is_reported_with_the_folder_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"cannot be written \(No space left on device\); make room") as raised:
        write(tmp_path / "out", OSError(errno.ENOSPC, "No space left on device"))
    assert str(raised.value).startswith(f"{tmp_path / 'out'}: ")
    assert raised.value.errno == errno.ENOSPC
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_terminated_process_leaves_nothing(tmp_path: Path, name: str) -> None:
    number = getattr(signal, name)
    before = signal.signal(number, signal.default_int_handler)  # so that a fault does not end the tests
    try:
        with pytest.raises(KeyboardInterrupt, match=f"received {name}"):
            write(tmp_path / "out", signal_number=number)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGHUP")
def test_hangup_is_ignored_where_it_was_before_as_under_nohup(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        write(tmp_path / "out", signal_number=signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert names(tmp_path) == ["out"]


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
