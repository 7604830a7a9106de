"""A file that is written whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def new_output_file(file: Path) -> Iterator[Path]:
    """Give a path to write to that becomes `file` when all is written, or leaves `file` as it was.

    Args:
        file: The file to make or to replace; its folder is there.

    Yields:
        A path beside it.

    Raises:
        OSError: The file cannot be written.
    """
    beside = file.with_name(f".{file.name}.tmp")
    try:
        yield beside
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
