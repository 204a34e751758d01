"""Folders of Hugging Face's hub, served as they come."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from tests import hugging_face
from tests.conftest import RunningServer, start_server
from tests.pipelines.test_speech import file, tone
from tests.task_models import picture


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(hugging_face.save_all(tmp_path_factory.mktemp("hub")))
    yield running
    running.process.kill()
    running.process.wait(20)


@pytest.fixture
def post(hub: RunningServer) -> Callable[..., Any]:
    def send(path: str, status: int = 200, **body: Any) -> Any:
        response = requests.post(hub.url + path, json=body, timeout=20)
        assert response.status_code == status, response.text
        found = response.json()
        return found["results"][0] if "results" in found and "/models/" in path else found

    return send


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_a_text_classifier_tells_its_own_labels(post: Callable[..., Any]) -> None:
    best, worst = post("/models/mood/classify", text="The good cat")["labels"]
    assert (best["label"], worst["label"]) == ("POSITIVE", "NEGATIVE")
    assert best["score"] == pytest.approx(sigmoid(3), abs=1e-5), "softmax of [0, 3]"
    assert post("/models/mood/classify", text="bad dog")["labels"][0]["label"] == "NEGATIVE"


def test_a_text_beyond_the_tokenizer_s_limit_is_refused_or_cut(post: Callable[..., Any]) -> None:
    told = post("/models/mood/classify", 400, text="good " * 40)
    assert "42 tokens, the model takes 32; set truncate" in told["error"]
    assert post("/models/mood/classify", text="good " * 40, truncate=True)["truncated"] is True


def test_names_are_found_where_they_stand(post: Callable[..., Any]) -> None:
    text = "Ann sat, the new London cat"
    pieces = post("/models/names/tag", text=text)["pieces"]
    assert [(one["label"], one["text"]) for one in pieces] == [
        ("PER", "Ann"),
        ("LOC", "new London"),
    ]
    assert [text[one["start"] : one["end"]] for one in pieces] == ["Ann", "new London"]
    sure = math.exp(4) / (math.exp(4) + 3)
    assert all(one["score"] == pytest.approx(sure, abs=1e-5) for one in pieces)
    apart = post("/models/names/tag", text="berlin berlin")["pieces"]
    assert len(apart) == 2, "B- begins another one"
    words = post("/models/names/tag", text=text, group="words")["pieces"]
    assert [one["label"] for one in words] == ["B-PER", "B-LOC", "I-LOC"]


def test_tokens_make_the_label_of_a_word_as_transformers_has_it(post: Callable[..., Any]) -> None:
    for decides in ("first", "average", "max", "each"):
        found = post("/models/names/tag", text="Ann sat in new London", decides=decides)["pieces"]
        assert [one["text"] for one in found] == ["Ann", "new London"]
    tokens = post("/models/names/tag", text="Ann London", group="tokens")["pieces"]
    assert [one["label"] for one in tokens] == ["B-PER", "I-LOC"]


def test_a_ranker_is_a_classifier_with_one_label_too(post: Callable[..., Any]) -> None:
    """As the text-classification pipeline of transformers has it: the sigmoid of one number."""
    (label,) = post("/models/ranker/classify", text=["good cat", "good cat"])["labels"]
    assert (label["label"], label["score"]) == ("LABEL_0", pytest.approx(sigmoid(3), abs=1e-5))


def test_of_a_text_and_a_statement_the_text_is_cut(post: Callable[..., Any]) -> None:
    """As the zero-shot pipeline of transformers has it: 32 tokens, of which the statement is 20."""
    template = "{} " + "dog " * 19
    asked = {"text": "bad " * 9 + "cat " * 30, "labels": ["cat", "bad"], "template": template}
    found = post("/models/nli/zero-shot", **asked, truncate=True, several=True)
    scores = {one["label"]: one["score"] for one in found["labels"]}
    assert found["truncated"] is True
    # Nine of the text are left: 32 less 20 and three marks.
    assert scores == {"cat": pytest.approx(sigmoid(-2)), "bad": pytest.approx(sigmoid(4 * 9 - 2))}
    told = post(
        "/models/nli/zero-shot", 400, **asked | {"template": "{} " + "dog " * 40}, truncate=True
    )
    assert "the statement about the text has 41 tokens of the 32" in told["error"]


def test_labels_of_one_s_own_are_judged_by_entailment(post: Callable[..., Any]) -> None:
    """Logits are [1 - 2n, 0, 2n - 1] for n words that text and statement share."""
    asked = {"labels": ["dog", "cat"], "template": "{}"}
    found = post("/models/nli/zero-shot", text="the cat sat", **asked)
    assert [one["label"] for one in found["labels"]] == ["cat", "dog"]
    assert found["labels"][0]["score"] == pytest.approx(sigmoid(2), abs=1e-5)
    alone = post("/models/nli/zero-shot", text="the cat sat", several=True, **asked)
    assert alone["labels"][0]["score"] == pytest.approx(sigmoid(2), abs=1e-5)
    assert alone["labels"][1]["score"] == pytest.approx(sigmoid(-2), abs=1e-5)
    pair = post("/models/nli/classify", text=["the cat", "the cat"])
    assert pair["labels"][0]["label"] == "entailment"
    told = post("/models/nli/zero-shot", 400, text="cat", labels=["a"], template="none")
    assert "template: expected one {}" in told["error"]


def test_texts_are_ranked_as_text_embeddings_inference_does(
    post: Callable[..., Any], hub: RunningServer
) -> None:
    texts = ["the dog", "a good cat", "the good cat sat"]
    ranks = post("/rerank", query="good cat sat", texts=texts, return_text=True)
    assert [one["index"] for one in ranks] == [2, 1, 0]
    assert ranks[0]["score"] == pytest.approx(sigmoid(5), abs=1e-5)
    assert ranks[0]["text"] == texts[2]
    raw = post("/rerank", query="good cat sat", texts=texts, raw_scores=True)
    assert [one["score"] for one in raw] == [5, 3, -1]
    assert "text" not in raw[0]
    told = post("/rerank", 400, query="cat", texts=["cat", ""])
    assert told["error_type"] == "Validation"
    assert "texts[1]" in told["error"]
    own = post("/models/ranker/rerank", query="good cat", texts=texts, top_k=1)
    assert [one["index"] for one in own["ranks"]] == [1]


def test_texts_are_ranked_as_cohere_does(post: Callable[..., Any]) -> None:
    asked = {"model": "ranker", "query": "good cat", "documents": ["dog", {"text": "good cat"}]}
    found = post("/v1/rerank", **asked, top_n=1, return_documents=True)
    assert found["model"] == "ranker"
    (first,) = found["results"]
    assert first["document"] == {"text": "good cat"}
    assert (first["index"], first["relevance_score"]) == (1, pytest.approx(sigmoid(3), abs=1e-5))
    for wrong in ({}, {"text": 1}, 3):
        told = post("/v1/rerank", 400, query="cat", documents=["cat", wrong])
        assert told["error"].startswith("documents[1]")
    assert "can't rank texts" in post("/v1/rerank", 400, **asked | {"model": "mood"})["error"]


def test_sentence_vectors_are_pooled_as_the_folder_says(post: Callable[..., Any]) -> None:
    one = post("/models/vectors/embed", text="cat", normalise=False)
    other = post("/models/vectors/embed", text="the dog", normalise=False)
    assert one["vector"] == other["vector"], "[CLS] alone, whose vector is the same for all texts"
    assert (
        "12 tokens, the model takes 8"
        in post("/models/vectors/embed", 400, text="cat " * 10)["error"]
    )
    assert len(post("/embed", inputs="cat", model="vectors")[0]) == 8


def test_the_body_names_one_of_several_models(post: Callable[..., Any], hub: RunningServer) -> None:
    """Clients of text-embeddings-inference: its server has one model, and its bodies no name."""
    told = post("/embed", 400, inputs="cat")["error"]
    assert told == "model: several models make vectors of text: name one of 'pooled', 'vectors'"
    assert post("/embed", inputs="cat", model="pooled") != post(
        "/embed", inputs="cat", model="vectors"
    )
    assert "unknown model: 'none'" in post("/embed", 404, inputs="cat", model="none")["error"]
    assert post("/tokenize", inputs="cat", model="pooled")[0][0]["special"] is True
    info = requests.get(f"{hub.url}/info?model=vectors", timeout=20).json()
    assert info["model_id"] == "vectors"


def test_tokens_are_told_in_answers_that_have_a_bound(post: Callable[..., Any]) -> None:
    """Each takes two characters in the body and 80 in the answer."""
    unlike = post("/tokenize", inputs=["cat " * 500, *["cat"] * 300], model="pooled")
    assert [len(one) for one in unlike[:2]] == [502, 3]
    told = post("/tokenize", 413, inputs=["cat " * 500] * 40, model="pooled")["error"]
    assert told == "the texts have more than 16384 tokens: send fewer in one request"


def test_pictures_are_made_as_the_preprocessor_says(hub: RunningServer) -> None:
    response = requests.post(
        f"{hub.url}/models/colours/classify", data=picture("green"),
        headers={"Content-Type": "image/png"}, timeout=20,
    )  # fmt: skip
    labels = response.json()["results"][0]["labels"]
    assert labels[0]["label"] == "green"
    sure = math.exp(10) / (math.exp(10) + 2 * math.exp(-10))  # 255 is 1 and 0 is -1
    assert labels[0]["score"] == pytest.approx(sure, abs=1e-6)


def test_files_that_do_not_fit_the_graph_are_told_and_the_tensors_served(
    hub: RunningServer, post: Callable[..., Any]
) -> None:
    assert post("/v1/models/odd:predict", instances=[[1, 2, 3]]) == {"predictions": [[2, 4, 6]]}
    why = "no pipeline is made of its config.json: pipeline: text-classification"
    assert why in hub.announcement
    told = post("/models/odd/classify", 404, text="good")["error"]
    assert told.startswith("model 'odd' has no tasks: it takes tensors only")
    assert why in told


def test_one_folder_can_be_served_by_itself(
    tmp_path: Path, serve: Callable[..., RunningServer]
) -> None:
    hugging_face.save_all(tmp_path)
    running = serve(tmp_path / "mood")
    tasks = requests.get(f"{running.url}/models", timeout=20).json()
    assert [one["name"] for one in tasks["models"]] == ["mood"]


def test_a_vector_that_the_graph_makes_itself_is_the_answer(post: Callable[..., Any]) -> None:
    raw = post(
        "/v1/models/pooled:predict",
        inputs={"input_ids": [[2, 4, 3]], "attention_mask": [[1, 1, 1]]},
    )["outputs"]["sentence_embedding"][0]
    answer = post("/v1/embeddings", model="pooled", input=[[2, 4, 3]])["data"][0]["embedding"]
    length = math.sqrt(sum(one * one for one in raw))
    assert answer == pytest.approx([one / length for one in raw], abs=1e-6)


def test_recordings_are_spelt_and_told_apart(
    tmp_path: Path, serve: Callable[..., RunningServer]
) -> None:
    url = serve(hugging_face.save_sounds(tmp_path)).url
    silence = np.zeros(4800, np.float32)
    spoken = file(np.concatenate([tone(0.3), silence, tone(0.5)]))
    form = {"model": "letters"}
    answers = [
        requests.post(
            f"{url}/v1/audio/transcriptions", files={"file": ("a.wav", sound)}, data=form,
            timeout=20,
        ).json()
        for sound in (spoken, file(silence))
    ]  # fmt: skip
    assert [one["text"] for one in answers] == ["AA", ""]
    assert answers[0]["usage"] == {"type": "duration", "seconds": 1.1}
    for sound, label in ((spoken, "loud"), (file(silence), "quiet")):
        kind = {"content-type": "audio/wav"}
        found = requests.post(f"{url}/hf/noise", data=sound, headers=kind, timeout=20).json()
        assert found[0]["label"] == label
