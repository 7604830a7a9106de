"""The server of the loopback Hub: the end points that `huggingface_hub` and `datasets` use.

Requests and answers follow `hf_api.py`, `_commit_api.py` and `file_download.py` of
`huggingface_hub`. All files are regular files; large files are not stored with LFS.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from loopback_hub.repository import Commit, Repository, full_reference, git_hash

_CHUNK = 2**16  # bytes of a file sent at once; also the size of the socket's buffer


@dataclass
class Request:
    """A request that the server received.

    Attributes:
        method: HTTP method, such as `GET`.
        path: Unquoted path and query; the complete URL of a request for another server.
        bytes_sent: Bytes of the answer's body.
    """

    method: str
    path: str
    bytes_sent: int = 0


class LoopbackHub:
    """A Hub of dataset repositories at a free port of 127.0.0.1, while its context is open.

    Attributes:
        url: Address of the Hub.
        tokens: The user of each token.
        repositories: Repositories by id.
        requests: All requests, in the order of arrival.
        failures: HTTP status to answer, by a part of the request's path.
        before_commit, after_commit: Called with the repository around each commit of a client;
            tests use them to interfere.
    """

    def __init__(self, tokens: Mapping[str, str] | None = None) -> None:
        self.url = ""
        self.tokens = dict(tokens or {})
        self.repositories: dict[str, Repository] = {}
        self.requests: list[Request] = []
        self.failures: dict[str, int] = {}
        self.before_commit: Callable[[Repository], object] | None = None
        self.after_commit: Callable[[Repository], object] | None = None
        self.lock = threading.Lock()

    def __enter__(self) -> LoopbackHub:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.hub = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.daemon = True
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add_repository(
        self,
        repo_id: str,
        files: Mapping[str, bytes | Path] | Path,
        *,
        private: bool = False,
        token: str | None = None,
    ) -> Repository:
        """Add a repository with one commit on `main`.

        Args:
            repo_id: `<owner>/<name>`.
            files: Files by path, or a folder.
            private: Whether only `token` may read it.
            token: A token of the owner.
        """
        if isinstance(files, Path):
            files = files_of(files)
        repository = Repository(repo_id, private, token)
        repository.commit(files)
        self.repositories[repo_id] = repository
        if token is not None:
            self.tokens[token] = repo_id.split("/")[0]
        return repository

    def bytes_sent(self, path_part: str = "") -> int:
        """Return the bytes sent for paths that contain `path_part`."""
        return sum(request.bytes_sent for request in self.requests if path_part in request.path)


def files_of(folder: Path) -> dict[str, bytes | Path]:
    """Return the files of a folder by their paths in it."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path for path in paths}


