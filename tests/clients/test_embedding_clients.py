"""OpenAI's SDK, LangChain's embeddings, and text-embeddings-inference's calls, unmodified."""

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnxruntime as ort
import openai
import pytest
import requests
from langchain_openai import OpenAIEmbeddings

from tests import onnx_models, text_models
from tests.conftest import RunningServer, serving

TEXTS = ["The cat sat on the mat", "a dog", "the big red cat sleeps and the small blue dog runs"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with one model of text and one of numbers."""
    folder = tmp_path_factory.mktemp("models")
    text_models.save(folder / "words", 'prompts = { whole = "The cat sat " }\n', max_tokens=16)
    onnx_models.save(onnx_models.doubler(), folder / "doubler.onnx")
    with serving(folder) as running:
        yield running


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The vectors, one by one and by hand."""
    folder = text_models.save(tmp_path_factory.mktemp("words"))
    session = ort.InferenceSession(folder / "1" / "model.onnx")
    vectors = []
    for text in TEXTS:
        ids = np.array([text_models.tokenizer(99).encode(text).ids])
        (states,) = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        mean = states[0].mean(axis=0)
        vectors.append(mean / np.linalg.norm(mean))
    return np.array(vectors)


@pytest.fixture
def client(texts: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=texts.url + "/v1", api_key="none", max_retries=0) as made:
        yield made


def floats(vector: Any) -> Any:
    """The SDK leaves base64 that it was asked for as it is."""
    encoded = isinstance(vector, str)
    return np.frombuffer(base64.b64decode(vector), np.float32) if encoded else vector


@pytest.mark.parametrize("encoding", [None, "float", "base64"])
def test_openais_sdk(client: openai.OpenAI, expected: np.ndarray, encoding: Any) -> None:
    options = {} if encoding is None else {"encoding_format": encoding}
    answer = client.embeddings.create(model="words", input=TEXTS, **options)
    vectors: Any = [item.embedding for item in answer.data]
    assert np.allclose([floats(one) for one in vectors], expected, atol=1e-5)
    assert [item.index for item in answer.data] == [0, 1, 2]
    assert (answer.model, answer.usage.prompt_tokens) == ("words", 8 + 4 + 13)
    one = client.embeddings.create(model="words", input=TEXTS[0]).data[0].embedding
    assert np.allclose(one, expected[0], atol=1e-5)


def test_openais_sdk_with_tokens(client: openai.OpenAI, expected: np.ndarray) -> None:
    ids = [text_models.tokenizer(99).encode(text).ids for text in TEXTS]
    answer = client.embeddings.create(model="words", input=ids)
    assert np.allclose([item.embedding for item in answer.data], expected, atol=1e-5)
    answer = client.embeddings.create(model="words", input=ids[1])
    assert np.allclose(answer.data[0].embedding, expected[1], atol=1e-5)


@pytest.mark.parametrize("encoding", [None, "float", "base64"])
def test_openais_sdk_has_vectors_cut(
    client: openai.OpenAI, expected: np.ndarray, encoding: Any
) -> None:
    """The first numbers, made 1 long again."""
    options = {} if encoding is None else {"encoding_format": encoding}
    for wanted in (1, 3, 8):
        answer = client.embeddings.create(
            model="words", input=TEXTS, dimensions=wanted, user="user-1234", **options
        )
        vectors = np.array([floats(item.embedding) for item in answer.data])
        cut = expected[:, :wanted]
        assert np.allclose(vectors, cut / np.linalg.norm(cut, axis=1, keepdims=True), atol=1e-5)
    refused: list[Any] = [0, -1, 9, 2.5, True, "3"]
    for wrong in refused:
        with pytest.raises(openai.BadRequestError) as told:
            client.embeddings.create(model="words", input="cat", dimensions=wrong)
        assert told.value.param == "dimensions"
        assert "dimensions: expected a " in told.value.message


def test_what_is_null_is_not_said(client: openai.OpenAI, expected: np.ndarray) -> None:
    """LiteLLM and others write what they have not been told as null."""
    nothing = dict.fromkeys(("encoding_format", "dimensions", "user"))
    answer = client.embeddings.create(
        model="words", input=TEXTS, encoding_format="float", extra_body=nothing
    )
    assert np.allclose([item.embedding for item in answer.data], expected, atol=1e-5)


def test_openais_sdk_understands_the_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.embeddings.create(model="text-embedding-3-small", input="cat")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as wrong:
        client.embeddings.create(model="words", input=["cat", "cat " * 99])
    assert wrong.value.param == "input"
    assert wrong.value.type == "invalid_request_error"
    assert "input[1]: the text has 101 tokens, the model takes 16" in wrong.value.message
    for given, message in (
        ("", "input[0]: the text is empty"),
        ([], "expected at least one text"),
        ([[5, 99]], "input[0][1]: expected a token of the model's own, 0 to 19, got 99"),
        (["a"] * 2049, "2049 texts in one request, the limit is 2048"),
    ):
        with pytest.raises(openai.BadRequestError) as wrong:
            client.embeddings.create(model="words", input=given)
        assert message in wrong.value.message
    with pytest.raises(openai.BadRequestError, match="model 'doubler' makes no vectors of text"):
        client.embeddings.create(model="doubler", input="cat")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"input": 3}',
        b'{"input": ["a", 3]}',
        b'{"input": "a", "encoding_format": "hex"}',
    ],
)
def test_every_failure_has_openais_shape(texts: RunningServer, body: bytes) -> None:
    answer = requests.post(texts.url + "/v1/embeddings", data=body, timeout=20)
    assert answer.status_code == 400
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}


