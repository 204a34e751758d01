"""All transports have the same duties: the same request over each of them, compared."""

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from inference_service.core.errors import InvalidInput, Overloaded
from inference_service.core.requests import ModelRef
from inference_service.serving.codec import Call, Codec, Content, Head
from inference_service.serving.exchange import Exchange
from inference_service.serving.request import Request
from tests.serving.transports import (
    NOW,
    REQUEST_TIMEOUT,
    TRANSPORTS,
    Asked,
    Context,
    StubEngine,
    infer_message,
    over_http,
    over_http_by_a_task,
    over_websocket,
    rpc,
)
from tests.virtual_time import run_virtual

Ask = Callable[[StubEngine, float | None], Awaitable[bool]]
every_transport = pytest.mark.parametrize("ask", TRANSPORTS, ids=lambda ask: ask.__name__)


@every_transport
@pytest.mark.parametrize(
    ("asked", "deadline"),
    [(None, math.inf), (5.0, NOW + 5), (120.0, NOW + REQUEST_TIMEOUT)],
    ids=["nothing", "5 s", "120 s"],
)
async def test_each_transport_sets_the_same_deadline(
    ask: Ask, asked: float | None, deadline: float
) -> None:
    """It is judged early with it, resolved once, and holds one permit; one record is written."""
    engine = StubEngine()
    assert await ask(engine, asked)
    assert engine.asked == [Asked(deadline, deadline, requests_in_flight=1)]
    assert engine.resolved == 1
    assert (engine.in_flight.requests, engine.in_flight.bytes) == (0, 0)
    (record,) = engine.notebook.requests
    told = (record.model, record.outcome, record.rows, record.queue_seconds, record.compute_seconds)
    assert told == ("m", "ok", 1, 0.1, 0.2)


@every_transport
async def test_each_transport_is_refused_early(ask: Ask) -> None:
    engine = StubEngine()
    engine.refuses = Overloaded("full", reason="overload")
    assert not await ask(engine, None)
    assert engine.asked == [], "nothing was decoded and submitted"
    assert engine.notebook.refusals == [("m", "overload")]
    assert [record.outcome for record in engine.notebook.requests] == ["rejected"]
    assert engine.in_flight.requests == 0


@every_transport
async def test_each_transport_counts_against_the_limit_of_requests(ask: Ask) -> None:
    engine = StubEngine()
    with engine.in_flight.permit(0):
        engine.in_flight.requests = 10
        assert not await ask(engine, None)
        engine.in_flight.requests = 1
    assert [reason for _, reason in engine.notebook.refusals] == ["in_flight_requests"]


@pytest.mark.parametrize("ask", [over_http_by_a_task, over_websocket], ids=lambda a: a.__name__)
@pytest.mark.parametrize(("asked", "most"), [(None, REQUEST_TIMEOUT), (5.0, 5.0)])
def test_a_task_ends_at_its_limit(ask: Ask, asked: float | None, most: float) -> None:
    engine = StubEngine()
    engine.answers = False

    async def scenario() -> float:
        assert not await ask(engine, asked)
        return asyncio.get_running_loop().time()

    assert run_virtual(scenario()) == pytest.approx(most, abs=1)
    assert [record.outcome for record in engine.notebook.requests] == ["deadline_exceeded"]
    assert engine.withdrawn == 1
    assert engine.in_flight.requests == 0


@pytest.mark.parametrize(("rows", "on_the_loop"), [(1, True), (40_000, False)])
async def test_large_grpc_messages_are_decoded_and_written_in_threads(
    rows: int, on_the_loop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inference_service.protocols.oip.rpc import codec
    from inference_service.protocols.oip.rpc.messages import message

    threads: list[bool] = []

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any) -> Any:
            threads.append(threading.current_thread() is threading.main_thread())
            return function(*arguments)

        return noted

    parser = message("ModelInferRequest")
    parsing = type("Parsing", (), {"FromString": staticmethod(noting(parser.FromString))})
    monkeypatch.setattr(codec, "_Request", parsing)
    monkeypatch.setattr(codec, "decode", noting(codec.decode))
    monkeypatch.setattr(codec, "encode", noting(codec.encode))
    answer = await rpc(StubEngine(), "ModelInfer").unary_unary(infer_message(rows), Context(None))
    assert len(answer) > rows * 8
    assert threads == [on_the_loop] * 3


async def test_a_message_that_is_not_protobuf_is_refused() -> None:
    engine = StubEngine()
    with pytest.raises(ConnectionAbortedError):
        await rpc(engine, "ModelInfer").unary_unary(b"\xff\xff", Context(None))
    assert [record.outcome for record in engine.notebook.requests] == ["invalid_input"]


class Callbacks:
    """An exchange that is driven by hand, without a coroutine."""

    def __init__(self, decode: Callable[..., Call] | None = None) -> None:
        self.engine = StubEngine()
        self.answers: list[Content | Exception] = []
        self.exchange: Exchange = self.engine.edge().exchange
        self.codec = Codec("test", decode or self.decode)

    def decode(self, payload: Any, *_: Any) -> Call:
        return Call({"x": np.ones((1, 2), np.float32)}, lambda outputs: b"answer")

    def request(self) -> Request:
        request = self.exchange.open("test", self.codec)
        self.exchange.resolve(request, ModelRef("m"))
        self.exchange.admit(request, Head())
        self.exchange.permit(request, 7)
        return request


async def test_callbacks_answer_without_a_task_and_record_first() -> None:
    stage = Callbacks()
    request = stage.request()

    def done(answer: Content | Exception) -> None:
        assert [record.outcome for record in stage.engine.notebook.requests] == ["ok"]
        assert stage.engine.in_flight.requests == 0
        stage.answers.append(answer)

    before = asyncio.all_tasks()
    handle = stage.exchange.begin(request, done)
    assert stage.answers == []
    await asyncio.sleep(0)
    assert stage.answers == [Content(b"answer")]
    assert asyncio.all_tasks() == before
    handle.cancel()
    assert len(stage.engine.notebook.requests) == 1, "it has ended already"


async def test_a_cancelled_flight_is_withdrawn_and_recorded_once() -> None:
    stage = Callbacks()
    stage.engine.answers = False
    handle = stage.exchange.begin(stage.request(), stage.answers.append)
    handle.cancel()
    handle.cancel()
    await asyncio.sleep(0)
    assert stage.answers == []
    assert stage.engine.withdrawn == 1
    assert [record.outcome for record in stage.engine.notebook.requests] == ["cancelled"]
    assert (stage.engine.in_flight.requests, stage.engine.in_flight.bytes) == (0, 0)


async def test_what_can_not_be_decoded_is_told_at_once() -> None:
    def broken(*_: Any) -> Call:
        raise InvalidInput("no number", ("x",))

    stage = Callbacks(broken)
    stage.exchange.begin(stage.request(), stage.answers.append)
    (error,) = stage.answers
    assert str(error) == "x: no number"
    assert [record.outcome for record in stage.engine.notebook.requests] == ["invalid_input"]


async def test_over_http_an_answer_tells_where_its_time_went() -> None:
    engine = StubEngine()
    assert await over_http(engine, None)
    (record,) = engine.notebook.requests
    assert record.seconds >= record.decode_seconds > 0
