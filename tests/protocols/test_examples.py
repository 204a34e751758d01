"""classify and regress of TensorFlow Serving."""

import json
from typing import Any

import numpy as np
import pytest

from inference_service.core.errors import InvalidInput
from inference_service.core.tensors import BatchMode, DType, NonFinite, Signature, TensorSpec
from inference_service.protocols.tfserving.examples import (
    classification_output,
    decode_examples,
    encode_classification,
    encode_regression,
    regression_output,
)


def signature(*inputs: TensorSpec, mode: BatchMode = BatchMode.MERGE) -> Signature:
    outputs = (
        TensorSpec("label", DType.INT64, (None,)),
        TensorSpec("scores", DType.FP32, (None, 3)),
        TensorSpec("value", DType.FP32, (None, 1)),
    )
    return Signature(inputs, outputs, mode)


MIXED = signature(
    TensorSpec("age", DType.INT64, (None,)),
    TensorSpec("pixels", DType.FP32, (None, 2, 2)),
    TensorSpec("word", DType.BYTES, (None, 1)),
)


def test_features_are_values_or_lists_and_may_be_shared() -> None:
    tensors = decode_examples(
        {
            "context": {"word": ["both"]},
            "examples": [{"age": 3, "pixels": [1, 2, 3, 4]}, {"age": [4], "pixels": [5, 6, 7, 8]}],
        },
        MIXED,
    )
    assert tensors["age"].tolist() == [3, 4]
    assert tensors["pixels"].tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    assert tensors["word"].tolist() == [["both"], ["both"]]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "expected an object with 'examples'"),
        ({}, "examples: missing"),
        ({"examples": []}, "examples: expected a length of at least 1, got 0"),
        ({"examples": [3]}, r"examples\[0\]: expected an object, got 3"),
        ({"examples": [{}], "signature_name": "x"}, "unknown signature 'x'"),
        ({"examples": [{"age": 1}]}, r"examples\[0\]: missing input 'pixels', 'word'"),
        ({"examples": [{"age": "a", "pixels": [1] * 4, "word": ["a"]}]}, r"examples\[0\].age: expected int64"),
        ({"examples": [{"age": 1, "pixels": [1] * 3, "word": ["a"]}]}, r"examples\[0\].pixels: expected"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(body: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        decode_examples(body, MIXED)


def test_a_model_without_rows_has_no_examples() -> None:
    whole = signature(TensorSpec("x", DType.FP32, (None,)), mode=BatchMode.WHOLE)
    with pytest.raises(InvalidInput, match="this model has no rows that could be examples"):
        decode_examples({"examples": [{"x": 1}]}, whole)


def test_the_outputs_that_answer_are_found_by_their_shapes() -> None:
    assert regression_output(MIXED) == "value"
    assert classification_output(MIXED) == "scores"
    neither = Signature(MIXED.inputs, MIXED.outputs[:1])
    with pytest.raises(InvalidInput, match=r"can't regress: none of its outputs \('label'\)"):
        regression_output(neither)
    with pytest.raises(InvalidInput, match=r"can't classify: none of its outputs \('label'\)"):
        classification_output(neither)


def test_golden_answers() -> None:
    value = {"value": np.array([[0.5], [np.nan]], np.float32)}
    assert encode_regression(value, "value") == b'{"results":[0.5,null]}'
    assert encode_regression(value, "value", NonFinite.BARE) == b'{"results":[0.5,NaN]}'
    scores = {"scores": np.array([[0.1, 0.7, 0.2]], np.float32)}
    assert encode_classification(scores, "scores", {"scores": ["cat", "dog"]}) == (
        b'{"results":[[["cat",0.1],["dog",0.7],["2",0.2]]]}'
    )
    best = scores | {"scores_labels": np.array([["a", "b", "c"]], object)}
    assert json.loads(encode_classification(best, "scores", {}))["results"][0][0][0] == "a"
