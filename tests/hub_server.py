"""A Hugging Face Hub on the loopback interface, for tests.

`HubServer` answers the part of the Hub's HTTP API that `huggingface_hub` and `datasets` use to read dataset
repositories. The clients are the real ones, each in a process of its own with the environment that
`client_environment` gives: they read `HF_ENDPOINT` once, when they are imported, and keep caches per process.

    with HubServer() as server:
        server.add_repository("alkzar90/rock-glacier-dataset", {"README.md": b"# Rock glaciers"})
        subprocess.run([sys.executable, "client.py"], env=client_environment(server, tmp_path), check=True)
        assert server.bytes_sent("README.md") == 15

What is sent for a path, a revision, a range or a fault follows what the client makes of it (`hf_api.py`,
`file_download.py`, `hf_file_system.py` and `hf_raise_for_status` in `huggingface_hub`). Nothing else is served: any
other path is answered with 404, and recorded like every request.

A further end point is a handler and a line in `_ROUTES`; a commit is `Repository.commit`.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import threading
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from datetime import datetime
from datetime import timedelta
from datetime import timezone
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs
from urllib.parse import quote
from urllib.parse import unquote
from urllib.parse import urlencode

import uvicorn
from huggingface_hub import DatasetCard
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.responses import PlainTextResponse
from starlette.responses import Response
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.types import Message
from starlette.types import Receive
from starlette.types import Scope
from starlette.types import Send

Content = bytes | Path

# The Hub stores these as LFS files whatever their size (the .gitattributes of a new dataset repository), and any
# other file from this size on.
LFS_SUFFIXES = frozenset({".arrow", ".bin", ".gz", ".jpg", ".npy", ".parquet", ".png", ".tar", ".zip"})
LFS_SIZE = 10 * 2**20

# Entries on a page of a tree, without and with `expand`.
TREE_PAGE = 1000
EXPANDED_TREE_PAGE = 50

_FIRST_COMMIT_DATE = datetime(2022, 10, 1, tzinfo=timezone.utc)
_CHUNK = 2**16
_SECONDS_TO_START = 30.0
_REF_KINDS = {
    "branches": "refs/heads/",
    "tags": "refs/tags/",
    "converts": "refs/convert/",
    "pullRequests": "refs/pr/",
}


# ---------------------------------------------------------------------------------------------------------------------
# Repositories
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Blob:
    """One version of a file.

    Attributes:
        content: The bytes, or the file on disk that holds them and must not change while it is served.
        size: Number of bytes.
        sha1: What git calls the object id of these bytes.
        sha256: What LFS calls the object id of these bytes.
        lfs: Whether the repository holds a pointer to the bytes in place of the bytes.
    """

    content: Content
    size: int
    sha1: str
    sha256: str
    lfs: bool

    @classmethod
    def of(cls, content: Content, *, lfs: bool) -> Blob:
        """Hash `content`."""
        size = _size(content)
        sha1, sha256 = hashlib.sha1(b"blob %d\0" % size), hashlib.sha256()
        for chunk in _read(content, range(size)):
            sha1.update(chunk)
            sha256.update(chunk)
        return cls(content, size, sha1.hexdigest(), sha256.hexdigest(), lfs)

    @property
    def pointer(self) -> bytes:
        """The LFS pointer file."""
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @property
    def oid(self) -> str:
        """The id of the object that git holds: the bytes themselves or the LFS pointer to them."""
        return Blob.of(self.pointer, lfs=False).sha1 if self.lfs else self.sha1

    @property
    def etag(self) -> str:
        """The ETag of the file, with its quotes; clients use it as the file's name in their cache."""
        return f'"{self.sha256 if self.lfs else self.sha1}"'

    def read(self, span: range) -> Iterator[bytes]:
        """Yield the bytes of `span`, a chunk at a time."""
        return _read(self.content, span)


@dataclass(frozen=True)
class Commit:
    """A state of a repository: every file in it, by path."""

    sha: str
    parent: Commit | None
    title: str
    date: datetime
    tree: Mapping[str, Blob]

    def last_change(self, path: str) -> Commit:
        """Find the commit that made the file or folder at `path` what it is in this one."""
        now, commit = _folder_oid(self.tree, path), self
        while commit.parent is not None and _folder_oid(commit.parent.tree, path) == now:
            commit = commit.parent
        return commit


