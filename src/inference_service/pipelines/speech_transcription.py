"""Speech in, words out: ``[pipeline] kind = "speech-transcription"``.

A detector of speech, which is another model, finds the segments of speech. What is spoken between
two pauses is one row of samples; the graph answers it with tokens. Rows are filled up with silence
to half or whole seconds, so that rows of many clients share runs.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from inference_service.core.decoding import decoded
from inference_service.core.errors import InvalidInput, InvalidModel
from inference_service.core.tasks import Inference, Payload, PayloadStream, Steps
from inference_service.core.tensors import DType, Shape, Signature, Tensors
from inference_service.pipelines.registry import (
    Duration,
    Options,
    Place,
    UnpaddedPipeline,
    missing,
    read,
)
from inference_service.pipelines.scores import tensor
from inference_service.pipelines.speech_activity import (
    RATE,
    Began,
    Follower,
    Seconds,
    Share,
    SpeechParameters,
    SpeechStarted,
    Spoke,
    probabilities_of,
    spans_of,
)
from inference_service.pipelines.speech_rows import can_be_cut, cut, filled_up, pieces, quietest

_KIND = "speech-transcription"
try:
    from tokenizers import Tokenizer

    from inference_service.pipelines import audio
except ModuleNotFoundError as error:
    raise missing("soundfile, soxr and tokenizers", _KIND, "audio,text") from error

_PADDING = 0.25  # seconds; a detector is late where a word begins softly
_SLICE = RATE  # of a stream: so much is heard before it is asked whether a row is long enough


class TranscriptionOptions(Options):
    """How speech becomes rows, and tokens text. Times are in seconds.

    ``detector`` is the name of a loaded model of the kind ``speech-segments``; ``longest`` is the
    longest row; ``max_seconds`` is the longest file or stream.
    """

    tokenizer: str = "tokenizer.json"
    detector: str = "speech"
    language: str
    longest: Annotated[float, Field(ge=2, le=60)] = 15.0
    max_seconds: Duration = 600.0
    input: str | None = None
    output: str | None = None


class TranscribeParameters(BaseModel):
    """What a request may say besides its audio."""

    model_config = ConfigDict(extra="forbid")

    language: str | None = Field(None, description="ISO 639-1 code; the model has one language")
    threshold: Share = Field(0.5, description="probability from which it is speech")


class TranscribedSegment(BaseModel):
    """What was said from ``start`` to ``end``, in seconds."""

    start: float
    end: float
    text: str


class Transcription(BaseModel):
    """What was said in one file."""

    text: str
    segments: list[TranscribedSegment]
    language: str
    seconds: float = Field(description="how long the audio is")


class StreamParameters(audio.SoundFormat, TranscribeParameters):
    """What a stream is, and how it is to be understood. Times are in seconds."""

    pause: Annotated[float, Field(ge=0.1, le=5)] = Field(
        0.5, description="how long a pause ends a segment"
    )
    partial: Seconds = Field(
        1.0, description="time between two partial transcripts during speech; 0: none"
    )


class Partial(BaseModel):
    """What has been said so far; the next one may say it differently."""

    event: Literal["partial"] = "partial"
    start: float
    end: float
    text: str


class Final(BaseModel):
    """What was said between two pauses."""

    event: Literal["segment"] = "segment"
    start: float
    end: float
    text: str


class Ended(BaseModel):
    """The stream's end: it was so long, in seconds, and this was said."""

    event: Literal["end"] = "end"
    seconds: float
    text: str


TranscriptionEvent: TypeAlias = SpeechStarted | Partial | Final | Ended


