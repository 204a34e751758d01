"""Detection of speech. Silero VAD's graph over samples, at once or as they come. Pure.

It takes 32 ms and what it made of those before, so it runs once for each chunk, one after the
other. Those of many clients share batches. Source: https://github.com/snakers4/silero-vad
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from inference_service.core.tasks import Inference, Steps

RATE = 16_000  # samples per second
CHUNK = 512  # samples that are new in a run
_CONTEXT = 64  # and of those before
_STATE = (1, 2, 128)
INPUTS, OUTPUTS = {"input", "state"}, {"output", "stateN"}
_LEAVES_BELOW = 0.15  # speech ends where the probability is so far below the threshold
_LEAST = 0.01
Share = Annotated[float, Field(gt=0, lt=1)]
Seconds = Annotated[float, Field(ge=0, le=86_400)]
"""Bounded: samples are counted by it, and there are no infinitely many."""
Span: TypeAlias = tuple[int, int]
"""From a sample to another, which isn't part of it."""


class SpeechParameters(BaseModel):
    """What counts as speech. Times are in seconds."""

    model_config = ConfigDict(extra="forbid")

    threshold: Share = Field(0.5, description="probability from which it is speech")
    min_speech: Seconds = Field(0.25, description="shorter speech doesn't count")
    min_silence: Seconds = Field(0.1, description="a shorter pause parts nothing")
    padding: Seconds = Field(0.03, description="added at both ends of speech")


class SpeechStarted(BaseModel):
    """Somebody begins to speak, at ``time`` in seconds."""

    event: Literal["speech_started"] = "speech_started"
    time: float


class Listener:
    """Samples in, a probability of speech for each chunk out: it remembers what it has heard.

    ``model`` is the detector's name, or "" for the model that the task belongs to.
    """

    def __init__(self, model: str = "") -> None:
        self._model = model
        self._state: NDArray[Any] = np.zeros(_STATE, np.float32)
        self._waiting = np.zeros(_CONTEXT, np.float32)  # the context, and what is no chunk yet

    def push(self, samples: NDArray[np.float32]) -> Steps:
        """The probabilities of the chunks that are complete now."""
        self._waiting = np.concatenate([self._waiting, samples])
        found = []
        start = 0
        while start + _CONTEXT + CHUNK <= len(self._waiting):
            chunk = self._waiting[None, start : start + _CONTEXT + CHUNK]
            wanted = Inference({"input": chunk, "state": self._state}, self._model)
            outputs = yield [wanted]
            found.append(float(outputs[0]["output"][0, 0]))
            self._state = outputs[0]["stateN"]
            start += CHUNK
        self._waiting = self._waiting[start:].copy()
        return found

    def finish(self) -> Steps:
        """The probability of the last chunk, filled up with silence, if there is any of it."""
        rest = len(self._waiting) - _CONTEXT
        if not rest:
            return []
        return (yield from self.push(np.zeros(CHUNK - rest, np.float32)))


def probabilities_of(samples: NDArray[np.float32], model: str = "") -> Steps:
    """The probability of speech for each chunk of a whole recording."""
    listener = Listener(model)
    found = yield from listener.push(samples)
    found += yield from listener.finish()
    return found


class SpeechTracker:
    """Probabilities of chunks in, spans of speech out, by Silero's rules.

    Speech begins at the threshold and ends where it has been clearly below for long enough; what is
    too short is dropped. ``begun`` is where the speech that goes on began.
    """

    def __init__(self, parameters: SpeechParameters) -> None:
        self._threshold = parameters.threshold
        self._leave = max(parameters.threshold - _LEAVES_BELOW, _LEAST)
        self._silence = parameters.min_silence * RATE
        self._least = parameters.min_speech * RATE
        self._quiet = 0
        self._now = 0
        self.begun: int | None = None

    def push(self, probability: float) -> Span | None:
        """The speech that is known to have ended now."""
        now, ended = self._now, None
        self._now += CHUNK
        if probability >= self._threshold:
            self._quiet = 0
            self.begun = now if self.begun is None else self.begun
        elif probability < self._leave and self.begun is not None:
            self._quiet = self._quiet or now
            if now - self._quiet >= self._silence:
                ended = self._kept(self.begun, self._quiet)
                self.begun, self._quiet = None, 0
        return ended

    def finish(self, samples: int) -> Span | None:
        """The segment that is open when the sound ends after this number of samples."""
        if self.begun is None:
            return None
        return self._kept(self.begun, min(self._now, samples))

    def _kept(self, start: int, end: int) -> Span | None:
        return (start, end) if end - start > self._least else None


class Began(NamedTuple):
    """Somebody speaks, from a sample on."""

    start: int


class Spoke(NamedTuple):
    """Somebody has spoken, from a sample to another."""

    start: int
    end: int


class Follower:
    """Samples as they come in, beginnings and ends of speech out.

    An end is known when the pause after it has been long enough. The padding of speech reaches into
    what came before it, but never beyond what has come. ``heard`` counts samples;
    ``probabilities`` are those of all chunks.
    """

    def __init__(self, parameters: SpeechParameters, model: str = "") -> None:
        self._listener = Listener(model)
        self._tracker = SpeechTracker(parameters)
        self._padding = round(parameters.padding * RATE)
        self._free = 0  # from here on, samples belong to no speech
        self.probabilities: list[float] = []
        self.heard = 0

    @property
    def since(self) -> int | None:
        """Where the speech that goes on began, padded."""
        begun = self._tracker.begun
        return None if begun is None else max(begun - self._padding, self._free)

    def push(self, samples: NDArray[np.float32]) -> Steps:
        """What began and ended in them."""
        self.heard += len(samples)
        return self._follow((yield from self._listener.push(samples)))

    def finish(self) -> Steps:
        """What ends with the end."""
        found = self._follow((yield from self._listener.finish()))
        last = self._tracker.finish(self.heard)
        return found if last is None else [*found, self._spoke(last)]

    def _follow(self, probabilities: Sequence[float]) -> list[Began | Spoke]:
        found: list[Began | Spoke] = []
        self.probabilities += probabilities
        for probability in probabilities:
            silent = self._tracker.begun is None
            ended = self._tracker.push(probability)
            if ended is not None:
                found.append(self._spoke(ended))
            elif silent and self.since is not None:
                found.append(Began(self.since))
        return found

    def _spoke(self, span: Span) -> Spoke:
        first = max(span[0] - self._padding, self._free)
        self._free = min(span[1] + self._padding, self.heard)
        return Spoke(first, self._free)


def spans_of(
    probabilities: Sequence[float], samples: int, parameters: SpeechParameters
) -> list[Span]:
    """Where speech is, with both ends padded: into half of a pause at most."""
    tracker = SpeechTracker(parameters)
    found = [tracker.push(probability) for probability in probabilities]
    found.append(tracker.finish(samples))
    kept = [span for span in found if span is not None]
    return _padded(kept, samples, round(parameters.padding * RATE))


def _padded(spans: Sequence[Span], samples: int, padding: int) -> list[Span]:
    found = []
    for index, (start, end) in enumerate(spans):
        before = spans[index - 1][1] if index else -samples
        after = spans[index + 1][0] if index + 1 < len(spans) else 2 * samples
        first = start - min(padding, (start - before) // 2)
        last = end + min(padding, (after - end) // 2)
        found.append((max(first, 0), min(last, samples)))
    return found
