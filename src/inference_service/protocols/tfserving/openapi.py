"""A typed path on the docs page for each loaded model: schema, limits and a runnable example."""

import re
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from inference_service.core.tasks import FileTask
from inference_service.core.tensors import BatchMode
from inference_service.engine.interfaces import ModelInfo
from inference_service.protocols.json_schema import example_row
from inference_service.protocols.tfserving.schema import answer_schema, body_model

TAG = "Models"
_ROW_OF_A_FILE = {
    "type": "object",
    "description": "a file, as the model's task takes it",
    "properties": {"b64": {"type": "string", "format": "byte"}},
    "required": ["b64"],
    "additionalProperties": False,
}

_BATCHING = {
    BatchMode.MERGE: "rows of several requests share a run of up to {size} rows",
    BatchMode.SPLIT: "every row runs alone",
    BatchMode.WHOLE: "every request runs alone, exactly as sent",
}


def predict_path(name: str, version: int | None = None) -> str:
    """Where predictions of a model are asked for."""
    return (
        f"/v1/models/{name}" + (f"/versions/{version}" if version is not None else "") + ":predict"
    )


def model_paths(
    infos: Sequence[ModelInfo], errors: dict[str, Any], max_body_bytes: int
) -> dict[str, Any]:
    """OpenAPI paths: one for each model, and one for each version where there are several."""
    paths: dict[str, Any] = {}
    for info in infos:
        siblings = [other.version for other in infos if other.name == info.name]
        if info.version == max(siblings):
            path = predict_path(info.name)
            paths[path] = _path_item(info, errors, max_body_bytes, versioned=False)
        if len(siblings) > 1:
            path = predict_path(info.name, info.version)
            paths[path] = _path_item(info, errors, max_body_bytes, versioned=True)
    return paths


def _path_item(
    info: ModelInfo, errors: dict[str, Any], max_body_bytes: int, *, versioned: bool
) -> dict[str, Any]:
    name = f"{info.name}/versions/{info.version}" if versioned else info.name
    operation = {
        "tags": [TAG],
        "summary": f"Predict with {info.name}" + (f" version {info.version}" if versioned else ""),
        "description": _description(info, max_body_bytes),
        "operationId": re.sub(r"\W+", "_", f"predict_{name}"),
        "requestBody": {"required": True, "content": {"application/json": _content(info)}},
        "responses": {
            "200": {
                "description": "`predictions` for `instances`, `outputs` for `inputs`",
                "content": {"application/json": {"schema": answer_schema(info.served)}},
            },
            **errors,
        },
    }
    return {"post": operation}


def _content(info: ModelInfo) -> dict[str, Any]:
    schema = body_model(info.name, info.served).model_json_schema()
    if _takes_files(info):
        schema["properties"]["instances"]["items"] = {
            "anyOf": [schema["properties"]["instances"]["items"], _ROW_OF_A_FILE]
        }
    content: dict[str, Any] = {"schema": schema}
    example = example_body(info)
    if example is not None:
        content["example"] = example
    return content


def _takes_files(info: ModelInfo) -> bool:
    return any(isinstance(task, FileTask) for task in info.tasks.values())


def example_body(info: ModelInfo) -> dict[str, Any] | None:
    """A request that this model answers; None where it would be too large."""
    signature = info.served
    row = example_row(signature, info.example, info.row_shapes, rows=not signature.row_obstacle)
    if row is None:
        file = info.example_file if _takes_files(info) else b""
        return {"instances": [{"b64": b64encode(file).decode()}]} if file else None
    if signature.row_obstacle:
        return {"inputs": row}
    rows = signature.inputs[0].shape[0] if signature.mode is BatchMode.WHOLE else 1
    return {"instances": [row] * (rows or 1)}


def _description(info: ModelInfo, max_body_bytes: int) -> str:
    signature = info.served
    lines = [
        info.description,
        "",
        f"Version {info.version}. " + _BATCHING[signature.mode].format(
            size=info.policy.max_batch_size
        ).capitalize() + f". Bodies of up to {max_body_bytes // 2**20} MiB.",
        "",
        "| | name | type | shape |",
        "|---|---|---|---|",
    ]  # fmt: skip
    for kind, specs in (("input", signature.inputs), ("output", info.served.outputs)):
        for spec in specs:
            axes = str(spec).rsplit("[", 1)[1].rstrip("]")
            lines.append(f"| {kind} | `{spec.name}` | {spec.dtype.label} | [{axes}] |")
    lines += ["", *(f"Warning: {text}" for text in info.warnings)]
    return "\n".join(lines).strip()
