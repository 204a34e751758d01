"""POST /hf/{model}: a model's task as Hugging Face's ``InferenceClient`` asks for it.

The client posts ``{"inputs": ..., "parameters": {...}}``, or a file, to the URL that it is given,
and reads the answer by the method that was called: so the model's kind tells which task is meant.

Source: https://huggingface.co/docs/inference-providers/tasks/index, and huggingface_hub's
inference/_client.py.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import orjson
from fastapi import APIRouter
from pydantic import BaseModel

from inference_service.core.charset import as_utf8
from inference_service.core.errors import InvalidInput, NotFound, quoted
from inference_service.core.tasks import Task
from inference_service.engine.interfaces import ModelInfo
from inference_service.faults import noun
from inference_service.processes.decoders import TaskPool
from inference_service.protocols.json_tensors import parse
from inference_service.protocols.tasks import codec
from inference_service.protocols.tasks.driver import Conversation
from inference_service.serving.codec import Content, Head
from inference_service.web.body import BINARY, PLAIN, check_encoded, is_json
from inference_service.web.endpoint import Edge, HttpBinding, TaskEndpoint, TaskRequest
from inference_service.web.errors import ERRORS
from inference_service.web.routing import ModelName, add_lean_routes, by_path

TAG = "Tasks"
_ZERO_SHOT, _SEARCH, _TAG, _TRANSCRIBE = "zero-shot", "search", "tag", "transcribe"
_ALONE = ("classify", _TAG, "embed", _TRANSCRIBE)
"""The task of a request that says nothing more: the first of these that the model has."""
_RENAMED = {
    "candidate_labels": "labels",
    "hypothesis_template": "template",
    "multi_label": "several",
    "normalize": "normalise",
}
_PAYLOAD, _PARAMETERS = "inputs", "parameters"
_NOT_PARAMETERS = {_PAYLOAD, _PARAMETERS, "options"}
"""Fields of a body. ``options`` told the hub's own servers how long to wait, and are passed over.

The rest are parameters as well: text-embeddings-inference has them there.
"""
_SOLE = {"truncation_direction": "right", "encoding_format": "float"}
"""Parameters that have one value here, which needs no mention."""
_STRATEGIES = {
    "none": {"group": "tokens"},
    "simple": {"group": "entities", "decides": "each"},
    "first": {"group": "entities", "decides": "first"},
    "average": {"group": "entities", "decides": "average"},
    "max": {"group": "entities", "decides": "max"},
}
"""By transformers' way of making entities of tokens: the task's parameters."""
_UNGROUPED, _TIMES = "tag without entities", "transcribe with times"


class _Asked(NamedTuple):
    """A request: which task, and what of."""

    task: str
    payloads: Sequence[Any]
    parameters: Mapping[str, Any]
    several: bool = False
    form: str = ""  # of the answer, where it isn't the task's usual one


def _read(body: bytes, head: Head, info: ModelInfo) -> _Asked:
    """Raises InvalidInput and NotFound."""
    text = as_utf8(body, head.full_type)
    may_be_json = is_json(head.content_type) or head.content_type in {PLAIN, BINARY}
    if not may_be_json or text.lstrip()[:1] != b"{":
        return _Asked(_alone(info), [body], {})
    value = parse(text)
    if _PAYLOAD not in value:
        raise InvalidInput("missing", (_PAYLOAD,))
    inputs, (renamed, times) = value[_PAYLOAD], _parameters(value)
    asked = _of_inputs(inputs, renamed, info)
    if times and asked.task != _TRANSCRIBE:
        raise InvalidInput(f"{asked.task} has no such parameter", ("return_timestamps",))
    if asked.task == _TAG and renamed.get("group") in ("tokens", "words"):
        return asked._replace(form=_UNGROUPED)
    return asked._replace(form=_TIMES if times else "")


def _of_inputs(inputs: Any, renamed: Mapping[str, Any], info: ModelInfo) -> _Asked:
    if "labels" in renamed:
        return _Asked(_ZERO_SHOT, [inputs], renamed)
    if isinstance(inputs, dict) and "source_sentence" in inputs:
        sentences = inputs.get("sentences")
        count = len(sentences) if isinstance(sentences, list) else 1
        asked = {**renamed, "documents": sentences, "top_k": max(1, count)}
        return _Asked(_SEARCH, [inputs["source_sentence"]], asked)
    several = isinstance(inputs, list)
    return _Asked(_alone(info), inputs if several else [inputs], renamed, several)


def _parameters(value: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """What the body says besides its inputs, in the task's words, and whether it wants times."""
    given = value.get(_PARAMETERS) or {}
    if not isinstance(given, dict):
        raise InvalidInput(f"expected an object, got {noun(given)}", (_PARAMETERS,))
    beside = {key: item for key, item in value.items() if key not in _NOT_PARAMETERS}
    if twice := given.keys() & beside.keys():
        message = "given twice: beside the inputs and in the parameters"
        raise InvalidInput(message, (min(twice),))
    said = {key: item for key, item in (beside | given).items() if item is not None}
    for key, sole in _SOLE.items():
        _one_of((sole,), said.pop(key, sole), key)
    if (strategy := said.pop("aggregation_strategy", None)) is not None:
        said |= _STRATEGIES[_one_of(tuple(_STRATEGIES), strategy, "aggregation_strategy")]
    times = said.pop("return_timestamps", False)
    if not isinstance(times, bool):
        message = f"expected true or false, got {noun(times)}: there are no times of words"
        raise InvalidInput(message, ("return_timestamps",))
    return {_RENAMED.get(key, key): item for key, item in said.items()}, times


