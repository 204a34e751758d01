"""Speech in, letters out, all at once: ``[pipeline] kind = "ctc-transcription"``.

The graph answers scores of letters for each 20 ms; what is likeliest is read off, letters in a row
are one, and the blank parts those that are two.

Source: Graves et al., "Connectionist temporal classification", ICML 2006, section 3.2;
transformers, models/wav2vec2/tokenization_wav2vec2.py.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from inference_service.core.errors import InvalidInput, InvalidModel
from inference_service.core.tasks import Inference, Payload, Steps
from inference_service.core.tensors import Array, Signature
from inference_service.pipelines.registry import Place, UnpaddedPipeline, missing, read
from inference_service.pipelines.scores import tensor
from inference_service.pipelines.tokens import class_scores, scores_of

_KIND = "ctc-transcription"
try:
    from inference_service.pipelines.waves import MEDIA, WaveOptions, Waves
except ModuleNotFoundError as error:
    raise missing("soundfile and soxr", _KIND, "audio") from error

_UNKNOWN = "und"  # ISO 639-2: undetermined
_MOST_LETTERS = 1_000_000


class CtcOptions(WaveOptions):
    """How a recording becomes a row, and scores letters.

    ``vocabulary`` is a file of JSON: the number of each letter. ``delimiter`` stands between words.
    """

    output: str | None = None
    vocabulary: str = "vocab.json"
    blank: str = "<pad>"
    delimiter: str = "|"
    lower: bool = False
    language: str = _UNKNOWN


class CtcParameters(BaseModel):
    """What a request may say besides its audio."""

    model_config = ConfigDict(extra="forbid")

    language: str | None = Field(None, description="ISO 639-1 code; the model has one language")


class CtcSegment(BaseModel):
    """What was said from ``start`` to ``end``, in seconds."""

    start: float
    end: float
    text: str


class CtcTranscription(BaseModel):
    """What was said in one file."""

    text: str
    segments: list[CtcSegment] = Field(description="one for all of it; none for silence")
    language: str = Field(description="'und' where model.toml doesn't say it")
    seconds: float = Field(description="how long the audio is")


class TranscribeAtOnce:
    """See `Task`."""

    noun = "audio"
    media: Sequence[str] = MEDIA
    summary = "What is said?"
    parameters = CtcParameters
    result = CtcTranscription
    inline_below = 0
    quick_steps = True

    def __init__(
        self, options: CtcOptions, letters: Mapping[int, str], signature: Signature
    ) -> None:
        spec = tensor(signature.outputs, scores_of(signature, options.output), "output")
        class_scores(spec, 3)
        if spec.shape[2] not in {None, len(letters)}:
            raise InvalidModel(
                f"pipeline.vocabulary: {len(letters)} letters for {spec.shape[2]} classes"
            )
        self._output = spec.name
        self._options = options
        self._letters = letters
        self._waves = Waves(options, signature)

    def run(self, payload: Payload, parameters: CtcParameters) -> Steps:
        """One row."""
        own = self._options.language
        if own != _UNKNOWN and parameters.language not in {None, own}:
            raise InvalidInput(
                f"the model's language is '{own}', got '{parameters.language}'", ("language",)
            )
        row, seconds = self._waves.row(payload.data)
        outputs = yield [Inference(row)]
        text = self._text(outputs[0][self._output][0])
        whole = [CtcSegment(start=0.0, end=seconds, text=text)] if text else []
        return CtcTranscription(text=text, segments=whole, language=own, seconds=seconds)

    def _text(self, scores: Array) -> str:
        """Of [frames, letters]."""
        options = self._options
        found = (self._letters[one] for one, _ in groupby(scores.argmax(axis=1).tolist()))
        spelt = "".join(
            " " if one == options.delimiter else one for one in found if one != options.blank
        )
        return (spelt.lower() if options.lower else spelt).strip()


def load(declared: Mapping[str, Any], place: Place) -> UnpaddedPipeline:
    """See `Factory`."""
    options = read(CtcOptions, declared)
    letters = _letters(place.file(options.vocabulary))
    if options.blank not in letters.values():
        raise InvalidModel(f"pipeline.blank: there is no '{options.blank}' in the vocabulary")
    return UnpaddedPipeline(
        _KIND,
        lambda signature: {"transcribe": TranscribeAtOnce(options, letters, signature)},
        bounds=lambda signature: Waves(options, signature).bounds,
    )


def _letters(path: Path) -> Mapping[int, str]:
    """By number. Raises InvalidModel unless each number below their count has one."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidModel(f"pipeline.vocabulary: {path.name} can't be read: {error}") from None
    known = isinstance(found, dict) and len(found) <= _MOST_LETTERS
    if not known or sorted(map(str, found.values())) != sorted(map(str, range(len(found)))):
        raise InvalidModel(
            f"pipeline.vocabulary: {path.name}: expected an object of letters and their numbers, "
            "from 0 on"
        )
    return {int(number): letter for letter, number in found.items()}
