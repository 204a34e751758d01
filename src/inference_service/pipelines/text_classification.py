"""A text in, labels out: ``[pipeline] kind = "text-classification"``."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from inference_service.core.errors import InvalidInput, InvalidModel
from inference_service.core.padding import PaddedAxis
from inference_service.core.tasks import Inference, Payload, PayloadPipeline, Steps, Task
from inference_service.core.tensors import Signature
from inference_service.core.text import TextEmbedder
from inference_service.pipelines import sequences
from inference_service.pipelines.registry import Amount, Place, read
from inference_service.pipelines.scores import ScoreOptions, Scorer, tensor
from inference_service.pipelines.sequence_tasks import TextLabels, TextParameters
from inference_service.pipelines.text_tasks import text_of

_PADDING = -1
_OFF_LOOP_FROM = 16_384  # bytes


class TextOptions(ScoreOptions):
    """The graph takes a text as numbers: its characters (code points) or its bytes in UTF-8.

    Shorter rows are filled up with -1. ``max_length`` is the longest that it takes.
    ``normal_form`` is of Unicode (UAX 15): an "é" may come as one code point or as two.
    """

    units: Literal["characters", "bytes"] = "characters"
    lower: bool = False
    normal_form: Literal["NFC", "NFKC"] | None = None
    max_length: Amount = 2000


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
        return self.options.max_length

    def tasks(self, signature: Signature) -> Mapping[str, Task]:
        """Classify."""
        return {"classify": ClassifyText(self.options, self.place, signature)}


class ClassifyText:
    """See `Task`."""

    noun = "text"
    media: Sequence[str] = ("text/plain",)
    summary = "What kind of text is it?"
    parameters = TextParameters
    result = TextLabels
    inline_below = _OFF_LOOP_FROM
    quick_steps = True

    def __init__(self, options: TextOptions, place: Place, signature: Signature) -> None:
        self._options = options
        self._scorer = Scorer(options, place, signature)
        self.labels = self._scorer.labels
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
        row = units[None, : options.max_length].astype(self._spec.dtype.numpy)
        outputs = yield [Inference({self._spec.name: row})]
        found = self._scorer(outputs[0][self._scorer.output][0], parameters)
        return TextLabels(labels=found.labels, truncated=truncated)


def _units(text: str, kind: Literal["characters", "bytes"]) -> np.ndarray[Any, Any]:
    if kind == "bytes":
        return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def load(declared: Mapping[str, Any], place: Place) -> PayloadPipeline:
    """See `Factory`. With a ``tokenizer`` the graph is a transformer."""
    if "tokenizer" in declared:
        return sequences.load(declared, place)
    return TextClassification(read(TextOptions, declared), place)
