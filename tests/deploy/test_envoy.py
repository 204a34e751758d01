"""The policies of deploy/istio, run by a real Envoy in front of real replicas."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests import onnx_models
from tests.conftest import RunningServer, serving
from tests.deploy import mesh
from tests.deploy.charts import CHART
from tests.ports import free_port
from tests.tools import need, path_of

pytestmark = pytest.mark.envoy

STABLE, CANARY = 2, 4  # what each multiplies by: the answer tells which one it is from
RETRIED = "cluster.stable.upstream_rq_retry_success"
SECONDS = 2.0  # limits.request_timeout of the replicas


@dataclass
class Mesh:
    """Envoy before two stable replicas and a canary. The network to the second one can be faulty."""

    url: str
    admin: str

    def ask(self, **headers: str) -> requests.Response:
        return requests.post(
            f"{self.url}/v1/models/scale:predict",
            json={"instances": [[1, 1]]}, headers=headers, timeout=60,
        )  # fmt: skip

    def stat(self, name: str) -> int:
        text = requests.get(f"{self.admin}/stats?filter=^{name}$", timeout=20).text
        return int(text.rpartition(":")[2])

    def fail(self, percent: int) -> None:
        key = f"{mesh.FAULTS}={percent}"
        assert requests.post(f"{self.admin}/runtime_modify?{key}", timeout=20).ok


def repository(folder: Path, factor: float) -> Path:
    onnx_models.save(onnx_models.multiplier(factor), folder / "scale" / "1" / "model.onnx")
    onnx_models.save(onnx_models.deep(layers=1000), folder / "deep" / "1" / "model.onnx")
    return folder


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RunningServer]]:
    """Two stable ones and a canary."""
    need("envoy")
    folder = tmp_path_factory.mktemp("mesh")
    stable, canary = repository(folder / "a", STABLE), repository(folder / "b", CANARY)
    with ExitStack() as stack:
        yield [stack.enter_context(replica(path)) for path in (stable, stable, canary)]


def replica(path: Path) -> AbstractContextManager[RunningServer]:
    return serving(path, INFERENCE_SERVICE_LIMITS__REQUEST_TIMEOUT=str(SECONDS))


@contextmanager
def enveloped(folder: Path, stable: list[RunningServer], canary: RunningServer) -> Iterator[Mesh]:
    ports = [int(one.url.rpartition(":")[2]) for one in (*stable, canary)]
    admin, port, faulty = free_port(), free_port(), free_port()
    subsets = {"stable": [ports[0], faulty], "canary": [ports[2]]}
    (folder / "envoy.json").write_text(
        json.dumps(mesh.envoy(admin, port, subsets, (faulty, ports[1])))
    )
    command: list[str | Path] = [path_of("envoy") or "", "--config-path", folder / "envoy.json"]
    command += ["--concurrency", "1", "--disable-hot-restart", "--log-path", folder / "log"]
    process = subprocess.Popen(command)
    try:
        wait_for(f"http://127.0.0.1:{admin}/ready", process, folder / "log")
        yield Mesh(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}")
    finally:
        process.kill()
        process.wait(timeout=30)


@pytest.fixture
def meshed(tmp_path: Path, replicas: list[RunningServer]) -> Iterator[Mesh]:
    """A fresh Envoy: it remembers who failed."""
    with enveloped(tmp_path, replicas[:2], replicas[2]) as found:
        yield found


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def factor(answer: requests.Response) -> float:
    assert answer.status_code == 200, answer.text
    return float(answer.json()["predictions"][0][0])


def test_a_tenth_of_the_requests_goes_to_the_canary_and_all_of_the_testers(meshed: Mesh) -> None:
    """400 requests: 40 of them, give or take five standard deviations of six."""
    seen = Counter(factor(meshed.ask()) for _ in range(400))
    assert set(seen) == {STABLE, CANARY}
    assert 10 <= seen[CANARY] <= 70
    assert {factor(meshed.ask(**{"x-canary": "true"})) for _ in range(20)} == {CANARY}


@pytest.mark.parametrize("end", [RunningServer.kill, RunningServer.terminate])
def test_a_replica_that_is_gone_costs_no_request(
    end: Callable[[RunningServer], object], tmp_path: Path, replicas: list[RunningServer]
) -> None:
    """Killed between two requests, or told to leave while requests go on."""
    folder = repository(tmp_path / "models", STABLE)
    with (
        replica(folder) as gone,
        enveloped(tmp_path, [gone, replicas[1]], replicas[2]) as meshed,
        ThreadPoolExecutor(1) as pool,
    ):
        assert meshed.ask().status_code == 200
        ending = pool.submit(end, gone)
        if end is RunningServer.kill:
            ending.result()
        seen = Counter[int]()
        while not ending.done() or meshed.stat(RETRIED) == 0:
            seen[meshed.ask().status_code] += 1
            assert set(seen) == {200}


def test_a_replica_that_only_fails_is_ejected(meshed: Mesh) -> None:
    """After `consecutiveGatewayErrors` of them, and not before; half of the replicas stay."""
    allowed = mesh.MESH["DestinationRule"]["trafficPolicy"]["outlierDetection"]
    meshed.fail(100)
    failed = 0
    for _ in range(400):
        failed += meshed.ask().status_code == 503
        if meshed.stat("cluster.stable.outlier_detection.ejections_active"):
            break
    assert failed == allowed["consecutiveGatewayErrors"]
    assert {meshed.ask().status_code for _ in range(60)} == {200}


def test_the_service_itself_says_that_a_deadline_is_over(meshed: Mesh) -> None:
    """Its 504 with the reason reaches the client before the timeout of the route ends the request,
    and the work is not done a second time."""
    rows: Any = [[1.0] * 256] * 1024
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: deep(meshed, rows), range(4)))
    late = [answer for answer in found if answer.status_code != 200]
    assert late
    for answer in late:
        assert answer.status_code in {503, 504}
        assert "error" in answer.json(), "Envoy's own answer is plain text"
        if answer.status_code == 503:
            assert int(answer.headers["Retry-After"]) >= 1
    assert meshed.stat("cluster.stable.upstream_rq_retry") == 0
    assert meshed.stat("cluster.canary.upstream_rq_retry") == 0


def deep(meshed: Mesh, rows: Any) -> requests.Response:
    url = f"{meshed.url}/v1/models/deep:predict"
    return requests.post(url, json={"instances": rows}, timeout=60)


def test_timeouts_of_all_routes_leave_the_service_its_own() -> None:
    """The chart's limits.request_timeout, which is shorter than the service's default."""

    longest = yaml.safe_load((CHART / "values.yaml").read_text())["settings"]["limits"]
    for rule in mesh.MESH["VirtualService"]["http"]:
        assert float(rule["timeout"].removesuffix("s")) > longest["request_timeout"]
