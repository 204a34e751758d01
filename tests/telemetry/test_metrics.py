"""Each metric has the right value; unknown names of clients make no series; all of it is cheap."""

import asyncio
import importlib
import os
import re
import time
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from inference_service.core.in_flight import InFlight, Limits
from inference_service.core.lifecycle import State
from inference_service.core.requests import InferenceRequest, ModelRef
from inference_service.core.scheduling.entries import Release
from inference_service.core.scheduling.layout import Layout, Profile
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.tensors import DType, Signature, TensorSpec
from inference_service.engine.engine import LocalEngine
from inference_service.engine.interfaces import (
    Activity,
    BatchRecord,
    LoadRecord,
    ModelInfo,
    ModelStatus,
    ProcessState,
    RequestRecord,
)
from inference_service.engine.shapes import Shapes
from inference_service.engine.worker import Worker
from inference_service.service import Service
from inference_service.settings import Settings
from inference_service.telemetry.gauges import (
    LoopLag,
    watch_models,
    watch_service,
)
from inference_service.telemetry.processes import children, cpu_seconds, resident, watch_processes
from inference_service.telemetry.prometheus import PrometheusObserver, process_registry
from inference_service.telemetry.rollouts import OutcomeObserver
from inference_service.telemetry.statistics import Observers
from tests import onnx_models
from tests.conftest import ROOT
from tests.engine.puppets import Notebook, PuppetRunner, rows
from tests.support import running
from tests.virtual_time import run_virtual

REF = ModelRef("m", 1)
MODEL = {"model": "m", "version": "1"}
X, Y = (TensorSpec(name, DType.FP32, (None, 2)) for name in "xy")
SIGNATURE = Signature((X,), (Y,))
RECORD = RequestRecord("m", "1", "oip", "ok", 0.020, 0.004, 0.010, 1, 0.0002, 0.0003)


def test_the_parts_of_a_request_are_told() -> None:
    registry = CollectorRegistry()
    PrometheusObserver(registry).finished(RECORD)
    for part, seconds in {
        "request": 0.020, "queue": 0.004, "compute": 0.010, "decode": 0.0002, "encode": 0.0003,
    }.items():  # fmt: skip
        assert registry.get_sample_value(f"inference_{part}_duration_seconds_sum", MODEL) == seconds
        assert registry.get_sample_value(f"inference_{part}_duration_seconds_count", MODEL) == 1


def test_a_request_that_was_not_run_has_no_parts() -> None:
    registry = CollectorRegistry()
    PrometheusObserver(registry).finished(RequestRecord("m", "1", "oip", "rejected", 0.001))
    assert registry.get_sample_value("inference_request_duration_seconds_count", MODEL) == 1
    for part in ("queue", "compute", "decode", "encode"):
        name = f"inference_{part}_duration_seconds_count"
        assert registry.get_sample_value(name, MODEL) == 0


def test_the_waste_of_a_batch_is_told() -> None:
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry)
    batch = BatchRecord(REF, 3, 3, Release.SLOT_FREE, 0.08, 1, padding=0.25, cold=True, wasted=0.01)
    observer.batched(batch)
    observer.batched(batch._replace(cold=False, wasted=0.0, saved=0.5))
    for name, value in {
        "inference_compute_padding_seconds_total": 0.04,
        "inference_cold_batches_total": 1,
        "inference_compute_wasted_seconds_total": 0.01,
        "inference_compute_saved_seconds_total": 0.5,
        "inference_batch_seconds_total": 0.16,
    }.items():
        assert registry.get_sample_value(name, MODEL) == pytest.approx(value), name


def test_loads_are_told_with_their_times() -> None:
    registry = CollectorRegistry()
    outcomes = OutcomeObserver(registry)
    observer = Observers([PrometheusObserver(registry), outcomes])
    observer.loaded(LoadRecord(REF, False, 9.0))
    observer.loaded(LoadRecord(REF, True, 2.0, 0.5))
    outcomes.note("m", 1, "failed")
    outcomes.note("m", 1, "rolled_back")
    assert registry.get_sample_value("inference_model_load_seconds", MODEL) == 2.0
    assert registry.get_sample_value("inference_model_warm_up_seconds", MODEL) == 0.5
    for outcome in ("failed", "rolled_back"):
        labels = {**MODEL, "outcome": outcome}
        assert registry.get_sample_value("inference_model_loads_total", labels) == 1


