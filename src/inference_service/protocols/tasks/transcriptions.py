"""POST /v1/audio/transcriptions: OpenAI's API in front of any model that transcribes.

Source: https://platform.openai.com/docs/api-reference/audio/createTranscription
"""

import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from inference_service.core.errors import (
    InvalidInput,
    ModelNotFound,
    UnsupportedContent,
    quoted,
)
from inference_service.core.requests import ModelRef
from inference_service.core.tasks import GradualTask, Task
from inference_service.engine.interfaces import Engine, ModelInfo
from inference_service.faults import invalid_input
from inference_service.processes.decoders import TaskPool
from inference_service.protocols.tasks import codec
from inference_service.protocols.tasks.driver import Conversation
from inference_service.protocols.tasks.openapi import FORMS, MULTIPART
from inference_service.serving.codec import Content, Head
from inference_service.web.body import check_encoded
from inference_service.web.endpoint import (
    EVENTS,
    Edge,
    HttpBinding,
    Reply,
    TaskEndpoint,
    TaskRequest,
)
from inference_service.web.errors import ErrorAnswer
from inference_service.web.routing import add_lean_routes

TAG = "Transcriptions"
TASK = "transcribe"
_NOUN = "file"
_LIST = "timestamp_granularities[]"
_SPEAKERS = "the models don't tell speakers apart"
_REFUSED = {
    "include": "the models tell no probabilities of tokens",
    "languages": "a model has one language: ask for it with 'language'",
    "known_speaker_names": _SPEAKERS,
    "known_speaker_references": _SPEAKERS,
    "chunking_strategy": "sound is cut at its pauses: 'auto', and nothing else, can be asked for",
}
"""OpenAI's fields that no model here can honour, and why. ``[...]`` may stand behind a name."""
_FRAMES = 100  # a second: Whisper's unit of ``seek``
_PLAIN, _JSON = b"text/plain; charset=utf-8", b"application/json"


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _of_segments(value: Any) -> Any:
    if "word" in _listed(value):
        raise ValueError("expected 'segment', got 'word': there are no times of words")
    return _listed(value)


class TranscriptionForm(BaseModel):
    """The fields besides ``file``. What the model can't do is refused, and never ignored.

    ``prompt`` and ``keywords`` are hints to a model that takes them, and ``temperature`` permits
    less likely words: no part of the answer depends on any of them. Pauses are always looked for,
    as ``chunking_strategy`` "auto" asks for.
    """

    model_config = ConfigDict(extra="forbid")

    model: str = ""
    language: str | None = Field(None, description="ISO 639-1 code")
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    prompt: str | None = Field(None, description="a hint; these models take none")
    keywords: Annotated[list[str], BeforeValidator(_listed)] = Field(
        [], alias="keywords[]", description="a hint; these models take none"
    )
    temperature: float = Field(
        0, ge=0, le=1, description="the answer is the likeliest words, always"
    )
    chunking_strategy: Literal["auto"] | None = Field(None, description="always so")
    stream: bool = Field(
        False, description="answer with server-sent events, a piece of text for each segment"
    )
    granularities: Annotated[list[Literal["segment"]], BeforeValidator(_of_segments)] = Field(
        ["segment"], alias=_LIST, description="there are no times of words"
    )


_FIELDS = [field.alias or name for name, field in TranscriptionForm.model_fields.items()]
_BRACKETS = "[]"  # behind the names of lists, where some clients have none
_LISTS = {name.removesuffix(_BRACKETS): name for name in _FIELDS if name.endswith(_BRACKETS)}
_STREAMABLE = ("json", "text")


class SoundUsage(BaseModel):
    """Usage in OpenAI's form: seconds of sound."""

    type: Literal["duration"]
    seconds: float


class PlainTranscription(BaseModel):
    """``response_format`` json."""

    text: str
    usage: SoundUsage


