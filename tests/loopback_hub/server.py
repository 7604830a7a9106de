"""The server of the loopback Hub: the end points that `huggingface_hub` and `datasets` use.

Requests and answers follow `hf_api.py`, `_commit_api.py`, `lfs.py` and `file_download.py` of
`huggingface_hub`, and https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md.
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
from urllib.parse import parse_qs, parse_qsl, unquote

from loopback_hub.repository import Blob, Commit, Repository, full_reference, is_lfs

_CHUNK = 2**16  # bytes of a file sent at once; also the size of the socket's buffer


@dataclass
class Request:
    """A request that the server received.

    Attributes:
        method: Such as `GET`.
        path: Unquoted path and query; the complete URL of a request for another server.
        range: Header `Range`, if there is one.
        status: Status of the answer.
        bytes_sent: Bytes of the answer's body.
    """

    method: str
    path: str
    range: str | None
    status: int = 0
    bytes_sent: int = 0


class LoopbackHub:
    """A Hub of dataset repositories at a free port of 127.0.0.1, while its context is open.

    Attributes:
        url: Address of the Hub.
        tokens: The user of each token.
        repositories: Repositories by id.
        requests: All requests, in the order of arrival.
        before_commit, after_commit: Called with the repository around each commit of a client;
            tests use them to interfere.
    """

    def __init__(self, tokens: Mapping[str, str] | None = None) -> None:
        self.url = ""
        self.tokens = dict(tokens or {})
        self.repositories: dict[str, Repository] = {}
        self.requests: list[Request] = []
        self.before_commit: Callable[[Repository], object] | None = None
        self.after_commit: Callable[[Repository], object] | None = None
        self._failures: list[tuple[int, str]] = []
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

    def fail(self, status: int, path_part: str = "", times: int = 1) -> None:
        """Answer the next requests whose path contains `path_part` with an error."""
        self._failures += [(status, path_part)] * times

    def raise_failure(self, path: str) -> None:
        """Raise the error that `fail` planned for a request, if there is one."""
        for failure in self._failures:
            status, path_part = failure
            if path_part in path:
                self._failures.remove(failure)
                raise HubError(status, "A planned failure")

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


class _EndPoints:
    """The end points; each takes the named parts of its path and returns JSON or a file.

    Attributes:
        hub: The Hub.
        method, range: Of the request.
        token: The token that the client sent.
        query: Parameters of the address.
        body: Body of the request.
    """

    hub: LoopbackHub
    method: str
    range: str | None
    token: str | None
    query: dict[str, str]
    body: bytes

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
        if self.query.get("recursive", "").lower() not in ("1", "true"):
            inside = {path for path in inside if "/" not in path[len(folder) :].strip("/")}
        return [_describe(commit, path) for path in sorted(inside)]

    def describe_paths(self, repo_id: str, revision: str) -> Any:
        commit = _find(self._repository(repo_id), revision)
        asked = [path.strip("/") for path in parse_qs(self.body.decode()).get("paths", [])]
        date = "2022-10-01T00:00:00.000Z"  # DuckDB asks when a file changed
        last = {"lastCommit": {"id": commit.sha, "title": commit.title, "date": date}}
        known = _paths(commit)
        return [{**_describe(commit, path), **last} for path in asked if path in known]

    def send_file(self, repo_id: str, revision: str, path: str) -> Any:
        commit = _find(self._repository(repo_id), revision)
        if path not in commit.tree:
            raise HubError(404, "Entry not found", "EntryNotFound")
        blob = commit.tree[path]
        size = len(blob.content)
        headers = {"X-Repo-Commit": commit.sha, "ETag": f'"{blob.oid}"', "Accept-Ranges": "bytes"}
        if blob.lfs:
            headers["X-Linked-Size"] = str(size)
            headers["X-Linked-Etag"] = headers["ETag"]
        if self.method == "HEAD" or self.range is None:
            return _File(blob.content, headers)
        span = _parse_range(self.range, size)
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
        return _File(blob.content[span.start : span.stop], headers, 206)

    def create_repository(self) -> Any:
        user = self._user()
        asked = json.loads(self.body)
        if user is None or asked.get("organization") not in (None, user):
            raise HubError(403 if user else 401, "You don't have the rights to create a dataset")
        repo_id = f"{user}/{asked['name']}"
        answer = {"url": f"{self.hub.url}/datasets/{repo_id}", "name": repo_id}
        if repo_id in self.hub.repositories:
            raise HubError(409, "You already created this dataset repo", **answer)
        self.hub.add_repository(repo_id, {".gitattributes": b"*.zip filter=lfs"}, token=self.token)
        return answer

    def validate_yaml(self) -> Any:
        return {"errors": [], "warnings": []}

    def choose_upload_mode(self, repo_id: str, revision: str) -> Any:
        tree = _find(self._repository(repo_id, to_write=True), revision).tree
        files = []
        for path in [file["path"] for file in json.loads(self.body)["files"]]:
            mode = "lfs" if is_lfs(path) else "regular"
            oid = tree[path].oid if path in tree else None
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return {"files": files}

    def list_missing_objects(self, repo_id: str) -> Any:
        repository = self._repository(repo_id, to_write=True)
        objects = json.loads(self.body)["objects"]
        for item in objects:
            if item["oid"] not in repository.lfs_objects:
                href = f"{self.hub.url}/lfs-storage/{repo_id}/{item['oid']}"
                item["actions"] = {"upload": {"href": href}}
        return {"transfer": "basic", "objects": objects, "hash_algo": "sha256"}

    def store_object(self, repo_id: str, oid: str) -> Any:
        blob = Blob.of("object.zip", self.body)
        assert blob.oid == oid
        self.hub.repositories[repo_id].lfs_objects[oid] = blob
        return _File(b"", {"ETag": f'"{oid}"'})

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
        if self.query.get("create_pr", "") == "1":
            number = 1 + sum(name.startswith("refs/pr/") for name in repository.refs)
            reference = f"refs/pr/{number}"
            answer["pullRequestUrl"] = f"{url}/discussions/{number}"
        tree = dict(head.tree)
        for file in operations:
            if "content" in file:
                tree[file["path"]] = Blob.of(file["path"], base64.b64decode(file["content"]))
            elif "oid" in file:
                tree[file["path"]] = repository.lfs_objects[file["oid"]]
            else:
                del tree[file["path"]]
        sha = repository.add_commit(reference, head.sha, tree, header["summary"])
        if self.hub.after_commit is not None:
            self.hub.after_commit(repository)
        return {**answer, "commitOid": sha, "commitUrl": f"{url}/commit/{sha}"}

    def create_branch(self, repo_id: str, revision: str) -> Any:
        start = json.loads(self.body).get("startingPoint", "main")
        return self._add_reference(repo_id, full_reference(revision), start)

    def create_tag(self, repo_id: str, revision: str) -> Any:
        return self._add_reference(repo_id, f"refs/tags/{json.loads(self.body)['tag']}", revision)

    def _add_reference(self, repo_id: str, reference: str, start: str) -> Any:
        repository = self._repository(repo_id, to_write=True)
        if reference in repository.refs:
            raise HubError(409, "Reference already exists")
        repository.refs[reference] = repository.find(start).sha
        return {"success": True}

    def _user(self) -> str | None:
        if self.token is not None and self.token not in self.hub.tokens:
            raise HubError(401, "Invalid credentials in Authorization header")
        return self.hub.tokens.get(self.token or "")

    def _repository(self, repo_id: str, *, to_write: bool = False) -> Repository:
        """Return a repository; a private one looks like a missing one."""
        user = self._user()
        repository = self.hub.repositories.get(repo_id)
        if repository is None or (repository.private and self.token != repository.token):
            raise HubError(404 if user else 401, "Repository not found", "RepoNotFound")
        if to_write and user != repo_id.split("/")[0]:
            raise HubError(403 if user else 401, "Forbidden")
        return repository


_REPO = "(?P<repo_id>[^/]+/[^/]+)"
_REVISION = "(?P<revision>[^/]+)"
_API = f"/api/datasets/{_REPO}"
_FILE = f"/datasets/{_REPO}/resolve/{_REVISION}/(?P<path>.+)"
_BATCH = f"/datasets/{_REPO}.git/info/lfs/objects/batch"
_ROUTES: list[tuple[str, str, Any]] = [
    ("GET", _API, _EndPoints.dataset_info),
    ("GET", f"{_API}/revision/{_REVISION}", _EndPoints.dataset_info),
    ("GET", f"{_API}/tree/{_REVISION}", _EndPoints.list_tree),
    ("GET", f"{_API}/tree/{_REVISION}/(?P<path>.+)", _EndPoints.list_tree),
    ("POST", f"{_API}/paths-info/{_REVISION}", _EndPoints.describe_paths),
    ("(?:GET|HEAD)", _FILE, _EndPoints.send_file),
    ("POST", "/api/repos/create", _EndPoints.create_repository),
    ("POST", "/api/validate-yaml", _EndPoints.validate_yaml),
    ("POST", f"{_API}/preupload/{_REVISION}", _EndPoints.choose_upload_mode),
    ("POST", _BATCH, _EndPoints.list_missing_objects),
    ("PUT", f"/lfs-storage/{_REPO}/(?P<oid>.+)", _EndPoints.store_object),
    ("POST", f"{_API}/commit/{_REVISION}", _EndPoints.make_commit),
    ("POST", f"{_API}/branch/{_REVISION}", _EndPoints.create_branch),
    ("POST", f"{_API}/tag/{_REVISION}", _EndPoints.create_tag),
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
    blob = commit.tree.get(path)
    if blob is None:
        return {"type": "directory", "oid": "0" * 40, "path": path}
    size = len(blob.content)
    entry: dict[str, Any] = {"type": "file", "oid": blob.oid, "size": size, "path": path}
    if blob.lfs:
        entry["lfs"] = {"oid": blob.oid, "sha256": blob.oid, "size": size, "pointerSize": 130}
    return entry


def _parse_range(header: str, size: int) -> range:
    """Parse `bytes=a-b`, `bytes=a-` or the last n bytes, `bytes=-n`."""
    first, last = header.removeprefix("bytes=").split("-")
    if not first:
        return range(max(size - int(last), 0), size)
    end = min(int(last) + 1, size) if last else size
    if int(first) >= end:
        raise HubError(416, "Range Not Satisfiable")
    return range(int(first), end)


class _Handler(BaseHTTPRequestHandler):
    """Records a request, calls its end point and sends the answer."""

    protocol_version = "HTTP/1.1"  # keeps connections open
    disable_nagle_algorithm = True  # else an answer waits 40 ms for an acknowledgement

    def setup(self) -> None:
        # With a small buffer, little is on its way when a client stops reading.
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _CHUNK)
        super().setup()

    def _handle(self) -> None:
        hub: LoopbackHub = self.server.hub  # type: ignore[attr-defined]
        request = Request(self.command, unquote(self.path), self.headers.get("Range"))
        hub.requests.append(request)
        try:
            answer = self._call(hub, request)
        except HubError as error:
            answer = _File(json.dumps(error.body).encode(), error.headers, error.status)
        request.status = answer.status
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        if self.command != "HEAD":
            self._send(request, answer.content)

    def _call(self, hub: LoopbackHub, request: Request) -> _File:
        call = _EndPoints()
        call.hub = hub
        call.method = self.command
        call.range = request.range
        call.token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        call.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        # A request for another server has its complete URL as path, which fits no route.
        path, _, query = self.path.partition("?")
        call.query = dict(parse_qsl(query))
        hub.raise_failure(request.path)
        for method, pattern, function in _ROUTES:
            match = re.fullmatch(f"{method} {pattern}", f"{self.command} {path}")
            if match is not None:
                values = {name: unquote(value) for name, value in match.groupdict().items()}
                with hub.lock:
                    answer = function(call, **values)
                if isinstance(answer, _File):
                    return answer
                return _File(json.dumps(answer).encode(), {"Content-Type": "application/json"})
        raise HubError(404, "Not found")

    def _send(self, request: Request, content: bytes) -> None:
        for start in range(0, len(content), _CHUNK):
            chunk = content[start : start + _CHUNK]
            # Counted first: if a client has its answer, the answer is counted.
            request.bytes_sent += len(chunk)
            try:
                self.wfile.write(chunk)
            except OSError:  # the client hung up
                self.close_connection = True
                return

    do_GET = do_HEAD = do_POST = do_PUT = do_CONNECT = _handle  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


def client_environment(hub: LoopbackHub, home: Path) -> dict[str, str]:
    """Return the environment of a process whose clients use this Hub only.

    The user's tokens, caches and settings are removed. The Hub is also the proxy: requests for
    other servers are answered with 404, so none leaves the machine.

    Args:
        hub: The Hub.
        home: Folder for the caches.
    """
    # requests skips the proxy by network, httpx by URL. The plain address would not do: requests
    # compares the ends of names, and "datasets-server.127.0.0.1" ends with it.
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
