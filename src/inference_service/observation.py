"""All that watches a service: metrics, sums, spans, the access log, recorded traffic, the stats."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from inference_service._version import __version__
from inference_service.core.in_flight import InFlight
from inference_service.engine.engine import LocalEngine
from inference_service.engine.interfaces import Engine, Observer
from inference_service.logs.access import AccessLog
from inference_service.runtime.memory import memory_limit
from inference_service.serving.tellers import Teller, Tellers
from inference_service.settings import InvalidSettings, Settings
from inference_service.sources import cores
from inference_service.telemetry.feed import Feed, Reader
from inference_service.telemetry.gauges import LoopLag, watch_models, watch_service
from inference_service.telemetry.processes import watch_processes
from inference_service.telemetry.prometheus import PrometheusObserver, process_registry
from inference_service.telemetry.recorder import RecordingEngine, TrafficRecorder
from inference_service.telemetry.rollouts import OutcomeObserver, watch_shadows
from inference_service.telemetry.statistics import Observers, StatisticsObserver
from inference_service.telemetry.triton_metrics import add_triton_metrics

if TYPE_CHECKING:
    from inference_service.tracing.spans import Spans


class Observation:
    """What one service is watched with.

    ``registry`` has its metrics, ``sums`` are those of the protocol's statistics, ``outcomes`` are
    for rollouts, and ``observer`` tells all of them.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises InvalidSettings where a library is missing that the settings ask for."""
        self._settings = settings
        self.registry = process_registry(__version__)
        self.sums = StatisticsObserver()
        self.outcomes = OutcomeObserver(self.registry)
        self._spans = _spans(settings)
        told: list[Observer] = [PrometheusObserver(self.registry), self.sums, self.outcomes]
        self.observer = Observers(told if self._spans is None else [*told, self._spans])
        self._lag = LoopLag(self.registry)
        self._recorder = _recorder(settings)

    def watch(self, engine: LocalEngine, in_flight: InFlight) -> None:
        """What is asked of the service itself when metrics are scraped."""
        watch_models(self.registry, engine)
        watch_service(self.registry, in_flight, cores(self._settings))
        watch_processes(self.registry, memory_limit())
        watch_shadows(self.registry, engine.comparisons)
        if self._settings.telemetry.triton_metrics:
            add_triton_metrics(self.registry, engine, self.sums)

    def recorded(self, engine: Engine) -> Engine:
        """The engine, with its traffic written down where that is wanted."""
        return engine if self._recorder is None else RecordingEngine(engine, self._recorder)

    def teller(self) -> Teller | None:
        """What tells of single requests; None, and no work for it, unless it is wanted."""
        tellers: list[Teller] = []
        if self._settings.log.access_sample > 0:
            tellers.append(AccessLog(self._settings.log.access_sample))
        if self._spans is not None:
            tellers.append(self._spans)
        return Tellers(tellers) if tellers else None

    def feed(
        self, engine: LocalEngine, in_flight: InFlight, problem: Callable[[], str | None],
        leaving: Callable[[], bool],
    ) -> Feed:  # fmt: skip
        """What ``GET /stats`` shows."""
        reader = Reader(
            engine, engine.running, self.sums, in_flight,
            problem=problem, slots=cores(self._settings),
        )  # fmt: skip
        return Feed(reader.read, leaving)

    def start(self) -> None:
        """Begin; on the event loop that is watched."""
        self._lag.start()

    def stop(self) -> None:
        """Watch the event loop no more."""
        self._lag.stop()

    async def close(self) -> None:
        """Send and write what is left, once nothing is answered any more."""
        if self._spans is not None:
            await asyncio.to_thread(self._spans.close)
        if self._recorder is not None:
            self._recorder.flush()


def _spans(settings: Settings) -> "Spans | None":
    """What traces requests, where that is wanted. Raises InvalidSettings without the extra."""
    if settings.tracing.endpoint is None:
        return None
    try:
        from inference_service.tracing.spans import spans_of
    except ModuleNotFoundError as error:
        raise InvalidSettings(
            f"setting 'tracing.endpoint': {error.name} is not installed; "
            "install the extra 'tracing', in a clone of the repository: pip install '.[tracing]'"
        ) from error
    return spans_of(settings.tracing, __version__)


def _recorder(settings: Settings) -> TrafficRecorder | None:
    telemetry = settings.telemetry
    if telemetry.record_traffic is None:
        return None
    return TrafficRecorder(telemetry.record_traffic, telemetry.record_limit)
