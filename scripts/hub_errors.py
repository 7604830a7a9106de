"""What went wrong with the Hub, in one line that says what to do."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from urllib.parse import quote

from huggingface_hub import constants, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from rock_glacier.console import causes, one_line

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token with write access"

_AGAIN = "run the same command again: what has arrived is not sent again"


class HubError(Exception):
    """A step that the Hub did not take: says which repository, which step, what was wrong, and what to do."""


@contextlib.contextmanager
def hub_step(repo_id: str, step: str) -> Iterator[None]:
    """Name the step and the repository in whatever the Hub's client raises.

    Args:
        repo_id: the repository.
        step: what is being done, such as "commit".

    Raises:
        HubError: in place of what was raised.
    """
    try:
        yield
    except HubError:
        raise
    except Exception as error:  # the clients' own kinds differ between versions
        raise HubError(f"{repo_id}: {step}: {_explain(error)}") from error


def _explain(error: BaseException) -> str:
    """Say in one line what an exception of the Hub's client means, without the token."""
    answer = next((found for one in causes(error) if (found := getattr(one, "response", None)) is not None), None)
    if answer is None:
        last = error
        while last.__cause__ is not None:
            last = last.__cause__
        said = without_token(" ".join(dict.fromkeys((one_line(error), one_line(last)))))
        if isinstance(error, OfflineModeIsEnabled):
            return said
        if isinstance(last, OSError) and last.filename is not None:
            return f"{said}; make the file readable"
        return f"{said} ({type(last).__name__}, at {constants.ENDPOINT}); {_AGAIN}"
    told = next((one.server_message for one in causes(error) if isinstance(one, HfHubHTTPError)), None)
    said = f" ({without_token(' '.join(told.split()))})" if told else ""
    remedy = _remedy(answer.status_code, answer.headers.get("Retry-After"))
    return f"the Hub answers {answer.status_code}{said}; {remedy}"


def _remedy(status: int, retry_after: str | None) -> str:
    if status == 401:
        return LOG_IN
    if status == 403:
        return "use a token that may write to this repository"
    if status == 404:
        return "check --repo-id and --revision, and that the token may read the repository"
    if status in (409, 412):
        return "someone else has changed it meanwhile; nothing was overwritten: look with --dry-run, then run again"
    if status == 429:
        seconds = f" {retry_after} seconds" if retry_after and retry_after.isdigit() else ""
        return f"wait{seconds}, then {_AGAIN}"
    if status >= 500:
        return _AGAIN
    return "check --revision and --tag, which are a branch and a tag, and the card's metadata"


def check_token() -> None:
    """Refuse a token that no request can carry, before a client repeats it in what it says of that.

    Raises:
        HubError: it has other characters than tokens have.
    """
    token = get_token()
    if token is not None and not re.fullmatch("[!-~]+", token):
        raise HubError(f"the token has characters that no token has, such as a space; {LOG_IN}")


def without_token(text: str) -> str:
    """Take the token out of what a client says, as it is or quoted."""
    token = get_token()
    if token:
        for spelling in (token, repr(token)[1:-1], repr(token.encode())[2:-1], quote(token), quote(token, safe="")):
            text = text.replace(spelling, "***")
    return text
