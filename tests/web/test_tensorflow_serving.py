"""TensorFlow Serving's REST API body by body: what it answers, and what it refuses.

The kinds of bodies are those that its own tests send (tensorflow/serving, util/json_tensor_test.cc and
model_servers/http_rest_api_handler_test.cc); the names and numbers are ours. Where it is right to answer
otherwise the row says why, and docs/protocols.md, too.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
import requests
from onnx import TensorProto, helper

from tests import onnx_models
from tests.conftest import serving

F32, F64, I32, I64, TEXT = (
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.STRING,
)


def copies(suffix: str = "_out", **inputs: tuple[int, list[int | str]]) -> onnx.ModelProto:
    """Each input comes back under its name and ``suffix``."""
    return onnx_models.build(
        [helper.make_node("Identity", [name], [name + suffix]) for name in inputs],
        [(name, *kind) for name, kind in inputs.items()],
        [(name + suffix, *kind) for name, kind in inputs.items()],
    )


MODELS = {
    "int": copies(n=(I32, ["b"])),
    "pair": copies(n=(I32, ["b", 2])),
    "float": copies(x=(F32, ["b"])),
    "double": copies(x=(F64, ["b"])),
    "word": copies(w=(TEXT, ["b"])),
    "word-row": copies(w=(TEXT, ["b", 1])),
    "word-grid": copies(w=(TEXT, ["b", 2, 1])),
    "bytes": copies("_bytes", w=(TEXT, ["b", 2])),
    "grid": copies(g=(I32, ["b", 3, 2])),
    "many": copies(g=(I32, ["b", 3, 2]), w=(TEXT, ["b", 2]), x=(F32, ["b", 2]), d=(F64, ["b", 1])),
    "steps": copies(s=(I32, ["b", "steps", 2]), w=(TEXT, ["b", 2])),
    "unequal": copies(g=(I32, ["b", 3, 2]), w=(TEXT, ["c"]), one=(TEXT, [])),
    "scores": copies(s=(F32, ["b", 3])),
    "person": onnx_models.build(
        [
            helper.make_node("ReduceSum", ["ratings", "axis"], ["total"], keepdims=0),
            helper.make_node("Identity", ["city"], ["city_out"]),
            helper.make_node("Identity", ["name"], ["name_out"]),
        ],
        [("ratings", F32, ["b", "r"]), ("city", TEXT, ["b"]), ("name", TEXT, ["b", "n"])],
        [("total", F32, ["b"]), ("city_out", TEXT, ["b"]), ("name_out", TEXT, ["b", "n"])],
        axis=np.array([1]),
    ),
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("tensorflow-serving")
    for name, model in MODELS.items():
        onnx_models.save(model, folder / name / "1" / "model.onnx")
    (folder / "unequal" / "model.toml").write_text('[batching]\nmode = "whole"\n')
    with serving(folder) as running:
        yield running.url


def ask(url: str, path: str, body: Any, **headers: str) -> requests.Response:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | headers
    return requests.post(f"{url}/v1/models/{path}", sent, headers=headers, timeout=60)


B64 = [{"b64": "YmVlcg=="}, {"b64": "d2luZQ=="}]
ROWS = [[1, 2], [3, 4], [5, 6]]
GRID = [[7, 1], [2, 8], [4, 4]]


@pytest.mark.parametrize(
    ("model", "body", "answer"),
    [
        ("pair", {"instances": ROWS}, {"predictions": ROWS}),
        ("pair", {"instances": [{"n": row} for row in ROWS]}, {"predictions": ROWS}),
        ("pair", {"inputs": ROWS}, {"outputs": ROWS}),
        ("pair", {"inputs": {"n": ROWS}}, {"outputs": ROWS}),
        ("pair", {"signature_name": "serving_default", "instances": ROWS}, {"predictions": ROWS}),
        ("int", b'{"instances": [4], "beside": %b}' % (b"[" * 900 + b"]" * 900), {"predictions": [4]}),
        ("int", {"instances": [4], "parameters": None, "id": "a"}, {"predictions": [4]}),
        ("float", {"instances": [1, 2.5, -3, 0.0]}, {"predictions": [1.0, 2.5, -3.0, 0.0]}),
        ("double", {"instances": [1, 0.1, 1e300]}, {"predictions": [1.0, 0.1, 1e300]}),
        ("float", {"instances": [5e-324, -5e-324]}, {"predictions": [0.0, -0.0]}),
        ("float", {"instances": [6e6, 0.25, 0.0007, 0.00002]}, {"predictions": [6e6, 0.25, 0.0007, 0.00002]}),
        ("word", {"instances": ["beer", "w\u00efne"]}, {"predictions": ["beer", "w\u00efne"]}),
        ("word", {"instances": B64}, {"predictions": ["beer", "wine"]}),
        ("word-row", {"instances": [[one] for one in B64]}, {"predictions": [["beer"], ["wine"]]}),
        ("word-grid", {"instances": [{"w": [[one] for one in B64]}]}, {"predictions": [[["beer"], ["wine"]]]}),
        ("bytes", {"instances": [B64]}, {"predictions": [B64]}),
        ("bytes", {"inputs": [["beer", "wine"]]}, {"outputs": [B64]}),
        ("grid", {"inputs": {"g": [GRID]}}, {"outputs": [GRID]}),
        ("grid", {"inputs": [GRID]}, {"outputs": [GRID]}),
        ("unequal", {"inputs": {"g": [GRID], "w": ["a", "b"], "one": B64[0]}},
         {"outputs": {"g_out": [GRID], "w_out": ["a", "b"], "one_out": "beer"}}),
        ("many", {"instances": [{"g": GRID, "w": ["a", "b"], "x": [1, 2.5], "d": [3]}] * 2},
         {"predictions": [{"g_out": GRID, "w_out": ["a", "b"], "x_out": [1.0, 2.5], "d_out": [3.0]}] * 2}),
        ("many", {"inputs": {"g": [GRID], "w": [["a", "b"]], "x": [[1, 2.5]], "d": [[3]]}},
         {"outputs": {"g_out": [GRID], "w_out": [["a", "b"]], "x_out": [[1.0, 2.5]], "d_out": [[3.0]]}}),
        ("steps", {"instances": [{"s": ROWS, "w": ["a", "b"]}]}, {"predictions": [{"s_out": ROWS, "w_out": ["a", "b"]}]}),
    ],
)  # fmt: skip
def test_predictions(url: str, model: str, body: Any, answer: Any) -> None:
    response = ask(url, f"{model}:predict", body)
    assert (response.status_code, response.json()) == (200, answer)


def test_numbers_that_are_none_go_both_ways_where_the_client_says_so(url: str) -> None:
    """TensorFlow Serving takes and writes them always; strict parsers of JSON fail on them."""
    sent = b'{"instances": [NaN, Infinity, 2, -Infinity]}'
    response = ask(url, "float:predict", sent, **{"X-Non-Finite": "bare"})
    assert response.text == '{"predictions":[NaN,Infinity,2.0,-Infinity]}'
    assert ask(url, "float:predict", sent).status_code == 400


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        ("scores:classify", {"examples": [{"s": [0.25, 0.75, 0]}, {"s": [1, 0, 0.5]}]},
         [[["0", 0.25], ["1", 0.75], ["2", 0.0]], [["0", 1.0], ["1", 0.0], ["2", 0.5]]]),
        ("float:regress", {"examples": [{"x": 0.5}, {"x": [0.25]}]}, [0.5, 0.25]),
        ("float:regress", {"signature_name": "serving_default", "examples": [{"x": 2}]}, [2.0]),
        ("person:regress", {"context": {"city": "Bonn"}, "examples": [
            {"name": ["a", "b"], "ratings": [1, 2]}, {"name": ["c", B64[0]], "ratings": [3, 4.5]}]}, [3.0, 7.5]),
        ("person:regress", {"context": {"city": "Bonn"}, "examples": [
            {"name": "a", "ratings": 1, "city": ["Kiel"]}, {"name": B64[0], "ratings": [2]}]}, [1.0, 2.0]),
    ],
)  # fmt: skip
def test_results(url: str, path: str, body: Any, answer: Any) -> None:
    response = ask(url, path, body)
    assert (response.status_code, response.json()) == (200, {"results": answer})


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("int:predict", b"", "the body is empty"),
        ("int:predict", b"instances = [1]", "the body is not valid JSON"),
        ("int:predict", {}, "expected one of 'instances' and 'inputs', got neither"),
        ("int:predict", {"instances": [1], "inputs": [1]}, "got both"),
        ("int:predict", {"signature_name": 5, "instances": [1]}, "signature_name: expected a string, got 5"),
        ("int:predict", {"signature_name": "other", "instances": [1]}, "unknown signature 'other'"),
        ("int:predict", {"instances": []}, "the batch is empty"),
        ("int:predict", {"inputs": []}, "the batch is empty"),
        ("int:predict", {"instances": [1, [1]]}, "instances[1]"),
        ("int:predict", {"instances": ["x", "y"]}, "instances[0]: input 'n': expected int32, got a string 'x'"),
        ("pair:predict", {"instances": [[1, 2], [3, 4, 5]]}, "instances[1]: input 'n': expected shape [2], got [3]"),
        ("pair:predict", {"instances": [[1, 2], [[3, 4]]]}, "expected shape [2], got [1, 2]"),
        ("pair:predict", {"instances": [[1, 2], ["a", "b"]]}, "instances[1][0]: input 'n': expected int32"),
        ("pair:predict", {"inputs": {"other": ROWS}}, "missing input 'n' and unknown input 'other'"),
        ("steps:predict", {"instances": [{"s": ROWS, "w": ["a", "b"]}, {"s": ROWS[1:], "w": ["a", "b"]}]},
         "instances[1].s: expected shape [3, 2], got [2, 2]"),
        ("steps:predict", {"instances": [{"s": ROWS, "w": ["a", "b"]}, {"s": [ROWS], "w": ["a", "b"]}]}, "instances[1].s"),
        ("steps:predict", {"instances": [{"s": ROWS, "w": ["a", "b"]}, [1, 2]]}, "instances[1]: expected an object"),
        ("steps:predict", {"instances": [{"s": ROWS}]}, "missing input 'w'"),
        ("bytes:predict", {"instances": [["a", "b"], {"w": ["a", "b"]}]}, "instances[1]"),
        ("many:predict", {"inputs": {"g": [GRID], "w": [["a", "b"]] * 2, "x": [[1, 2]], "d": [[3]]}}, "same number of rows"),
        ("float:regress", {}, "examples: missing"),
        ("float:regress", {"examples": []}, "examples: expected a length of at least 1"),
        ("float:regress", {"examples": {"x": 1}}, "examples: expected an array, got an object"),
        ("float:regress", {"examples": [[{"x": 1}]]}, "examples[0]: expected an object, got an array"),
        ("float:regress", {"context": [{"x": 1}], "examples": [{"x": 1}]}, "context: expected an object, got an array"),
        ("float:regress", {"signature_name": ["a"], "examples": [{"x": 1}]}, "signature_name: expected a string"),
        ("float:regress", {"examples": [{"x": [{"y": 1}]}]}, "examples[0].x: expected float32, got an object"),
        ("float:regress", {"examples": [{"x": [[1], 2]}]}, "examples[0].x"),
        ("float:regress", {"examples": [{"x": [1, None]}]}, "examples[0].x"),
        ("float:regress", {"examples": [{"x": [20, 2**64]}]}, "examples[0].x"),
    ],
)  # fmt: skip
def test_what_both_refuse_is_told_with_its_place(
    url: str, path: str, body: Any, words: str
) -> None:
    response = ask(url, path, body)
    assert words in response.json()["error"]
    assert response.status_code == 400


@pytest.mark.parametrize(
    ("model", "body", "words"),
    [
        # Parsing is bounded, also of parts that are passed over.
        ("int", b'{"instances": [1], "beside": %b}' % (b"[" * 5000 + b"]" * 5000), "depth limit"),
        # A number that is too large is a fault of the client's, not infinity.
        ("float", {"instances": [1e308]}, "expected a finite float32"),
        ("float", {"instances": [-1e308]}, "expected a finite float32"),
        # ONNX has no examples of unequal lengths: a batch is one tensor.
        ("person", {"instances": [{"name": ["a", "b"], "ratings": [1], "city": "x"}, {"name": ["a"], "ratings": [1], "city": "x"}]},
         "instances[1].name: expected shape [2], got [1]"),
    ],
)  # fmt: skip
def test_what_tensorflow_serving_takes_and_this_service_does_not(
    url: str, model: str, body: Any, words: str
) -> None:
    response = ask(url, f"{model}:predict", body)
    assert words in response.json()["error"]
    assert response.status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("POST", "/int/versions/50:predict", "Servable not found for request: Specific(int, 50)"),
        ("POST", "/nothing:predict", "Servable not found for request: Latest(nothing)"),
        ("POST", "/nothing/versions/50:predict", "Servable not found for request: Specific(nothing, 50)"),
        ("GET", "/int/versions/9", "Could not find any versions of model int"),
        ("GET", "/nothing", "Could not find any versions of model nothing"),
        ("POST", "/int/versions/one:regress", "version 'one' of model 'int' is not a whole number"),
        ("POST", f"/int/versions/{2**64 - 1}:regress", "has 20 digits, and versions have at most 19"),
        ("POST", "/int/labels/none:predict", "no loaded version of model 'int' has the label 'none'"),
        ("POST", "/int/label/none:predict", "malformed request"),
        ("POST", "/int/versions/1/labels/none:predict", "malformed request"),
        ("GET", "/debug/int", "malformed request"),
    ],
)  # fmt: skip
def test_paths_that_lead_nowhere_are_404(url: str, method: str, path: str, words: str) -> None:
    response = requests.request(
        method, f"{url}/v1/models{path}", json={"instances": [1]}, timeout=60
    )
    assert words in response.json()["error"]
    assert response.status_code == 404


def test_status_and_metadata(url: str) -> None:
    for path in ("int", "int/versions/1"):
        status = requests.get(f"{url}/v1/models/{path}", timeout=60).json()["model_version_status"]
        told = {"error_code": "OK", "error_message": ""}
        assert status == [{"version": "1", "state": "AVAILABLE", "status": told}]
        found = requests.get(f"{url}/v1/models/{path}/metadata", timeout=60).json()
        assert found["model_spec"] == {"name": "int", "signature_name": "", "version": "1"}
        signature = found["metadata"]["signature_def"]["signature_def"]["serving_default"]
        assert signature["method_name"] == "tensorflow/serving/predict"
        assert signature["inputs"]["n"] == {
            "name": "n",
            "dtype": "DT_INT32",
            "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
        }
