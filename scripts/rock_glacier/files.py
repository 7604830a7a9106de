"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rock_glacier.console import termination_as_interruption

_DISK_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


@contextlib.contextmanager
def new_output_folder(out: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a folder to write into that becomes `out` when the block ends, or is removed when it raises.

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
        temporary: Path | None = None
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
            yield temporary
            _refuse_occupied(target)  # another process may have been faster
            temporary.chmod(_mode_of_new_folder())
            if os.name == "nt" and target.exists():
                target.rmdir()  # Windows does not rename over an empty folder
            temporary.replace(target)
        except BaseException as error:
            if temporary is not None:
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


def _mode_of_new_folder() -> int:
    """Return the permissions that mkdir would give; mkdtemp gives its own to nobody but the owner."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o777 & ~mask


@contextlib.contextmanager
def new_output_file(file: Path) -> Iterator[Path]:
    """Give a path to write to that becomes `file` when the block ends, or leaves `file` as it was when it raises.

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
