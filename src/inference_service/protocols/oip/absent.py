"""Triton's extensions that aren't here: clients that ask for them are told so.

Source: triton-inference-server/server, docs/protocol: shared memory, trace, logging.
"""

from collections.abc import Awaitable, Callable, Mapping

from fastapi import APIRouter, Response

from inference_service.core.errors import NotFound
from inference_service.protocols.oip.parts import NO_SHARED_MEMORY

_TRACES = "trace settings are not supported: spans are exported by OpenTelemetry"
_LOGS = "log settings are not supported over the network: they are settings of the service"

METHODS: Mapping[str, str] = {
    "SystemSharedMemoryStatus": NO_SHARED_MEMORY,
    "SystemSharedMemoryRegister": NO_SHARED_MEMORY,
    "SystemSharedMemoryUnregister": NO_SHARED_MEMORY,
    "CudaSharedMemoryStatus": NO_SHARED_MEMORY,
    "CudaSharedMemoryRegister": NO_SHARED_MEMORY,
    "CudaSharedMemoryUnregister": NO_SHARED_MEMORY,
    "TraceSetting": _TRACES,
    "LogSettings": _LOGS,
}
"""Of gRPC, with what is answered."""

_PATHS: Mapping[str, str] = {
    "/v2/systemsharedmemory/{rest:path}": NO_SHARED_MEMORY,
    "/v2/cudasharedmemory/{rest:path}": NO_SHARED_MEMORY,
    "/v2/trace/setting": _TRACES,
    "/v2/models/{model}/trace/setting": _TRACES,
    "/v2/logging": _LOGS,
}


def add_absent(routes: APIRouter) -> None:
    """The paths of these extensions: 404 in words."""
    for path, words in _PATHS.items():
        routes.add_api_route(
            path, _refusing(words), methods=["GET", "POST"],
            response_class=Response, include_in_schema=False,
        )  # fmt: skip


def _refusing(words: str) -> Callable[[], Awaitable[Response]]:
    async def refuse() -> Response:
        raise NotFound(words)

    return refuse
