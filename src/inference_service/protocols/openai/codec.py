"""OpenAI's embeddings requests to texts, and vectors to answers. Pure."""

import base64
from typing import Any

from pydantic import ValidationError

from inference_service.core.errors import InvalidInput
from inference_service.core.tensors import Array, NonFinite
from inference_service.core.text import FORMS, Tokens
from inference_service.faults import invalid_input, noun
from inference_service.protocols.json_tensors import dump
from inference_service.protocols.openai.schema import EmbeddingsBody


def decode(value: Any) -> EmbeddingsBody:
    """The request in a JSON value. Raises InvalidInput."""
    if not isinstance(value, dict):
        raise InvalidInput(f"expected an object with 'input', got {noun(value)}")
    try:
        return EmbeddingsBody.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["loc"][0] == "input" and first["type"] != "missing":
            raise InvalidInput(f"expected {FORMS}", ("input",)) from None
        raise invalid_input(error) from None


def encode(
    vectors: Array, tokens: Tokens, model: str, encoding: str | None, non_finite: NonFinite
) -> bytes:
    """The answer."""
    if encoding == "base64":
        values: list[Any] = [
            base64.b64encode(row.astype("<f4", copy=False).tobytes()).decode() for row in vectors
        ]
    else:
        values = list(vectors)
    data = [
        {"object": "embedding", "index": index, "embedding": value}
        for index, value in enumerate(values)
    ]
    usage = {"prompt_tokens": tokens.count, "total_tokens": tokens.count}
    return dump({"object": "list", "model": model, "data": data, "usage": usage}, non_finite)
