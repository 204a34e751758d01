"""Whoever sends a value may not choose what a run takes without the analysis noticing.

``runtime.isolation = auto`` gives a process of its own to what this finds.
"""

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.onnx_models import build
from tests.safety.test_analysis import verdict

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
DATA = np.ones(9, np.float32)
ONE_BY_ONE = np.ones((1, 1), np.float32)

Case = tuple[str, str, int, int]
"""An operator, its inputs (x is the request's), the type of x, and how long x is (0: a scalar)."""

BY_VALUE: dict[str, Case] = {
    "Range": ("Range", "zero x one", INT64, 0),
    "Tile": ("Tile", "data x", INT64, 1),
    "Expand": ("Expand", "data x", INT64, 1),
    "ConstantOfShape": ("ConstantOfShape", "x", INT64, 1),
    "Resize to sizes": ("Resize", "flat   x", INT64, 2),
    "Resize by scales": ("Resize", "flat  x", FLOAT, 2),
    "OneHot": ("OneHot", "places x ends", INT64, 1),
    "Pad": ("Pad", "data x", INT64, 2),
    "HannWindow": ("HannWindow", "x", INT64, 0),
    "AffineGrid": ("AffineGrid", "theta x", INT64, 4),
    "CenterCropPad": ("CenterCropPad", "data x", INT64, 1),
    "Slice": ("Slice", "data zeros x", INT64, 1),
}


@pytest.mark.parametrize("name", BY_VALUE)
def test_a_size_that_is_a_value_is_noticed(name: str) -> None:
    operator, inputs, kind, length = BY_VALUE[name]
    constants: dict[str, Any] = {
        "zero": np.int64(0), "one": np.int64(1), "data": DATA, "flat": ONE_BY_ONE,
        "places": np.array([1, 2]), "ends": np.array([0, 1], np.float32),
        "theta": np.ones((1, 2, 3), np.float32), "zeros": np.array([0]),
    }  # fmt: skip
    used = inputs.split(" ")
    nodes = [
        helper.make_node(operator, used, ["made"], "grows"),
        helper.make_node("ReduceSum", ["made"], ["y"], keepdims=0),
    ]
    made = INT64 if operator == "Range" else FLOAT
    model = build(
        nodes, [("x", kind, [length] if length else [])], [("y", made, [])],
        **{key: value for key, value in constants.items() if key in used},
    )  # fmt: skip
    model.opset_import[0].version = 20
    cost = verdict(model).cost
    assert not cost.by_shape
    assert f"the {operator} node 'grows' takes" in cost.reason


@pytest.mark.parametrize("samples", [0, 2])
def test_regions_are_a_price_where_they_decide_how_many_samples_are_taken(samples: int) -> None:
    nodes = [
        helper.make_node(
            "RoiAlign", ["picture", "x", "zeros"], ["made"], "grows",
            output_height=2, output_width=2, sampling_ratio=samples,
        ),
        helper.make_node("ReduceSum", ["made"], ["y"], keepdims=0),
    ]  # fmt: skip
    picture = np.ones((1, 1, 8, 8), np.float32)
    model = build(
        nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, [])],
        picture=picture, zeros=np.array([0]),
    )  # fmt: skip
    assert verdict(model).cost.by_shape == bool(samples)
