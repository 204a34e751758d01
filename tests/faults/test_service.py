"""Faults around the service, under load: what is lost, duplicated or wrong."""

import contextlib
import re
import resource
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import requests

from tests import onnx_models
from tests.conftest import ROOT, RunningServer
from tests.faults.load import Load
from tests.hostile.measuring import cpu_seconds
from tests.ports import free_port

_LINGER = struct.pack("ii", 1, 0)
BODY = b'{"instances": [[1, 2, 3]]}'
REQUEST = (
    b"POST /v1/models/doubler/versions/1:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    % len(BODY)
) + BODY


def metric(url: str, name: str) -> float:
    text = requests.get(url + "/metrics", timeout=20).text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    last = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < last
        time.sleep(0.02)


def files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_a_thousand_clients_that_hang_up_leave_nothing_behind(
    serve: Callable[..., RunningServer], zoo: Path
) -> None:
    server, random = serve(zoo), Random(1)
    host, port = server.url.removeprefix("http://").split(":")
    load, before = Load(server.url), files(server.process.pid)
    with load.running():
        for _ in range(1000):
            client = socket.create_connection((host, int(port)), timeout=20)
            client.sendall(REQUEST[: random.choice((0, 30, len(REQUEST) - 5, len(REQUEST)))])
            if random.random() < 0.5:  # a reset instead of an orderly end
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            client.close()
    assert load.only_right(), load.counts
    eventually(lambda: files(server.process.pid) <= before + 2)
    eventually(lambda: metric(server.url, "inference_in_flight_requests ") == 0)
    assert "Traceback" not in server.output()


def test_poison_in_shared_runs_fails_alone(serve: Callable[..., RunningServer], zoo: Path) -> None:
    server = serve(zoo)
    url = server.url + "/v1/models/embedding:predict"
    load = Load(server.url)
    statuses = []
    with load.running(), requests.Session() as session:
        for number in range(40):
            word = 99 if number % 2 else number % 10
            answer = session.post(url, json={"instances": [word]}, timeout=20)
            statuses.append(answer.status_code)
            if answer.status_code == 200:
                assert answer.json() == {"predictions": [[word, word]]}
    assert statuses == [200, 400] * 20
    assert load.only_right(), load.counts


def test_without_descriptors_clients_that_are_connected_are_served_and_no_core_is_busy(
    serve: Callable[..., RunningServer], zoo: Path
) -> None:
    server = serve(zoo)
    pid = server.process.pid
    host, port = server.url.removeprefix("http://").split(":")
    load = Load(server.url)
    with requests.Session() as session, contextlib.ExitStack() as stack:
        assert load.ask(session, 1) == "right"
        used = max(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()) + 1
        _, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 2, most))
        for _ in range(20):
            stack.enter_context(socket.create_connection((host, int(port)), timeout=20))
        answers: list[str] = []
        begun = cpu_seconds(pid)
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            answers.append(load.ask(session, len(answers)))
            time.sleep(0.1)
        assert set(answers) == {"right"}
        assert cpu_seconds(pid) - begun < 1.0
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most))
    with requests.Session() as session:
        assert load.ask(session, 1) == "right"


def test_a_service_that_is_killed_answers_again_when_it_is_started_again(
    serve: Callable[..., RunningServer], zoo: Path
) -> None:
    port = str(free_port())
    server = serve(zoo, "--port", port)
    load = Load(server.url)
    with load.running():
        eventually(lambda: load.counts["right"] > 50)
        server.process.kill()
        server.process.wait(30)
        again = serve(zoo, "--port", port)
        before = load.counts["right"]
        eventually(lambda: load.counts["right"] > before + 50)
    assert load.counts["wrong"] == 0
    assert set(load.counts) <= {"right", "lost", "503"}, "503: models are being loaded"
    assert again.terminate() == 0


def test_a_disk_that_takes_no_more_bytes_costs_no_request(
    serve: Callable[..., RunningServer], tmp_path: Path
) -> None:
    """What was found out about models can't be kept, traffic not recorded, no version uploaded."""
    models = tmp_path / "models"
    file = onnx_models.save(onnx_models.doubler(), models / "doubler" / "1" / "model.onnx")
    server = serve(
        models,
        XDG_CACHE_HOME=str(tmp_path / "cache"),
        INFERENCE_SERVICE_RUNTIME__PROFILE_CACHE=str(tmp_path / "cache"),
        INFERENCE_SERVICE_RUNTIME__HELPER_PROCESS="true",
        INFERENCE_SERVICE_TELEMETRY__RECORD_TRAFFIC=str(tmp_path / "traffic.jsonl"),
        INFERENCE_SERVICE_ADMIN__REPOSITORY="true",
        INFERENCE_SERVICE_ADMIN__UPLOADS="true",
        INFERENCE_SERVICE_ADMIN__TOKEN="secret",
    )
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (16, 16))
    load = Load(server.url)
    with load.running():
        answer = requests.put(
            server.url + "/v2/repository/models/doubler/versions/2",
            data=file.read_bytes(), headers={"Authorization": "Bearer secret"}, timeout=30,
        )  # fmt: skip
        eventually(lambda: load.counts["right"] > 100)
    assert answer.status_code == 503
    words = "the model can't be stored in the repository: File too large"
    assert answer.json()["error"] == words
    assert sorted(one.name for one in models.iterdir()) == ["doubler"]
    assert load.only_right(), load.counts
    assert "Traceback" not in server.output()


WALL_CLOCK = {
    "telemetry/feed.py", "telemetry/series.py",  # shown to people
    "cli/keys.py", "security/tokens.py",  # validity is a date
    "protocols/tfserving/routes.py",
}  # fmt: skip
"""Where the time of day is read. A step of it must not change when anything is answered."""


def test_durations_and_deadlines_are_not_measured_with_the_time_of_day() -> None:
    source = ROOT / "src" / "inference_service"
    reads = re.compile(r"(?<![\w.])time\(\)|\btime\.time\(\)|\bCLOCK_REALTIME\b")
    found = {
        str(path.relative_to(source)) for path in source.rglob("*.py")
        if reads.search(path.read_text())
    }  # fmt: skip
    assert found == WALL_CLOCK
