"""POST /predict."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter

from inference_service.core.errors import InvalidInput, ModelNotFound, quoted
from inference_service.core.requests import ModelRef
from inference_service.core.tensors import NonFinite
from inference_service.engine.interfaces import Engine, ModelInfo
from inference_service.protocols.json_tensors import parse, rules_for
from inference_service.protocols.json_values import Rules
from inference_service.protocols.predict import codec
from inference_service.protocols.predict.quick import decoder
from inference_service.serving.codec import Call, Codec, Head
from inference_service.web.endpoint import Edge, HttpBinding, InferenceEndpoint
from inference_service.web.errors import ERRORS
from inference_service.web.routing import add_lean_routes

TAG = "Predict"

DecodeValue = Callable[[Any, ModelInfo, Head, Rules], Call]
"""Parsed JSON to tensors."""


def router(
    edge: Edge, default_model: str, envelope: DecodeValue, also: Sequence[str] = ()
) -> APIRouter:
    """The one path, and ``also`` those that platforms give.

    ``envelope`` reads the bodies that have ``instances`` or ``inputs``.
    """

    def decode(body: bytes, info: ModelInfo, head: Head) -> Call:
        found = codec.decode_quickly(body, info.served)
        if found is None:
            bare = head.non_finite is NonFinite.BARE
            null = head.non_finite is not NonFinite.ERROR
            value = parse(body, non_finite=bare)
            rules = rules_for(body, non_finite=bare, null=null)
            if codec.is_envelope(value, info.served):
                return envelope(value, info, head, rules)
            found = codec.decode(value, info.served, rules=rules)
        inputs, one_row = found
        return Call(inputs, partial(codec.encode, one_row=one_row, non_finite=head.non_finite))

    def choose(_: dict[str, Any]) -> ModelRef:
        return default_ref(edge.engine, default_model)

    async def predict() -> None:
        """The body is the input itself as JSON, for the default model.

        An array, or an object with one key per input; one row or a batch of rows. The answer has
        the outputs by name. ``{"instances": …}`` and ``{"inputs": …}`` are answered as TensorFlow
        Serving does.
        """

    endpoint = InferenceEndpoint(
        edge,
        HttpBinding(choose),
        Codec("predict", decode, quick=lambda info: decoder(info.served)),
    )
    routes = APIRouter(tags=[TAG])
    schema = {"description": "the input: an array, or an object with one key per input"}
    add_lean_routes(
        routes,
        {"/predict": predict},
        endpoint,
        {"application/json": {"schema": schema}},
        summary="Predict with the default model",
        responses={200: {"description": "The outputs by name"}, **ERRORS},
    )
    if also:
        add_lean_routes(routes, dict.fromkeys(also, predict), endpoint, include_in_schema=False)
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
