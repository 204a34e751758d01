"""Recordings as one row each: classes of sounds, letters of speech."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference_service.core.errors import InvalidInput, InvalidModel
from inference_service.core.tasks import Inference, Payload
from inference_service.core.tensors import DType, Signature, TensorSpec
from inference_service.pipelines.audio_classification import ClassifyAudio
from inference_service.pipelines.ctc_transcription import CtcTranscription
from inference_service.pipelines.registry import Place, load_pipeline
from tests.pipelines.test_speech import drive, file, tone

VALUES = TensorSpec("input_values", DType.FP32, (None, None))
MASK = TensorSpec("attention_mask", DType.INT64, (None, None))
LETTERS = ["<pad>", "|", "A", "B", "<unk>"]
CLASSES = Signature((VALUES,), (TensorSpec("logits", DType.FP32, (None, 2)),))
FRAMES = Signature((VALUES, MASK), (TensorSpec("logits", DType.FP32, (None, None, 5)),))


def classifier(**options: Any) -> ClassifyAudio:
    declared = {"kind": "audio-classification", "labels": ["loud", "soft"], **options}
    task = load_pipeline(declared, Place((Path(),))).tasks(CLASSES)["classify"]
    assert isinstance(task, ClassifyAudio)
    return task


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    path = tmp_path / "vocab.json"
    path.write_text(json.dumps({letter: place for place, letter in enumerate(LETTERS)}))
    return tmp_path


def speller(folder: Path, signature: Signature = FRAMES, **options: Any) -> Any:
    declared = {"kind": "ctc-transcription", **options}
    return load_pipeline(declared, Place((folder,))).tasks(signature)["transcribe"]


def spell(task: Any, spoken: str, **parameters: Any) -> CtcTranscription:
    """What is read off frames whose likeliest letters are these; "_" is the blank."""
    frames = [LETTERS.index("<pad>" if one == "_" else one) for one in spoken]

    def answer(_: Inference) -> Any:
        return {"logits": np.eye(5, dtype=np.float32)[frames][None]}

    asked = task.parameters(**parameters)
    found, _ = drive(task.run(Payload(file(tone(1.5))), asked), answer)
    assert isinstance(found, CtcTranscription)
    return found


@pytest.mark.parametrize("normalise", [True, False])
def test_a_recording_is_a_row_of_its_own_length(normalise: bool) -> None:
    def answer(wanted: Inference) -> Any:
        (row,) = wanted.inputs["input_values"]
        assert (row.dtype, len(row)) == (np.float32, 8000)
        assert row.std() == pytest.approx(1 if normalise else 0.3535, abs=1e-3)
        return {"logits": np.array([[2.0, 0.0]], np.float32)}

    task = classifier(normalise=normalise)
    found, _ = drive(task.run(Payload(file(tone(0.5))), task.parameters()), answer)
    assert [one.label for one in found.labels] == ["loud", "soft"]
    assert found.labels[0].score == pytest.approx(0.8808, abs=1e-4)


def test_silence_is_no_division_by_zero() -> None:
    def answer(wanted: Inference) -> Any:
        assert not wanted.inputs["input_values"].any()
        return {"logits": np.zeros((1, 2), np.float32)}

    task = classifier()
    drive(task.run(Payload(file(np.zeros(4000, np.float32))), task.parameters()), answer)


def test_a_recording_beyond_the_limit_is_refused() -> None:
    task = classifier(max_seconds=1)
    with pytest.raises(InvalidInput, match="longer than the limit of 1 s"):
        drive(task.run(Payload(file(tone(1.5))), task.parameters()), lambda _: {})


def test_the_longest_row_follows_from_the_limit() -> None:
    declared = {"kind": "audio-classification", "max_seconds": 2, "rate": 8000}
    pipeline: Any = load_pipeline(declared, Place((Path(),)))
    assert pipeline.bounds(CLASSES) == {"input_values": (None, 16_000)}


@pytest.mark.parametrize(
    ("spoken", "text"),
    [
        ("AABB", "AB"),
        ("A_A__B", "AAB"),
        ("|A||B|", "A B"),
        ("A|_|B", "A  B"),  # as transformers has it
        ("____", ""),
    ],
)
def test_letters_in_a_row_are_one_unless_a_blank_parts_them(
    letters: Path, spoken: str, text: str
) -> None:
    found = spell(speller(letters), spoken)
    assert (found.text, found.seconds, found.language) == (text, 1.5, "und")
    assert [(one.start, one.end, one.text) for one in found.segments] == (
        [(0.0, 1.5, text)] if text else []
    )


def test_the_language_is_told_and_another_refused(letters: Path) -> None:
    task = speller(letters, language="de", lower=True)
    assert spell(task, "AB", language="de").text == "ab"
    with pytest.raises(InvalidInput, match="the model's language is 'de', got 'en'"):
        spell(task, "AB", language="en")
    assert spell(speller(letters), "AB", language="en").text == "AB"


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ("[]", {}, "expected an object of letters and their numbers"),
        ('{"<pad>": 0, "A": 2}', {}, "expected an object of letters and their numbers"),
        ("{", {}, "vocab.json can't be read"),
        ('{"<pad>": 0, "A": 1}', {"blank": "_"}, "there is no '_' in the vocabulary"),
        ('{"<pad>": 0, "A": 1}', {}, "2 letters for 5 classes"),
    ],
)
def test_a_vocabulary_that_does_not_fit_is_told(
    tmp_path: Path, content: str, options: dict[str, Any], words: str
) -> None:
    (tmp_path / "vocab.json").write_text(content)
    with pytest.raises(InvalidModel, match=words):
        speller(tmp_path, **options)


def test_a_graph_that_takes_something_else_is_told() -> None:
    features = TensorSpec("input_features", DType.FP32, (None, 80, None))
    with pytest.raises(InvalidModel, match=r"expected floats \[batch, samples\]"):
        load_pipeline({"kind": "audio-classification"}, Place((Path(),))).tasks(
            Signature((features,), CLASSES.outputs)
        )
