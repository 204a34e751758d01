"""Constant batch sizes are repaired where the result is proven, and nothing else is touched."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from inference_service.importing.batch_axis import free_batch
from inference_service.importing.graph_edit import inputs_of, shape_of
from inference_service.runtime.session import RuntimeOptions, open_model
from inference_service.safety.verdict import Status
from tests.onnx_models import FLOAT, INT64, build, fixed_reshape

_random = np.random.default_rng(0)
WEIGHTS = _random.normal(size=(6, 5)).astype(np.float32)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    found = open_model(model.SerializeToString(), RuntimeOptions(1))
    return found.run({found.inputs[0].name: x})[found.outputs[0].name]


def first_axis(model: onnx.ModelProto) -> int | str | None:
    shape = shape_of(inputs_of(model)[0])
    assert shape is not None
    return shape[0]


def reshape(target: Sequence[int], batch: int | str = 1) -> onnx.ModelProto:
    """[batch, 2, 3] -> Reshape to ``target`` -> MatMul [6, 5]."""
    return build(
        [
            helper.make_node("Reshape", ["x", "target"], ["flat"], "flatten"),
            helper.make_node("MatMul", ["flat", "weights"], ["y"], "dense"),
        ],
        [("x", FLOAT, [batch, 2, 3])],
        [("y", FLOAT, [batch, 5])],
        target=np.array(target),
        weights=WEIGHTS,
    )


def class_token() -> onnx.ModelProto:
    """[1, 4, 3] with a learnt token [1, 1, 3] before it, as vision transformers have it."""
    return build(
        [
            helper.make_node("Concat", ["token", "x"], ["all"], "prepend", axis=1),
            helper.make_node("ReduceMean", ["all"], ["y"], "pool", axes=[1], keepdims=0),
        ],
        [("x", FLOAT, [1, 4, 3])],
        [("y", FLOAT, [1, 3])],
        token=_random.normal(size=(1, 1, 3)).astype(np.float32),
    )


def expanded_token() -> onnx.ModelProto:
    return build(
        [
            helper.make_node("Expand", ["token", "target"], ["tokens"], "repeat"),
            helper.make_node("Concat", ["tokens", "x"], ["all"], "prepend", axis=1),
            helper.make_node("ReduceMean", ["all"], ["y"], "pool", axes=[1], keepdims=0),
        ],
        [("x", FLOAT, [1, 4, 3])],
        [("y", FLOAT, [1, 3])],
        token=_random.normal(size=(1, 1, 3)).astype(np.float32),
        target=np.array([1, 1, 3]),
    )


def recurrent() -> onnx.ModelProto:
    """A GRU over [1, 5, 3] with its zero state [1, 1, 4] as a constant."""
    return build(
        [
            helper.make_node("Transpose", ["x"], ["time_first"], "turn", perm=[1, 0, 2]),
            helper.make_node(
                "GRU", ["time_first", "w", "r", "", "", "state"], ["", "last"], "gru", hidden_size=4
            ),
            helper.make_node("Squeeze", ["last", "zero"], ["y"], "drop"),
        ],
        [("x", FLOAT, [1, 5, 3])],
        [("y", FLOAT, [1, 4])],
        w=_random.normal(size=(1, 12, 3)).astype(np.float32),
        r=_random.normal(size=(1, 12, 4)).astype(np.float32),
        state=_random.normal(size=(1, 1, 4)).astype(np.float32),
        zero=np.array([0]),
    )


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (reshape([1, 6]), (2, 3)),
        (reshape([1, -1]), (2, 3)),
        (reshape([1, 6], "N"), (2, 3)),
        (reshape([4, 6], 4), (2, 3)),
        (class_token(), (4, 3)),
        (expanded_token(), (4, 3)),
        (recurrent(), (5, 3)),
    ],
    ids=["reshape", "reshape-minus-one", "declared-free", "batch-of-4", "concat", "expand", "gru"],
)
def test_any_number_of_rows_gives_what_the_original_gives_for_each(
    model: onnx.ModelProto, shape: tuple[int, ...]
) -> None:
    freed = free_batch(model)
    assert freed.verdict.status is Status.PROVEN
    assert freed.verdict.fixed_rows is None
    assert freed.changes
    assert first_axis(freed.model) in {"batch", "N"}
    rows = _random.normal(size=(12, *shape)).astype(np.float32)
    size = 4 if first_axis(model) == 4 else 1
    wanted = np.concatenate([run(model, rows[at : at + size]) for at in range(0, 12, size)])
    for count in (1, 5, 12):
        np.testing.assert_allclose(run(freed.model, rows[:count]), wanted[:count], rtol=1e-5)


def test_a_graph_that_mixes_rows_is_kept_as_it_is() -> None:
    model = build(
        [
            helper.make_node("Reshape", ["x", "target"], ["flat"], "flatten"),
            helper.make_node("Softmax", ["flat"], ["y"], "over_rows", axis=0),
        ],
        [("x", FLOAT, [1, 2, 3])],
        [("y", FLOAT, [1, 6])],
        target=np.array([1, 6]),
    )
    freed = free_batch(model)
    assert freed.model == model
    assert not freed.changes
    assert "over_rows" in freed.kept_because


def test_a_minus_one_that_would_take_the_rows_is_not_freed_wrongly() -> None:
    """[1, 2, 3] to [1, 3, -1]: the 0 that replaces the 1 copies the number of rows."""
    model = build(
        [helper.make_node("Reshape", ["x", "target"], ["y"], "r")],
        [("x", FLOAT, [1, 2, 3])],
        [("y", FLOAT, [1, 3, 2])],
        target=np.array([1, 3, -1]),
    )
    freed = free_batch(model)
    rows = _random.normal(size=(4, 2, 3)).astype(np.float32)
    np.testing.assert_array_equal(run(freed.model, rows), rows.reshape(4, 3, 2))


def test_a_graph_that_is_proven_already_is_not_edited() -> None:
    model = build(
        [helper.make_node("Relu", ["x"], ["y"], "r")],
        [("x", FLOAT, ["N", 3])],
        [("y", FLOAT, ["N", 3])],
    )
    freed = free_batch(model)
    assert freed.model == model
    assert not freed.changes


def test_the_fixture_with_a_constant_reshape_is_freed() -> None:
    freed = free_batch(fixed_reshape())
    assert freed.verdict.status is Status.PROVEN


@pytest.mark.parametrize("name", ["resnet50", "inception_v1", "bvlc_alexnet"])
def test_packaged_networks_of_one_picture_are_freed(name: str) -> None:
    from importlib.resources import files

    data: Any = files("onnx.backend.test") / "data" / "light" / f"light_{name}.onnx"
    freed = free_batch(onnx.load_from_string(data.read_bytes()))
    assert freed.verdict.status is Status.PROVEN
    assert any("Reshape" in change for change in freed.changes)


def test_integers_that_only_look_like_a_batch_size_stay() -> None:
    """A Reshape of a constant's own shape is none of the batch's."""
    model = build(
        [
            helper.make_node("Reshape", ["table", "target"], ["rows"], "constant_only"),
            helper.make_node("Gather", ["rows", "id"], ["y"], "look_up", axis=1),
            helper.make_node("Identity", ["id"], ["same"], "echo"),
        ],
        [("id", INT64, [1])],
        [("same", INT64, [1])],
        table=np.arange(6, dtype=np.float32),
        target=np.array([1, 6]),
    )
    freed = free_batch(model)
    assert freed.verdict.status is Status.PROVEN
    assert not any("Reshape" in change for change in freed.changes)
