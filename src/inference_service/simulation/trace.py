"""Recorded loads: one JSON object a line, as the traffic recorder writes them."""

import json
from pathlib import Path

from inference_service.core.errors import InferenceServiceError
from inference_service.core.scheduling.entries import Priority
from inference_service.simulation.server import Arrival


class InvalidTrace(InferenceServiceError):  # noqa: N818
    """A file is not a recorded load; the message names the line."""


def read_trace(path: Path, model: str | None = None) -> list[Arrival]:
    """The arrivals in a file, from time 0, of one model or of all. Raises InvalidTrace."""
    found = []
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidTrace(f"can't read {path}: {error}") from error
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            arrival = Arrival(
                time=float(entry["time"]),
                rows=int(entry["rows"]),
                timeout=float(entry.get("timeout") or "inf"),
                client=entry.get("client"),
                priority=Priority(entry.get("priority", "normal")),
                length=int(entry.get("length", 0)),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidTrace(
                f"{path}, line {number}: expected an object with time, rows and optionally "
                f"timeout, priority, client and length ({type(error).__name__}: {error})"
            ) from error
        if arrival.rows < 1 or arrival.time < 0:
            raise InvalidTrace(f"{path}, line {number}: time and rows must be positive")
        if model is None or entry.get("model") in {model, None}:
            found.append(arrival)
    if not found:
        raise InvalidTrace(f"{path} has no arrivals" + (f" of model '{model}'" if model else ""))
    found.sort(key=lambda arrival: arrival.time)
    start = found[0].time
    for arrival in found:
        arrival.time -= start
    return found
