"""The servers that are compared: how each is started, and how it wants a row."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import models
import numpy as np
from load import Request

ROOT = Path(__file__).parent.parent
PEERS = ROOT / ".tools" / "peers"
JSON = {"Content-Type": "application/json"}
_DATATYPES = {"float32": "FP32", "int64": "INT64"}
_PATIENCE = 60.0


def instances(row: np.ndarray) -> bytes:
    """TensorFlow Serving's form."""
    return json.dumps({"instances": [numbers(row)]}).encode()


def tensor(row: np.ndarray) -> bytes:
    """The Open Inference Protocol's form."""
    data = np.array(numbers(row)).ravel().tolist()
    datatype = _DATATYPES[row.dtype.name]
    shape = [1, *row.shape]
    entry = {"name": "x", "shape": shape, "datatype": datatype, "data": data}
    return json.dumps({"inputs": [entry]}).encode()


def named(row: np.ndarray) -> bytes:
    """BentoML's form."""
    return json.dumps({"x": [numbers(row)]}).encode()


def numbers(row: np.ndarray) -> object:
    """With the digits that people send, not those that a float32 has."""
    return np.round(row.astype(np.float64), 4).tolist() if row.dtype.kind == "f" else row.tolist()


def binary(row: np.ndarray) -> bytes:
    """A raw body for a model with one input."""
    return row.tobytes()


@dataclass(frozen=True)
class Server:
    """How to start it, where it listens for a model and what it reads."""

    name: str
    command: Callable[[str, Path, int], list[str]]
    path: Callable[[str], str]
    encode: Callable[[np.ndarray], bytes] = instances
    headers: dict[str, str] = field(default_factory=lambda: dict(JSON))
    environment: dict[str, str] = field(default_factory=dict)
    scheme: str = "http"

    def request(self, model: str, rows: list[np.ndarray]) -> Request:
        """What the clients send."""
        return Request(self.path(model), [self.encode(row) for row in rows], self.headers)


def _ours(model: str, folder: Path, port: int) -> list[str]:
    repository = str(folder / f"models-{model}")
    return [sys.executable, "-m", "inference_service", "serve", repository, "--port", str(port)]


def _peer(name: str, module: str = "", *arguments: str) -> Callable[[str, Path, int], list[str]]:
    script = str(ROOT / "benchmarks" / "peers" / (module or f"{name}_app.py"))

    def command(model: str, folder: Path, port: int) -> list[str]:
        return [str(PEERS / name / "bin" / "python"), script]

    return command


def _bentoml(model: str, folder: Path, port: int) -> list[str]:
    program = str(PEERS / "bentoml" / "bin" / "bentoml")
    folder = ROOT / "benchmarks" / "peers"
    return [
        program,
        "serve",
        "bentoml_app:Service",
        "--port",
        str(port),
        "--working-dir",
        str(folder),
    ]


def _libraries() -> str:
    """Triton's Python stub needs the interpreter's own library."""
    return str(Path(os.path.realpath(sys.executable)).parent.parent / "lib")


def _infer_path(model: str) -> str:
    return f"/v2/models/{model}/infer"


OURS = Server("ours", _ours, lambda model: f"/v1/models/{model}:predict")
OURS_BINARY = Server(
    "ours, binary", _ours, _infer_path, binary,
    {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": "0"},
)  # fmt: skip
RAW = Server("raw ASGI", _peer("naive", "raw_asgi.py"), lambda _: "/predict")
NAIVE = Server("naive FastAPI", _peer("naive"), lambda _: "/predict")
OTHERS = (
    NAIVE,
    Server("LitServe", _peer("litserve"), lambda _: "/predict"),
    Server("BentoML", _bentoml, lambda _: "/predict", named),
    Server("mosec", _peer("mosec"), lambda _: "/inference"),
    Server("MLServer", _peer("mlserver"), lambda _: _infer_path("m"), tensor),
    Server("KServe", _peer("kserve"), lambda _: "/v1/models/m:predict"),
    Server(
        "Ray Serve", _peer("ray"), lambda _: "/predict",
        environment={"RAY_USAGE_STATS_ENABLED": "0"},
    ),
    Server(
        "Triton (pytriton)", _peer("pytriton"), lambda _: _infer_path("m"), tensor,
        environment={"LD_LIBRARY_PATH": _libraries()},
    ),
)  # fmt: skip


def installed(server: Server) -> bool:
    """Whether scripts/install-peers has installed it."""
    return Path(server.command("tiny", ROOT, 0)[0]).exists()


def free_port() -> int:
    """A port with two more behind it that nobody listens on."""
    while True:
        sockets = []
        try:
            first = socket.create_server(("127.0.0.1", 0))
            sockets.append(first)
            port: int = first.getsockname()[1]
            sockets += [socket.create_server(("127.0.0.1", port + i)) for i in (1, 2)]
        except (OSError, OverflowError):
            continue
        else:
            return port
        finally:
            for taken in sockets:
                taken.close()


@dataclass
class Running:
    """A server at work."""

    process: subprocess.Popen[bytes]
    port: int
    seconds_to_answer: float
    answer: bytes

    def memory(self) -> float:
        """MiB of resident memory of all its processes, shared pages counted once for each."""
        return sum(_resident(pid) for pid in self._family())

    def cpu(self) -> float:
        """Seconds of CPU of all its processes so far."""
        return sum(_cpu(pid) for pid in self._family())

    def _family(self) -> list[int]:
        parents: dict[int, int] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                fields = _stat(int(entry.name))
                if fields:
                    parents[int(entry.name)] = int(fields[1])
        found = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return sorted(found)


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


def _cpu(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _resident(pid: int) -> float:
    fields = _stat(pid)
    return int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20 if fields else 0.0


@contextmanager
def running(
    server: Server,
    model: str,
    folder: Path,
    row: np.ndarray,
    *,
    environment: dict[str, str] | None = None,
) -> Iterator[Running]:
    """The server with one model, from its first answer on."""
    models.repository(folder, model)
    port = free_port()
    variables = {
        **os.environ, "PORT": str(port), **server.environment, **(environment or {}),
        "MODEL": str(folder / f"models-{model}" / model / "1" / "model.onnx"),
    }  # fmt: skip
    log = (folder / "server.log").open("wb")
    started = time.perf_counter()
    process = subprocess.Popen(
        server.command(model, folder, port), env=variables, stdout=log, stderr=log,
        cwd=folder, start_new_session=True,
    )  # fmt: skip
    try:
        url = f"{server.scheme}://127.0.0.1:{port}"
        answer = _first_answer(process, url, server.request(model, [row]))
        yield Running(process, port, time.perf_counter() - started, answer)
    finally:
        log.close()
        _stop(process)


def _first_answer(process: subprocess.Popen[bytes], url: str, request: Request) -> bytes:
    url += request.path
    context = ssl._create_unverified_context()  # noqa: S323 - it is a certificate of our own
    until = time.monotonic() + _PATIENCE
    problem = "nothing"
    while time.monotonic() < until and process.poll() is None:
        asked = urllib.request.Request(url, request.bodies[0], request.headers)
        try:
            with urllib.request.urlopen(asked, timeout=30, context=context) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            problem = f"{error.code} {error.read()[:300]!r}"
        except OSError as error:
            problem = str(error)
        time.sleep(0.02)
    raise RuntimeError(f"no answer: {problem}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(8)
        except subprocess.TimeoutExpired:
            continue
        if number is signal.SIGTERM:
            time.sleep(0.2)
