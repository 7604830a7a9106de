"""Files and folders that are written whole or not at all, and files that are read strictly."""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import glob
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.csv as pa_csv
from filelock import FileLock

from rock_glacier.console import termination_as_interruption

LARGEST_PNG = 2**20
"""Bytes of the largest file that is read as a tile or a mask, whose pixels are 64 KiB."""

_NO_SYNC = (errno.EINVAL, errno.EBADF, errno.ENOTSUP)  # of folders, on some network file systems
_DISK_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


@contextlib.contextmanager
def new_output_folder(out: str | os.PathLike[str], replaceable: Sequence[str] = ()) -> Iterator[Path]:
    """Yield a folder to write into, which becomes `out` when the block ends and is removed when it raises.

    What a process that was killed has left is removed by the next that writes the same `out`.

    Args:
        out: the folder to make; it may exist when it is empty. Missing parents are made.
        replaceable: paths, as patterns of `fnmatch`, of the files that `out` may hold to be replaced as a whole.

    Yields:
        a temporary folder beside `out`.

    Raises:
        FileExistsError: `out` is a file, or a folder with something in it that is not `replaceable`; it stays as it is.
        OSError: the folder cannot be written.
    """
    target = Path(out).resolve()  # so that "." has a name, and a link's target rather than the link is replaced
    _clear_up(target)
    _refuse_occupied(target, replaceable)
    made_parents = [parent for parent in target.parents if not parent.exists()]
    with termination_as_interruption():
        temporary = _beside(target)
        try:
            with _locked(temporary, target):
                yield temporary
                _refuse_occupied(target, replaceable)  # another process may have been faster
                for path in (temporary, *temporary.rglob("*")):
                    _sync(path)
                if target.exists():
                    target.replace(_old_of(temporary))
                temporary.replace(target)
        except BaseException as error:
            for parent in made_parents:
                with contextlib.suppress(OSError):
                    parent.rmdir()
            if isinstance(error, OSError) and error.errno in _DISK_FULL:
                raise _unwritten(error, target) from error
            raise


def _beside(target: Path) -> Path:
    """Return a hidden name beside a file or folder that no other has."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")


def _old_of(temporary: Path) -> Path:
    """Return the name beside a temporary folder under which lies what it replaces, for a moment."""
    return temporary.with_name(f"{temporary.name}.old")


@contextlib.contextmanager
def _locked(temporary: Path, target: Path) -> Iterator[None]:
    """Make a temporary folder with a lock beside it, which tells `_clear_up` that a process holds it."""
    lock = FileLock(f"{temporary}.lock")
    try:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            temporary.mkdir()
        except OSError as error:
            raise _unwritten(error, target) from error
        yield
    finally:
        _finish(temporary, target)
        lock.release()
        with contextlib.suppress(OSError):
            os.unlink(lock.lock_file)


def _clear_up(target: Path) -> None:
    """Remove what killed processes have left beside a folder, and put back what one of them was about to replace."""
    for lock in target.parent.glob(f".{glob.escape(target.name)}.{'[0-9a-f]' * 8}.tmp.lock"):
        with contextlib.suppress(OSError), FileLock(lock, timeout=0):  # a Timeout is one, too
            _finish(lock.with_suffix(""), target)
            lock.unlink()


def _finish(temporary: Path, target: Path) -> None:
    """Put back what a temporary folder was to replace, if it has not, and remove what is left.

    Raises:
        OSError: something else lies in the place of what is to be put back; both stay.
    """
    old = _old_of(temporary)
    if temporary.exists() and old.exists():
        old.replace(target)
    for left in (old, temporary):
        shutil.rmtree(left, ignore_errors=True)


def _sync(path: Path) -> None:
    """Write a file or a folder through to the disk, so that no crash leaves an empty one under its last name."""
    if os.name != "nt":  # which syncs no folder, and no file that is open for reading
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if not (path.is_dir() and error.errno in _NO_SYNC):
                raise
        finally:
            os.close(descriptor)


def _unwritten(error: OSError, target: Path) -> OSError:
    """Return the error of a file or folder that cannot be written, with the remedy."""
    remedy = "make room, or name another disk" if error.errno in _DISK_FULL else "name another place"
    unwritten = type(error)(f"{target}: cannot be written ({error.strerror}); {remedy}")
    unwritten.errno = error.errno
    return unwritten


def _refuse_occupied(target: Path, replaceable: Sequence[str]) -> None:
    if not target.exists():
        return
    files = [target] if not target.is_dir() else target.rglob("*") if replaceable else target.iterdir()
    kept = sorted(file.relative_to(target).as_posix() for file in files if not (replaceable and file.is_dir()))
    kept = [name for name in kept if not any(fnmatch.fnmatchcase(name, pattern) for pattern in replaceable)]
    if kept:
        of_folder = f"folder that holds {kept[0]}" if replaceable else "folder that is not empty"
        kind = of_folder if target.is_dir() else "file"
        remedy = "" if replaceable or not target.is_dir() else ", or give --overwrite"
        raise FileExistsError(f"{target} is a {kind}; name a new folder or an empty one{remedy}")


def write_file(file: Path, content: str | bytes) -> None:
    """Write a file whole, or leave what is there; several processes may write it at once, and the last one stays.

    Args:
        file: the file to make, or to replace with its permissions; its folder exists. A link stays one, and its target
            is written. What is no regular file, such as a pipe or `/dev/stdout`, is written to.
        content: the content; text as UTF-8.

    Raises:
        OSError: the file cannot be written.
    """
    content = content.encode() if isinstance(content, str) else content
    target = Path(os.path.realpath(file))
    try:
        is_stream = os.path.dirname(os.path.abspath(file)) in ("/dev", "/dev/fd")  # perhaps of a regular file
        if is_stream or (file.exists() and not file.is_file()):
            with file.open("ab") as stream:
                stream.write(content)
            return
        beside = _beside(target)
        try:
            with beside.open("xb") as new:
                new.write(content)
            _sync(beside)
            if target.exists():
                shutil.copymode(target, beside)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritten(error, file) from error


def read_png_file(file: Path) -> bytes:
    """Read a PNG file of a tile or a mask, and nothing else that may lie in its place.

    Raises:
        ValueError: it is no regular file, such as a pipe, or larger than `LARGEST_PNG`; says what to do.
        OSError: it cannot be read.
    """
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("is no regular file; remove it")
    if status.st_size > LARGEST_PNG:
        raise ValueError(f"has {status.st_size:,} bytes; save it with at most {LARGEST_PNG:,}")
    return file.read_bytes()


def read_csv(file: Path | IO[bytes], types: pa.Schema) -> pa.Table:
    """Read a CSV file strictly: each row has the fields of the header, and a number is one in ASCII digits.

    Args:
        file: the file.
        types: names and types of columns that it has; it may have others.

    Raises:
        ValueError: it does not fit; names the row, and says what to do.
        OSError: it cannot be read.
    """
    try:
        # One thread, because errors then name the row.
        options = pa_csv.ReadOptions(use_threads=False), pa_csv.ParseOptions(newlines_in_values=True)
        table = pa_csv.read_csv(file, *options, pa_csv.ConvertOptions(column_types=types))
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        remedy = "put commas between fields, and write decimals with a point"
        raise ValueError(f"cannot be read as CSV ({error}); {remedy}") from None
    check_columns(table.column_names, types.names)
    return table


def check_columns(names: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise a ValueError for a column that a table lacks or has twice."""
    for name in wanted:
        if names.count(name) != 1:
            number = "more than one" if name in names else "no"
            listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            raise ValueError(f"has {number} column {name}; its columns are {listed or 'none'}")
