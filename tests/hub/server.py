"""A Hugging Face Hub on the loopback interface, for tests.

`HubServer` answers the part of the Hub's HTTP API that `huggingface_hub` and `datasets` use to read and write dataset
repositories. The clients are the real ones, each in a process of its own with the environment that
`client_environment` gives: they read `HF_ENDPOINT` once, when they are imported, and keep caches per process.

    with HubServer() as server:
        server.add_repository("alkzar90/rock-glacier-dataset", {"README.md": b"# Rock glaciers"})
        subprocess.run([sys.executable, "client.py"], env=client_environment(server, tmp_path), check=True)
        assert server.bytes_sent("README.md") == 15

What is sent for a path, a revision, a range or a fault follows what the client makes of it (`hf_api.py`,
`_commit_api.py`, `lfs.py`, `file_download.py`, `hf_file_system.py` and `hf_raise_for_status` in `huggingface_hub`).
Nothing else is served: any other path is answered with 404, and recorded like every request.

To write takes a token that `HubServer.tokens` knows, of the user whose name the repository's namespace is.

`hub_repository` holds the repositories, `hub_read`, `hub_write` and `hub_lfs` the end points, `hub_request` what they
share, and `hub_faults` what can be made to go wrong. A further end point is a handler and a line in `READ_ROUTES` or
`WRITE_ROUTES`; a commit is `Repository.commit`.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from hub.faults import TRANSPORT, Intercept, RecordedRequest, fail
from hub.lfs import LFS_ROUTES, Upload
from hub.read import EXPANDED_TREE_PAGE, READ_ROUTES, TREE_PAGE
from hub.repository import CHUNK, LFS_SIZE, Content, Repository
from hub.request import HubError, answer_error, answer_no_one
from hub.write import WRITE_ROUTES

__all__ = [
    "EXPANDED_TREE_PAGE",
    "LFS_SIZE",
    "TREE_PAGE",
    "HubServer",
    "Intercept",
    "RecordedRequest",
    "Repository",
    "client_environment",
    "fail",
]

_SECONDS_TO_START = 30.0


class _Uvicorn(uvicorn.Server):
    """A uvicorn server that tells when it is ready."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


class _Protocol(H11Protocol):
    """A connection that its requests know, so that a fault can close it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        application: ASGIApp = self.app

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            await application({**scope, TRANSPORT: transport}, receive, send)

        self.app = serve


@dataclass
class HubServer:
    """A Hub of dataset repositories at a free port of 127.0.0.1, between `with` and its end.

    Attributes:
        lfs_size: Files of this many bytes or more are LFS files, whatever their name.
        lfs_part_size: If set, LFS objects of more bytes than this are sent in parts of it.
        repositories: The repositories by id.
        tokens: The user that each known token belongs to. As on the Hub, a token that is not known is refused even
            where none is needed.
        requests: Every request in the order of arrival, also those that were answered with 404.
        intercept: If set, called with each request; what it returns, if anything, is put around the server's work.
        url: The address, for `HF_ENDPOINT`; a new one each time.
        storage: The folder of the LFS objects that were uploaded, removed at the end.
        uploads: The LFS objects that clients were asked to send, by the keys of their addresses.
    """

    lfs_size: int = LFS_SIZE
    lfs_part_size: int | None = None
    repositories: dict[str, Repository] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    requests: list[RecordedRequest] = field(default_factory=list)
    intercept: Intercept | None = None
    url: str = ""
    storage: Path = field(default_factory=Path, init=False)
    uploads: dict[str, Upload] = field(default_factory=dict, init=False)

    def __enter__(self) -> HubServer:
        """Start to serve, and return when ready."""
        listener = socket.create_server(("127.0.0.1", 0))
        # Small, so that little is on its way when a client stops reading or a request is held.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, CHUNK)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CHUNK)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._storage = tempfile.TemporaryDirectory(prefix="hub-server-")
        self.storage = Path(self._storage.name)
        self._api = Starlette(
            routes=[*READ_ROUTES, *WRITE_ROUTES, *LFS_ROUTES],
            exception_handlers={HubError: answer_error, ClientDisconnect: answer_no_one},
        )
        self._api.router.redirect_slashes = False
        self._api.state.hub = self
        # A client may rest longer than uvicorn's 5 seconds between two requests on one connection.
        config = uvicorn.Config(
            self._serve, http=_Protocol, ws="none", lifespan="off", loop="asyncio", log_config=None, access_log=False,
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
        self._storage.cleanup()

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

    def bytes_received(self, path_part: str = "") -> int:
        """Add up the bytes of the bodies that arrived for the paths that hold `path_part`."""
        return sum(request.bytes_received for request in list(self.requests) if path_part in request.path)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Record a request, and have it answered by the routes, or by what `intercept` puts around them."""
        target = scope["raw_path"].decode("ascii").removeprefix(self.url)
        request = _record(scope, target)
        self.requests.append(request)
        is_received = False

        async def receive_and_count() -> Message:
            nonlocal is_received
            message = await receive()
            request.bytes_received += len(message.get("body", b""))
            is_received = not message.get("more_body", False)
            return message

        async def count_and_send(message: Message) -> None:
            # A client that has its answer may stop to send; only what is awaited first is counted in every run.
            while not is_received:
                await receive_and_count()
            # Counted before it is sent: a client that has its answer has an answer that is counted.
            if message["type"] == "http.response.start":
                request.status = message["status"]
            elif request.method != "HEAD":
                request.bytes_sent += len(message.get("body", b""))
            await send(message)

        application: ASGIApp = PlainTextResponse("This is not a proxy.", 404) if request.foreign else self._api
        around = self.intercept(request) if self.intercept is not None else None
        if around is not None:
            application = around(application)
        # The routes match the path as quoted: an unquoted revision may hold a slash.
        await application({**scope, "path": target}, receive_and_count, count_and_send)


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