class Repository:
    """A dataset repository: commits, and the branches and tags that point to them.

    Attributes:
        repo_id: `namespace/name`.
        private: Whether it answers only to `token`.
        token: The token that may read it.
        commits: Every commit by its sha.
        refs: The sha that each full reference name (`refs/heads/main`, `refs/tags/v1`, ...) points to.
    """

    def __init__(
        self, repo_id: str, *, private: bool = False, token: str | None = None, lfs_size: int = LFS_SIZE
    ) -> None:
        self.repo_id = repo_id
        self.private = private
        self.token = token
        self.lfs_size = lfs_size
        self.commits: dict[str, Commit] = {}
        self.refs: dict[str, str] = {}

    def commit(
        self,
        files: Mapping[str, Content],
        *,
        delete: Iterable[str] = (),
        branch: str = "main",
        message: str = "Upload files",
    ) -> str:
        """Add a commit to a branch, which begins with it if it does not exist.

        Args:
            files: Path in the repository to content; they join or replace what the branch holds.
            delete: Paths to leave out.
            branch: A branch name or a full reference name (`refs/convert/parquet`).
            message: The commit's title.

        Returns:
            The commit's sha: a hash of the files, the message and the parent, so the same in every run.
        """
        reference = _full_reference(branch)
        parent = self.commits.get(self.refs.get(reference, ""))
        gone = set(delete)
        tree = {path: blob for path, blob in (parent.tree if parent else {}).items() if path not in gone}
        tree |= {path: Blob.of(content, lfs=self._is_lfs(path, content)) for path, content in files.items()}
        lines = [parent.sha if parent else "", message, *(f"{tree[path].oid} {path}" for path in sorted(tree))]
        sha = hashlib.sha1("\n".join(lines).encode()).hexdigest()
        date = parent.date + timedelta(seconds=1) if parent else _FIRST_COMMIT_DATE
        self.commits[sha] = Commit(sha, parent, message, date, tree)
        self.refs[reference] = sha
        return sha

    def create_branch(self, branch: str, *, revision: str = "main") -> None:
        """Point a new branch (or a full reference name) at `revision`."""
        self.refs[_full_reference(branch)] = self.find(revision).sha

    def create_tag(self, tag: str, *, revision: str = "main") -> None:
        """Point a new tag at `revision`."""
        self.refs[f"refs/tags/{tag}"] = self.find(revision).sha

    def find(self, revision: str) -> Commit:
        """Find the commit that a branch, a tag, a full reference name or a full sha names.

        Raises:
            KeyError: If there is none.
        """
        for reference in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if reference in self.refs:
                return self.commits[self.refs[reference]]
        return self.commits[revision]

    def _is_lfs(self, path: str, content: Content) -> bool:
        return Path(path).suffix in LFS_SUFFIXES or _size(content) >= self.lfs_size


def _full_reference(branch: str) -> str:
    return branch if branch.startswith("refs/") else f"refs/heads/{branch}"


def _size(content: Content) -> int:
    return content.stat().st_size if isinstance(content, Path) else len(content)


def _read(content: Content, span: range) -> Iterator[bytes]:
    if isinstance(content, bytes):
        for start in range(span.start, span.stop, _CHUNK):
            yield content[start : min(start + _CHUNK, span.stop)]
        return
    with content.open("rb") as file:
        file.seek(span.start)
        for start in range(span.start, span.stop, _CHUNK):
            yield file.read(min(_CHUNK, span.stop - start))


def _below(tree: Mapping[str, Blob], folder: str) -> dict[str, Blob]:
    """Select the files in a folder and in its sub-folders; the root is ''."""
    return {path: blob for path, blob in tree.items() if not folder or path.startswith(f"{folder}/")}


def _folder_oid(tree: Mapping[str, Blob], path: str) -> str:
    """Hash a file or a folder; what is not there has a hash of its own."""
    if path in tree:
        return tree[path].oid
    lines = [f"{blob.oid} {name}" for name, blob in sorted(_below(tree, path).items())]
    return hashlib.sha1("\n".join(lines).encode()).hexdigest()


