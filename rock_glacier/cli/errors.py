"""Known errors: those of the input, the machine or the network, and how to describe them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool

from rock_glacier.output import printable

# The extra of this project that installs what a command imports.
EXTRAS = {
    "build": "curate",
    "audit": "curate",
    "stage": "publish",
    "upload": "publish",
    "score": "evaluate",
}

# Packages of another extra than the one of the command.
PACKAGE_EXTRAS = {"geopandas": "geo", "pyproj": "geo", "shapely": "geo", "pyogrio": "geo"}


def describe_known_error(error: BaseException, command: str) -> str | None:
    """Describe a known error in one line: file, problem and fix.

    Args:
        error: the exception.
        command: name of the command, which decides about the extra that a missing package is in.

    Returns:
        The description, or None if the error is not known.
    """
    if isinstance(error, ModuleNotFoundError):
        return _describe_missing_package(error, command)
    for error_type, describe in _known_errors().items():
        if isinstance(error, error_type):
            return printable(" ".join(describe(error).split()))
    if type(error).__name__ == "DatasetGenerationError" and error.__cause__ is not None:
        # `datasets` wraps the exceptions of builders.
        return describe_known_error(error.__cause__, command)
    return None


def _describe_missing_package(error: ModuleNotFoundError, command: str) -> str | None:
    package = (error.name or "").partition(".")[0]
    if package in ("", "rock_glacier", "rock_glacier_dataset"):
        return None
    extra = PACKAGE_EXTRAS.get(package) or EXTRAS.get(command)
    install = f"'rock-glacier-dataset[{extra}]'" if extra else package
    return f"the package {package} is not installed. Install it with: pip install {install}"


def _known_errors() -> dict[type[Exception], Callable[..., str]]:
    """Return the function that describes an error, by type. A subclass comes before its base."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalTokenNotFoundError,
        RepositoryNotFoundError,
    )

    from rock_glacier.faults import InputError
    from rock_glacier_dataset import ArchiveError

    return {
        ArchiveError: str,
        InputError: str,
        GatedRepoError: lambda error: f"{error} Ask for access on the repository's page.",
        RepositoryNotFoundError: lambda error: (
            f"{error} Check the repository's name; if it is private, run `hf auth login`."
        ),
        LocalTokenNotFoundError: lambda error: (
            "no token for the Hub. Run `hf auth login`, or set HF_TOKEN."
        ),
        HfHubHTTPError: str,
        HFValidationError: str,
        **_network_errors(),
        OSError: _describe_os_error,
        BrokenProcessPool: lambda error: (
            "a worker process was killed, often because memory ran out. Try a smaller --num-proc."
        ),
    }


def _network_errors() -> dict[type[Exception], Callable[..., str]]:
    """Return the errors of httpx, which huggingface_hub uses from version 1.0 on.

    They are not of the type OSError, unlike those of requests.
    """
    try:
        import httpx
    except ModuleNotFoundError:
        return {}
    return {httpx.HTTPError: lambda error: f"the network failed: {error}"}


def _describe_os_error(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return str(error) or type(error).__name__
    return f"{error.filename}: {error.strerror}."
