"""Faults of a model in a process of its own, under load: what is lost, duplicated or wrong."""

import asyncio
import errno
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from inference_service import Service, Settings
from inference_service.core.errors import ExecutionFailed, InferenceServiceError, OutOfMemory
from inference_service.core.requests import ModelRef
from inference_service.core.tensors import BatchMode
from inference_service.engine.interfaces import Job, RunResult
from inference_service.processes.blocks import Block
from inference_service.runtime import lane, remote
from inference_service.runtime.categories import KnownValues
from inference_service.runtime.isolated import IsolatedRunner, Limits, isolated
from inference_service.runtime.model_process import Opening
from inference_service.runtime.remote import ModelProcess, Patience, RemoteModel
from inference_service.runtime.runner import OrtRunner, Shaping
from inference_service.runtime.session import RuntimeOptions, open_model
from tests import onnx_models
from tests.faults import misbehaving
from tests.hostile.test_isolation import process_of
from tests.support import running, until

GIB = 2**30
FAILING = (misbehaving.CRASHES, misbehaving.RAISES, misbehaving.FAILS_TO_ALLOCATE)


@pytest.fixture(autouse=True)
def _misbehaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_MODULE", misbehaving.MODULE)


class Running:
    """A runner whose model misbehaves."""

    def __init__(self, runner: IsolatedRunner) -> None:
        self.runner = runner
        self.process: ModelProcess = runner.model_process

    async def run(self, *values: float) -> list[float | Exception]:
        """The outcomes of one row of each value, in one run."""
        ended: asyncio.Future[RunResult] = asyncio.get_running_loop().create_future()
        parts = [{"x": np.full((1, 3), value, np.float32)} for value in values]
        self.runner.start(Job(parts), ended.set_result)
        result = await asyncio.wait_for(ended, 60)
        return [
            one if isinstance(one, Exception) else float(one["y"][0, 0]) for one in result.outcomes
        ]


@asynccontextmanager
async def runner(folder: Path) -> AsyncIterator[Running]:
    path = onnx_models.save(onnx_models.doubler(), folder / "m.onnx")
    plain = OrtRunner("m", {1: open_model(path, RuntimeOptions(1))}, Shaping(BatchMode.MERGE), 1)
    one = isolated("m", plain, path, Limits(GIB, patience=Patience(60, 0.2, 60)))
    try:
        yield Running(one)
    finally:
        await one.aclose()


async def test_of_a_run_that_crashes_only_the_request_that_did_it_fails(tmp_path: Path) -> None:
    async with runner(tmp_path) as one:
        outcomes = await one.run(1, misbehaving.CRASHES, 3)
        assert (outcomes[0], outcomes[2]) == (2, 6)
        assert isinstance(outcomes[1], ExecutionFailed)
        assert str(outcomes[1]) == "the process of model 'm' crashes in this request"
        await until(lambda: one.process.restarts == 2)


async def test_a_request_that_has_crashed_the_process_is_not_run_again(tmp_path: Path) -> None:
    async with runner(tmp_path) as one:
        await one.run(misbehaving.CRASHES)
        await until(lambda: one.process.restarts == 2)
        for _ in range(5):
            outcomes = await one.run(1, misbehaving.CRASHES, 3)
            assert (outcomes[0], outcomes[2]) == (2, 6)
            assert isinstance(outcomes[1], ExecutionFailed)
        assert isinstance((await one.run(misbehaving.CRASHES))[0], ExecutionFailed)
        assert one.process.restarts == 2


async def test_crashes_whose_requests_are_known_do_not_delay_the_next_start(tmp_path: Path) -> None:
    async with runner(tmp_path) as one:
        for number in range(3):
            row = {"x": np.array([[misbehaving.CRASHES, number, 0]], np.float32)}
            ended: asyncio.Future[RunResult] = asyncio.get_running_loop().create_future()
            one.runner.start(Job([row]), ended.set_result)
            (outcome,) = (await asyncio.wait_for(ended, 60)).outcomes
            assert isinstance(outcome, ExecutionFailed)
            assert one.process._pause() == 0.0
            await until(lambda: one.process.pid is not None)
        assert await one.run(7) == [14]


