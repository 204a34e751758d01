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

from inference_service.core.errors import InvalidInput, NotFound, quoted
from inference_service.core.tasks import Task
from inference_service.engine.interfaces import ModelInfo
from inference_service.faults import noun
from inference_service.processes.decoders import TaskPool
from inference_service.protocols.json_tensors import parse
from inference_service.protocols.tasks import codec
from inference_service.protocols.tasks.driver import Conversation
from inference_service.serving.codec import Content, Head
from inference_service.web.body import check_encoded, is_json
from inference_service.web.charset import as_utf8
from inference_service.web.endpoint import Edge, HttpBinding, TaskEndpoint, TaskRequest
from inference_service.web.errors import ERRORS
from inference_service.web.routing import ModelName, add_lean_routes, by_path

TAG = "Tasks"
_ZERO_SHOT, _SEARCH = "zero-shot", "search"
_ALONE = ("classify", "tag", "embed", "transcribe")
"""The task of a request that says nothing more: the first of these that the model has."""
_RENAMED = {
    "candidate_labels": "labels",
    "hypothesis_template": "template",
    "multi_label": "several",
    "normalize": "normalise",
}
_PAYLOAD = "inputs"


class _Asked(NamedTuple):
    """A request: which task, and what of."""

    task: str
    payloads: Sequence[Any]
    parameters: Mapping[str, Any]
    several: bool = False


def _read(body: bytes, head: Head, info: ModelInfo) -> _Asked:
    """Raises InvalidInput and NotFound."""
    text = as_utf8(body, head.full_type)
    if not is_json(head.content_type) or text.lstrip()[:1] != b"{":
        return _Asked(_alone(info), [body], {})
    value = parse(text)
    if _PAYLOAD not in value:
        raise InvalidInput("missing", (_PAYLOAD,))
    inputs, parameters = value[_PAYLOAD], value.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise InvalidInput(f"expected an object, got {noun(parameters)}", ("parameters",))
    # TEI has them beside the inputs.
    beside = {key: value[key] for key in ("normalize", "truncate") if key in value}
    renamed = {_RENAMED.get(key, key): item for key, item in (beside | parameters).items()}
    if (strategy := renamed.pop("aggregation_strategy", None)) is not None:
        renamed |= _strategy(strategy)
    if "labels" in renamed:
        return _Asked(_ZERO_SHOT, [inputs], renamed)
    if isinstance(inputs, dict) and "source_sentence" in inputs:
        sentences = inputs.get("sentences")
        count = len(sentences) if isinstance(sentences, list) else 1
        asked = {**renamed, "documents": sentences, "top_k": max(1, count)}
        return _Asked(_SEARCH, [inputs["source_sentence"]], asked)
    several = isinstance(inputs, list)
    return _Asked(_alone(info), inputs if several else [inputs], renamed, several)


def _strategy(name: Any) -> dict[str, str]:
    """A task's parameters for transformers' way of making entities of tokens."""
    if name == "none":
        return {"group": "tokens"}
    decides = "each" if name == "simple" else name
    if decides not in {"each", "first", "average", "max"}:
        raise InvalidInput(
            "expected one of 'none', 'simple', 'first', 'average', 'max'",
            ("parameters", "aggregation_strategy"),
        )
    return {"group": "entities", "decides": decides}


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


def _pieces(result: Mapping[str, Any], label: str = "entity_group") -> list[dict[str, Any]]:
    return [
        {label: one["label"], "score": one["score"], "word": one["text"],
         "start": one["start"], "end": one["end"]}
        for one in result["pieces"]
    ]  # fmt: skip


def _similarities(result: Mapping[str, Any]) -> list[float]:
    return [one["score"] for one in sorted(result["hits"], key=lambda hit: int(hit["index"]))]


_TOLD: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], Any]]] = {
    "classify": ("labels", _labels),
    _ZERO_SHOT: ("labels", _labels),
    "tag": ("pieces", _pieces),
    "embed": ("vector", lambda result: result["vector"]),
    "transcribe": ("text", lambda result: {"text": result["text"]}),
    _SEARCH: ("hits", _similarities),
}
"""By task: the field by which its usual result is known, and how that is told."""


def _one(asked: _Asked, result: Any) -> Any:
    """The result in Hugging Face's form; another form, of somebody's own pipeline, as it is."""
    value = result.model_dump() if isinstance(result, BaseModel) else result
    field, tell = _TOLD[asked.task]
    if asked.task == "tag" and asked.parameters.get("group") in {"tokens", "words"}:
        tell = partial(_pieces, label="entity")
    return tell(value) if isinstance(value, dict) and field in value else value


def _told(asked: _Asked, task: Task, results: Sequence[Any]) -> Any:
    """One input's answer is bare, but for what the client expects in a list of inputs."""
    found = [_one(asked, result) for result in results]
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