class HubError(Exception):
    """An error as the Hub sends it; clients choose their exception by status and code."""

    def __init__(self, status: int, message: str, code: str = "", **body: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {"X-Error-Message": message, "X-Error-Code": code}
        self.body = {"error": message, **body}


@dataclass
class _File:
    """Bytes to send, instead of JSON."""

    content: bytes
    headers: dict[str, str]
    status: int = 200


class _Handler(BaseHTTPRequestHandler):
    """Reads a request, calls its end point and sends the answer.

    An end point takes the named parts of its path and returns JSON or a file.
    """

    protocol_version = "HTTP/1.1"  # keeps connections open
    disable_nagle_algorithm = True  # otherwise, an answer waits 40 ms for an acknowledgement

    def setup(self) -> None:
        # With a small buffer, few bytes are in transit when a client stops reading.
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _CHUNK)
        super().setup()
        self.hub: LoopbackHub = self.server.hub  # type: ignore[attr-defined]

    def _handle(self) -> None:
        request = Request(self.command, unquote(self.path))
        self.hub.requests.append(request)
        self.token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            answer = self._call(request)
        except HubError as error:
            answer = _File(json.dumps(error.body).encode(), error.headers, error.status)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        if self.command != "HEAD":
            self._send(request, answer.content)

    do_GET = do_HEAD = do_POST = do_CONNECT = _handle  # noqa: N815

    def _call(self, request: Request) -> _File:
        for path_part, status in self.hub.failures.items():
            if path_part in request.path:
                raise HubError(status, "A planned failure")
        # A request for another server has its complete URL as path, which fits no route.
        path = self.path.partition("?")[0]
        for method, pattern, end_point in _ROUTES:
            match = re.fullmatch(f"{method} {pattern}", f"{self.command} {path}")
            if match is not None:
                values = {name: unquote(value) for name, value in match.groupdict().items()}
                with self.hub.lock:
                    answer = end_point(self, **values)
                if isinstance(answer, _File):
                    return answer
                return _File(json.dumps(answer).encode(), {"Content-Type": "application/json"})
        raise HubError(404, "Not found")

    def _send(self, request: Request, content: bytes) -> None:
        for start in range(0, len(content), _CHUNK):
            chunk = content[start : start + _CHUNK]
            # Count first: an answer must be counted by the time its client has it.
            request.bytes_sent += len(chunk)
            try:
                self.wfile.write(chunk)
            except OSError:  # the client hung up
                self.close_connection = True
                return

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""

    def dataset_info(self, repo_id: str, revision: str = "main") -> Any:
        repository = self._repository(repo_id)
        commit = _find(repository, revision)
        return {
            "id": repo_id,
            "sha": commit.sha,
            "private": repository.private,
            "tags": [],
            "siblings": [{"rfilename": path, **_describe(commit, path)} for path in commit.tree],
        }

    def list_tree(self, repo_id: str, revision: str, path: str = "") -> Any:
        commit = _find(self._repository(repo_id), revision)
        folder = path.strip("/")
        inside = {path for path in _paths(commit) if not folder or path.startswith(f"{folder}/")}
        if folder and not inside:
            raise HubError(404, f"{folder} does not exist on {commit.sha}", "EntryNotFound")
        if not re.search(r"[?&]recursive=(1|true)\b", self.path, re.IGNORECASE):
            inside = {path for path in inside if "/" not in path[len(folder) :].strip("/")}
        return [_describe(commit, path) for path in sorted(inside)]

    def describe_paths(self, repo_id: str, revision: str) -> Any:
        commit = _find(self._repository(repo_id), revision)
        asked = [path.strip("/") for path in parse_qs(self.body.decode()).get("paths", [])]
        date = "2022-10-01T00:00:00.000Z"  # DuckDB asks when a file changed
        last = {"lastCommit": {"id": commit.sha, "title": "Upload files", "date": date}}
        known = _paths(commit)
        return [{**_describe(commit, path), **last} for path in asked if path in known]

    def send_file(self, repo_id: str, revision: str, path: str) -> Any:
        commit = _find(self._repository(repo_id), revision)
        if path not in commit.tree:
            raise HubError(404, "Entry not found", "EntryNotFound")
        content = commit.tree[path]
        headers = {
            "X-Repo-Commit": commit.sha,
            "ETag": f'"{git_hash(content)}"',
            "Accept-Ranges": "bytes",
        }
        asked = self.headers.get("Range")
        if self.command == "HEAD" or asked is None:
            return _File(content, headers)
        span = _parse_range(asked, len(content))
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{len(content)}"
        return _File(content[span.start : span.stop], headers, 206)

    def create_repository(self) -> Any:
        repo_id = f"{self._user()}/{json.loads(self.body)['name']}"
        answer = {"url": f"{self.hub.url}/datasets/{repo_id}", "name": repo_id}
        if repo_id in self.hub.repositories:
            raise HubError(409, "You already created this dataset repo", **answer)
        self.hub.add_repository(repo_id, {".gitattributes": b"*.zip filter=lfs"}, token=self.token)
        return answer

    def validate_yaml(self) -> Any:
        return {"errors": [], "warnings": []}

    def choose_upload_mode(self, repo_id: str, revision: str) -> Any:
        _find(self._repository(repo_id, to_write=True), revision)
        paths = [file["path"] for file in json.loads(self.body)["files"]]
        mode = {"uploadMode": "regular", "shouldIgnore": False}
        return {"files": [{"path": path, **mode} for path in paths]}

    def make_commit(self, repo_id: str, revision: str) -> Any:
        repository = self._repository(repo_id, to_write=True)
        if self.hub.before_commit is not None:
            self.hub.before_commit(repository)
        head = _find(repository, revision)
        header, *operations = [json.loads(line)["value"] for line in self.body.splitlines() if line]
        if header.get("parentCommit") not in (None, head.sha):
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        url = f"{self.hub.url}/datasets/{repo_id}"
        answer = {"success": True, "hookOutput": ""}
        reference = full_reference(revision)
        if "create_pr=1" in self.path:
            reference = "refs/pr/1"
            answer["pullRequestUrl"] = f"{url}/discussions/1"
        tree = dict(head.tree)
        for file in operations:
            if "content" in file:
                tree[file["path"]] = base64.b64decode(file["content"])
            else:
                del tree[file["path"]]
        sha = repository.add_commit(reference, head.sha, tree)
        if self.hub.after_commit is not None:
            self.hub.after_commit(repository)
        return {**answer, "commitOid": sha, "commitUrl": f"{url}/commit/{sha}"}

    def create_branch(self, repo_id: str, revision: str) -> Any:
        return self._add_reference(repo_id, full_reference(revision), "main")

    def create_tag(self, repo_id: str, revision: str) -> Any:
        return self._add_reference(repo_id, f"refs/tags/{json.loads(self.body)['tag']}", revision)

    def _add_reference(self, repo_id: str, reference: str, start: str) -> Any:
        repository = self._repository(repo_id, to_write=True)
        if reference in repository.refs:
            raise HubError(409, "Reference already exists")
        repository.refs[reference] = repository.find(start).sha
        return {"success": True}

    def _user(self) -> str:
        if self.token not in self.hub.tokens:
            raise HubError(401, "Invalid credentials in Authorization header")
        return self.hub.tokens[self.token]

    def _repository(self, repo_id: str, *, to_write: bool = False) -> Repository:
        """Return a repository; a private one looks like a missing one."""
        repository = self.hub.repositories.get(repo_id)
        if repository is None or (repository.private and self.token != repository.token):
            raise HubError(404 if self.token else 401, "Repository not found", "RepoNotFound")
        if to_write and self._user() != repo_id.split("/")[0]:
            raise HubError(403, "Forbidden")
        return repository