async def test_requests_of_unlike_length_share_runs(
    texts: RunningServer, expected: np.ndarray
) -> None:
    def runs() -> int:
        stats = requests.get(texts.url + "/v2/models/words/stats", timeout=20).json()
        return int(stats["model_stats"][0]["execution_count"])

    before = runs()
    async with openai.AsyncOpenAI(base_url=texts.url + "/v1", api_key="none") as client:

        async def ask(index: int) -> bool:
            answer = await client.embeddings.create(model="words", input=TEXTS[index % 3])
            return np.allclose(answer.data[0].embedding, expected[index % 3], atol=1e-5)

        assert all(await asyncio.gather(*(ask(index) for index in range(120))))
    assert runs() - before < 120


def test_langchains_embeddings(texts: RunningServer, expected: np.ndarray) -> None:
    embeddings = OpenAIEmbeddings(
        model="words", base_url=texts.url + "/v1", api_key="none", check_embedding_ctx_length=False
    )  # type: ignore[call-arg]
    assert np.allclose(embeddings.embed_documents(TEXTS), expected, atol=1e-5)
    assert np.allclose(embeddings.embed_query(TEXTS[1]), expected[1], atol=1e-5)
    short = OpenAIEmbeddings(
        model="words", base_url=texts.url + "/v1", api_key="none", dimensions=3,
        check_embedding_ctx_length=False,
    )  # type: ignore[call-arg] # fmt: skip
    cut = expected[:, :3] / np.linalg.norm(expected[:, :3], axis=1, keepdims=True)
    assert np.allclose(short.embed_documents(TEXTS), cut, atol=1e-5)


def test_text_embeddings_inferences_own_calls(texts: RunningServer, expected: np.ndarray) -> None:
    def post(path: str, **body: Any) -> requests.Response:
        return requests.post(texts.url + path, json=body, timeout=20)

    answer = post("/embed", inputs=TEXTS)
    assert np.allclose(answer.json(), expected, atol=1e-5)
    assert answer.headers["x-compute-tokens"] == "25"
    assert np.allclose(post("/embed", inputs=TEXTS[0]).json(), expected[:1], atol=1e-5)
    raw = np.array(post("/embed", inputs=TEXTS, normalize=False).json())
    assert np.allclose(raw / np.linalg.norm(raw, axis=1, keepdims=True), expected, atol=1e-5)
    ids = text_models.tokenizer(99).encode(TEXTS[0]).ids
    assert np.allclose(post("/embed", inputs=ids).json(), expected[:1], atol=1e-5)
    cut = expected[:, :3] / np.linalg.norm(expected[:, :3], axis=1, keepdims=True)
    assert np.allclose(post("/embed", inputs=TEXTS, dimensions=3).json(), cut, atol=1e-5)
    short = post("/embed", inputs=TEXTS, dimensions=3, normalize=False, truncate=None).json()
    assert np.allclose(short, raw[:, :3], atol=1e-5)
    assert "from 1 to 8" in post("/embed", inputs="cat", dimensions=9).json()["error"]
    told = post("/embed", inputs="cat", prompt_name="query").json()["error"]
    assert told == "prompt_name: there is no prompt 'query'; there are: 'whole'"
    rest = post("/embed", inputs="on the mat", prompt_name="whole", dimensions=3).json()
    assert np.allclose(rest, cut[:1], atol=1e-5)
    refused: list[Any] = [3, [3.5], [[-1]], ["cat", 3], [2**63], [None], {}]
    for wrong in refused:
        message = post("/embed", inputs=wrong).json()["error"]
        assert message.startswith("inputs: expected a string, a list of strings, a list of tokens")
    assert post("/embed", truncate=True).json()["error"] == "inputs: missing"
    long = post("/embed", inputs="cat " * 99)
    assert long.status_code == 400
    assert long.json() == {
        "error": "inputs[0]: the text has 101 tokens, the model takes 16",
        "error_type": "Validation",
    }
    cut = post("/embed", inputs="cat " * 99, truncate=True)
    assert (cut.status_code, cut.headers["x-truncated"]) == (200, "1")
    found = post("/tokenize", inputs="The cat").json()
    assert found[0][0] == {"id": 2, "text": "[CLS]", "special": True, "start": None, "stop": None}
    assert found[0][1] == {"id": 4, "text": "The", "special": False, "start": 0, "stop": 3}
    assert post("/tokenize", inputs=[]).json()["error_type"] == "Validation"
    info = requests.get(texts.url + "/info", timeout=20).json()
    assert info["model_id"] == "words"
    assert info["model_type"] == {"embedding": {"pooling": "mean"}}
    assert info["max_input_length"] == 16


def test_without_a_model_of_text_the_paths_say_so(server: RunningServer) -> None:
    answer = requests.post(server.url + "/v1/embeddings", json={"input": "a"}, timeout=20)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "no model that makes vectors of text is loaded"
    assert requests.get(server.url + "/info", timeout=20).status_code == 404
