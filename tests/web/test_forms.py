"""Models of every kind over HTTP and gRPC: the forms that they have, and the words for the others."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
import requests
from onnx import TensorProto, helper, numpy_helper

from tests import onnx_models, task_models
from tests.conftest import RunningServer, serving

FLOAT = TensorProto.FLOAT


def softmax_over_all() -> onnx.ModelProto:
    """softmax over x[16], without a batch axis."""
    return onnx_models.build(
        [helper.make_node("Softmax", ["x"], ["y"], axis=0)],
        [("x", FLOAT, [16])],
        [("y", FLOAT, [16])],
    )


def product() -> onnx.ModelProto:
    """x * k of two scalars."""
    return onnx_models.build(
        [helper.make_node("Mul", ["x", "k"], ["y"])], [("x", FLOAT, []), ("k", FLOAT, [])],
        [("y", FLOAT, [])],
    )  # fmt: skip


def with_loss() -> onnx.ModelProto:
    """Rows, and beside them the mean over all as a scalar."""
    return onnx_models.build(
        [
            helper.make_node("Identity", ["x"], ["y"]),
            helper.make_node("ReduceMean", ["x"], ["loss"], keepdims=0),
        ],
        [("x", FLOAT, ["b", 3])],
        [("y", FLOAT, ["b", 3]), ("loss", FLOAT, [])],
    )


def any_rank() -> onnx.ModelProto:
    """Relu of what may have any rank."""
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "test",
        [helper.make_tensor_value_info("x", FLOAT, None)],
        [helper.make_tensor_value_info("y", FLOAT, None)],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def scaled() -> onnx.ModelProto:
    """x * scale, where scale is 2 unless it is given."""
    model = onnx_models.build(
        [helper.make_node("Mul", ["x", "scale"], ["y"])],
        [("x", FLOAT, ["b", 3]), ("scale", FLOAT, [1])],
        [("y", FLOAT, ["b", 3])],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array([2], np.float32), "scale"))
    return model


def sorted_otherwise() -> onnx.ModelProto:
    """A ZipMap whose classes are not in the order of their names."""
    model = onnx_models.zipmap()
    node = next(node for node in model.graph.node if node.op_type == "ZipMap")
    node.attribute[0].strings[:] = [b"dog", b"cat"]
    return model


def column() -> onnx.ModelProto:
    """Names and flags as columns [n, 1]."""
    return onnx_models.every_kind(column=True)


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("forms")
    for name, build in {
        "softmax": softmax_over_all, "product": product, "with-loss": with_loss,
        "any-rank": any_rank, "scaled": scaled, "pets": sorted_otherwise,
        "column": column, "kinds": onnx_models.every_kind,
    }.items():  # fmt: skip
        onnx_models.save(build(), folder / name / "1" / "model.onnx")
    task_models.save_letters(folder / "letters")
    with serving(folder, "--default-model", "product", INFERENCE_SERVICE_GRPC__PORT="0") as running:
        yield running


def ask(server: RunningServer, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    response = requests.post(server.url + path, json=body, headers=headers, timeout=20)
    return response.status_code, response.json()


def test_scalars_are_bare_numbers_in_columns(forms: RunningServer) -> None:
    inputs = {"x": 3, "k": 2}
    assert ask(forms, "/v1/models/product:predict", {"inputs": inputs}) == (200, {"outputs": 6.0})
    assert ask(forms, "/predict", inputs) == (200, {"y": 6.0})
    status, answer = ask(forms, "/v1/models/product:predict", {"instances": [inputs]})
    assert (status, answer["error"]) == (
        400, "instances: input 'x' has no axis for rows: use the column form 'inputs'"
    )  # fmt: skip
    for verb in ("classify", "regress"):
        assert ask(forms, f"/v1/models/product:{verb}", {"examples": [inputs]})[0] == 400


def test_an_output_without_rows_has_no_place_among_rows(forms: RunningServer) -> None:
    rows = [[1, 2, 3], [4, 5, 6]]
    status, answer = ask(forms, "/v1/models/with-loss:predict", {"inputs": rows})
    assert (status, answer) == (200, {"outputs": {"y": rows, "loss": 3.5}})
    status, answer = ask(forms, "/v1/models/with-loss:predict", {"instances": rows})
    assert status == 400
    assert "use the column form 'inputs'" in answer["error"]
    assert ask(forms, "/v1/models/with-loss:regress", {"examples": [{"x": [1, 2, 3]}]})[0] == 400


def test_an_input_of_any_rank_takes_any(forms: RunningServer) -> None:
    for value, expected in ((-1, 0.0), ([1, -2], [1, 0]), ([[[-1]], [[2]]], [[[0]], [[2]]])):
        got = ask(forms, "/v1/models/any-rank:predict", {"inputs": value})
        assert got == (200, {"outputs": expected})
    assert ask(forms, "/v1/models/any-rank:predict", {"instances": [[1, -1]]}) == (
        200, {"predictions": [[1, 0]]}
    )  # fmt: skip
    metadata = requests.get(f"{forms.url}/v1/models/any-rank/metadata", timeout=20).json()
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["x"]["tensor_shape"] == {"dim": [], "unknown_rank": True}


def test_an_input_with_a_default_is_given_or_left_out(forms: RunningServer) -> None:
    path = "/v1/models/scaled:predict"
    rows = [[1, 1, 1], [2, 2, 2]]
    assert ask(forms, path, {"inputs": rows}) == (200, {"outputs": [[2, 2, 2], [4, 4, 4]]})
    assert ask(forms, path, {"inputs": {"x": rows, "scale": [5]}}) == (
        200, {"outputs": [[5, 5, 5], [10, 10, 10]]}
    )  # fmt: skip
    config = requests.get(f"{forms.url}/v2/models/scaled/config", timeout=20).json()
    assert [(one["name"], one["optional"]) for one in config["input"]] == [
        ("x", False), ("scale", True)
    ]  # fmt: skip


def test_the_classes_of_a_zipmap_are_in_the_order_that_the_model_declares(
    forms: RunningServer,
) -> None:
    x = [0.0, 1.0]
    scores = np.exp(x) / np.exp(x).sum()
    _, answer = ask(forms, "/v1/models/pets:predict", {"instances": [x]})
    assert np.allclose(answer["predictions"][0], scores)
    _, answer = ask(forms, "/v1/models/pets:classify", {"examples": [{"x": x}]})
    assert [label for label, _ in answer["results"][0]] == ["dog", "cat"]
    models = requests.get(f"{forms.url}/v2/models", timeout=20).json()["models"]
    assert {m["name"]: m["labels"] for m in models}["pets"] == {"scores": ["dog", "cat"]}


def test_the_labels_of_a_pipeline_are_known_to_every_protocol(forms: RunningServer) -> None:
    models = requests.get(f"{forms.url}/v2/models", timeout=20).json()["models"]
    entry = next(model for model in models if model["name"] == "letters")
    ((output, labels),) = entry["labels"].items()
    assert len(labels) > 1
    source = entry["inputs"][0]
    row = [ord("z")] * 8
    _, answer = ask(forms, "/v1/models/letters:classify", {"examples": [{source["name"]: row}]})
    assert [label for label, _ in answer["results"][0]] == labels
    request = {
        "inputs": [
            {"name": source["name"], "shape": [1, 8], "datatype": source["datatype"], "data": row}
        ],
        "outputs": [{"name": output, "parameters": {"classification": 1}}],
    }
    _, answer = ask(forms, "/v2/models/letters/infer", request)
    _, index, label = answer["outputs"][0]["data"][0].split(":")
    assert label == labels[int(index)]


def test_a_classification_without_a_batch_axis_is_one_row(forms: RunningServer) -> None:
    x = [float(i % 5) for i in range(16)]
    scores = np.exp(x) / np.exp(x).sum()
    request = {
        "inputs": [{"name": "x", "shape": [16], "datatype": "FP32", "data": x}],
        "outputs": [{"name": "y", "parameters": {"classification": 2}}],
    }
    status, answer = ask(forms, "/v2/models/softmax/infer", request)
    assert (status, answer["outputs"][0]["shape"]) == (200, [2])
    assert answer["outputs"][0]["data"] == [f"{scores[4]:f}:4", f"{scores[9]:f}:9"]


def test_columns_of_rows_of_one_value_are_taken_in_both_spellings(forms: RunningServer) -> None:
    """MLServer's codecs always send [n, 1]."""
    for model in ("kinds", "column"):
        for shape in ([2], [2, 1]):
            request = {"inputs": [
                {"name": "name", "shape": shape, "datatype": "BYTES", "data": ["a", "b"]},
                {"name": "flag", "shape": shape, "datatype": "BOOL", "data": [True, False]},
                {"name": "counts", "shape": [2, 2], "datatype": "INT64", "data": [1, 2, 3, 4]},
            ]}  # fmt: skip
            status, answer = ask(forms, f"/v2/models/{model}/infer", request)
            assert status == 200, answer
            assert answer["outputs"][0]["shape"] == ([2] if model == "kinds" else [2, 1])
        for name, flag in (("a", True), (["a"], [True])):
            example = {"name": name, "flag": flag, "counts": [1, 2]}
            status, answer = ask(forms, f"/v1/models/{model}:predict", {"instances": [example]})
            assert status == 200, answer


