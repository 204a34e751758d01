"""Sound to samples, probabilities to segments."""

import math
import struct
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from inference_service.core.errors import InvalidInput, InvalidModel
from inference_service.core.tasks import Inference, Payload
from inference_service.core.tensors import DType, Signature, TensorSpec
from inference_service.pipelines import audio, speech_segments
from inference_service.pipelines.registry import Place, load_pipeline
from inference_service.pipelines.speech_activity import (
    CHUNK,
    Listener,
    SpeechParameters,
    spans_of,
)

CONTEXT = 64

SIGNATURE = Signature(
    (
        TensorSpec("input", DType.FP32, (None, None)),
        TensorSpec("state", DType.FP32, (None, 2, 128)),
    ),
    (TensorSpec("output", DType.FP32, (None, 1)), TensorSpec("stateN", DType.FP32, (None, 2, 128))),
)


def tone(seconds: float = 0.5, rate: int = 16_000, hertz: float = 440.0) -> NDArray[np.float32]:
    times = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def file(samples: NDArray[np.float32], rate: int = 16_000, **options: Any) -> bytes:
    out = BytesIO()
    soundfile.write(out, samples, rate, **({"format": "WAV"} | options))
    return out.getvalue()


def similar(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> bool:
    """By their correlation, the ends left out: codecs ring there, and some shift by some samples."""
    length = min(len(found), len(wanted)) - 2400
    clean = wanted[1200 : 1200 + length]
    return max(
        float(np.corrcoef(found[1200 + shift : 1200 + shift + length], clean)[0, 1])
        for shift in range(-1200, 1200, 1)
        if 1200 + shift + length <= len(found)
    ) > 0.99  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        {"format": "WAV", "subtype": "PCM_16"},
        {"format": "WAV", "subtype": "PCM_U8"},
        {"format": "WAV", "subtype": "PCM_24"},
        {"format": "WAV", "subtype": "FLOAT"},
        {"format": "WAV", "subtype": "ULAW"},
        {"format": "FLAC"},
        {"format": "OGG", "subtype": "VORBIS"},
        {"format": "OGG", "subtype": "OPUS"},
        {"format": "MP3"},
    ],
    ids=lambda options: "-".join(options.values()),
)
def test_every_format_is_read(options: dict[str, Any]) -> None:
    samples = tone()
    assert similar(audio.read_audio(file(samples, **options), 16_000, 10), samples)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_every_rate_becomes_the_models(rate: int) -> None:
    found = audio.read_audio(file(tone(rate=rate), rate), 16_000, 10)
    assert abs(len(found) - 8000) <= 1
    assert similar(found, tone())


def test_resampling_folds_nothing_back() -> None:
    """A tone above half of the new rate must vanish; plain decimation would make another of it."""
    high = file(tone(rate=48_000, hertz=11_000), 48_000)
    assert np.abs(audio.read_audio(high, 16_000, 10)[800:-800]).max() < 1e-3


def test_channels_are_averaged() -> None:
    left, right = tone(), np.zeros(8000, np.float32)
    found = audio.read_audio(file(np.stack([left, right], axis=1)), 16_000, 10)
    np.testing.assert_allclose(found, left / 2, atol=1e-4)