async def test_a_run_that_raises_is_the_trouble_of_the_request_that_caused_it(
    tmp_path: Path,
) -> None:
    async with runner(tmp_path) as one:
        outcomes = await one.run(1, misbehaving.RAISES, 3)
        assert (outcomes[0], outcomes[2]) == (2, 6)
        assert isinstance(outcomes[1], ExecutionFailed)
        assert str(outcomes[1]) == "the run failed unexpectedly"
        assert one.process.restarts == 0


async def test_a_request_whose_process_is_killed_for_want_of_memory_may_come_again(
    tmp_path: Path,
) -> None:
    async with runner(tmp_path) as one:
        for restarts in (2, 4):
            outcomes = await one.run(1, misbehaving.IS_KILLED, 3)
            assert (outcomes[0], outcomes[2]) == (2, 6)
            assert isinstance(outcomes[1], OutOfMemory)
            await until(lambda: one.process.restarts == restarts)  # noqa: B023 - awaited here


async def test_without_memory_to_share_with_its_process_a_request_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoBlock(Block):
        def __init__(self, size: int) -> None:
            raise OSError(errno.ENOMEM, "no memory")

    async with runner(tmp_path) as one:
        monkeypatch.setattr(lane, "Block", NoBlock)
        assert isinstance((await one.run(1))[0], OutOfMemory)
        monkeypatch.undo()
        monkeypatch.setattr(remote, "_MODULE", misbehaving.MODULE)
        assert await one.run(2) == [4]
        assert one.process.restarts == 0


