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
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
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
                remedy = "make room, or name a folder on another disk"
                full = OSError(f"{target}: cannot be written ({error.strerror}); {remedy}")
                full.errno = error.errno
                raise full from error
            raise


def _refuse_occupied(target: Path) -> None:
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists():
        kind = "folder that is not empty" if target.is_dir() else "file"
        raise FileExistsError(f"{target} is a {kind}; name a new folder or an empty one")


@contextlib.contextmanager
def new_output_file(file: Path) -> Iterator[Path]:
    """Yield a path to write to, which becomes `file` when the block ends and is removed when it raises.

    Args:
        file: the file to make or to replace; its folder exists.

    Yields:
        a path beside it.

    Raises:
        OSError: the file cannot be written.
    """
    beside = file.with_name(f".{file.name}.tmp")
    try:
        yield beside
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
