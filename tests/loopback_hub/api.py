"""The end points of the loopback Hub.

What is read and sent follows `hf_api.py`, `_commit_api.py`, `lfs.py`, `file_download.py` and `hf_raise_for_status` of
`huggingface_hub`, and https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md. A handler awaits nothing but the
request's body, so that two commits never mingle.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

from huggingface_hub import DatasetCard
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from hub.repository import LFS_SUFFIXES, Blob, Commit, Repository, full_reference, is_lfs

if TYPE_CHECKING:
    from hub.server import HubServer

_GIT_ATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in sorted(LFS_SUFFIXES))
_REF_KINDS = {
    "branches": "refs/heads/",
    "tags": "refs/tags/",
    "converts": "refs/convert/",
    "pullRequests": "refs/pr/",
}


class HubError(Exception):
    """An error as the Hub sends it: the clients choose their exception by the status and by `X-Error-Code`."""

    def __init__(self, status: int, message: str, code: str = "", **body: str) -> None:
        super().__init__(message)
        headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        self.response = JSONResponse({"error": message, **body}, status, headers)


def _hub(request: Request) -> HubServer:
    return request.app.state.hub


def _token(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme == "Bearer" else None


def _user(request: Request) -> str | None:
    """Find the user of the request's token. As on the Hub, an unknown token is refused where none is needed."""
    token = _token(request)
    if token is not None and token not in _hub(request).tokens:
        raise HubError(401, "Invalid credentials in Authorization header")
    return None if token is None else _hub(request).tokens[token]


