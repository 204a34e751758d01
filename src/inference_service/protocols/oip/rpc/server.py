"""The gRPC server beside the HTTP one: the same engine, health (grpc.health.v1), reflection."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from inference_service.core.errors import Unavailable
from inference_service.protocols.oip.routes import ServerInfo
from inference_service.protocols.oip.rpc.messages import POOL, SERVICE
from inference_service.protocols.oip.rpc.receiving import Places, Receiving
from inference_service.protocols.oip.rpc.service import InferenceService
from inference_service.web.endpoint import Edge
from inference_service.web.health import Health

_REFRESH = 1.0  # seconds between looks at the health for its watchers
MOST_CALLS = 1_000
"""Calls of one connection at the same time."""
_IDLE_MS = 300_000
"""A connection without a call ends after this time; clients open another one when they need it."""
MOST_WATCHERS = 1_000
"""Calls that watch the health at the same time."""
_STATUS = health_pb2.HealthCheckResponse
_SERVICES = frozenset({"", SERVICE})


class GrpcServer:
    """Listens from `start` to `stop`."""

    def __init__(
        self,
        edge: Edge,
        health_: Health,
        server: ServerInfo,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        """``credentials``: None is without encryption."""
        self._edge = edge
        self._interceptors = interceptors
        self._credentials = credentials
        self._health = health_
        self._service = InferenceService(edge, health_, server)
        self._watching: asyncio.Task[None] | None = None

    async def start(self, address: str) -> int:
        """Listen; returns the port. Raises OSError where the address can't be had."""
        servicer = _Health(self._health)
        self._server = grpc.aio.server(
            interceptors=[*self._interceptors, self._receiving()],
            options=[
                ("grpc.max_receive_message_length", self._edge.max_body_bytes),
                ("grpc.max_concurrent_streams", MOST_CALLS),
                ("grpc.max_connection_idle_ms", _IDLE_MS),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
            ],
        )
        self._server.add_generic_rpc_handlers((self._service.handler(),))
        health_pb2_grpc.add_HealthServicer_to_server(servicer, self._server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server, pool=POOL)
        try:
            if self._credentials is None:
                port = int(self._server.add_insecure_port(address))
            else:
                port = int(self._server.add_secure_port(address, self._credentials))
        except RuntimeError as error:
            raise OSError(f"can't listen on {address}") from error
        await self._server.start()
        self._watching = asyncio.create_task(servicer.watch())
        return port

    def _receiving(self) -> Receiving:
        edge = self._edge
        most = edge.in_flight.limits.max_bytes // edge.max_body_bytes
        return Receiving(Places(most), edge.request_timeout)

    async def stop(self, grace: float) -> None:
        """Take no more calls and wait for those that run."""
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        await self._server.stop(grace)


class _Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc,unused-ignore]
    """Asked, it looks; for its watchers looks again and again.

    Anybody may watch, so there is a limit. (In grpc_health's own servicer a watcher that leaves
    takes the condition of all others with it: they are told of no change any more.)
    """

    def __init__(self, health_: Health) -> None:
        self._health = health_
        self._watchers = 0
        self._seen: Any = None  # the latest status that was looked at
        self._changed = asyncio.Event()

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The health as it is now."""
        if request.service not in _SERVICES:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return _STATUS(status=self._status())

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802
        """The health, and each change of it."""
        if self._watchers >= MOST_WATCHERS:
            told = f"{self._watchers} calls watch the health, which is the limit"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, told)
        self._watchers += 1
        try:
            last = None
            while True:
                seen = self._look()
                changed = self._changed  # it may change while this status is being sent
                status = seen if request.service in _SERVICES else _STATUS.SERVICE_UNKNOWN
                if status != last:
                    await context.write(_STATUS(status=status))
                    last = status
                await changed.wait()
        finally:
            self._watchers -= 1

    async def watch(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(_REFRESH)
            self._look()

    def _look(self) -> Any:
        """The status now; all watchers hear of it where it is another than before."""
        status = self._status()
        if status != self._seen:
            self._seen = status
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()
        return status

    def _status(self) -> Any:
        try:
            self._health.check()
        except Unavailable:
            return _STATUS.NOT_SERVING
        return _STATUS.SERVING
