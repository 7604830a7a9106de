"""What the end points of the loopback Hub share: whom and what a request names, faults, pages and dates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlencode

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hub.repository import Commit, Repository

if TYPE_CHECKING:
    from hub_server import HubServer

Entry = TypeVar("Entry")

API = "/api/datasets/{namespace}/{name}"

# What nginx logs for a client that went away; it is not sent.
_CLIENT_CLOSED_REQUEST = 499


class HubError(Exception):
    """A fault, told as the Hub tells it: the clients choose their exception by `X-Error-Code`."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.response = JSONResponse({"error": message, **(body or {})}, status, headers=headers)
        self.response.headers["X-Error-Message"] = message
        if code is not None:
            self.response.headers["X-Error-Code"] = code


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer with the fault."""
    assert isinstance(error, HubError)
    return error.response


async def answer_no_one(request: Request, error: Exception) -> Response:
    """End a request whose client went away before it had sent the body."""
    return Response(status_code=_CLIENT_CLOSED_REQUEST)


def hub_of(request: Request) -> HubServer:
    """Find the server."""
    return request.app.state.hub


def user_of(request: Request) -> str | None:
    """Find the user whose token the request has; None without a token. A token that is not known is refused."""
    token = bearer(request.headers)
    if token is None:
        return None
    user = hub_of(request).tokens.get(token)
    if user is None:
        raise HubError(401, "Invalid credentials in Authorization header")
    return user


def known_user(request: Request, code: str | None = None) -> str:
    """Find the user, and refuse a request without a token."""
    user = user_of(request)
    if user is None:
        raise HubError(401, "Invalid username or password.", code)
    return user


def find_repository(request: Request) -> Repository:
    """Find the repository that the path names, if the token may see it.

    As on the Hub, a private repository and a missing one look the same: 401 to a request without a token, 404 to one
    with a token. The Hub leaves the error code out of the 401, and the client takes the fault from the URL instead;
    as it does that for https alone, the code is given here.
    """
    user = user_of(request)
    repo_id = f"{unquote(request.path_params['namespace'])}/{unquote(request.path_params['name'])}"
    repository = hub_of(request).repositories.get(repo_id)
    if repository is not None and (not repository.private or bearer(request.headers) == repository.token):
        return repository
    if user is None:
        raise HubError(401, "Invalid username or password.", "RepoNotFound")
    raise HubError(404, "Repository not found", "RepoNotFound")


def find_own_repository(request: Request, *, create_pr: bool = False) -> Repository:
    """Find the repository that the path names, if the token may write to it.

    Args:
        request: The request.
        create_pr: Whether it is for a pull request, which anyone whom the Hub knows may open.
    """
    repository = find_repository(request)
    if known_user(request, "RepoNotFound") != repository.owner and not create_pr:
        raise HubError(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
    return repository


def find_commit(request: Request, repository: Repository) -> Commit:
    """Find the commit that the path names, or that of `main`."""
    return find_revision(repository, unquote(request.path_params.get("revision", "main")))


def find_revision(repository: Repository, revision: str) -> Commit:
    """Find the commit that a revision names."""
    try:
        return repository.find(revision)
    except KeyError:
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound") from None


def answer_page(
    request: Request,
    entries: Sequence[Entry],
    describe: Callable[[Entry], dict[str, Any]],
    *,
    start: int,
    size: int,
    parameter: str,
) -> JSONResponse:
    """Answer with a page of entries, and with the address of the next page, if any.

    Args:
        request: The request.
        entries: Those of every page.
        describe: Makes of an entry what is sent for it.
        start: The page's first entry.
        size: Entries on a page.
        parameter: The name that `start` has in the query.
    """
    answer = JSONResponse([describe(entry) for entry in entries[start : start + size]])
    if start + size < len(entries):
        others = [(key, value) for key, value in request.query_params.multi_items() if key != parameter]
        following = urlencode([*others, (parameter, start + size)])
        answer.headers["Link"] = f'<{hub_of(request).url}{request.scope["path"]}?{following}>; rel="next"'
    return answer


def is_true(values: Iterable[str]) -> bool:
    """Say whether a parameter was given as true."""
    return any(value.lower() in ("1", "true") for value in values)


def format_date(date: datetime) -> str:
    """Write a date as the Hub does."""
    return date.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def bearer(headers: Headers) -> str | None:
    """Read the token."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token if scheme == "Bearer" else None
