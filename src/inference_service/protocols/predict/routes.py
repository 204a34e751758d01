"""POST /predict."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from fastapi import APIRouter

from inference_service.core.errors import InvalidInput, ModelNotFound, quoted
from inference_service.core.requests import ModelRef
from inference_service.core.tensors import NonFinite, Tensors
from inference_service.engine.interfaces import Engine, ModelInfo
from inference_service.protocols import json_large
from inference_service.protocols.predict import codec
from inference_service.protocols.predict.quick import decoder
from inference_service.serving.codec import Call, Codec, Head
from inference_service.web.endpoint import Edge, HttpBinding, InferenceEndpoint
from inference_service.web.errors import ERRORS
from inference_service.web.routing import add_lean_routes

TAG = "Predict"


class Envelope(NamedTuple):
    """How bodies with ``instances`` or ``inputs`` are read and answered.

    ``call`` is told the tensors and whether they came by rows.
    """

    decode: json_large.Decode
    call: Callable[[Tensors, bool, Head], Call]


def router(
    edge: Edge, default_model: str, envelope: Envelope, also: Sequence[str] = ()
) -> APIRouter:
    """The one path, and ``also`` those that platforms give."""

    def decode(body: bytes, info: ModelInfo, head: Head) -> Call:
        inputs, flag, enveloped = json_large.read(
            body, codec.decode_any, info.served, envelope.decode,
            quick=codec.decode_any_quickly,
            non_finite=head.non_finite is NonFinite.BARE,
            null=head.non_finite is not NonFinite.ERROR,
        )  # fmt: skip
        if enveloped:
            return envelope.call(inputs, flag, head)
        return Call(inputs, partial(codec.encode, one_row=flag, non_finite=head.non_finite))

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
        Codec(
            "predict",
            decode,
            heavy=json_large.is_dense,
            quick=lambda info: decoder(info.served),
        ),
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
