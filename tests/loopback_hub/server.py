"""A Hugging Face Hub on the loopback interface, for tests and for the benchmark.

The clients are the real ones, each in a process of its own with the environment of `client_environment`: they read
`HF_ENDPOINT` when they are imported, and keep caches per process.

    with HubServer(tokens={"hf_owner": "alkzar90"}) as server:
        server.add_repository("alkzar90/rock-glacier-dataset", {"README.md": b"# Rock glaciers"})
        subprocess.run([sys.executable, "client.py"], env=client_environment(server, tmp_path), check=True)
        assert server.bytes_sent("README.md") == 15
"""

from __future__ import annotations

import os
import re
import socket
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.api import ROUTES, HubError
from hub.faults import TRANSPORT, Intercept, RecordedRequest, fail
from hub.repository import Content, Repository

__all__ = ["HubServer", "Intercept", "RecordedRequest", "Repository", "client_environment", "fail"]

_SOCKET_BUFFER = 2**16  # bytes; small, so that little is on its way when a client stops reading or a request is held


@dataclass
class HubServer:
    """A Hub of dataset repositories at a free port of 127.0.0.1, between `with` and its end."""

    tokens: dict[str, str] = field(default_factory=dict)  # the user that each token belongs to
    repositories: dict[str, Repository] = field(default_factory=dict)  # by id
    requests: list[RecordedRequest] = field(default_factory=list)  # in the order of arrival, also those without answer
    intercept: Intercept | None = None  # called with each request; what it returns is put around the server's work
    url: str = ""
    storage: Path = field(default_factory=Path, init=False)  # of uploaded LFS objects

    def __enter__(self) -> HubServer:
        """Start to serve; a client that comes before the server is ready waits for it."""
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER)
        # asyncio sets it only on sockets that name their protocol. Without it an answer waits 40 ms for an ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._storage = tempfile.TemporaryDirectory(prefix="hub-server-")
        self.storage = Path(self._storage.name)
        self._api = Starlette(
            routes=ROUTES, exception_handlers={HubError: _answer_error, ClientDisconnect: _answer_no_one}
        )
        self._api.router.redirect_slashes = False
        self._api.state.hub = self
        # A client may rest longer than uvicorn's 5 seconds between two requests on one connection.
        config = uvicorn.Config(
            self._serve, http="h11", ws="none", lifespan="off", loop="asyncio", log_config=None, access_log=False,
            interface="asgi3", timeout_keep_alive=600, timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._uvicorn.run, args=([listener],), name="hub-server", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop, and return when the port is closed."""
        self._uvicorn.should_exit = True
        self._thread.join()
        self._storage.cleanup()

    def add_repository(
        self, repo_id: str, files: Mapping[str, Content] | Path, *, private: bool = False, token: str | None = None
    ) -> Repository:
        """Add a dataset repository with one commit on `main`: files by path, or a folder; `token` is its owner's."""
        if isinstance(files, Path):
            paths = [path for path in sorted(files.rglob("*")) if path.is_file()]
            files = {path.relative_to(files).as_posix(): path for path in paths}
        repository = self.repositories[repo_id] = Repository(repo_id, private=private, token=token)
        repository.commit(files, message="initial commit")
        if token is not None:
            self.tokens[token] = repository.owner
        return repository

    def bytes_sent(self, path_part: str = "") -> int:
        """Count the bytes of the bodies sent for paths with `path_part`, up to 100 KB more where a client hung up."""
        return sum(request.bytes_sent for request in list(self.requests) if path_part in request.path)

    def bytes_received(self, path_part: str = "") -> int:
        """Count the bytes of the bodies that arrived for paths with `path_part`."""
        return sum(request.bytes_received for request in list(self.requests) if path_part in request.path)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Record a request and let the routes answer it, or what `intercept` puts around them."""
        target = scope["raw_path"].decode("ascii").removeprefix(self.url)
        request = RecordedRequest(
            method=scope["method"],
            path=unquote(target),
            range=Headers(scope=scope).get("range"),
            foreign=not target.startswith("/"),
        )
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
        scope = {**scope, "path": target, TRANSPORT: cast(Any, receive).__self__.transport}
        await application(scope, receive_and_count, count_and_send)


async def _answer_error(request: Request, error: Exception) -> Response:
    return cast(HubError, error).response


async def _answer_no_one(request: Request, error: Exception) -> Response:
    """End a request whose client went away before it had sent the body, with the status that nginx notes for it."""
    return Response(status_code=499)


def client_environment(server: HubServer, home: Path) -> dict[str, str]:
    """Return the environment for a process whose clients use `server` alone, with their caches in `home`.

    The user's own tokens, caches and settings are left out. `server` is the proxy as well: `datasets` asks the dataset
    viewer at `datasets-server.<host>`, and `datasets` 2 counts downloads elsewhere. These requests are answered with
    404 and recorded as `foreign`, so that none leaves the machine.
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
