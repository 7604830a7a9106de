"""A folder that is written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from command_line import termination_as_interruption

_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
"""What a disk says that holds no more, or not for this user."""


@contextlib.contextmanager
def new_output_folder(out: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a folder to write into that becomes `out` when all is written, or leaves nothing behind.

    The folder lies beside `out` under a temporary name. When the block ends it is renamed to `out`, at once and whole;
    when the block raises, or the process is interrupted or asked to terminate, it is removed.

    Args:
        out: The folder to make. It may exist when it is empty. Folders above it are made if need be.

    Yields:
        The temporary folder.

    Raises:
        FileExistsError: `out` exists and is not an empty folder; it stays as it is.
        OSError: The folder cannot be made.
    """
    # Resolved, so that "." has a name to be renamed to, and a link's target rather than the link is replaced.
    target = Path(out).resolve()
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
                target.rmdir()  # Windows does not rename over an empty folder, Linux and macOS do
            temporary.replace(target)
        except BaseException as error:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
            for parent in made_parents:
                with contextlib.suppress(OSError):
                    parent.rmdir()
            if isinstance(error, OSError) and error.errno is not None and error.errno in _FULL:
                remedy = "make room, or name a folder on another disk"
                raise OSError(f"{target}: cannot be written ({os.strerror(error.errno)}); {remedy}") from error
            raise


def _refuse_occupied(target: Path) -> None:
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists():
        kind = "folder that is not empty" if target.is_dir() else "file"
        raise FileExistsError(f"{target} is a {kind}; name a new folder or an empty one")


def _mode_of_new_folder() -> int:
    """Return the permissions that mkdir would give a folder; mkdtemp gives its own to nobody but the owner."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o777 & ~mask
