"""A typed path on the docs page for each task of each loaded model, with file upload."""

import re
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from inference_service.core.tasks import Task
from inference_service.engine.interfaces import ModelInfo
from inference_service.protocols.json_schema import inlined
from inference_service.protocols.tasks.schema import answer_type

MULTIPART = b"multipart/form-data"
FORMS = frozenset({MULTIPART, b"multipart/mixed"})
"""As they are called: OkHttp's builder of forms says ``mixed`` unless told otherwise."""
TAG = "Tasks of the loaded models"
_FILE = {"type": "string", "format": "binary"}
_JSON, _FORM, _OCTETS = "application/json", MULTIPART.decode(), "application/octet-stream"


def task_path(model: str, task: str) -> str:
    """Where a model is asked for it."""
    return f"/models/{model}/{task}"


def accepted(task: Task) -> list[str]:
    """The content types that a task's body may have."""
    return [*task.media, *([_OCTETS] if task.media else []), _FORM, _JSON]


def task_paths(infos: Sequence[ModelInfo], errors: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI paths: one for each task of a model, of its version that is served by default."""
    paths: dict[str, Any] = {}
    for info in infos:
        if info.version != max(other.version for other in infos if other.name == info.name):
            continue
        for name, task in info.tasks.items():
            paths[task_path(info.name, name)] = {"post": _operation(info, name, task, errors)}
    return paths


def _operation(info: ModelInfo, name: str, task: Task, errors: dict[str, Any]) -> dict[str, Any]:
    return {
        "tags": [TAG],
        "summary": f"{name.capitalize()} with {info.name}",
        "description": "\n\n".join(filter(None, (task.summary, info.description, _kinds(task)))),
        "operationId": re.sub(r"\W+", "_", f"{name}_{info.name}"),
        "parameters": _query(task),
        "requestBody": {"required": True, "content": request_content(task, info)},
        "responses": {
            "200": {
                "description": "A result for each payload",
                "content": {_JSON: {"schema": inlined(answer_type(task.result))}},
            },
            **errors,
        },
    }


def _kinds(task: Task) -> str:
    return f"Raw bodies may be {', '.join(task.media)}." if task.media else ""


def _query(task: Task) -> list[dict[str, Any]]:
    """The parameters that fit a URL."""
    properties = inlined(task.parameters).get("properties", {})
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "schema": _plain(schema),
            "description": schema.get("description", ""),
        }
        for name, schema in properties.items()
        if schema.get("type") not in {"array", "object"}
    ]


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter's type: the description stands elsewhere, and a URL has no null."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind.get("type") != "null"]
    known = {**schema, **kinds[0]} if len(kinds) == 1 else schema
    dropped = {"anyOf", "description", "default"} if kinds else {"description"}
    return {key: value for key, value in known.items() if key not in dropped}


def request_content(task: Task | None, info: ModelInfo | None = None) -> dict[str, Any]:
    """The bodies of a task; of any, where none is given.

    Raw files are octets here: of which kind they are is seen from what they hold. (Generators don't
    read other types, and a list of them hides the one that is meant.)
    """
    if task is None:
        anything = {"type": "object", "additionalProperties": True}
        return {_FORM: {"schema": anything}, _JSON: {"schema": dict(anything)}}
    noun, several = task.noun, f"{task.noun}s"
    known = inlined(task.parameters)
    properties, required = known.get("properties", {}), known.get("required", [])
    binary = any(not media.startswith("text/") for media in task.media)
    item = {"type": "string", **({"format": "byte"} if binary else {})} if task.media else {}
    if not task.media:
        item = {"type": "string"} if noun == "query" else {}
    found: dict[str, Any] = {}
    if binary:
        form = {noun: _FILE}  # parameters may be fields, too; here they are the URL's
        found[_FORM] = {"schema": {"type": "object", "properties": form, "required": [noun]}}
        found[_OCTETS] = {"schema": dict(_FILE)}
    found[_JSON] = {
        "schema": {
            "type": "object",
            "description": f"Either `{noun}` or `{several}`",
            "properties": {
                noun: item, several: {"type": "array", "items": item, "minItems": 1}, **properties
            },
            **({"required": required} if required else {}),
        }
    }  # fmt: skip
    example = None if info is None else _example(task, info, binary=binary)
    if example is not None:
        more = {name: _of_schema(properties[name]) for name in required}
        found[_JSON]["example"] = {noun: example, **more}
    return found


def _example(task: Task, info: ModelInfo, *, binary: bool) -> Any:
    """A payload that the model answers: its owner's, or a file from its examples."""
    given = (info.example or {}).get(task.noun)
    if given is not None:
        return given
    if binary:
        return b64encode(info.example_file).decode() if info.example_file else None
    return "What is this?" if task.noun in {"text", "query"} else None


def _of_schema(schema: dict[str, Any]) -> Any:
    """Something that the schema allows, as far as payloads' parameters need it."""
    if schema.get("type") == "array":
        return [_of_schema(schema.get("items", {}))]
    return {"integer": 1, "number": 1.0, "boolean": True}.get(schema.get("type", ""), "text")