def _folders(tree: Mapping[str, Blob]) -> set[str]:
    """List every folder, without the root, that holds a file."""
    return {parent.as_posix() for path in tree for parent in Path(path).parents} - {"."}


# ---------------------------------------------------------------------------------------------------------------------
# Answers
# ---------------------------------------------------------------------------------------------------------------------


class HubError(Exception):
    """A fault, told as the Hub tells it: the clients choose their exception by `X-Error-Code`."""

    def __init__(
        self, status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.response = JSONResponse({"error": message}, status, headers=headers)
        self.response.headers["X-Error-Message"] = message
        if code is not None:
            self.response.headers["X-Error-Code"] = code


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HubError)
    return error.response


def _repository(request: Request) -> Repository:
    """Find the repository that the path names, if the token may see it.

    As on the Hub, a private repository and a missing one look the same: 401 to a request without a token, 404 to one
    with a token. The Hub leaves the error code out of the 401, and the client takes the fault from the URL instead;
    as it does that for https alone, the code is given here.
    """
    hub: HubServer = request.app.state.hub
    token = _bearer(request.headers)
    if token is not None and token not in hub.tokens:
        raise HubError(401, "Invalid credentials in Authorization header")
    repo_id = f"{unquote(request.path_params['namespace'])}/{unquote(request.path_params['name'])}"
    repository = hub.repositories.get(repo_id)
    if repository is not None and (not repository.private or token == repository.token):
        return repository
    if token is None:
        raise HubError(401, "Invalid username or password.", "RepoNotFound")
    raise HubError(404, "Repository not found", "RepoNotFound")


def _commit(request: Request, repository: Repository) -> Commit:
    revision = unquote(request.path_params.get("revision", "main"))
    try:
        return repository.find(revision)
    except KeyError:
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound") from None


