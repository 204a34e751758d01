"""Waiting for the network at little cost where there is nothing to wait for.

ASGI servers only set a flag on disconnect; a listener is needed. A listener is a task, and a
timeout is a timer: both cost more than a quick model's run.
"""

import asyncio
from collections.abc import Awaitable, Generator
from types import TracebackType
from typing import Any, Self

from starlette.types import Message, Receive, Scope

ROUND = 0.005
"""Seconds. Who has waited for one to two rounds gets a listener."""


COMMENT = "http_comment"
"""The key in a request's ``scope["state"]`` of bytes that may stand between any two parts of its
answer, and that the client passes over: they show whether it is still there."""

GONE = "websocket_gone"
"""The key in a WebSocket's ``scope["state"]`` of an event that is set once its client has left."""


def gone(scope: Scope) -> asyncio.Event:
    """Set once the client of this WebSocket has left, whatever it had sent before.

    Under another server than ours it is never set.
    """
    found: asyncio.Event | None = scope.get("state", {}).get(GONE)
    return found or asyncio.Event()


class ClientDisconnected(Exception):  # noqa: N818
    """The client has disconnected; the answer is not needed."""


class Begun:
    """An awaitable that was begun at once: ``done`` tells whether it had to wait for anything.

    Then ``result`` is its result; otherwise await this for it.
    """

    __slots__ = ("_first", "_steps", "done", "result")

    def __init__(self, awaitable: Awaitable[Message]) -> None:
        self._steps: Generator[Any, None, Message] = awaitable.__await__()
        self.result: Message = {}
        try:
            self._first = next(self._steps)
            self.done = False
        except StopIteration as stop:
            self.result = stop.value
            self.done = True

    def __await__(self) -> Generator[Any, None, Message]:
        if self.done:
            return self.result
        try:
            yield self._first
        except BaseException as error:
            try:
                again = self._steps.throw(error)
            except StopIteration as stop:
                result: Message = stop.value
                return result
            yield again
        return (yield from self._steps)


class Rounds:
    """The waits that stand now. One timer for all of them looks which have stood for a while."""

    __slots__ = ("_loop", "_new", "_old", "_timer")

    def __init__(self) -> None:
        self._new: set[DisconnectWatch] = set()
        self._old: set[DisconnectWatch] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, watch: "DisconnectWatch", loop: asyncio.AbstractEventLoop) -> None:
        """Note a wait."""
        if self._timer is None or loop is not self._loop:
            self._loop = loop
            self._timer = loop.call_later(ROUND, self._round, loop)
        self._new.add(watch)

    def discard(self, watch: "DisconnectWatch") -> None:
        """It is over."""
        self._new.discard(watch)
        self._old.discard(watch)

    def _round(self, loop: asyncio.AbstractEventLoop) -> None:
        standing, self._old, self._new = self._old, self._new, set()
        for watch in standing:
            watch.listen(loop)
        self._timer = loop.call_later(ROUND, self._round, loop) if self._old else None


class DisconnectWatch:
    """``with`` it around the wait: cancels the calling task when the client goes away.

    The block then ends with ClientDisconnected.
    """

    __slots__ = ("_caller", "_gone", "_listener", "_receive", "_rounds")

    def __init__(self, rounds: Rounds, receive: Receive) -> None:
        self._rounds = rounds
        self._receive = receive
        self._gone = False
        self._listener: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._caller = asyncio.current_task()
        if self._caller is not None:
            self._rounds.add(self, self._caller.get_loop())
        return self

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """The wait has stood for a while."""
        self._listener = loop.create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._caller is not None:
            self._caller.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._rounds.discard(self)
        if self._listener is not None:
            self._listener.cancel()
            self._listener = None  # its CancelledError knows its frame, which knows this watch
        if self._gone and isinstance(error, asyncio.CancelledError) and self._caller is not None:
            self._caller.uncancel()
            raise ClientDisconnected from None
