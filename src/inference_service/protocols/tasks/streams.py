"""WebSocket /models/{model}/{task}/stream: a payload as it comes, events as they are known.

Binary messages are the payload, ``{"event": "end"}`` is its end. The next message is read when the
one before has been answered: a faster sender is held back by TCP.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel
from starlette.responses import Response

from inference_service.core.errors import InvalidInput, NotFound, quoted
from inference_service.core.requests import ModelRef
from inference_service.core.tasks import PayloadStream, Steps, StreamingTask
from inference_service.engine.interfaces import ModelInfo
from inference_service.processes.decoders import TaskPool
from inference_service.protocols.tasks import codec
from inference_service.protocols.tasks.driver import Conversation
from inference_service.serving.codec import Head
from inference_service.web.body import read_head
from inference_service.web.endpoint import Edge
from inference_service.web.errors import answer, words
from inference_service.web.watches import gone

PROTOCOL = "stream"
_OFF_LOOP_FROM = 64 * 1024  # bytes of a message
_END = {"event": "end"}
# https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1 and the registry it began
_NORMAL, _AWAY, _POLICY, _INTERNAL, _LATER = 1000, 1001, 1008, 1011, 1013


class StreamFailed(BaseModel):
    """The last event of a stream that can't go on."""

    event: Literal["error"] = "error"
    error: str


@dataclass(frozen=True, slots=True)
class _Stream:
    """What one client streams to."""

    info: ModelInfo
    head: Head
    payload: PayloadStream


class StreamEndpoint:
    """Answers WebSockets. What is wrong before a stream begins is an ordinary HTTP error."""

    def __init__(self, edge: Edge, pool: TaskPool, idle_timeout: float) -> None:
        self._edge = edge
        self._pool = pool
        self._idle_timeout = idle_timeout

    async def __call__(self, socket: WebSocket, model: str, task: str) -> None:
        """One stream."""
        try:
            stream = self._begin(socket, model, task)
            place = self._edge.in_flight.stream()
        except Exception as error:  # the edge of the service: the client gets an answer
            reply = answer(error)
            await socket.send_denial_response(
                Response(reply.body, reply.status, dict(reply.headers), "application/json")
            )
            return
        with place:
            await socket.accept()
            await self._until_gone(socket, stream)

    async def _until_gone(self, socket: WebSocket, stream: _Stream) -> None:
        """Converse; what is in work when the client leaves is stopped."""
        talk = asyncio.ensure_future(self._answer(socket, stream))
        left = asyncio.ensure_future(gone(socket.scope).wait())
        try:
            await asyncio.wait((talk, left), return_when=asyncio.FIRST_COMPLETED)
        finally:
            left.cancel()
            talk.cancel()
            await asyncio.wait((talk,))
        if not talk.cancelled():
            talk.result()

    async def _answer(self, socket: WebSocket, stream: _Stream) -> None:
        try:
            await self._converse(socket, stream)
        except WebSocketDisconnect:
            return
        except Exception as error:
            await _fail(socket, error)

    def _begin(self, socket: WebSocket, model: str, name: str) -> _Stream:
        edge = self._edge
        info = edge.engine.describe(ModelRef(model))
        task = info.tasks.get(name)
        if not isinstance(task, StreamingTask):
            able = [one for one, task in info.tasks.items() if isinstance(task, StreamingTask)]
            known = quoted(able) if able else "none"
            raise NotFound(f"model '{model}' can't {name} a stream; what it can stream: {known}")
        query = codec.from_query(socket.scope["query_string"])
        parameters = codec.read_parameters(task.stream_parameters, query, {})
        head = read_head({**socket.scope, "method": "GET"}, edge.client_header, edge.non_finite)
        return _Stream(info, head, task.stream(parameters))

    async def _converse(self, socket: WebSocket, stream: _Stream) -> None:
        while True:
            try:
                message = await asyncio.wait_for(socket.receive(), self._idle_timeout)
            except TimeoutError:
                said = f"nothing came for {self._idle_timeout:g} s"
                await _close(socket, StreamFailed(error=said), _AWAY)
                return
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("bytes")
            if data is None:
                _check_end(message.get("text") or "")
                events = await self._advance(stream, stream.payload.finish(), 0, inline=True)
                await _send(socket, events)
                await socket.close(_NORMAL)
                return
            size = len(data)
            steps = stream.payload.push(data)
            events = await self._advance(stream, steps, size, inline=size < _OFF_LOOP_FROM)
            await _send(socket, events)

    async def _advance(
        self, stream: _Stream, steps: Steps, size: int, *, inline: bool
    ) -> Sequence[BaseModel]:
        """The events of a message of this many bytes: a request of its own, as of any transport."""
        exchange = self._edge.exchange
        request = exchange.open(PROTOCOL)
        try:
            exchange.resolve(request, stream.info.ref)
            exchange.admit(request, stream.head)
            exchange.permit(request, size)
            talk = Conversation(self._edge.engine, request, self._pool)
            work = talk.drive(steps, inline=inline, quick=inline)
            found: Sequence[BaseModel] = await exchange.converse(request, work)
        except Exception as error:
            exchange.fail(request, error)
            raise
        except asyncio.CancelledError:
            exchange.cancelled(request)
            raise
        return found


def _check_end(text: str) -> None:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    if value != _END:
        raise InvalidInput('expected binary messages, or {"event": "end"} after the last of them')


async def _send(socket: WebSocket, events: Sequence[BaseModel]) -> None:
    for event in events:
        await socket.send_text(event.model_dump_json())


async def _fail(socket: WebSocket, error: Exception) -> None:
    status = answer(error).status
    code = _POLICY if status < 500 else _LATER if status == 503 else _INTERNAL
    await _close(socket, StreamFailed(error=words(error)), code)


async def _close(socket: WebSocket, event: BaseModel, code: int) -> None:
    try:
        await _send(socket, [event])
        await socket.close(code)
    except (WebSocketDisconnect, RuntimeError):  # it is gone already
        return


def add_streams(routes: APIRouter, edge: Edge, pool: TaskPool, idle_timeout: float) -> None:
    """The path."""
    endpoint = StreamEndpoint(edge, pool, idle_timeout)

    @routes.websocket("/models/{model}/{task}/stream")
    async def stream(socket: WebSocket, model: str, task: str) -> Any:
        await endpoint(socket, model, task)
