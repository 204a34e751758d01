"""GRPCInferenceService on the engine: what a call asks for and what it is answered."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Mapping
from time import perf_counter
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from inference_service.core.errors import (
    BodyTimeout,
    DeadlineExceeded,
    Forbidden,
    InferenceServiceError,
    InvalidInput,
    NotFound,
    QuotaExceeded,
    TooLarge,
    Unauthorised,
    Unavailable,
    clipped,
)
from inference_service.core.requests import ModelRef
from inference_service.core.scheduling.entries import Priority
from inference_service.core.tensors import NonFinite, Tensors
from inference_service.engine.interfaces import ModelInfo
from inference_service.protocols.oip import absent
from inference_service.protocols.oip.extensions import model_config, statistics
from inference_service.protocols.oip.infer import call as call_of
from inference_service.protocols.oip.infer import writer_of
from inference_service.protocols.oip.repository import check_admin, check_only_force, index_of
from inference_service.protocols.oip.routes import ServerInfo, model_metadata_of
from inference_service.protocols.oip.rpc import codec
from inference_service.protocols.oip.rpc.caller import client_of
from inference_service.protocols.oip.rpc.messages import DESCRIPTOR, SERVICE, message
from inference_service.serving.codec import DECODE_OFF_LOOP_FROM, Call, Codec, Head
from inference_service.serving.request import Request
from inference_service.serving.request_ids import HEADER as REQUEST_ID_HEADER
from inference_service.serving.request_ids import read_id
from inference_service.web.body import LONGEST_TRACE_HEADER, PRIORITY_HEADER, TRACE_HEADERS
from inference_service.web.endpoint import Edge
from inference_service.web.errors import answer, as_told, words
from inference_service.web.health import Health
from inference_service.web.routing import parse_version

_CODES: tuple[tuple[type[InferenceServiceError], grpc.StatusCode], ...] = (
    (InvalidInput, grpc.StatusCode.INVALID_ARGUMENT),
    (Unauthorised, grpc.StatusCode.UNAUTHENTICATED),
    (Forbidden, grpc.StatusCode.PERMISSION_DENIED),
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (TooLarge, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (QuotaExceeded, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Unavailable, grpc.StatusCode.UNAVAILABLE),
    (BodyTimeout, grpc.StatusCode.DEADLINE_EXCEEDED),
    (DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
)
_IN_STREAM = 64
"""Requests of one stream that are worked on at the same time; answers keep their order."""

_LARGEST_QUESTION = 64 * 1024
"""Bytes of a message without tensors. It is parsed in the event loop."""

_StreamResponse = message("ModelStreamInferResponse")
_Context = Any  # grpc.aio.ServicerContext, which has no types of its own


class InferenceService:
    """One coroutine for each method of the service, with its messages."""

    def __init__(self, edge: Edge, health: Health, server: ServerInfo) -> None:
        self._edge = edge
        self._engine = edge.engine
        self._health = health
        self._server = server

    def handler(self) -> grpc.GenericRpcHandler:
        """All methods, for `grpc.aio.Server.add_generic_rpc_handlers`."""
        table = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._config,
            "ModelStatistics": self._statistics,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        handlers: dict[str, Any] = {}
        for name, method in table.items():
            request, response = _types(name)
            handlers[name] = grpc.unary_unary_rpc_method_handler(
                _answering(_reading(method, request), response),
                response_serializer=response.SerializeToString,
            )
        for name, words_ in absent.METHODS.items():
            handlers[name] = grpc.unary_unary_rpc_method_handler(_refusing(words_))
        # Bytes in and out: large messages are parsed and written in threads (`_read`, `Codec`).
        handlers["ModelInfer"] = grpc.unary_unary_rpc_method_handler(_answering(self._infer))
        handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(self._stream)
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    async def _server_live(self, _: Any, __: _Context) -> dict[str, Any]:
        return {"live": True}

    async def _server_ready(self, _: Any, __: _Context) -> dict[str, Any]:
        try:
            self._health.check()
        except Unavailable:
            return {"ready": False}
        return {"ready": True}

    async def _model_ready(self, request: Any, _: _Context) -> dict[str, Any]:
        try:
            self._engine.describe(_ref(request.name, request.version))
        except (NotFound, Unavailable):
            return {"ready": False}
        return {"ready": True}

    async def _server_metadata(self, _: Any, __: _Context) -> dict[str, Any]:
        server = self._server
        return {
            "name": server.name, "version": server.version, "extensions": server.extensions
        }  # fmt: skip

    async def _model_metadata(self, request: Any, _: _Context) -> dict[str, Any]:
        info = self._engine.describe(_ref(request.name, request.version))
        # The message of the protocol has no parameters.
        return model_metadata_of(self._engine, info).model_dump(exclude={"parameters"})

    async def _config(self, request: Any, _: _Context) -> dict[str, Any]:
        info = self._engine.describe(_ref(request.name, request.version))
        return {"config": model_config(info)}

    async def _statistics(self, request: Any, _: _Context) -> dict[str, Any]:
        engine = self._engine
        infos = engine.models()
        if request.version:
            infos = [engine.describe(_ref(request.name, request.version))]
        elif request.name:
            engine.describe(ModelRef(request.name))
            infos = [info for info in infos if info.name == request.name]
        return statistics(infos, self._server.statistics).model_dump()

    async def _index(self, request: Any, _: _Context) -> dict[str, Any]:
        names = await self._server.control.names()
        found = index_of(self._engine, names, ready_only=request.ready)
        shown = {"name", "version", "state", "reason"}
        return {"models": [entry.model_dump(exclude_none=True, include=shown) for entry in found]}

    async def _load(self, request: Any, context: _Context) -> dict[str, Any]:
        self._check_admin(context)
        check_only_force(request.parameters, request.model_name)
        force = "force" in request.parameters and request.parameters["force"].bool_param
        await self._server.control.load(request.model_name, force)
        return {}

    async def _unload(self, request: Any, context: _Context) -> dict[str, Any]:
        self._check_admin(context)
        await self._server.control.unload(request.model_name)
        return {}

    def _check_admin(self, context: _Context) -> None:
        authorization = _metadata(context).get("authorization", "")
        check_admin(authorization, self._server.control)

    async def _infer(self, data: bytes, context: _Context) -> bytes:
        """One inference; ``data`` is a ModelInferRequest, what is returned a ModelInferResponse."""
        return await self._inferred(data, context, _CODEC, alone=True)

    async def _inferred(
        self, data: bytes, context: _Context, codec_: Codec, *, alone: bool = False
    ) -> bytes:
        """``alone``: it is the only one of its call, whose metadata tell of it."""
        exchange = self._edge.exchange
        request = exchange.open("grpc", codec_)
        try:
            metadata = _metadata(context)
            priority = _priority(metadata)
            head = self._head(context, metadata, priority or Priority.NORMAL)
            exchange.arrive(request, head)
            if alone and (told := _told(request)):
                await context.send_initial_metadata(told)
            if priority is None:
                raise _unknown_priority(metadata)  # noqa: TRY301
            exchange.permit(request, len(data))
            request.begun = perf_counter()
            sent = await self._read(data, head.timeout)
            request.payload = sent.request
            exchange.resolve(request, _ref(sent.model, sent.version), head.client)
            exchange.admit(request, head)
            del sent, data  # they need not wait in the queue
            return (await exchange.answer(request)).body
        except asyncio.CancelledError:
            exchange.cancelled(request)
            raise
        except Exception as error:
            exchange.fail(request, error)
            raise

    async def _read(self, data: bytes, left: float | None) -> codec.Sent:
        """The request, read in a thread or another process where it is large."""
        if len(data) < DECODE_OFF_LOOP_FROM:
            return codec.read(data)
        if not codec.takes_long(data):
            return await asyncio.to_thread(codec.read, data)
        seconds = min(math.inf if left is None else left, self._edge.request_timeout)
        decoding = self._edge.exchange.decoders.begin(seconds)
        try:
            return await asyncio.to_thread(decoding.run, codec.read_elsewhere, data)
        except asyncio.CancelledError:
            decoding.cancel()
            raise

    def _head(self, context: _Context, metadata: Mapping[str, str], priority: Priority) -> Head:
        """What the call says beside its message. A client that sets no deadline asks for none."""
        named = metadata.get(self._edge.client_header.decode("latin-1"), "")
        return Head(
            timeout=context.time_remaining(),
            priority=priority,
            non_finite=NonFinite.BARE,
            client=named or client_of(context),
            request_id=read_id(metadata.get(REQUEST_ID_HEADER.lower(), "").encode()),
            trace={
                name: value.encode()
                for name in TRACE_HEADERS
                if (value := metadata.get(name.decode(), "")) and len(value) <= LONGEST_TRACE_HEADER
            } or None,
        )  # fmt: skip

    async def _stream(
        self, requests: AsyncIterator[bytes], context: _Context
    ) -> AsyncIterator[bytes]:
        """Inferences in a stream: worked on side by side, answered in order, failures as texts."""
        running: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue(_IN_STREAM)

        async def read() -> None:
            try:
                async for request in requests:
                    await running.put(asyncio.create_task(self._in_stream(request, context)))
            finally:
                await running.put(None)

        reading = asyncio.create_task(read())
        try:
            while (task := await running.get()) is not None:
                yield await task
        finally:
            reading.cancel()
            while not running.empty():
                left = running.get_nowait()
                if left is not None:
                    left.cancel()

    async def _in_stream(self, data: bytes, context: _Context) -> bytes:
        try:
            return await self._inferred(data, context, _STREAM_CODEC)
        except Exception as error:
            failed = _StreamResponse(error_message=status_of(error)[1])
            _say_final(failed)
            if len(data) < DECODE_OFF_LOOP_FROM:
                with contextlib.suppress(InvalidInput):
                    request, told = codec.read(data).request, failed.infer_response
                    told.id, told.model_name = request.id, request.model_name
                    told.model_version = request.model_version
            return bytes(failed.SerializeToString())


def _decode(request: Any, info: ModelInfo, head: Head) -> Call:
    """A ModelInferRequest; it is answered with a ModelInferResponse."""
    decoded = codec.decode(request)
    writer = writer_of(decoded, info, head.non_finite)

    def encode(outputs: Tensors) -> bytes:
        return bytes(codec.encode(writer, outputs).SerializeToString())

    return call_of(decoded, info, encode)


def _say_final(answer: Any) -> None:
    """Each request of a stream has one answer; Triton's clients may wait until it is said."""
    answer.infer_response.parameters["triton_final_response"].bool_param = True