def _repository(request: Request, *, to_write: bool = False) -> Repository:
    """Find the repository that the path names, if the token may see it, or write to it.

    As on the Hub, a private repository and a missing one look the same: 401 without a token, 404 with one. Every user
    may open a pull request.
    """
    user = _user(request)
    repository = _hub(request).repositories.get("{namespace}/{name}".format(**request.path_params))
    is_hidden = repository is None or (repository.private and _token(request) != repository.token)
    if repository is None or is_hidden or (to_write and user is None):
        raise HubError(404 if user else 401, "Repository not found", "RepoNotFound")
    if to_write and user != repository.owner and not _is_true(request, "create_pr"):
        raise HubError(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
    return repository


def _revision(repository: Repository, revision: str) -> Commit:
    try:
        return repository.find(revision)
    except KeyError:
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound") from None


def _commit_of(request: Request, repository: Repository | None = None) -> Commit:
    """Find the commit that the path names, or that of `main`."""
    return _revision(repository or _repository(request), unquote(request.path_params.get("revision", "main")))


def _is_true(request: Request, name: str) -> bool:
    return request.query_params.get(name, "").lower() in ("1", "true")


def _card(text: bytes) -> dict[str, Any]:
    card: Any = DatasetCard(text.decode(errors="replace")) if text.startswith(b"---") else None
    return dict(card.data.to_dict()) if card else {}


async def _dataset_info(request: Request) -> Response:
    repository = _repository(request)
    commit = _commit_of(request, repository)
    readme = commit.tree.get("README.md")
    answer = {
        "id": repository.repo_id,
        "sha": commit.sha,
        "private": repository.private,
        "tags": [],
        "cardData": _card(b"".join(readme.read(range(readme.size)))) if readme else {},
        "siblings": [{"rfilename": path, **_entry(commit, path)} for path in sorted(commit.tree)],
    }
    return JSONResponse(answer)


async def _refs(request: Request) -> Response:
    found = sorted(_repository(request).refs.items())
    answer = {
        kind: [{"name": ref[len(prefix) :], "ref": ref, "targetCommit": sha} for ref, sha in found if prefix in ref]
        for kind, prefix in _REF_KINDS.items()
    }
    return JSONResponse(answer)


async def _tree(request: Request) -> Response:
    commit = _commit_of(request)
    folder = unquote(request.path_params.get("path", "")).strip("/")
    inside = {path for path in _paths(commit) if not folder or path.startswith(f"{folder}/")}
    # A file's own path is no folder either: the clients then list the folder that it is in.
    if folder and not inside:
        raise HubError(404, f"{folder} does not exist on {commit.sha}", "EntryNotFound")
    if not _is_true(request, "recursive"):
        inside = {path for path in inside if "/" not in path[len(folder) :].strip("/")}
    return JSONResponse([_entry(commit, path) for path in sorted(inside)])


async def _paths_info(request: Request) -> Response:
    commit = _commit_of(request)
    asked = [path.strip("/") for path in parse_qs((await request.body()).decode()).get("paths", [])]
    # DuckDB asks when a file changed. Commits here have no date of their own.
    last = {"lastCommit": {"id": commit.sha, "title": commit.title, "date": "2022-10-01T00:00:00.000Z"}}
    return JSONResponse([_entry(commit, path) | last for path in asked if path in _paths(commit)])


def _paths(commit: Commit) -> set[str]:
    """List every file and folder, without the root."""
    return {path.as_posix() for file in commit.tree for path in (Path(file), *Path(file).parents)} - {"."}


def _entry(commit: Commit, path: str) -> dict[str, Any]:
    """Describe a file or a folder, for `RepoFile`, `RepoFolder` and `RepoSibling`."""
    blob = commit.tree.get(path)
    if blob is None:
        return {"type": "directory", "oid": hashlib.sha1(path.encode()).hexdigest(), "path": path}
    lfs = {"lfs": {"oid": blob.oid, "sha256": blob.oid, "size": blob.size, "pointerSize": 130}} if blob.lfs else {}
    return {"type": "file", "oid": blob.oid, "size": blob.size, "path": path, **lfs}


async def _resolve(request: Request) -> Response:
    commit = _commit_of(request)
    blob = commit.tree.get(unquote(request.path_params["path"]))
    if blob is None:
        raise HubError(404, "Entry not found", "EntryNotFound")
    span = _span(request.headers.get("range", ""), blob.size) if request.method == "GET" else range(blob.size)
    headers = {"X-Repo-Commit": commit.sha, "ETag": f'"{blob.oid}"', "Content-Length": str(len(span))}
    if blob.lfs:
        headers |= {"X-Linked-Size": str(blob.size), "X-Linked-Etag": headers["ETag"]}
    if request.method == "HEAD":
        return Response(headers=headers)
    if "range" in request.headers:
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{blob.size}"
    return StreamingResponse(blob.read(span), 206 if "range" in request.headers else 200, headers)


def _span(header: str, size: int) -> range:
    """Parse a Range header: `bytes=a-b`, `bytes=a-` or the last n bytes, `bytes=-n`."""
    if not header:
        return range(size)
    first, last = re.fullmatch(r"bytes=(\d*)-(\d*)", header).groups()  # type: ignore[union-attr]
    start = int(first) if first else max(size - int(last), 0)
    span = range(start, min(int(last) + 1, size) if first and last else size)
    if not span:
        raise HubError(416, "Range Not Satisfiable")
    return span


async def _create_repository(request: Request) -> Response:
    user, asked, hub = _user(request), await request.json(), _hub(request)
    namespace = asked.get("organization") or user
    if user is None or namespace != user:
        message = f'You don\'t have the rights to create a dataset under the namespace "{namespace}"'
        raise HubError(403 if user else 401, message)
    repo_id = f"{namespace}/{asked['name']}"
    answer = {"url": f"{hub.url}/datasets/{repo_id}", "name": repo_id}
    if repo_id in hub.repositories:  # where it may exist the client reads the address all the same
        raise HubError(409, f"You already created this dataset repo: {repo_id}", **answer)
    private = asked.get("private") is True or asked.get("visibility") == "private"
    repository = hub.repositories[repo_id] = Repository(repo_id, private=private, token=_token(request))
    repository.commit({".gitattributes": _GIT_ATTRIBUTES.encode()}, message="initial commit")
    return JSONResponse(answer)


async def _validate_yaml(request: Request) -> Response:
    errors = []
    try:
        _card((await request.json())["content"].encode())
    except Exception as error:  # whatever the parser of YAML raises
        errors = [{"message": str(error)}]
    return JSONResponse({"errors": errors, "warnings": []}, 400 if errors else 200)


async def _preupload(request: Request) -> Response:
    tree = _commit_of(request, _repository(request, to_write=True)).tree
    files = []
    for path, size in ((file["path"], file["size"]) for file in (await request.json())["files"]):
        mode, oid = "lfs" if is_lfs(path, size) else "regular", tree[path].oid if path in tree else None
        files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
    return JSONResponse({"files": files})


async def _batch(request: Request) -> Response:
    repository = _repository(request)
    # The Hub takes no LFS object of someone else's, not even for a pull request.
    if _user(request) != repository.owner:
        raise HubError(403, "Authorization error.")
    objects: list[dict[str, Any]] = []
    for asked in (await request.json())["objects"]:
        href = f"{_hub(request).url}/lfs-storage/{repository.repo_id}/{asked['oid']}"
        actions = {} if asked["oid"] in repository.lfs_objects else {"actions": {"upload": {"href": href}}}
        objects.append({"oid": asked["oid"], "size": asked["size"], **actions})
    return JSONResponse({"transfer": "basic", "objects": objects, "hash_algo": "sha256"})


async def _put_object(request: Request) -> Response:
    """Take an LFS object, without a token, as the Hub's storage does."""
    path = _hub(request).storage / secrets.token_hex()
    with path.open("wb") as file:
        async for chunk in request.stream():
            file.write(chunk)
    blob = Blob.of(path, lfs=True)
    if blob.oid != request.path_params["oid"]:
        raise HubError(400, "The bytes are not those of the object.")
    _hub(request).repositories["{namespace}/{name}".format(**request.path_params)].lfs_objects[blob.oid] = blob
    return Response(headers={"ETag": f'"{blob.oid}"'})


async def _commit(request: Request) -> Response:
    repository, create_pr = _repository(request, to_write=True), _is_true(request, "create_pr")
    header, *operations = [json.loads(line) for line in (await request.body()).splitlines() if line]
    head = _commit_of(request, repository)
    reference = full_reference(unquote(request.path_params["revision"]))
    parent = header["value"].get("parentCommit")
    number = 1 + sum(name.startswith("refs/pr/") for name in repository.refs)
    if create_pr:
        head = head if parent is None else _revision(repository, parent)
        reference = f"refs/pr/{number}"
    elif reference not in repository.refs or reference.startswith("refs/tags/"):
        raise HubError(400, f"Invalid reference for a branch: {reference}")
    elif parent not in (None, head.sha):
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    tree = _apply(operations, head.tree, repository)
    made = repository.add_commit(reference, head, tree, title=header["value"]["summary"])
    url = f"{_hub(request).url}/datasets/{repository.repo_id}"
    answer = {"success": True, "commitOid": made.sha, "commitUrl": f"{url}/commit/{made.sha}", "hookOutput": ""}
    return JSONResponse(answer | ({"pullRequestUrl": f"{url}/discussions/{number}"} if create_pr else {}))


def _apply(operations: Iterable[dict[str, Any]], tree: Mapping[str, Blob], repository: Repository) -> dict[str, Blob]:
    """Make the tree of a commit, or refuse the commit."""
    changed = dict(tree)
    for kind, value in ((operation["key"], operation["value"]) for operation in operations):
        path = value["path"]
        if kind == "file":
            changed[path] = Blob.of(base64.b64decode(value["content"]), lfs=False)
        elif kind == "lfsFile" and value["oid"] in repository.lfs_objects:
            changed[path] = repository.lfs_objects[value["oid"]]
        elif kind == "lfsFile":
            missing = "Your push was rejected because an LFS pointer pointed to a file that does not exist."
            raise HubError(400, f"{missing} Offending file: {path}")
        else:  # deletedFile or deletedFolder
            gone = [name for name in changed if name == path or name.startswith(f"{path.rstrip('/')}/")]
            if not gone:
                raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
            for name in gone:
                del changed[name]
    return changed


async def _create_branch(request: Request) -> Response:
    repository = _repository(request, to_write=True)
    start = _revision(repository, (await request.json()).get("startingPoint", "main")).sha
    return _add_reference(repository, full_reference(unquote(request.path_params["branch"])), start)


async def _create_tag(request: Request) -> Response:
    repository = _repository(request, to_write=True)
    tag = (await request.json())["tag"]
    return _add_reference(repository, f"refs/tags/{tag}", _commit_of(request, repository).sha)


def _add_reference(repository: Repository, reference: str, sha: str) -> Response:
    if reference in repository.refs:
        raise HubError(409, "Reference already exists")
    repository.refs[reference] = sha
    return JSONResponse({"success": True})


_API = "/api/datasets/{namespace}/{name}"
ROUTES = [
    Route(_API, _dataset_info),
    Route(f"{_API}/revision/{{revision}}", _dataset_info),
    Route(f"{_API}/refs", _refs),
    Route(f"{_API}/tree/{{revision}}", _tree),
    Route(f"{_API}/tree/{{revision}}/{{path:path}}", _tree),
    Route(f"{_API}/paths-info/{{revision}}", _paths_info, methods=["POST"]),
    Route("/datasets/{namespace}/{name}/resolve/{revision}/{path:path}", _resolve),
    Route("/{namespace}/{name}/resolve/{revision}/{path:path}", _resolve),  # of a model
    Route("/api/repos/create", _create_repository, methods=["POST"]),
    Route("/api/validate-yaml", _validate_yaml, methods=["POST"]),
    Route(f"{_API}/preupload/{{revision}}", _preupload, methods=["POST"]),
    Route("/datasets/{namespace}/{name}.git/info/lfs/objects/batch", _batch, methods=["POST"]),
    Route("/lfs-storage/{namespace}/{name}/{oid}", _put_object, methods=["PUT"]),
    Route(f"{_API}/commit/{{revision}}", _commit, methods=["POST"]),
    Route(f"{_API}/branch/{{branch}}", _create_branch, methods=["POST"]),
    Route(f"{_API}/tag/{{revision}}", _create_tag, methods=["POST"]),
]