class Transcribe:
    """See `Task` and `StreamingTask`."""

    noun = "audio"
    media: Sequence[str] = audio.MEDIA
    summary = "What is said?"
    parameters = TranscribeParameters
    result = Transcription
    inline_below = 0
    quick_steps = True
    stream_parameters = StreamParameters
    events = TranscriptionEvent

    def __init__(
        self, options: TranscriptionOptions, tokenizer: Tokenizer, signature: Signature
    ) -> None:
        self._options = options
        self._tokenizer = tokenizer
        self._input = tensor(signature.inputs, options.input, "input")
        self._output = tensor(signature.outputs, options.output, "output")
        if self._input.dtype is not DType.FP32 or len(self._input.shape) != 2:
            raise InvalidModel(f"pipeline.input: expected FP32 [batch, samples], got {self._input}")
        if self._output.dtype is not DType.INT64 or len(self._output.shape) != 2:
            raise InvalidModel(
                f"pipeline.output: expected INT64 [batch, tokens], got {self._output}"
            )

    def run(self, payload: Payload, parameters: TranscribeParameters) -> Steps:
        """The detector's rows one after the other, then all that was spoken at once."""
        self._check(parameters)
        samples = decoded(audio.read_audio, payload.data, RATE, self._options.max_seconds)
        found = yield from probabilities_of(samples, self._options.detector)
        speech = SpeechParameters(threshold=parameters.threshold, padding=_PADDING)
        spans = spans_of(found, len(samples), speech)
        rows = pieces(spans, found, round(self._options.longest * RATE))
        texts = yield from self.texts([samples[start:end] for start, end in rows])
        segments = [
            TranscribedSegment(start=start / RATE, end=end / RATE, text=text)
            for (start, end), text in zip(rows, texts, strict=True)
            if text
        ]
        return Transcription(
            text=" ".join(one.text for one in segments),
            segments=segments,
            language=self._options.language,
            seconds=len(samples) / RATE,
        )

    def gradually(self, payload: Payload, parameters: TranscribeParameters) -> Steps:
        """See `GradualTask`. It hears the file as it would hear a stream."""
        self._check(parameters)
        yield from ()  # decoding needs no inference
        samples = decoded(audio.read_audio, payload.data, RATE, self._options.max_seconds)
        heard = StreamParameters(threshold=parameters.threshold, partial=0)
        return self._parts(samples, Hearing(self, self._options, heard))

    def _parts(self, samples: NDArray[np.float32], hearing: "Hearing") -> Iterator[Steps]:
        for start in range(0, len(samples), _SLICE):
            yield _segments(hearing.hear(samples[start : start + _SLICE]))
        yield _segments(hearing.finish())

    def stream(self, parameters: StreamParameters) -> PayloadStream:
        """Begins."""
        self._check(parameters)
        sound = audio.SampleStream(parameters, RATE, self._options.max_seconds)
        return TranscriptionStream(sound, Hearing(self, self._options, parameters))

    def texts(self, rows: Sequence[NDArray[np.float32]]) -> Steps:
        """What is said in each.

        The recogniser may take the silence at a row's end for the end before the first word: such
        a row is heard once more with less of it.
        """
        if not rows:
            return []
        found = yield from self._heard([filled_up(row) for row in rows])
        again = [at for at, text in enumerate(found) if not text and can_be_cut(rows[at])]
        if again:
            shorter = [cut(rows[at]) for at in again]
            texts = yield from self._heard(shorter)
            for at, text in zip(again, texts, strict=True):
                found[at] = text
        return found

    def _heard(self, rows: Sequence[NDArray[np.float32]]) -> Steps:
        outputs = yield [Inference({self._input.name: row[None]}) for row in rows]
        return [self._text(one) for one in outputs]

    def _text(self, outputs: Tensors) -> str:
        ids = outputs[self._output.name][0].tolist()
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text.strip()

    def _check(self, parameters: TranscribeParameters) -> None:
        own = self._options.language
        if parameters.language not in {None, own}:
            raise InvalidInput(
                f"the model's language is '{own}', got '{parameters.language}'", ("language",)
            )


class TranscriptionStream:
    """See `PayloadStream`."""

    def __init__(self, sound: audio.SampleStream, hearing: "Hearing") -> None:
        self._sound = sound
        self._hearing = hearing

    def push(self, data: bytes) -> Steps:
        """See `PayloadStream`."""
        return (yield from self._hearing.hear(self._sound.push(data)))

    def finish(self) -> Steps:
        """See `PayloadStream`."""
        events = yield from self._hearing.hear(self._sound.finish())
        events += yield from self._hearing.finish()
        return [*events, self._hearing.ended()]


