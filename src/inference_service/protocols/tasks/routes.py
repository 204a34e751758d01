"""POST /models/{model}/{task}: what the model's pipeline makes of it. GET /models lists them."""

import codecs
from typing import Any

from fastapi import APIRouter

from inference_service.core.charset import as_utf8
from inference_service.core.errors import NotFound, UnsupportedContent, quoted
from inference_service.core.tasks import TENSORS_ONLY, StreamingTask, Task
from inference_service.engine.interfaces import ModelInfo
from inference_service.processes.decoders import TaskPool
from inference_service.protocols.json_large import parse_few
from inference_service.protocols.tasks import codec
from inference_service.protocols.tasks.driver import Conversation
from inference_service.protocols.tasks.openapi import (
    FORMS,
    accepted,
    request_content,
    task_path,
)
from inference_service.protocols.tasks.schema import (
    AnyResult,
    ModelTasks,
    TaskAnswer,
    TaskInfo,
    TaskList,
    encode,
)
from inference_service.protocols.tasks.streams import add_streams
from inference_service.serving.codec import Content, Head
from inference_service.web.body import BINARY, PLAIN, check_encoded, is_json
from inference_service.web.endpoint import Edge, HttpBinding, TaskEndpoint, TaskRequest
from inference_service.web.errors import ERRORS
from inference_service.web.routing import ModelName, TaskName, Version, add_lean_routes, by_path

TAG = "Tasks"
_FORM = b"application/x-www-form-urlencoded"
_UNTOLD = frozenset({PLAIN, BINARY, b""})  # what clients say that say nothing of what they send
_BEFORE_JSON = b" \t\r\n\0\xef\xbb\xbf\xff\xfe"  # blanks, byte order marks, zeros of UTF-16
_HEAD = 256  # bytes that are looked at
_FILE_TYPES = (b"image/", b"audio/", b"video/", b"application/", b"binary/")


def task_of(info: ModelInfo, name: str) -> Task:
    """Raises NotFound for a task that the model can't do."""
    task = info.tasks.get(name)
    if task is not None:
        return task
    if not info.tasks:
        told = (one for one in info.warnings if one.startswith(TENSORS_ONLY))
        why = next(told, "its model.toml has no [pipeline]")
        raise NotFound(
            f"model '{info.name}' has no tasks: {why}; "
            f"POST tensors to /v1/models/{info.name}:predict"
        )
    raise NotFound(f"model '{info.name}' can't {name}; it has {quoted(info.tasks)}")


def _check(head: Head, info: ModelInfo | None, path_params: Any) -> None:
    check_encoded(head)
    if info is None:
        return
    task = task_of(info, path_params["task"])
    given = head.content_type
    if is_json(given) or given in {*FORMS, BINARY, PLAIN} or (
        _takes_files(task) and given.startswith(_FILE_TYPES)
    ):  # fmt: skip
        return
    raise UnsupportedContent(
        f"Content-Type is '{given.decode('latin-1')}', expected one of {quoted(accepted(task))}"
    )


def _takes_files(task: Task) -> bool:
    return any(not media.startswith("text/") for media in task.media)


def _asked(body: bytes, head: Head, task: Task) -> codec.Asked:
    """Takes the body apart, by its type. What a file holds counts, not what it is called."""
    given, binary = head.content_type, _takes_files(task)
    if given in FORMS:
        return codec.from_form(body, head.full_type, task.noun, binary=binary)
    if given == _FORM:
        return codec.from_urlencoded(body, head.full_type, task.noun, binary=binary)
    if given in _UNTOLD and task.media and not binary:
        text = as_utf8(body, head.full_type)
        return codec.from_text(text, given.decode("latin-1"), task.noun)
    if task.media and _is_raw(body, given, binary=binary):
        return codec.from_raw(body, given.decode("latin-1"))
    return codec.from_json(parse_few(as_utf8(body, head.full_type)), task.noun, binary=binary)


def _is_raw(body: bytes, given: bytes, *, binary: bool) -> bool:
    """Whether the body is the payload, and not JSON: what it holds counts more than its type."""
    if given in _UNTOLD:
        return not _begins_an_object(body)
    if is_json(given):  # so HTTPie calls a file from its standard input
        return binary and not _begins_an_object(body) and not _is_text(body)
    return True


def _begins_an_object(body: bytes) -> bool:
    """Whether it may be JSON, in whatever charset, and not a file."""
    return body[:_HEAD].lstrip(_BEFORE_JSON)[:1] == b"{"


def _is_text(body: bytes) -> bool:
    head = body[:_HEAD]
    try:
        codecs.utf_8_decode(head, "strict", False)
    except UnicodeDecodeError:
        return False
    return b"\0" not in head


def router(edge: Edge, pool: TaskPool, idle_timeout: float) -> APIRouter:
    """The paths. Payloads are prepared in the pool's threads.

    A stream from which nothing comes for ``idle_timeout`` seconds is closed.
    """

    async def converse(given: TaskRequest) -> Content:
        info = given.info
        task = task_of(info, given.path_params["task"])
        talk = Conversation(edge.engine, given.request, pool)
        asked = await talk.taken_apart(_asked, given.body, given.head, task)
        query = codec.from_query(given.query)
        parameters = codec.read_parameters(task.parameters, query, asked.parameters)
        results = await talk.results(task, asked, parameters)
        return Content(encode(info.name, info.version, results, task.result))

    routes = APIRouter(tags=[TAG])
    _add_tasks(routes, TaskEndpoint(edge, HttpBinding(by_path, _check), "tasks", converse))
    _add_list(routes, edge)
    add_streams(routes, edge, pool, idle_timeout)
    return routes


def _add_tasks(routes: APIRouter, endpoint: TaskEndpoint) -> None:
    async def latest(model: ModelName, task: TaskName) -> None: ...

    async def by_version(model: ModelName, version: Version, task: TaskName) -> None: ...

    for path, contract in (
        ("/models/{model}/{task}", latest),
        ("/models/{model}/versions/{version}/{task}", by_version),
    ):
        add_lean_routes(
            routes,
            {path: contract},
            endpoint,
            request_content(None),
            summary="Ask a model",
            description="A file, a text or JSON is answered by the model's pipeline. Each loaded "
            "model's own paths, with their types, are above.",
            operation_id=f"task_{contract.__name__}",
            responses={200: {"model": TaskAnswer[AnyResult]}, **ERRORS},
        )


def _add_list(routes: APIRouter, edge: Edge) -> None:
    @routes.get("/models", response_model=TaskList)
    def models() -> TaskList:
        """The loaded models and what each can be asked for."""
        return TaskList(models=[_listed(info) for info in edge.engine.models()])


def _listed(info: ModelInfo) -> ModelTasks:
    tasks = [
        TaskInfo(
            name=name,
            path=task_path(info.name, name),
            summary=task.summary,
            payload=task.noun,
            media_types=list(task.media),
            streams=isinstance(task, StreamingTask),
        )
        for name, task in info.tasks.items()
    ]
    return ModelTasks(
        name=info.name,
        version=str(info.version),
        description=info.description,
        batching=info.signature.mode.value,
        batch_safety=info.safety.why,
        tasks=tasks,
    )
