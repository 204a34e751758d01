"""The benchmarks work, and the published tables are those of the published results."""

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT, RunningServer
from tests.tools import need

BENCHMARKS = ROOT / "benchmarks"
RESULTS = ROOT / "docs" / "benchmarks" / "results.jsonl"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.usefixtures("modules")
def test_the_published_tables_are_those_of_the_published_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = importlib.import_module("report")

    monkeypatch.setattr(sys, "argv", ["report", "--results", str(RESULTS), "--out", str(tmp_path)])
    report.main()
    assert (tmp_path / "README.md").read_text() == (RESULTS.parent / "README.md").read_text()


@pytest.fixture
def request_(modules: None) -> Any:
    load = importlib.import_module("load")

    bodies = [b'{"instances": [[1, 2, 3]]}', b'{"instances": [[1, 2, 3], [4.5, 5.5, 6.5]]}']
    path = "/v1/models/doubler/versions/1:predict"
    return load.Request(path, bodies, {"Content-Type": "application/json"})


def test_an_open_loop_sends_all_it_should_and_times_it(
    zoo_server: RunningServer, request_: Any
) -> None:
    load = importlib.import_module("load")

    port = int(zoo_server.url.rsplit(":", 1)[1])
    result, goodput = load.open_loop(port, request_, rate=200, seconds=1)
    assert (result.sent, result.errors) == (200, 0)
    assert 0 < result.p50 <= result.p99
    assert goodput == pytest.approx(result.rate)


def test_an_open_loop_counts_refusals_as_errors(zoo_server: RunningServer, request_: Any) -> None:
    load = importlib.import_module("load")

    port = int(zoo_server.url.rsplit(":", 1)[1])
    wrong = load.Request("/v1/models/nothing:predict", request_.bodies, request_.headers)
    result, goodput = load.open_loop(port, wrong, rate=100, seconds=0.5)
    assert (result.errors, goodput) == (50, 0.0)


def test_a_closed_loop_sends_every_body_whole(zoo_server: RunningServer, request_: Any) -> None:
    load = importlib.import_module("load")

    need("wrk")
    port = int(zoo_server.url.rsplit(":", 1)[1])
    result = load.closed(port, request_, clients=2, seconds=1)
    assert result.errors == 0
    assert result.rate > 10


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("name", ["tiny", "trees"])
def test_the_models_run_and_every_row_has_its_own_answer(name: str, tmp_path: Path) -> None:
    models = importlib.import_module("models")
    import onnxruntime as ort

    repository = models.repository(tmp_path, name)
    session = ort.InferenceSession(str(repository / name / "1" / "model.onnx"))
    random = np.random.default_rng(5)
    rows = np.stack([models.row(name, random) for _ in range(3)])
    together = session.run(None, {"x": rows})[0]
    alone = [session.run(None, {"x": row[None]})[0][0] for row in rows]
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)
    assert len({tuple(row) for row in together.tolist()}) == 3


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(
    ("answer", "fits"),
    [
        (b'{"predictions": [[1.0, 2.0]]}', True),
        (b'{"outputs": [{"name": "y", "data": [1, 2.00001]}]}', True),
        (b"[[1, 2]]", True),
        (b'{"predictions": [[1.0, 2.5]]}', False),
        (b'{"predictions": [[1.0]]}', False),
    ],
)
def test_a_servers_answer_is_compared_with_the_models(answer: bytes, fits: bool) -> None:
    run = importlib.import_module("run")

    assert run.same(answer, np.array([[1.0, 2.0]], np.float32)) is fits


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("bursty", [False, True])
def test_an_overload_comes_at_the_rate_that_it_names(*, bursty: bool) -> None:
    overload = importlib.import_module("overload")

    times = overload._arrivals(500.0, 20.0, bursty=bursty)
    assert times == sorted(times)
    assert len(times) == pytest.approx(10_000, rel=0.15)
    assert (len(set(times)) < len(times) / 10) is bursty


@pytest.mark.usefixtures("modules")
def test_what_is_possible_in_an_overload_is_bounded_by_gaps_in_the_arrivals() -> None:
    overload = importlib.import_module("overload")
    steady = [number / 20 for number in range(200)]  # twice what is served
    assert overload.possible(steady, 10.0, 0.5, 10.0) == pytest.approx(1.0, abs=0.01)
    burst = [0.0] * 100  # nothing comes after it: 5 of 100 are answered within 0.5 s
    assert overload.possible(burst, 10.0, 0.5, 10.0) == pytest.approx(5 / 100)


def test_the_client_of_an_overload_counts_each_request_once(zoo_server: RunningServer) -> None:
    """There is no such model here: each request is answered with 404."""
    overload = importlib.import_module("overload")

    port = int(zoo_server.url.rsplit(":", 1)[1])
    load, after = overload.open_loop(port, overload.Scenario("", 1.0, 0.5, deadline=5.0), 100.0)
    assert len(load.status) == 50
    assert {*load.status, *after.status} == {404}
    assert all(sent <= ended for sent, ended in zip(load.sent, load.ended, strict=True))