def endless_wav() -> bytes:
    """A few bytes that claim to be an hour."""
    head = file(tone(0.01))[:44]
    return head[:40] + struct.pack("<I", 2**31) + head[44:]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the audio is empty: 0 bytes"),
        (
            b"hello" * 100,
            "no audio that can be read: expected WAV, FLAC, OGG, MP3, WebM, MP4 or AAC",
        ),
        (file(tone())[:30], "no audio that can be read"),
        (file(np.zeros(0, np.float32)), "the audio is empty: it has no samples"),
        (endless_wav(), "the audio is empty"),
        (file(tone(3)), "the audio is longer than the limit of 2 s"),
        (file(np.zeros(10**7, np.float32), format="FLAC"), "longer than the limit of 2 s"),
        (file(tone(), 500), "expected 1000 to 384000 samples per second, got 500"),
        (file(tone(), format="AIFF"), "WebM, MP4 or AAC, got AIFF"),
        (file(np.full(100, np.nan, np.float32), subtype="FLOAT"), "NaN or infinite samples"),
    ],
)
def test_what_is_no_sound_is_told_so(data: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        audio.read_audio(data, 16_000, 2)


def test_every_byte_may_be_damaged() -> None:
    """Samples, or InvalidInput: nothing else, whatever is in the file."""
    random = np.random.default_rng(3)
    kinds: list[dict[str, Any]] = [{"format": kind} for kind in ("WAV", "FLAC", "OGG", "MP3")]
    for options in kinds:
        good = file(tone(0.2), **options)
        for _ in range(100):
            data = bytearray(good)
            for place in random.integers(0, len(data), 3):
                data[place] = random.integers(256)
            try:
                assert np.isfinite(audio.read_audio(bytes(data), 16_000, 60)).all()
            except InvalidInput as error:
                assert str(error)


def drive(steps: Any, answer: Any) -> Any:
    """The result of steps, and what they asked for; ``answer`` makes outputs of an inference."""
    asked: list[Inference] = []
    outputs = None
    while True:
        try:
            wanted = steps.send(outputs)
        except StopIteration as stop:
            return stop.value, asked
        asked += wanted
        outputs = [answer(one) for one in wanted]


def silent(_: Inference) -> Any:
    return {"output": np.zeros((1, 1), np.float32), "stateN": np.zeros((1, 2, 128), np.float32)}


@given(st.lists(st.integers(0, 700), max_size=8))
def test_chunks_overlap_by_their_context_however_the_samples_come(cuts: list[int]) -> None:
    samples = np.arange(1, sum(cuts) + 1, dtype=np.float32)
    listener = Listener()
    asked: list[Inference] = []
    for piece in np.split(samples, np.cumsum(cuts)):
        asked += drive(listener.push(piece), silent)[1]
    asked += drive(listener.finish(), silent)[1]
    chunks = [one.inputs["input"] for one in asked]
    assert len(chunks) == -(-len(samples) // CHUNK)
    assert all(chunk.shape == (1, CONTEXT + CHUNK) for chunk in chunks)
    whole = np.concatenate([np.zeros(CONTEXT, np.float32), samples, np.zeros(CHUNK, np.float32)])
    for index, chunk in enumerate(chunks):
        np.testing.assert_array_equal(
            chunk[0], whole[index * CHUNK : index * CHUNK + CONTEXT + CHUNK]
        )


def test_each_chunk_gets_the_state_of_the_one_before() -> None:
    task = load_pipeline({"kind": "speech-segments"}, Place(())).tasks(SIGNATURE)["detect"]
    steps = task.run(Payload(file(tone(0.1))), SpeechParameters(min_speech=0))
    (wanted,) = next(steps)
    for index in range(4):
        assert wanted.inputs["state"][0, 0, 0] == index
        outputs = {
            "output": np.array([[0.9]], np.float32),
            "stateN": np.full((1, 2, 128), index + 1, np.float32),
        }
        if index < 3:
            (wanted,) = steps.send([outputs])
    with pytest.raises(StopIteration) as stop:
        steps.send([outputs])
    assert stop.value.value.segments == [speech_segments.Segment(start=0, end=0.1)]


def segments(pattern: str, **parameters: float) -> list[tuple[float, float]]:
    """Of chunks that are speech (#), doubtful (-) or silent (.), in chunks."""
    values = [{"#": 0.9, "-": 0.4, ".": 0.1}[letter] for letter in pattern]
    usual = {"min_speech": 0.0, "min_silence": 0.064, "padding": 0.0}
    found = spans_of(values, len(values) * CHUNK, SpeechParameters(**(usual | parameters)))
    return [(start / CHUNK, end / CHUNK) for start, end in found]


@pytest.mark.parametrize(
    ("pattern", "parameters", "wanted"),
    [
        ("..........", {}, []),
        ("..####....", {}, [(2, 6)]),
        ("..##--##....", {}, [(2, 8)]),  # doubtful is not yet the end
        ("..##.##....", {}, [(2, 7)]),  # too short a pause
        ("..##...##...", {}, [(2, 4), (7, 9)]),
        ("..##......", {"min_speech": 0.1}, []),  # too short
        (".....#####", {}, [(5, 10)]),  # to the end of the file
        ("....##....", {"padding": 0.032}, [(3, 7)]),
        ("##...##", {"padding": 0.064}, [(0, 3.5), (3.5, 7)]),  # into half of the pause
        ("--------", {"threshold": 0.3}, [(0, 8)]),
    ],
)
def test_segments_begin_and_end_by_silero_s_rules(
    pattern: str, parameters: dict[str, float], wanted: list[tuple[float, float]]
) -> None:
    assert segments(pattern, **parameters) == wanted


@given(st.lists(st.floats(0, 1), max_size=60), st.floats(0, 0.3), st.floats(0, 0.2))
def test_segments_never_overlap_and_lie_in_the_file(
    values: list[float], silence: float, padding: float
) -> None:
    parameters = SpeechParameters(min_speech=0, min_silence=silence, padding=padding)
    samples = len(values) * CHUNK
    found = spans_of(values, samples, parameters)
    ends = [0] + [place for span in found for place in span]
    assert ends == sorted(ends)
    assert ends[-1] <= samples


def test_a_graph_that_is_not_made_for_it_is_refused() -> None:
    with pytest.raises(
        InvalidModel, match=r"needs the inputs 'input', 'state' .* has 'input', 'sr', 'state'"
    ):
        inputs = (*SIGNATURE.inputs, TensorSpec("sr", DType.INT64, ()))
        signature = Signature(inputs, SIGNATURE.outputs)
        load_pipeline({"kind": "speech-segments"}, Place(())).tasks(signature)


@pytest.mark.parametrize("name", ["min_speech", "min_silence", "padding"])
@pytest.mark.parametrize("value", [-0.1, 86_401, 1e308, math.inf, math.nan])
def test_times_of_a_request_are_bounded(name: str, value: float) -> None:
    with pytest.raises(ValidationError):
        SpeechParameters.model_validate({name: value})
