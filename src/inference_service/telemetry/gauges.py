"""Gauges that are read when metrics are scraped: states, queues, slots; and the loop's lag.

They may be read in a thread beside the event loop's.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from inference_service.core.in_flight import InFlight
from inference_service.core.lifecycle import State
from inference_service.core.requests import ModelRef
from inference_service.engine.interfaces import Activity, ModelStatus
from inference_service.telemetry.processes import PROC, model_processes
from inference_service.telemetry.series import Histogram

_MODEL = ("model", "version")
_LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LAG_PERIOD = 0.25
"""Seconds between samples of the event loop's lag."""

_PER_MODEL: Sequence[tuple[str, str, Callable[[Activity], float | None]]] = (
    ("inference_queue_rows", "Rows that wait for a slot", lambda now: now.queue_rows),
    ("inference_queue_limit_rows", "Rows that may wait, where that is set",
     lambda now: now.queue_limit),
    ("inference_queue_oldest_seconds", "Age of the request that has waited longest",
     lambda now: now.oldest),
    ("inference_queue_wait_seconds", "How long what is queued will take",
     lambda now: now.wait),
    ("inference_queue_wait_limit_seconds",
     "The wait above which requests of normal priority without a deadline are refused",
     lambda now: now.wait_limit),
    ("inference_slots", "Runs that may go on at once", lambda now: now.slots),
    ("inference_slots_busy", "Runs that go on", lambda now: now.busy),
    ("inference_slot_cores", "Cores that a run takes; 0: it runs on the event loop",
     lambda now: now.cores),
    ("inference_max_batch_rows", "Rows in the largest batch", lambda now: now.max_batch_size),
    ("inference_longest_run_seconds", "Age of the oldest run that goes on",
     lambda now: now.longest_run),
)  # fmt: skip


class Watched(Protocol):
    """What is asked of an engine."""

    def statuses(self) -> Sequence[ModelStatus]:
        """See `Engine.statuses`."""

    def activity(self) -> Sequence[Activity]:
        """What each version that is ready is doing now."""

    def memory(self) -> Mapping[ModelRef, int]:
        """Bytes that each version takes, as far as is known."""


class _ModelCollector(Collector):
    def __init__(self, engine: Watched, proc: Path) -> None:
        self._engine = engine
        self._proc = proc

    def collect(self) -> Iterator[Metric]:
        """The gauges as they stand."""
        activities = self._engine.activity()
        for name, text, read in _PER_MODEL:
            family = GaugeMetricFamily(name, text, labels=_MODEL)
            for now in activities:
                value = read(now)
                if value is not None:
                    family.add_metric([now.model.name, str(now.model.version)], value)
            yield family
        states = {one.model: one.process for one in activities if one.process is not None}
        yield from model_processes(states, self._proc)
        yield from self._versions()

    def _versions(self) -> Iterator[Metric]:
        ready = GaugeMetricFamily(
            "inference_model_ready", "1 for a version that answers requests", labels=_MODEL
        )
        states = GaugeMetricFamily(
            "inference_model_state", "1 for the state that a version is in, 0 for the others",
            labels=(*_MODEL, "state"),
        )  # fmt: skip
        for status in self._engine.statuses():
            labels = [status.name, str(status.version)]
            ready.add_metric(labels, float(status.state is State.READY))
            for state in State:
                states.add_metric([*labels, state.value], float(status.state is state))
        yield ready
        yield states
        memory = GaugeMetricFamily(
            "inference_model_memory_bytes",
            "Memory that a loaded version takes, as estimated when it was measured",
            labels=_MODEL,
        )
        for model, size in self._engine.memory().items():
            memory.add_metric([model.name, str(model.version)], size)
        yield memory


class _ServiceCollector(Collector):
    def __init__(self, in_flight: InFlight, cores: int) -> None:
        self._in_flight = in_flight
        self._cores = cores

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges as they stand."""
        in_flight = self._in_flight
        for name, text, value in (
            ("inference_in_flight_requests", "Requests that were admitted and have not ended",
             in_flight.requests),
            ("inference_in_flight_limit_requests", "Requests that may be in flight",
             in_flight.limits.max_requests),
            ("inference_in_flight_bytes", "Bytes of their bodies", in_flight.bytes),
            ("inference_streams", "Open WebSockets", in_flight.streams),
            ("inference_cores", "Cores that all models share", self._cores),
        ):  # fmt: skip
            yield GaugeMetricFamily(name, text, value)


class LoopLag:
    """Measures how late the event loop calls back: what blocks it delays every request.

    A timer is set four times a second. uvloop's timers count in milliseconds, so one is the least
    that is seen.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lag = Histogram(
            "inference_event_loop_lag_seconds", "How late the event loop called a timer back", (),
            registry, _LAG_SECONDS,
        ).labels()  # fmt: skip
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._set(self._loop)

    def stop(self) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + _LAG_PERIOD
        self._timer = loop.call_at(self._due, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._lag.observe(max(loop.time() - self._due, 0.0))
        self._set(loop)


def watch_models(registry: CollectorRegistry, engine: Watched, proc: Path = PROC) -> None:
    """Add the gauges of model versions: queues, slots, states, processes of their own."""
    registry.register(_ModelCollector(engine, proc))


def watch_service(registry: CollectorRegistry, in_flight: InFlight, cores: int) -> None:
    """Add the gauges of the whole service: what is in flight, cores."""
    registry.register(_ServiceCollector(in_flight, cores))
