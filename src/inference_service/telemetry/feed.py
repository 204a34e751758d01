"""The stats feed: one sampler for all viewers, which sleeps while there is none."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping

import orjson

from inference_service.core.errors import Overloaded, ShuttingDown
from inference_service.core.in_flight import InFlight
from inference_service.core.requests import ModelRef
from inference_service.engine.interfaces import Engine, ModelStatus
from inference_service.telemetry.live import (
    ModelReading,
    Reading,
    catalogue,
    read_model,
    sample,
    totals,
)
from inference_service.telemetry.statistics import StatisticsObserver

PERIOD = 1.0
"""Seconds between samples."""
_KEPT = 120
"""Samples that a new viewer is given, so that its plots begin with what others have seen."""
_MOST_VIEWERS = 64


class Reader:
    """Reads the service: the sums of the observer, the engine's states and queues, the door."""

    def __init__(
        self,
        engine: Engine,
        running: Callable[[], Mapping[ModelRef, int]],
        statistics: StatisticsObserver,
        in_flight: InFlight,
        *,
        problem: Callable[[], str | None],
        slots: int,
    ) -> None:
        """``running`` tells the runs in progress, ``problem`` why the service isn't ready."""
        self._engine = engine
        self._running = running
        self._statistics = statistics
        self._in_flight = in_flight
        self._problem = problem
        self._slots = slots

    def read(self) -> Reading:
        """The service now."""
        queued, running = self._engine.queued(), self._running()
        return Reading(
            time.time(),
            time.monotonic(),
            self._problem() or "",
            self._slots,
            self._in_flight.requests,
            self._in_flight.streams,
            [self._model(status, queued, running) for status in self._engine.statuses()],
        )

    def _model(
        self,
        status: ModelStatus,
        queued: Mapping[ModelRef, int],
        running: Mapping[ModelRef, int],
    ) -> ModelReading:
        ref = ModelRef(status.name, status.version)
        told = (status.name, str(status.version), status.state.value, status.error)
        limit = status.info.policy.max_queue_rows if status.info is not None else 0
        sums = self._statistics.of(ref)
        return read_model(told, sums, queued.get(ref, 0), limit, running.get(ref, 0))


class Feed:
    """Server-sent events (WHATWG HTML, 9.2) about the service, and the totals as JSON.

    Events are ``models`` (the versions and their states; first, and when they change), ``history``
    (once: the samples of the last two minutes that a viewer has seen) and ``sample``, each second.
    An event is written once for all viewers. A viewer that is too slow for it misses samples:
    nothing is kept for it.
    """

    def __init__(self, read: Callable[[], Reading], leaving: Callable[[], bool]) -> None:
        """``leaving`` tells whether a shutdown has begun."""
        self._read = read
        self._leaving = leaving
        self._since = time.time()
        self._viewers = 0
        self._sampler: asyncio.Task[None] | None = None
        self._tick = asyncio.Event()
        self._history: deque[bytes] = deque(maxlen=_KEPT)
        self._models = b""
        self._sample = b""

    def totals(self) -> bytes:
        """The JSON of all since the start."""
        return orjson.dumps(totals(self._read(), self._since))

    def check(self) -> None:
        """Raises Overloaded or ShuttingDown where no viewer can be added."""
        if self._leaving():
            raise ShuttingDown
        if self._viewers >= _MOST_VIEWERS:
            raise Overloaded(
                f"{self._viewers} viewers watch the stats already, which is the limit",
                reason="viewers",
                retry_after=30.0,
            )

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Events until a shutdown begins. Call `check` before."""
        self._viewers += 1
        try:
            if self._sampler is None:
                self._models = _models(self._read())
                self._sampler = asyncio.create_task(self._take_samples())
            told = self._models
            yield b"retry: 2000\n\n" + _event(b"models", told)
            yield _event(b"history", b"[" + b",".join(self._history) + b"]")
            while not self._leaving():
                await self._tick.wait()
                events = _event(b"sample", self._sample)
                if told != self._models:
                    told = self._models
                    events = _event(b"models", told) + events
                yield events
        finally:
            self._viewers -= 1
            if not self._viewers and self._sampler is not None:
                self._sampler.cancel()
                self._sampler = None

    async def _take_samples(self) -> None:
        before = self._read()
        while True:
            await asyncio.sleep(PERIOD)
            now = self._read()
            self._sample = orjson.dumps(sample(before, now))
            self._models = _models(now)
            self._history.append(self._sample)
            before = now
            tick, self._tick = self._tick, asyncio.Event()
            tick.set()


def _models(reading: Reading) -> bytes:
    return orjson.dumps(catalogue(reading))


def _event(name: bytes, data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name, data)
