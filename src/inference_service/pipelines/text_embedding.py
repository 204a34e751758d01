"""Text to one vector, with a tokenizer of the ``tokenizers`` library (extra ``text``)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from inference_service.core.errors import InvalidInput, InvalidModel, quoted
from inference_service.core.padding import PaddedAxis
from inference_service.core.tasks import Task
from inference_service.core.tensors import Array, Signature, Tensors, TensorSpec
from inference_service.core.text import TextEmbedder, Token, Tokens, check_dimensions
from inference_service.pipelines.pooling import (
    Dense,
    DenseOptions,
    Floats,
    Pooling,
    normalised,
    pooled,
    read_dense,
)
from inference_service.pipelines.registry import Amount, Options, Place, read
from inference_service.pipelines.text_tasks import Embed, Search
from inference_service.pipelines.tokens import (
    IDS,
    MASK,
    PADDED,
    POSITIONS,
    TYPES,
    Side,
    TextTokenizer,
    bounded,
    check_inputs,
    open_tokenizer,
)

_Prompt = Annotated[str, Field(max_length=10_000)]


class TextEmbeddingOptions(Options):
    """Texts to one vector each: the graph takes token ids, the tokenizer lies beside it.

    ``pooling`` makes one vector of the tokens' vectors, with ``none`` the graph does. ``output``
    has the vectors: without it, the first one that may. Where the graph has a ``pooled_output``,
    that one is a text's vector already, whatever else is said here. ``dense`` are layers behind the
    pooling. ``prompts`` are put in front of texts: the one that a request names, or else
    ``default_prompt``. Without ``max_tokens`` the tokenizer's own limit holds, and without
    ``lower`` its own way with capitals. ``truncation_side``: which end is cut off.
    """

    tokenizer: str = "tokenizer.json"
    max_tokens: Amount | None = None
    pad_id: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    pooling: Pooling = "mean"
    output: str | None = None
    pooled_output: str | None = None
    dense: tuple[DenseOptions, ...] = ()
    prompts: dict[str, _Prompt] = Field(default_factory=dict)
    default_prompt: str | None = None
    truncation_side: Literal["left", "right"] = "right"
    lower: bool | None = None


@dataclass(frozen=True, slots=True)
class TextEmbedding:
    """See `TextEmbedder` and `TextEmbeddingOptions`.

    ``cutter`` is the same tokenizer, cutting at ``max_tokens``.
    """

    tokenizer: Any
    cutter: Any
    max_tokens: int
    pooling: Pooling = "mean"
    pad_id: int = 0
    kind: str = "text-embedding"
    output: str | None = None
    pooled_output: str | None = None
    dense: Sequence[Dense] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    side: Side = "right"

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
        return {IDS: PaddedAxis(1, self.pad_id)} | {name: PaddedAxis(1) for name in PADDED}

    def check(self, signature: Signature) -> None:
        """See `TextEmbedder.check`."""
        check_inputs(signature, self.kind)
        output = self._output(signature)
        if output is None:
            wanted = "[batch, numbers]" if self._rank == 2 else "[batch, tokens, numbers]"
            name = f" '{self.output}'" if self.output else ""
            raise InvalidModel(
                f"pipeline: pooling = '{self.pooling}' needs an output{name} {wanted}, "
                f"got {', '.join(map(str, signature.outputs))}; say in model.toml how the tokens' "
                "vectors become one: pooling = 'mean', 'cls' or 'last'"
            )
        width = None if self._pooled(signature.outputs) else output.shape[-1]
        for layer in self.dense:
            if width not in {None, layer.weight.shape[1]}:
                raise InvalidModel(
                    f"pipeline.dense: a layer for vectors of {layer.weight.shape[1]} numbers, "
                    f"got {width}"
                )
            width = layer.weight.shape[0]

    @property
    def _rank(self) -> int:
        return 2 if self.pooling == "none" else 3

    def _pooled(self, outputs: Iterable[TensorSpec]) -> TensorSpec | None:
        """The output that is a text's vector as it is."""
        for spec in outputs:
            if spec.name == self.pooled_output and spec.dtype.is_float and len(spec.shape) == 2:
                return spec
        return None

    def _output(self, signature: Signature) -> TensorSpec | None:
        """The one that has the vectors."""
        if (pooled_output := self._pooled(signature.outputs)) is not None:
            return pooled_output
        for spec in signature.outputs:
            fits = spec.dtype.is_float and len(spec.shape) == self._rank
            if fits and self.output in {None, spec.name}:
                return spec
        return None

    def dimensions(self, signature: Signature) -> int | None:
        """See `TextEmbedder.dimensions`."""
        if self.dense and self._pooled(signature.outputs) is None:
            return int(self.dense[-1].weight.shape[0])
        output = self._output(signature)
        return output.shape[-1] if output is not None else None

    def tokenize(
        self, texts: Sequence[str | Sequence[int]], *, truncate: bool = False,
        prompt: str | None = None,
    ) -> Tokens:  # fmt: skip
        """See `TextEmbedder.tokenize`."""
        before = self._prompt(prompt)
        found: list[tuple[int, ...]] = []
        truncated = []
        for index, given in enumerate(texts):
            if not given:
                raise InvalidInput("the text is empty", (index,))
            whole = before + given if isinstance(given, str) else given
            text, cut = self._bounded(whole, index, truncate=truncate)
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
            right = self.side == "right"
            found.append(tuple(ids[: self.max_tokens] if right else ids[-self.max_tokens :]))
            truncated.append(too_long or cut)
        return Tokens(tuple(found), tuple(truncated))

    def _prompt(self, name: str | None) -> str:
        chosen = self.default_prompt if name is None else name
        if chosen is None:
            return ""
        if chosen not in self.prompts:
            raise InvalidInput(
                f"there is no prompt '{chosen}'; there are: {quoted(self.prompts) or 'none'}"
            )
        return self.prompts[chosen]

    def _bounded(
        self, text: str | Sequence[int], index: int, *, truncate: bool
    ) -> tuple[str | Sequence[int], bool]:
        if not isinstance(text, str):
            return text, False
        try:
            return bounded(text, self.max_tokens, truncate=truncate, side=self.side)
        except InvalidInput as error:
            raise error.within(index) from None

    def _ids(self, text: str | Sequence[int], index: int) -> Sequence[int]:
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
        places = np.broadcast_to(np.arange(longest), ids.shape)
        values = {IDS: ids, MASK: mask, TYPES: np.zeros_like(ids), POSITIONS: places}
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
        ready = outputs.get(self.pooled_output or "")
        if ready is not None and ready.ndim == 2:
            found: Floats = ready.astype(np.float32, copy=False)
        else:
            states = self._states(outputs).astype(np.float32, copy=False)
            lengths = np.array([len(ids) for ids in tokens.ids])
            found = pooled(states, lengths, self.pooling)
            for layer in self.dense:
                found = layer(found)
        check_dimensions(dimensions, found.shape[1])
        found = found[:, :dimensions]
        if normalise:
            found = normalised(found)
        return np.ascontiguousarray(found, np.float32)