def _decode_in_stream(request: Any, info: ModelInfo, head: Head) -> Call:
    """The same, answered with a ModelStreamInferResponse."""
    decoded = codec.decode(request)
    writer = writer_of(decoded, info, head.non_finite)

    def encode(outputs: Tensors) -> bytes:
        answer = _StreamResponse(infer_response=codec.encode(writer, outputs))
        _say_final(answer)
        return bytes(answer.SerializeToString())

    return call_of(decoded, info, encode)


_CODEC, _STREAM_CODEC = Codec("grpc", _decode), Codec("grpc", _decode_in_stream)


def status_of(error: Exception) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str], ...]]:
    """Code, text and trailing metadata for an error. An unexpected one is logged."""
    error = as_told(error)
    reply = answer(error)
    text = words(error)
    retry = tuple((k, v) for k, v in reply.headers.items() if k == "retry-after")
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code, text, retry
    return grpc.StatusCode.INTERNAL, text, ()


def _answering(method: Any, response: Any = None) -> Any:
    async def answering(request: Any, context: _Context) -> Any:
        try:
            found = await method(request, context)
            return json_format.ParseDict(found, response()) if isinstance(found, dict) else found
        except Exception as error:
            failed = status_of(error)
        # gRPC keeps the error of `abort` for ever, with the frames that it went through and the
        # error in whose handling it was raised: none of them may know the message.
        del request
        await context.abort(*failed)
        return None

    return answering


