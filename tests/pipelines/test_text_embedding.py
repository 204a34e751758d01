"""Text to tensors, outputs to vectors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import normalizers

from inference_service.core.decoding import stopped_by
from inference_service.core.errors import DeadlineExceeded, InvalidInput, InvalidModel
from inference_service.core.tensors import DType, Signature, TensorSpec
from inference_service.core.text import TextEmbedder
from inference_service.pipelines import text_embedding
from inference_service.pipelines.pooling import Pooling
from inference_service.pipelines.registry import Place
from inference_service.pipelines.text_embedding import TextEmbedding, load_text_embedding
from tests import text_models


def ids(name: str, dtype: DType = DType.INT64) -> TensorSpec:
    return TensorSpec(name, dtype, (None, None))


HIDDEN = TensorSpec("last_hidden_state", DType.FP32, (None, None, 8))
BERT = Signature(
    (ids("input_ids"), ids("attention_mask"), ids("token_type_ids", DType.INT32)), (HIDDEN,)
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokenizer.json"
    text_models.tokenizer().save(str(path))
    return path


@pytest.fixture
def embedding(file: Path) -> TextEmbedder:
    return load_text_embedding(file)


def test_texts_become_padded_ids_and_masks(embedding: TextEmbedder) -> None:
    tokens = embedding.tokenize(["The cat", "a dog sat", [2, 6, 3]])
    assert tokens.ids == ((2, 4, 6, 3), (2, 5, 7, 9, 3), (2, 6, 3))
    assert tokens.count == 12
    tensors = embedding.tensors(tokens, BERT)
    assert tensors["input_ids"].tolist() == [[2, 4, 6, 3, 0], [2, 5, 7, 9, 3], [2, 6, 3, 0, 0]]
    assert tensors["attention_mask"].tolist() == [[1, 1, 1, 1, 0], [1] * 5, [1, 1, 1, 0, 0]]
    assert tensors["token_type_ids"].dtype == np.int32
    BERT.check(tensors)


def test_what_is_too_long_is_refused_or_cut_but_never_in_silence(embedding: TextEmbedder) -> None:
    long = "cat " * 40
    with pytest.raises(InvalidInput, match=r"\[1\]: the text has 42 tokens, the model takes 12"):
        embedding.tokenize(["cat", long])
    tokens = embedding.tokenize(["cat", long, [6] * 20], truncate=True)
    assert tokens.truncated == (False, True, True)
    assert [len(found) for found in tokens.ids] == [3, 12, 12]
    assert tokens.ids[1][-1] == 3, "the end mark stays"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"\[0\]: the text is empty"),
        ([], r"\[0\]: the text is empty"),
        ([5, 99], r"\[0\]\[1\]: expected a token of the model's own, 0 to 19, got 99"),
    ],
)
def test_what_is_no_text_is_told(embedding: TextEmbedder, text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        embedding.tokenize([text])


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("mean", [[2, 3], [5, 7]]),
        ("cls", [[1, 2], [5, 7]]),
        ("last", [[3, 4], [5, 7]]),
        ("max", [[3, 4], [5, 7]]),
        ("mean_sqrt", [[4 / 2**0.5, 6 / 2**0.5], [5, 7]]),
        ("weighted", [[7 / 3, 10 / 3], [5, 7]]),
    ],
)
def test_the_vectors_of_tokens_become_one(
    file: Path, pooling: Pooling, expected: list[list[float]]
) -> None:
    states = np.array([[[1, 2], [3, 4]], [[5, 7], [99, 99]]], np.float32)
    embedding = load_text_embedding(file, pooling=pooling)
    tokens = embedding.tokenize([[4, 5], [4]])
    found = embedding.vectors({"h": states}, tokens, normalise=False)
    assert np.allclose(found, expected, atol=1e-6)
    unit = embedding.vectors({"h": states}, tokens, normalise=True)
    assert np.linalg.norm(unit, axis=1) == pytest.approx([1, 1])


@pytest.mark.parametrize("wanted", [1, 2, 3])
def test_vectors_are_cut_before_they_are_made_one_long(file: Path, wanted: int) -> None:
    embedding = load_text_embedding(file, pooling="none")
    tokens = embedding.tokenize(["cat", "dog"])
    vectors = {"v": np.array([[3, 4, 12], [0, 0, 5]], np.float32)}
    raw = embedding.vectors(vectors, tokens, normalise=False, dimensions=wanted)
    assert raw.tolist() == vectors["v"][:, :wanted].tolist()
    unit = embedding.vectors(vectors, tokens, normalise=True, dimensions=wanted)
    assert unit[0] == pytest.approx(raw[0] / np.linalg.norm(raw[0]))
    assert np.linalg.norm(unit[1]) == (1 if wanted == 3 else 0), "zeros stay zeros"


@pytest.mark.parametrize("wanted", [0, -1, 3])
def test_vectors_have_no_other_lengths_than_up_to_their_own(file: Path, wanted: int) -> None:
    """Also where the graph does not say how long they are."""
    embedding = load_text_embedding(file, pooling="none")
    tokens = embedding.tokenize(["cat"])
    message = f"dimensions: expected a whole number from 1 to 2, .*got {wanted}"
    with pytest.raises(InvalidInput, match=message):
        embedding.vectors({"v": np.ones((1, 2))}, tokens, normalise=True, dimensions=wanted)


def test_a_text_without_tokens_has_no_vector(tmp_path: Path) -> None:
    made = text_models.tokenizer()
    made.post_processor = None
    made.save(str(tmp_path / "tokenizer.json"))
    embedding = load_text_embedding(tmp_path / "tokenizer.json")
    with pytest.raises(InvalidInput, match=r"\[1\]: the text has no tokens"):
        embedding.tokenize(["a cat", " \n"])


def test_a_graph_may_pool_itself(file: Path) -> None:
    embedding = load_text_embedding(file, pooling="none")
    vectors = np.array([[3, 4], [0, 0]], np.float16)
    found = embedding.vectors({"v": vectors}, embedding.tokenize(["cat", "dog"]), normalise=True)
    assert found.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]


def test_tokens_are_explained(embedding: TextEmbedder) -> None:
    found = embedding.explain("The zebra")
    assert [(t.id, t.text, t.special, t.start, t.stop) for t in found] == [
        (2, "[CLS]", True, 0, 0), (4, "The", False, 0, 3), (1, "zebra", False, 4, 9), (3, "[SEP]", True, 0, 0),
    ]  # fmt: skip
    assert [token.id for token in embedding.explain("The", special=False)] == [4]


@pytest.mark.parametrize(
    ("signature", "pooling", "message"),
    [
        (Signature((ids("x"),), (HIDDEN,)), "mean", "needs the inputs 'input_ids' and"),
        (Signature((ids("input_ids", DType.FP32),), (HIDDEN,)), "mean", "needs integer inputs"),
        (BERT, "none", r"pooling = 'none' needs an output \[batch, numbers\], got last_hid"),
    ],
)
def test_a_graph_that_is_not_made_for_it_is_told(
    file: Path, signature: Signature, pooling: Pooling, message: str
) -> None:
    with pytest.raises(InvalidModel, match=message):
        load_text_embedding(file, pooling=pooling).check(signature)


def test_a_tokenizer_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with pytest.raises(InvalidModel, match=r"there is no tokenizer\.json beside the model"):
        load_text_embedding(path)
    path.write_text("{}")
    with pytest.raises(InvalidModel, match=r"tokenizer\.json is no tokenizer"):
        load_text_embedding(path)
    text_models.tokenizer(max_tokens=None).save(str(path))
    with pytest.raises(InvalidModel, match=r"has no limit: set pipeline\.max_tokens"):
        load_text_embedding(path)
    assert load_text_embedding(path, 64).max_tokens == 64


def test_a_text_of_more_characters_than_its_tokens_can_have_is_not_tokenised(
    embedding: TextEmbedder,
) -> None:
    long = "cat " * 10_000
    with pytest.raises(
        InvalidInput, match=r"\[1\]: the text has 40000 characters, the model takes"
    ):
        embedding.tokenize(["cat", long])
    with pytest.raises(InvalidInput, match="are looked for in 4096 characters at most"):
        embedding.explain(long)
    tokens = embedding.tokenize([long, " " * 5000 + "cat", "cat" + " " * 5000], truncate=True)
    assert [len(found) for found in tokens.ids] == [12, 2, 3]
    assert tokens.truncated == (True, True, True)


def test_texts_that_nobody_waits_for_are_not_tokenised(embedding: TextEmbedder) -> None:
    left = iter((False, False, True))
    with pytest.raises(DeadlineExceeded):
        stopped_by(lambda: next(left), embedding.tokenize, ["cat", "dog", "sat", "cat"])
    assert next(left, "none") == "none", "it stops at the third text"


def load(folder: Path, **options: Any) -> TextEmbedding:
    return text_embedding.load({"kind": "text-embedding", **options}, Place((folder,)))


def test_prompts_stand_in_front_of_texts(file: Path) -> None:
    prompts = {"query": "the ", "document": "a "}
    embedding = load(file.parent, prompts=prompts, default_prompt="document")
    assert embedding.tokenize(["cat"]).ids == ((2, 5, 6, 3),)
    assert embedding.tokenize(["cat"], prompt="query").ids == ((2, 4, 6, 3),)
    assert embedding.tokenize([[6]]).ids == ((6,),), "ids are taken as they are"
    with pytest.raises(InvalidInput, match="no prompt 'x'; there are: 'query', 'document'"):
        embedding.tokenize(["cat"], prompt="x")
    with pytest.raises(InvalidInput, match=r"\[0\]: the text is empty"):
        embedding.tokenize([""])
    with pytest.raises(InvalidModel, match=r"pipeline\.default_prompt: expected one of 'query'"):
        load(file.parent, prompts=prompts, default_prompt="other")


def test_the_beginning_may_be_what_is_cut_off(file: Path) -> None:
    embedding = load(file.parent, truncation_side="left", max_tokens=4)
    assert embedding.tokenize(["the cat sat"], truncate=True).ids == ((2, 6, 9, 3),)
    assert embedding.tokenize([[4, 6, 9, 7, 5]], truncate=True).ids == ((6, 9, 7, 5),)


def test_capitals_are_kept_where_the_tokenizer_s_configuration_says_so(tmp_path: Path) -> None:
    made = text_models.tokenizer()
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.save(str(tmp_path / "tokenizer.json"))
    assert load(tmp_path).tokenize(["Cat"]).ids == ((2, 6, 3),)
    assert load(tmp_path, lower=False).tokenize(["Cat"]).ids == ((2, 1, 3),), "unknown"


def test_an_output_that_is_the_vector_already_is_not_pooled(file: Path) -> None:
    embedding = load(file.parent, pooled_output="sentence_embedding")
    ready = TensorSpec("sentence_embedding", DType.FP32, (None, 5))
    assert embedding.dimensions(BERT) == 8
    assert embedding.dimensions(Signature(BERT.inputs, (HIDDEN, ready))) == 5
    outputs = {
        "last_hidden_state": np.zeros((1, 3, 8), np.float32),
        "sentence_embedding": np.array([[1, 2, 3, 4, 5]], np.float32),
    }
    found = embedding.vectors(outputs, embedding.tokenize(["cat"]), normalise=False)
    assert found.tolist() == [[1, 2, 3, 4, 5]]


def layer(path: Path, weight: Any, bias: Any = None, dtype: str = "F32") -> None:
    """A file of safetensors."""
    header, data = {}, b""
    for name, values in (("linear.bias", bias), ("linear.weight", weight)):
        if values is not None:
            array = np.array(values, {"F32": np.float32, "F16": np.float16}[dtype])
            place = [len(data), len(data) + array.nbytes]
            header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": place}
            data += array.tobytes()
    told = json.dumps(header).encode()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(len(told).to_bytes(8, "little") + told + data)


@pytest.mark.parametrize("dtype", ["F32", "F16"])
def test_layers_behind_the_pooling_are_computed(file: Path, dtype: str) -> None:
    layer(file.parent / "2_Dense" / "model.safetensors", np.eye(3, 8), [0.5, 0, -9], dtype)
    layer(file.parent / "3_Dense" / "model.safetensors", [[1, 1, 1]])
    dense = [
        {"weights": "2_Dense/model.safetensors", "activation": "relu"},
        {"weights": "3_Dense/model.safetensors", "activation": "tanh"},
    ]
    embedding = load(file.parent, pooling="cls", dense=dense)
    embedding.check(BERT)
    assert embedding.dimensions(BERT) == 1
    states = np.arange(8, dtype=np.float32)[None, None] / 10
    found = embedding.vectors({"h": states}, embedding.tokenize([[6]]), normalise=False)
    assert found == pytest.approx(np.array([[np.tanh(0.5 + 0.1)]]), abs=1e-6)
    with pytest.raises(InvalidInput, match="dimensions: expected a whole number from 1 to 1"):
        embedding.vectors({"h": states}, embedding.tokenize([[6]]), normalise=False, dimensions=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is no file of safetensors"),
        (b"\xff" * 40, "it is no file of safetensors"),
        (b"\x02" + bytes(7) + b"{}", "linear.weight"),
        (b"\x02" + bytes(7) + b"[]", "no layer that can be read"),
    ],
)
def test_a_layer_that_can_not_be_read_is_told(file: Path, content: bytes, message: str) -> None:
    (file.parent / "w").write_bytes(content)
    with pytest.raises(
        InvalidModel, match=rf"pipeline\.dense: w has no layer.*{message}|{message}"
    ):
        load(file.parent, dense=[{"weights": "w"}])


def test_a_layer_of_another_width_is_told(file: Path) -> None:
    layer(file.parent / "w", np.eye(4))
    with pytest.raises(InvalidModel, match=r"dense: a layer for vectors of 4 numbers, got 8"):
        load(file.parent, dense=[{"weights": "w"}]).check(BERT)


def test_a_graph_may_want_the_places_of_the_tokens(embedding: TextEmbedder) -> None:
    signature = Signature((ids("input_ids"), ids("position_ids")), (HIDDEN,))
    embedding.check(signature)
    tensors = embedding.tensors(embedding.tokenize(["the cat", "cat"]), signature)
    assert tensors["position_ids"].tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]
