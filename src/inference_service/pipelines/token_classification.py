"""Names and other pieces of a text: ``[pipeline] kind = "token-classification"``. Pure."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from inference_service.core.tasks import Inference, Payload, Steps
from inference_service.core.tensors import Array, Signature
from inference_service.pipelines.registry import Place, read
from inference_service.pipelines.scores import Share, labels_beside, probabilities, tensor
from inference_service.pipelines.sequence_tasks import TokenOptions
from inference_service.pipelines.text_tasks import text_of
from inference_service.pipelines.tokens import (
    Encoded,
    TextTokenizer,
    TokenPipeline,
    class_scores,
    open_tokenizer,
    scores_of,
)

_KIND = "token-classification"
_OUTSIDE = "O"
_OFF_LOOP_FROM = 4096  # bytes


class TagParameters(BaseModel):
    """What a request may say besides its texts."""

    model_config = ConfigDict(extra="forbid")

    group: Literal["entities", "words"] = Field(
        "entities", description="neighbours of one label together, or each word by itself"
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
        words = _words(row, probabilities(outputs[0][self._output][0], "logits"), self._names, text)
        if parameters.group == "entities":
            words = _entities(words, text)
        else:
            words = [one for one in words if one.label != _OUTSIDE]
        found = [one for one in words if one.score >= parameters.threshold]
        return Pieces(pieces=found, truncated=row.truncated)


def _words(row: Encoded, scores: Array, names: Sequence[str], text: str) -> list[Piece]:
    """The first token of a word decides for all of it, as in training of such models.

    Source: Devlin et al., arXiv:1810.04805, 5.3.
    """
    found: list[Piece] = []
    before: int | None = None
    for place, (word, (start, end)) in enumerate(zip(row.words, row.offsets, strict=True)):
        if row.special[place] or end <= start:
            continue
        if found and word is not None and word == before:
            last = found[-1]
            found[-1] = last.model_copy(update={"end": end, "text": text[last.start : end]})
            continue
        before = word
        which = int(np.argmax(scores[place]))
        label = names[which] if names else str(which)
        found.append(
            Piece(
                label=label, score=float(scores[place, which]), start=start, end=end,
                text=text[start:end],
            )
        )  # fmt: skip
    return found


def _entities(words: Sequence[Piece], text: str) -> list[Piece]:
    """Neighbours of one label; ``B-`` begins another piece, ``I-`` goes on (Ramshaw, Marcus)."""
    found: list[list[Piece]] = []
    before = _OUTSIDE
    for word in words:
        prefix, _, kind = word.label.rpartition("-")
        if word.label != _OUTSIDE:
            if found and kind == before and prefix != "B":
                found[-1].append(word)
            else:
                found.append([word])
        before = _OUTSIDE if word.label == _OUTSIDE else kind
    return [
        Piece(
            label=one[0].label.rpartition("-")[2],
            score=float(np.mean([word.score for word in one])),
            start=one[0].start, end=one[-1].end, text=text[one[0].start : one[-1].end],
        )
        for one in found
    ]  # fmt: skip


def _tasks(
    options: TokenOptions, text: TextTokenizer, place: Place, signature: Signature
) -> Mapping[str, Any]:
    return {"tag": Tag(options, text, place, signature)}


def load(declared: Mapping[str, Any], place: Place) -> TokenPipeline:
    """See `Factory`."""
    options = read(TokenOptions, declared)
    path = place.file(options.tokenizer)
    text = open_tokenizer(path, _KIND, options.max_tokens, options.pad_id)
    return TokenPipeline(_KIND, text, partial(_tasks, options, text, place))
