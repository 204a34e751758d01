"""Fixtures: a model repository with real and with faulty models, a server as its users start it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from time import monotonic

import numpy as np
import pytest

from tests import onnx_models

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "models"


_TOOLS = {"browser", "envoy", "java", "perf_analyzer", "prometheus", "triton"}
_SERVERS = {"serve", "server", "zoo_server"}


def pytest_configure() -> None:
    """Programs that tests start heed Ctrl-C, though a shell ignores it for what runs behind it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first, then those with many tests.

    Each process takes the next file: a long one at the end would be waited for by all the others.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)

    def place(tests: list[pytest.Item]) -> tuple[int, int]:
        marks = {mark.name for item in tests for mark in item.iter_markers()}
        fixtures = {name for item in tests for name in getattr(item, "fixturenames", ())}
        kinds = "container" in marks, bool(_TOOLS & marks), bool(_SERVERS & fixtures), True
        return kinds.index(True), -len(tests)

    items[:] = [item for tests in sorted(files.values(), key=place) for item in tests]


@dataclass
class RunningServer:
    """A server in a process of its own."""

    url: str
    process: subprocess.Popen[str]
    lines: "Queue[str]"
    announcement: str

    @property
    def grpc_address(self) -> str:
        """Where gRPC listens."""
        found = re.search(r"gRPC +(\S+)", self.announcement)
        assert found is not None
        return found[1]

    def terminate(self) -> int:
        """SIGTERM, and the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait(timeout=60)

    def output(self, words: str = "") -> str:
        """What it has printed since it announced itself, once these words are there and no more
        comes; within a minute."""
        printed = ""
        until = monotonic() + 60
        while monotonic() < until:
            try:
                printed += self.lines.get(timeout=0.2)
            except Empty:
                if words in printed:
                    return printed
        raise AssertionError(f"{words!r} or the end did not come:\n{printed[-2000:]}")


def start_server(path: Path, *options: str, **environment: str) -> RunningServer:
    """Run the command as a user would and wait until it says where it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "inference_service", "serve", str(path), "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
    )
    lines: Queue[str] = Queue()

    def read() -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                lines.put(line)

    Thread(target=read, daemon=True).start()
    printed = ""
    while "metrics http" not in printed:
        try:
            printed += lines.get(timeout=60)
        except Empty:
            process.kill()
            raise AssertionError(f"the server did not come up:\n{printed}") from None
    found = re.search(r"listens on (\S+)", printed)
    assert found is not None
    return RunningServer(found[1], process, lines, printed)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Findings are kept in a cache of the tests' own, one for all of their processes.

    Models are loaded without the helper process, which takes a second to start, but for the tests
    of it and of the shipped models; the same holds for the processes that decode files. The
    repository is not watched, but for the tests of that. Requests may wait for a minute: what they
    claim does not depend on how busy the machine is.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    os.environ["INFERENCE_SERVICE_RUNTIME__HELPER_PROCESS"] = "false"
    os.environ["INFERENCE_SERVICE_RUNTIME__DECODER_PROCESSES"] = "false"
    os.environ["INFERENCE_SERVICE_REPOSITORY__WATCH"] = "false"
    os.environ["INFERENCE_SERVICE_BATCHING__DEFAULT_DEADLINE"] = "60"


@contextmanager
def serving(path: Path, *options: str, **environment: str) -> Iterator[RunningServer]:
    """A server for as long as the block takes."""
    running = start_server(path, *options, **environment)
    try:
        yield running
    finally:
        running.kill()


@pytest.fixture
def serve() -> Iterator[Callable[..., RunningServer]]:
    """Start servers that are stopped at the end of the test."""
    with ExitStack() as servers:

        def start(path: Path, *options: str, **environment: str) -> RunningServer:
            return servers.enter_context(serving(path, *options, **environment))

        yield start


_SHARED = {
    "INFERENCE_SERVICE_GRPC__PORT": "0",
    # Where requests may wait for ten minutes, none is refused for a queue of one.
    "INFERENCE_SERVICE_LIMITS__REQUEST_TIMEOUT": "600",
    "INFERENCE_SERVICE_BATCHING__DEFAULT_DEADLINE": "600",
}


@pytest.fixture(scope="session")
def server() -> Iterator[RunningServer]:
    """The shipped models, served for the whole session."""
    processes = dict.fromkeys(("HELPER_PROCESS", "DECODER_PROCESSES"), "true")
    given = {f"INFERENCE_SERVICE_RUNTIME__{name}": on for name, on in processes.items()}
    with serving(MODELS, **_SHARED, **given) as running:
        yield running


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of small test models."""
    folder = tmp_path_factory.mktemp("zoo")
    for name, build in {
        "doubler": onnx_models.doubler,
        "embedding": onnx_models.embedding,
        "any-length": onnx_models.any_length,
        "every-kind": onnx_models.every_kind,
        "fixed-reshape": onnx_models.fixed_reshape,
        "over-the-batch": onnx_models.over_the_batch,
        "scalar-switch": onnx_models.scalar_switch,
        "heavy": onnx_models.heavy,
    }.items():
        onnx_models.save(build(), folder / name / "1" / "model.onnx")
    onnx_models.save(onnx_models.doubler(4), folder / "doubler" / "2" / "model.onnx")
    (folder / "doubler" / "model.toml").write_text(
        'versions = { kind = "all" }\nversion_labels = { stable = 1 }\n'
    )
    return folder


@pytest.fixture(scope="session")
def zoo_server(zoo: Path) -> Iterator[RunningServer]:
    """The test models, served for the whole session."""
    with serving(zoo, **_SHARED) as running:
        yield running


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """The held-out digits: images [360, 64] and labels."""
    with np.load(MODELS / "digits" / "holdout.npz") as data:
        return data["image"].astype(np.float32), data["label"]
