"""Triton's perf_analyzer, unmodified: it reads metadata, configuration and statistics."""

import json
import re
import subprocess
from collections.abc import Sequence
from urllib.request import urlopen

import pytest

from tests.conftest import RunningServer
from tests.tools import need, path_of

pytestmark = pytest.mark.perf_analyzer


def analyse(address: str, model: str, *options: str) -> dict[str, float]:
    """Its measurements by name; it must end well."""
    need("perf_analyzer")
    program = path_of("perf_analyzer")
    assert program is not None
    command: Sequence[str] = [
        program, "-m", model, "-u", address, "--service-kind", "triton",
        # Any measurement will do: what counts is that it understands the server.
        "--measurement-mode", "count_windows", "--measurement-request-count", "50", "-s", "999",
        *options,
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    pairs = re.findall(r"^\s+([\w ]+): ([\d.]+)", run.stdout, re.MULTILINE)
    return {name: float(value) for name, value in pairs}


@pytest.mark.parametrize(
    "options",
    [
        ("--concurrency-range", "4"),
        ("--concurrency-range", "2", "-b", "4"),
        ("--concurrency-range", "2", "--input-tensor-format", "json", "--output-tensor-format", "json"),
        ("--concurrency-range", "2", "--async"),
        ("--request-rate-range", "100"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_over_http(server: RunningServer, options: tuple[str, ...]) -> None:
    found = analyse(server.url.removeprefix("http://"), "digits", "-i", "http", *options)
    assert found["Throughput"] > 0
    rows = 4 if "-b" in options else 1
    assert found["Inference count"] == found["Successful request count"] * rows
    assert found["Execution count"] > 0
    # Its numbers are differences of snapshots taken while requests are in flight, and a run counts
    # before its requests do: runs and requests are compared when all of them have been answered.
    with urlopen(f"{server.url}/v2/models/digits/stats", timeout=20) as answer:
        (sums,) = json.load(answer)["model_stats"]
    assert 0 < sums["execution_count"] <= sums["inference_count"]


@pytest.mark.parametrize(
    "options",
    [
        ("--concurrency-range", "4"),
        ("--concurrency-range", "2", "-b", "4"),
        ("--concurrency-range", "4", "--async", "--streaming"),
    ],
    ids=" ".join,
)
def test_over_grpc(server: RunningServer, options: tuple[str, ...]) -> None:
    found = analyse(server.grpc_address, "digits", "-i", "grpc", *options)
    assert found["Throughput"] > 0
    rows = 4 if "-b" in options else 1
    assert found["Inference count"] == found["Successful request count"] * rows


def test_a_model_of_strings_and_numbers(server: RunningServer) -> None:
    numbers = ("month", "hour", "dep_delay", "distance", "wind_speed", "precip", "visib")
    shapes = [f"--shape={name}:1" for name in ("carrier", "origin", "dest", *numbers)]
    address = server.url.removeprefix("http://")
    found = analyse(address, "flight-delay", "-i", "http", "--string-data", "US", *shapes)
    assert found["Successful request count"] > 0
