"""Texts, alone or in pairs, to the rows that transformers take (extra ``text``). Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from inference_service.core.decoding import check_wanted
from inference_service.core.errors import InvalidInput, InvalidModel, quoted
from inference_service.core.padding import PaddedAxis
from inference_service.core.tensors import Signature, Tensors, TensorSpec
from inference_service.pipelines.registry import Amount, missing

IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
POSITIONS = "position_ids"  # exporters of decoders leave their making to the caller
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
            POSITIONS: np.arange(len(self.ids), dtype=np.int64)[None],
        }
        return {
            spec.name: values[spec.name].astype(spec.dtype.numpy, copy=False)
            for spec in signature.inputs
        }


PADDED = (MASK, TYPES, POSITIONS)
"""Inputs that are filled up with zeros beside the ids."""
Side = Literal["left", "right"]


def bounded(
    text: str, max_tokens: int, *, truncate: bool, side: Side = "right"
) -> tuple[str, bool]:
    """The text that a tokenizer is given, and whether it was cut.

    Raises InvalidInput for one that is too long, unless it may be cut, and DeadlineExceeded.
    """
    check_wanted()
    most = max(_SHORT, CHARACTERS * max_tokens)
    if len(text) <= most:
        return text, False
    if truncate:
        return (text[:most] if side == "right" else text[-most:]), True
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
    side: Side = "right"

    @property
    def padding(self) -> dict[str, PaddedAxis]:
        """How rows of unlike length share a run."""
        return {IDS: PaddedAxis(1, self.pad_id)} | {name: PaddedAxis(1) for name in PADDED}

    def encode(
        self, text: str, pair: str | None = None, *, truncate: bool = False,
        keep_pair: bool = False,
    ) -> Encoded:  # fmt: skip
        """One row. Raises InvalidInput for what has no tokens or, unless it is cut, too many.

        Of two texts the longer one is cut, token by token, or with ``keep_pair`` the first alone.
        """
        if not text.strip() or (pair is not None and not pair.strip()):
            raise InvalidInput("the text is empty")
        text, cut = bounded(text, self.max_tokens, truncate=truncate, side=self.side)
        if pair is not None:
            may = truncate and not keep_pair
            pair, pair_cut = bounded(pair, self.max_tokens, truncate=may, side=self.side)
            cut = cut or pair_cut
        found = self.tokenizer.encode(text, pair)
        too_long = len(found.ids) > self.max_tokens
        if too_long and not truncate:
            raise InvalidInput(
                f"the text has {len(found.ids)} tokens, the model takes {self.max_tokens}; set "
                "truncate to have it cut"
            )
        if too_long:
            alone = pair is not None and keep_pair
            found = self._first_cut(text, pair) if alone else self.cutter.encode(text, pair)
        if not found.ids:
            raise InvalidInput("the text has no tokens")
        return Encoded(
            tuple(found.ids), tuple(found.type_ids), tuple(found.offsets), tuple(found.word_ids),
            tuple(found.special_tokens_mask), too_long or cut,
        )  # fmt: skip

    def _first_cut(self, text: str, pair: str | None) -> Any:
        first = self.tokenizer.encode(text, add_special_tokens=False)
        second = self.tokenizer.encode(pair, add_special_tokens=False)
        special = self.tokenizer.num_special_tokens_to_add(True)
        left = self.max_tokens - len(second.ids) - special
        if left < 1:
            raise InvalidInput(
                f"the statement about the text has {len(second.ids)} tokens of the "
                f"{self.max_tokens} that the model takes, so that none are left for the text"
            )
        first.truncate(left, 0, self.side)
        return self.tokenizer.post_process(first, second)


def open_tokenizer(
    path: Path, kind: str, max_tokens: Amount | None = None, pad_id: int | None = None, *,
    side: Side = "right", lower: bool | None = None,
) -> TextTokenizer:  # fmt: skip
    """The tokenizer in the file (``tokenizer.json`` of Hugging Face).

    Without ``max_tokens`` and ``pad_id`` the file's own count, and without ``lower`` its own way
    with capitals. Raises InvalidModel.
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
    cutter.enable_truncation(limit, direction=side)
    for one in (tokenizer, cutter):
        if lower is not None and type(one.normalizer).__name__ == "BertNormalizer":
            one.normalizer.lowercase = lower
    return TextTokenizer(tokenizer, cutter, limit, pad_id, side)


def check_inputs(signature: Signature, kind: str) -> None:
    """Raises InvalidModel unless the graph takes token ids and what goes with them."""
    names = {spec.name for spec in signature.inputs}
    if IDS not in names or not names <= {IDS, *PADDED}:
        raise InvalidModel(
            f"pipeline: {kind} needs the inputs '{IDS}' and as you like {quoted(PADDED)}; this "
            f"model has {quoted(sorted(names))}"
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
