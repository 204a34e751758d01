"""Tries a model's tasks without a server: what ``check`` says of a pipeline."""

import io
import wave
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from struct import pack
from typing import Any

from pydantic import ValidationError

from inference_service.core.errors import InferenceServiceError
from inference_service.core.tasks import Payload, Task
from inference_service.engine.interfaces import ModelInfo
from inference_service.protocols.tasks import codec
from inference_service.protocols.tasks.openapi import task_path

_MOST_STEPS = 1_000
_SHOWN = 120  # characters of an answer


@dataclass(frozen=True, slots=True)
class TaskReport:
    """A task: its path, what it is for, and how it went. ``error`` "" is fine or not tried."""

    name: str
    path: str
    summary: str
    tried: str
    error: str = ""


def tried_tasks(info: ModelInfo, model: Any) -> Iterator[TaskReport]:
    """Each task on the model's example, or on something made up. ``model`` is a loaded one."""
    for name, task in info.tasks.items():
        tried = error = ""
        try:
            tried = _tried(task, info, model)
        except ValidationError:
            tried = "not tried: it needs parameters; give them in [example] of model.toml"
        # A pipeline may be anybody's code: whatever it raises is what is to be told.
        except Exception as raised:
            kind = "" if isinstance(raised, InferenceServiceError) else f"{type(raised).__name__}: "
            error = f"{kind}{raised}"
        yield TaskReport(name, task_path(info.name, name), task.summary, tried, error)


def _tried(task: Task, info: ModelInfo, model: Any) -> str:
    found = _payload(task, info)
    if found is None:
        return f"not tried: there is no {task.noun} to try it on; put one into examples/"
    what, payload, given = found
    parameters = task.parameters.model_validate(given)
    steps = task.run(payload, parameters)
    outputs: Any = None
    try:
        for _ in range(_MOST_STEPS):
            wanted = steps.send(outputs)
            others = sorted({one.model for one in wanted if one.model})
            if others:
                return f"prepared with {what}; it goes on with the model {', '.join(others)}"
            outputs = [model.run(info.transforms.preprocess(one.inputs)) for one in wanted]
    except StopIteration as stop:
        text = (
            stop.value.model_dump_json() if hasattr(stop.value, "model_dump_json") else stop.value
        )
        short = str(text)
        return f"{what} -> {short if len(short) <= _SHOWN else short[:_SHOWN] + ' …'}"
    return f"{what} -> more than {_MOST_STEPS} steps"


def _payload(task: Task, info: ModelInfo) -> tuple[str, Payload, Mapping[str, Any]] | None:
    """Something to try it on, and the parameters beside it."""
    files = any(not media.startswith("text/") for media in task.media)
    example = info.example
    if example and {task.noun, f"{task.noun}s"} & example.keys():
        asked = codec.from_json(dict(example), task.noun, binary=files)
        return "the example of model.toml", asked.payloads[0], asked.parameters
    if files and info.example_file:
        return "the smallest file in examples/", Payload(info.example_file), {}
    for kind, what, make in (
        ("image/", "a grey picture", _grey),
        ("audio/", "a second of silence", _silence),
        ("text/plain", "'Hello'", lambda: "Hello"),
    ):
        if any(media.startswith(kind) for media in task.media):
            return what, Payload(make()), {}
    return None


def _grey(side: int = 64) -> bytes:
    """A PNG (ISO/IEC 15948)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\x80" * side) * side
    head = pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _silence() -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(32_000))
    return out.getvalue()
