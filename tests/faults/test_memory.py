"""No memory is left for one request: it is told so, and none of the others' answers is lost."""

import json
import resource
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import grpc
import httpx
import numpy as np
import onnx
import pytest
import requests
from onnx import helper
from tritonclient.grpc import service_pb2, service_pb2_grpc

from inference_service import Service, Settings
from inference_service.core.assembly import assemble
from inference_service.core.room import check_room
from inference_service.protocols import json_large, json_tensors
from inference_service.runtime import runner as runners
from inference_service.web.http1.refusal import unreadable
from tests import onnx_models
from tests.conftest import RunningServer
from tests.faults.load import Clients, Load
from tests.faults.test_service import eventually, metric
from tests.hostile.measuring import family
from tests.support import running

MIB = 2**20
_LONG = 240.0
"""Seconds in which clients that send some MB each are answered, however busy the machine is."""
_ROOM = 8 * MIB
"""More than small requests take, less than large ones."""
MUCH, TOO_MUCH = 25e6, 1e12
"""Of a row of `greedy`: it asks for 100 MB, and for 4 TB."""


def greedy() -> onnx.ModelProto:
    """y = 2 x, with as much memory in between as the largest number of the run says."""
    return onnx_models.build(
        [
            helper.make_node("ReduceMax", ["x"], ["most"], "most", keepdims=0),
            helper.make_node("Cast", ["most"], ["count"], "cast", to=onnx.TensorProto.INT64),
            helper.make_node("Reshape", ["count", "flat"], ["shape"], "shape"),
            helper.make_node("Expand", ["zero", "shape"], ["zeros"], "zeros"),
            helper.make_node("ReduceSum", ["zeros"], ["nothing"], "sum", keepdims=0),
            helper.make_node("Add", ["x", "x"], ["twice"], "twice"),
            helper.make_node("Add", ["twice", "nothing"], ["y"], "y"),
        ],
        [("x", onnx.TensorProto.FLOAT, ["batch", 3])],
        [("y", onnx.TensorProto.FLOAT, ["batch", 3])],
        zero=np.float32(0),
        flat=np.array([-1]),
    )


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_row_that_asks_for_terabytes_fails_alone(
    serve: Callable[..., RunningServer], tmp_path: Path, isolation: str
) -> None:
    """It shares runs with those of others: its values alone say how much memory they take."""
    onnx_models.save(greedy(), tmp_path / "greedy" / "1" / "model.onnx")
    (tmp_path / "greedy" / "model.toml").write_text(
        f'runtime.isolation = "{isolation}"\nbatching.mode = "merge"\n'
    )
    server = serve(tmp_path)
    load = Load(server.url, "greedy")
    with load.running(8), requests.Session() as session:
        told = [
            session.post(load.url, json={"instances": [[TOO_MUCH, 1, 2]]}, timeout=30)
            for _ in range(30)
        ]
        eventually(lambda: load.counts["right"] > 200)
    assert {answer.status_code for answer in told} == {400}
    assert told[0].json()["error"].startswith("these values ask for 3814697 MiB of memory at once")
    assert load.only_right(), load.counts
    assert server.process.poll() is None
    assert "Traceback" not in server.output()


