"""Names and other pieces of a text: ``[pipeline] kind = "token-classification"``. Pure."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from inference_service.core.tasks import Inference, Payload, Steps
from inference_service.core.tensors import Array, Signature
from inference_service.pipelines.registry import Place, read
from inference_service.pipelines.scores import Share, labels_beside, probabilities, tensor
from inference_service.pipelines.sequence_tasks import TokenOptions, tokenizer_of
from inference_service.pipelines.text_tasks import text_of
from inference_service.pipelines.tokens import (
    Encoded,
    TextTokenizer,
    TokenPipeline,
    class_scores,
    scores_of,
)

_KIND = "token-classification"
_OUTSIDE = "O"
_OFF_LOOP_FROM = 4096  # bytes


class TagParameters(BaseModel):
    """What a request may say besides its texts."""

    model_config = ConfigDict(extra="forbid")

    group: Literal["entities", "words", "tokens"] = Field(
        "entities", description="neighbours of one label together, or each word or token by itself"
    )
    decides: Literal["first", "average", "max", "each"] = Field(
        "first",
        description="what a word's label is: its first token's, the likeliest on average, or the "
        "surest token's; with each, every token has its own",
    )
    threshold: Share = Field(0.0, description="only pieces of this score and more")
    truncate: bool = Field(False, description="cut a text that is too long, and say so")


class Piece(BaseModel):
    """A label and the characters that have it, from ``start`` to ``end``."""

    label: str
    score: float = Field(description="0 to 1, the mean of the words'")
    start: int
    end: int
    text: str


class Pieces(BaseModel):
    """The pieces of a text in their order; what the model calls "outside" is left out."""

    pieces: list[Piece]
    truncated: bool


class Tag:
    """See `Task`."""

    noun = "text"
    media: Sequence[str] = ("text/plain",)
    summary = "Which words of a text are names, or of another kind?"
    parameters = TagParameters
    result = Pieces
    inline_below = _OFF_LOOP_FROM
    quick_steps = True

    def __init__(
        self, options: TokenOptions, text: TextTokenizer, place: Place, signature: Signature
    ) -> None:
        spec = tensor(signature.outputs, scores_of(signature, options.output), "output")
        class_scores(spec, 3)
        self._names = labels_beside(options, place, spec.name, spec.shape[2])
        self._output = spec.name
        self._text = text
        self._signature = signature

    def run(self, payload: Payload, parameters: TagParameters) -> Steps:
        """One row."""
        text = text_of(payload)
        row = self._text.encode(text, truncate=parameters.truncate)
        outputs = yield [Inference(row.tensors(self._signature))]
        scores = probabilities(outputs[0][self._output][0], "logits")
        each = parameters.decides == "each" or parameters.group == "tokens"
        words = [
            self._piece(span, scores[span.tokens], parameters.decides, text)
            for span in _spans(row, each=each)
        ]
        if parameters.group == "entities":
            words = _entities(words, text)
        found = [
            one for one in words if one.label != _OUTSIDE and one.score >= parameters.threshold
        ]
        return Pieces(pieces=found, truncated=row.truncated)

    def _piece(self, span: "_Span", scores: Array, decides: str, text: str) -> Piece:
        """One word, by the scores of its tokens."""
        if decides == "average":
            chosen = scores.mean(axis=0)
        else:
            chosen = scores[int(scores.max(axis=1).argmax()) if decides == "max" else 0]
        which = int(np.argmax(chosen))
        return Piece(
            label=self._names[which] if self._names else str(which),
            score=float(chosen[which]), start=span.start, end=span.end,
            text=text[span.start : span.end],
        )  # fmt: skip


class _Span(NamedTuple):
    """Characters, and the tokens that stand for them."""

    start: int
    end: int
    tokens: list[int]


def _spans(row: Encoded, *, each: bool) -> list[_Span]:
    """The words of a text, or each of its tokens.

    That the first token of a word decides for all of it is how such models are trained: Devlin et
    al., arXiv:1810.04805, 5.3.
    """
    found: list[_Span] = []
    before: int | None = None
    for place, (word, (start, end)) in enumerate(zip(row.words, row.offsets, strict=True)):
        if row.special[place] or (end <= start and not each):
            continue
        if found and not each and word is not None and word == before:
            last = found[-1]
            found[-1] = _Span(last.start, end, [*last.tokens, place])
        else:
            found.append(_Span(start, end, [place]))
        before = word
    return found


def _entities(words: Sequence[Piece], text: str) -> list[Piece]:
    """Neighbours of one label; ``B-`` begins another piece, ``I-`` goes on (Ramshaw, Marcus).

    What stands before the first "-" of a label is no part of its name, as in transformers.
    """
    found: list[list[Piece]] = []
    before: str | None = None
    for word in words:
        begins, kind = _kind(word.label)
        if kind == before and not begins:
            found[-1].append(word)
        else:
            found.append([word])
        before = kind
    return [
        Piece(
            label=one[0].label.partition("-")[2] or one[0].label,
            score=float(np.mean([word.score for word in one])),
            start=one[0].start, end=one[-1].end, text=text[one[0].start : one[-1].end],
        )
        for one in found
    ]  # fmt: skip


def _kind(label: str) -> tuple[bool, str]:
    """Whether a piece begins here, and of which kind; labels without B- and I- are kinds."""
    return label.startswith("B-"), label[2:] if label.startswith(("B-", "I-")) else label


def _tasks(
    options: TokenOptions, text: TextTokenizer, place: Place, signature: Signature
) -> Mapping[str, Any]:
    return {"tag": Tag(options, text, place, signature)}


def load(declared: Mapping[str, Any], place: Place) -> TokenPipeline:
    """See `Factory`."""
    options = read(TokenOptions, declared)
    text = tokenizer_of(options, place)
    return TokenPipeline(_KIND, text, partial(_tasks, options, text, place))
