"""POST /v1/embeddings."""

from dataclasses import replace
from functools import partial
from typing import Any

import orjson
from fastapi import APIRouter

from inference_service.core.errors import InvalidInput, ModelNotFound
from inference_service.core.requests import ModelRef
from inference_service.core.tensors import Tensors
from inference_service.core.text import check_dimensions
from inference_service.engine.interfaces import ModelInfo
from inference_service.protocols.json_large import parse_few
from inference_service.protocols.json_schema import inlined
from inference_service.protocols.openai import codec
from inference_service.protocols.openai.schema import EmbeddingsAnswer, EmbeddingsBody, FailureBody
from inference_service.protocols.text import (
    OFF_LOOP_FROM,
    check_count,
    embedder_of,
    embedding_model,
    texts_of,
)
from inference_service.serving.codec import Call, Codec, Head
from inference_service.web.endpoint import Edge, HttpBinding, InferenceEndpoint
from inference_service.web.errors import ERRORS, ErrorAnswer, answer, words
from inference_service.web.routing import add_lean_routes

TAG = "Embeddings"
FAILURES: dict[int | str, dict[str, Any]] = {
    status: {**told, "model": FailureBody} for status, told in ERRORS.items()
}
"""The errors of OpenAI's endpoints, for the OpenAPI document."""
_KINDS = {503: "overloaded_error"}


def _decode(body: bytes, info: ModelInfo, head: Head) -> Call:
    embedder = embedder_of(info)
    request = codec.decode(parse_few(body))
    texts = texts_of(request.input)
    check_count(len(texts))
    check_dimensions(request.dimensions, embedder.dimensions(info.signature))
    try:
        tokens = embedder.tokenize(texts)
    except InvalidInput as error:
        raise error.within("input") from None

    def encode(outputs: Tensors) -> bytes:
        vectors = embedder.vectors(outputs, tokens, normalise=True, dimensions=request.dimensions)
        return codec.encode(vectors, tokens, info.name, request.encoding_format, head.non_finite)

    return Call(embedder.tensors(tokens, info.signature), encode)


def failure(error: Exception) -> ErrorAnswer:
    """The usual answer in OpenAI's shape."""
    reply = answer(error)
    text = words(error)
    param = str(error.path[0]) if isinstance(error, InvalidInput) and error.path else None
    code = "model_not_found" if isinstance(error, ModelNotFound) else None
    usual = "server_error" if reply.status >= 500 else "invalid_request_error"
    kind = _KINDS.get(reply.status, usual)
    body = {"error": {"message": text, "type": kind, "param": param, "code": code}}
    return replace(reply, body=orjson.dumps(body))


def router(edge: Edge) -> APIRouter:
    """The one path, under both of its names."""

    def named(edge: Edge, body: bytes) -> ModelRef:
        return embedding_model(edge.engine, codec.decode(parse_few(body)).model)

    async def embeddings() -> None:
        """A vector for each text: normalised, as numbers or as base64 of float32."""

    binding = HttpBinding(lambda _: None, failure=failure, named_in=partial(named, edge))
    endpoint = InferenceEndpoint(edge, binding, Codec("openai", _decode, OFF_LOOP_FROM))
    routes = APIRouter(tags=[TAG])
    for path in ("/v1/embeddings", "/embeddings"):
        add_lean_routes(
            routes,
            {path: embeddings},
            endpoint,
            {"application/json": {"schema": inlined(EmbeddingsBody)}},
            summary="Embeddings",
            include_in_schema=path.startswith("/v1"),
            responses={200: {"model": EmbeddingsAnswer}, **FAILURES},
        )
    return routes
