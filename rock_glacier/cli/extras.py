"""Which extra of this project installs what a command imports."""

from __future__ import annotations

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
        The description, or None if the missing module is one of this project: that is a bug.
    """
    package = (error.name or "").partition(".")[0]
    if package in ("", "rock_glacier", "rock_glacier_dataset"):
        return None
    extra = EXTRAS.get(command)
    requirement = f"'rock-glacier-dataset[{extra}]'" if extra else package
    return f"The package {package} is not installed. Run: pip install {requirement}"
