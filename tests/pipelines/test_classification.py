"""Pictures and texts to labels, with plain arrays in the model's place."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inference_service.core.errors import InvalidInput, InvalidModel
from inference_service.core.tasks import Payload, Task
from inference_service.core.tensors import Array, DType, Signature, Tensors, TensorSpec
from inference_service.pipelines.registry import Place, load_pipeline
from tests.task_models import encoded, photo, picture

LOGITS = TensorSpec("logits", DType.FP32, (None, 3))
IMAGE = Signature((TensorSpec("image", DType.FP32, (None, 3, 8, 8)),), (LOGITS,))
TEXT = Signature((TensorSpec("characters", DType.INT32, (None, None)),), (LOGITS,))
LABELS = {"logits": ["red", "green", "blue"]}


def task(signature: Signature, kind: str = "image-classification", **options: Any) -> Task:
    place = Place((), LABELS)
    return load_pipeline({"kind": kind, **options}, place).tasks(signature)["classify"]


def ask(
    task: Task, data: Any, logits: list[float] | None = None, **parameters: Any
) -> tuple[Tensors, Any]:
    """What the task wants inferred, and its result for these logits."""
    steps = task.run(Payload(data), task.parameters(**parameters))
    (wanted,) = next(steps)
    scores = np.array([logits or [3, 1, 2]], np.float32)
    with pytest.raises(StopIteration) as stop:
        steps.send([{"logits": scores}])
    return wanted.inputs, stop.value.value


def image_of(task: Task, data: bytes) -> Array:
    inputs, _ = ask(task, data)
    return inputs["image"]


def test_a_picture_becomes_one_row_of_the_models_input() -> None:
    row = image_of(task(IMAGE, mean=0.5, std=0.5), picture("red"))
    assert row.shape == (1, 3, 8, 8)
    assert row.dtype == np.float32
    assert [row[0, c, 0, 0] for c in range(3)] == [1, -1, -1]


def test_the_owner_says_how_pixels_become_numbers() -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.125)
    rgb = image_of(task(IMAGE, mean=mean, std=std), picture("green"))
    assert rgb[0, :, 0, 0].tolist() == pytest.approx([-0.2, 3.2, -2.4])
    bgr = image_of(task(IMAGE, mean=mean, std=std, channels="bgr"), picture("green"))
    assert bgr[0, :, 0, 0].tolist() == pytest.approx([-2.4, 3.2, -0.2])
    grey_spec = Signature((TensorSpec("image", DType.FP32, (None, 1, 8, 8)),), (LOGITS,))
    grey = image_of(task(grey_spec, mean=0, std=1, channels="grey"), picture("green"))
    assert grey.shape == (1, 1, 8, 8)
    assert grey[0, 0, 0, 0] == pytest.approx(150 / 255)
    last = Signature((TensorSpec("image", DType.UINT8, (None, 8, 8, 3)),), (LOGITS,))
    raw = image_of(task(last, layout="nhwc"), picture("green"))
    assert raw.dtype == np.uint8
    assert raw[0, 0, 0].tolist() == [0, 255, 0]


def test_the_pixels_are_those_of_a_plain_implementation() -> None:
    """What the authors of most classifiers do: resize the shorter side, cut out the middle."""
    picture = photo(451, 300)
    size = Signature((TensorSpec("image", DType.FP32, (None, 3, 224, 224)),), (LOGITS,))
    found = image_of(task(size, mean=0, std=1, crop=224 / 256), encoded(picture))[0]
    cut = 300 * 224 / 256
    left, top = (451 - cut) / 2, (300 - cut) / 2
    plain = picture.resize((224, 224), Image.Resampling.BICUBIC, (left, top, left + cut, top + cut))
    np.testing.assert_allclose(found, np.asarray(plain).transpose(2, 0, 1) / 255, atol=1e-6)


def test_labels_come_in_the_order_of_their_scores() -> None:
    _, result = ask(task(IMAGE), picture())
    assert [(one.label, one.index) for one in result.labels] == [
        ("red", 0),
        ("blue", 2),
        ("green", 1),
    ]
    assert sum(one.score for one in result.labels) == pytest.approx(1)


def test_a_request_may_want_fewer_labels() -> None:
    _, result = ask(task(IMAGE), picture(), top_k=1)
    assert [one.label for one in result.labels] == ["red"]
    _, result = ask(task(IMAGE), picture(), threshold=0.2)
    assert [one.label for one in result.labels] == ["red", "blue"]
    _, result = ask(task(IMAGE, top_k=2), picture())
    assert len(result.labels) == 2
    _, result = ask(task(IMAGE, threshold=0.99), picture())
    assert result.labels == []


def test_scores_may_be_independent_or_probabilities_already() -> None:
    _, result = ask(task(IMAGE, scores="independent"), picture(), [0, 1000, -1000])
    assert [round(one.score, 3) for one in result.labels] == [1, 0.5, 0]
    _, result = ask(task(IMAGE, scores="probabilities"), picture(), [0.25, 0.5, 0.25])
    assert [one.score for one in result.labels] == [0.5, 0.25, 0.25]


def test_raw_numbers_are_told_as_they_are() -> None:
    _, found = ask(task(IMAGE, scores="raw"), picture(), [-1.5, 2, 7])
    assert [one.score for one in found.labels] == [7, 2, -1.5]


def test_a_picture_is_made_to_a_size_before_its_middle_is_cut_out() -> None:
    data = encoded(photo(90, 61))
    row = image_of(
        task(IMAGE, size=8, first=[12, 10], interpolation="bilinear", mean=0, std=1), data
    )
    whole = np.asarray(photo(90, 61).resize((10, 12), Image.Resampling.BILINEAR))
    assert np.allclose(row[0].transpose(1, 2, 0) * 255, whole[2:10, 1:9], atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "image-clasification"}, "pipeline.kind: expected one of 'audio-classification', .*, got 'image-clasification'"),
        ({}, "pipeline.kind: expected one of"),
        ({"kind": "image-classification", "sise": 3}, r"pipeline\.sise: there is no such key; did you mean 'size'\?"),
        ({"kind": "image-classification", "size": 9}, "pipeline.size: 9 x 9 doesn't fit image"),
        ({"kind": "image-classification", "layout": "nhwc"}, "pipeline.layout: nhwc of 3 channels doesn't fit"),
        ({"kind": "image-classification", "labels": "names.txt"}, "pipeline: there is no names.txt beside the model"),
        ({"kind": "image-classification", "output": "scores"}, r"pipeline.output: expected one of 'logits', got 'scores'"),
        ({"kind": "text-classification"}, "text-classification needs one input of integers"),
        ({"kind": "text-embedding", "tokenizer": "none.json"}, "there is no none.json beside the model"),
    ],
)  # fmt: skip
def test_a_pipeline_that_does_not_fit_is_told_so(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidModel, match=message):
        load_pipeline(options, Place((), LABELS)).tasks(IMAGE)


def test_a_labels_file_has_a_line_for_each_class(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("one\ntwo\n")
    place = Place((tmp_path / "1", tmp_path))
    pipeline = load_pipeline({"kind": "image-classification", "labels": "labels.txt"}, place)
    with pytest.raises(InvalidModel, match="2 labels for 3 classes"):
        pipeline.tasks(IMAGE)


def test_what_is_not_likely_enough_is_told_to_be_unsure() -> None:
    doubtful = task(IMAGE, scores="probabilities", unsure_below=0.6)
    _, result = ask(doubtful, picture(), [0.25, 0.5, 0.25], top_k=2)
    assert [(one.label, one.score, one.index) for one in result.labels] == [
        ("unsure", 0.5, -1),
        ("green", 0.5, 1),
    ]
    _, result = ask(doubtful, picture(), [0.25, 0.6, 0.15], top_k=1)
    assert [one.label for one in result.labels] == ["green"]
    _, result = ask(doubtful, picture(), [0.25, 0.5, 0.25], threshold=0.51)
    assert result.labels == []


def test_labels_may_have_names_for_people() -> None:
    named = task(TEXT, "text-classification", names=["Red", "Green", "Blue"], unsure_below=0.99)
    _, result = ask(named, "a text")
    told = [(one["label"], one["name"]) for one in result.model_dump()["labels"]]
    assert told == [("unsure", "unsure"), ("red", "Red"), ("blue", "Blue"), ("green", "Green")]
    _, result = ask(task(TEXT, "text-classification"), "a text")
    assert "name" not in result.model_dump()["labels"][0]
    with pytest.raises(InvalidModel, match=r"pipeline\.names: 1 names for 3 labels"):
        task(TEXT, "text-classification", names=["Red"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("¿Qué hora es?", " Qué hora es "),
        ("l'amie-2", " l amie "),
        ("e\u0301 की", " e\u0301 की "),
        ("12:30 😀", " "),
    ],
)
def test_the_words_alone_are_letters_with_their_marks(text: str, words: str) -> None:
    inputs, _ = ask(task(TEXT, "text-classification", words=True), text)
    assert "".join(map(chr, inputs["characters"][0])) == words


def test_words_have_a_space_at_either_end_even_of_the_longest_text() -> None:
    pipeline = load_pipeline(
        {"kind": "text-classification", "words": True, "max_length": 3, "input": "characters"},
        Place((), LABELS),
    )
    inputs, result = ask(pipeline.tasks(TEXT)["classify"], "abcde", truncate=True)
    assert inputs["characters"].tolist() == [[32, 97, 98, 99, 32]]
    assert result.truncated is True
    assert pipeline.longest == inputs["characters"].shape[1]


def test_texts_are_brought_into_one_form_of_unicode() -> None:
    composed, _ = ask(task(TEXT, "text-classification"), "\u00e9")
    apart = task(TEXT, "text-classification", normal_form="NFC")
    decomposed, _ = ask(apart, "e\u0301")
    assert decomposed["characters"].tolist() == composed["characters"].tolist()


def test_a_text_becomes_the_numbers_of_its_characters() -> None:
    inputs, result = ask(task(TEXT, "text-classification", lower=True), "Grün")
    assert inputs["characters"].tolist() == [[ord(c) for c in "grün"]]
    assert inputs["characters"].dtype == np.int32
    assert result.labels[0].label == "red"
    assert result.truncated is False
    inputs, _ = ask(task(TEXT, "text-classification", units="bytes"), "ü".encode())
    assert inputs["characters"].tolist() == [[0xC3, 0xBC]]


def test_a_text_that_is_too_long_is_refused_or_cut_but_never_in_silence() -> None:
    short = task(TEXT, "text-classification", max_length=3)
    with pytest.raises(InvalidInput, match="the text has 5 characters, the model takes 3"):
        ask(short, "abcde")
    inputs, result = ask(short, "abcde", truncate=True)
    assert inputs["characters"].shape == (1, 3)
    assert result.truncated is True


@pytest.mark.parametrize(
    ("data", "message"),
    [("", "the text is empty"), (" \n", "the text is empty"), (b"\xff\xfe", "not UTF-8: byte 0"), (7, "expected a text, got an integer")],
)  # fmt: skip
def test_what_is_no_text_is_told_so(data: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ask(task(TEXT, "text-classification"), data)
