"""Print results and messages, and write files and folders that are complete or absent."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

# A full disk, a full quota, and the largest size of a file.
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StdoutClosedError(BrokenPipeError):
    """The reader of standard output has closed the pipe, as `head` does."""


def text(line: object) -> None:
    """Print a result on standard output. Control characters are escaped, except line ends.

    Raises:
        StdoutClosedError: If the reader has closed the pipe.
    """
    try:
        print(_printable_lines(str(line)), flush=True)
    except BrokenPipeError as error:
        raise StdoutClosedError from error


def message(line: object) -> None:
    """Print a note on standard error. Control characters are escaped, except line ends."""
    print(_printable_lines(str(line)), file=sys.stderr, flush=True)


def count(number: int, noun: str) -> str:
    """Return a number with its noun.

    Example:
        >>> count(1, "tile"), count(11_700, "tile"), count(2, "match")
        ('1 tile', '11,700 tiles', '2 matches')
    """
    if number == 1:
        return f"1 {noun}"
    ending = "es" if noun.endswith(("s", "x", "ch", "sh")) else "s"
    return f"{number:,} {noun}{ending}"


def printable(text: str) -> str:
    r"""Escape control characters and line ends, for example in the name of a file.

    Example:
        >>> printable("a\n\x1b[2Jñ.png")
        'a\\n\\x1b[2Jñ.png'
    """
    characters = []
    for character in text:
        if character.isprintable():
            characters.append(character)
        else:
            characters.append(ascii(character)[1:-1])
    return "".join(characters)


def write_file(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file under a temporary name and rename it: it is complete or unchanged.

    Args:
        path: File to create or to replace. Devices and pipes, such as `/dev/stdout`, are written
            to directly.
        content: Bytes, or text to encode as UTF-8.

    Raises:
        OSError: If the file cannot be written.
    """
    path = Path(path)
    content = content.encode() if isinstance(content, str) else content
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    with new_file(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def new_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary file name, which is renamed to `path` on success and removed on failure.

    Args:
        path: File to create or to replace. If it is a link, its target is replaced.

    Yields:
        Path in the same folder, which does not exist yet.

    Raises:
        OSError: If the file cannot be written. The error names `path`, not the temporary file.
    """
    target = Path(path).resolve()
    temporary = _temporary_sibling(target)
    try:
        with _name_full_disk(Path(path)):
            yield temporary
            temporary.replace(target)
    except OSError as error:
        if error.errno is None or error.filename == str(path):
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder, which becomes `path` on success and is removed on failure.

    If `path` does not exist, the temporary folder is renamed to it. If `path` is an empty folder,
    such as a mount point, the temporary folder is inside it, and its content is moved up.

    Args:
        path: Folder to create or to fill. Missing parents are created.

    Yields:
        The temporary folder.

    Raises:
        FileExistsError: If `path` is a file, or a folder that is not empty. Raised before any work.
        OSError: If the folder cannot be written. Raised before any work.
    """
    path = Path(path)
    fills = path.exists()
    if fills:
        _check_is_empty(path)
        temporary = _temporary_sibling(path / "content")
    else:
        temporary = _temporary_sibling(path)
    try:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
    except OSError as error:
        problem = f"{error.strerror}. Choose a folder you can write to"
        raise OSError(error.errno, problem, str(path)) from error
    try:
        with _name_full_disk(path):
            yield temporary
        if fills:
            for entry in temporary.iterdir():
                entry.rename(path / entry.name)
        else:
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_is_empty(path: Path) -> None:
    if not path.is_dir():
        raise FileExistsError(f"{path}: is a file. Choose a new or an empty folder.")
    for entry in path.iterdir():
        raise FileExistsError(
            f"{path}: is not empty, it contains {entry.name}. Choose a new or an empty folder."
        )


@contextlib.contextmanager
def _name_full_disk(path: Path) -> Iterator[None]:
    """Name the output in the error of a full disk, which may name a temporary file or none."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        problem = f"{os.strerror(error.errno)}. Free some space or choose another disk"
        raise OSError(error.errno, problem, str(path)) from error


def _temporary_sibling(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")


def _printable_lines(text: str) -> str:
    return "\n".join(printable(line) for line in text.split("\n"))
