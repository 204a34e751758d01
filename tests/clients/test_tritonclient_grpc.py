"""Triton's own gRPC client, unmodified, and the standard services beside it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from tests import onnx_models
from tests.conftest import RunningServer

Digits = tuple[np.ndarray, np.ndarray]


def given(name: str, array: np.ndarray, datatype: str) -> Any:
    tensor = triton.InferInput(name, array.shape, datatype)
    tensor.set_data_from_numpy(array)
    return tensor


@pytest.fixture
def client(server: RunningServer) -> Iterator[Any]:
    with triton.InferenceServerClient(server.grpc_address) as made:
        yield made


@pytest.fixture
def zoo_client(zoo_server: RunningServer) -> Iterator[Any]:
    with triton.InferenceServerClient(zoo_server.grpc_address) as made:
        yield made


def test_health_metadata_and_configuration(client: Any, zoo_client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits", "1")
    assert not client.is_model_ready("nothing")
    assert client.get_server_metadata().name == "inference-service"
    metadata = client.get_model_metadata("digits", as_json=True)
    assert metadata["inputs"] == [{"name": "image", "datatype": "FP32", "shape": ["-1", "64"]}]
    config = client.get_model_config("digits").config
    assert config.max_batch_size >= 1
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    assert list(zoo_client.get_model_metadata("doubler").versions) == ["1", "2"]
    assert zoo_client.get_model_config("over-the-batch").config.max_batch_size == 0


def test_inference_classification_and_statistics(client: Any, digits: Digits) -> None:
    images, labels = digits
    before = client.get_inference_statistics("digits").model_stats[0]
    answer = client.infer("digits", [given("image", images, "FP32")], request_id="7")
    assert (answer.as_numpy("label") == labels).mean() >= 0.98
    assert answer.as_numpy("probabilities").dtype == np.float32
    assert answer.get_response().id == "7"
    wanted = triton.InferRequestedOutput("probabilities", class_count=1)
    answer = client.infer("digits", [given("image", images[:2], "FP32")], outputs=[wanted])
    assert [text[0].decode().split(":")[1] for text in answer.as_numpy("probabilities")] == [
        str(label) for label in labels[:2]
    ]
    after = client.get_inference_statistics("digits").model_stats[0]
    assert after.inference_count - before.inference_count == len(images) + 2
    assert after.inference_stats.success.count - before.inference_stats.success.count == 2


def test_strings_booleans_and_integers(zoo_client: Any) -> None:
    names = np.array(["grüß".encode(), b""], object)
    counts = np.array([[1, -2], [2**62, 0]])
    answer = zoo_client.infer(
        "every-kind",
        [
            given("name", names, "BYTES"),
            given("flag", np.array([True, False]), "BOOL"),
            given("counts", counts, "INT64"),
        ],
    )
    assert answer.as_numpy("name_out").tolist() == names.tolist()
    assert answer.as_numpy("flag_out").tolist() == [True, False]
    assert answer.as_numpy("counts_out").tolist() == counts.tolist()


def stub(server: RunningServer) -> Any:
    return service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(server.grpc_address))


def typed(**contents: Any) -> Any:
    return service_pb2.InferTensorContents(**contents)


def test_typed_contents_are_read(zoo_server: RunningServer) -> None:
    request = service_pb2.ModelInferRequest(model_name="every-kind")
    for name, datatype, shape, contents in (
        ("name", "BYTES", [1], typed(bytes_contents=[b"a"])),
        ("flag", "BOOL", [1], typed(bool_contents=[True])),
        ("counts", "INT64", [1, 2], typed(int64_contents=[5, -6])),
    ):
        request.inputs.add(name=name, datatype=datatype, shape=shape, contents=contents)
    request.outputs.add(name="counts_out")
    answer = stub(zoo_server).ModelInfer(request)
    assert [output.name for output in answer.outputs] == ["counts_out"]
    assert np.frombuffer(answer.raw_output_contents[0], np.int64).tolist() == [5, -6]


def row(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "FP32", "shape": [1, 4], **changes}


FLOATS = typed(fp32_contents=[1, 2, 3, 4])
RAW = np.ones(4, np.float32).tobytes()


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        ({}, "INVALID_ARGUMENT", "inputs: expected at least one input"),
        ({"inputs": [row()]}, "INVALID_ARGUMENT", "inputs[0]: input 'x': shape [1, 4] has 4 elements, fp32_contents has 0"),
        ({"inputs": [row(contents=typed(fp64_contents=[1]))]}, "INVALID_ARGUMENT", "FP32 is sent in fp32_contents, got fp64_contents"),
        ({"inputs": [row(datatype="FP16", contents=FLOATS)]}, "INVALID_ARGUMENT", "FP16 has no typed contents: send raw_input_contents"),
        ({"inputs": [row(datatype="INT8", contents=typed(int_contents=[1, 2, 3, 300]))]}, "INVALID_ARGUMENT", "int_contents holds a number that is no int8"),
        ({"inputs": [row(datatype="BYTES", contents=typed(bytes_contents=[b"\xff"] * 4))]}, "INVALID_ARGUMENT", "bytes_contents[0] is not UTF-8"),
        ({"inputs": [row(datatype="FP8", contents=FLOATS)]}, "INVALID_ARGUMENT", "got 'FP8'"),
        ({"inputs": [row(shape=[-1, 4], contents=FLOATS)]}, "INVALID_ARGUMENT", "no negative lengths"),
        ({"inputs": [row(contents=FLOATS)], "raw_input_contents": [RAW]}, "INVALID_ARGUMENT", "either contents or raw_input_contents, got both"),
        ({"inputs": [row()], "raw_input_contents": [RAW, RAW]}, "INVALID_ARGUMENT", "2 raw_input_contents for 1 inputs"),
        ({"inputs": [row()], "raw_input_contents": [RAW[1:]]}, "INVALID_ARGUMENT", "15 bytes of binary data, but FP32 of shape [1, 4] takes 16"),
        ({"inputs": [row(), row()], "raw_input_contents": [RAW, RAW]}, "INVALID_ARGUMENT", "input 'x' is given twice"),
        ({"inputs": [row(shape=[4])], "raw_input_contents": [RAW]}, "INVALID_ARGUMENT", "x: expected shape [any, 4], got [4]"),
        ({"model_name": "nothing"}, "NOT_FOUND", "unknown model: 'nothing'"),
        ({"model_version": "one"}, "NOT_FOUND", "version 'one' of model 'doubler' is not a whole number"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(
    zoo_server: RunningServer, request_: dict[str, Any], code: str, message: str
) -> None:
    sent = service_pb2.ModelInferRequest(**{"model_name": "doubler", **request_})
    with pytest.raises(grpc.RpcError) as error:
        stub(zoo_server).ModelInfer(sent)
    assert error.value.code().name == code
    assert message in str(error.value.details())


def test_deadlines_and_priorities(client: Any, digits: Digits) -> None:
    image = given("image", digits[0][:1], "FP32")
    client.infer("digits", [image], priority=1, headers={"x-priority": "high"})
    with pytest.raises(InferenceServerException) as error:
        client.infer("digits", [image], timeout=1)
    assert error.value.status() in {"StatusCode.DEADLINE_EXCEEDED", "StatusCode.UNAVAILABLE"}
    with pytest.raises(InferenceServerException, match="metadata x-priority: expected 'high'"):
        client.infer("digits", [image], headers={"x-priority": "urgent"})


def test_a_stream_is_answered_in_order_and_goes_on_after_a_failure(
    client: Any, digits: Digits
) -> None:
    images, labels = digits
    answers: Queue[tuple[Any, Any]] = Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for index in range(100):
        model = "nothing" if index == 50 else "digits"
        client.async_stream_infer(
            model, [given("image", images[index : index + 1], "FP32")], request_id=str(index)
        )
    found = [answers.get(timeout=20) for _ in range(100)]
    client.stop_stream()
    assert "unknown model: 'nothing'" in found[50][1].message()
    finals = [result.get_response().parameters for result, error in found if error is None]
    assert all(final["triton_final_response"].bool_param for final in finals)
    answered = [result for result, error in found if error is None]
    order = [index for index in range(100) if index != 50]
    assert [result.get_response().id for result in answered] == [str(index) for index in order]
    told = np.array([int(result.as_numpy("label")[0]) for result in answered])
    assert (told == labels[order]).mean() >= 0.95


def test_every_answer_of_a_stream_says_that_it_is_the_last_to_its_request(
    zoo_server: RunningServer,
) -> None:
    """Clients that take several answers to a request wait until one says so, failures included."""
    wrong = service_pb2.ModelInferRequest(id="b", model_name="doubler", model_version="1")
    right = service_pb2.ModelInferRequest(
        id="a", model_name="doubler", inputs=[row(contents=FLOATS)]
    )
    answers = list(stub(zoo_server).ModelStreamInfer(iter([right, wrong])))
    assert [bool(answer.error_message) for answer in answers] == [False, True]
    for answer, name, version in zip(answers, "ab", ("2", "1"), strict=True):
        told = answer.infer_response
        assert told.parameters["triton_final_response"].bool_param
        assert (told.id, told.model_name, told.model_version) == (name, "doubler", version)


async def test_the_asyncio_client(server: RunningServer, digits: Digits) -> None:
    async with triton_aio.InferenceServerClient(server.grpc_address) as client:
        assert await client.is_server_ready()
        answer = await client.infer("digits", [given("image", digits[0][:9], "FP32")])
        assert (answer.as_numpy("label") == digits[1][:9]).all()


def test_the_standard_health_service(server: RunningServer) -> None:
    with grpc.insecure_channel(server.grpc_address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for service in ("", "inference.GRPCInferenceService"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        first = next(iter(health.Watch(health_pb2.HealthCheckRequest())))
        assert first.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as error:
            health.Check(health_pb2.HealthCheckRequest(service="other"))
        assert error.value.code() is grpc.StatusCode.NOT_FOUND


def test_reflection_tells_the_services_and_their_messages(server: RunningServer) -> None:
    with grpc.insecure_channel(server.grpc_address) as channel:
        found = ProtoReflectionDescriptorDatabase(channel)
        assert set(found.get_services()) == {
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
            "inference.GRPCInferenceService",
        }
        file = found.FindFileContainingSymbol("inference.ModelInferRequest")
        assert "GRPCInferenceService" in [service.name for service in file.service]


def test_the_repository_is_controlled_by_an_admin_alone(
    serve: Callable[..., RunningServer], tmp_path: Path
) -> None:
    onnx_models.save(onnx_models.doubler(), tmp_path / "a.onnx")
    onnx_models.save(onnx_models.doubler(), tmp_path / "b.onnx")
    running = serve(
        tmp_path,
        INFERENCE_SERVICE_GRPC__PORT="0",
        INFERENCE_SERVICE_ADMIN__REPOSITORY="true",
        INFERENCE_SERVICE_ADMIN__TOKEN="secret",
    )
    admin = {"authorization": "Bearer secret"}
    with triton.InferenceServerClient(running.grpc_address) as client:
        with pytest.raises(InferenceServerException) as error:
            client.unload_model("a")
        assert error.value.status() == "StatusCode.UNAUTHENTICATED"
        client.unload_model("a", headers=admin)
        assert not client.is_model_ready("a")
        states = {model.name: model.state for model in client.get_model_repository_index().models}
        assert states == {"a": "UNAVAILABLE", "b": "READY"}
        client.load_model("a", headers=admin)
        assert client.is_model_ready("a")
        for model, more in (("nothing", {}), ("a", {"config": "{}"})):
            with pytest.raises(InferenceServerException, match=f"failed to load model '{model}'"):
                client.load_model(model, headers=admin, **more)


def test_extensions_that_are_not_here_are_told(client: Any) -> None:
    absent: dict[str, Callable[[], object]] = {
        "shared memory": client.unregister_system_shared_memory,
        "shared memory is": lambda: client.register_system_shared_memory("a", "/a", 8),
        "shared": client.get_cuda_shared_memory_status,
        "trace settings": client.get_trace_settings,
        "log settings": client.get_log_settings,
    }
    for what, ask in absent.items():
        with pytest.raises(InferenceServerException, match=f"{what}.* not supported") as error:
            ask()
        assert error.value.status() == "StatusCode.UNIMPLEMENTED"


def test_tensors_in_shared_memory_are_refused(client: Any) -> None:
    image = given("image", np.zeros((1, 64), np.float32), "FP32")
    label = triton.InferRequestedOutput("label")
    label.set_shared_memory("region", 8)
    with pytest.raises(InferenceServerException, match="shared memory is not supported"):
        client.infer("digits", [image], outputs=[label])
    image.set_shared_memory("region", 256)
    with pytest.raises(InferenceServerException, match="shared memory is not supported"):
        client.infer("digits", [image])


def test_accepted_calls_are_answered_when_the_server_leaves(
    serve: Callable[..., RunningServer], zoo: Path
) -> None:
    running = serve(zoo / "heavy", INFERENCE_SERVICE_GRPC__PORT="0")
    with triton.InferenceServerClient(running.grpc_address) as client:
        shape = [
            2 if n == -1 else int(n) for n in client.get_model_metadata("heavy").inputs[0].shape
        ]
        tensor = given(
            client.get_model_metadata("heavy").inputs[0].name, np.zeros(shape, np.float32), "FP32"
        )
        done: Queue[Any] = Queue()
        for _ in range(8):
            client.async_infer("heavy", [tensor], lambda result, error: done.put(error))
        client.is_server_live()
        assert running.terminate() == 0
        assert [done.get(timeout=20) for _ in range(8)] == [None] * 8
