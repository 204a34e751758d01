"""A node in training mode must not carry one client's numbers into another one's answer."""

from pathlib import Path

import numpy as np
import pytest

from inference_service.core.errors import InvalidModel
from inference_service.runtime.session import RuntimeOptions, open_model
from inference_service.runtime.training_mode import is_in_training
from tests import onnx_models
from tests.e2e.mixing_graphs import ACROSS_ROWS, Graph

APART = ACROSS_ROWS["batch-statistics"].model()
"""Weights of its own, some of them with equal values."""
ONE_WEIGHT_TWICE = Graph("""(float[batch,4] x) => (float[batch,4] y)
    <float[4] one = {1,1,1,1}, float[4] zero = {0,0,0,0}>
    { y, m, v = BatchNormalization<training_mode=1>(x, one, zero, zero, one) }""").model()
READ_BY_ANOTHER = Graph("""(float[batch,4] x) => (float[batch,4] y)
    <float[4] one = {1,1,1,1}, float[4] zero = {0,0,0,0},
     float[4] mean = {0,0,0,0}, float[4] variance = {1,1,1,1}>
    { n, m, v = BatchNormalization<training_mode=1>(x, one, zero, mean, variance)
      y = Add(n, mean) }""").model()


def test_the_same_request_has_the_same_answer_again() -> None:
    model = open_model(APART.SerializeToString(), RuntimeOptions(1))
    rows = {"x": np.array([[1, 20, 3, 4], [5, 6, 7, 80]], np.float32)}
    first = model.run(rows)["y"]
    model.run({"x": rows["x"] * 100})
    np.testing.assert_array_equal(model.run(rows)["y"], first)
    assert np.sign(first).tolist() == [[-1, 1, -1, -1], [1, -1, 1, 1]]


@pytest.mark.parametrize("graph", [ONE_WEIGHT_TWICE, READ_BY_ANOTHER])
def test_a_graph_that_reads_what_it_overwrites_is_refused(graph: object, tmp_path: Path) -> None:
    path = onnx_models.save(graph, tmp_path / "model.onnx")  # type: ignore[arg-type]
    with pytest.raises(InvalidModel, match="is in training mode: it would write"):
        open_model(path, RuntimeOptions(1))


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    assert not is_in_training(onnx_models.save(onnx_models.doubler(), tmp_path / "a.onnx"))
    assert not is_in_training(tmp_path / "missing.onnx")
    assert not is_in_training(b"no model")
