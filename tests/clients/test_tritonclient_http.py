"""Triton's own HTTP client, unmodified: everything that it can ask for."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests import onnx_models
from tests.conftest import RunningServer

Digits = tuple[np.ndarray, np.ndarray]


def address(server: RunningServer) -> str:
    return server.url.removeprefix("http://")


def given(name: str, array: np.ndarray, datatype: str, *, binary: bool = True) -> Any:
    tensor = triton.InferInput(name, array.shape, datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


@pytest.fixture
def client(server: RunningServer) -> Any:
    with triton.InferenceServerClient(address(server)) as made:
        yield made


@pytest.fixture
def zoo_client(zoo_server: RunningServer) -> Any:
    with triton.InferenceServerClient(address(zoo_server)) as made:
        yield made


def test_health_and_metadata(client: Any, zoo_client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    assert client.is_model_ready("digits", "1")
    assert not client.is_model_ready("nothing")
    assert not client.is_model_ready("digits", "7")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata("digits") == {
        "name": "digits",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 64]}],
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]},
        ],
        "parameters": {
            "batching": "merge", "batch_safety": "proven", "batch_safety_reason": "proven",
        },
    }  # fmt: skip
    assert zoo_client.get_model_metadata("doubler", "1")["inputs"][0]["shape"] == [-1, 3]
    assert zoo_client.get_model_metadata("doubler")["versions"] == ["1", "2"]


def test_the_configuration(client: Any, zoo_client: Any) -> None:
    config = client.get_model_config("digits")
    assert config["max_batch_size"] >= 1
    assert config["input"] == [
        {
            "name": "image", "data_type": "TYPE_FP32", "dims": [64], "format": "FORMAT_NONE",
            "is_shape_tensor": False, "allow_ragged_batch": False, "optional": False,
        }
    ]  # fmt: skip
    assert "dynamic_batching" in config
    whole = zoo_client.get_model_config("over-the-batch")
    assert whole["max_batch_size"] == 0
    assert whole["input"][0]["dims"] == [-1, 3], "axis 0 is no batch"


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("packed", [None, "gzip", "deflate"])
def test_inference_in_every_form(
    client: Any, digits: Digits, binary_in: bool, binary_out: bool, packed: str | None
) -> None:
    images, labels = digits
    answer = client.infer(
        "digits",
        [given("image", images, "FP32", binary=binary_in)],
        outputs=[
            triton.InferRequestedOutput("probabilities", binary_data=binary_out),
            triton.InferRequestedOutput("label", binary_data=binary_out),
        ],
        request_id="7",
        request_compression_algorithm=packed,
        response_compression_algorithm=packed,
    )
    response = answer.get_response()
    assert [output["name"] for output in response["outputs"]] == ["probabilities", "label"]
    assert (response["model_name"], response["model_version"], response["id"]) == (
        "digits",
        "1",
        "7",
    )
    assert (answer.as_numpy("label") == labels).mean() >= 0.98
    assert answer.as_numpy("probabilities").shape == (len(images), 10)
    assert ("data" in response["outputs"][0]) is not binary_out


def test_without_named_outputs_all_come_as_bytes(client: Any, digits: Digits) -> None:
    answer = client.infer("digits", [given("image", digits[0][:2], "FP32")])
    sizes = [o["parameters"]["binary_data_size"] for o in answer.get_response()["outputs"]]
    assert sizes == [16, 80]


@pytest.mark.parametrize("binary", [True, False])
def test_strings_booleans_and_integers(zoo_client: Any, binary: bool) -> None:
    sent = {
        "name": (np.array(["grüß", ""], object), "BYTES"),
        "flag": (np.array([True, False]), "BOOL"),
        "counts": (np.array([[1, -2], [2**62, 0]]), "INT64"),
    }
    inputs = [given(name, *value, binary=binary) for name, value in sent.items()]
    outputs = [triton.InferRequestedOutput(f"{name}_out", binary_data=binary) for name in sent]
    answer = zoo_client.infer("every-kind", inputs, outputs=outputs)
    names = [n if isinstance(n, str) else n.decode() for n in answer.as_numpy("name_out").tolist()]
    assert names == ["grüß", ""]
    assert answer.as_numpy("flag_out").tolist() == [True, False]
    assert answer.as_numpy("counts_out").tolist() == sent["counts"][0].tolist()


def test_half_precision_also_in_json(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    """Triton refuses FP16 in JSON."""
    onnx_models.save(onnx_models.half_doubler(), tmp_path / "half.onnx")
    with triton.InferenceServerClient(address(serve(tmp_path))) as client:
        row = np.array([[0.5, 1.25]], np.float16)
        answer = client.infer("half", [given("x", row, "FP16")])
        assert answer.as_numpy("y").tolist() == [[1.0, 2.5]]
        assert answer.as_numpy("y").dtype == np.float16
        tensor = triton.InferInput("x", [1, 2], "FP16")
        tensor._data = [0.5, 1.25]  # the client itself has no way to send it as JSON
        answer = client.infer(
            "half", [tensor], outputs=[triton.InferRequestedOutput("y", binary_data=False)]
        )
        assert answer.get_response()["outputs"][0]["data"] == [1.0, 2.5]


def test_classification(client: Any, digits: Digits) -> None:
    images, labels = digits
    wanted = triton.InferRequestedOutput("probabilities", class_count=3)
    answer = client.infer("digits", [given("image", images[:9], "FP32")], outputs=[wanted])
    best = answer.as_numpy("probabilities")
    assert best.shape == (9, 3)
    first = [text.decode().split(":") for text in best[:, 0]]
    assert [int(index) for _, index, _ in first] == labels[:9].tolist()
    assert all(index == label for _, index, label in first)
    scores = [[float(text.decode().split(":")[0]) for text in row] for row in best]
    assert all(row == sorted(row, reverse=True) for row in scores)


def test_statistics_count_rows_runs_and_requests(client: Any, digits: Digits) -> None:
    def read() -> dict[str, Any]:
        (entry,) = client.get_inference_statistics("digits", "1")["model_stats"]
        return dict(entry)

    before = read()
    for _ in range(3):
        client.infer("digits", [given("image", digits[0][:4], "FP32")])
    with pytest.raises(InferenceServerException):
        client.infer("digits", [given("image", digits[0][:4, :3].copy(), "FP32")])
    after = read()
    assert after["inference_count"] - before["inference_count"] == 12
    assert after["execution_count"] - before["execution_count"] == 3
    stats, old = after["inference_stats"], before["inference_stats"]
    for part in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        assert stats[part]["count"] - old[part]["count"] == 3
        assert stats[part]["ns"] > old[part]["ns"]
    assert stats["fail"]["count"] - old["fail"]["count"] == 1
    assert {entry["batch_size"] for entry in after["batch_stats"]} >= {4}
    assert after["last_inference"] > 1.6e12, "milliseconds since 1970"
    names = {entry["name"] for entry in client.get_inference_statistics()["model_stats"]}
    assert names >= {"digits", "flight-delay"}


@pytest.mark.parametrize(
    ("model", "version", "array", "message", "status"),
    [
        ("nothing", "", np.zeros((1, 3), np.float32), "unknown model: 'nothing'", "404"),
        ("doubler", "9", np.zeros((1, 3), np.float32), "no version 9 loaded", "404"),
        (
            "doubler",
            "1",
            np.zeros((1, 4), np.float32),
            "x: expected shape [any, 3], got [1, 4]",
            "400",
        ),
        ("doubler", "1", np.zeros((1, 3), np.float64), "x: expected float32, got float64", "400"),
        ("doubler", "1", np.zeros((0, 3), np.float32), "the batch is empty", "400"),
    ],
)
def test_errors_are_what_the_client_can_read(
    zoo_client: Any, model: str, version: str, array: np.ndarray, message: str, status: str
) -> None:
    datatype = {"float32": "FP32", "float64": "FP64"}[array.dtype.name]
    with pytest.raises(InferenceServerException) as error:
        zoo_client.infer(model, [given("x", array, datatype)], model_version=version)
    assert message in error.value.message()
    assert error.value.status() == status


def test_an_unknown_output_is_told(zoo_client: Any) -> None:
    row = given("x", np.zeros((1, 4), np.float32), "FP32")
    with pytest.raises(InferenceServerException, match="unknown output 'z', this model has 'y'"):
        zoo_client.infer("doubler", [row], outputs=[triton.InferRequestedOutput("z")])


def test_a_timeout_and_a_priority_are_taken(client: Any, digits: Digits) -> None:
    image = given("image", digits[0][:1], "FP32")
    client.infer("digits", [image], priority=1, timeout=5_000_000)
    with pytest.raises(InferenceServerException) as error:
        client.infer("digits", [image], timeout=1)
    assert error.value.status() in {"503", "504"}


def test_a_raw_body_is_one_row(server: RunningServer, digits: Digits) -> None:
    import requests

    answer = requests.post(
        server.url + "/v2/models/digits/infer",
        data=digits[0][0].tobytes(),
        headers={
            "Inference-Header-Content-Length": "0",
            "Content-Type": "application/octet-stream",
        },
        timeout=20,
    )
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers["inference-header-content-length"])
    assert np.frombuffer(answer.content[length : length + 8], np.int64)[0] == digits[1][0]


async def test_the_asyncio_client_shares_runs(server: RunningServer, digits: Digits) -> None:
    images, labels = digits
    async with triton_aio.InferenceServerClient(address(server)) as client:
        assert await client.is_server_ready()
        before = (await client.get_inference_statistics("digits"))["model_stats"][0]

        async def ask(row: np.ndarray) -> int:
            answer = await client.infer("digits", [given("image", row[None], "FP32")])
            return int(answer.as_numpy("label")[0])

        found = await asyncio.gather(*(ask(row) for row in images[:200]))
        after = (await client.get_inference_statistics("digits"))["model_stats"][0]
    assert (np.array(found) == labels[:200]).mean() >= 0.97
    assert after["inference_count"] - before["inference_count"] == 200
    assert after["execution_count"] - before["execution_count"] < 200


def test_the_repository_is_controlled_by_an_admin_alone(
    serve: Callable[..., RunningServer], tmp_path: Path
) -> None:
    onnx_models.save(onnx_models.doubler(), tmp_path / "a" / "1" / "model.onnx")
    onnx_models.save(onnx_models.doubler(), tmp_path / "b" / "1" / "model.onnx")
    running = serve(
        tmp_path,
        INFERENCE_SERVICE_ADMIN__REPOSITORY="true",
        INFERENCE_SERVICE_ADMIN__TOKEN="secret",
    )
    row = given("x", np.ones((1, 3), np.float32), "FP32")
    admin = {"Authorization": "Bearer secret"}
    with triton.InferenceServerClient(address(running)) as client:
        for headers in (None, {"Authorization": "Bearer guess"}, {"Authorization": "secret"}):
            with pytest.raises(InferenceServerException) as error:
                client.unload_model("a", headers=headers)
            assert error.value.status() == "401"
        client.unload_model("a", headers=admin)
        assert not client.is_model_ready("a")
        assert client.is_model_ready("b")
        assert client.is_server_ready(), "the others go on"
        states = {entry["name"]: entry["state"] for entry in client.get_model_repository_index()}
        assert states == {"a": "UNAVAILABLE", "b": "READY"}
        client.load_model("a", headers=admin)
        assert client.infer("a", [row]).as_numpy("y").tolist() == [[2, 2, 2]]
        # a new version, and the file of an old one changed in its place
        onnx_models.save(onnx_models.doubler(4), tmp_path / "a" / "2" / "model.onnx")
        onnx_models.save(onnx_models.doubler(5), tmp_path / "b" / "1" / "model.onnx")
        onnx_models.save(onnx_models.doubler(6), tmp_path / "c.onnx")
        for name in ("a", "b"):
            with pytest.raises(InferenceServerException, match="clients of version 1 could not"):
                client.load_model(name, headers=admin)
        assert client.infer("a", [row]).as_numpy("y").tolist() == [[2, 2, 2]], "it goes on"
        for name, width in (("a", 4), ("b", 5), ("c", 6)):
            load = f"{running.url}/v2/repository/models/{name}/load"
            forced = {"parameters": {"force": True}}
            requests.post(load, json=forced, headers=admin, timeout=30).raise_for_status()
            wide = given("x", np.ones((1, width), np.float32), "FP32")
            assert client.infer(name, [wide]).as_numpy("y").tolist() == [[2] * width]
        assert client.get_model_metadata("a")["versions"] == ["2"]
        (tmp_path / "c.onnx").write_bytes(b"broken")
        with pytest.raises(InferenceServerException, match="failed to load model 'c'"):
            client.load_model("c", headers=admin)
        assert client.infer("c", [wide]).as_numpy("y").tolist() == [[2] * 6], "the old one goes on"
        failed = "failed to load model 'a': parameter 'config' is not supported"
        with pytest.raises(InferenceServerException, match=failed):
            client.load_model("a", headers=admin, config="{}")
        failed = "failed to load model 'nothing': it is not in the repository"
        with pytest.raises(InferenceServerException, match=failed) as error:
            client.load_model("nothing", headers=admin)
        assert error.value.status() == "404"
        with pytest.raises(InferenceServerException) as error:
            client.unload_model("nothing", headers=admin)
        assert error.value.status() == "404"


def test_nobody_controls_the_repository_unless_it_is_switched_on(client: Any) -> None:
    with pytest.raises(InferenceServerException) as error:
        client.load_model("digits")
    assert error.value.status() == "403"
    assert "loading and unloading models is switched off" in error.value.message()
    assert client.is_model_ready("digits")


def test_extensions_that_are_not_here_are_told(client: Any) -> None:
    """Its examples with shared memory begin by freeing regions that an earlier run has left."""
    absent: dict[str, Callable[[], object]] = {
        "shared memory": client.unregister_system_shared_memory,
        "shared memory is": lambda: client.register_system_shared_memory("a", "/a", 8),
        "shared": client.get_cuda_shared_memory_status,
        "trace settings": client.get_trace_settings,
        "trace": lambda: client.update_trace_settings("digits", {"trace_rate": "1"}),
        "log settings": client.get_log_settings,
        "log": lambda: client.update_log_settings({"log_verbose_level": 1}),
    }
    for what, ask in absent.items():
        with pytest.raises(InferenceServerException, match=f"{what}.* not supported") as error:
            ask()
        assert error.value.status() == "404"


def test_an_output_in_shared_memory_is_refused(client: Any) -> None:
    """The client would read what was in the region before."""
    image = given("image", np.zeros((1, 64), np.float32), "FP32")
    label = triton.InferRequestedOutput("label")
    label.set_shared_memory("region", 8)
    with pytest.raises(InferenceServerException, match="shared memory is not supported"):
        client.infer("digits", [image], outputs=[label])
    image.set_shared_memory("region", 256)
    with pytest.raises(InferenceServerException, match="shared memory is not supported"):
        client.infer("digits", [image])
