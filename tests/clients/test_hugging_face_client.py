"""Hugging Face's InferenceClient, unmodified."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import requests
from huggingface_hub import InferenceClient
from huggingface_hub.errors import BadRequestError

from tests import hugging_face
from tests.conftest import MODELS, RunningServer, serving
from tests.task_models import picture


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with folders of the hub, one of each kind."""
    with serving(hugging_face.save_all(tmp_path_factory.mktemp("hub"))) as running:
        yield running


def client(hub: RunningServer, model: str) -> InferenceClient:
    return InferenceClient(f"{hub.url}/hf/{model}")


def asked(hub: RunningServer, path: str, **body: Any) -> requests.Response:
    return requests.post(hub.url + path, json=body, timeout=20)


def test_texts_are_classified(hub: RunningServer) -> None:
    found = client(hub, "mood").text_classification("good cat", top_k=1)
    assert [one.label for one in found] == ["POSITIVE"]
    several = asked(hub, "/hf/mood", inputs=["good", "bad"], parameters={"top_k": 1}).json()
    assert [one[0]["label"] for one in several] == ["POSITIVE", "NEGATIVE"]


def test_names_are_found_in_a_text(hub: RunningServer) -> None:
    found = client(hub, "names").token_classification("Ann London", aggregation_strategy="simple")
    assert [(one.entity_group, one.word, one.start, one.end) for one in found] == [
        ("PER", "Ann", 0, 3),
        ("LOC", "London", 4, 10),
    ]


def test_tokens_are_told_where_no_names_are_put_together(hub: RunningServer) -> None:
    found = client(hub, "names").token_classification("the new London", aggregation_strategy="none")
    assert [(one.entity, one.entity_group, one.word) for one in found] == [
        ("B-LOC", None, "new"),
        ("I-LOC", None, "London"),
    ]
    for strategy in ("simple", "first", "average", "max"):
        names = client(hub, "names").token_classification(
            "the new London", aggregation_strategy=strategy
        )
        assert [(one.entity_group, one.word) for one in names] == [("LOC", "new London")]


def test_labels_that_the_client_brings_are_scored(hub: RunningServer) -> None:
    found = client(hub, "nli").zero_shot_classification(
        "a cat", ["cat", "mat"], multi_label=True, hypothesis_template="it is a {}"
    )
    direct = asked(
        hub, "/models/nli/zero-shot", text="a cat", labels=["cat", "mat"], several=True,
        template="it is a {}",
    ).json()["results"][0]["labels"]  # fmt: skip
    assert [(one.label, one.score) for one in found] == [
        (one["label"], one["score"]) for one in direct
    ]


def test_texts_become_vectors_and_similarities(hub: RunningServer) -> None:
    vectors = client(hub, "vectors")
    assert vectors.feature_extraction("cat", normalize=False).shape == (1, 8)
    whole = vectors.feature_extraction("cat", normalize=False, encoding_format="float")
    short = vectors.feature_extraction("cat", dimensions=3, truncation_direction="right")
    assert short == pytest.approx(whole[:, :3] / np.linalg.norm(whole[0, :3]), abs=1e-6)
    likeness = vectors.sentence_similarity("the cat", other_sentences=["a dog", "the cat"])
    assert likeness[1] == pytest.approx(1, abs=1e-6)
    assert len(likeness) == 2


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        ({"dimensions": 9}, "dimensions: expected a whole number from 1 to 8"),
        ({"prompt_name": "query"}, "prompt_name: there is no prompt 'query'; there are: none"),
        ({"truncation_direction": "left"}, "truncation_direction: expected 'right', got"),
        ({"encoding_format": "base64"}, "encoding_format: expected 'float', got a string 'base64'"),
    ],
)
def test_what_stands_beside_the_inputs_is_never_passed_over(
    hub: RunningServer, beside: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadRequestError, match=message):
        client(hub, "vectors").feature_extraction("cat", **beside)


def test_speech_is_written_down(server: RunningServer) -> None:
    transcription = client(server, "transcription")
    sound = MODELS / "transcription" / "examples" / "cards-001.flac"
    told = transcription.automatic_speech_recognition(sound)
    assert told.text
    assert told.chunks is None
    assert transcription.automatic_speech_recognition(sound.read_bytes()).text == told.text
    timed = transcription.automatic_speech_recognition(
        sound, extra_body={"return_timestamps": True, "language": "en"}
    )
    assert timed.text == told.text
    assert timed.chunks is not None
    assert " ".join(one.text for one in timed.chunks) == told.text
    assert [0 <= one.timestamp[0] < one.timestamp[1] < 2 for one in timed.chunks] == [True]
    with pytest.raises(BadRequestError, match="return_timestamps: expected true or false, got a"):
        transcription.automatic_speech_recognition(sound, extra_body={"return_timestamps": "word"})


def test_pictures_are_classified(hub: RunningServer) -> None:
    colours = client(hub, "colours")
    assert colours.image_classification(picture("green"))[0].label == "green"
    assert [one.label for one in colours.image_classification(picture("red"), top_k=1)] == ["red"]


@pytest.mark.parametrize("kind", ["text/plain;charset=UTF-8", "application/octet-stream", ""])
def test_json_is_read_by_whatever_type_that_says_nothing(hub: RunningServer, kind: str) -> None:
    """JavaScript's fetch and aiohttp send these, where the client's own says JSON."""
    response = requests.post(
        f"{hub.url}/hf/mood", b'{"inputs": "bad dog"}', headers={"Content-Type": kind}, timeout=20
    )
    assert response.json()[0][0]["label"] == "NEGATIVE"


def test_what_is_wrong_is_told_in_the_client_s_error(hub: RunningServer) -> None:
    with pytest.raises(BadRequestError, match="no such parameter"):
        client(hub, "mood").text_classification("good", function_to_apply="softmax")


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/hf/mood", {}, 400, "inputs: missing"),
        ("/hf/mood", {"inputs": "good", "return_timestamps": True}, 400,
         "return_timestamps: classify has no such parameter"),
        ("/hf/mood", {"inputs": "good", "question": "how?"}, 400, "question: no such parameter"),
        ("/hf/mood", {"inputs": "good", "top_k": 1, "parameters": {"top_k": 2}}, 400,
         "top_k: given twice: beside the inputs and in the parameters"),
        ("/hf/mood", {"inputs": ["good", 5]}, 400, "inputs[1]: expected a text, got an integer"),
        ("/hf/mood", {"inputs": []}, 400, "inputs: the list is empty"),
        ("/hf/mood", {"inputs": "x", "parameters": 3}, 400, "parameters: expected an object, got"),
        ("/hf/mood", {"inputs": "x", "parameters": {"candidate_labels": ["a"]}}, 404,
         "model 'mood' can't do zero-shot; its tasks: 'classify'"),
        ("/hf/colours", {"inputs": "%"}, 400, "inputs: not base64"),
        ("/hf/odd", {"inputs": "x"}, 404, "has no task for this request; its tasks: none"),
        ("/hf/names", {"inputs": "x", "parameters": {"aggregation_strategy": "best"}}, 400,
         "aggregation_strategy: expected one of 'none', 'simple', 'first', 'average'"),
        ("/hf/none", {"inputs": "x"}, 404, "unknown model: 'none'"),
    ],
)  # fmt: skip
def test_what_can_not_be_answered_is_told(
    hub: RunningServer, path: str, body: dict[str, Any], status: int, message: str
) -> None:
    answer = asked(hub, path, **body)
    assert message in answer.json()["error"]
    assert answer.status_code == status
