"""POST /embed and /tokenize, GET /info, as text-embeddings-inference has them.

Source: huggingface/text-embeddings-inference, router/src/http/server.rs. TEI serves one
model; where several make vectors of text here, ``model`` names one of them.
"""

import asyncio
from dataclasses import replace
from typing import Any, TypeVar

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ValidationError

from inference_service.core.errors import InferenceServiceError, InvalidInput, TooLarge
from inference_service.core.requests import ModelRef
from inference_service.core.tensors import Tensors
from inference_service.core.text import FORMS, Token, check_dimensions
from inference_service.engine.interfaces import ModelInfo
from inference_service.faults import invalid_input
from inference_service.protocols.json_large import parse_few
from inference_service.protocols.json_schema import inlined
from inference_service.protocols.json_tensors import dump
from inference_service.protocols.tei.schema import (
    EmbedBody,
    Info,
    TeiError,
    TokenizeBody,
    TokenLists,
    Vectors,
)
from inference_service.protocols.text import (
    MOST_TEXTS,
    OFF_LOOP_FROM,
    check_count,
    embedder_of,
    embedding_model,
    texts_of,
)
from inference_service.serving.codec import Call, Codec, Content, Head
from inference_service.web.endpoint import Edge, HttpBinding, InferenceEndpoint
from inference_service.web.errors import ERRORS, ErrorAnswer, answer, words
from inference_service.web.health import Health
from inference_service.web.routing import add_lean_routes

TAG = "Embeddings"
_Body = TypeVar("_Body", bound=BaseModel)
_KINDS = {400: "Validation", 404: "Validation", 413: "Validation", 503: "Overloaded"}
_MISSING = "missing"
_LARGEST = 2**20  # bytes of a body whose text is only taken apart
_MOST_TOKENS = 2**14
"""That are told in one answer, in some 80 bytes each. No permit counts it."""
FAILURES: dict[int | str, dict[str, Any]] = {
    status: {**told, "model": TeiError} for status, told in ERRORS.items()
}


def _decode(body: bytes, info: ModelInfo, head: Head) -> Call:
    embedder = embedder_of(info)
    request = _read(EmbedBody, parse_few(body))
    texts = texts_of(request.inputs)
    check_count(len(texts))
    check_dimensions(request.dimensions, embedder.dimensions(info.signature))
    try:
        tokens = embedder.tokenize(
            texts, truncate=bool(request.truncate), prompt=request.prompt_name
        )
    except InvalidInput as error:
        raise error.within("inputs" if error.path else "prompt_name") from None
    characters = sum(len(text) for text in texts if isinstance(text, str))

    def encode(outputs: Tensors) -> Content:
        vectors = embedder.vectors(
            outputs, tokens, normalise=request.normalize, dimensions=request.dimensions
        )
        headers = [
            (b"x-compute-type", b"cpu"),
            (b"x-compute-characters", str(characters).encode()),
            (b"x-compute-tokens", str(tokens.count).encode()),
        ]
        if any(tokens.truncated):
            headers.append((b"x-truncated", str(sum(tokens.truncated)).encode()))
        return Content(dump(list(vectors), head.non_finite), headers=tuple(headers))

    return Call(embedder.tensors(tokens, info.signature), encode)


def _read(kind: type[_Body], value: Any) -> _Body:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        fault = invalid_input(error)
        first = fault.path[:1]
        forms = kind is EmbedBody and first == ("inputs",) and fault.message != _MISSING
        raise InvalidInput(f"expected {FORMS}" if forms else fault.message, first) from None


def failure(error: Exception) -> ErrorAnswer:
    """The usual answer in TEI's shape."""
    reply = answer(error)
    text = words(error)
    body = {"error": text, "error_type": _KINDS.get(reply.status, "Backend")}
    return replace(reply, body=orjson.dumps(body))


