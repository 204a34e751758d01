"""Values that a graph knows: rows for the probe are made of them, and others are the client's fault."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from inference_service.core.errors import InvalidInput
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.tensors import BatchMode
from inference_service.runtime.loader import LoadedModel, inspect
from inference_service.runtime.options import LoadOptions
from tests import onnx_models
from tests.load_options import load_options
from tests.onnx_models import FLOAT, INT64, STRING

COLOURS, SIZES = ["blue", "green", "red"], ["L", "M", "S"]


def encoder(source: str, target: str, *, zeros: int = 0, **values: Any) -> onnx.NodeProto:
    return helper.make_node(
        "OneHotEncoder", [source], [target], f"encode {source}", domain="ai.onnx.ml", zeros=zeros,
        **values,
    )  # fmt: skip


def model(
    nodes: list[onnx.NodeProto], kind: int, shape: list[Any], **constants: Any
) -> onnx.ModelProto:
    return onnx_models.build(nodes, [("x", kind, shape)], [("y", FLOAT, None)], **constants)  # type: ignore[list-item]


def columns(zeros: int = 0) -> onnx.ModelProto:
    """skl2onnx's OneHotEncoder: a column each is gathered, encoded, and put together again."""
    return model(
        [
            helper.make_node("Gather", ["x", "first"], ["colour"], axis=1),
            helper.make_node("Gather", ["x", "second"], ["size"], axis=1),
            encoder("colour", "a", zeros=zeros, cats_strings=COLOURS),
            encoder("size", "b", zeros=zeros, cats_strings=SIZES),
            helper.make_node("Concat", ["a", "b"], ["ab"], axis=-1),
            helper.make_node("Reshape", ["ab", "flat"], ["y"]),
        ],
        STRING, ["rows", 2], first=np.array([0]), second=np.array([1]), flat=np.array([-1, 6]),
    )  # fmt: skip


def picked() -> onnx.ModelProto:
    """The same by ArrayFeatureExtractor, as its OrdinalEncoder has it."""
    pick: dict[str, Any] = {"domain": "ai.onnx.ml"}
    return model(
        [
            helper.make_node("ArrayFeatureExtractor", ["x", "second"], ["size"], **pick),
            encoder("size", "b", cats_strings=SIZES),
            helper.make_node("Reshape", ["b", "flat"], ["y"]),
        ],
        STRING, ["rows", 2], second=np.array([1]), flat=np.array([-1, 3]),
    )  # fmt: skip


def split() -> onnx.ModelProto:
    return model(
        [
            helper.make_node("Split", ["x"], ["colour", "size"], axis=1),
            encoder("size", "b", cats_strings=SIZES),
            helper.make_node("Reshape", ["b", "flat"], ["y"]),
        ],
        STRING, ["rows", 2], flat=np.array([-1, 3]),
    )  # fmt: skip


def numbers() -> onnx.ModelProto:
    """Categories that are numbers."""
    return model(
        [
            encoder("x", "b", cats_int64s=[10, 20, 30]),
            helper.make_node("Reshape", ["b", "flat"], ["y"]),
        ],
        INT64, ["rows", 1], flat=np.array([-1, 3]),
    )  # fmt: skip


def words() -> onnx.ModelProto:
    """scikit-learn's TfidfVectorizer: lowered, cut into words, counted."""
    tokenizer: dict[str, Any] = {
        "domain": "com.microsoft", "mark": 0, "mincharnum": 1, "pad_value": "#",
        "tokenexp": "[a-z]+",
    }  # fmt: skip
    built = model(
        [
            helper.make_node("StringNormalizer", ["x"], ["low"], case_change_action="LOWER"),
            helper.make_node("Tokenizer", ["low"], ["words"], **tokenizer),
            helper.make_node(
                "TfIdfVectorizer", ["words"], ["y"], mode="TF", min_gram_length=1,
                max_gram_length=1, max_skip_count=0, ngram_counts=[0], ngram_indexes=[0, 1],
                pool_strings=["cat", "dog"],
            ),
        ],
        STRING, ["rows"],
    )  # fmt: skip
    built.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return built


def loaded(built: onnx.ModelProto, folder: Path, **changes: Any) -> LoadedModel:
    path = onnx_models.save(built, folder / "model.onnx")
    return inspect(load_options(path, policy=BatchPolicy(8, 64), **changes))


