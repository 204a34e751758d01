"""The paths of TensorFlow Serving's REST API."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from time import time
from typing import Any

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from inference_service.core.errors import InvalidInput, ModelNotFound, NotFound, clipped
from inference_service.core.requests import ModelRef
from inference_service.core.tasks import FileTask
from inference_service.core.tensors import NonFinite, Tensors
from inference_service.engine.interfaces import Engine, ModelInfo, ModelStatus
from inference_service.protocols import json_large
from inference_service.protocols.json_large import is_dense, parse_few
from inference_service.protocols.json_schema import inlined
from inference_service.protocols.tfserving import codec, examples
from inference_service.protocols.tfserving.quick import decoder
from inference_service.protocols.tfserving.schema import (
    ClassifyAnswer,
    MetadataAnswer,
    ModelListAnswer,
    ModelStatusAnswer,
    PredictAnswer,
    PredictBody,
    RegressAnswer,
)
from inference_service.serving.codec import Call, Codec, Decode, Head, no_quick
from inference_service.serving.quick import Quick, QuickDecode
from inference_service.web.endpoint import Edge, HttpBinding, InferenceEndpoint, task_hint
from inference_service.web.errors import ERRORS, ErrorAnswer, answer
from inference_service.web.errors import body as error_body
from inference_service.web.routing import (
    Label,
    ModelName,
    Version,
    add_lean_routes,
    parse_version,
)

TAG = "TensorFlow Serving API"
_MOST_OF_FILES, _MOST_OF_A_BYTE = 64 * 2**20, 16
"""Bytes of tensors that the files of a body may become, in all or for each byte of the body."""


def _file_task(body: bytes, info: ModelInfo) -> FileTask | None:
    """The task that prepares what the body holds: files in place of numbers."""
    if not info.tasks or b'"b64"' not in body:
        return None
    return next((task for task in info.tasks.values() if isinstance(task, FileTask)), None)


def _takes_long(body: bytes, info: ModelInfo) -> bool:
    """Whether it is to be decoded in a thread, however small it is: files, and many values."""
    return _file_task(body, info) is not None or is_dense(body)


def _decode(body: bytes, info: ModelInfo, head: Head) -> Call:
    task = _file_task(body, info)
    if task is not None:
        most = max(_MOST_OF_FILES, _MOST_OF_A_BYTE * len(body))
        return call(*codec.decode_files(parse_few(body), info.served, task.tensors, most), head)
    try:
        inputs, by_rows = _read(body, codec.decode_predict, info, head, codec.decode_quickly)
    except InvalidInput as error:
        if error.message.endswith("neither"):  # perhaps what the model's task takes
            raise InvalidInput(f"{error.message}{task_hint(info)}", error.path) from None
        raise
    return call(inputs, by_rows, head)


def _quick(info: ModelInfo) -> QuickDecode | None:
    decode = decoder(info.served)
    if not info.tasks:
        return decode
    return lambda body, head: None if b'"b64"' in body else decode(body, head)  # perhaps files


def call(inputs: Tensors, by_rows: bool, head: Head) -> Call:
    """What the engine is asked for, and how to answer."""
    rows = codec.row_count(inputs) if by_rows else None
    encode = partial(codec.encode_predict, by_rows=by_rows, rows=rows, non_finite=head.non_finite)
    return Call(inputs, encode)


def _decode_regress(body: bytes, info: ModelInfo, head: Head) -> Call:
    name = examples.regression_output(info.served)
    (inputs,) = _read(body, examples.decode, info, head)
    rows = codec.row_count(inputs)
    encode = partial(examples.encode_regression, name=name, rows=rows, non_finite=head.non_finite)
    return Call(inputs, encode)


def _decode_classify(body: bytes, info: ModelInfo, head: Head) -> Call:
    name = examples.classification_output(info.served)
    (inputs,) = _read(body, examples.decode, info, head)
    rows = codec.row_count(inputs)
    encode = partial(
        examples.encode_classification, name=name, labels=info.labels, rows=rows,
        non_finite=head.non_finite,
    )  # fmt: skip
    return Call(inputs, encode)


def _read(
    body: bytes,
    decode: json_large.Decode,
    info: ModelInfo,
    head: Head,
    quick: json_large.Quick | None = None,
) -> tuple[Any, ...]:
    bare = head.non_finite is NonFinite.BARE
    null = head.non_finite is not NonFinite.ERROR
    return json_large.read(body, decode, info.served, quick=quick, non_finite=bare, null=null)


def _failure(error: Exception) -> ErrorAnswer:
    """The usual answer; what TensorFlow Serving says of an unknown model stands in front."""
    reply = answer(error)
    if isinstance(error, ModelNotFound) and error.name:
        name, version = error.name, error.version
        name = clipped(name)
        wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        text = f"Servable not found for request: {wanted}: {error}"
        reply = replace(reply, body=error_body(text))
    return reply


@dataclass(frozen=True, slots=True)
class _Verb:
    """One of the things a model can be asked for."""

    name: str
    decode: Decode
    body: type[BaseModel]
    reply: type[BaseModel]
    summary: str
    text: str
    quick: Quick = no_quick


_VERBS = (
    _Verb(
        "predict", _decode, PredictBody, PredictAnswer, "Predict",
        "Rows in ``instances`` are answered in ``predictions``, columns in ``inputs`` in "
        "``outputs``.", quick=_quick,
    ),
    _Verb(
        "classify", _decode_classify, examples.ExamplesBody, ClassifyAnswer, "Classify",
        "Examples are answered with the classes and their scores.",
    ),
    _Verb(
        "regress", _decode_regress, examples.ExamplesBody, RegressAnswer, "Regress",
        "Examples are answered with one number each.",
    ),
)  # fmt: skip


def router(edge: Edge) -> APIRouter:
    """Predict, classify, regress, status and metadata, by version, by label and without."""
    routes = APIRouter(tags=[TAG])
    _add_verbs(routes, edge)
    _add_status(routes, edge.engine)
    _add_metadata(routes, edge.engine)
    return routes


def _add_verbs(routes: APIRouter, edge: Edge) -> None:
    engine = edge.engine
    endpoints: dict[str, ASGIApp] = {}

    def choose(path_params: dict[str, Any]) -> ModelRef:
        return _ref(engine, **path_params)

    async def latest(model: ModelName) -> None: ...

    async def by_version(model: ModelName, version: Version) -> None: ...

    async def by_label(model: ModelName, label: Label) -> None: ...

    binding = HttpBinding(choose, failure=_failure)
    for verb in _VERBS:
        codec_ = Codec("tfserving", verb.decode, heavy=_takes_long, quick=verb.quick)
        endpoints[verb.name] = InferenceEndpoint(edge, binding, codec_)
        for place, contract in (
            ("", latest),
            ("/versions/{version}", by_version),
            ("/labels/{label}", by_label),
        ):
            add_lean_routes(
                routes,
                {f"/v1/models/{{model}}{place}:{verb.name}": contract},
                endpoints[verb.name],
                {"application/json": {"schema": inlined(verb.body)}},
                summary=verb.summary,
                description=verb.text,
                operation_id=re.sub(r"\W+", "_", f"{verb.name}{place}").rstrip("_"),
                responses={200: {"model": verb.reply}, **ERRORS},
            )
    add_lean_routes(
        routes, {"/v1/models/{rest:path}": latest}, AnyCase(endpoints), include_in_schema=False
    )


class AnyCase:
    """The verbs in any case, as TensorFlow Serving takes them: ``:Predict``."""

    _path = re.compile(
        r"/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
        r":(?P<verb>classify|regress|predict)",
        re.IGNORECASE,
    )

    def __init__(self, endpoints: Mapping[str, ASGIApp]) -> None:
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        found = self.check(scope)
        parameters = {key: value for key, value in found.groupdict().items() if value is not None}
        endpoint = self._endpoints[parameters.pop("verb").lower()]
        scope["path_params"] = parameters
        await endpoint(scope, receive, send)

    def check(self, scope: Scope) -> re.Match[str]:
        """Raises NotFound for a path that is none of these."""
        found = self._path.fullmatch(scope["path"])
        if found is None:
            method, path = scope["method"], scope["path"]
            raise NotFound(f"malformed request: {method} {path}; /docs lists all paths")
        return found


def _ref(
    engine: Engine, model: str, version: str | None = None, label: str | None = None
) -> ModelRef:
    """The model of a path. Raises ModelNotFound for a label that no loaded version has."""
    if label is None:
        return parse_version(version, model)
    for info in engine.models():
        if info.name == model and label in info.version_labels:
            return info.ref
    engine.describe(ModelRef(model))  # an unknown model is told as such
    raise ModelNotFound(f"no loaded version of model '{model}' has the label '{label}'")


def _add_status(routes: APIRouter, engine: Engine) -> None:
    started = int(time())

    def told(statuses: list[ModelStatus]) -> dict[str, Any]:
        versions = [(entry.version, entry.state, entry.error) for entry in statuses]
        return codec.model_status(statuses[0].name, versions, started)

    @routes.get("/v1/models", response_model=ModelListAnswer)
    @routes.get("/v1/models/", include_in_schema=False)
    def model_list() -> dict[str, Any]:
        """The models that answer requests, as OpenAI's and KServe V1's clients list them."""
        return codec.model_list(sorted({info.name for info in engine.models()}), started)

    @routes.get(
        "/v1/models/{model}", response_model=ModelStatusAnswer, responses={404: ERRORS[404]}
    )
    def model_status(model: ModelName) -> dict[str, Any]:
        """Every version of a model and its state."""
        return told(_known(engine, model, None))

    @routes.get(
        "/v1/models/{model}/versions/{version}",
        response_model=ModelStatusAnswer,
        responses={404: ERRORS[404]},
    )
    def version_status(model: ModelName, version: Version) -> dict[str, Any]:
        """One version of a model and its state."""
        return told(_known(engine, model, version))

    @routes.get(
        "/v1/models/{model}/labels/{label}",
        response_model=ModelStatusAnswer,
        responses={404: ERRORS[404]},
    )
    def label_status(model: ModelName, label: Label) -> dict[str, Any]:
        """The version that has a label, and its state."""
        if _is_verb(label):
            raise HTTPException(405, headers={"Allow": "POST"})
        ref = _ref(engine, model, label=label)
        return told(_known(engine, model, str(ref.version)))


def _known(engine: Engine, model: str, version: str | None) -> list[ModelStatus]:
    if _is_verb(version or model):
        raise HTTPException(405, headers={"Allow": "POST"})
    ref = parse_version(version, model)
    versions = [entry for entry in engine.statuses() if entry.name == ref.name]
    found = [entry for entry in versions if ref.version in {None, entry.version}]
    if not found and ref.version == 0:  # the latest, for TensorFlow Serving's clients
        found = sorted(versions, key=lambda entry: entry.version)[-1:]
    if not found:
        wanted = clipped(model) + (f" version {clipped(version)}" if version else "")
        raise ModelNotFound(f"Could not find any versions of model {wanted}")
    return found


def _is_verb(text: str) -> bool:
    return text.lower().endswith((":predict", ":classify", ":regress"))


def _add_metadata(routes: APIRouter, engine: Engine) -> None:
    def found(ref: ModelRef) -> dict[str, Any]:
        info = engine.describe(ref)
        return codec.metadata(info.name, info.version, info.served)

    @routes.get(
        "/v1/models/{model}/metadata",
        response_model=MetadataAnswer,
        responses={404: ERRORS[404], 503: ERRORS[503]},
    )
    def model_metadata(model: ModelName) -> dict[str, Any]:
        """Inputs and outputs of the version that is served by default."""
        return found(ModelRef(model))

    @routes.get(
        "/v1/models/{model}/versions/{version}/metadata",
        response_model=MetadataAnswer,
        responses={404: ERRORS[404], 503: ERRORS[503]},
    )
    def version_metadata(model: ModelName, version: Version) -> dict[str, Any]:
        """Inputs and outputs of one version."""
        return found(parse_version(version, model))

    @routes.get(
        "/v1/models/{model}/labels/{label}/metadata",
        response_model=MetadataAnswer,
        responses={404: ERRORS[404], 503: ERRORS[503]},
    )
    def label_metadata(model: ModelName, label: Label) -> dict[str, Any]:
        """Inputs and outputs of the version that has a label."""
        return found(_ref(engine, model, label=label))
