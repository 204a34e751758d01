"""POST /predict."""

from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import APIRouter

from inference_service.core.errors import InvalidInput, ModelNotFound, quoted
from inference_service.core.requests import ModelRef
from inference_service.core.tensors import Signature, Tensors
from inference_service.engine.interfaces import Engine
from inference_service.protocols.json_tensors import may_hold_booleans, parse
from inference_service.protocols.predict import codec
from inference_service.web.endpoint import Edge, Encode, InferenceEndpoint, lean_route
from inference_service.web.errors import ERRORS

TAG = "Predict"

DecodeValue = Callable[[Any, Signature, bool], tuple[Tensors, Encode]]
"""Parsed JSON to tensors; the flag says whether numbers must be checked for booleans."""


def router(edge: Edge, default_model: str, envelope: DecodeValue) -> APIRouter:
    """The one path. ``envelope`` reads the bodies that have ``instances`` or ``inputs``."""

    def decode(body: bytes, signature: Signature) -> tuple[Tensors, Encode]:
        value = parse(body)
        check = may_hold_booleans(body)
        if codec.is_envelope(value, signature):
            return envelope(value, signature, check)
        inputs, one_row = codec.decode(value, signature, check_booleans=check)
        return inputs, partial(codec.encode, one_row=one_row)

    def choose(_: dict[str, Any]) -> ModelRef:
        return default_ref(edge.engine, default_model)

    async def predict() -> None:
        """The body is the input itself as JSON, for the default model.

        An array, or an object with one key per input; one row or a batch of rows. The answer has
        the outputs by name. ``{"instances": …}`` and ``{"inputs": …}`` are answered as TensorFlow
        Serving does.
        """

    routes = APIRouter(tags=[TAG])
    schema = {"description": "the input: an array, or an object with one key per input"}
    routes.add_api_route(
        "/predict",
        predict,
        methods=["POST"],
        route_class_override=lean_route(InferenceEndpoint(edge, "predict", decode, choose)),
        summary="Predict with the default model",
        responses={200: {"description": "The outputs by name"}, **ERRORS},
        openapi_extra={
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}
        },
    )
    return routes


def default_ref(engine: Engine, default_model: str) -> ModelRef:
    """The model of ``/predict``: the setting, or the only one that there is."""
    if default_model:
        return ModelRef(default_model)
    names = sorted({status.name for status in engine.statuses()})
    if len(names) == 1:
        return ModelRef(names[0])
    if not names:
        raise ModelNotFound("no model is served")
    raise InvalidInput(
        f"several models are served ({quoted(names)}): start with --default-model NAME to choose "
        "the one of /predict, or post to /v1/models/NAME:predict"
    )