def _bearer(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token if scheme == "Bearer" else None


def _is_true(values: Iterable[str]) -> bool:
    return any(value.lower() in ("1", "true") for value in values)


def _date(date: datetime) -> str:
    return date.strftime("%Y-%m-%dT%H:%M:%S.000Z")


async def _whoami(request: Request) -> Response:
    hub: HubServer = request.app.state.hub
    name = hub.tokens.get(_bearer(request.headers) or "")
    if name is None:
        raise HubError(401, "Invalid username or password.")
    access = {"type": "access_token", "accessToken": {"displayName": "test", "role": "write"}}
    return JSONResponse({"type": "user", "id": name, "name": name, "fullname": name, "orgs": [], "auth": access})


async def _dataset_info(request: Request) -> Response:
    repository = _repository(request)
    commit = _commit(request, repository)
    blobs = _is_true(request.query_params.getlist("blobs"))
    answer: dict[str, Any] = {
        "id": repository.repo_id,
        "author": repository.repo_id.partition("/")[0],
        "sha": commit.sha,
        "createdAt": _date(_FIRST_COMMIT_DATE),
        "lastModified": _date(commit.date),
        "private": repository.private,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "cardData": _card(commit),
        "siblings": [_sibling(path, blob, blobs=blobs) for path, blob in sorted(commit.tree.items())],
    }
    if wanted := request.query_params.getlist("expand"):
        answer = {key: value for key, value in answer.items() if key == "id" or key in wanted}
    return JSONResponse(answer)


def _card(commit: Commit) -> dict[str, Any]:
    """Read the metadata at the head of the card; without any, or with faulty ones, it is empty."""
    readme = commit.tree.get("README.md")
    text = b"".join(readme.read(range(readme.size))).decode(errors="replace") if readme else ""
    if not text.startswith("---"):
        return {}
    try:
        data: Any = DatasetCard(text, ignore_metadata_errors=True).data
    except Exception:  # whatever the parser of YAML raises
        return {}
    return dict(data.to_dict())


def _sibling(path: str, blob: Blob, *, blobs: bool) -> dict[str, Any]:
    sibling: dict[str, Any] = {"rfilename": path}
    if blobs:
        sibling |= {"size": blob.size, "blobId": blob.oid}
        if blob.lfs:
            sibling["lfs"] = {"sha256": blob.sha256, "size": blob.size, "pointerSize": len(blob.pointer)}
    return sibling


async def _refs(request: Request) -> Response:
    repository = _repository(request)
    answer: dict[str, list[dict[str, str]]] = {kind: [] for kind in _REF_KINDS}
    for reference, sha in sorted(repository.refs.items()):
        for kind, prefix in _REF_KINDS.items():
            if reference.startswith(prefix):
                answer[kind].append({"name": reference[len(prefix) :], "ref": reference, "targetCommit": sha})
    if not _is_true(request.query_params.getlist("include_prs")):
        del answer["pullRequests"]
    return JSONResponse(answer)


async def _tree(request: Request) -> Response:
    commit = _commit(request, _repository(request))
    folder = unquote(request.path_params.get("path", "")).strip("/")
    query = request.query_params
    expand = _is_true(query.getlist("expand"))
    below = _below(commit.tree, folder)
    # A file's own path is no folder either: the clients then list the folder that it is in.
    if folder and not below:
        raise HubError(404, f"{folder} does not exist on {commit.sha}", "EntryNotFound")
    depth = len(Path(folder).parts)
    paths = sorted(path for path in below.keys() | _folders(below) if len(Path(path).parts) > depth)
    if not _is_true(query.getlist("recursive")):
        paths = [path for path in paths if len(Path(path).parts) == depth + 1]
    page = int(query.get("limit", EXPANDED_TREE_PAGE if expand else TREE_PAGE))
    start = int(query.get("cursor", 0))
    answer = JSONResponse([_entry(commit, path, expand=expand) for path in paths[start : start + page]])
    if start + page < len(paths):
        following = urlencode([*((k, v) for k, v in query.multi_items() if k != "cursor"), ("cursor", start + page)])
        hub: HubServer = request.app.state.hub
        answer.headers["Link"] = f'<{hub.url}{request.scope["path"]}?{following}>; rel="next"'
    return answer


async def _paths_info(request: Request) -> Response:
    commit = _commit(request, _repository(request))
    form = parse_qs((await request.body()).decode())
    paths = [path.strip("/") for path in form.get("paths", [])]
    there = set(commit.tree) | _folders(commit.tree)
    expand = _is_true(form.get("expand", []))
    return JSONResponse([_entry(commit, path, expand=expand) for path in paths if path in there])


def _entry(commit: Commit, path: str, *, expand: bool) -> dict[str, Any]:
    """Describe a file or a folder, for `RepoFile` and `RepoFolder`."""
    entry: dict[str, Any] = {"type": "directory", "oid": _folder_oid(commit.tree, path), "size": 0, "path": path}
    blob = commit.tree.get(path)
    if blob is not None:
        entry |= {"type": "file", "size": blob.size}
        if blob.lfs:
            entry["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": len(blob.pointer)}
    if expand:
        last = commit.last_change(path)
        entry["lastCommit"] = {"id": last.sha, "title": last.title, "date": _date(last.date)}
        if blob is not None:
            entry["securityFileStatus"] = {"status": "safe", "avScan": None, "pickleImportScan": None}
    return entry


async def _resolve(request: Request) -> Response:
    commit = _commit(request, _repository(request))
    path = unquote(request.path_params["path"])
    blob = commit.tree.get(path)
    headers = {"X-Repo-Commit": commit.sha}
    if blob is None:
        raise HubError(404, "Entry not found", "EntryNotFound", headers)
    headers |= {
        "Accept-Ranges": "bytes",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(Path(path).name)}",
        "Content-Type": "application/octet-stream" if blob.lfs else "text/plain; charset=utf-8",
        "ETag": blob.etag,
    }
    if blob.lfs:
        headers |= {"X-Linked-Size": str(blob.size), "X-Linked-Etag": blob.etag}
    if request.method == "HEAD":
        return Response(headers={**headers, "Content-Length": str(blob.size)})
    span = _span(request.headers.get("range", ""), blob.size)
    headers["Content-Length"] = str(len(span or range(blob.size)))
    if span is None:
        return StreamingResponse(blob.read(range(blob.size)), 200, headers)
    headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{blob.size}"
    return StreamingResponse(blob.read(span), 206, headers)


