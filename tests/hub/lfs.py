"""The end points of the loopback Hub that take LFS objects.

https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md tells of the batch and of the basic transfer. The
objects go to files, a chunk at a time; as to the Hub's storage they are sent without a token, to an address that is
hard to guess. Above `HubServer.lfs_part_size` they are sent in parts, as `_upload_multi_part` of `huggingface_hub`
does it.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hub.repository import CHUNK, Blob, Repository
from hub.request import HubError, find_own_repository, find_repository, hub_of, known_user


@dataclass
class Upload:
    """An LFS object that a client was asked to send.

    Attributes:
        repository: The repository that it belongs to.
        oid: The sha256 that its bytes must have.
        size: Their number.
        parts: The files that hold the parts that have arrived, by number.
    """

    repository: Repository
    oid: str
    size: int
    parts: dict[int, Path] = field(default_factory=dict)


async def _batch(request: Request) -> Response:
    repository = find_repository(request)
    # The Hub takes no LFS object of someone else's, not even for a pull request.
    if known_user(request) != repository.owner:
        raise HubError(403, "Authorization error.")
    asked = await request.json()
    objects = [_describe_object(request, repository, entry["oid"], entry["size"]) for entry in asked["objects"]]
    answer = {"transfer": "basic", "objects": objects, "hash_algo": "sha256"}
    return JSONResponse(answer, media_type="application/vnd.git-lfs+json")


def _describe_object(request: Request, repository: Repository, oid: str, size: int) -> dict[str, Any]:
    """Tell the client what to do with an object: nothing, if it is there."""
    entry: dict[str, Any] = {"oid": oid, "size": size, "authenticated": True}
    if oid in repository.lfs_objects:
        return entry
    hub = hub_of(request)
    key = secrets.token_hex()
    hub.uploads[key] = Upload(repository, oid, size)
    storage = f"{hub.url}/lfs-storage/{repository.repo_id}/{oid}"
    header = {}
    if hub.lfs_part_size is not None and size > hub.lfs_part_size:
        numbers = range(1, -(-size // hub.lfs_part_size) + 1)
        header = {f"{number:05}": f"{storage}/{number}?key={key}" for number in numbers}
        header["chunk_size"] = str(hub.lfs_part_size)
    verify = f"{hub.url}/datasets/{repository.repo_id}.git/info/lfs/objects/verify"
    entry["actions"] = {"upload": {"href": f"{storage}?key={key}", "header": header}, "verify": {"href": verify}}
    return entry


async def _put_object(request: Request) -> Response:
    upload = _find_upload(request)
    async with _new_file(request) as path:
        with path.open("wb") as file:
            async for chunk in request.stream():
                file.write(chunk)
        _store(request, upload, path)
    return Response(headers={"ETag": f'"{upload.oid}"'})


async def _put_part(request: Request) -> Response:
    upload = _find_upload(request)
    async with _new_file(request) as path:
        with path.open("wb") as file:
            async for chunk in request.stream():
                file.write(chunk)
        number = request.path_params["part"]
        upload.parts[number] = path.rename(path.with_name(f"{path.name}.part"))
    return Response(headers={"ETag": f'"{number}"'})


async def _complete(request: Request) -> Response:
    upload = _find_upload(request)
    numbers = [part["partNumber"] for part in (await request.json())["parts"]]
    if any(number not in upload.parts for number in numbers):
        raise HubError(400, "A part was not uploaded.")
    async with _new_file(request) as path:
        with path.open("wb") as file:
            for number in numbers:
                with upload.parts[number].open("rb") as part:
                    shutil.copyfileobj(part, file)
        _store(request, upload, path)
    return JSONResponse({"message": "ok"})


async def _verify(request: Request) -> Response:
    repository = find_own_repository(request)
    asked = await request.json()
    blob = repository.lfs_objects.get(asked["oid"])
    if blob is None or blob.size != asked["size"]:
        raise HubError(404, f"Object {asked['oid']} was not uploaded.")
    return JSONResponse({"message": "ok"})


def _find_upload(request: Request) -> Upload:
    upload = hub_of(request).uploads.get(request.query_params.get("key", ""))
    if upload is None:
        raise HubError(403, "Access Denied")
    return upload


@asynccontextmanager
async def _new_file(request: Request) -> AsyncIterator[Path]:
    """Make a file for what arrives, gone at the end unless it was moved."""
    with tempfile.NamedTemporaryFile(dir=hub_of(request).storage, delete=False) as file:
        path = Path(file.name)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _store(request: Request, upload: Upload, path: Path) -> None:
    """Take over a file that holds the object, or refuse it."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != upload.oid or path.stat().st_size != upload.size:
        raise HubError(400, "The bytes are not those of the object.")
    stored = path.replace(hub_of(request).storage / upload.oid)
    upload.repository.lfs_objects[upload.oid] = Blob.hashed(stored, upload.size, upload.oid)


_OBJECTS = "/datasets/{namespace}/{name}.git/info/lfs/objects"
_STORAGE = "/lfs-storage/{namespace}/{name}/{oid}"
LFS_ROUTES = [
    Route(f"{_OBJECTS}/batch", _batch, methods=["POST"]),
    Route(f"{_OBJECTS}/verify", _verify, methods=["POST"]),
    Route(_STORAGE, _put_object, methods=["PUT"]),
    Route(_STORAGE, _complete, methods=["POST"]),
    Route(f"{_STORAGE}/{{part:int}}", _put_part, methods=["PUT"]),
]