def test_a_shape_is_cold_once_and_not_where_the_warm_up_has_run_it() -> None:
    shapes = Shapes([(1, 64, 0)])
    assert not shapes.is_new(1, 64, 0)
    assert shapes.is_new(2, 64, 0)
    assert not shapes.is_new(2, 64, 0)
    assert shapes.is_new(2, 64, 32)


def test_shapes_are_remembered_within_a_bound() -> None:
    shapes = Shapes()
    assert sum(shapes.is_new(rows, 1, 0) for rows in range(10_000)) == 4096


class Engine:
    """One version that works and one that failed."""

    def statuses(self) -> list[ModelStatus]:
        return [ModelStatus("m", 1, State.READY), ModelStatus("m", 2, State.FAILED, "broken")]

    def activity(self) -> list[Activity]:
        return [Activity(REF, 5, None, 0.7, 0.2, 0.75, 2, 1, 4, 0.3, 8)]

    def memory(self) -> dict[ModelRef, int]:
        return {REF: 9_000_000}


def test_the_state_of_a_model_version_is_told() -> None:
    registry = CollectorRegistry()
    watch_models(registry, Engine())
    for name, value in {
        "queue_rows": 5, "queue_oldest_seconds": 0.7, "queue_wait_seconds": 0.2,
        "queue_wait_limit_seconds": 0.75, "slots": 2, "slots_busy": 1, "slot_cores": 4,
        "longest_run_seconds": 0.3, "max_batch_rows": 8, "model_ready": 1, "model_memory_bytes": 9_000_000,
    }.items():  # fmt: skip
        assert registry.get_sample_value(f"inference_{name}", MODEL) == value, name
    assert registry.get_sample_value("inference_queue_limit_rows", MODEL) is None
    states = {
        state.value: registry.get_sample_value(
            "inference_model_state", {"model": "m", "version": "2", "state": state.value}
        )
        for state in State
    }
    assert states == {state.value: float(state is State.FAILED) for state in State}


def test_the_whole_service_is_told() -> None:
    registry, in_flight = CollectorRegistry(), InFlight(Limits(10, 1000))
    watch_service(registry, in_flight, cores=3)
    with in_flight.permit(7):
        for name, value in {
            "in_flight_requests": 1, "in_flight_bytes": 7, "in_flight_limit_requests": 10,
            "cores": 3,
        }.items():  # fmt: skip
            assert registry.get_sample_value(f"inference_{name}") == value


class InProcesses(Engine):
    """One version whose process was replaced thrice, one whose process is being started again."""

    def activity(self) -> list[Activity]:
        (one,) = super().activity()
        other = one._replace(model=ModelRef("n", 1), process=ProcessState(None, 1))
        return [one._replace(process=ProcessState(8, 3)), other]


def test_processes_are_told_by_what_they_are_for(tmp_path: Path) -> None:
    module = "inference_service.runtime.model_process"
    fake_process(tmp_path, os.getpid(), below="8 9 10", pages=7)
    fake_process(tmp_path, 8, pages=100, ticks=(300, 50), command=f"python\0-m\0{module}\x005\0")
    fake_process(tmp_path, 9, pages=20, command="python\0-m\0inference_service.processes.decoder\0")
    fake_process(tmp_path, 10, pages=1, command="sh\0-c\0inference\0")
    registry = CollectorRegistry()
    watch_models(registry, InProcesses(), tmp_path)
    watch_processes(registry, 2**30, tmp_path)
    page, tick = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
    told = registry.get_sample_value
    for kind, pages in {"service": 7, "models": 100, "decoders": 20, "others": 1}.items():
        assert told("inference_resident_memory_bytes", {"process": kind}) == pages * page
    for kind, count in {"models": 1, "decoders": 1, "others": 1, "surveys": 0}.items():
        assert told("inference_helper_processes", {"process": kind}) == count
    assert told("inference_model_process_memory_bytes", MODEL) == 100 * page
    assert told("inference_model_process_cpu_seconds_total", MODEL) == 350 / tick
    assert told("inference_model_process_restarts_total", MODEL) == 3
    other = {"model": "n", "version": "1"}
    assert told("inference_model_process_restarts_total", other) == 1
    assert told("inference_model_process_memory_bytes", other) is None
    cpu = told("inference_helper_cpu_seconds_total")
    assert cpu is not None
    assert cpu >= 350 / tick
    assert told("inference_memory_limit_bytes") == 2**30


