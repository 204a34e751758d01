"""Whose fault a failed run is, and the words for it."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from inference_service.core.errors import ExecutionFailed, InvalidInput, OutOfMemory
from inference_service.runtime.session import RuntimeOptions, open_model, translate
from tests import onnx_models

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
SOURCE = "/onnxruntime_src/onnxruntime/core/providers/cpu/tensor/gather_elements.cc:153 "
SIGNATURE = (
    "onnxruntime::common::Status onnxruntime::core_impl(const Tensor*, Tensor*, int64_t, "
    "concurrency::ThreadPool*) [with Tin = long int; int64_t = long int] "
)
FAILED = "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running {} node. Name:'n' Status Message: "


class Fail(Exception):  # noqa: N818 - the name is onnxruntime's, and means something
    pass


def test_an_index_out_of_range_is_the_clients_fault_in_plain_words(tmp_path: Path) -> None:
    model = onnx_models.build(
        [helper.make_node("GatherElements", ["x", "label"], ["y"], "pick", axis=1)],
        [("x", FLOAT, ["batch", 3]), ("label", INT64, ["batch", 1])],
        [("y", FLOAT, ["batch", 1])],
    )
    onnx_models.save(model, tmp_path / "model.onnx")
    opened = open_model(tmp_path / "model.onnx", RuntimeOptions(1))
    inputs = {"x": np.zeros((1, 3), np.float32), "label": np.array([[7]])}
    with pytest.raises(InvalidInput) as refused:
        opened.run(inputs)
    assert "GatherElements node 'pick'" in str(refused.value)
    assert "Out of range value in index tensor" in str(refused.value)
    assert "Tensor*" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (SOURCE + SIGNATURE + "GatherElements op: Out of range", InvalidInput),
        (SOURCE + "onnxruntime::Helper::Helper(const TensorShape&, bool) const i < n was false", InvalidInput),
        (SOURCE + SIGNATURE + "no thread of the pool is left", ExecutionFailed),
        (SOURCE + SIGNATURE + "Failed to allocate memory for requested buffer of size 400", OutOfMemory),
        (SOURCE + "Available memory of 12 is smaller than requested bytes of 400", OutOfMemory),
        ("std::bad_alloc", OutOfMemory),
    ],
)  # fmt: skip
def test_only_what_the_message_says_counts_and_not_the_signature(
    words: str, kind: type[Exception]
) -> None:
    error = translate(Fail(FAILED.format("GatherElements") + words))
    assert isinstance(error, kind)
    assert "::" not in str(error)


def test_a_node_may_be_called_as_what_is_missing() -> None:
    failed = FAILED.format("Gather").replace("'n'", "'out of memory'")
    assert isinstance(translate(Fail(failed + "indices are out of range")), InvalidInput)


def test_memory_that_python_does_not_find_is_missing_too() -> None:
    error = translate(MemoryError("Unable to allocate 22.9 MiB for an array"))
    assert isinstance(error, OutOfMemory)
    assert error.detail == "a run: Unable to allocate 22.9 MiB for an array"
