"""Texts, alone or in pairs, to the rows that transformers take (extra ``text``). Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inference_service.core.decoding import check_wanted
from inference_service.core.errors import InvalidInput, InvalidModel, quoted
from inference_service.core.padding import PaddedAxis
from inference_service.core.tensors import Signature, Tensors, TensorSpec
from inference_service.pipelines.registry import Amount, missing

IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
CHARACTERS = 16
"""Of a text for each token that a model takes: more are not looked at. Tokenizers take a
microsecond for a character, in a call that lets nothing else run."""
_SHORT = 4096  # characters that any text may have
_LOGITS = "logits"  # what Hugging Face's exporters call the scores


@dataclass(frozen=True, slots=True)
class Encoded:
    """A row: the ids, the segment of each, and where in the text it stands.

    ``special`` tokens stand for no text, as far as they are the tokenizer's own.
    """

    ids: tuple[int, ...]
    types: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]
    words: tuple[int | None, ...]
    special: tuple[int, ...]
    truncated: bool

    def tensors(self, signature: Signature) -> Tensors:
        """The model's inputs with this row."""
        values = {
            IDS: np.array([self.ids], np.int64),
            MASK: np.ones((1, len(self.ids)), np.int64),
            TYPES: np.array([self.types], np.int64),
        }
        return {
            spec.name: values[spec.name].astype(spec.dtype.numpy, copy=False)
            for spec in signature.inputs
        }


def bounded(text: str, max_tokens: int, *, truncate: bool) -> tuple[str, bool]:
    """The text that a tokenizer is given, and whether it was cut.

    Raises InvalidInput for one that is too long, unless it may be cut, and DeadlineExceeded.
    """
    check_wanted()
    most = max(_SHORT, CHARACTERS * max_tokens)
    if len(text) <= most:
        return text, False
    if truncate:
        return text[:most], True
    raise InvalidInput(
        f"the text has {len(text)} characters, the model takes {max_tokens} tokens, which are "
        f"looked for in {most} characters at most"
    )


@dataclass(frozen=True, slots=True)
class TextTokenizer:
    """A tokenizer of the ``tokenizers`` library; ``cutter`` is the same, cutting at the limit."""

    tokenizer: Any
    cutter: Any
    max_tokens: int
    pad_id: int

    @property
    def padding(self) -> dict[str, PaddedAxis]:
        """How rows of unlike length share a run."""
        return {IDS: PaddedAxis(1, self.pad_id), MASK: PaddedAxis(1), TYPES: PaddedAxis(1)}

    def encode(self, text: str, pair: str | None = None, *, truncate: bool = False) -> Encoded:
        """One row. Raises InvalidInput for what has no tokens or, unless it is cut, too many."""
        if not text.strip() or (pair is not None and not pair.strip()):
            raise InvalidInput("the text is empty")
        text, cut = bounded(text, self.max_tokens, truncate=truncate)
        if pair is not None:
            pair, pair_cut = bounded(pair, self.max_tokens, truncate=truncate)
            cut = cut or pair_cut
        found = self.tokenizer.encode(text, pair)
        too_long = len(found.ids) > self.max_tokens
        if too_long and not truncate:
            raise InvalidInput(
                f"the text has {len(found.ids)} tokens, the model takes {self.max_tokens}; set "
                "truncate to have it cut"
            )
        if too_long:
            found = self.cutter.encode(text, pair)
        if not found.ids:
            raise InvalidInput("the text has no tokens")
        return Encoded(
            tuple(found.ids), tuple(found.type_ids), tuple(found.offsets), tuple(found.word_ids),
            tuple(found.special_tokens_mask), too_long or cut,
        )  # fmt: skip


def open_tokenizer(
    path: Path, kind: str, max_tokens: Amount | None = None, pad_id: int | None = None
) -> TextTokenizer:
    """The tokenizer in the file (``tokenizer.json`` of Hugging Face).

    Without ``max_tokens`` and ``pad_id`` the file's own count. Raises InvalidModel.
    """
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise missing("tokenizers", kind, "text") from error
    if not path.is_file():
        raise InvalidModel(f"pipeline: there is no {path.name} beside the model")
    try:
        tokenizer, cutter = Tokenizer.from_file(str(path)), Tokenizer.from_file(str(path))
    # The library raises plain Exceptions of its own.
    except Exception as error:
        raise InvalidModel(f"pipeline: {path.name} is no tokenizer: {error}") from error
    own = (tokenizer.truncation or {}).get("max_length")
    limit = max_tokens or own
    if limit is None:
        raise InvalidModel(f"pipeline: {path.name} has no limit: set pipeline.max_tokens")
    if pad_id is None:
        pad_id = int((tokenizer.padding or {}).get("pad_id", 0))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    cutter.no_padding()
    cutter.enable_truncation(limit)
    return TextTokenizer(tokenizer, cutter, limit, pad_id)


def check_inputs(signature: Signature, kind: str) -> None:
    """Raises InvalidModel unless the graph takes token ids and what goes with them."""
    names = {spec.name for spec in signature.inputs}
    if IDS not in names or not names <= {IDS, MASK, TYPES}:
        raise InvalidModel(
            f"pipeline: {kind} needs the inputs '{IDS}' and as you like '{MASK}' and "
            f"'{TYPES}'; this model has {quoted(sorted(names))}"
        )
    if any(not spec.dtype.is_integer or len(spec.shape) != 2 for spec in signature.inputs):
        raise InvalidModel(f"pipeline: {kind} needs integer inputs [batch, tokens]")


def scores_of(signature: Signature, name: str | None) -> str | None:
    """The name of the output with the scores, where the graph has several and none is named."""
    names = [spec.name for spec in signature.outputs]
    return _LOGITS if name is None and len(names) > 1 and _LOGITS in names else name


def class_scores(spec: TensorSpec, rank: int) -> None:
    """Raises InvalidModel unless it holds floats with this many axes."""
    if not spec.dtype.is_float or len(spec.shape) != rank:
        wanted = "[batch, classes]" if rank == 2 else "[batch, tokens, classes]"
        raise InvalidModel(f"pipeline.output: expected floats {wanted}, got {spec}")


@dataclass(frozen=True, slots=True)
class TokenPipeline:
    """A `PayloadPipeline` around a tokenizer; ``make`` makes the tasks of a checked graph."""

    kind: str
    text: TextTokenizer
    make: Any
    embedder: None = None

    @property
    def padding(self) -> Mapping[str, PaddedAxis]:
        """See `PayloadPipeline`."""
        return self.text.padding

    @property
    def longest(self) -> int:
        """See `PayloadPipeline`."""
        return self.text.max_tokens

    def tasks(self, signature: Signature) -> Mapping[str, Any]:
        """See `PayloadPipeline`."""
        check_inputs(signature, self.kind)
        found: Mapping[str, Any] = self.make(signature)
        return found