def _refusing(words_: str) -> Any:
    async def refuse(data: bytes, context: _Context) -> None:
        del data  # see `_answering`
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, words_)

    return refuse


def _reading(method: Any, kind: Any) -> Any:
    async def read(data: bytes, context: _Context) -> Any:
        if len(data) > _LARGEST_QUESTION:
            raise TooLarge(f"the message has {len(data)} bytes, the limit is {_LARGEST_QUESTION}")
        try:
            request = kind.FromString(data)
        except DecodeError:
            raise InvalidInput(f"the message is not a valid {kind.DESCRIPTOR.name}") from None
        return await method(request, context)

    return read


def _types(method: str) -> tuple[Any, Any]:
    described = DESCRIPTOR.methods_by_name[method]
    return message(described.input_type.name), message(described.output_type.name)


def _ref(name: str, version: str) -> ModelRef:
    return parse_version(version or None, name)


def _priority(metadata: Mapping[str, str]) -> Priority | None:
    """The priority that is asked for; None: there is no such one."""
    try:
        return Priority(metadata.get(PRIORITY_HEADER.lower(), Priority.NORMAL).lower())
    except ValueError:
        return None


def _unknown_priority(metadata: Mapping[str, str]) -> InvalidInput:
    known = ", ".join(f"'{one}'" for one in Priority)
    given = clipped(metadata[PRIORITY_HEADER.lower()])
    return InvalidInput(f"metadata x-priority: expected {known}, got '{given}'")


def _told(request: Request) -> tuple[tuple[str, str], ...]:
    """What the metadata of an answer tell: its request's id, and its place in a trace."""
    told = [(REQUEST_ID_HEADER.lower(), request.id)] if request.id else []
    if request.trace is not None:
        told += [(name.decode(), text.decode()) for name, text in request.trace.answer_headers]
    return tuple(told)


def _metadata(context: _Context) -> dict[str, str]:
    return {
        key: value if isinstance(value, str) else value.decode("latin-1")
        for key, value in context.invocation_metadata() or ()
    }