class Hearing:
    """Samples in, what was said as soon as it is known out."""

    def __init__(
        self, task: Transcribe, options: TranscriptionOptions, parameters: StreamParameters
    ) -> None:
        self._task = task
        speech = SpeechParameters(
            threshold=parameters.threshold, min_silence=parameters.pause, padding=_PADDING
        )
        self._follower = Follower(speech, options.detector)
        self._longest = round(options.longest * RATE)
        self._every = round(parameters.partial * RATE)
        self._samples = np.zeros(0, np.float32)  # from ``first`` on
        self._first = 0
        self._told = 0  # up to here, segments have been told
        self._tried = 0  # up to here, a partial one
        self._said: list[str] = []

    def ended(self) -> Ended:
        """The event of the end."""
        return Ended(seconds=self._follower.heard / RATE, text=" ".join(self._said))

    def finish(self) -> Steps:
        """There are no more samples: the last events."""
        found = yield from self._follower.finish()
        return (yield from self._follow(found))

    def hear(self, samples: NDArray[np.float32]) -> Steps:
        """The events that more samples bring."""
        events: list[TranscriptionEvent] = []
        for start in range(0, len(samples), _SLICE):
            piece = samples[start : start + _SLICE]
            self._samples = np.concatenate([self._samples, piece])
            found = yield from self._follower.push(piece)
            events += yield from self._follow(found)
            events += yield from self._go_on()
        return events

    def _follow(self, found: Sequence[Began | Spoke]) -> Steps:
        """What began and ended now."""
        events: list[TranscriptionEvent] = []
        for one in found:
            if isinstance(one, Began):
                events.append(SpeechStarted(time=one.start / RATE))
                self._tried = one.start
            else:
                events += yield from self._tell(max(one.start, self._told), one.end)
        return events

    def _go_on(self) -> Steps:
        """What can be said of speech that goes on; what isn't needed any more is forgotten."""
        events: list[TranscriptionEvent] = []
        heard, since = self._follower.heard, self._follower.since
        if since is None:
            self._forget(heard - 2 * _SLICE)
            return events
        since = max(since, self._told)
        while heard - since > self._longest:
            end = quietest(self._follower.probabilities, since + self._longest // 2, heard)
            events += yield from self._tell(since, end)
            since = end
        if self._every and heard - max(self._tried, since) >= self._every:
            self._tried = heard
            (text,) = yield from self._task.texts([self._between(since, heard)])
            if text:
                events.append(Partial(start=since / RATE, end=heard / RATE, text=text))
        self._forget(since)
        return events

    def _tell(self, start: int, end: int) -> Steps:
        self._told = max(self._told, end)
        if end <= start:
            return []
        (text,) = yield from self._task.texts([self._between(start, end)])
        if not text:
            return []
        self._said.append(text)
        return [Final(start=start / RATE, end=end / RATE, text=text)]

    def _between(self, start: int, end: int) -> NDArray[np.float32]:
        return self._samples[start - self._first : end - self._first]

    def _forget(self, until: int) -> None:
        if until > self._first:
            self._samples = self._samples[until - self._first :].copy()
            self._first = until


def _segments(steps: Steps) -> Steps:
    """Of their events, what was said between two pauses."""
    events = yield from steps
    return [
        TranscribedSegment(start=one.start, end=one.end, text=one.text)
        for one in events
        if isinstance(one, Final)
    ]


def load(declared: Mapping[str, Any], place: Place) -> UnpaddedPipeline:
    """See `Factory`."""
    options = read(TranscriptionOptions, declared)
    path = place.file(options.tokenizer)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more special
        raise InvalidModel(f"pipeline.tokenizer: {path.name} can't be read: {error}") from error
    longest = len(filled_up(np.zeros(round(options.longest * RATE), np.float32)))

    def bounds(signature: Signature) -> dict[str, Shape]:
        return {tensor(signature.inputs, options.input, "input").name: (None, longest)}

    return UnpaddedPipeline(
        _KIND,
        lambda signature: {"transcribe": Transcribe(options, tokenizer, signature)},
        bounds=bounds,
    )
