"""The messages of a gRPC stream: each is permitted and counted as a request of its own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from inference_service.core.errors import InferenceServiceError
from inference_service.security.authorizer import Access
from inference_service.security.quotas import Entry


class CountedStream:
    """What comes in a stream, at the rate and concurrency of its client's quota.

    ``entry`` is that of the call, which stands for one message in work. What can't be handed on
    ends the messages and is the ``failure`` to tell once those before it are answered.
    """

    def __init__(
        self,
        messages: AsyncIterator[bytes],
        unpack: Callable[[bytes], Any],
        access: Access,
        entry: Entry | None,
    ) -> None:
        self._messages = messages
        self._unpack = unpack
        self._access = access
        self._entry = entry
        self._in_work = 0
        self._more: list[Entry] = []
        self._free = asyncio.Event()
        self.failure: InferenceServiceError | None = None

    async def requests(self) -> AsyncIterator[Any]:
        """The messages; one that comes too soon waits, and its sender with it."""
        try:
            async for message in self._messages:
                await self._admit(len(message))
                yield self._unpack(message)
        except InferenceServiceError as error:
            self.failure = error

    async def _admit(self, size: int) -> None:
        self._access.renew()
        if self._entry is None:
            return
        if pause := self._entry.message(size):
            await asyncio.sleep(pause)
        while self._in_work:
            another = self._entry.another()
            if another is not None:
                self._more.append(another)
                break
            self._free.clear()
            await self._free.wait()
        self._in_work += 1

    def answered(self) -> None:
        """An answer goes out: there is one for each message."""
        self._in_work -= 1
        if self._more:
            self._more.pop().leave()
        self._free.set()

    def leave(self) -> None:
        """The stream is over."""
        while self._more:
            self._more.pop().leave()
