"""Folders and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from rock_glacier.files import new_output_folder, write_file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def replace(out: Path) -> None:
    """Replace a folder that holds `file` by one that does."""
    with new_output_folder(out, ["file"]) as folder:
        (folder / "file").write_text("new")


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
    with pytest.raises(FileExistsError, match="name a new folder"):
        replace(out)
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


def test_folder_that_cannot_be_written_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = rf"^{tmp_path / 'file' / 'out'}: cannot be written \((File exists|Not a directory)\); name another place$"
    with pytest.raises(OSError, match=message):
        write(tmp_path / "file" / "out")
    read_only = OSError(errno.EROFS, "Read-only file system")
    message = rf"^{tmp_path / 'out'}: cannot be written \(Read-only file system\); name another place$"
    with (
        mock.patch("os.open", side_effect=read_only),
        mock.patch("os.unlink", side_effect=read_only),
        pytest.raises(OSError, match=message),
    ):
        write(tmp_path / "out")
    assert names(tmp_path) == ["file"]


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


KILLED = """
import os, signal, sys
sys.path = {path}
from pathlib import Path
from rock_glacier.files import new_output_folder
def end(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)
replace = Path.replace
with new_output_folder({out!r}, ["file"]) as folder:
    (folder / "file").touch()
    if {replacing}:
        Path.replace = lambda path, target: end() if path.name.endswith(".tmp") else replace(path, target)
    else:
        end()
"""


def kill_a_writer(out: Path, *, replacing: bool = False) -> None:
    """Kill a process that writes a folder, before it is through or while it replaces what is there."""
    program = KILLED.format(path=sys.path, out=str(out), replacing=replacing)
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
@pytest.mark.parametrize("meanwhile", ["nothing", "an empty folder", "a folder"])
def test_what_a_killed_process_was_about_to_replace_is_put_back(tmp_path: Path, meanwhile: str) -> None:
    out = tmp_path / "out"
    write(out)
    kill_a_writer(out, replacing=True)
    assert not out.exists()
    if meanwhile != "nothing":
        out.mkdir()
    if meanwhile == "a folder":
        (out / "other").touch()
    with pytest.raises(FileExistsError):
        write(out)
    if meanwhile == "a folder":  # which is not for us to remove
        assert [file.read_text() for file in tmp_path.glob(".out.*.tmp.old/file")] == ["content"]
        (out / "other").unlink()
        with pytest.raises(FileExistsError):
            write(out)
    assert (out / "file").read_text() == "content"
    assert names(tmp_path) == ["out"]


@pytest.mark.skipif(os.name == "nt", reason="Windows syncs no folder")
@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_file_system_that_syncs_no_folders_is_written_all_the_same(tmp_path: Path, number: int) -> None:
    def sync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))

    with mock.patch.object(os, "fsync", sync), contextlib.suppress(OSError):
        write(tmp_path / "out")
    assert names(tmp_path) == (["out"] if number == errno.EINVAL else [])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_what_a_killed_process_left_is_removed_by_the_next_but_not_what_another_writes(tmp_path: Path) -> None:
    (tmp_path / ".out.tmp").mkdir()
    (tmp_path / ".out.precious.tmp.lock").touch()
    mine = names(tmp_path)
    kill_a_writer(tmp_path / "out")
    assert len(names(tmp_path)) == len(mine) + 2
    with new_output_folder(tmp_path / "out") as folder:
        write(tmp_path / "out")
        assert folder.is_dir()
        (tmp_path / "out" / "file").unlink()
    assert names(tmp_path) == [*mine, "out"]


def test_what_is_renamed_is_on_the_disk(tmp_path: Path) -> None:
    if os.name == "nt":
        pytest.skip("left out: Windows syncs no folder")
    synced, before = set(), {}

    def sync(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)

    replace = Path.replace

    def note(path: Path, target: Path) -> Path:
        before[target.name] = {one.stat().st_ino for one in (path, *path.rglob("*"))} <= synced
        return replace(path, target)

    with mock.patch.object(os, "fsync", sync), mock.patch.object(Path, "replace", note):
        write(tmp_path / "out")
        write_file(tmp_path / "report", "content")
    assert before == {"out": True, "report": True}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGHUP")
def test_hangup_is_ignored_where_it_was_before_as_under_nohup(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        write(tmp_path / "out", signal_number=signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert names(tmp_path) == ["out"]


def write_while(file: Path, moment: str, action: Callable[[], object]) -> None:
    """Write a file, and do something right before it is opened or replaced."""
    original = getattr(Path, moment)

    def act(path: Path, *arguments: object, **options: object) -> object:
        with mock.patch.object(Path, moment, original):
            action()
            return original(path, *arguments, **options)

    with mock.patch.object(Path, moment, act):
        write_file(file, "new")


@pytest.mark.parametrize("fault", [None, OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_file_is_replaced_when_all_is_written_or_stays_as_it_was(tmp_path: Path, fault: BaseException | None) -> None:
    file = tmp_path / "report.json"
    file.write_text("old")
    (tmp_path / ".report.json.tmp").write_text("precious")

    def check() -> None:
        assert file.read_text() == "old"
        if fault:
            raise fault

    with contextlib.suppress(OSError, KeyboardInterrupt):
        write_while(file, "replace", check)
    assert file.read_text() == ("old" if fault else "new")
    assert names(tmp_path) == [".report.json.tmp", "report.json"]


def test_of_two_writers_of_a_file_the_last_one_stays(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    write_while(file, "replace", lambda: write_file(file, "other"))
    assert file.read_text() == "new"
    assert names(tmp_path) == ["report.json"]


def test_target_of_a_link_is_written_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "file")
    for content in "12":  # first to a file that does not exist yet
        write_file(tmp_path / "link", content)
        assert (tmp_path / "folder" / "file").read_text() == content
        if content == "1":
            (tmp_path / "folder" / "file").chmod(0o600)
    assert (tmp_path / "folder" / "file").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "folder") == ["file"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_what_is_no_regular_file_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    descriptor = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_file(tmp_path / "pipe", "content")
    assert os.read(descriptor, 100) == b"content"
    os.close(descriptor)
    assert (tmp_path / "pipe").is_fifo()
    with (tmp_path / "file").open("w") as opened:  # as where standard output is redirected
        opened.write("first, ")
        opened.flush()
        write_file(Path(f"/dev/fd/{opened.fileno()}"), "then")
    assert (tmp_path / "file").read_text() == "first, then"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such limit")
def test_stream_that_takes_a_part_is_an_error(tmp_path: Path) -> None:
    resource = importlib.import_module("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with (tmp_path / "file").open("w") as opened:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        try:
            with pytest.raises(OSError, match=r"cannot be written \(File too large\); make room"):
                write_file(Path(f"/dev/fd/{opened.fileno()}"), "more than that")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has such a device")
def test_device_that_is_full_is_named_with_the_remedy_and_stays_a_device(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/full")
    for file in (Path("/dev/full"), tmp_path / "link"):
        message = rf"^{file}: cannot be written \(No space left on device\); make room"
        # A fault here must not cost the machine its device.
        with mock.patch.object(Path, "replace", side_effect=AssertionError), pytest.raises(OSError, match=message):
            write_file(file, b"content")
    assert Path("/dev/full").is_char_device()
    assert (tmp_path / "link").is_symlink()
