"""What the protocols for text share: which model, and how long its inputs may be."""

from collections.abc import Sequence
from typing import Any

from inference_service.core.errors import InvalidInput, ModelNotFound, quoted
from inference_service.core.requests import ModelRef
from inference_service.core.text import TextEmbedder
from inference_service.engine.interfaces import Engine, ModelInfo

OFF_LOOP_FROM = 4096
"""Bytes. A longer body is tokenised in a thread."""

MOST_TEXTS = 2048
"""Texts in one request."""


def embedder_of(info: ModelInfo) -> TextEmbedder:
    """The model's pipeline. Raises InvalidInput for a model that takes no text."""
    if info.text is None:
        raise InvalidInput(
            f"model '{info.name}' makes no vectors of text: its model.toml has no [pipeline] of "
            "kind 'text-embedding'"
        )
    return info.text


def embedding_model(engine: Engine, name: str | None) -> ModelRef:
    """The model of that name, or the only one that makes vectors of text."""
    if name:
        return ModelRef(name)
    names = sorted({info.name for info in engine.models() if info.text is not None})
    if len(names) == 1:
        return ModelRef(names[0])
    if not names:
        raise ModelNotFound("no model that makes vectors of text is loaded")
    raise InvalidInput(
        f"several models make vectors of text: name one of {quoted(names)}", ("model",)
    )


def texts_of(given: str | Sequence[Any]) -> Sequence[str | Sequence[int]]:
    """The texts one by one: a text, texts, the tokens of one, or of several."""
    alone = isinstance(given, str) or (given and isinstance(given[0], int))
    return [given] if alone else given


def check_count(texts: int) -> None:
    """Raises InvalidInput for none and for too many."""
    if not texts:
        raise InvalidInput("expected at least one text")
    if texts > MOST_TEXTS:
        raise InvalidInput(f"{texts} texts in one request, the limit is {MOST_TEXTS}")
