"""The models that other servers' examples and tests ask, by the names and shapes that they expect."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.onnx_models import Axis, build, save

F32, I8, I32, I64, TEXT = (
    TensorProto.FLOAT,
    TensorProto.INT8,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.STRING,
)
KINDS = {
    "bool": TensorProto.BOOL, "uint8": TensorProto.UINT8, "uint16": TensorProto.UINT16,
    "uint32": TensorProto.UINT32, "uint64": TensorProto.UINT64, "int8": I8,
    "int16": TensorProto.INT16, "int32": I32, "int64": I64, "float16": TensorProto.FLOAT16,
    "float32": F32, "float64": TensorProto.DOUBLE, "text": TEXT,
}  # fmt: skip
"""numpy's names of what MLServer's codecs send."""
COLUMNS = {"name": TEXT, "age": I64, "size": TensorProto.DOUBLE, "ok": TensorProto.BOOL}


def triton_models(folder: Path) -> None:
    """What Triton's example clients ask (triton-inference-server/client, src/python/examples)."""
    for name, model in {
        "simple": _sum_and_difference(I32),
        "simple_int8": _sum_and_difference(I8),
        "simple_string": _of_texts(),
        "simple_identity": _copy(TEXT, ["batch", 16], "INPUT0", "OUTPUT0"),
        "custom_identity_int32": _copy(I32, ["batch", "n"], "INPUT0", "OUTPUT0"),
        "densenet_onnx": _channels(),
    }.items():
        save(model, folder / name / "1" / "model.onnx")
    (folder / "densenet_onnx" / "model.toml").write_text('[batching]\nmode = "whole"\n')
    (folder / "simple" / "model.toml").write_text("[batching]\nmax_batch_size = 8\n")


def codec_models(folder: Path) -> None:
    """Copies of each type and rank, under the names that MLServer's request codecs give."""
    axes: list[Axis] = ["batch", "n", "m"]
    for kind, element in KINDS.items():
        for rank in (1, 2, 3):
            model = _copy(element, axes[:rank], "input-1", "output-1")
            save(model, folder / f"{kind}-{rank}" / "1" / "model.onnx")
    model = build(
        [helper.make_node("Identity", [name], [name + "_out"]) for name in COLUMNS],
        [(name, element, ["batch"]) for name, element in COLUMNS.items()],
        [(name + "_out", element, ["batch"]) for name, element in COLUMNS.items()],
    )
    save(model, folder / "columns" / "1" / "model.onnx")


def endpoint_models(folder: Path) -> None:
    """What MLServer's tests of its endpoints ask."""
    total = build(
        [
            helper.make_node("ReduceSum", ["input-0", "axis"], ["sum"], keepdims=1),
            helper.make_node("Cast", ["sum"], ["total"], to=I64),
        ],
        [("input-0", I32, ["batch", "n"])],
        [("total", I64, ["batch", 1])],
        axis=np.array([1]),
    )
    save(total, folder / "sum-model" / "1" / "model.onnx")
    echo = _copy(TEXT, ["batch", "n"], "input-0", "output")
    save(echo, folder / "echo-model" / "1" / "model.onnx")


def _copy(kind: int, shape: list[Axis], source: str, target: str) -> onnx.ModelProto:
    node = helper.make_node("Identity", [source], [target])
    return build([node], [(source, kind, shape)], [(target, kind, shape)])


def _sum_and_difference(kind: int) -> onnx.ModelProto:
    shape: list[Axis] = ["batch", 16]
    return build(
        [
            helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
            helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
        ],
        [("INPUT0", kind, shape), ("INPUT1", kind, shape)],
        [("OUTPUT0", kind, shape), ("OUTPUT1", kind, shape)],
    )


def _of_texts() -> onnx.ModelProto:
    """Sum and difference of numbers that are written as texts."""
    shape: list[Axis] = ["batch", 16]
    return build(
        [
            helper.make_node("Cast", ["INPUT0"], ["a"], to=I32),
            helper.make_node("Cast", ["INPUT1"], ["b"], to=I32),
            helper.make_node("Add", ["a", "b"], ["sum"]),
            helper.make_node("Sub", ["a", "b"], ["difference"]),
            helper.make_node("Cast", ["sum"], ["OUTPUT0"], to=TEXT),
            helper.make_node("Cast", ["difference"], ["OUTPUT1"], to=TEXT),
        ],
        [("INPUT0", TEXT, shape), ("INPUT1", TEXT, shape)],
        [("OUTPUT0", TEXT, shape), ("OUTPUT1", TEXT, shape)],
    )


def _channels() -> onnx.ModelProto:
    """A picture without a batch axis to 1000 scores."""
    weights = np.random.default_rng(0).normal(size=(3, 1000)).astype(np.float32)
    return build(
        [
            helper.make_node("ReduceMean", ["data_0"], ["means"], axes=[1, 2], keepdims=0),
            helper.make_node("MatMul", ["means", "weights"], ["fc6_1"]),
        ],
        [("data_0", F32, [3, 224, 224])],
        [("fc6_1", F32, [1000])],
        weights=weights,
    )