def _asked(body: bytes, content_type: bytes) -> tuple[codec.Asked, TranscriptionForm]:
    asked = codec.from_form(body, content_type, _NOUN, binary=True)
    if len(asked.payloads) != 1:
        raise InvalidInput(f"expected one file, got {len(asked.payloads)}", (_NOUN,))
    fields = {_LISTS.get(name, name): value for name, value in asked.parameters.items()}
    try:
        form = TranscriptionForm.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "extra_forbidden":
            place = tuple(first["loc"])
            raise InvalidInput(_why_not(str(place[0])), place) from None
        raise invalid_input(error) from None
    if form.stream and form.response_format not in _STREAMABLE:
        raise InvalidInput(
            f"expected 'json' or 'text' with stream, got '{form.response_format}'",
            ("response_format",),
        )
    return asked, form


def _why_not(name: str) -> str:
    unknown = f"not supported; fields besides '{_NOUN}' are {quoted(_FIELDS)}"
    return _REFUSED.get(name.partition("[")[0], unknown)


def _named_in(engine: Engine, body: bytes) -> ModelRef:
    """The model that the form names, or the only one that transcribes."""
    boundary = body.partition(b"\r\n")[0].removeprefix(b"--")
    _, form = _asked(body, MULTIPART + b'; boundary="' + boundary + b'"')
    if form.model:
        return ModelRef(form.model)
    names = sorted({info.name for info in engine.models() if TASK in info.tasks})
    if len(names) == 1:
        return ModelRef(names[0])
    if not names:
        raise ModelNotFound("no model that transcribes is loaded")
    raise InvalidInput(f"several models transcribe: name one of {quoted(names)}", ("model",))


def _language(form: TranscriptionForm) -> Mapping[str, Any]:
    """ISO 639-1 is asked for; "en-GB" and "en_US" are English, too, and so is "EN"."""
    if form.language is None:
        return {}
    return {"language": form.language.replace("_", "-").partition("-")[0].lower()}


def _task_of(info: ModelInfo) -> Task:
    task = info.tasks.get(TASK)
    if task is None:
        raise InvalidInput(f"model '{info.name}' can't transcribe", ("model",))
    return task


def _check(head: Head, *_: Any) -> None:
    check_encoded(head)
    if head.content_type not in FORMS:
        given = head.content_type.decode("latin-1")
        raise UnsupportedContent(f"Content-Type is '{given}', expected '{MULTIPART.decode()}'")


def written(result: Mapping[str, Any], kind: str) -> Content:
    """The transcription as a client wants to have it."""
    segments = result["segments"]
    if kind == "json":
        return Content(orjson.dumps({"text": result["text"], "usage": _usage(result)}), _JSON)
    if kind == "text":
        return Content(result["text"].encode() + b"\n", _PLAIN)
    if kind == "verbose_json":
        told = {
            "task": TASK,
            "language": result["language"],
            "duration": result["seconds"],
            "text": result["text"],
            "segments": [_segment(place, one) for place, one in enumerate(segments)],
            "usage": _usage(result),
        }
        return Content(orjson.dumps(told), _JSON)
    blocks = [_cue(place, one, kind) for place, one in enumerate(segments, 1)]
    if kind == "vtt":
        return Content("\n".join(["WEBVTT\n", *blocks]).encode(), b"text/vtt; charset=utf-8")
    return Content("\n".join(blocks).encode(), _PLAIN)


async def _told_in_events(
    talk: Conversation, task: Task, asked: codec.Asked, parameters: Any, reply: Reply
) -> Content:
    """Server-sent events: the text of each segment when it is known, then all of it, which is the
    same. What is wrong before the first of them is an ordinary error.

    Source: https://platform.openai.com/docs/api-reference/audio/transcript-text-delta-event
    """
    said: list[str] = []
    async for segment in _segments(talk, task, asked, parameters):
        text = segment.text if not said else f" {segment.text}"
        said.append(text)
        await reply.event(orjson.dumps({"type": "transcript.text.delta", "delta": text}))
    await reply.event(orjson.dumps({"type": "transcript.text.done", "text": "".join(said)}))
    return Content(b"", EVENTS)


