"""The same inference asked over each transport, in process, of an engine that writes it down."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import httpx
import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

from inference_service.core.decoding import Here
from inference_service.core.errors import ModelNotFound, Overloaded
from inference_service.core.in_flight import InFlight, Limits
from inference_service.core.requests import InferenceRequest, InferenceResponse, ModelRef, Timing
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.tasks import Inference, Payload, Steps
from inference_service.core.tensors import DType, Signature, TensorSpec
from inference_service.engine.interfaces import ModelInfo, OnDone
from inference_service.processes.decoders import TaskPool
from inference_service.protocols.tasks import routes as tasks
from inference_service.protocols.tfserving import routes as tfserving
from inference_service.web import errors
from inference_service.web.endpoint import Edge
from tests.engine.puppets import Notebook

NOW = 1000.0
REQUEST_TIMEOUT = 60.0


class Sum(BaseModel):
    """What the task answers."""

    total: float


class Nothing(BaseModel):
    """A request says nothing besides its payload."""


class SumTask:
    """One inference for a payload, or for each message of a stream."""

    noun, summary, media, inline_below, quick_steps = "number", "Adds", ("audio/raw",), 1000, True
    parameters = stream_parameters = Nothing
    result = events = Sum

    def run(self, payload: Payload, parameters: Any) -> Steps:
        (outputs,) = yield [Inference({"x": np.ones((1, 2), np.float32)})]
        return Sum(total=float(outputs["y"].sum()))

    def stream(self, parameters: Any) -> "SumTask":
        return self

    def push(self, data: bytes) -> Steps:
        (outputs,) = yield [Inference({"x": np.ones((1, 2), np.float32)})]
        return [Sum(total=float(outputs["y"].sum()))]

    def finish(self) -> Steps:
        return []
        yield


class Asked(NamedTuple):
    """What the engine saw of a request: the times are deadlines, None for best effort."""

    refusal_deadline: float
    deadline: float
    requests_in_flight: int


class StubEngine:
    """An `Engine` and the `ModelHandle` of its one model; it answers at once, or never."""

    def __init__(self) -> None:
        x, y = (TensorSpec(name, DType.FP32, (None, 2)) for name in "xy")
        self.info = ModelInfo(
            "m", 1, Signature((x,), (y,)), BatchPolicy(4), tasks={"add": SumTask()}
        )
        self.in_flight = InFlight(Limits(10, 2**30))
        self.notebook = Notebook()
        self.asked: list[Asked] = []
        self.resolved = 0
        self.withdrawn = 0
        self.refuses: Overloaded | None = None
        self.answers = True
        self._refusal_deadline = 0.0

    def resolve(self, model: ModelRef, client: str = "") -> "StubEngine":
        if model.name != "m":
            raise ModelNotFound(f"unknown model '{model.name}'", model.name)
        self.resolved += 1
        return self

    def describe(self, model: ModelRef) -> ModelInfo:
        return self.info

    def models(self) -> Sequence[ModelInfo]:
        return [self.info]

    def clock(self) -> float:
        return NOW

    def soon(self, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(callback)

    def refusal(self, deadline: float) -> Overloaded | None:
        self._refusal_deadline = deadline
        return self.refuses

    def submit(self, request: InferenceRequest, on_done: OnDone) -> "StubEngine":
        in_flight = self.in_flight.requests
        self.asked.append(Asked(self._refusal_deadline, request.deadline, in_flight))
        if self.answers:
            answer = InferenceResponse(
                self.info.ref, {"y": request.inputs["x"]}, Timing(0.1, 0.2, 3), 1
            )
            asyncio.get_running_loop().call_soon(on_done, answer)
        return self

    def cancel(self) -> None:
        self.withdrawn += 1

    def edge(self) -> Edge:
        engine: Any = self
        return Edge(engine, self.in_flight, self.notebook, 2**24, REQUEST_TIMEOUT)

    def app(self) -> FastAPI:
        app = FastAPI()
        errors.install(app)
        app.include_router(tfserving.router(self.edge()))
        app.include_router(tasks.router(self.edge(), TaskPool(1, Here()), 60))
        return app


def _headers(asked: float | None) -> dict[str, str]:
    return {} if asked is None else {"X-Request-Timeout": str(asked)}


async def post(engine: StubEngine, path: str, asked: float | None, **body: Any) -> bool:
    """Ask over HTTP; whether there was an answer."""
    transport = httpx.ASGITransport(engine.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.post(path, headers=_headers(asked), timeout=None, **body)
    return answer.status_code == 200


async def over_http(engine: StubEngine, asked: float | None) -> bool:
    return await post(engine, "/v1/models/m:predict", asked, json={"instances": [[1, 1]]})


async def over_http_by_a_task(engine: StubEngine, asked: float | None) -> bool:
    return await post(engine, "/models/m/add", asked, content=b"1")


async def over_websocket(engine: StubEngine, asked: float | None) -> bool:
    headers = [(name.lower().encode(), value.encode()) for name, value in _headers(asked).items()]
    received: list[Any] = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "bytes": b"1"},
    ]
    sent: list[Any] = []
    never = asyncio.Event()

    async def receive() -> Any:
        if not received and sent[-1]["type"] != "websocket.close":
            received.append({"type": "websocket.disconnect", "code": 1000})
        if not received:
            await never.wait()
        return received.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "websocket", "path": "/models/m/add/stream", "headers": headers,
        "query_string": b"", "client": ("test", 1), "subprotocols": [], "state": {},
        "extensions": {"websocket.http.response": {}},
    }  # fmt: skip
    await engine.app()(scope, receive, send)
    events = [message["text"] for message in sent if message["type"] == "websocket.send"]
    return events == ['{"total":2.0}']


class Context:
    """A call of gRPC, as the service sees it."""

    def __init__(self, asked: float | None) -> None:
        self._asked = asked

    def time_remaining(self) -> float | None:
        return self._asked

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return ()

    def peer(self) -> str:
        return "ipv4:127.0.0.1:5"

    async def abort(self, *_: Any) -> None:
        raise ConnectionAbortedError


class Details(NamedTuple):
    """Which method is called."""

    method: str
    invocation_metadata: Sequence[tuple[str, str]] = ()


def rpc(engine: StubEngine, method: str) -> Any:
    """A method's handler, as gRPC finds it."""
    from inference_service.protocols.oip.rpc.messages import SERVICE
    from inference_service.protocols.oip.rpc.service import InferenceService

    unused: Any = None
    service = InferenceService(engine.edge(), unused, unused)
    details: Any = Details(f"/{SERVICE}/{method}")
    return service.handler().service(details)


def infer_message(rows: int = 1) -> bytes:
    """A ModelInferRequest with so many rows."""
    from inference_service.protocols.oip.rpc.messages import message

    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, 2]}
    raw = np.ones((rows, 2), np.float32).tobytes()
    made = message("ModelInferRequest")(model_name="m", inputs=[tensor], raw_input_contents=[raw])
    return bytes(made.SerializeToString())


async def over_grpc(engine: StubEngine, asked: float | None) -> bool:
    try:
        answer = await rpc(engine, "ModelInfer").unary_unary(infer_message(), Context(asked))
    except ConnectionAbortedError:
        return False
    return isinstance(answer, bytes)


async def over_a_grpc_stream(engine: StubEngine, asked: float | None) -> bool:
    from inference_service.protocols.oip.rpc.messages import message

    async def requests() -> Any:
        yield infer_message()

    handler = rpc(engine, "ModelStreamInfer").stream_stream
    answers = [answer async for answer in handler(requests(), Context(asked))]
    return [message("ModelStreamInferResponse").FromString(a).error_message for a in answers] == [
        ""
    ]


TRANSPORTS = [
    over_http, over_http_by_a_task, over_websocket, over_grpc, over_a_grpc_stream,
]  # fmt: skip
