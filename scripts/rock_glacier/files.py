"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from rock_glacier.console import termination_as_interruption

_DISK_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


@contextlib.contextmanager
def new_output_folder(out: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a folder to write into, which becomes `out` when the block ends and is removed when it raises.

    Args:
        out: the folder to make; it may exist when it is empty. Missing parents are made.

    Yields:
        a temporary folder beside `out`.

    Raises:
        FileExistsError: `out` exists and is not an empty folder; it stays as it is.
        OSError: the folder cannot be written.
    """
    target = Path(out).resolve()  # so that "." has a name, and a link's target rather than the link is replaced
    _refuse_occupied(target)
    made_parents = [parent for parent in target.parents if not parent.exists()]
    with termination_as_interruption():
        temporary = _beside(target)
        try:
            temporary.mkdir(parents=True)
            yield temporary
            _refuse_occupied(target)  # another process may have been faster
            if os.name == "nt" and target.exists():
                target.rmdir()  # Windows does not rename over an empty folder
            temporary.replace(target)
        except BaseException as error:
            shutil.rmtree(temporary, ignore_errors=True)
            for parent in made_parents:
                with contextlib.suppress(OSError):
                    parent.rmdir()
            if isinstance(error, OSError) and error.errno in _DISK_FULL:
                raise _unwritten(error, target) from error
            raise


def _beside(target: Path) -> Path:
    """Return a hidden name beside a file or folder that no other has."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")


def _unwritten(error: OSError, target: Path) -> OSError:
    """Return the error of a file or folder that cannot be written, with the remedy."""
    remedy = "make room, or name another disk" if error.errno in _DISK_FULL else "name another place"
    unwritten = type(error)(f"{target}: cannot be written ({error.strerror}); {remedy}")
    unwritten.errno = error.errno
    return unwritten


def _refuse_occupied(target: Path) -> None:
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists():
        kind = "folder that is not empty" if target.is_dir() else "file"
        raise FileExistsError(f"{target} is a {kind}; name a new folder or an empty one")


def write_file(file: Path, content: str | bytes) -> None:
    """Write a file whole, or leave what is there; several processes may write it at once, and the last one stays.

    Args:
        file: the file to make or to replace; its folder exists. A link stays one, and its target is written. What is
            no regular file, such as a pipe or `/dev/stdout`, is written to.
        content: the content; text as UTF-8.

    Raises:
        OSError: the file cannot be written.
    """
    content = content.encode() if isinstance(content, str) else content
    target = Path(os.path.realpath(file))
    try:
        is_stream = os.path.dirname(os.path.abspath(file)) in ("/dev", "/dev/fd")  # perhaps of a regular file
        if is_stream or (file.exists() and not file.is_file()):
            with file.open("ab", buffering=0) as stream:
                stream.write(content)
            return
        beside = _beside(target)
        try:
            with beside.open("xb") as new:
                new.write(content)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritten(error, file) from error