def fake_process(
    proc: Path, pid: int, *, below: str = "", pages: int = 0, ticks: tuple[int, int] = (0, 0),
    command: str = "",
) -> None:  # fmt: skip
    task = proc / f"{pid}/task/{pid}"
    task.mkdir(parents=True)
    (task / "children").write_text(below)
    (proc / f"{pid}/statm").write_text(f"99 {pages} 0 0 0 0 0\n")
    (proc / f"{pid}/cmdline").write_text(command)
    user, system = ticks
    (proc / f"{pid}/stat").write_text(
        f"{pid} (a (b) c) S 1 1 1 0 -1 4 0 0 0 0 {user} {system} 0 0 20"
    )


def test_the_memory_and_the_time_of_this_process_are_read() -> None:
    assert 10 * 2**20 < resident(os.getpid()) < 2**36
    assert 0 < cpu_seconds(os.getpid()) < time.process_time() + 1
    assert cpu_seconds(2**22 + 1) == 0.0


def test_all_processes_below_one_are_found(tmp_path: Path) -> None:
    for pid, below in ((7, "8 9"), (8, ""), (9, "10"), (10, "")):
        fake_process(tmp_path, pid, below=below)
    assert sorted(children(7, tmp_path)) == [8, 9, 10]
    assert resident(4711, tmp_path) == 0


def test_a_blocked_event_loop_is_seen() -> None:
    registry = CollectorRegistry()

    async def blocked() -> None:
        lag = LoopLag(registry)
        lag.start()
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0.9)
        loop.now += 2.0  # type: ignore[attr-defined] # something takes two seconds
        await asyncio.sleep(0.2)
        lag.stop()

    run_virtual(blocked())
    name = "inference_event_loop_lag_seconds"
    assert registry.get_sample_value(f"{name}_count") == 4
    assert registry.get_sample_value(f"{name}_bucket", {"le": "0.001"}) == 3
    assert registry.get_sample_value(f"{name}_sum") == pytest.approx(1.9)


def test_counting_a_request_takes_no_longer_than_250_additions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By all observers together, with its share of a batch; the best of several rounds. A look-up
    of a metric's child for each would take longer."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    metrics = importlib.import_module("metrics")
    counts = [0] * 250

    def add() -> None:
        for place in range(250):
            counts[place] += 1

    addition = metrics.best(add)
    costs = metrics.costs()
    assert all(seconds < addition for seconds in costs.values()), (costs, addition)


