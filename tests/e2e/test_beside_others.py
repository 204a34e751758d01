"""Whatever the graph and the protocol: a client's answer is ONNX Runtime's for its request alone.

Clients ask at the same time with other lengths and values. Forms of requests that a graph has no
meaning for (rows of a graph without rows) are refused in words, never answered with numbers.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import requests
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests import onnx_models
from tests.conftest import RunningServer, serving
from tests.e2e.mixing_graphs import GRAPHS, Inputs

CLIENTS, SEEDS = 6, 8
_EXACT = {"f2": 1e-2, "f4": 1e-4, "f8": 1e-9}


class RefusedError(Exception):
    """An answer other than 200, in words."""


class Asked(NamedTuple):
    """One graph's server, and how it is asked."""

    server: RunningServer
    name: str
    inputs: Inputs
    outputs: list[str]


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder: Path = tmp_path_factory.mktemp("mixing")
    for name, graph in GRAPHS.items():
        onnx_models.save(graph.model(), folder / name / "1" / "model.onnx")
        (folder / name / "model.toml").write_text("[batching]\nmax_queue_delay = 0.01\n")
    with serving(folder, INFERENCE_SERVICE_GRPC__PORT="0") as running:
        yield running


def _posted(asked: Asked, path: str, body: Any) -> Any:
    answer = requests.post(f"{asked.server.url}{path}", json=body, timeout=30)
    if answer.status_code != 200:
        assert answer.status_code == 400, f"{answer.status_code} {answer.text}"
        raise RefusedError(answer.text)
    return answer.json()


def _plain(array: "np.ndarray") -> Any:
    return np.asarray(array).tolist()


def v2_json(asked: Asked) -> list["np.ndarray"]:
    body = {
        "inputs": [
            {"name": name, "shape": list(array.shape),
             "datatype": np_to_triton_dtype(array.dtype), "data": array.ravel().tolist()}
            for name, array in asked.inputs.items()
        ]
    }  # fmt: skip
    told = _posted(asked, f"/v2/models/{asked.name}/infer", body)
    outputs = {out["name"]: out for out in told["outputs"]}
    return [_read(outputs[name]["data"]).reshape(outputs[name]["shape"]) for name in asked.outputs]


def _triton(asked: Asked, module: Any, address: str) -> list["np.ndarray"]:
    inputs = []
    for name, array in asked.inputs.items():
        one = module.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        one.set_data_from_numpy(array)
        inputs.append(one)
    with module.InferenceServerClient(address) as client:
        try:
            result = client.infer(asked.name, inputs)
        except InferenceServerException as error:
            assert error.status() in {"400", "StatusCode.INVALID_ARGUMENT"}, str(error)
            raise RefusedError(str(error)) from None
    return [_text(result.as_numpy(name)) for name in asked.outputs]


def v2_binary(asked: Asked) -> list["np.ndarray"]:
    return _triton(asked, triton_http, asked.server.url.removeprefix("http://"))


def grpc(asked: Asked) -> list["np.ndarray"]:
    return _triton(asked, triton_grpc, asked.server.grpc_address)


def columns(asked: Asked) -> list["np.ndarray"]:
    body = {"inputs": {name: _plain(array) for name, array in asked.inputs.items()}}
    told = _posted(asked, f"/v1/models/{asked.name}:predict", body)["outputs"]
    return [_read(told[name] if isinstance(told, dict) else told) for name in asked.outputs]


def rows(asked: Asked) -> list["np.ndarray"]:
    count = max((len(a) for a in asked.inputs.values() if a.ndim), default=1)
    lists = [
        {name: _plain(a[i]) for name, a in asked.inputs.items() if a.ndim and i < len(a)}
        for i in range(count)
    ]
    told = _posted(asked, f"/v1/models/{asked.name}:predict", {"instances": lists})["predictions"]
    assert len(told) == count
    return [
        _read([row[name] if isinstance(row, dict) else row for row in told])
        for name in asked.outputs
    ]


def predict(asked: Asked) -> list["np.ndarray"]:
    body = {name: _plain(array) for name, array in asked.inputs.items()}
    told = _posted(asked, f"/predict?model={asked.name}", body)
    return [_read(told[name]) for name in asked.outputs]


def _read(value: Any) -> "np.ndarray":
    return _text(np.array(value))


def _text(array: "np.ndarray") -> "np.ndarray":
    if array.dtype.kind in "OSU":
        flat = [v.decode() if isinstance(v, bytes) else str(v) for v in array.ravel()]
        return np.array(flat, object).reshape(array.shape)
    return array


def assert_same(got: "np.ndarray", wanted: "np.ndarray") -> None:
    if 0 in wanted.shape and got.size == 0:  # JSON can't tell more
        return
    assert got.shape == wanted.shape
    if wanted.dtype.kind == "f":
        near = _EXACT[wanted.dtype.str[1:]]
        got = np.array([np.nan if one is None else one for one in got.ravel()], np.float64)
        got = got.reshape(wanted.shape)
        np.testing.assert_allclose(got, wanted.astype(np.float64), rtol=near, atol=near)
    else:
        assert (got == _text(wanted)).all()


PROTOCOLS: dict[str, Callable[[Asked], list["np.ndarray"]]] = {
    "json": v2_json, "binary": v2_binary, "grpc": grpc, "columns": columns, "rows": rows,
    "predict": predict,
}  # fmt: skip
LOOSE = {"rows", "predict"}
"""Forms that not every graph has."""


@pytest.mark.parametrize("name", GRAPHS)
def test_an_answer_is_that_of_the_request_alone(graphs: RunningServer, name: str) -> None:
    graph = GRAPHS[name]
    model = graph.model()
    outputs = [value.name for value in model.graph.output]
    asked = [
        (protocol, Asked(graphs, name, graph.request(seed), outputs))
        for seed in range(SEEDS)
        for protocol in PROTOCOLS
    ]
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda pair: _answered(*pair), asked))
    for (protocol, one), got in zip(asked, answers, strict=True):
        wanted = _alone(model, one.inputs)
        if isinstance(got, RefusedError):
            assert wanted is None or protocol in LOOSE or _empty(one.inputs), got
            continue
        assert wanted is not None, f"{protocol}: an answer where the graph has none"
        for array, right in zip(got, wanted, strict=True):
            axis_left_out = protocol == "predict" and right.shape[:1] == (1,)
            whole = array[None] if axis_left_out and array.ndim < right.ndim else array
            assert_same(whole, right)


def _answered(protocol: str, asked: Asked) -> list["np.ndarray"] | RefusedError:
    try:
        return PROTOCOLS[protocol](asked)
    except RefusedError as error:
        return error


def _alone(model: onnx.ModelProto, inputs: Inputs) -> list["np.ndarray"] | None:
    """In a session of its own: a session may carry something over from run to run."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options)
    try:
        return [np.asarray(one) for one in session.run(None, dict(inputs))]
    except Exception:
        return None


def _empty(inputs: Inputs) -> bool:
    return any(array.size == 0 for array in inputs.values())