def test_null_is_nan_where_answers_have_null_for_nan(forms: RunningServer) -> None:
    body = {"instances": [[None, 1, 2]]}
    for policy, status in (("null", 200), ("bare", 200), ("error", 400)):
        response = requests.post(
            f"{forms.url}/v1/models/scaled:predict", json=body,
            headers={"X-Non-Finite": policy}, timeout=20,
        )  # fmt: skip
        assert response.status_code == status
        if status == 200:
            got = json.loads(response.text)["predictions"][0]
            assert got[0] is None or np.isnan(got[0])
            assert got[1:] == [2, 4]


def test_the_list_of_models_is_openais_and_kserves(forms: RunningServer) -> None:
    answer = requests.get(f"{forms.url}/v1/models", timeout=20).json()
    assert answer["object"] == "list"
    assert answer["models"] == sorted(answer["models"])
    assert [entry["id"] for entry in answer["data"]] == answer["models"]
    assert all(
        entry["object"] == "model" and isinstance(entry["created"], int) and entry["owned_by"]
        for entry in answer["data"]
    )
    status = requests.get(f"{forms.url}/v1/models/pets", timeout=20).json()
    assert status["model_version_status"][0]["state"] == "AVAILABLE"
    assert (status["name"], status["ready"]) == ("pets", True)
    assert (status["id"], status["object"]) == ("pets", "model")


