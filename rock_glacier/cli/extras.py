"""Find the extra of this project that installs a missing package."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

EXTRAS = {
    "sample": "geo",
    "build": "curate",
    "audit": "curate",
    "stage": "publish",
    "upload": "publish",
    "score": "score",
}
"""The extra of each command that needs one."""


def describe_missing_package(error: ModuleNotFoundError, command: str) -> str | None:
    """Describe how to install a missing package.

    Args:
        error: The exception.
        command: Name of the command that imported the package.

    Returns:
        The description, or None if the missing module belongs to this project, which is a bug.
    """
    package = (error.name or "").partition(".")[0]
    if package in ("", "rock_glacier", "rock_glacier_dataset"):
        return None
    problem = f"The package {package} is not installed."
    python = shlex.quote(_name_interpreter())
    extra = EXTRAS.get(command)
    if extra:
        return f"{problem} Run in the clone: {python} -m pip install -e '.[{extra}]'"
    return f"{problem} Run: {python} -m pip install {package}"


def _name_interpreter() -> str:
    """Return the path of this Python, relative to the working directory if possible."""
    python = Path(sys.executable)
    if python.is_relative_to(os.getcwd()):
        python = python.relative_to(os.getcwd())
    return str(python)