async def test_names_that_clients_make_up_make_no_series(tmp_path: Path) -> None:
    onnx_models.save(onnx_models.doubler(), tmp_path / "doubler" / "1" / "model.onnx")
    service = Service(Settings(models=tmp_path))
    async with service.lifespan():
        await service.loaded()
        transport = httpx.ASGITransport(service.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            for name in ("made-up", "doubler/versions/77", "a%0Ab", "x" * 300):
                for path in (
                    f"/v1/models/{name}:predict", f"/v2/models/{name}/infer", f"/models/{name}/ner",
                    f"/v2/models/{name}/ready", f"/{name}",
                ):  # fmt: skip
                    await client.post(path, json={"instances": [1], "inputs": []})
                for path in ("/v1/embeddings", "/rerank", "/v1/audio/transcriptions"):
                    await client.post(path, json={"model": name, "input": "x", "query": "y"})
            page = (await client.get("/metrics")).text
    models = {
        line.split('model="')[1].split('"')[0] for line in page.splitlines() if 'model="' in line
    }
    assert models == {"", "doubler"}
    versions = {
        line.split('version="')[1].split('"')[0]
        for line in page.splitlines()
        if 'model="doubler"' in line
    }
    assert versions <= {"", "1"}


def test_the_build_is_told() -> None:
    registry = process_registry("1.2.3")
    page = {metric.name: metric for metric in registry.collect()}
    (sample,) = page["inference_service_build"].samples
    assert sample.labels["version"] == "1.2.3"
    assert sample.labels["onnxruntime"].count(".") == 2


def test_what_a_model_is_doing_is_read_from_its_worker() -> None:
    async def run() -> list[Activity]:
        clock = [100.0]
        engine = LocalEngine(clock=lambda: clock[0])
        info = ModelInfo(
            "m", 1, SIGNATURE, BatchPolicy(2, max_queue_rows=9), profiles=(Profile(Layout(1, 3)),)
        )
        runner, notebook = PuppetRunner(), Notebook()
        engine.report("m", 1, State.LOADING)
        engine.report("m", 1, State.WARMING)
        engine.add(Worker(info, runner, notebook, engine.dispatcher))
        before = engine.activity()
        for value in (1.0, 2.0, 3.0):
            request = InferenceRequest(info.ref, rows(value), client="c")
            engine.resolve(info.ref).submit(request, lambda _: None)
            await asyncio.sleep(0)
            clock[0] += 1.0
        await asyncio.sleep(0)
        during = engine.activity()
        runner.next().answer()
        await asyncio.sleep(0)
        return [*before, *during, *engine.activity()]

    before, during, after = asyncio.run(run())
    assert before[1:4] == (0, 9, 0.0)
    assert before[6:] == (1, 0, 3, 0.0, 2, None)
    assert (during.queue_rows, during.oldest, during.busy, during.longest_run) == (2, 2.0, 1, 3.0)
    assert (after.queue_rows, after.oldest, after.busy, after.longest_run) == (0, 0.0, 1, 0.0)
    assert during.wait_limit > 0


def test_every_metric_is_documented(tmp_path: Path) -> None:
    onnx_models.save(onnx_models.doubler(), tmp_path / "doubler" / "1" / "model.onnx")
    service = Service(Settings(models=tmp_path))
    told = {metric.name for metric in service.registry.collect() if metric.name.startswith("inf")}
    text = (ROOT / "docs" / "metrics.md").read_text()
    documented = set(re.findall(r"^\| `(inference_\w+?)(?:_total|_info)?`", text, re.MULTILINE))
    assert told == documented


async def test_version_0_is_counted_like_any_other(tmp_path: Path) -> None:
    """The only one: a client that names it asks for it, and one that doesn't gets it, too."""
    onnx_models.save(onnx_models.doubler(), tmp_path / "doubler" / "0" / "model.onnx")
    rows = {"name": "x", "shape": [2, 3], "datatype": "FP32", "data": [1, 2, 3, 4, 5, 6]}
    telemetry = {"triton_metrics": True}
    async with running(Service(Settings(models=tmp_path, telemetry=telemetry))) as client:
        for path in ("doubler", "doubler/versions/0"):
            answer = await client.post(f"/v2/models/{path}/infer", json={"inputs": [rows]})
            assert answer.json()["model_version"] == "0"
        for path in ("stats", "doubler/stats", "doubler/versions/0/stats"):
            (entry,) = (await client.get(f"/v2/models/{path}")).json()["model_stats"]
            assert (entry["version"], entry["inference_count"]) == ("0", 4)
            assert entry["inference_stats"]["success"]["count"] == 2
        assert (
            'nv_inference_request_success{model="doubler",version="0"} 2.0'
            in (await client.get("/metrics")).text
        )
