"""A recording in, labels out: ``[pipeline] kind = "audio-classification"``."""

from collections.abc import Mapping, Sequence
from typing import Any

from inference_service.core.tasks import Inference, Payload, Steps
from inference_service.core.tensors import Signature
from inference_service.pipelines.registry import Place, UnpaddedPipeline, missing, read
from inference_service.pipelines.scores import (
    Classification,
    ClassifyParameters,
    ScoreOptions,
    Scorer,
)

_KIND = "audio-classification"
try:
    from inference_service.pipelines.waves import MEDIA, WaveOptions, Waves
except ModuleNotFoundError as error:
    raise missing("soundfile and soxr", _KIND, "audio") from error


class AudioOptions(ScoreOptions, WaveOptions):
    """How a recording becomes a row, and scores labels."""


class ClassifyAudio:
    """See `Task`."""

    noun = "audio"
    media: Sequence[str] = MEDIA
    summary = "What kind of sound is it?"
    parameters = ClassifyParameters
    result = Classification
    inline_below = 0
    quick_steps = True

    def __init__(self, options: AudioOptions, place: Place, signature: Signature) -> None:
        self._scorer = Scorer(options, place, signature)
        self.labels = self._scorer.labels
        self._waves = Waves(options, signature)

    def run(self, payload: Payload, parameters: ClassifyParameters) -> Steps:
        """One row."""
        row, _ = self._waves.row(payload.data)
        outputs = yield [Inference(row)]
        return self._scorer(outputs[0][self._scorer.output][0], parameters)


def load(declared: Mapping[str, Any], place: Place) -> UnpaddedPipeline:
    """See `Factory`."""
    options = read(AudioOptions, declared)
    return UnpaddedPipeline(
        _KIND,
        lambda signature: {"classify": ClassifyAudio(options, place, signature)},
        bounds=lambda signature: Waves(options, signature).bounds,
    )