def data(pid: int) -> int:
    """Bytes, of what RLIMIT_DATA bounds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmData:")[1].split()[0]) * 1024


@contextmanager
def squeezed(pid: int, room: int) -> Iterator[None]:
    """The process finds no more memory than this, in bytes, for as long as the block takes."""
    before = resource.prlimit(pid, resource.RLIMIT_DATA)
    resource.prlimit(pid, resource.RLIMIT_DATA, (data(pid) + room, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_DATA, before)


def told_by_grpc(address: str, model: str, row: list[float]) -> tuple[str, str, str]:
    """Code, text and Retry-After."""
    request = service_pb2.ModelInferRequest(model_name=model)
    contents = service_pb2.InferTensorContents(fp32_contents=row)
    request.inputs.add(name="x", datatype="FP32", shape=[1, len(row)], contents=contents)
    with grpc.insecure_channel(address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            stub.ModelInfer(request, timeout=30)
        except grpc.RpcError as error:
            found: Any = error
            trailing = dict(found.trailing_metadata())
            return found.code().name, found.details(), trailing["retry-after"]
    return "OK", "", ""


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_run_that_finds_no_memory_is_refused_alone_and_may_come_again(
    serve: Callable[..., RunningServer], tmp_path: Path, isolation: str
) -> None:
    """Others share its runs. It is not known for a request that never works: it works later."""
    onnx_models.save(greedy(), tmp_path / "greedy" / "1" / "model.onnx")
    (tmp_path / "greedy" / "model.toml").write_text(
        f'runtime.isolation = "{isolation}"\nbatching.mode = "merge"\n'
    )
    server = serve(tmp_path, INFERENCE_SERVICE_GRPC__PORT="0")
    pids = family(server.process.pid)
    pid = server.process.pid if isolation == "thread" else pids[-1]
    row, words = [MUCH, 1, 2], "there is not enough memory for this request now"
    tensor = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": row}
    load = Load(server.url, "greedy")

    def ask(session: requests.Session) -> list[requests.Response]:
        return [
            session.post(load.url, json={"instances": [row]}, timeout=30),
            session.post(server.url + "/v2/models/greedy/infer", json={"inputs": [tensor]}),
        ]

    with load.running(8), requests.Session() as session:
        eventually(lambda: load.counts["right"] > 50)
        with squeezed(pid, 24 * MIB):
            for _ in range(10):
                for answer in ask(session):
                    assert (answer.status_code, answer.json()) == (503, {"error": words})
                    assert answer.headers["Retry-After"] == "1"
            assert told_by_grpc(server.grpc_address, "greedy", row) == ("UNAVAILABLE", words, "1")
        assert [answer.status_code for answer in ask(session)] == [200, 200]
    assert load.only_right(), load.counts
    assert metric(server.url, 'inference_rejected_total{model="greedy",reason="memory"}') == 21
    assert family(server.process.pid) == pids
    assert "Traceback" not in server.output()


class LargeRequests(Clients):
    """Clients of ``doubler`` with some MB in each request, as JSON and in binary."""

    ends_within = 90.0

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def _ask(self, session: requests.Session, rows: int, value: float, *, binary: bool) -> str:
        array = np.full((rows, 3), value, np.float32)
        if not binary:
            body: Any = b'{"instances":[' + b",".join([b"[%g,1,2]" % value] * rows) + b"]}"
            url, headers = f"{self._url}/v1/models/doubler:predict", {}
        else:
            tensor = {"name": "x", "shape": [rows, 3], "datatype": "FP32",
                      "parameters": {"binary_data_size": array.nbytes}}  # fmt: skip
            head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
            body = head.encode() + array.tobytes()
            url = f"{self._url}/v2/models/doubler/infer"
            headers = {"Inference-Header-Content-Length": str(len(head))}
        try:
            answer = session.post(url, data=body, headers=headers, timeout=60)
        except requests.ConnectionError:  # no memory for what was read from the socket
            return "closed"
        if answer.status_code != requests.codes.ok:
            refused = answer.status_code == 503 and "Retry-After" in answer.headers
            return "refused" if refused else f"{answer.status_code}: {answer.text[:200]}"
        if binary:
            start = int(answer.headers["Inference-Header-Content-Length"])
            found = np.frombuffer(answer.content[start:], np.float32).reshape(-1, 3)
            return "right" if np.array_equal(found, 2 * array) else "wrong"
        right = answer.json()["predictions"] == [[2 * value, 2, 4]] * rows
        return "right" if right else "wrong"

    def _client(self, seed: int) -> None:
        random = Random(seed)
        with requests.Session() as session:
            while not self._done.is_set():
                binary = random.random() < 0.5
                rows = random.randrange(200_000, 400_000) // (1 if binary else 8)
                value = float(random.randrange(1000))
                self.counts[self._ask(session, rows, value, binary=binary)] += 1


def test_a_service_without_memory_refuses_large_requests_and_answers_small_ones(
    serve: Callable[..., RunningServer], tmp_path: Path
) -> None:
    onnx_models.save(onnx_models.doubler(), tmp_path / "doubler" / "1" / "model.onnx")
    server = serve(tmp_path)
    pid = server.process.pid
    load, large = Load(server.url), LargeRequests(server.url)
    with load.running(2), large.running(3):
        eventually(lambda: large.counts["right"] > 3 and load.counts["right"] > 50, _LONG)
        _, most = resource.prlimit(pid, resource.RLIMIT_DATA)
        before, room = load.counts["right"], [data(pid) + _ROOM]

        def tightened() -> bool:  # what large requests held at the first look is room later
            room.append(min(room[-1], data(pid) + _ROOM))
            resource.prlimit(pid, resource.RLIMIT_DATA, (room[-1], most))
            return True

        eventually(
            lambda: (
                tightened()
                and large.counts["refused"] > 0
                and large.counts["refused"] + large.counts["closed"] > 10
                and load.counts["right"] > before + 100
            ),
            _LONG,
        )
        resource.prlimit(pid, resource.RLIMIT_DATA, (most, most))
        again = large.counts["right"]
        eventually(lambda: large.counts["right"] > again + 3, _LONG)
    assert server.process.poll() is None
    assert set(load.counts) <= {"right", "503"}, load.counts
    assert set(large.counts) <= {"right", "refused", "closed"}, large.counts


async def asked(folder: Path, rows: int) -> httpx.Response:
    onnx_models.save(onnx_models.doubler(), folder / "m.onnx")
    async with running(Service(Settings(models=folder))) as client:
        body = {"instances": [[1, 2, 3]] * rows}
        return await client.post("/v1/models/m:predict", json=body)


def no_memory(*_: object) -> None:
    raise MemoryError


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (json_large, "check_room"),
        (json_tensors, "check_room"),
        (runners, "assemble"),
        (runners, "run_isolated"),
    ],
    ids=["decode", "encode", "concatenate", "run"],
)
async def test_no_memory_in_this_process_is_no_fault_of_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    monkeypatch.setattr(module, name, no_memory)
    answer = await asked(tmp_path, 5000)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert answer.json() == {"error": "there is not enough memory for this request now"}


async def test_memory_for_one_run_that_is_not_there_for_two_answers_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def for_one(parts: Any) -> Any:
        if len(parts) > 1:
            raise MemoryError
        return assemble(parts)

    monkeypatch.setattr(runners, "assemble", for_one)
    assert (await asked(tmp_path, 5000)).json()["predictions"][-1] == [2, 4, 6]


@pytest.mark.parametrize("rows", [1, 64], ids=["a run", "a decoder"])
async def test_without_a_thread_for_it_a_request_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    def none(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    onnx_models.save(onnx_models.heavy(), tmp_path / "m.onnx")
    async with running(Service(Settings(models=tmp_path))) as client:
        signature = (await client.get("/v2/models/m")).json()["inputs"][0]
        body = {"instances": [[0.0] * signature["shape"][1]] * rows}
        monkeypatch.setattr(ThreadPoolExecutor, "_adjust_thread_count", none)
        refused = await client.post("/v1/models/m:predict", json=body)
        monkeypatch.undo()
        assert refused.status_code == 503
        assert (await client.post("/v1/models/m:predict", json=body)).status_code == 200


def test_what_the_parser_has_no_memory_for_is_not_called_invalid() -> None:
    error = ValueError("`on_body` callback error")
    error.__context__ = MemoryError()
    assert unreadable(error, b"").status == 503
    assert unreadable(ValueError("bad method"), b"").status == 400


def test_room_is_asked_for_without_taking_it() -> None:
    check_room(64 * MIB)
    with pytest.raises(MemoryError):
        check_room(2**60)
    with pytest.raises(MemoryError):
        check_room(2**70)
