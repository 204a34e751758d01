"""A real Prometheus scrapes a loaded server; every query of the dashboards returns data."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import requests
import yaml

from tests.conftest import ROOT, RunningServer
from tests.deploy.dashboards import ANNOTATIONS, DASHBOARDS, QUERIES, filled_in
from tests.ports import free_port
from tests.tools import need, need_package


def load(server: RunningServer, stop: Event) -> None:
    """Good, bad and too many requests, until told to stop."""
    rows = {"instances": [[1.0] * 2048] * 3}

    def client(number: int) -> None:
        with requests.Session() as session:
            session.trust_env = False  # pytest changes the environment meanwhile
            while not stop.is_set():
                session.post(server.url + "/v1/models/heavy:predict", json=rows, timeout=30)
                if number == 0:
                    session.post(server.url + "/v1/models/doubler:predict", json={}, timeout=30)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(client, range(12)))


@contextlib.contextmanager
def scraping(folder: Path, server: RunningServer, *options: str) -> Iterator[str]:
    """The URL of a Prometheus that scrapes a server, each second, as the shipped configuration
    says."""
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [
        server.url.removeprefix("http://")
    ]
    for name in config["rule_files"]:
        shutil.copy(ROOT / "deploy" / "prometheus" / name, folder)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    process = subprocess.Popen(
        ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
         f"--web.listen-address=127.0.0.1:{port}", "--log.level=error", *options],
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture(scope="module")
def prometheus(
    tmp_path_factory: pytest.TempPathFactory, zoo: Path
) -> Iterator[Callable[[str], list[Any]]]:
    """Ask a Prometheus that has scraped a loaded server with the shipped configuration."""
    need("prometheus")
    from tests.conftest import start_server

    given = {"BATCHING__MAX_QUEUE_ROWS": "9", "RUNTIME__ISOLATION": "process"}
    server = start_server(
        zoo, **{f"INFERENCE_SERVICE_{name}": text for name, text in given.items()}
    )
    stop = Event()
    loader = Thread(target=load, args=(server, stop))
    loader.start()
    try:
        with scraping(tmp_path_factory.mktemp("prometheus"), server) as url:

            def ask(query: str) -> list[Any]:
                answer = requests.get(f"{url}/api/v1/query", {"query": query}, timeout=10)
                found: list[Any] = answer.json()["data"]["result"]
                return found

            wait_for_data(ask)
            yield ask
    finally:
        stop.set()
        loader.join(30)
        server.kill()


def wait_for_data(ask: Callable[[str], list[Any]]) -> None:
    """Until a few scrapes are in and something was refused."""
    until(
        lambda: (
            ask("count_over_time(up[1m]) >= 5") and ask("rate(inference_rejected_total[30s]) > 0")
        )
    )


def until(ask: Callable[[], list[Any]]) -> list[Any]:
    """What it answers, once that is something; Prometheus may not be ready yet."""
    end = time.monotonic() + 200
    while time.monotonic() < end:
        with contextlib.suppress(requests.RequestException):
            if found := ask():
                return found
        time.sleep(0.5)
    raise AssertionError("Prometheus has no data")


@pytest.mark.prometheus
def test_every_query_of_every_panel_returns_data(prometheus: Callable[[str], list[Any]]) -> None:
    empty = [query for query in QUERIES if not _has_data(prometheus(filled_in(query)))]
    assert empty == []


def _has_data(found: list[Any]) -> bool:
    return bool(found) and all(series["value"][1] != "NaN" for series in found)


@pytest.mark.prometheus
def test_versions_that_became_ready_are_marked(prometheus: Callable[[str], list[Any]]) -> None:
    over_time = [f"last_over_time(({filled_in(query)})[10m:1s])" for query in ANNOTATIONS]
    marked = [series for query in over_time for series in prometheus(query)]
    assert {"heavy", "doubler"} <= {series["metric"]["model"] for series in marked}


@pytest.mark.prometheus
def test_the_choices_of_the_dashboards_are_there(prometheus: Callable[[str], list[Any]]) -> None:
    for dashboard in DASHBOARDS.values():
        asked = [one for one in dashboard["templating"]["list"] if one["type"] == "query"]
        for variable in asked:
            selector = variable["definition"].removeprefix("label_values(").rpartition(",")[0]
            assert prometheus(filled_in(selector))


@pytest.mark.prometheus
def test_no_alert_fires_but_those_of_an_overload(prometheus: Callable[[str], list[Any]]) -> None:
    firing = prometheus('ALERTS{alertstate="firing"}')
    assert {series["metric"]["alertname"] for series in firing} == set()


@pytest.mark.prometheus
def test_the_metrics_have_the_names_and_labels_that_are_documented(
    prometheus: Callable[[str], list[Any]],
) -> None:
    for query in (
        'inference_requests_total{model="heavy", version="1", protocol="tfserving", outcome="ok"} > 0',
        'inference_requests_total{model="doubler", version="2", outcome="invalid_input"} > 0',
        'inference_rejected_total{model="heavy", reason="queue_full"} > 0',
        'inference_batches_total{model="heavy", reason="slot_free"} > 0',
        'inference_batch_rows_sum{model="heavy"} / inference_batch_rows_count{model="heavy"} > 3',
        'inference_model_ready{model="heavy", version="1"} == 1',
        "inference_in_flight_requests",
        'inference_queue_rows{model="heavy"}',
        'up{job="inference-service"} == 1',
    ):
        assert prometheus(query), query


@pytest.mark.prometheus
def test_prometheus_keeps_the_traces_of_slow_requests_as_exemplars(
    tmp_path: Path, zoo: Path
) -> None:
    need("prometheus")
    need_package("opentelemetry.sdk")
    from tests.conftest import start_server

    nobody = f"http://127.0.0.1:{free_port()}/v1/traces"
    server = start_server(zoo, INFERENCE_SERVICE_TRACING__ENDPOINT=nobody)
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    rows = {"instances": [[1.0] * 2048]}

    def exemplars() -> list[Any]:
        path, headers = "/v1/models/heavy:predict", {"traceparent": parent}
        requests.post(server.url + path, json=rows, headers=headers, timeout=30)
        asked = {"query": "inference_request_duration_seconds_bucket", "start": "0", "end": "1e10"}
        answer = requests.get(f"{url}/api/v1/query_exemplars", asked, timeout=10)
        found: list[Any] = answer.json()["data"]
        return found

    try:
        with scraping(tmp_path, server, "--enable-feature=exemplar-storage") as url:
            (series, *_) = until(exemplars)
    finally:
        server.kill()
    assert series["seriesLabels"]["model"] == "heavy"
    assert series["exemplars"][0]["labels"] == {"trace_id": parent.split("-")[1]}


@pytest.mark.prometheus
def test_promtool_accepts_configuration_and_metrics(server: RunningServer) -> None:
    need("promtool")
    config = ROOT / "deploy" / "prometheus" / "prometheus.yml"
    subprocess.run(
        ["promtool", "check", "config", config], check=True, capture_output=True, timeout=60
    )
    metrics = requests.get(server.url + "/metrics", timeout=20).text
    own = "".join(
        line + "\n" for line in metrics.splitlines() if "inference_" in line or line.startswith("#")
    )
    run = subprocess.run(
        ["promtool", "check", "metrics"],
        input=own,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "inference_" not in run.stderr, run.stderr


def test_openmetrics_is_spoken_when_asked_for(server: RunningServer) -> None:
    answer = requests.get(
        server.url + "/metrics", headers={"Accept": "application/openmetrics-text"}, timeout=20
    )
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