async def test_without_memory_for_the_answer_of_its_process_a_request_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process waits for it, and goes on."""
    made: list[int] = []

    class OneBlock(Block):
        def __init__(self, size: int) -> None:
            made.append(size)
            if len(made) == 2:
                raise OSError(errno.ENOMEM, "no memory")
            super().__init__(size)

    path = onnx_models.save(onnx_models.pairs(), tmp_path / "m.onnx")
    monkeypatch.setattr(lane, "Block", OneBlock)
    opening = Opening(path, {1: RuntimeOptions(1)}, KnownValues(), GIB)
    process = ModelProcess("m", opening, 1)
    try:
        model, rows = RemoteModel(process, 1), {"x": np.full((1, 700), 2, np.float32)}
        with pytest.raises(OutOfMemory):
            model.run(rows)
        assert model.run(rows)["y"].shape == (1, 700, 700)
        assert (process.restarts, len(made)) == (0, 4)
    finally:
        process.close()


async def test_a_process_that_leaks_is_replaced_between_runs(tmp_path: Path) -> None:
    async with runner(tmp_path) as one:
        for number in range(8):
            (outcome,) = await one.run(misbehaving.LEAKS)
            assert outcome == 2 * misbehaving.LEAKS or isinstance(outcome, InferenceServiceError)
            await until(lambda: one.process.pid is not None)
            assert one.process.memory < GIB, number
        assert one.process.restarts > 0


async def test_faults_under_load_cost_their_own_requests_alone(tmp_path: Path) -> None:
    onnx_models.save(onnx_models.doubler(), tmp_path / "m" / "1" / "model.onnx")
    (tmp_path / "m" / "model.toml").write_text('runtime.isolation = "process"\n')
    # Those that share a run with one that hangs are answered when their own deadlines pass.
    settings = Settings(models=tmp_path, batching={"default_deadline": 5})
    async with running(service := Service(settings)) as client:
        process = process_of(service, "m")
        ended: Counter[str] = Counter()

        async def ask(value: float, **headers: str) -> int:
            body = {"instances": [[value] * 3]}
            answer = await client.post("/v1/models/m:predict", json=body, headers=headers)
            if answer.status_code == 200:
                right = answer.json() == {"predictions": [[2 * value] * 3]}
                ended["right" if right else "wrong"] += 1
            return answer.status_code

        async def served(value: float, *refusals: int, **headers: str) -> int:
            """Its status, once it has come to a process: a crash of another may have taken it."""
            while (status := await ask(value, **headers)) in refusals:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            return status

        async def good(number: int) -> None:
            for step in range(40):
                assert await served(float(100 * number + step % 90), 503, 504) == 200

        async def bad() -> None:
            for _ in range(3):
                for value in FAILING:
                    # One that finds no memory is told to come again each time.
                    refusals = () if value == misbehaving.FAILS_TO_ALLOCATE else (503,)
                    ended[f"{value:g}: {await served(value, *refusals)}"] += 1
            late = await served(misbehaving.HANGS, 503, **{"X-Request-Timeout": "0.2"})
            ended[f"hung: {late}"] += 1

        await asyncio.gather(bad(), *(good(number) for number in range(8)))
        assert ended["right"] == 8 * 40
        assert ended["wrong"] == 0
        told = {name for name in ended if ":" in name}
        assert {name.rpartition(" ")[2] for name in told} <= {"500", "503", "504"}
        assert {"1001: 500", "1003: 500", "1004: 503", "hung: 504"} <= told
        await until(lambda: process.pid is not None)
        assert process.restarts <= 6, "a crash that no deadline cuts short is not repeated"


async def test_requests_wait_for_the_next_process_or_are_told_when_it_is_there(
    tmp_path: Path,
) -> None:
    onnx_models.save(onnx_models.doubler(), tmp_path / "m" / "1" / "model.onnx")
    (tmp_path / "m" / "model.toml").write_text('runtime.isolation = "process"\n')
    async with running(service := Service(Settings(models=tmp_path))) as client:
        process = process_of(service, "m")
        right: Counter[str] = Counter()
        meanwhile: Counter[int] = Counter()

        async def ask(seconds: str, number: int) -> httpx.Response:
            body, headers = {"instances": [[number, 1, 2]]}, {"X-Request-Timeout": seconds}
            answer = await client.post("/v1/models/m:predict", json=body, headers=headers)
            if answer.status_code == 200:
                assert answer.json() == {"predictions": [[2 * number, 2, 4]]}
                right[seconds] += 1
            return answer

        async def patient(number: int) -> None:
            while process.restarts < 1:
                assert (await ask("30", number)).status_code == 200

        async def hurried(number: int) -> None:
            while process.restarts < 1:
                absent = process.pid is None
                answer = await ask("0.1", number)
                if absent and process.pid is None:
                    meanwhile[answer.status_code] += 1
                    assert int(answer.headers["Retry-After"]) >= 1
                    assert "is being started again" in answer.json()["error"]
                await asyncio.sleep(0.02)

        async def killed() -> None:
            await until(lambda: right["30"] > 20 and right["0.1"] > 0)
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)

        clients = [*map(patient, range(4)), *map(hurried, range(4))]
        await asyncio.gather(killed(), *clients)
    assert set(meanwhile) == {503}, "and no 504"


async def test_only_models_whose_costs_depend_on_values_get_a_process_by_themselves(
    tmp_path: Path,
) -> None:
    onnx_models.save(onnx_models.doubler(), tmp_path / "bounded" / "1" / "model.onnx")
    onnx_models.save(onnx_models.repeating(), tmp_path / "loops" / "1" / "model.onnx")
    service = Service(Settings(models=tmp_path, runtime={"isolation": "auto"}))
    async with running(service):
        assert process_of(service, "loops").pid is not None
        worker: Any = service.engine.resolve(ModelRef("bounded"))
        assert not isinstance(worker._runner, IsolatedRunner)