@pytest.mark.parametrize("build", [columns, picked, split, numbers, words])
def test_rows_of_values_that_the_graph_knows_show_that_it_can_be_batched(
    tmp_path: Path, build: Any
) -> None:
    found = loaded(build(), tmp_path)
    assert (found.info.signature.mode, found.info.warnings) == (BatchMode.MERGE, ())


@pytest.mark.parametrize(
    ("build", "known"),
    [
        (columns, [COLOURS, SIZES]),
        (lambda: columns(zeros=1), [COLOURS, SIZES]),
        (numbers, [[10, 20, 30]]),
    ],
)
def test_the_example_of_the_docs_page_is_one_that_works(
    tmp_path: Path, build: Any, known: list[list[Any]]
) -> None:
    example = loaded(build(), tmp_path).info.example
    assert example is not None
    assert all(value in some for value, some in zip(example["x"], known, strict=True))


def test_an_example_of_text_is_a_word_that_the_vectoriser_counts(tmp_path: Path) -> None:
    found = loaded(words(), tmp_path)
    assert found.info.example is not None
    assert found.info.example["x"] in {"cat", "dog"}
    texts = np.array(["A Cat", "the DOG, a dog", ""], object)
    assert found.model.run({"x": texts})["y"].tolist() == [[1, 0], [0, 2], [0, 0]]


def test_an_unknown_category_is_the_clients_fault_and_is_told_what_there_is(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = loaded(columns(), tmp_path).model.run
    with pytest.raises(InvalidInput) as error:
        run({"x": np.array([["red", "XXL"]], object)})
    assert str(error.value) == (
        "the model refuses these values of input 'x' in the model's OneHotEncoder node "
        "'encode size': it does not know one of the categories; it knows 'L', 'M', 'S'"
    )
    assert capfd.readouterr() == ("", ""), "onnxruntime's own lines do not appear"


def test_of_many_categories_some_are_told(tmp_path: Path) -> None:
    values = list(range(1000))
    built = model([encoder("x", "y", cats_int64s=values)], INT64, ["rows", 1])
    with pytest.raises(InvalidInput, match=r"it knows 0, 1, 2, 3, 4, 5, 6, 7 and 992 more$"):
        loaded(built, tmp_path).model.run({"x": np.array([[1000]])})


def test_a_category_that_is_ignored_where_the_model_was_made_so_is_no_fault(
    tmp_path: Path,
) -> None:
    answer = loaded(columns(zeros=1), tmp_path).model.run({"x": np.array([["red", "?"]], object)})
    assert answer["y"].tolist() == [[0, 0, 1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("node", "kind", "value", "words_told"),
    [
        (
            helper.make_node("Cast", ["x"], ["y"], "read", to=FLOAT),
            STRING,
            "abc",
            "a text is not a number",
        ),
        (helper.make_node("Div", ["one", "x"], ["z"], "part"), INT64, 0, "division by zero"),
    ],
)
def test_values_that_an_operator_refuses_are_the_clients_fault(
    tmp_path: Path, node: onnx.NodeProto, kind: int, value: Any, words_told: str
) -> None:
    cast = [helper.make_node("Cast", ["z"], ["y"], to=FLOAT)] if node.output[0] == "z" else []
    built = model([node, *cast], kind, ["rows"], one=np.array([1]))
    path = onnx_models.save(built, tmp_path / "model.onnx")
    run = inspect(LoadOptions("m", 1, path, BatchPolicy(8, 64))).model.run
    given = np.array([value], object if kind == STRING else np.int64)
    with pytest.raises(InvalidInput, match=words_told):
        run({"x": given})


def test_the_owners_example_is_a_row_for_the_probe(tmp_path: Path) -> None:
    """A text of numbers: no random word is one."""
    cast = helper.make_node("Cast", ["x"], ["y"], to=FLOAT)
    built = model([cast], STRING, ["rows", 2])
    assert "could not be run on random input" in loaded(built, tmp_path).info.warnings[0]
    found = loaded(built, tmp_path, example={"x": ["1.5", "2"]})
    assert (found.info.signature.mode, found.info.warnings) == (BatchMode.MERGE, ())
