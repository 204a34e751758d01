"""Notice that the client has gone while its request is in the engine.

ASGI servers only set a flag on disconnect; somebody has to listen. A listener is a task, which
costs more than a quick model's run, so only a request that takes longer than a moment gets one.
"""

import asyncio
from types import TracebackType
from typing import Self

from starlette.types import Receive

from inference_service.web.body import ClientDisconnected

LISTEN_AFTER = 0.005  # seconds


class DisconnectWatch:
    """``with`` it around the wait: cancels the calling task when the client goes away.

    The block then ends with ClientDisconnected.
    """

    __slots__ = ("_caller", "_gone", "_listener", "_receive", "_timer")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._listener: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._caller = asyncio.current_task()
        self._timer = loop.call_later(LISTEN_AFTER, self._begin, loop)
        return self

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
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
        self._timer.cancel()
        if self._listener is not None:
            self._listener.cancel()
        if self._gone and isinstance(error, asyncio.CancelledError) and self._caller is not None:
            self._caller.uncancel()
            raise ClientDisconnected from None