def load(declared: Mapping[str, Any], place: Place) -> TextEmbedding:
    """See `Factory`."""
    options = read(TextEmbeddingOptions, declared)
    if options.default_prompt is not None and options.default_prompt not in options.prompts:
        raise InvalidModel(
            f"pipeline.default_prompt: expected one of {quoted(options.prompts)}, "
            f"got '{options.default_prompt}'"
        )
    found = open_tokenizer(
        place.file(options.tokenizer), "text-embedding", options.max_tokens, options.pad_id,
        side=options.truncation_side, lower=options.lower,
    )  # fmt: skip
    layers = [read_dense(place.file(one.weights), one.activation) for one in options.dense]
    return replace(
        _embedding(found, options.pooling),
        output=options.output, pooled_output=options.pooled_output, dense=layers,
        prompts=options.prompts, default_prompt=options.default_prompt,
    )  # fmt: skip


def load_text_embedding(
    path: Path,
    max_tokens: int | None = None,
    pooling: Pooling = "mean",
    pad_id: int | None = None,
) -> TextEmbedding:
    """The pipeline with the tokenizer in the file (``tokenizer.json`` of Hugging Face).

    Without ``max_tokens`` the file's own limit holds. Raises InvalidModel.
    """
    return _embedding(open_tokenizer(path, "text-embedding", max_tokens, pad_id), pooling)


def _embedding(found: TextTokenizer, pooling: Pooling) -> TextEmbedding:
    return TextEmbedding(
        found.tokenizer, found.cutter, found.max_tokens, pooling, found.pad_id, side=found.side
    )