def _span(header: str, size: int) -> range | None:
    """Read a Range header for one range: `bytes=a-b`, `bytes=a-` or the last n bytes, `bytes=-n`.

    Returns:
        The bytes asked for; None where all are to be sent: no header, or one that RFC 9110 lets a server ignore.

    Raises:
        HubError: 416, if the range holds no byte of the file.
    """
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
    if asked is None or asked.group() == "bytes=-":
        return None
    first, last = asked.groups()
    if not first:
        span = range(max(size - int(last), 0), size)
    else:
        span = range(int(first), min(int(last) + 1, size) if last else size)
    if not span:
        raise HubError(416, "Range Not Satisfiable", headers={"Content-Range": f"bytes */{size}"})
    return span


_API = "/api/datasets/{namespace}/{name}"
_ROUTES = [
    Route("/api/whoami-v2", _whoami),
    Route(_API, _dataset_info),
    Route(f"{_API}/revision/{{revision}}", _dataset_info),
    Route(f"{_API}/refs", _refs),
    Route(f"{_API}/tree/{{revision}}", _tree),
    Route(f"{_API}/tree/{{revision}}/{{path:path}}", _tree),
    Route(f"{_API}/paths-info/{{revision}}", _paths_info, methods=["POST"]),
    Route("/datasets/{namespace}/{name}/resolve/{revision}/{path:path}", _resolve),
]


# ---------------------------------------------------------------------------------------------------------------------
# The server
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class RecordedRequest:
    """A request, as it arrived, and what was sent for it.

    Attributes:
        method: GET, HEAD, POST, ...
        path: The path, unquoted; the whole URL (`host:port` for CONNECT) if the request was meant for another host.
        query: The query string, as it came.
        range: The Range header, or None.
        authorized: Whether an Authorization header came.
        foreign: Whether the request was meant for another host and came here as to a proxy.
        status: The answer's status; 0 before there is one.
        bytes_sent: Bytes of the answer's body given to the socket.
    """

    method: str
    path: str
    query: str
    range: str | None
    authorized: bool
    foreign: bool = False
    status: int = 0
    bytes_sent: int = 0


Intercept = Callable[[RecordedRequest], Response | None]


def fail(status: int, *, path_part: str = "", times: int = 1) -> Intercept:
    """Make an `intercept` that answers with an error instead, and lets later requests pass.

    Args:
        status: The status to answer with.
        path_part: Only requests whose path holds this are answered.
        times: The number of requests to answer.
    """
    left = threading.Semaphore(times)

    def intercept(request: RecordedRequest) -> Response | None:
        if path_part in request.path and left.acquire(blocking=False):
            return PlainTextResponse("fault", status)
        return None

    return intercept


