"""Text to one vector, with a tokenizer of the ``tokenizers`` library (extra ``text``)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from inference_service.core.errors import InvalidInput, InvalidModel
from inference_service.core.padding import PaddedAxis
from inference_service.core.tasks import Task
from inference_service.core.tensors import Array, Signature, Tensors, TensorSpec
from inference_service.core.text import TextEmbedder, Token, Tokens, check_dimensions
from inference_service.pipelines.registry import Amount, Options, Place, read
from inference_service.pipelines.text_tasks import Embed, Search
from inference_service.pipelines.tokens import (
    IDS,
    MASK,
    TYPES,
    bounded,
    check_inputs,
    open_tokenizer,
)

Pooling = Literal["mean", "cls", "last", "none"]

_SMALLEST_NORM = 1e-12


class TextEmbeddingOptions(Options):
    """Texts to one vector each: the graph takes token ids, the tokenizer lies beside it.

    ``pooling`` makes one vector of the tokens' vectors, with ``none`` the graph does. ``output``
    has the vectors: without it, the first one that may. Without ``max_tokens`` the tokenizer's own
    limit holds.
    """

    tokenizer: str = "tokenizer.json"
    max_tokens: Amount | None = None
    pad_id: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    pooling: Pooling = "mean"
    output: str | None = None


@dataclass(frozen=True, slots=True)
class TextEmbedding:
    """See `TextEmbedder`. ``cutter`` is the same tokenizer, cutting at ``max_tokens``."""

    tokenizer: Any
    cutter: Any
    max_tokens: int
    pooling: Pooling = "mean"
    pad_id: int = 0
    kind: str = "text-embedding"
    output: str | None = None

    @property
    def longest(self) -> int:
        """See `PayloadPipeline`."""
        return self.max_tokens

    @property
    def embedder(self) -> TextEmbedder:
        """See `PayloadPipeline`."""
        return self

    def tasks(self, signature: Signature) -> Mapping[str, Task]:
        """Embed, and search in texts that come with the question."""
        self.check(signature)
        return {"embed": Embed(self, signature), "search": Search(self, signature)}

    @property
    def padding(self) -> dict[str, PaddedAxis]:
        """How rows of unlike length share a run."""
        return {IDS: PaddedAxis(1, self.pad_id), MASK: PaddedAxis(1), TYPES: PaddedAxis(1)}

    def check(self, signature: Signature) -> None:
        """See `TextEmbedder.check`."""
        check_inputs(signature, self.kind)
        if self._output(signature) is None:
            wanted = "[batch, numbers]" if self._rank == 2 else "[batch, tokens, numbers]"
            name = f" '{self.output}'" if self.output else ""
            raise InvalidModel(
                f"pipeline: pooling = '{self.pooling}' needs an output{name} {wanted}, "
                f"got {', '.join(map(str, signature.outputs))}; say in model.toml how the tokens' "
                "vectors become one: pooling = 'mean', 'cls' or 'last'"
            )

    @property
    def _rank(self) -> int:
        return 2 if self.pooling == "none" else 3

    def _output(self, signature: Signature) -> TensorSpec | None:
        """The one that has the vectors."""
        for spec in signature.outputs:
            fits = spec.dtype.is_float and len(spec.shape) == self._rank
            if fits and self.output in {None, spec.name}:
                return spec
        return None

    def dimensions(self, signature: Signature) -> int | None:
        """See `TextEmbedder.dimensions`."""
        output = self._output(signature)
        return output.shape[-1] if output is not None else None

    def tokenize(self, texts: Sequence[str | Sequence[int]], *, truncate: bool = False) -> Tokens:
        """See `TextEmbedder.tokenize`."""
        found: list[tuple[int, ...]] = []
        truncated = []
        for index, given in enumerate(texts):
            text, cut = self._bounded(given, index, truncate=truncate)
            ids = self._ids(text, index)
            if not ids:  # blanks, for a tokenizer that adds no tokens of its own
                raise InvalidInput("the text has no tokens", (index,))
            too_long = len(ids) > self.max_tokens
            if too_long and not truncate:
                raise InvalidInput(
                    f"the text has {len(ids)} tokens, the model takes {self.max_tokens}", (index,)
                )
            if too_long and isinstance(text, str):
                ids = self.cutter.encode(text).ids
            found.append(tuple(ids[: self.max_tokens]))
            truncated.append(too_long or cut)
        return Tokens(tuple(found), tuple(truncated))

    def _bounded(
        self, text: str | Sequence[int], index: int, *, truncate: bool
    ) -> tuple[str | Sequence[int], bool]:
        if not isinstance(text, str):
            return text, False
        try:
            return bounded(text, self.max_tokens, truncate=truncate)
        except InvalidInput as error:
            raise error.within(index) from None

    def _ids(self, text: str | Sequence[int], index: int) -> Sequence[int]:
        if not text:
            raise InvalidInput("the text is empty", (index,))
        if isinstance(text, str):
            ids: Sequence[int] = self.tokenizer.encode(text).ids
            if not ids:  # blanks, for a tokenizer that adds no tokens of its own
                raise InvalidInput("the text has no tokens", (index,))
            return ids
        size = self.tokenizer.get_vocab_size()
        for place, token in enumerate(text):
            if not 0 <= token < size:
                raise InvalidInput(
                    f"expected a token of the model's own, 0 to {size - 1}, got {token}",
                    (index, place),
                )
        return text

    def explain(self, text: str, *, special: bool = True) -> Sequence[Token]:
        """See `TextEmbedder.explain`."""
        text, _ = bounded(text, self.max_tokens, truncate=False)
        encoded = self.tokenizer.encode(text, add_special_tokens=special)
        return [
            Token(token, text[start:stop] if stop > start else name, bool(is_special), start, stop)
            for token, name, is_special, (start, stop) in zip(
                encoded.ids, encoded.tokens, encoded.special_tokens_mask, encoded.offsets,
                strict=True,
            )
        ]  # fmt: skip

    def tensors(self, tokens: Tokens, signature: Signature) -> Tensors:
        """See `TextEmbedder.tensors`."""
        longest = max(len(ids) for ids in tokens.ids)
        ids = np.full((len(tokens.ids), longest), self.pad_id, np.int64)
        mask = np.zeros_like(ids)
        for row, text in enumerate(tokens.ids):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        values = {IDS: ids, MASK: mask, TYPES: np.zeros_like(ids)}
        return {
            spec.name: values[spec.name].astype(spec.dtype.numpy, copy=False)
            for spec in signature.inputs
        }

    def _states(self, outputs: Tensors) -> Array:
        if self.output is not None:
            return outputs[self.output]
        return next(one for one in outputs.values() if one.ndim == self._rank)

    def vectors(
        self,
        outputs: Tensors,
        tokens: Tokens,
        *,
        normalise: bool,
        dimensions: int | None = None,
    ) -> Array:
        """See `TextEmbedder.vectors`."""
        found = self._pooled(outputs, tokens)
        check_dimensions(dimensions, found.shape[1])
        found = found[:, :dimensions]
        if normalise:
            norms = np.linalg.norm(found, axis=1, keepdims=True).astype(np.float32)
            found = np.divide(found, np.maximum(norms, _SMALLEST_NORM))
        return np.ascontiguousarray(found, np.float32)

    def _pooled(self, outputs: Tensors, tokens: Tokens) -> Array:
        states = self._states(outputs).astype(np.float32, copy=False)
        lengths = np.array([len(ids) for ids in tokens.ids])
        found: Array
        if self.pooling == "none":
            found = states
        elif self.pooling == "cls":
            found = states[:, 0]
        elif self.pooling == "last":
            found = states[np.arange(len(lengths)), lengths - 1]
        else:
            mask = (np.arange(states.shape[1]) < lengths[:, None])[:, :, None]
            found = np.sum(states * mask, axis=1) / lengths[:, None].astype(np.float32)
        return found


def load(declared: Mapping[str, Any], place: Place) -> TextEmbedding:
    """See `Factory`."""
    options = read(TextEmbeddingOptions, declared)
    path = place.file(options.tokenizer)
    found = load_text_embedding(path, options.max_tokens, options.pooling, options.pad_id)
    return replace(found, output=options.output)


def load_text_embedding(
    path: Path,
    max_tokens: int | None = None,
    pooling: Pooling = "mean",
    pad_id: int | None = None,
) -> TextEmbedding:
    """The pipeline with the tokenizer in the file (``tokenizer.json`` of Hugging Face).

    Without ``max_tokens`` the file's own limit holds. Raises InvalidModel.
    """
    found = open_tokenizer(path, "text-embedding", max_tokens, pad_id)
    return TextEmbedding(found.tokenizer, found.cutter, found.max_tokens, pooling, found.pad_id)