def _refusal(error: InferenceServiceError) -> Response:
    reply = failure(error)
    return Response(reply.body, reply.status, dict(reply.headers), "application/json")


def router(edge: Edge, version: str, health: Health) -> APIRouter:
    """Embedding, also at the root, tokens, the model, and TEI's path for probes."""
    routes = APIRouter(tags=[TAG])
    _add_embed(routes, edge)
    _add_tokenize(routes, edge)

    @routes.get("/health", response_class=Response, responses={503: {"model": TeiError}})
    async def ready() -> Response:
        """200 when every model that must be is warm."""
        try:
            health.check()
        except InferenceServiceError as error:
            return _refusal(error)
        return Response()

    @routes.get(
        "/info",
        response_model=Info,
        responses={status: FAILURES[status] for status in (400, 404, 503)},
    )
    async def info(model: str = "") -> Info | Response:
        """The model that makes vectors of text, and its limits."""
        try:
            found = edge.engine.describe(embedding_model(edge.engine, model))
        except InferenceServiceError as error:
            return _refusal(error)
        embedder = embedder_of(found)
        return Info(
            model_id=found.name,
            model_type={"embedding": {"pooling": embedder.pooling}},
            max_input_length=embedder.max_tokens,
            max_batch_requests=found.policy.max_batch_size,
            max_client_batch_size=MOST_TEXTS,
            version=version,
        )

    return routes


def _add_embed(routes: APIRouter, edge: Edge) -> None:
    async def embed() -> None:
        """A vector for each text."""

    def choose(_: dict[str, Any]) -> ModelRef | None:
        try:
            return embedding_model(edge.engine, None)
        except InvalidInput:  # there are several
            return None

    def named(body: bytes) -> ModelRef:
        return embedding_model(edge.engine, _read(EmbedBody, parse_few(body)).model)

    binding = HttpBinding(choose, failure=failure, named_in=named)
    endpoint = InferenceEndpoint(edge, binding, Codec("tei", _decode, OFF_LOOP_FROM))
    # TEI answers at its root, too: Hugging Face's InferenceClient posts to the URL it is given.
    for path in ("/embed", "/"):
        add_lean_routes(
            routes,
            {path: embed},
            endpoint,
            _json(EmbedBody),
            summary="Embed",
            include_in_schema=path == "/embed",
            responses={200: {"model": Vectors}, **FAILURES},
        )


def _add_tokenize(routes: APIRouter, edge: Edge) -> None:
    @routes.post(
        "/tokenize",
        response_class=Response,
        responses={200: {"model": TokenLists}, **FAILURES},
        openapi_extra={"requestBody": {"required": True, "content": _json(TokenizeBody)}},
    )
    async def tokenize(request: Request) -> Response:
        """The tokens of each text."""
        try:
            content = await _tokenized(request, edge)
        except InferenceServiceError as error:
            return _refusal(error)
        return Response(content, media_type="application/json")


async def _tokenized(request: Request, edge: Edge) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST:
            raise TooLarge(f"the body is larger than {_LARGEST} bytes")
    given = _read(TokenizeBody, parse_few(bytes(body)))
    embedder = embedder_of(edge.engine.describe(embedding_model(edge.engine, given.model)))
    texts = [given.inputs] if isinstance(given.inputs, str) else given.inputs
    check_count(len(texts))

    def explain() -> bytes:
        lists, count = [], 0
        for text in texts:
            tokens = embedder.explain(text, special=given.add_special_tokens)
            count += len(tokens)
            if count > _MOST_TOKENS:
                raise TooLarge(
                    f"the texts have more than {_MOST_TOKENS} tokens: send fewer in one request"
                )
            lists.append(list(map(_told, tokens)))
        return bytes(dump(lists))

    return await asyncio.to_thread(explain)


def _told(token: Token) -> dict[str, Any]:
    return token._asdict() | ({"start": None, "stop": None} if token.special else {})


def _json(kind: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": inlined(kind)}}