class _Uvicorn(uvicorn.Server):
    """A uvicorn server that tells when it is ready."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@dataclass
class HubServer:
    """A Hub of dataset repositories at a free port of 127.0.0.1, between `with` and its end.

    Attributes:
        lfs_size: Files of this many bytes or more are LFS files, whatever their name.
        repositories: The repositories by id.
        tokens: The user that each known token belongs to. As on the Hub, a token that is not known is refused even
            where none is needed.
        requests: Every request in the order of arrival, also those that were answered with 404.
        intercept: If set, called with each request; the response that it returns, if any, is sent instead.
        url: The address, for `HF_ENDPOINT`; a new one each time.
    """

    lfs_size: int = LFS_SIZE
    repositories: dict[str, Repository] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    requests: list[RecordedRequest] = field(default_factory=list)
    intercept: Intercept | None = None
    url: str = ""

    def __enter__(self) -> HubServer:
        """Start to serve, and return when ready."""
        listener = socket.create_server(("127.0.0.1", 0))
        # Small, so that little is sent ahead to a client that stops reading.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _CHUNK)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._api = Starlette(routes=_ROUTES, exception_handlers={HubError: _answer_error})
        self._api.router.redirect_slashes = False
        self._api.state.hub = self
        # A client may rest longer than uvicorn's 5 seconds between two requests on one connection.
        config = uvicorn.Config(
            self._serve, http="h11", ws="none", lifespan="off", loop="asyncio", log_config=None, access_log=False,
            interface="asgi3", timeout_keep_alive=600, timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._uvicorn = _Uvicorn(config)
        self._thread = threading.Thread(target=self._uvicorn.run, args=([listener],), name="hub-server", daemon=True)
        self._thread.start()
        if not self._uvicorn.ready.wait(_SECONDS_TO_START):
            raise RuntimeError(f"the server at {self.url} did not start within {_SECONDS_TO_START} seconds")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and return when the port is closed."""
        self._uvicorn.should_exit = True
        self._thread.join()

    def add_repository(
        self,
        repo_id: str,
        files: Mapping[str, Content] | Path,
        *,
        private: bool = False,
        token: str | None = None,
    ) -> Repository:
        """Add a dataset repository with one commit on `main`.

        Args:
            repo_id: `namespace/name`.
            files: Path in the repository to content, or a folder that holds the files.
            private: Whether it takes `token` to read it.
            token: A token of the repository's owner.

        Returns:
            The repository, for further commits, branches and tags.
        """
        repository = Repository(repo_id, private=private, token=token, lfs_size=self.lfs_size)
        repository.commit(_folder_files(files) if isinstance(files, Path) else files, message="initial commit")
        if token is not None:
            self.tokens[token] = repo_id.partition("/")[0]
        self.repositories[repo_id] = repository
        return repository

    def bytes_sent(self, path_part: str = "") -> int:
        """Add up the bytes of the bodies sent for the paths that hold `path_part`.

        They are exact for answers that the client read to their end. For one that it dropped they are what the
        socket had taken by then, some 100 KB more than the client saw.
        """
        return sum(request.bytes_sent for request in list(self.requests) if path_part in request.path)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Record a request, and have it answered by `intercept` or by the routes."""
        target = scope["raw_path"].decode("ascii").removeprefix(self.url)
        request = _record(scope, target)
        self.requests.append(request)

        async def count_and_send(message: Message) -> None:
            # Counted before it is sent: a client that has its answer has an answer that is counted.
            if message["type"] == "http.response.start":
                request.status = message["status"]
            elif request.method != "HEAD":
                request.bytes_sent += len(message.get("body", b""))
            await send(message)

        answer = self.intercept(request) if self.intercept is not None else None
        if answer is None and request.foreign:
            answer = PlainTextResponse("This is not a proxy.", 404)
        # The routes match the path as quoted: an unquoted revision may hold a slash.
        await (answer or self._api)({**scope, "path": target}, receive, count_and_send)


def _record(scope: Scope, target: str) -> RecordedRequest:
    headers = Headers(scope=scope)
    return RecordedRequest(
        method=scope["method"],
        path=unquote(target),
        query=scope["query_string"].decode("ascii"),
        range=headers.get("range"),
        authorized="authorization" in headers,
        foreign=not target.startswith("/"),
    )


def _folder_files(folder: Path) -> dict[str, Content]:
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def client_environment(server: HubServer, home: Path) -> dict[str, str]:
    """Give the environment for a process whose `huggingface_hub` and `datasets` use `server`, and nothing else.

    Nothing of the user's own (tokens, caches, settings) gets in, and telemetry is off. Some requests still go past
    `HF_ENDPOINT`: `datasets` asks the dataset viewer at `datasets-server.<host>`, and `datasets` 2 counts downloads
    elsewhere. The proxy settings bring every request for another host to `server`, which answers 404 and records it
    as `foreign`, so that none, nor a look-up of a name, leaves the machine.

    Args:
        server: A running server.
        home: A folder for the clients' caches; a new one for a client that has seen nothing yet.
    """
    # A client that does not read a form passes it over: requests bypasses the proxy by the network, httpx by the URL.
    # The plain address will not do: requests compares ends of names, and "datasets-server.127.0.0.1" ends with it.
    no_proxy = f"127.0.0.0/8,{server.url}"
    ours = {
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "NETRC": os.devnull,
        "XDG_CACHE_HOME": str(home),
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), server.url),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), no_proxy),
    }
    theirs = re.compile(r"(HF|HUGGINGFACE|HUGGING_FACE)_.*|.*_PROXY", re.IGNORECASE)
    return {name: value for name, value in os.environ.items() if not theirs.fullmatch(name)} | ours
