"""[names] of model.toml: clients see their own names, in every protocol and document."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import requests
from tritonclient import grpc, http

from inference_service.core.errors import InvalidModel
from inference_service.core.tensors import DType, Signature, TensorSpec
from inference_service.core.transforms import Transforms
from tests import onnx_models
from tests.conftest import RunningServer, start_server


@pytest.fixture(scope="module")
def renamed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("names")
    onnx_models.save(onnx_models.doubler(), folder / "doubler" / "1" / "model.onnx")
    (folder / "doubler" / "model.toml").write_text(
        '[names]\nx = "features"\ny = "doubled"\n[preprocess.x]\noffset = 1\n[example]\nx = [1, 2, 3]\n'
        '[labels]\ny = ["a", "b", "c"]\n'
    )
    running = start_server(folder, INFERENCE_SERVICE_GRPC__PORT="0")
    yield running
    running.process.kill()
    running.process.wait(20)


@pytest.fixture
def ask(renamed: RunningServer) -> Callable[..., Any]:
    def send(path: str, body: Any = None, status: int = 200) -> Any:
        response = requests.request(
            "GET" if body is None else "POST", renamed.url + path, json=body, timeout=20
        )
        assert response.status_code == status, response.text
        return response.json()

    return send


def test_tensorflow_serving_and_predict_take_the_new_name(ask: Callable[..., Any]) -> None:
    path = "/v1/models/doubler:predict"
    assert ask(path, {"instances": [{"features": [0, 1, 2]}]}) == {"predictions": [[2, 4, 6]]}
    assert ask(path, {"inputs": {"features": [[0, 1, 2]]}}) == {"outputs": [[2, 4, 6]]}
    assert ask("/predict", {"features": [0, 1, 2]}) == {"doubled": [2, 4, 6]}
    told = ask(path, {"inputs": {"x": [[0, 1, 2]]}}, 400)
    assert "this model takes 'features'" in told["error"]
    inputs = ask("/v1/models/doubler/metadata")["metadata"]["signature_def"]["signature_def"]
    assert list(inputs["serving_default"]["inputs"]) == ["features"]
    assert list(inputs["serving_default"]["outputs"]) == ["doubled"]
    assert ask("/v1/models/doubler:classify", {"examples": [{"features": [0, 1, 2]}]}) == {
        "results": [[["a", 2], ["b", 4], ["c", 6]]]
    }


def test_triton_s_clients_use_the_new_names(renamed: RunningServer) -> None:
    address = renamed.url.removeprefix("http://")
    for kind, where in ((http, address), (grpc, renamed.grpc_address)):
        client = kind.InferenceServerClient(where)
        given = kind.InferInput("features", [1, 3], "FP32")
        given.set_data_from_numpy(np.array([[0, 1, 2]], np.float32))
        wanted = kind.InferRequestedOutput("doubled")
        found = client.infer("doubler", [given], outputs=[wanted]).as_numpy("doubled")
        assert found.tolist() == [[2, 4, 6]]
        client.close()
    with http.InferenceServerClient(address) as client:
        metadata = client.get_model_metadata("doubler")
        config = client.get_model_config("doubler")
    for told in (metadata["inputs"], config["input"]):
        assert [one["name"] for one in told] == ["features"]
    for told in (metadata["outputs"], config["output"]):
        assert [one["name"] for one in told] == ["doubled"]


def test_the_document_has_the_new_names(ask: Callable[..., Any]) -> None:
    operation = ask("/openapi.json")["paths"]["/v1/models/doubler:predict"]["post"]
    text = str(operation)
    assert "'features'" in text
    assert "'x'" not in text
    content = operation["requestBody"]["content"]["application/json"]
    examples = [content["example"]] if "example" in content else [
        one["value"] for one in content["examples"].values()
    ]  # fmt: skip
    for example in examples:
        assert ask("/v1/models/doubler:predict", example)


SIGNATURE = Signature(
    (TensorSpec("x", DType.FP32, (None,)), TensorSpec("z", DType.FP32, (None,))),
    (TensorSpec("y", DType.FP32, (None,)),),
)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"q": "a"}, r"names\.q: no such tensor; this model has 'x', 'z', 'y'"),
        ({"x": "a", "z": "a"}, "names: two inputs are called 'a'"),
        ({"x": "y"}, r"names\.x: 'y' is the name of another tensor"),
    ],
)
def test_names_that_can_not_be_told_apart_are_refused(names: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidModel, match=message):
        Transforms(names=names).check(SIGNATURE)


def test_without_names_the_signature_is_the_same_object() -> None:
    assert Transforms().served(SIGNATURE) is SIGNATURE
