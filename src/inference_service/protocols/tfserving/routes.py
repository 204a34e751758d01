"""The paths of TensorFlow Serving's REST API."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path
from pydantic import BaseModel

from inference_service.core.errors import ModelNotFound
from inference_service.core.requests import ModelRef
from inference_service.core.tensors import Signature, Tensors
from inference_service.engine.interfaces import Engine, ModelStatus
from inference_service.protocols.json_tensors import may_hold_booleans, parse
from inference_service.protocols.tfserving import codec
from inference_service.protocols.tfserving.schema import (
    MetadataAnswer,
    ModelStatusAnswer,
    PredictAnswer,
    PredictBody,
)
from inference_service.web.endpoint import (
    Edge,
    Encode,
    InferenceEndpoint,
    lean_route,
    parse_version,
)
from inference_service.web.errors import ERRORS

TAG = "TensorFlow Serving API"
_ModelName = Annotated[str, Path(description="name of a loaded model")]
_Version = Annotated[str, Path(description="version, a whole number")]


def _decode(body: bytes, signature: Signature) -> tuple[Tensors, Encode]:
    return decode_value(parse(body), signature, may_hold_booleans(body))


def decode_value(value: Any, signature: Signature, check_booleans: bool) -> tuple[Tensors, Encode]:
    """The tensors of a parsed predict request, and the way to answer it."""
    inputs, by_rows = codec.decode_predict(value, signature, check_booleans=check_booleans)
    return inputs, partial(codec.encode_predict, by_rows=by_rows)


def _choose(path_params: dict[str, Any]) -> ModelRef:
    return parse_version(path_params.get("version"), path_params["model"])


def router(edge: Edge) -> APIRouter:
    """Predict, status and metadata, each with and without a version."""
    routes = APIRouter(tags=[TAG])
    _add_predict(routes, edge)
    _add_status(routes, edge.engine)
    _add_metadata(routes, edge.engine)
    return routes


def _add_predict(routes: APIRouter, edge: Edge) -> None:
    endpoint = InferenceEndpoint(edge, "tfserving", _decode, _choose)

    async def predict(model: _ModelName) -> None:
        """Rows in ``instances`` are answered in ``predictions``, columns in ``inputs`` in ``outputs``."""  # noqa: E501

    async def predict_version(model: _ModelName, version: _Version) -> None:
        """The same for one version."""

    for path, contract in (
        ("/v1/models/{model}:predict", predict),
        ("/v1/models/{model}/versions/{version}:predict", predict_version),
    ):
        routes.add_api_route(
            path,
            contract,
            methods=["POST"],
            route_class_override=lean_route(endpoint),
            summary="Predict",
            responses={200: {"model": PredictAnswer}, **ERRORS},
            openapi_extra={"requestBody": request_body(PredictBody)},
        )


def request_body(model: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI's description of a JSON body."""
    return {
        "required": True,
        "content": {"application/json": {"schema": model.model_json_schema()}},
    }


def _add_status(routes: APIRouter, engine: Engine) -> None:
    @routes.get(
        "/v1/models/{model}", response_model=ModelStatusAnswer, responses={404: ERRORS[404]}
    )
    def model_status(model: _ModelName) -> dict[str, Any]:
        """Every version of a model and its state."""
        return _status(_known(engine, model, None))

    @routes.get(
        "/v1/models/{model}/versions/{version}",
        response_model=ModelStatusAnswer,
        responses={404: ERRORS[404]},
    )
    def version_status(model: _ModelName, version: _Version) -> dict[str, Any]:
        """One version of a model and its state."""
        return _status(_known(engine, model, version))


def _status(statuses: list[ModelStatus]) -> dict[str, Any]:
    return codec.status([(entry.version, entry.state, entry.error) for entry in statuses])


def _known(engine: Engine, model: str, version: str | None) -> list[ModelStatus]:
    if (version or model).endswith(":predict"):
        raise HTTPException(405, headers={"Allow": "POST"})
    ref = parse_version(version, model)
    found = [
        entry
        for entry in engine.statuses()
        if entry.name == ref.name and ref.version in {None, entry.version}
    ]
    if not found:
        raise ModelNotFound(f"unknown model '{model}'" + (f" version {version}" if version else ""))
    return found


def _add_metadata(routes: APIRouter, engine: Engine) -> None:
    def answer(ref: ModelRef) -> dict[str, Any]:
        info = engine.describe(ref)
        return codec.metadata(info.name, info.version, info.served)

    @routes.get(
        "/v1/models/{model}/metadata",
        response_model=MetadataAnswer,
        responses={404: ERRORS[404], 503: ERRORS[503]},
    )
    def model_metadata(model: _ModelName) -> dict[str, Any]:
        """Inputs and outputs of the version that is served by default."""
        return answer(ModelRef(model))

    @routes.get(
        "/v1/models/{model}/versions/{version}/metadata",
        response_model=MetadataAnswer,
        responses={404: ERRORS[404], 503: ERRORS[503]},
    )
    def version_metadata(model: _ModelName, version: _Version) -> dict[str, Any]:
        """Inputs and outputs of one version."""
        return answer(parse_version(version, model))