def _one_of(values: Sequence[str], given: Any, name: str) -> str:
    for known in values:
        if isinstance(given, str) and given.lower() == known:
            return known
    expected = quoted(values) if len(values) == 1 else f"one of {quoted(values)}"
    raise InvalidInput(f"expected {expected}, got {noun(given)}", (name,))


def _alone(info: ModelInfo) -> str:
    for name in _ALONE:
        if name in info.tasks:
            return name
    known = quoted(info.tasks) if info.tasks else "none"
    raise NotFound(f"model '{info.name}' has no task for this request; its tasks: {known}")


def _task_of(info: ModelInfo, name: str) -> Task:
    task = info.tasks.get(name)
    if task is None:
        known = quoted(info.tasks) if info.tasks else "none"
        raise NotFound(f"model '{info.name}' can't do {name}; its tasks: {known}")
    return task


def _taken(asked: _Asked, task: Task) -> codec.Asked:
    """As the task takes it: files are base64 in JSON."""
    binary = any(not media.startswith("text/") for media in task.media)
    if asked.payloads and isinstance(asked.payloads[0], bytes):
        return codec.from_raw(asked.payloads[0], "" if binary else "text/plain")
    try:
        taken = codec.from_json({_PAYLOAD: list(asked.payloads)}, _PAYLOAD[:-1], binary=binary)
    except InvalidInput as error:
        raise error if asked.several else InvalidInput(error.message, (_PAYLOAD,)) from None
    return taken if asked.several else taken._replace(places=[(_PAYLOAD,)])


def _labels(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"label": one["label"], "score": one["score"]} for one in result["labels"]]


def _pieces(result: Mapping[str, Any], kind: str = "entity_group") -> list[dict[str, Any]]:
    return [
        {kind: one["label"], "score": one["score"], "word": one["text"],
         "start": one["start"], "end": one["end"]}
        for one in result["pieces"]
    ]  # fmt: skip


def _timed(result: Mapping[str, Any]) -> dict[str, Any]:
    chunks = [
        {"text": one["text"], "timestamp": [one["start"], one["end"]]}
        for one in result["segments"]
    ]  # fmt: skip
    return {"text": result["text"], "chunks": chunks}


def _similarities(result: Mapping[str, Any]) -> list[float]:
    return [one["score"] for one in sorted(result["hits"], key=lambda hit: int(hit["index"]))]


_TOLD: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], Any]]] = {
    "classify": ("labels", _labels),
    _ZERO_SHOT: ("labels", _labels),
    _TAG: ("pieces", _pieces),
    _UNGROUPED: ("pieces", partial(_pieces, kind="entity")),
    "embed": ("vector", lambda result: result["vector"]),
    _TRANSCRIBE: ("text", lambda result: {"text": result["text"]}),
    _TIMES: ("segments", _timed),
    _SEARCH: ("hits", _similarities),
}
"""By task or form: the field by which its usual result is known, and how that is told."""


def _one(name: str, result: Any) -> Any:
    """The result in Hugging Face's form; another form, of somebody's own pipeline, as it is."""
    value = result.model_dump() if isinstance(result, BaseModel) else result
    field, tell = _TOLD[name]
    return tell(value) if isinstance(value, dict) and field in value else value


def _told(asked: _Asked, task: Task, results: Sequence[Any]) -> Any:
    """One input's answer is bare, but for what the client expects in a list of inputs."""
    found = [_one(asked.form or asked.task, result) for result in results]
    text = any(media.startswith("text/") for media in task.media)
    listed = asked.several or asked.task == "embed" or (asked.task == "classify" and text)
    return found if listed else found[0]


def _check(head: Head, *_: Any) -> None:
    check_encoded(head)


def router(edge: Edge, pool: TaskPool) -> APIRouter:
    """The one path."""

    async def converse(given: TaskRequest) -> Content:
        info = given.info
        talk = Conversation(edge.engine, given.request, pool)
        asked = await talk.taken_apart(_read, given.body, given.head, info)
        task = _task_of(info, asked.task)
        taken = await talk.taken_apart(lambda _: _taken(asked, task), given.body)
        parameters = codec.read_parameters(task.parameters, {}, asked.parameters)
        results = await talk.results(task, taken, parameters)
        return Content(orjson.dumps(_told(asked, task, results)))

    async def ask(model: ModelName) -> None:
        """What Hugging Face's InferenceClient posts: inputs and parameters, or a file."""

    routes = APIRouter(tags=[TAG])
    add_lean_routes(
        routes,
        {"/hf/{model}": ask},
        TaskEndpoint(edge, HttpBinding(by_path, _check), "tasks", converse),
        {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": [_PAYLOAD],
                    "properties": {_PAYLOAD: {}, "parameters": {"type": "object"}},
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
        summary="Ask as Hugging Face's client does",
        responses={200: {"content": {"application/json": {"schema": {}}}}, **ERRORS},
    )
    return routes
