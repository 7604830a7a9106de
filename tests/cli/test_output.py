"""Files and folders that are complete or absent, and printed names."""

from __future__ import annotations

import os
from pathlib import Path

import factories
import pytest

from rock_glacier import output


def fill_and_fail(folder: Path) -> None:
    (folder / "file").write_bytes(b"content")
    raise KeyboardInterrupt


def test_text_and_message_escape_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    output.text("a\x1b[2J.json\nñ")
    output.message("\x9b.png")
    assert capsys.readouterr() == ("a\\x1b[2J.json\nñ\n", "\\x9b.png\n")


def test_count_uses_the_plural() -> None:
    assert output.count(0, "tile") == "0 tiles"
    assert output.count(1, "match") == "1 match"
    assert output.count(1234, "match") == "1,234 matches"


def test_write_file_replaces_a_file(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    output.write_file(file, "old")
    output.write_file(file, "ñ")
    assert factories.files_of(tmp_path) == {"report.json": "ñ".encode()}


def test_write_file_keeps_a_link(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("target")
    output.write_file(link, b"content")
    assert link.is_symlink()
    assert (tmp_path / "target").read_bytes() == b"content"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_write_file_writes_to_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    output.write_file(pipe, b"content")
    assert os.read(reader, 100) == b"content"
    os.close(reader)


def test_full_disk_leaves_the_old_file_and_names_it(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_bytes(b"old")
    with factories.limited_file_size(10), pytest.raises(OSError) as raised:
        output.write_file(file, b"new" * 10)
    assert raised.value.filename == str(file)
    assert factories.files_of(tmp_path) == {"report.json": b"old"}


def test_error_of_new_file_names_the_file_of_the_user(tmp_path: Path) -> None:
    file = tmp_path / "missing" / "report.json"
    with pytest.raises(FileNotFoundError) as raised:
        output.write_file(file, "content")
    assert raised.value.filename == str(file)


@pytest.mark.parametrize("name", ["out", "missing/out", "empty"])
def test_new_folder_is_complete_at_the_end(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    out = tmp_path / name
    with output.new_folder(out) as folder:
        (folder / "file").write_bytes(b"content")
        (folder / "folder").mkdir()
        assert not (out / "file").exists()
    assert sorted(os.listdir(out)) == ["file", "folder"]
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("name", ["out", "empty"])
def test_new_folder_is_removed_after_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(KeyboardInterrupt), output.new_folder(tmp_path / name) as folder:
        fill_and_fail(folder)
    assert list(tmp_path.rglob("*")) == [tmp_path / "empty"]


def test_existing_empty_folder_is_filled_and_not_replaced(tmp_path: Path) -> None:
    """A mount point cannot be replaced."""
    before = tmp_path.stat().st_ino
    with output.new_folder(tmp_path) as folder:
        (folder / "file").write_bytes(b"content")
    assert tmp_path.stat().st_ino == before
    assert factories.files_of(tmp_path) == {"file": b"content"}


@pytest.mark.parametrize("name", ["precious", "."])
def test_existing_output_is_refused_before_the_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "precious").write_bytes(b"content")
    with pytest.raises(FileExistsError), output.new_folder(tmp_path / name):
        pytest.fail("the work began")
    assert factories.files_of(tmp_path) == {"precious": b"content"}


def test_unwritable_folder_is_refused_before_the_work(tmp_path: Path) -> None:
    """A file in place of a parent folder stops every user, even root."""
    (tmp_path / "file").write_bytes(b"")
    out = tmp_path / "file" / "out"
    with pytest.raises(OSError) as raised, output.new_folder(out):
        pytest.fail("the work began")
    assert raised.value.filename == str(out)
    assert "Choose a folder you can write to" in str(raised.value)


def test_a_reader_of_the_replaced_file_sees_it_whole(tmp_path):
    """A file is replaced by renaming, so it is never half-written."""
    path = tmp_path / "report.json"
    path.write_text("old")
    with path.open() as reader:
        output.write_file(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"
