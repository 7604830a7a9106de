"""Faults of the loopback Hub: an error for an answer, a connection that breaks, a request that has to wait.

Each is an `Intercept` for `HubServer.intercept`; `first_of` joins several. `drop` and `pause` take the moment:

    server.intercept = fail(429, path_part="/preupload/", headers={"Retry-After": "3"})
    server.intercept = drop(received(1000), method="PUT")  # in the middle of an upload
    server.intercept = drop(sent(1000), path_part="train.zip")  # in the middle of a download
    server.intercept = drop(DONE, path_part="/commit/")  # the commit is made, and the client does not know
    server.intercept = waiting = pause(ARRIVED, path_part="/commit/")
    ...
    waiting.wait()
    client.kill()
    waiting.resume()
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Semaphore
from typing import Literal

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Where an application finds the connection that a request came by.
TRANSPORT = "hub.transport"

_SECONDS_TO_COME = 60.0


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
        status: The answer's status; 0 while there is none, or where none was sent.
        bytes_sent: Bytes of the answer's body given to the socket.
        bytes_received: Bytes of the request's body that were read from the socket. A request is answered when its
            body is there; of one that broke off some 300 KB may have arrived without being read.
    """

    method: str
    path: str
    query: str
    range: str | None
    authorized: bool
    foreign: bool = False
    status: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


Middleware = Callable[[ASGIApp], ASGIApp]
Intercept = Callable[[RecordedRequest], Middleware | None]


@dataclass(frozen=True)
class Moment:
    """A moment in the course of a request.

    Attributes:
        side: Whose bytes are counted.
        count: The bytes of the body after which the moment is there; None for the moment before the first of them
            is asked for, on the side of the answer before its head too.
    """

    side: Literal["request", "answer"]
    count: int | None = None


ARRIVED = Moment("request")
"""The head of the request has arrived, and nothing was done for it."""

DONE = Moment("answer")
"""The request has been carried out, and nothing of the answer was sent."""


def received(count: int) -> Moment:
    """Choose the moment when `count` bytes of the request's body have arrived."""
    return Moment("request", count)


def sent(count: int) -> Moment:
    """Choose the moment when the answer's head and `count` bytes of its body were sent."""
    return Moment("answer", count)


def fail(
    status: int,
    *,
    path_part: str = "",
    method: str | None = None,
    times: int = 1,
    skip: int = 0,
    headers: Mapping[str, str] | None = None,
) -> Intercept:
    """Make an `intercept` that answers with an error instead, and lets other requests pass.

    Args:
        status: The status to answer with.
        path_part: Only requests whose path holds this are answered.
        method: Only requests of this method are answered.
        times: The number of requests to answer.
        skip: The number of requests to let pass first.
        headers: Headers of the answer, `Retry-After` say.
    """
    chosen = _choose(path_part, method, times, skip)
    answer = PlainTextResponse("fault", status, headers)

    def intercept(request: RecordedRequest) -> Middleware | None:
        return (lambda application: answer) if chosen(request) else None

    return intercept


def drop(moment: Moment, *, path_part: str = "", method: str | None = None, times: int = 1, skip: int = 0) -> Intercept:
    """Make an `intercept` that closes the connection at a moment; the rest is as for `fail`."""
    chosen = _choose(path_part, method, times, skip)

    async def close(scope: Scope, receive: Receive) -> bool:
        transport: asyncio.Transport = scope[TRANSPORT]
        if moment.side == "request":
            transport.abort()
        else:
            # What was given to it before is still sent.
            transport.close()
        while (await receive())["type"] != "http.disconnect":
            pass
        return False

    def intercept(request: RecordedRequest) -> Middleware | None:
        return _at(moment, close) if chosen(request) else None

    return intercept


def pause(moment: Moment, *, path_part: str = "", method: str | None = None, times: int = 1, skip: int = 0) -> Pause:
    """Make an `intercept` that holds a request at a moment until `resume`; the rest is as for `fail`."""
    return Pause(moment, _choose(path_part, method, times, skip))


class Pause:
    """An `intercept` that holds requests. Other requests are served meanwhile."""

    def __init__(self, moment: Moment, chosen: Callable[[RecordedRequest], bool]) -> None:
        self._moment = moment
        self._chosen = chosen
        self._held = Semaphore(0)
        self._resumed: Future[None] = Future()

    def wait(self, count: int = 1) -> None:
        """Return when `count` more requests are held.

        Raises:
            TimeoutError: If they do not come.
        """
        for _ in range(count):
            if not self._held.acquire(timeout=_SECONDS_TO_COME):
                raise TimeoutError(f"no request came within {_SECONDS_TO_COME} seconds")

    def resume(self) -> None:
        """Let the requests go on, now and later."""
        self._resumed.set_result(None)

    def __call__(self, request: RecordedRequest) -> Middleware | None:
        """Hold `request` if it is one of those chosen."""
        return _at(self._moment, self._hold) if self._chosen(request) else None

    async def _hold(self, scope: Scope, receive: Receive) -> bool:
        self._held.release()
        # Shielded, as a server that stops cancels the task and not the future that others wait for too.
        await asyncio.shield(asyncio.wrap_future(self._resumed))
        return True


def first_of(*intercepts: Intercept) -> Intercept:
    """Make an `intercept` of several: the first that takes a request has it."""

    def intercept(request: RecordedRequest) -> Middleware | None:
        return next((found for each in intercepts if (found := each(request)) is not None), None)

    return intercept


def _choose(path_part: str, method: str | None, times: int, skip: int) -> Callable[[RecordedRequest], bool]:
    number = itertools.count()

    def chosen(request: RecordedRequest) -> bool:
        if path_part not in request.path or method not in (None, request.method):
            return False
        return skip <= next(number) < skip + times

    return chosen


def _at(moment: Moment, act: Callable[[Scope, Receive], Awaitable[bool]]) -> Middleware:
    """Make the middleware that awaits `act` once, at the moment; the request goes on if it says so."""

    def middleware(application: ASGIApp) -> ASGIApp:
        async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
            left = 0 if moment.count is None else moment.count
            is_over = is_lost = False

            async def act_once() -> None:
                nonlocal is_over, is_lost
                is_over = True
                is_lost = not await act(scope, receive)

            async def watch_received() -> Message:
                nonlocal left
                message = await receive()
                if moment.side == "request" and not is_over:
                    left -= len(message.get("body", b""))
                    if left <= 0:
                        await act_once()
                return {"type": "http.disconnect"} if is_lost else message

            async def watch_sent(message: Message) -> None:
                nonlocal left
                if moment == DONE and not is_over:
                    await act_once()
                elif moment.side == "answer" and not is_over and message["type"] == "http.response.body":
                    body = message.get("body", b"")
                    if len(body) >= left:
                        await send({**message, "body": body[:left], "more_body": True})
                        message = {**message, "body": body[left:]}
                        await act_once()
                    left -= len(body)
                if not is_lost:
                    await send(message)

            if moment == ARRIVED:
                await act_once()
            if not is_lost:
                await application(scope, watch_received, watch_sent)

        return wrapped

    return middleware
