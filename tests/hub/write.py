"""The end points of the loopback Hub that write: repositories, commits, branches and tags.

What is sent and read follows `create_repo`, `create_commit`, `create_branch` and `create_tag` in `hf_api.py` and
`_commit_api.py` of `huggingface_hub`. A handler awaits only the request's body, so that two commits never mingle.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from huggingface_hub import DatasetCard
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hub.repository import LFS_SUFFIXES, Blob, Repository, below, full_reference
from hub.request import (
    API,
    HubError,
    bearer,
    find_commit,
    find_own_repository,
    find_revision,
    hub_of,
    is_true,
    known_user,
    user_of,
)

GIT_ATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in sorted(LFS_SUFFIXES))


async def _create_repository(request: Request) -> Response:
    user = known_user(request)
    asked = await request.json()
    if asked.get("type") != "dataset":
        raise HubError(400, "Only datasets are served here.")
    namespace = asked.get("organization") or user
    if namespace != user:
        raise HubError(403, f'You don\'t have the rights to create a dataset under the namespace "{namespace}"')
    hub = hub_of(request)
    repo_id = f"{namespace}/{asked['name']}"
    # The client reads the address from the 409 too, if the repository may exist.
    answer = {"url": f"{hub.url}/datasets/{repo_id}", "name": repo_id}
    if repo_id in hub.repositories:
        raise HubError(409, f"You already created this dataset repo: {repo_id}", body=answer)
    # `huggingface_hub` 1 asks for a visibility where 0 asks for privacy.
    private = asked.get("private") is True or asked.get("visibility") == "private"
    repository = Repository(repo_id, private=private, token=bearer(request.headers), lfs_size=hub.lfs_size)
    repository.commit({".gitattributes": GIT_ATTRIBUTES.encode()}, message="initial commit")
    hub.repositories[repo_id] = repository
    return JSONResponse(answer)


async def _validate_yaml(request: Request) -> Response:
    user_of(request)
    content = (await request.json())["content"]
    errors = []
    try:
        DatasetCard(content)
    except Exception as error:  # whatever the parser of YAML raises
        errors = [{"message": str(error)}]
    return JSONResponse({"errors": errors, "warnings": []}, 400 if errors else 200)


async def _preupload(request: Request) -> Response:
    repository = find_own_repository(request, create_pr=_asks_for_pull_request(request))
    tree = find_commit(request, repository).tree
    files = []
    for file in (await request.json())["files"]:
        path = file["path"]
        mode = "lfs" if repository.is_lfs(path, file["size"]) else "regular"
        there = tree.get(path)
        file_id = None if there is None else there.file_id
        files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": file_id})
    return JSONResponse({"files": files})


async def _commit(request: Request) -> Response:
    create_pr = _asks_for_pull_request(request)
    repository = find_own_repository(request, create_pr=create_pr)
    user = known_user(request)
    operations = [json.loads(line) for line in (await request.body()).splitlines() if line]
    headers = [operation["value"] for operation in operations if operation["key"] == "header"]
    if len(headers) != 1 or not headers[0].get("summary"):
        raise HubError(400, "A commit takes one header with a summary.")
    (header,) = headers
    with repository.lock:
        head = find_commit(request, repository)
        reference = full_reference(unquote(request.path_params["revision"]))
        asked_parent = header.get("parentCommit")
        number = 1 + sum(name.startswith("refs/pr/") for name in repository.refs)
        if create_pr:
            head = head if asked_parent is None else find_revision(repository, asked_parent)
            reference = f"refs/pr/{number}"
        elif reference not in repository.refs or reference.startswith("refs/tags/"):
            raise HubError(400, f"Invalid reference for a branch: {reference}")
        elif asked_parent not in (None, head.sha):
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        tree = _apply(operations, head.tree, repository)
        summary, description = header["summary"], header.get("description", "")
        made = repository.add_commit(reference, head, tree, title=summary, description=description, author=user)
    url = f"{hub_of(request).url}/datasets/{repository.repo_id}"
    answer = {"success": True, "commitOid": made.sha, "commitUrl": f"{url}/commit/{made.sha}", "hookOutput": ""}
    if create_pr:
        answer["pullRequestUrl"] = f"{url}/discussions/{number}"
    return JSONResponse(answer)


def _asks_for_pull_request(request: Request) -> bool:
    return is_true(request.query_params.getlist("create_pr"))


def _apply(operations: Iterable[dict[str, Any]], tree: Mapping[str, Blob], repository: Repository) -> dict[str, Blob]:
    """Make the tree of a commit, or refuse the commit."""
    changed = dict(tree)
    for operation in operations:
        value = operation["value"]
        path = value.get("path", "")
        if operation["key"] == "file":
            content = base64.b64decode(value["content"])
            changed[path] = Blob.of(content, lfs=False)
        elif operation["key"] == "lfsFile":
            blob = repository.lfs_objects.get(value["oid"])
            if blob is None:
                missing = "Your push was rejected because an LFS pointer pointed to a file that does not exist."
                raise HubError(400, f"{missing} Offending file: {path}")
            changed[path] = blob
        elif operation["key"] in ("deletedFile", "deletedFolder"):
            is_folder = operation["key"] == "deletedFolder"
            gone = set(below(changed, path.rstrip("/"))) if is_folder else {path} & changed.keys()
            if not gone:
                raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
            changed = {name: blob for name, blob in changed.items() if name not in gone}
        elif operation["key"] != "header":
            raise HubError(400, f"{operation['key']} is not served here.")
    return changed


async def _create_branch(request: Request) -> Response:
    repository = find_own_repository(request)
    branch = unquote(request.path_params["branch"])
    start = find_revision(repository, (await request.json()).get("startingPoint", "main")).sha
    if branch.startswith("refs/"):
        raise HubError(400, f"Invalid reference for a branch: {branch}")
    _add_reference(repository, full_reference(branch), start, "Reference already exists")
    return JSONResponse({"success": True})


async def _delete_branch(request: Request) -> Response:
    repository = find_own_repository(request)
    reference = full_reference(unquote(request.path_params["branch"]))
    if reference == "refs/heads/main":
        raise HubError(403, f"Cannot delete {reference}")
    if repository.refs.pop(reference, None) is None:
        raise HubError(404, "Reference does not exist")
    return JSONResponse({"success": True})


async def _create_tag(request: Request) -> Response:
    repository = find_own_repository(request)
    sha = find_commit(request, repository).sha
    tag = (await request.json())["tag"]
    _add_reference(repository, f"refs/tags/{tag}", sha, "Tag reference exists already")
    return JSONResponse({"success": True})


async def _delete_tag(request: Request) -> Response:
    repository = find_own_repository(request)
    tag = unquote(request.path_params["revision"])
    if repository.refs.pop(f"refs/tags/{tag}", None) is None:
        raise HubError(404, f"Invalid rev id: {tag}", "RevisionNotFound")
    return JSONResponse({"success": True})


def _add_reference(repository: Repository, reference: str, sha: str, fault: str) -> None:
    with repository.lock:
        if reference in repository.refs:
            raise HubError(409, fault)
        repository.refs[reference] = sha


WRITE_ROUTES = [
    Route("/api/repos/create", _create_repository, methods=["POST"]),
    Route("/api/validate-yaml", _validate_yaml, methods=["POST"]),
    Route(f"{API}/preupload/{{revision}}", _preupload, methods=["POST"]),
    Route(f"{API}/commit/{{revision}}", _commit, methods=["POST"]),
    Route(f"{API}/branch/{{branch}}", _create_branch, methods=["POST"]),
    Route(f"{API}/branch/{{branch}}", _delete_branch, methods=["DELETE"]),
    Route(f"{API}/tag/{{revision}}", _create_tag, methods=["POST"]),
    Route(f"{API}/tag/{{revision}}", _delete_tag, methods=["DELETE"]),
]
