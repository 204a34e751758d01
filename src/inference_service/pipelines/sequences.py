"""Transformers of texts: the kinds ``reranking`` and ``zero-shot-classification``.

``text-classification`` is one, too, where it has a ``tokenizer``.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from inference_service.pipelines.registry import Place, read
from inference_service.pipelines.sequence_tasks import TokenOptions, sequence_tasks, tokenizer_of
from inference_service.pipelines.tokens import TokenPipeline


def load(declared: Mapping[str, Any], place: Place) -> TokenPipeline:
    """See `Factory`."""
    options = read(TokenOptions, declared)
    text = tokenizer_of(options, place)
    return TokenPipeline(options.kind, text, partial(sequence_tasks, options, text, place))
