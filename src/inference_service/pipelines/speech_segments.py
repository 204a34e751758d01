"""Sound in, segments of speech out: ``[pipeline] kind = "speech-segments"``."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, Field

from inference_service.core.decoding import decoded
from inference_service.core.errors import InvalidModel, quoted
from inference_service.core.tasks import Payload, PayloadStream, Steps
from inference_service.core.tensors import Signature
from inference_service.pipelines.registry import (
    Duration,
    Options,
    Place,
    UnpaddedPipeline,
    missing,
    read,
)
from inference_service.pipelines.speech_activity import (
    INPUTS,
    OUTPUTS,
    RATE,
    Began,
    Follower,
    SpeechParameters,
    SpeechStarted,
    Spoke,
    probabilities_of,
    spans_of,
)

try:
    from inference_service.pipelines import audio
except ModuleNotFoundError as error:
    raise missing("soundfile and soxr", "speech-segments", "audio") from error

_KIND = "speech-segments"


class SpeechOptions(Options):
    """The longest file or stream, in seconds."""

    max_seconds: Duration = 600.0


class Segment(BaseModel):
    """Somebody speaks, from ``start`` to ``end``, in seconds."""

    start: float
    end: float


class Speech(BaseModel):
    """The segments of one file."""

    segments: list[Segment]
    seconds: float = Field(description="how long the audio is")
    speech_seconds: float = Field(description="how much of it is speech")


class StreamParameters(audio.SoundFormat, SpeechParameters):
    """What a stream is, and what counts as speech in it."""


class SegmentEnded(BaseModel):
    """Somebody has spoken."""

    event: Literal["segment"] = "segment"
    start: float
    end: float


class Ended(BaseModel):
    """The stream's end: it was so long, in seconds."""

    event: Literal["end"] = "end"
    seconds: float


SpeechEvent: TypeAlias = SpeechStarted | SegmentEnded | Ended


class DetectSpeech:
    """See `Task` and `StreamingTask`."""

    noun = "audio"
    media: Sequence[str] = audio.MEDIA
    summary = "Where is speech in the recording?"
    parameters = SpeechParameters
    result = Speech
    inline_below = 0
    quick_steps = True
    stream_parameters = StreamParameters
    events = SpeechEvent

    def __init__(self, options: SpeechOptions, signature: Signature) -> None:
        self._options = options
        inputs = {spec.name for spec in signature.inputs}
        outputs = {spec.name for spec in signature.outputs}
        if inputs != INPUTS or not outputs >= OUTPUTS:
            raise InvalidModel(
                f"pipeline: {_KIND} needs the inputs {quoted(sorted(INPUTS))} and the outputs "
                f"{quoted(sorted(OUTPUTS))}; this model has {quoted(sorted(inputs))} and "
                f"{quoted(sorted(outputs))} (the sample rate is set in [runtime.constants])"
            )

    def run(self, payload: Payload, parameters: SpeechParameters) -> Steps:
        """A row for each chunk, one after the other."""
        samples = decoded(audio.read_audio, payload.data, RATE, self._options.max_seconds)
        found = yield from probabilities_of(samples)
        spans = spans_of(found, len(samples), parameters)
        segments = [Segment(start=start / RATE, end=end / RATE) for start, end in spans]
        return Speech(
            segments=segments,
            seconds=len(samples) / RATE,
            speech_seconds=sum(one.end - one.start for one in segments),
        )

    def stream(self, parameters: StreamParameters) -> PayloadStream:
        """Begins."""
        return SpeechStream(parameters, self._options.max_seconds)


class SpeechStream:
    """See `PayloadStream`."""

    def __init__(self, parameters: StreamParameters, most_seconds: float) -> None:
        self._sound = audio.SampleStream(parameters, RATE, most_seconds)
        self._follower = Follower(parameters)

    def push(self, data: bytes) -> Steps:
        """See `PayloadStream`."""
        found = yield from self._follower.push(self._sound.push(data))
        return [_event(one) for one in found]

    def finish(self) -> Steps:
        """See `PayloadStream`."""
        found = yield from self._follower.push(self._sound.finish())
        found += yield from self._follower.finish()
        return [*(_event(one) for one in found), Ended(seconds=self._follower.heard / RATE)]


def _event(found: Began | Spoke) -> SpeechEvent:
    if isinstance(found, Began):
        return SpeechStarted(time=found.start / RATE)
    return SegmentEnded(start=found.start / RATE, end=found.end / RATE)


def load(declared: Mapping[str, Any], _: Place) -> UnpaddedPipeline:
    """See `Factory`."""
    options = read(SpeechOptions, declared)
    return UnpaddedPipeline(_KIND, lambda signature: {"detect": DetectSpeech(options, signature)})
