"""The end points of the loopback Hub that read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from huggingface_hub import DatasetCard
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from hub.repository import FIRST_COMMIT_DATE, Blob, Commit, below, folder_oid, folders
from hub.request import API, HubError, answer_page, bearer, find_commit, find_repository, format_date, hub_of, is_true

# Entries on a page of a tree, without and with `expand`, and of a list of commits.
TREE_PAGE = 1000
EXPANDED_TREE_PAGE = 50
COMMITS_PAGE = 50

_REF_KINDS = {
    "branches": "refs/heads/",
    "tags": "refs/tags/",
    "converts": "refs/convert/",
    "pullRequests": "refs/pr/",
}


async def _whoami(request: Request) -> Response:
    name = hub_of(request).tokens.get(bearer(request.headers) or "")
    if name is None:
        raise HubError(401, "Invalid username or password.")
    access = {"type": "access_token", "accessToken": {"displayName": "test", "role": "write"}}
    return JSONResponse({"type": "user", "id": name, "name": name, "fullname": name, "orgs": [], "auth": access})


async def _dataset_info(request: Request) -> Response:
    repository = find_repository(request)
    commit = find_commit(request, repository)
    blobs = is_true(request.query_params.getlist("blobs"))
    answer: dict[str, Any] = {
        "id": repository.repo_id,
        "author": repository.owner,
        "sha": commit.sha,
        "createdAt": format_date(FIRST_COMMIT_DATE),
        "lastModified": format_date(commit.date),
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
    repository = find_repository(request)
    answer: dict[str, list[dict[str, str]]] = {kind: [] for kind in _REF_KINDS}
    for reference, sha in sorted(repository.refs.items()):
        for kind, prefix in _REF_KINDS.items():
            if reference.startswith(prefix):
                answer[kind].append({"name": reference[len(prefix) :], "ref": reference, "targetCommit": sha})
    if not is_true(request.query_params.getlist("include_prs")):
        del answer["pullRequests"]
    return JSONResponse(answer)


async def _tree(request: Request) -> Response:
    commit = find_commit(request, find_repository(request))
    folder = unquote(request.path_params.get("path", "")).strip("/")
    query = request.query_params
    expand = is_true(query.getlist("expand"))
    inside = below(commit.tree, folder)
    # A file's own path is no folder either: the clients then list the folder that it is in.
    if folder and not inside:
        raise HubError(404, f"{folder} does not exist on {commit.sha}", "EntryNotFound")
    depth = len(Path(folder).parts)
    paths = sorted(path for path in inside.keys() | folders(inside) if len(Path(path).parts) > depth)
    if not is_true(query.getlist("recursive")):
        paths = [path for path in paths if len(Path(path).parts) == depth + 1]
    page = int(query.get("limit", EXPANDED_TREE_PAGE if expand else TREE_PAGE))
    start = int(query.get("cursor", 0))
    return answer_page(
        request, paths, lambda path: _entry(commit, path, expand=expand), start=start, size=page, parameter="cursor"
    )


async def _commits(request: Request) -> Response:
    commits = list(find_commit(request, find_repository(request)).history())
    start = int(request.query_params.get("p", 0))
    size = int(request.query_params.get("limit", COMMITS_PAGE))
    return answer_page(request, commits, _describe_commit, start=start, size=size, parameter="p")


def _describe_commit(commit: Commit) -> dict[str, Any]:
    return {
        "id": commit.sha,
        "title": commit.title,
        "message": commit.description,
        "authors": [{"user": commit.author}],
        "date": format_date(commit.date),
    }


async def _paths_info(request: Request) -> Response:
    commit = find_commit(request, find_repository(request))
    form = parse_qs((await request.body()).decode())
    paths = [path.strip("/") for path in form.get("paths", [])]
    there = set(commit.tree) | folders(commit.tree)
    expand = is_true(form.get("expand", []))
    return JSONResponse([_entry(commit, path, expand=expand) for path in paths if path in there])


def _entry(commit: Commit, path: str, *, expand: bool) -> dict[str, Any]:
    """Describe a file or a folder, for `RepoFile` and `RepoFolder`."""
    entry: dict[str, Any] = {"type": "directory", "oid": folder_oid(commit.tree, path), "size": 0, "path": path}
    blob = commit.tree.get(path)
    if blob is not None:
        entry |= {"type": "file", "size": blob.size}
        if blob.lfs:
            entry["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": len(blob.pointer)}
    if expand:
        last = commit.last_change(path)
        entry["lastCommit"] = {"id": last.sha, "title": last.title, "date": format_date(last.date)}
        if blob is not None:
            entry["securityFileStatus"] = {"status": "safe", "avScan": None, "pickleImportScan": None}
    return entry


async def _resolve(request: Request) -> Response:
    commit = find_commit(request, find_repository(request))
    path = unquote(request.path_params["path"])
    blob = commit.tree.get(path)
    headers = {"X-Repo-Commit": commit.sha}
    if blob is None:
        raise HubError(404, "Entry not found", "EntryNotFound", headers)
    headers |= {
        "Accept-Ranges": "bytes",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(Path(path).name)}",
        "Content-Type": "application/octet-stream" if blob.lfs else "text/plain; charset=utf-8",
        "ETag": f'"{blob.file_id}"',
    }
    if blob.lfs:
        headers |= {"X-Linked-Size": str(blob.size), "X-Linked-Etag": f'"{blob.file_id}"'}
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


READ_ROUTES = [
    Route("/api/whoami-v2", _whoami),
    Route(API, _dataset_info),
    Route(f"{API}/revision/{{revision}}", _dataset_info),
    Route(f"{API}/refs", _refs),
    Route(f"{API}/tree/{{revision}}", _tree),
    Route(f"{API}/tree/{{revision}}/{{path:path}}", _tree),
    Route(f"{API}/commits/{{revision}}", _commits),
    Route(f"{API}/paths-info/{{revision}}", _paths_info, methods=["POST"]),
    Route("/datasets/{namespace}/{name}/resolve/{revision}/{path:path}", _resolve),
]