_REPO = "(?P<repo_id>[^/]+/[^/]+)"
_REVISION = "(?P<revision>[^/]+)"
_API = f"/api/datasets/{_REPO}"
_FILE = f"/datasets/{_REPO}/resolve/{_REVISION}/(?P<path>.+)"
_ROUTES: list[tuple[str, str, Any]] = [
    ("GET", _API, _Handler.dataset_info),
    ("GET", f"{_API}/revision/{_REVISION}", _Handler.dataset_info),
    ("GET", f"{_API}/tree/{_REVISION}", _Handler.list_tree),
    ("GET", f"{_API}/tree/{_REVISION}/(?P<path>.+)", _Handler.list_tree),
    ("POST", f"{_API}/paths-info/{_REVISION}", _Handler.describe_paths),
    ("(?:GET|HEAD)", _FILE, _Handler.send_file),
    ("POST", "/api/repos/create", _Handler.create_repository),
    ("POST", "/api/validate-yaml", _Handler.validate_yaml),
    ("POST", f"{_API}/preupload/{_REVISION}", _Handler.choose_upload_mode),
    ("POST", f"{_API}/commit/{_REVISION}", _Handler.make_commit),
    ("POST", f"{_API}/branch/{_REVISION}", _Handler.create_branch),
    ("POST", f"{_API}/tag/{_REVISION}", _Handler.create_tag),
]


def _find(repository: Repository, revision: str) -> Commit:
    try:
        return repository.find(revision)
    except KeyError:
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound") from None


def _paths(commit: Commit) -> set[str]:
    """Return every file and folder of a commit, without the root."""
    paths = set(commit.tree)
    for path in commit.tree:
        paths.update(parent.as_posix() for parent in Path(path).parents)
    return paths - {"."}


def _describe(commit: Commit, path: str) -> dict[str, Any]:
    """Describe a file or a folder, as `RepoFile` and `RepoFolder` read it."""
    content = commit.tree.get(path)
    if content is None:
        return {"type": "directory", "oid": "0" * 40, "path": path}
    return {"type": "file", "oid": git_hash(content), "size": len(content), "path": path}


def _parse_range(header: str, size: int) -> range:
    """Parse `bytes=a-b`, `bytes=a-` or the last n bytes, `bytes=-n`."""
    first, last = header.removeprefix("bytes=").split("-")
    if not first:
        return range(max(size - int(last), 0), size)
    end = min(int(last) + 1, size) if last else size
    if int(first) >= end:
        raise HubError(416, "Range Not Satisfiable")
    return range(int(first), end)


def client_environment(hub: LoopbackHub, home: Path) -> dict[str, str]:
    """Return the environment of a process whose clients use this Hub only.

    The user's tokens, caches and settings are removed. The Hub is also the proxy: requests for
    other servers are answered with 404, so none leaves the machine.

    Args:
        hub: The Hub.
        home: Folder for the caches.
    """
    # requests excludes a network from the proxy, httpx a URL. The plain address would not work:
    # requests compares the ends of names, and "datasets-server.127.0.0.1" ends with it.
    no_proxy = f"127.0.0.0/8,{hub.url}"
    settings = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "NETRC": os.devnull,
        "XDG_CACHE_HOME": str(home),
    }
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        settings[name] = hub.url
    for name in ("NO_PROXY", "no_proxy"):
        settings[name] = no_proxy
    users = re.compile(r"(HF|HUGGINGFACE|HUGGING_FACE)_.*|.*_PROXY", re.IGNORECASE)
    kept = {name: value for name, value in os.environ.items() if not users.fullmatch(name)}
    return {**kept, **settings}
