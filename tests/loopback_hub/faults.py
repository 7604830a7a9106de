"""Faults of the loopback Hub: errors, broken connections and requests that have to wait.

server.intercept = fail(429, path_part="/preupload/", headers={"Retry-After": "3"})
server.intercept = drop(received(1000), method="PUT")  # in the middle of an upload
server.intercept = drop(DONE, path_part="/commit/")  # the commit is made, and the client does not know
server.intercept = waiting = pause(ARRIVED, path_part="/commit/")
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Semaphore
from typing import Any, NamedTuple

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TRANSPORT = "hub.transport"  # where an application finds the connection of a request
_SECONDS_TO_COME = 60.0


@dataclass
class RecordedRequest:
    """A request, as it arrived, and what was sent for it."""

    method: str
    path: str  # unquoted; the whole URL, or `host:port`, of a foreign request
    range: str | None
    foreign: bool = False  # meant for another host: this server is the clients' proxy
    status: int = 0  # 0 where no answer was sent
    bytes_sent: int = 0  # of the answer's body, given to the socket
    bytes_received: int = 0  # of the request's body


Middleware = Callable[[ASGIApp], ASGIApp]
Intercept = Callable[[RecordedRequest], Middleware | None]


class Moment(NamedTuple):
    """When so many bytes of a request's body or of its answer's have passed; None: before the head of the answer."""

    of_answer: bool
    bytes: int | None = None


ARRIVED = Moment(of_answer=False)  # nothing was done for the request
DONE = Moment(of_answer=True)  # the request was carried out, and nothing of the answer was sent


def received(count: int) -> Moment:
    """Return the moment when `count` bytes of the request's body have arrived."""
    return Moment(of_answer=False, bytes=count)


def sent(count: int) -> Moment:
    """Return the moment when the answer's head and `count` bytes of its body were sent."""
    return Moment(of_answer=True, bytes=count)


def fail(status: int, *, headers: Mapping[str, str] | None = None, **which: Any) -> Intercept:
    """Answer `times` (1) requests with an error: of a `method`, and with `path_part` in their path."""
    chosen = _choose(**which)
    answer = PlainTextResponse("fault", status, headers)
    return lambda request: (lambda application: answer) if chosen(request) else None


def drop(moment: Moment, **which: Any) -> Intercept:
    """Close the connection at a moment; `which` is as for `fail`."""
    chosen = _choose(**which)

    async def close(scope: Scope, receive: Receive) -> bool:
        transport: asyncio.Transport = scope[TRANSPORT]
        if moment.of_answer:
            transport.close()  # what was given to it before is still sent
        else:
            transport.abort()
        while (await receive())["type"] != "http.disconnect":
            pass
        return False

    return lambda request: _at(moment, close) if chosen(request) else None


class Pause:
    """Hold requests, while others are served."""

    def __init__(self, moment: Moment, chosen: Callable[[RecordedRequest], bool]) -> None:
        self._moment, self._chosen = moment, chosen
        self._held = Semaphore(0)
        self._resumed: Future[None] = Future()

    def wait(self, count: int = 1) -> None:
        """Return when `count` more requests are held; TimeoutError where they do not come."""
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


def pause(moment: Moment, **which: Any) -> Pause:
    """Hold requests at a moment until `resume`; `which` is as for `fail`."""
    return Pause(moment, _choose(**which))


def first_of(*intercepts: Intercept) -> Intercept:
    """Join several intercepts: the first that takes a request has it."""
    return lambda request: next((found for each in intercepts if (found := each(request)) is not None), None)


def _choose(path_part: str = "", method: str | None = None, times: int = 1) -> Callable[[RecordedRequest], bool]:
    number = itertools.count()

    def chosen(request: RecordedRequest) -> bool:
        is_of_them = path_part in request.path and method in (None, request.method)
        return is_of_them and next(number) < times

    return chosen


def _at(moment: Moment, act: Callable[[Scope, Receive], Awaitable[bool]]) -> Middleware:
    """Make the middleware that awaits `act` once, at the moment; the request goes on if it says so."""

    def middleware(application: ASGIApp) -> ASGIApp:
        async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
            left = moment.bytes or 0
            is_over = is_lost = False

            async def act_once() -> None:
                nonlocal is_over, is_lost
                is_over = True
                is_lost = not await act(scope, receive)

            async def watch_received() -> Message:
                nonlocal left
                message = await receive()
                if not moment.of_answer and not is_over:
                    left -= len(message.get("body", b""))
                    if left <= 0:
                        await act_once()
                return {"type": "http.disconnect"} if is_lost else message

            async def watch_sent(message: Message) -> None:
                nonlocal left
                body = message.get("body", b"")
                if moment == DONE and not is_over:
                    await act_once()
                elif moment.of_answer and not is_over and message["type"] == "http.response.body":
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
