"""The service in this process, as `serve` puts it together, and a client of both its ports."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx

from inference_service.core.lifecycle import State
from inference_service.protocols.oip.rpc.messages import SERVICE, message
from inference_service.service import Service
from inference_service.settings import load_settings
from tests.conformance.forms import Answered, Form, Http

TIMEOUT = 60.0
"""Seconds that a request of the suite may take, on a machine that is busy with others, too."""

_LOOK = 0.2  # seconds between two looks at what is being loaded

_CLIENTS_FAULT = {
    grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}  # fmt: skip


@dataclass(frozen=True)
class Refused:
    """No answer: the client's fault (4xx) or ours (5xx, a time limit, a broken connection)."""

    words: str
    status: str
    ours: bool


@dataclass(frozen=True)
class Client:
    """Asks the running service."""

    service: Service
    http: httpx.AsyncClient
    infer: Any

    async def ask(
        self, form: Form, model: str, inputs: Mapping[str, Any], expected: Mapping[str, Any]
    ) -> dict[str, Any] | Refused | None:
        """The answer's arrays; None where the form can't express the request."""
        request = form.write(model, inputs)
        if request is None:
            return None
        try:
            async with asyncio.timeout(TIMEOUT):
                if isinstance(request, Http):
                    return await self._post(form, request, expected)
                return form.read(await self.infer(request), expected)
        except grpc.aio.AioRpcError as error:
            ours = error.code() not in _CLIENTS_FAULT
            return Refused(error.details() or "", error.code().name, ours)
        except TimeoutError:
            return Refused(f"no answer within {TIMEOUT:.0f} s", "hung", ours=True)
        except (ValueError, KeyError, TypeError) as error:
            return Refused(
                f"can't be read: {type(error).__name__}: {error}", "unreadable", ours=True
            )

    async def _post(
        self, form: Form, request: Http, expected: Mapping[str, Any]
    ) -> dict[str, Any] | Refused:
        response = await self.http.post(request.path, content=request.body, headers=request.headers)
        if response.status_code != 200:
            try:
                words = str(response.json()["error"])
            except (ValueError, KeyError):
                return Refused(response.text[:200], f"{response.status_code}", ours=True)
            return Refused(words, f"{response.status_code}", response.status_code >= 500)
        length = response.headers.get("inference-header-content-length")
        return form.read(Answered(response.content, int(length) if length else None), expected)

    def state(self, model: str) -> tuple[State, str]:
        """The state of a model's only version, and what is wrong with it."""
        for status in self.service.engine.statuses():
            if status.name == model:
                return status.state, status.error
        return State.FAILED, "the repository doesn't hold it"

    async def executions(self, model: str) -> int:
        """Runs of ONNX Runtime that there were for requests so far."""
        response = await self.http.get(f"/v2/models/{model}/stats")
        return int(json.loads(response.content)["model_stats"][0]["execution_count"])


Progress = Callable[[Sequence[str]], None]


@asynccontextmanager
async def serving(folder: Path, progress: Progress) -> AsyncIterator[Client]:
    """Serve a model repository; all its models are ready, or have failed, when it is entered.

    ``progress`` is told again and again which models are still to be loaded.
    """
    settings = load_settings(
        models=folder,
        grpc={"port": 0},
        batching={"default_deadline": TIMEOUT},
        shutdown={"lame_duck": 0, "grace_period": 2},
    )
    service = Service(settings)
    async with service.lifespan():
        loading = asyncio.create_task(service.loaded())
        while not loading.done():
            statuses = service.engine.statuses()
            progress([s.name for s in statuses if s.state in {State.LOADING, State.WARMING}])
            await asyncio.wait({loading}, timeout=_LOOK)
        await loading
        transport = httpx.ASGITransport(service.asgi, raise_app_exceptions=False)
        address = f"127.0.0.1:{service.grpc_port}"
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://suite", timeout=60) as http,
            grpc.aio.insecure_channel(address) as channel,
        ):
            infer = channel.unary_unary(
                f"/{SERVICE}/ModelInfer",
                request_serializer=message("ModelInferRequest").SerializeToString,
                response_deserializer=message("ModelInferResponse").FromString,
            )
            yield Client(service, http, infer)
