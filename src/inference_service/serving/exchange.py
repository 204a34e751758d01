"""The one way of a request through the service, whatever its transport.

HTTP, gRPC, the messages of a WebSocket and tasks have the same duties in the same order, and each
is written here once:

    request = exchange.open(protocol, codec)   # it has arrived
    exchange.resolve(request, ref)             # its model, once; raises ModelNotFound, NotReady
    exchange.admit(request, head)              # clamp of the deadline, early refusal
    exchange.permit(request, size)             # its share of what may be in flight
    handle = exchange.begin(request, on_done)  # decode, submit, encode, record

`Exchange.begin` is in callbacks: no task and no future is made for a request whose payload and
answer are small. `Exchange.answer` is the coroutine on top, and `Exchange.converse` is for tasks,
which are coroutines with any number of inferences. Whatever fails before those is told to
`Exchange.fail`, and a request that its client has given up to `Exchange.cancelled`: so each request
ends exactly once, with one record.

Deadlines, one rule for all transports. A client that asks for a time gets that time, and at most
``request_timeout``, as a deadline: the scheduler keeps it or refuses. A client that asks for
nothing makes a best-effort request (``deadline`` inf): the scheduler drops it after the model's
default deadline, which ``request_timeout`` bounds, too; it neither reserves capacity nor is refused
because of a deadline that it never gave.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

from inference_service.core.decoding import Decoders, Decoding, Here
from inference_service.core.errors import DeadlineExceeded, Unavailable
from inference_service.core.in_flight import InFlight, Permit
from inference_service.core.requests import InferenceRequest, InferenceResponse, ModelRef, Timing
from inference_service.engine.awaiting import awaited
from inference_service.engine.interfaces import (
    AnsweredRequests,
    Engine,
    Observer,
    Ticket,
)
from inference_service.serving.codec import Call, Codec, Content, Head, encodes_off_loop
from inference_service.serving.request import Request
from inference_service.serving.tellers import Teller

_T = TypeVar("_T")
OnAnswer = Callable[[Content | Exception], None]
"""Is called with the answer, or with the error that the client is to be told."""

_NO_TIMING = Timing(0.0, 0.0, 0)

CANCELLED = "cancelled"
"""The outcome of a request whose client has left or has given it up."""


class Exchange:
    """The duties that all transports share. One for each service.

    ``request_timeout`` is the most seconds that a request may take, whatever it asks for.
    ``outcome_of`` gives an error its name in the metrics.
    """

    def __init__(
        self, engine: Engine, in_flight: InFlight, observer: Observer, request_timeout: float,
        outcome_of: Callable[[Exception], str], *, teller: Teller | None = None,
    ) -> None:  # fmt: skip
        self._engine = engine
        self.clock, self.soon = engine.clock, engine.soon  # see `Engine`
        self._in_flight = in_flight
        self._observer = observer
        self._request_timeout = request_timeout
        self._outcome_of = outcome_of
        self.decoders: Decoders = Here()
        """Where files are decoded that requests bring."""
        self._teller = teller

    def open(self, protocol: str, codec: Codec | None = None) -> Request:
        """A request has arrived. ``protocol`` is its name in the metrics."""
        return Request(protocol, codec, self._request_timeout)

    def resolve(self, request: Request, ref: ModelRef, client: str = "") -> None:
        """Find its model. Raises ModelNotFound or ModelNotReady."""
        model = request.model = self._engine.resolve(ref, client)
        info = model.info
        request.model_name = info.name
        request.version = str(info.version)

    def arrive(self, request: Request, head: Head) -> None:
        """Its head is there. `admit` does this for a transport that has not done it before."""
        request.head = head
        request.id = head.request_id
        if self._teller is not None:
            self._teller.begun(request)

    def admit(self, request: Request, head: Head) -> None:
        """Set its deadline, and refuse at once, before more is done, what can't be answered in
        time, where its model is known. Raises Overloaded."""
        if request.head is not head:
            self.arrive(request, head)
        if head.timeout is not None:
            request.limit = min(self._request_timeout, head.timeout)
            request.deadline = self._engine.clock() + request.limit
        if request.model is not None:
            self.check_load(request)

    def check_load(self, request: Request) -> None:
        """The early refusal, for a request whose model the body names. Raises Overloaded."""
        refusal = request.model.refusal(request.deadline)
        if refusal is not None:
            raise refusal

    def permit(self, request: Request, size: int) -> None:
        """Its permit for ``size`` bytes that are there. Raises Overloaded or ShuttingDown."""
        request.permit = self._in_flight.permit(size).__enter__()
        request.size = size

    def enter(self, request: Request, ref: ModelRef, client: str, size: int) -> None:
        """`resolve`, `admit` and a permit without an object, for requests that are `answered`
        together; its ``head`` is there. Raises what these raise: `resolve`, if it has no model."""
        model = request.model = self._engine.resolve(ref, client)
        info, timeout = model.info, request.head.timeout
        request.model_name, request.version = info.name, str(info.version)
        if timeout is not None:
            request.limit = min(self._request_timeout, timeout)
            request.deadline = self.clock() + request.limit
        refusal = model.refusal(request.deadline)
        if refusal is not None:
            raise refusal
        self._in_flight.enter(size)
        request.size, request.entered = size, True

    def leave(self, request: Request) -> None:
        """It isn't served here after all; no record is written."""
        self._in_flight.leave(1, request.size)
        request.entered = False

    def receive(self, request: Request, declared: int) -> Permit:
        """Its permit for a payload that is still to come: see `InFlight.receive`."""
        permit = request.permit = self._in_flight.receive(declared).__enter__()
        return permit

    def begin(self, request: Request, on_done: OnAnswer) -> "Flight":
        """Decode, submit, encode and record; then call ``on_done``, on the event loop.

        The request is resolved and admitted and holds its permit. ``on_done`` is called exactly
        once, perhaps before this returns, unless the flight is cancelled before. When it is called
        the record is written and the permit has been given back. It must not raise.
        """
        flight = Flight(self, request, on_done)
        flight.start()
        return flight

    async def answer(self, request: Request) -> Content:
        """`begin` for a transport with coroutines. Raises the error that the client is to be told.

        Cancelling it withdraws the request, which has not ended then: see `fail`, `cancelled`.
        """
        return await awaited(partial(self.begin, request), Flight.withdraw)

    async def converse(self, request: Request, work: Coroutine[Any, Any, _T]) -> _T:
        """Await ``work``, the whole of a task, within the time that the request may take.

        Raises DeadlineExceeded after that, and what ``work`` raises; the record is written then.
        When this is cancelled, so is ``work``, and the request has not ended.
        """
        left = request.limit - (perf_counter() - request.started)
        try:
            async with asyncio.timeout(left) as bound:
                result = await work
        except Exception as error:
            if bound.expired():
                late = DeadlineExceeded(f"the request was not answered within {request.limit:g} s")
                self.fail(request, late)
                raise late from None
            self.fail(request, error)
            raise
        self.end(request, "ok")
        return result

    def fail(self, request: Request, error: Exception) -> None:
        """It ends with this error; nothing happens where it has ended."""
        if request.outcome:
            return
        if isinstance(error, Unavailable):
            self._observer.rejected(request.model_name, error.reason)
        self.end(request, self._outcome_of(error))

    def cancelled(self, request: Request) -> None:
        """Its client has left or has given it up; nothing happens where it has ended."""
        if not request.outcome:
            self.end(request, CANCELLED)

    def end(self, request: Request, outcome: str) -> None:
        """Give the permit back and write the record."""
        request.outcome = outcome
        if request.permit is not None:
            request.permit.__exit__(None, None, None)
        elif request.entered:
            self._in_flight.leave(1, request.size)
        self._observer.finished(request.record(perf_counter()))
        if self._teller is not None:
            self._teller.ended(request)

    def answered(self, requests: Sequence[Request]) -> None:
        """They end with answers: `end` for several that have entered, of one model version and
        protocol. None of them is told of (see `Teller`) or traced."""
        now, size, first = perf_counter(), 0, requests[0]
        if len(requests) == 1:  # a record takes half as long as lists of one
            first.outcome = "ok"
            self._in_flight.leave(1, first.size)
            self._observer.finished(first.record(now))
            return
        timings = []
        for request in requests:
            request.outcome = "ok"
            size += request.size
            timings.append(request.timing or _NO_TIMING)
        self._in_flight.leave(len(requests), size)
        queues, computes, _ = zip(*timings, strict=True)
        answered = AnsweredRequests(
            first.model_name, first.version, first.protocol,
            [now - request.started for request in requests], queues, computes,
            [request.rows for request in requests], [request.decode for request in requests],
            [request.encode for request in requests],
        )  # fmt: skip
        self._observer.answered(answered)


