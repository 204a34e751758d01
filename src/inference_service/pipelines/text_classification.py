"""A text in, labels out: ``[pipeline] kind = "text-classification"``."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from inference_service.core.errors import InvalidInput, InvalidModel
from inference_service.core.padding import PaddedAxis
from inference_service.core.tasks import Inference, Payload, PayloadPipeline, Steps, Task
from inference_service.core.tensors import Signature
from inference_service.core.text import TextEmbedder
from inference_service.pipelines import sequences
from inference_service.pipelines.registry import Amount, Place, read
from inference_service.pipelines.scores import Label, ScoreOptions, Scorer, names_beside, tensor
from inference_service.pipelines.sequence_tasks import TextLabels, TextParameters
from inference_service.pipelines.text_tasks import text_of

_PADDING = -1
_OFF_LOOP_FROM = 16_384  # bytes


class TextOptions(ScoreOptions):
    """The graph takes a text as numbers: its characters (code points) or its bytes in UTF-8.

    Shorter rows are filled up with -1. ``max_length`` is the longest that it takes.
    With ``words`` the graph gets the words alone: see `words_alone`.
    ``names`` is a file or a list as ``labels``, for people: the answer has both.
    ``normal_form`` is of Unicode (UAX 15): an "é" may come as one code point or as two.
    """

    units: Literal["characters", "bytes"] = "characters"
    lower: bool = False
    words: bool = False
    names: str | Annotated[list[str], Field(max_length=100_000)] | None = None
    normal_form: Literal["NFC", "NFKC"] | None = None
    max_length: Amount = 2000

    @property
    def longest(self) -> int:
        """Of a row: words have a space at either end."""
        return self.max_length + 2 * self.words


class NamedLabel(Label):
    """A class, what people call it, and how likely it is."""

    name: str = Field(description="of the label, for people")


class NamedTextLabels(TextLabels):
    """The classes of a text, the likeliest first."""

    labels: Sequence[NamedLabel]


@dataclass(frozen=True, slots=True)
class TextClassification:
    """See `PayloadPipeline`."""

    options: TextOptions
    place: Place
    kind: str = "text-classification"
    embedder: TextEmbedder | None = None

    @property
    def padding(self) -> Mapping[str, PaddedAxis]:
        """Of the one input."""
        return {} if self.options.input is None else {self.options.input: PaddedAxis(1, _PADDING)}

    @property
    def longest(self) -> int:
        """See `PayloadPipeline`."""
        return self.options.longest

    def tasks(self, signature: Signature) -> Mapping[str, Task]:
        """Classify."""
        return {"classify": ClassifyText(self.options, self.place, signature)}


class ClassifyText:
    """See `Task`."""

    noun = "text"
    media: Sequence[str] = ("text/plain",)
    summary = "What kind of text is it?"
    parameters = TextParameters
    inline_below = _OFF_LOOP_FROM
    quick_steps = True

    def __init__(self, options: TextOptions, place: Place, signature: Signature) -> None:
        self._options = options
        self._scorer = Scorer(options, place, signature)
        self.labels = self._scorer.labels
        self._names = names_beside(options.names, place, self.labels[self._scorer.output])
        self.result: type[TextLabels] = NamedTextLabels if self._names else TextLabels
        self._spec = tensor(signature.inputs, options.input, "input")
        if len(signature.inputs) != 1 or not self._spec.dtype.is_integer:
            raise InvalidModel(
                f"pipeline: text-classification needs one input of integers, got {self._spec}"
            )
        if len(self._spec.shape) != 2:
            raise InvalidModel(f"pipeline.input: expected [batch, {options.units}]: {self._spec}")

    def run(self, payload: Payload, parameters: TextParameters) -> Steps:
        """One row."""
        options = self._options
        text = text_of(payload)
        if not text.strip():
            raise InvalidInput("the text is empty")
        if options.normal_form is not None:
            text = unicodedata.normalize(options.normal_form, text)
        if options.lower:
            text = text.lower()
        units = _units(text, options.units)
        truncated = len(units) > options.max_length
        if truncated and not parameters.truncate:
            raise InvalidInput(
                f"the text has {len(units)} {options.units}, the model takes {options.max_length}; "
                "set truncate to have it cut"
            )
        if options.words:
            units = _units(words_alone(text[: options.max_length]), options.units)
        row = units[None, : options.longest].astype(self._spec.dtype.numpy)
        outputs = yield [Inference({self._spec.name: row})]
        found = self._scorer(outputs[0][self._scorer.output][0], parameters)
        if not self._names:
            return TextLabels(labels=found.labels, truncated=truncated)
        named = [
            NamedLabel(**dict(one), name=self._names.get(one.label, one.label))
            for one in found.labels
        ]
        return NamedTextLabels(labels=named, truncated=truncated)


def words_alone(text: str) -> str:
    """The letters of a text and the marks on them, one space around each word.

    What a word is made of is told by the general categories of Unicode (UAX 44): L and M.
    """
    kept = "".join(letter if _in_word(letter) else " " for letter in text)
    return " ".join(["", *kept.split(), ""])


@lru_cache(4096)
def _in_word(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "LM"


def _units(text: str, kind: Literal["characters", "bytes"]) -> np.ndarray[Any, Any]:
    if kind == "bytes":
        return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def load(declared: Mapping[str, Any], place: Place) -> PayloadPipeline:
    """See `Factory`. With a ``tokenizer`` the graph is a transformer."""
    if "tokenizer" in declared:
        return sequences.load(declared, place)
    return TextClassification(read(TextOptions, declared), place)
