"""Known errors, caused by input, machine or network, and their descriptions.

Importing this module is slow: import it after an error.
"""

from __future__ import annotations

from collections.abc import Callable

import huggingface_hub.utils
from datasets.builder import DatasetGenerationError
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
)

from rock_glacier.faults import InputError
from rock_glacier.output import printable
from rock_glacier_dataset import ArchiveError


def describe_known_error(error: BaseException) -> str | None:
    """Describe a known error in one line: file, problem and fix.

    Args:
        error: The exception.

    Returns:
        The description, or None if the error is not known.
    """
    if isinstance(error, DatasetGenerationError) and error.__cause__ is not None:
        # `datasets` wraps the exceptions of builders.
        return describe_known_error(error.__cause__)
    for error_type, describe in KNOWN_ERRORS.items():
        if isinstance(error, error_type):
            return printable(" ".join(describe(error).split()))
    return None


def _network_errors() -> tuple[type[Exception], ...]:
    """Return the errors of httpx, the HTTP client of huggingface_hub. They are not OSErrors."""
    # huggingface_hub exports the version of httpx that it uses. Before 1.0 it used requests, whose
    # errors are OSErrors.
    httpx = getattr(huggingface_hub.utils, "httpx", None)
    return () if httpx is None else (httpx.HTTPError,)


def _describe_os_error(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        text = str(error) or type(error).__name__
        if isinstance(error, FileNotFoundError) and " " not in text:
            # pyarrow and fsspec give only the name of the file.
            return f"{text}: No such file or directory."
        return text
    return f"{error.filename}: {error.strerror}."


# A subclass comes before its base class.
KNOWN_ERRORS: dict[type[Exception], Callable[..., str]] = {
    ArchiveError: str,
    InputError: str,
    GatedRepoError: lambda error: f"{error} Ask for access on the page of the repository.",
    RepositoryNotFoundError: lambda error: (
        f"{error} Check the name of the repository. If it is private, run `hf auth login`."
    ),
    LocalTokenNotFoundError: lambda _: "No token for the Hub. Run `hf auth login` or set HF_TOKEN.",
    HfHubHTTPError: str,
    HFValidationError: str,
    **{error_type: lambda error: f"Network error: {error}" for error_type in _network_errors()},
    OSError: _describe_os_error,
}
