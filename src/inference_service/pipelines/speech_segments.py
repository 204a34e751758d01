"""Sound in, where somebody speaks out: ``[pipeline] kind = "speech-segments"``.

For Silero VAD's graph: it takes 32 ms and what it made of those before, so a file is as many runs
as it has chunks, one after the other. Those of many clients share batches.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat

from inference_service.core.errors import InvalidModel, quoted
from inference_service.core.tasks import Inference, Payload, Steps
from inference_service.core.tensors import Signature
from inference_service.pipelines.registry import EqualRows, Options, Place, missing, read

try:
    from inference_service.pipelines import audio
except ModuleNotFoundError as error:
    raise missing("soundfile and soxr", "speech-segments", "audio") from error

_KIND = "speech-segments"
RATE = 16_000
CHUNK = 512  # samples that are new in a run
CONTEXT = 64  # and of those before
_STATE = (1, 2, 128)
_INPUTS, _OUTPUTS = {"input", "state"}, {"output", "stateN"}
_LEAVES_BELOW = 0.15  # speech ends where the probability is so far below the threshold
_LEAST = 0.01
_Share = Annotated[float, Field(gt=0, lt=1)]


class SpeechOptions(Options):
    """The longest file, in seconds."""

    max_seconds: PositiveFloat = 600.0


class SpeechParameters(BaseModel):
    """What counts as speech. Times are in seconds."""

    model_config = ConfigDict(extra="forbid")

    threshold: _Share = Field(0.5, description="probability from which it is speech")
    min_speech: NonNegativeFloat = Field(0.25, description="shorter speech doesn't count")
    min_silence: NonNegativeFloat = Field(0.1, description="a shorter pause parts nothing")
    padding: NonNegativeFloat = Field(0.03, description="added at both ends of speech")


class Segment(BaseModel):
    """Somebody speaks, from ``start`` to ``end``, in seconds."""

    start: float
    end: float


class Speech(BaseModel):
    """The segments of one file."""

    segments: list[Segment]
    seconds: float = Field(description="how long the audio is")
    speech_seconds: float = Field(description="how much of it is speech")


class DetectSpeech:
    """See `Task`."""

    noun = "audio"
    media: Sequence[str] = audio.MEDIA
    summary = "When does somebody speak?"
    parameters = SpeechParameters
    result = Speech
    inline_below = 0
    quick_steps = True

    def __init__(self, options: SpeechOptions, signature: Signature) -> None:
        self._options = options
        inputs = {spec.name for spec in signature.inputs}
        outputs = {spec.name for spec in signature.outputs}
        if inputs != _INPUTS or not outputs >= _OUTPUTS:
            raise InvalidModel(
                f"pipeline: {_KIND} needs the inputs {quoted(sorted(_INPUTS))} and the outputs "
                f"{quoted(sorted(_OUTPUTS))}; this model has {quoted(sorted(inputs))} and "
                f"{quoted(sorted(outputs))} (the sample rate is set in [runtime.constants])"
            )

    def run(self, payload: Payload, parameters: SpeechParameters) -> Steps:
        """A row for each chunk, one after the other."""
        samples = audio.read_audio(payload.data, RATE, self._options.max_seconds)
        found = []
        state = np.zeros(_STATE, np.float32)
        for chunk in chunks(samples):
            outputs = yield [Inference({"input": chunk, "state": state})]
            found.append(float(outputs[0]["output"][0, 0]))
            state = outputs[0]["stateN"]  # type: ignore[assignment]
        return spoken(found, len(samples), parameters)


def chunks(samples: NDArray[np.float32]) -> Iterable[NDArray[np.float32]]:
    """[1, CONTEXT + CHUNK] each: zeros are before the first and behind the last."""
    count = -(-len(samples) // CHUNK)
    padded = np.zeros(CONTEXT + count * CHUNK, np.float32)
    padded[CONTEXT : CONTEXT + len(samples)] = samples
    for start in range(0, count * CHUNK, CHUNK):
        yield padded[None, start : start + CONTEXT + CHUNK]


def spoken(probabilities: Sequence[float], samples: int, parameters: SpeechParameters) -> Speech:
    """Segments of the probabilities of chunks, by Silero's rules.

    Speech begins at the threshold and ends where it has been clearly below for long enough; what is
    too short is dropped; both ends are padded, into half of a pause at most.
    """
    spans = _spans(probabilities, parameters)
    least = parameters.min_speech * RATE
    # The last one may run to the end of the file.
    cut = [(start, min(end, samples)) for start, end in spans]
    kept = [(start, end) for start, end in cut if end - start > least]
    padded = _padded(kept, samples, round(parameters.padding * RATE))
    segments = [Segment(start=start / RATE, end=end / RATE) for start, end in padded]
    return Speech(
        segments=segments,
        seconds=samples / RATE,
        speech_seconds=sum(one.end - one.start for one in segments),
    )


def _spans(probabilities: Sequence[float], parameters: SpeechParameters) -> list[tuple[int, int]]:
    """Where speech begins and ends, in samples."""
    leave = max(parameters.threshold - _LEAVES_BELOW, _LEAST)
    silence = parameters.min_silence * RATE
    spans: list[tuple[int, int]] = []
    begun: int | None = None
    quiet = 0
    for index, probability in enumerate(probabilities):
        now = index * CHUNK
        if probability >= parameters.threshold:
            quiet = 0
            begun = now if begun is None else begun
        elif probability < leave and begun is not None:
            quiet = quiet or now
            if now - quiet >= silence:
                spans.append((begun, quiet))
                begun, quiet = None, 0
    if begun is not None:
        spans.append((begun, len(probabilities) * CHUNK))
    return spans


def _padded(spans: Sequence[tuple[int, int]], samples: int, padding: int) -> list[tuple[int, int]]:
    found = []
    for index, (start, end) in enumerate(spans):
        before = spans[index - 1][1] if index else -samples
        after = spans[index + 1][0] if index + 1 < len(spans) else 2 * samples
        first = start - min(padding, (start - before) // 2)
        last = end + min(padding, (after - end) // 2)
        found.append((max(first, 0), min(last, samples)))
    return found


def load(declared: Mapping[str, Any], _: Place) -> EqualRows:
    """See `Factory`."""
    options = read(SpeechOptions, declared)
    return EqualRows(_KIND, lambda signature: {"detect": DetectSpeech(options, signature)})