class Flight:
    """A request between `Exchange.begin` and its answer."""

    __slots__ = ("_begun", "_call", "_decoding", "_exchange", "_on_done", "_request", "_ticket")

    def __init__(self, exchange: Exchange, request: Request, on_done: OnAnswer) -> None:
        self._exchange = exchange
        self._request = request
        self._on_done: OnAnswer | None = on_done
        self._ticket: Ticket | None = None
        self._decoding: Decoding | None = None

    def cancel(self) -> None:
        """The client has left: ``on_done`` is not called any more, and the record says so.

        Nothing happens where the request has ended.
        """
        self.withdraw()
        self._exchange.cancelled(self._request)

    def withdraw(self) -> None:
        """Take the request out of the queue, without an end and a record."""
        self._on_done = None
        if self._decoding is not None:
            self._decoding.cancel()
        if self._ticket is not None:
            self._ticket.cancel()
            self._ticket = None

    def start(self) -> None:
        """Decode, and go on."""
        request = self._request
        codec, info, payload = request.codec, request.model.info, request.payload
        if codec is None:
            raise TypeError("a request without a codec has no single answer: see `converse`")
        request.payload = None  # it need not wait in the queue
        self._begun = request.begun or perf_counter()
        try:
            if request.size >= codec.off_loop_from or (
                codec.heavy is not None and codec.heavy(payload, info)
            ):
                self._off_loop(self._submit, codec.decode, payload, info, request.head)
                return
            call = codec.decode(payload, info, request.head)
        except Exception as error:  # whatever happened, the client gets an answer
            self._fail(error)
            return
        self._submit(call)

    def _off_loop(
        self, go_on: Callable[[Any], None], function: Callable[..., Any], *arguments: Any
    ) -> None:
        """Run it in a thread, and go on with its result."""

        def done(future: asyncio.Future[Any]) -> None:
            if self._on_done is None or future.cancelled():
                return
            error = future.exception()
            if error is None:
                go_on(future.result())
            elif isinstance(error, Exception):
                self._fail(error)

        exchange = self._exchange
        seconds = min(self._request.deadline - exchange.clock(), self._request.limit)
        self._decoding = exchange.decoders.begin(seconds)
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(None, self._decoding.run, function, *arguments)
        work.add_done_callback(done)

    def _submit(self, call: Call) -> None:
        request, exchange = self._request, self._exchange
        model, head, deadline = request.model, request.head, request.deadline
        info = model.info
        try:
            inputs = info.transforms.preprocess(call.inputs)
            request.decode = perf_counter() - self._begun
            if call.timeout < math.inf:
                seconds = min(call.timeout, request.limit)
                deadline = min(deadline, exchange.clock() + seconds)
            inference = InferenceRequest(
                info.ref, inputs, call.outputs, "", deadline, head.client,
                call.priority or head.priority, request.trace,
            )  # fmt: skip
            self._call = call
            self._ticket = model.submit(inference, self._answered)
        except Exception as error:
            self._fail(error)

    def _answered(self, answer: InferenceResponse | Exception) -> None:
        if isinstance(answer, Exception):
            self._fail(answer)
            return
        self._ticket = None
        request = self._request
        request.timing, request.rows = answer.timing, answer.rows
        self._begun = perf_counter()
        try:
            outputs = request.model.info.transforms.postprocess(answer.outputs)
            if encodes_off_loop(outputs):
                self._off_loop(self._succeed, self._call.encode, outputs)
                return
            encoded = self._call.encode(outputs)
        except Exception as error:
            self._fail(error)
            return
        self._succeed(encoded)

    def _succeed(self, encoded: bytes | Content) -> None:
        request, on_done = self._request, self._on_done
        content = Content(encoded) if isinstance(encoded, bytes) else encoded
        request.encode = perf_counter() - self._begun
        self._exchange.end(request, "ok")
        if on_done is not None:
            self._on_done = None
            on_done(content)

    def _fail(self, error: Exception) -> None:
        on_done, self._on_done, self._ticket = self._on_done, None, None
        self._exchange.fail(self._request, error)
        if on_done is not None:
            on_done(error)
