"""GRPCInferenceService on the engine: what a call asks for and what it is answered."""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import grpc
from google.protobuf import json_format

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
)
from inference_service.core.requests import InferenceRequest, ModelRef
from inference_service.core.scheduling.entries import Priority
from inference_service.core.tensors import NonFinite
from inference_service.engine.interfaces import RequestRecord
from inference_service.protocols.oip.extensions import model_config, statistics
from inference_service.protocols.oip.infer import call as call_of
from inference_service.protocols.oip.infer import reply_to
from inference_service.protocols.oip.repository import check_admin, index_of
from inference_service.protocols.oip.routes import Server, model_metadata_of
from inference_service.protocols.oip.rpc import codec
from inference_service.protocols.oip.rpc.messages import DESCRIPTOR, SERVICE, message
from inference_service.web.body import PRIORITY_HEADER
from inference_service.web.endpoint import Edge, parse_version
from inference_service.web.errors import answer, outcome, words
from inference_service.web.health import Health

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

_Context = Any  # grpc.aio.ServicerContext, which has no types of its own


@dataclass(slots=True)
class _Course:
    """How far a call has come."""

    started: float
    model: str = ""
    version: str = ""
    outcome: str = "ok"
    queue: float | None = None
    compute: float | None = None
    rows: int = 0
    decode: float = 0.0
    encode: float = 0.0


class InferenceService:
    """One coroutine for each method of the service, with its messages."""

    def __init__(self, edge: Edge, health: Health, server: Server) -> None:
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
            "ModelInfer": self._infer,
            "ModelConfig": self._config,
            "ModelStatistics": self._statistics,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        handlers = {}
        for name, method in table.items():
            request, response = _types(name)
            handlers[name] = grpc.unary_unary_rpc_method_handler(
                _answering(method, response),
                request_deserializer=request.FromString,
                response_serializer=response.SerializeToString,
            )
        request, response = _types("ModelStreamInfer")
        handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=request.FromString,
            response_serializer=response.SerializeToString,
        )
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
        return {"models": [entry.model_dump(exclude_none=True) for entry in found]}

    async def _load(self, request: Any, context: _Context) -> dict[str, Any]:
        self._check_admin(context)
        if request.parameters:
            raise InvalidInput(f"parameter '{next(iter(request.parameters))}' is not supported")
        await self._server.control.load(request.model_name)
        return {}

    async def _unload(self, request: Any, context: _Context) -> dict[str, Any]:
        self._check_admin(context)
        await self._server.control.unload(request.model_name)
        return {}

    def _check_admin(self, context: _Context) -> None:
        authorization = _metadata(context).get("authorization", "")
        check_admin(authorization, self._server.control.token)

    async def _infer(self, request: Any, context: _Context) -> Any:
        """One inference; the record is made whatever becomes of it."""
        course = _Course(perf_counter())
        try:
            return await self._inferred(request, context, course)
        except asyncio.CancelledError:
            course.outcome = "cancelled"
            raise
        except Exception as error:
            course.outcome = outcome(error)
            if isinstance(error, Unavailable):
                self._edge.observer.rejected(course.model, error.reason)
            raise
        finally:
            self._edge.observer.finished(
                RequestRecord(
                    course.model, course.version, "grpc", course.outcome,
                    perf_counter() - course.started, course.queue, course.compute,
                    course.rows, course.decode, course.encode,
                )
            )  # fmt: skip

    async def _inferred(self, message_: Any, context: _Context, course: _Course) -> Any:
        edge, engine = self._edge, self._engine
        info = engine.describe(_ref(message_.model_name, message_.model_version))
        course.model, course.version = info.name, str(info.version)
        remaining = context.time_remaining()
        deadline = math.inf
        if remaining is not None and remaining < edge.request_timeout:
            deadline = engine.clock() + max(remaining, 0.0)
        refusal = engine.refusal(info.ref, deadline)
        if refusal is not None:
            raise refusal
        with edge.admission.permit(message_.ByteSize()):
            begun = perf_counter()
            decoded = codec.decode(message_)
            call = call_of(decoded, info, NonFinite.BARE)
            inputs = info.pipeline.preprocess(call.inputs)
            course.decode = perf_counter() - begun
            if call.timeout < math.inf:
                deadline = min(deadline, engine.clock() + min(call.timeout, edge.request_timeout))
            client, priority = self._caller(context)
            response = await engine.infer(
                InferenceRequest(
                    info.ref, inputs, call.outputs, deadline=deadline, client=client,
                    priority=call.priority or priority,
                )
            )  # fmt: skip
            course.queue, course.compute = response.timing.queue, response.timing.compute
            course.rows = response.rows
            begun = perf_counter()
            reply = reply_to(decoded, info, NonFinite.BARE)
            encoded = codec.encode(reply, info.pipeline.postprocess(response.outputs))
            course.encode = perf_counter() - begun
            return encoded

    def _caller(self, context: _Context) -> tuple[str, Priority]:
        metadata = _metadata(context)
        text = metadata.get(PRIORITY_HEADER.lower(), Priority.NORMAL)
        try:
            priority = Priority(text.lower())
        except ValueError:
            known = ", ".join(f"'{priority}'" for priority in Priority)
            raise InvalidInput(f"metadata x-priority: expected {known}, got '{text}'") from None
        named = metadata.get(self._edge.client_header.decode("latin-1"), "")
        return named or context.peer().rpartition(":")[0], priority

    async def _stream(self, requests: AsyncIterator[Any], context: _Context) -> AsyncIterator[Any]:
        """Inferences in a stream: worked on side by side, answered in order, failures as texts."""
        running: asyncio.Queue[asyncio.Task[Any] | None] = asyncio.Queue(_IN_STREAM)

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

    async def _in_stream(self, request: Any, context: _Context) -> Any:
        response = message("ModelStreamInferResponse")
        try:
            return response(infer_response=await self._infer(request, context))
        except Exception as error:
            failed = response(error_message=status_of(error)[1])
            failed.infer_response.id = request.id
            return failed


def status_of(error: Exception) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str], ...]]:
    """Code, text and trailing metadata for an error. One that nobody foresaw is logged."""
    reply = answer(error)
    text = words(error)
    retry = tuple((k, v) for k, v in reply.headers.items() if k == "retry-after")
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code, text, retry
    return grpc.StatusCode.INTERNAL, text, ()


def _answering(method: Any, response: Any) -> Any:
    async def answering(request: Any, context: _Context) -> Any:
        try:
            found = await method(request, context)
        except Exception as error:
            await context.abort(*status_of(error))
            raise
        return json_format.ParseDict(found, response()) if isinstance(found, dict) else found

    return answering


def _types(method: str) -> tuple[Any, Any]:
    described = DESCRIPTOR.methods_by_name[method]
    return message(described.input_type.name), message(described.output_type.name)


def _ref(name: str, version: str) -> ModelRef:
    return parse_version(version or None, name)


def _metadata(context: _Context) -> dict[str, str]:
    return {
        key: value if isinstance(value, str) else value.decode("latin-1")
        for key, value in context.invocation_metadata() or ()
    }