def test_openais_client_lists_the_models(forms: RunningServer) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{forms.url}/v1", api_key="none")
    assert "pets" in [model.id for model in client.models.list()]
    assert client.models.retrieve("pets").id == "pets"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"instances": [[1, 1, 1]], "parameters": {}}, 200),
        ({"instances": [[1, 1, 1]], "parameters": None, "inputs": None}, 200),
        ({"inputs": [[1, 1, 1]], "instances": None}, 200),
        ({"instance": [[1, 1, 1]]}, 400),
    ],
)
def test_unknown_members_are_passed_over(forms: RunningServer, body: Any, status: int) -> None:
    assert ask(forms, "/v1/models/scaled:predict", body)[0] == status
    assert ask(forms, "/v1/models/scaled/versions/0:predict", body)[0] == status


def test_an_unknown_model_is_told_in_tritons_words(forms: RunningServer) -> None:
    for path, words in (
        ("/v2/models/none", "Request for unknown model: 'none' is not found"),
        ("/v2/models/pets/versions/7", "Request for unknown model: 'pets' version 7 is not found"),
    ):
        response = requests.get(forms.url + path, timeout=20)
        assert response.status_code == 404
        assert response.json()["error"].startswith(words)
    response = requests.get(f"{forms.url}/v1/models/{'x' * 5000}", timeout=20)
    assert (response.status_code, len(response.text) < 1000) == (404, True)


def test_too_large_a_body_for_the_index_is_413(forms: RunningServer) -> None:
    response = requests.post(
        f"{forms.url}/v2/repository/index", data=b" " * (64 * 1024 + 1), timeout=20
    )
    assert response.status_code == 413


def test_the_path_for_probes_of_text_embeddings_inference(forms: RunningServer) -> None:
    assert requests.get(f"{forms.url}/health", timeout=20).status_code == 200
    response = requests.post(f"{forms.url}/", json={"inputs": "a"}, timeout=20)
    assert response.status_code == 404
    assert "no model that makes vectors of text is loaded" in response.json()["error"]


def test_grpc_answers_scalars_and_outputs_without_rows(forms: RunningServer) -> None:
    triton = pytest.importorskip("tritonclient.grpc")
    with triton.InferenceServerClient(forms.grpc_address) as client:
        x = triton.InferInput("x", [2, 3], "FP32")
        x.set_data_from_numpy(np.arange(6, dtype=np.float32).reshape(2, 3))
        answer = client.infer("with-loss", [x])
        assert answer.as_numpy("loss").tolist() == 2.5
        with pytest.raises(triton.InferenceServerException, match="already exists in request"):
            client.infer("with-loss", [x], outputs=[triton.InferRequestedOutput("y")] * 2)


def test_a_boundary_that_no_form_has_is_refused(forms: RunningServer) -> None:
    response = requests.post(
        f"{forms.url}/models/letters/classify", data=b"--x",
        headers={"Content-Type": "multipart/form-data; boundary=" + "x" * 257}, timeout=20,
    )  # fmt: skip
    assert response.status_code == 400
