"""A bound on the messages of gRPC that are being received, in number and time.

grpc has a message in memory as its pieces come, tells nobody before it is whole, and waits for
ever. But it takes no more than a window (64 KiB) until it is asked for the message. So a call is
begun when its head is there (access control has decided then), and its message is asked for when
there is a place to receive it.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from inference_service.core.clients import network_of
from inference_service.core.errors import BodyTimeout, InvalidInput, Overloaded
from inference_service.protocols.oip.rpc.caller import address_of
from inference_service.protocols.oip.rpc.service import status_of
from inference_service.security.authorizer import current_access

_PATIENCE = 1.0
"""Seconds that a call waits for a place before it is refused."""


class Places:
    """Messages that may be received at the same time: ``most``, and half of them for one client."""

    def __init__(self, most: int) -> None:
        self._most = max(2, most)
        self._taken: Counter[str] = Counter()
        self._total = 0
        self._left = asyncio.Event()

    async def take(self, client: str) -> None:
        """Wait for a place for a moment. Raises Overloaded."""
        if not self._has_place(client):
            await self._wait(client)
        self._total += 1
        self._taken[client] += 1

    def _has_place(self, client: str) -> bool:
        return self._total < self._most and self._taken[client] < self._most // 2

    async def _wait(self, client: str) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                while not self._has_place(client):
                    self._left.clear()
                    await self._left.wait()
        except TimeoutError:
            raise Overloaded(
                f"{self._total} messages are being received, {self._taken[client]} of them from "
                "this client",
                reason="in_flight_bytes",
            ) from None

    def leave(self, client: str) -> None:
        """It has come, or never will."""
        self._total -= 1
        self._taken[client] -= 1
        if not self._taken[client]:
            del self._taken[client]
        self._left.set()


class Receiving(grpc.aio.ServerInterceptor):  # type: ignore[misc,unused-ignore]
    """Makes calls of one message calls of a stream, from which one is read within ``seconds``."""

    def __init__(self, places: Places, seconds: float) -> None:
        self._places = places
        self._seconds = seconds

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """The handler of a call, which is begun before its message is there."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler
        if handler.response_streaming:
            made: Any = grpc.stream_stream_rpc_method_handler
        else:
            made = grpc.stream_unary_rpc_method_handler
        return made(self._of_one(handler), None, handler.response_serializer)

    def _of_one(self, handler: Any) -> Any:
        answer = (
            handler.unary_stream or handler.unary_unary
        )  # coroutines both (see `_Health.Watch`)

        async def answered(_: Any, context: Any) -> Any:
            try:
                # The answer's frame alone knows the message: see `service._answering`.
                answering = answer(unpacked(handler, await self._receive(context)), context)
            except Exception as error:
                failed = status_of(error)
            else:
                return await answering
            await context.abort(*failed)
            return None

        return answered

    async def _receive(self, context: Any) -> bytes:
        access = current_access.get()
        client = access.client if access is not None else network_of(address_of(context))
        await self._places.take(client)
        try:
            async with asyncio.timeout(self._seconds):
                raw = await context.read()
        except TimeoutError:
            raise BodyTimeout(f"the message did not come within {self._seconds:g} s") from None
        finally:
            self._places.leave(client)
        if raw is grpc.aio.EOF:
            raise InvalidInput("the call has no message")
        if access is not None and access.entry is not None:
            access.entry.grow(len(raw))
        return bytes(raw)


def unpacked(handler: Any, raw: bytes) -> Any:
    """The message for the handler. Raises InvalidInput."""
    if handler.request_deserializer is None:  # the handler unpacks it itself
        return raw
    try:
        return handler.request_deserializer(raw)
    except Exception:
        raise InvalidInput("the message can't be unpacked") from None
