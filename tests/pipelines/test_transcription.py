"""Speech to rows, tokens to words, at once and as it comes."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.decoders import WordPiece
from tokenizers.models import WordLevel

from inference_service.core.errors import InvalidInput, InvalidModel
from inference_service.core.tasks import Inference, Payload, PayloadStream
from inference_service.core.tensors import DType, Signature, TensorSpec
from inference_service.pipelines import speech_rows
from inference_service.pipelines.audio import SampleStream, SoundFormat
from inference_service.pipelines.registry import Place, load_pipeline
from inference_service.pipelines.speech_activity import CHUNK, RATE, Span
from tests.pipelines.test_speech import drive, file, tone

SIGNATURE = Signature(
    (TensorSpec("audio", DType.FP32, (None, None)),),
    (TensorSpec("tokens", DType.INT64, (None, None)),),
)
DECLARED = {"kind": "speech-transcription", "language": "en", "longest": 4}


@pytest.fixture
def task(tmp_path: Path) -> Any:
    words = {"[UNK]": 0, **{f"w{number}": number for number in range(1, 100)}}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.add_special_tokens(["[UNK]"])
    tokenizer.decoder = WordPiece()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    pipeline = load_pipeline(DECLARED, Place((tmp_path,)))
    return pipeline.tasks(SIGNATURE)["transcribe"]


def loud(wanted: Inference) -> Any:
    """A detector to which whatever is loud is speech; rows are answered with their seconds."""
    if wanted.model == "speech":
        value = float(np.abs(wanted.inputs["input"]).max() > 0.1)
        state = np.zeros((1, 2, 128), np.float32)
        return {"output": np.array([[value]], np.float32), "stateN": state}
    samples = wanted.inputs["audio"].shape[1]
    return {"tokens": np.array([[samples // RATE, 0, 0]])}


def sound(*parts: tuple[str, float]) -> np.ndarray:
    """Of tones and silence, in seconds."""
    return np.concatenate([
        tone(seconds) if kind == "#" else np.zeros(round(seconds * RATE), np.float32)
        for kind, seconds in parts
    ])  # fmt: skip


def test_what_is_spoken_between_pauses_is_a_row_of_its_own(task: Any) -> None:
    data = file(sound((".", 1), ("#", 1.6), (".", 2), ("#", 2.9), (".", 1)))
    result, asked = drive(task.run(Payload(data), task.parameters()), loud)
    rows = [one.inputs["audio"].shape for one in asked if not one.model]
    assert rows == [(1, 2.5 * RATE), (1, 3.5 * RATE)]
    assert result.text == "w2 w3"
    assert [one.text for one in result.segments] == ["w2", "w3"]
    assert result.segments[0].start == pytest.approx(0.75, abs=0.05)
    assert result.segments[0].end == pytest.approx(2.85, abs=0.05)
    assert result.seconds == 8.5


def deaf_to_two_seconds(wanted: Inference) -> Any:
    found = loud(wanted)
    if not wanted.model and wanted.inputs["audio"].shape[1] == 2 * RATE:
        found["tokens"][:] = 0
    return found


def test_a_row_in_which_nothing_was_heard_is_heard_once_more_with_less_silence(task: Any) -> None:
    data = file(sound(("#", 1.65), (".", 1), ("#", 1.95)))
    result, asked = drive(task.run(Payload(data), task.parameters()), deaf_to_two_seconds)
    filled, other, again = [one.inputs["audio"].shape[1] for one in asked if not one.model]
    assert (filled, other) == (2 * RATE, 2.5 * RATE)
    assert 1.65 * RATE < again < 1.85 * RATE
    assert result.text == "w1 w2"


def test_a_row_in_which_nothing_is_heard_twice_says_nothing(task: Any) -> None:
    def deaf(wanted: Inference) -> Any:
        return loud(wanted) if wanted.model else {"tokens": np.zeros((1, 3), np.int64)}

    result, asked = drive(task.run(Payload(file(tone(1.65))), task.parameters()), deaf)
    assert (result.text, len([one for one in asked if not one.model])) == ("", 2)


def test_silence_says_nothing_and_asks_nothing(task: Any) -> None:
    data = file(sound((".", 2)))
    result, asked = drive(task.run(Payload(data), task.parameters()), loud)
    assert result.text == ""
    assert result.segments == []
    assert all(one.model == "speech" for one in asked)


def test_another_language_is_refused_before_anything_is_decoded(task: Any) -> None:
    with pytest.raises(InvalidInput, match="the model's language is 'en', got 'de'"):
        drive(task.run(Payload(b""), task.parameters(language="de")), loud)


def test_what_was_said_is_told_part_by_part(task: Any) -> None:
    """The rows are those of the whole file; each is answered before the next one is asked."""
    data = file(sound((".", 1), ("#", 1.6), (".", 2), ("#", 2.9), (".", 1), ("#", 9)))
    whole, asked = drive(task.run(Payload(data), task.parameters()), loud)
    parts, detected = drive(task.gradually(Payload(data), task.parameters()), loud)
    assert detected == []
    told, rows_before = [], []
    for steps in parts:
        found, wanted = drive(steps, loud)
        told += found
        rows_before += [len(told)] * sum(not one.model for one in wanted)
    assert [one.text for one in told] == [one.text for one in whole.segments]
    assert len(rows_before) == sum(not one.model for one in asked)
    assert rows_before == list(range(1, len(told) + 1))


def test_a_part_can_not_be_told_in_another_language(task: Any) -> None:
    with pytest.raises(InvalidInput, match="the model's language is 'en', got 'de'"):
        drive(task.gradually(Payload(b""), task.parameters(language="de")), loud)


def play(stream: PayloadStream, samples: np.ndarray, size: int) -> list[Any]:
    """The events of a stream that comes in messages of so many samples."""
    data = (samples * 32767).astype("<i2").tobytes()
    events = []
    for start in range(0, len(data), 2 * size):
        events += drive(stream.push(data[start : start + 2 * size]), loud)[0]
    return [*events, *drive(stream.finish(), loud)[0]]


@pytest.mark.parametrize("size", [160, 1600, 100_000])
def test_a_stream_tells_what_was_said_as_soon_as_there_is_a_pause(task: Any, size: int) -> None:
    samples = sound((".", 1), ("#", 1.6), (".", 2), ("#", 2.9), (".", 1))
    events = play(task.stream(task.stream_parameters(partial=0)), samples, size)
    assert [one.event for one in events] == [
        "speech_started",
        "segment",
        "speech_started",
        "segment",
        "end",
    ]
    assert [one.text for one in events if one.event == "segment"] == ["w2", "w3"]
    assert events[0].time == pytest.approx(0.75, abs=0.05)
    assert events[-1].text == "w2 w3"
    assert events[-1].seconds == 8.5


def test_partial_transcripts_come_while_somebody_speaks(task: Any) -> None:
    stream = task.stream(task.stream_parameters(partial=1))
    events = play(stream, sound((".", 1), ("#", 3.2), (".", 1)), 1600)
    partial = [one for one in events if one.event == "partial"]
    assert [one.text for one in partial] == ["w1", "w2", "w3"]
    assert [one.start for one in partial] == [events[0].time] * 3


def test_who_never_pauses_is_cut_at_the_longest_row(task: Any) -> None:
    stream = task.stream(task.stream_parameters(partial=0))
    events = play(stream, sound(("#", 15)), 1600)
    found = [one for one in events if one.event == "segment"]
    assert all(one.end - one.start <= 4.1 for one in found)
    ends = [time for one in found for time in (one.start, one.end)]
    assert ends[1:-1:2] == ends[2::2]  # nothing is left out, nothing is told twice
    assert ends[0] == 0
    assert ends[-1] == 15


def test_a_stream_is_as_long_as_the_limit_at_most(task: Any, tmp_path: Path) -> None:
    pipeline = load_pipeline({**DECLARED, "max_seconds": 2}, Place((tmp_path,)))
    short: Any = pipeline.tasks(SIGNATURE)["transcribe"]
    with pytest.raises(InvalidInput, match="longer than the limit of 2 s"):
        play(short.stream(short.stream_parameters()), sound((".", 3)), 1600)


@given(st.integers(0, 3000), st.lists(st.integers(0, 999), max_size=9), st.sampled_from([16, 48]))
def test_samples_are_the_same_wherever_messages_are_cut(
    count: int, cuts: list[int], rate: int
) -> None:
    data = np.arange(count, dtype="<i2").tobytes()
    given = SoundFormat(rate=rate * 1000)

    def samples(pieces: list[bytes]) -> np.ndarray:
        stream = SampleStream(given, RATE, 10)
        return np.concatenate([*(stream.push(piece) for piece in pieces), stream.finish()])

    places = [0, *np.cumsum(cuts).clip(0, len(data)).tolist(), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(places)]
    np.testing.assert_allclose(samples(pieces), samples([data]), atol=1e-6)


def test_half_a_sample_and_what_is_no_number_are_refused() -> None:
    stream = SampleStream(SoundFormat(), RATE, 10)
    stream.push(b"\0\0\0")
    with pytest.raises(InvalidInput, match="ends within a sample: 1 of 2 bytes are there"):
        stream.finish()
    floats = SampleStream(SoundFormat(encoding="f32le"), RATE, 10)
    with pytest.raises(InvalidInput, match="NaN or infinite samples"):
        floats.push(np.array([np.nan], "<f4").tobytes())


@st.composite
def spans(draw: st.DrawFn) -> list[Span]:
    steps = draw(st.lists(st.integers(1, 60), max_size=16))
    places = np.cumsum(steps[: len(steps) // 2 * 2]) * CHUNK
    return [(int(a), int(b)) for a, b in zip(places[::2], places[1::2], strict=True)]


@given(spans(), st.integers(0, 2**32 - 1))
def test_rows_hold_all_speech_and_none_is_too_long(found: list[Span], seed: int) -> None:
    longest = 2 * RATE
    probabilities = np.random.default_rng(seed).random(1000).tolist()
    rows = speech_rows.pieces(found, probabilities, longest)
    assert all(0 < end - start <= longest for start, end in rows)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(rows))
    for start, end in found:
        inside = sum(min(end, b) - max(start, a) for a, b in rows if a < end and b > start)
        assert inside == end - start


def test_long_speech_is_cut_where_it_is_quietest() -> None:
    probabilities = [0.9] * 200
    probabilities[90] = 0.6
    rows = speech_rows.pieces([(0, 120 * CHUNK)], probabilities, 100 * CHUNK)
    assert rows == [(0, 90 * CHUNK), (90 * CHUNK, 120 * CHUNK)]


@given(st.integers(1, 20 * RATE))
def test_rows_are_filled_up_to_lengths_that_others_have(samples: int) -> None:
    row = np.ones(samples, np.float32)
    found = speech_rows.filled_up(row)
    assert len(found) % (RATE // 2) == 0
    assert len(found) >= RATE
    assert len(found) - samples < RATE
    assert found.sum() == samples


@pytest.mark.parametrize(
    ("declared", "signature", "message"),
    [
        ({"kind": "speech-transcription"}, SIGNATURE, "pipeline.language: missing"),
        ({**DECLARED, "longest": 1}, SIGNATURE, "pipeline.longest"),
        (
            DECLARED,
            Signature(SIGNATURE.outputs, SIGNATURE.outputs),
            "pipeline.input: expected FP32",
        ),
        (
            DECLARED,
            Signature(SIGNATURE.inputs, SIGNATURE.inputs),
            "pipeline.output: expected INT64",
        ),
        ({**DECLARED, "tokenizer": "words.json"}, SIGNATURE, "words.json can't be read"),
        ({**DECLARED, "tokenizer": "none.json"}, SIGNATURE, "there is no none.json"),
    ],
)
def test_what_does_not_fit_is_told_when_the_model_is_loaded(
    tmp_path: Path, declared: dict[str, Any], signature: Signature, message: str
) -> None:
    Tokenizer(WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "words.json").write_text(json.dumps({"a": 1}))
    with pytest.raises(InvalidModel, match=message):
        load_pipeline(declared, Place((tmp_path,))).tasks(signature)
