"""Record the load: when requests come and how large they are. Never what they say.

The file is what ``inference-service tune --trace`` and the simulation read. Clients are numbered in
the order in which they are seen first.
"""

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inference_service.core.requests import InferenceRequest, ModelRef
from inference_service.engine.interfaces import (
    Engine,
    ModelHandle,
    OnDone,
    Ticket,
)
from inference_service.engine.wrapping import WrappedEngine, WrappedModel, rows_of

log = logging.getLogger(__name__)

_BUFFERED = 256
_MOST_CLIENTS = 100_000


class TrafficRecorder:
    """Appends one JSON object a line. It stops with a warning when it can't, or at its limit."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._left = limit
        self._lines: list[str] = []
        self._clients: dict[str, int] = {}

    def note(self, entry: dict[str, Any], client: str) -> None:
        """One arrival."""
        if self._left <= 0:
            return
        if len(self._clients) < _MOST_CLIENTS:
            entry["client"] = self._clients.setdefault(client, len(self._clients))
        else:
            entry["client"] = self._clients.get(client, _MOST_CLIENTS)
        self._lines.append(json.dumps(entry, separators=(",", ":")))
        self._left -= 1
        if self._left == 0:
            log.warning("the traffic recorder has reached its limit and stops: %s", self._path)
        if len(self._lines) >= _BUFFERED or self._left == 0:
            self.flush()

    def flush(self) -> None:
        """Write what is buffered."""
        if not self._lines:
            return
        text = "\n".join(self._lines) + "\n"
        self._lines.clear()
        try:
            with self._path.open("a") as file:
                file.write(text)
        except OSError as error:
            self._left = 0
            log.warning("the traffic recorder stops: %s", error)


class _RecordedModel(WrappedModel):
    """A model that notes each request before it passes it on."""

    def __init__(
        self, model: ModelHandle, recorder: TrafficRecorder, clock: Callable[[], float]
    ) -> None:
        super().__init__(model)
        self._recorder = recorder
        self._clock = clock

    def submit(self, request: InferenceRequest, on_done: OnDone) -> Ticket:
        """See `ModelHandle.submit`."""
        now, info = self._clock(), self.info
        entry: dict[str, Any] = {
            "model": info.name,
            "time": round(now, 6),
            "rows": rows_of(info, request),
            "priority": request.priority.value,
        }
        if request.deadline != math.inf:
            entry["timeout"] = round(request.deadline - now, 6)
        shapes = {name: list(array.shape[1:]) for name, array in request.inputs.items()}
        if not info.signature.has_fixed_rows:
            entry["shapes"] = shapes
        padded = next(iter(info.padding.inputs.items()), None)
        if padded is not None and len(shapes.get(padded[0], [])) >= padded[1].axis:
            entry["length"] = shapes[padded[0]][padded[1].axis - 1]
        self._recorder.note(entry, request.client)
        return self._model.submit(request, on_done)


class RecordingEngine(WrappedEngine):
    """An engine that notes each request before it passes it on."""

    def __init__(self, engine: Engine, recorder: TrafficRecorder) -> None:
        super().__init__(engine)
        self._recorder = recorder

    def resolve(self, model: ModelRef, client: str = "") -> ModelHandle:
        """See `Engine.resolve`."""
        return _RecordedModel(
            self._engine.resolve(model, client), self._recorder, self._engine.clock
        )