async def _segments(
    talk: Conversation, task: Task, asked: codec.Asked, parameters: Any
) -> AsyncIterator[Any]:
    """One by one where the task can tell them so, and else when all are known."""
    if isinstance(task, GradualTask):
        payload = asked.payloads[0]
        prepare = task.gradually(payload, parameters)
        for steps in await talk.drive(prepare, inline=False, quick=task.quick_steps):
            for segment in await talk.drive(steps, inline=True, quick=task.quick_steps):
                yield segment
    else:
        (result,) = await talk.results(task, asked, parameters)
        for segment in result.segments:
            yield segment


def _usage(result: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "duration", "seconds": result["seconds"]}


def _segment(place: int, segment: Mapping[str, Any]) -> dict[str, Any]:
    """All fields that OpenAI's schema requires. What is not measured is 0, as is the temperature.

    Source: https://platform.openai.com/docs/api-reference/audio/verbose-json-object
    """
    text = str(segment["text"]).encode()
    return {
        "id": place,
        "seek": round(segment["start"] * _FRAMES),
        **segment,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": 0.0,
        "compression_ratio": len(text) / len(zlib.compress(text)),
        "no_speech_prob": 0.0,
    }


def _cue(place: int, segment: Mapping[str, Any], kind: str) -> str:
    comma = "," if kind == "srt" else "."
    start, end = (_clock(segment[name], comma) for name in ("start", "end"))
    number = f"{place}\n" if kind == "srt" else ""
    return f"{number}{start} --> {end}\n{segment['text']}\n"


def _clock(seconds: float, comma: str) -> str:
    whole, thousandths = divmod(timedelta(seconds=seconds), timedelta(seconds=1))
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    millis = thousandths // timedelta(milliseconds=1)
    return f"{hour:02}:{minute:02}:{second:02}{comma}{millis:03}"


def router(
    edge: Edge,
    pool: TaskPool,
    failure: Callable[[Exception], ErrorAnswer],
    failures: Mapping[int | str, Any],
) -> APIRouter:
    """The one path. ``failure`` tells errors in OpenAI's shape, which ``failures`` documents."""

    async def converse(given: TaskRequest) -> Content:
        task = _task_of(given.info)
        talk = Conversation(edge.engine, given.request, pool)
        asked, form = await talk.taken_apart(_asked, given.body, given.head.full_type)
        parameters = codec.read_parameters(task.parameters, {}, _language(form))
        if form.stream:
            return await _told_in_events(talk, task, asked, parameters, given.reply)
        (result,) = await talk.results(task, asked, parameters)
        return written(result.model_dump(), form.response_format)

    async def transcriptions() -> None:
        """What is said in a file of sound: as text, with times, or as subtitles."""

    binding = HttpBinding(
        lambda _: None, _check, failure, lambda body: _named_in(edge.engine, body)
    )
    routes = APIRouter(tags=[TAG])
    add_lean_routes(
        routes,
        {"/v1/audio/transcriptions": transcriptions},
        TaskEndpoint(edge, binding, "openai", converse),
        {MULTIPART.decode(): _form()},
        summary="Transcriptions",
        responses={200: {"model": PlainTranscription, "content": _STREAMED}, **failures},
    )
    return routes


_STREAMED = {
    "text/event-stream": {"schema": {"type": "string", "description": "with `stream`"}},
    "text/plain": {"schema": {"type": "string", "description": "text, srt"}},
    "text/vtt": {"schema": {"type": "string"}},
}


def _form() -> dict[str, Any]:
    schema = TranscriptionForm.model_json_schema(by_alias=True)
    fields = {_NOUN: {"type": "string", "format": "binary"}, **schema["properties"]}
    return {"schema": {"type": "object", "required": [_NOUN], "properties": fields}}
