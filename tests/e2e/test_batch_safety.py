"""Two clients at once over HTTP: every answer is what ONNX Runtime gives the request alone."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import requests
from onnx import helper

from tests import onnx_models
from tests.conftest import RunningServer, serving
from tests.onnx_models import FLOAT, INT64, build

_WIRE = {"f": "FP32", "i": "INT64"}


def guarded_pixels() -> onnx.ModelProto:
    """Pixels up to 255 are divided, if the largest of all of them is above 1."""
    then = helper.make_graph(
        [helper.make_node("Div", ["x", "most"], ["t"])], "then", [],
        [helper.make_tensor_value_info("t", FLOAT, None)],
    )  # fmt: skip
    other = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["e"])], "else", [],
        [helper.make_tensor_value_info("e", FLOAT, None)],
    )  # fmt: skip
    return build(
        [
            helper.make_node("ReduceMax", ["x"], ["largest"], "largest", keepdims=0),
            helper.make_node("Greater", ["largest", "one"], ["bytes"], "compare"),
            helper.make_node("If", ["bytes"], ["y"], "if", then_branch=then, else_branch=other),
        ],
        [("x", FLOAT, ["batch", 4])], [("y", FLOAT, ["batch", 4])],
        one=np.float32(1), most=np.float32(255),
    )  # fmt: skip


def centred() -> onnx.ModelProto:
    """Less the mean of all rows; a Shape stands before it."""
    return build(
        [
            helper.make_node("Shape", ["x"], ["shape"], "shape"),
            helper.make_node("Reshape", ["x", "shape"], ["same"], "reshape"),
            helper.make_node("ReduceMean", ["same"], ["mean"], "mean", axes=[0], keepdims=1),
            helper.make_node("Sub", ["same", "mean"], ["y"], "centre"),
        ],
        [("x", FLOAT, ["batch", 4])], [("y", FLOAT, ["batch", 4])],
    )  # fmt: skip


def lagged() -> onnx.ModelProto:
    """Differences of rows that lie two apart: axis 0 is time."""
    return build(
        [
            helper.make_node("Pad", ["x", "before"], ["padded"], "pad"),
            helper.make_node("Shape", ["x"], ["length"], end=1),
            helper.make_node("Slice", ["padded", "start", "length", "first"], ["late"], "slice"),
            helper.make_node("Sub", ["x", "late"], ["y"], "difference"),
        ],
        [("x", FLOAT, ["time", 4])], [("y", FLOAT, ["time", 4])],
        before=np.array([2, 0, 0, 0]), start=np.array([0]), first=np.array([0]),
    )  # fmt: skip


def by_largest_id() -> onnx.ModelProto:
    """One-hot vectors as long as the largest id of all rows."""
    return build(
        [
            helper.make_node("ReduceMax", ["x"], ["most"], "most", keepdims=0),
            helper.make_node("Add", ["most", "one"], ["depth"], "depth"),
            helper.make_node("OneHot", ["x", "depth", "values"], ["y"], "one_hot"),
        ],
        [("x", INT64, ["batch", 4])], [("y", FLOAT, ["batch", 4, "classes"])],
        one=np.array(1), values=np.array([0, 1], np.float32),
    )  # fmt: skip


def turned() -> onnx.ModelProto:
    """Rows are columns in the answer."""
    return build(
        [helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0])],
        [("x", FLOAT, ["batch", 4])], [("y", FLOAT, [4, "batch"])],
    )  # fmt: skip


def boxes() -> onnx.ModelProto:
    """Places above 0 in a picture: none, some or many."""
    return build(
        [
            helper.make_node("Greater", ["x", "zero"], ["found"]),
            helper.make_node("NonZero", ["found"], ["places"]),
            helper.make_node("Transpose", ["places"], ["y"]),
        ],
        [("x", FLOAT, [1, 4])], [("y", INT64, ["boxes", 2])], zero=np.float32(0),
    )  # fmt: skip


def whole_vector() -> onnx.ModelProto:
    """Softmax over the only axis."""
    return build(
        [helper.make_node("Softmax", ["x"], ["y"], axis=0)],
        [("x", FLOAT, [4])], [("y", FLOAT, [4])],
    )  # fmt: skip


GRAPHS = {
    "guarded": guarded_pixels(),
    "centred": centred(),
    "lagged": lagged(),
    "by-largest-id": by_largest_id(),
    "quantised": onnx_models.dynamically_quantised(),
    "turned": turned(),
    "boxes": boxes(),
    "mean": onnx_models.over_the_batch(),
    "vector": whole_vector(),
    "declared-whole": whole_vector(),
    "doubler": onnx_models.doubler(4),
}
MERGED = {"turned", "doubler"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graphs")
    for name, model in GRAPHS.items():
        onnx_models.save(model, folder / name / "1" / "model.onnx")
        mode = 'mode = "whole"' if name == "declared-whole" else ""
        (folder / name / "model.toml").write_text(f"[batching]\nmax_queue_delay = 0.01\n{mode}")
    return folder


@pytest.fixture(scope="module")
def graphs(repository: Path) -> Iterator[RunningServer]:
    with serving(repository) as running:
        yield running


def request_of(model: onnx.ModelProto, seed: int) -> dict[str, np.ndarray]:
    """Inputs of one row, or as the graph's fixed axes want it; of other magnitudes each time."""
    random = np.random.default_rng(seed)
    found = {}
    for value in model.graph.input:
        shape = [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
        if value.type.tensor_type.elem_type == INT64:
            found[value.name] = np.asarray(random.integers(0, 4 + seed, shape))
        else:
            array = random.standard_normal(shape) * 10.0 ** (seed % 3)
            found[value.name] = np.asarray(array, np.float32)
    return found


def ask(server: RunningServer, name: str, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    body = {
        "inputs": [
            {"name": key, "shape": list(array.shape), "datatype": _WIRE[array.dtype.kind],
             "data": array.ravel().tolist()}
            for key, array in inputs.items()
        ]
    }  # fmt: skip
    answer = requests.post(f"{server.url}/v2/models/{name}/infer", json=body, timeout=20)
    assert answer.status_code == 200, answer.text
    return [np.array(out["data"]).reshape(out["shape"]) for out in answer.json()["outputs"]]


@pytest.mark.parametrize("name", GRAPHS)
def test_a_client_gets_its_own_answer_whatever_others_send(
    graphs: RunningServer, name: str
) -> None:
    model = GRAPHS[name]
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    asked = [request_of(model, seed) for seed in range(24)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda inputs: ask(graphs, name, inputs), asked))
    for inputs, got in zip(asked, answers, strict=True):
        for array, wanted in zip(got, session.run(None, inputs), strict=True):
            assert array.shape == wanted.shape
            np.testing.assert_allclose(array, wanted, rtol=1e-4, atol=1e-6)


def test_requests_share_runs_where_that_is_proven(graphs: RunningServer) -> None:
    for name in GRAPHS:
        told = requests.get(f"{graphs.url}/v2/models/{name}", timeout=20).json()["parameters"]
        assert (told["batching"] == "merge") == (name in MERGED), name


def test_the_verdict_and_its_reason_are_told(graphs: RunningServer) -> None:
    told = requests.get(f"{graphs.url}/v2/models/centred", timeout=20).json()["parameters"]
    assert told["batch_safety"] == "mixing"
    assert told["batch_safety_reason"].startswith("mixing, ReduceMean node 'mean': ")
    (listed,) = [
        model for model in requests.get(f"{graphs.url}/v2/models", timeout=20).json()["models"]
        if model["name"] == "quantised"
    ]  # fmt: skip
    assert listed["batch_safety"]["node"] == "DynamicQuantizeLinear node 'quantise'"
    home = requests.get(f"{graphs.url}/models", timeout=20).json()["models"]
    assert {model["name"]: model["batching"] for model in home}["boxes"] == "split"


def test_check_and_serve_come_to_the_same(graphs: RunningServer, repository: Path) -> None:
    command = [sys.executable, "-m", "inference_service", "check", str(repository), "--json"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    checked = {report["model"]: report for report in json.loads(run.stdout)}
    served = requests.get(f"{graphs.url}/v2/models", timeout=20).json()["models"]
    assert {model["name"]: (model["state"], model["batching"]) for model in served} == {
        name: ("ready", report["batching"]) for name, report in checked.items()
    }
    assert checked["centred"]["safety"]["node"] == "ReduceMean node 'mean'"
    assert checked["declared-whole"]["inputs"] == ["x float32[4]"]


def test_a_warm_start_needs_no_analysis(
    tmp_path: Path, repository: Path, serve: Callable[..., RunningServer]
) -> None:
    """The verdicts are kept beside the measured costs."""
    cache = tmp_path / "cache"
    for _ in range(2):
        environment = {"INFERENCE_SERVICE_RUNTIME__PROFILE_CACHE": str(cache)}
        told: Any = serve(repository, **environment).announcement
        assert "(proven)" in told
    assert len(list(cache.glob("*.verdict.json"))) == len(set(map(str, GRAPHS.values())))
