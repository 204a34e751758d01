"""Other servers' own examples and codecs, run against this service, with what comes of each.

scripts/client-suites runs it; it is no part of the test suite (it needs their environments and sources).
"""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.clients.suites.models import codec_models, endpoint_models, triton_models
from tests.conftest import MODELS, ROOT, RunningServer, serving
from tests.ports import free_port
from tests.support import until

HERE = Path(__file__).parent / "suites"
TOOLS = Path(os.environ.get("SUITES", ""))
SOURCES = Path(os.environ.get("TRITON_CLIENT", "")) / "src"
EXAMPLES = SOURCES / "python" / "examples"
MLSERVER = Path(os.environ.get("MLSERVER", ""))
PROTO = ROOT / "src" / "inference_service" / "protocols" / "oip" / "rpc" / "open_inference.proto"

_SHARED = "shared memory is not supported"
_SEQUENCES = "Request for unknown model: 'simple_sequence'"
_CUDA = "require Python package 'cuda-python'"
REFUSED = {
    "ensemble_image_client.py": "Request for unknown model: 'preprocess_inception_ensemble'",
    "reuse_infer_objects_client.py": _SHARED,
    "simple_grpc_aio_sequence_stream_infer_client.py": _SEQUENCES,
    "simple_grpc_cudashm_client.py": _CUDA,
    "simple_grpc_custom_repeat.py": "Request for unknown model: 'repeat_int32'",
    # It compares the server's name with Triton's, and fails in telling so.
    "simple_grpc_health_metadata.py": "name 'sys' is not defined",
    "simple_grpc_model_control.py": "FAILED : Repository Index",  # the same, and it counts eight
    "simple_grpc_sequence_stream_infer_client.py": _SEQUENCES,
    "simple_grpc_sequence_sync_infer_client.py": _SEQUENCES,
    "simple_grpc_shm_client.py": _SHARED,
    "simple_grpc_shm_string_client.py": _SHARED,
    "simple_http_cudashm_client.py": _CUDA,
    "simple_http_health_metadata.py": "FAILED : get_server_metadata",  # the server's name
    # It counts seven models, sends no admin's token, and then a configuration of its own.
    "simple_http_model_control.py": "",
    "simple_http_sequence_sync_infer_client.py": _SEQUENCES,
    "simple_http_shm_client.py": _SHARED,
    "simple_http_shm_string_client.py": _SHARED,
}
"""Examples that don't run, with what they end with; all others do."""
PICTURE = MODELS / "imagenet" / "examples" / "espresso.jpg"
OF_PICTURES = {
    "image_client.py": (["-i", "http"], ["-i", "grpc"], ["-i", "http", "-a", "-b", "2"],
                        ["-i", "grpc", "--streaming", "-b", "2"]),
    "grpc_image_client.py": ([], ["-a"], ["--streaming"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def of_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("triton")
    triton_models(folder)
    with serving(folder, INFERENCE_SERVICE_GRPC__PORT="0") as running:
        yield running


def run(name: str, *arguments: object, environment: str = "triton") -> tuple[int, str]:
    """Exit status and all that it printed."""
    done = subprocess.run(
        [TOOLS / environment / "bin" / "python", name, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=EXAMPLES,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def examples() -> list[str]:
    return sorted(path.name for path in EXAMPLES.glob("*.py") if path.name not in OF_PICTURES)


@pytest.mark.parametrize("name", examples())
def test_tritons_examples(of_triton: RunningServer, tmp_path: Path, name: str) -> None:
    http, grpc = of_triton.url.removeprefix("http://"), of_triton.grpc_address
    if name == "memory_growth_test.py":  # it has its server's address in its text
        text = (EXAMPLES / name).read_text()
        moved = tmp_path / name
        moved.write_text(text.replace("localhost:8000", http).replace("localhost:8001", grpc))
        for protocol in ("HTTP", "gRPC"):
            status, printed = run(str(moved), "-i", protocol, "-r", 10)
            assert status == 0, printed
        return
    arguments = ["-u", grpc if "grpc" in name else http]
    if name == "ensemble_image_client.py":
        arguments += ["-m", "preprocess_inception_ensemble", str(PICTURE)]
    status, printed = run(name, *arguments)
    if name in REFUSED:
        assert status != 0
        assert REFUSED[name] in printed
    else:
        assert status == 0, printed


def test_tritons_example_for_node(of_triton: RunningServer, tmp_path: Path) -> None:
    """With the messages of this service, which it asks the user to copy beside it."""
    (tmp_path / "proto").mkdir()
    shutil.copy(PROTO, tmp_path / "proto" / "grpc_service.proto")
    shutil.copy(SOURCES / "grpc_generated" / "javascript" / "client.js", tmp_path)
    (tmp_path / "node_modules").symlink_to(TOOLS / "node" / "node_modules")
    command = ["node", "client.js", *of_triton.grpc_address.rsplit(":", 1)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("15 + 15 = 30\n15 - 15 = 0\n")


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, options) for name, several in OF_PICTURES.items() for options in several],
)
def test_tritons_clients_of_pictures(server: RunningServer, name: str, options: list[str]) -> None:
    """They ask the model that is shipped: its pipeline tells them the layout and the labels."""
    is_http = "http" in options
    address = server.url.removeprefix("http://") if is_http else server.grpc_address
    status, printed = run(
        name, *options, "-u", address, "-m", "imagenet", "-s", "INCEPTION", "-c", 3, PICTURE
    )
    assert status == 0, printed
    assert "(967) = espresso" in printed


REFUSED_TENSORS = {
    # A batch has a row: there is nothing to run.
    "NumpyCodec no rows": "the batch is empty: at least one row is expected",
}
"""What MLServer's codecs send, MLServer answers and this service refuses."""


@pytest.fixture
def mlserver(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The URL and the gRPC address of an MLServer that sends back what it is sent."""
    folder = tmp_path / "mlserver"
    folder.mkdir()
    (folder / "mlserver_echo.py").write_text((HERE / "mlserver_echo.py").read_text())
    ports = {name: free_port() for name in ("http_port", "grpc_port", "metrics_port")}
    settings = {"host": "127.0.0.1", "parallel_workers": 0, **ports}
    (folder / "settings.json").write_text(json.dumps(settings))
    model = {"name": "echo", "implementation": "mlserver_echo.Echo"}
    (folder / "model-settings.json").write_text(json.dumps(model))
    process = subprocess.Popen(
        [TOOLS / "mlserver" / "bin" / "mlserver", "start", folder], cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{ports['http_port']}"
        asyncio.run(until(lambda: _is_ready(url)))
        yield url, f"127.0.0.1:{ports['grpc_port']}"
    finally:
        process.kill()
        process.wait(30)


def test_mlservers_codecs(tmp_path: Path, mlserver: tuple[str, str]) -> None:
    """What a codec reads from an answer is what it reads from MLServer's own answer."""
    codec_models(tmp_path / "models")
    with serving(tmp_path / "models", INFERENCE_SERVICE_GRPC__PORT="0") as ours:
        addresses = ours.url, ours.grpc_address, *mlserver
        asked = str(HERE / "mlserver_codecs.py")
        status, printed = run(asked, *addresses, environment="mlserver")
    assert status == 0, printed
    counts: Counter[str] = Counter()
    for name, how, here, there in map(json.loads, printed.splitlines()):
        if here.startswith("?"):
            counts["can't be sent"] += 1
        elif there.startswith("!"):
            counts["MLServer fails"] += 1
        elif name in REFUSED_TENSORS:
            assert REFUSED_TENSORS[name] in here
            counts["refused here"] += 1
        else:
            assert here == there, (name, how)
            counts["equal"] += 1
    assert counts == {"equal": 176, "refused here": 3, "MLServer fails": 8, "can't be sent": 17}


_REST, _GRPC = "rest/test_endpoints.py::test_", "grpc/test_servicers.py::test_"
FAILING = {
    "the name of the server, of its versions or of a platform": (
        _REST + "metadata", _REST + "model_metadata",
        _GRPC + "server_metadata", _GRPC + "model_metadata",
    ),
    "documents at /v2/docs": (
        _REST + "openapi", _REST + "docs", _REST + "model_openapi", _REST + "model_docs",
    ),
    "headers that come back, and those of CloudEvents": (
        _REST + "infer_headers", _GRPC + "model_infer_headers",
    ),
    "words of errors": (
        _REST + "infer_error", _REST + "model_repository_load_error",
        _REST + "infer_invalid_datatype_error", _GRPC + "model_infer_error",
        _GRPC + "model_repository_load_error", _GRPC + "infer_invalid_datatype_error",
    ),
    "one model alone in the repository": (
        _REST + "model_repository_index", _GRPC + "model_repository_index",
    ),
    "typed contents in an answer, which is raw as Triton's are": (_GRPC + "model_infer",),
    "text that is generated, by a model of MLServer": (
        _REST + "generate", _REST + "generate_stream",
        _GRPC + "model_stream_infer", _GRPC + "model_stream_infer_error",
    ),
    "the version of pydantic that the client has": (
        "batch_processing/test_rest.py::test_invalid",
        "batch_processing/test_rest.py::test_invalid_among_many",
    ),
}  # fmt: skip
"""What MLServer's tests ask that isn't so here, and the tests."""


def test_mlservers_tests_of_its_endpoints(tmp_path: Path) -> None:
    """Their fixtures are replaced by ones that ask this service, and versions by numbers."""
    endpoint_models(tmp_path / "models")
    shutil.copytree(MLSERVER / "tests", tmp_path / "tests")
    for path in (tmp_path / "tests").rglob("*.*"):
        if path.suffix in {".py", ".json"}:
            path.write_text(path.read_text().replace("v1.2.3", "1"))
    for part in ("rest", "grpc", "batch_processing"):
        with (tmp_path / "tests" / part / "conftest.py").open("a") as file:
            file.write((HERE / "mlserver_fixtures.py").read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    given = {"GRPC__PORT": "0", "ADMIN__REPOSITORY": "true", "ADMIN__TOKEN": "token"}
    options = {f"INFERENCE_SERVICE_{name}": value for name, value in given.items()}
    with serving(tmp_path / "models", **options) as ours:
        environment = {
            "PYTHONPATH": str(MLSERVER), "ADMIN": "token",
            "HTTP_SERVER": ours.url.removeprefix("http://"), "GRPC_SERVER": ours.grpc_address,
        }  # fmt: skip
        done = subprocess.run(
            [
                TOOLS / "mlserver/bin/python", "-m", "pytest", "-q", "--import-mode=importlib",
                "-rfEp", "tests/rest/test_endpoints.py", "tests/grpc/test_servicers.py",
                "tests/batch_processing",
            ],
            capture_output=True, text=True, cwd=tmp_path, env={**os.environ, **environment},
            timeout=600, check=False,
        )  # fmt: skip
    found = re.findall(
        r"^(PASSED|FAILED|ERROR) tests/(\S+?)(?:\[\S*)?(?: - .*)?$", done.stdout, re.MULTILINE
    )
    assert found, done.stdout[-5000:] + done.stderr[-5000:]
    failing = {name for kind, name in found if kind != "PASSED"}
    assert failing == {name for names in FAILING.values() for name in names}
    assert sum(kind == "PASSED" for kind, _ in found) == 24


def _is_ready(url: str) -> bool:
    try:
        return requests.get(url + "/v2/health/ready", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


if __name__ == "__main__":
    sys.exit("run it with scripts/client-suites")
