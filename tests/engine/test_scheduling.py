"""The scheduler in the engine: shared slots, sharing, breaking off, deadlines, in virtual time."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from inference_service.core.errors import DeadlineExceeded, ExecutionFailed, Overloaded
from inference_service.core.requests import InferenceRequest
from inference_service.core.scheduling.entries import Release
from inference_service.core.scheduling.layout import Layout, Profile
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.engine.awaiting import infer
from inference_service.engine.dispatcher import Dispatcher
from inference_service.engine.engine import LocalEngine
from inference_service.engine.interfaces import Job, RunResult
from inference_service.engine.worker import Worker
from tests.engine.puppets import Notebook, PuppetRunner, rows
from tests.engine.test_worker import REF, Stage, info, settle, story, values

COSTS = Profile(Layout(1, 2), ((1, 1.0), (2, 1.1), (4, 1.3)), row_elements=2)


def measured(**changes: Any) -> Any:
    return replace(info(policy=BatchPolicy(4, **changes)), profiles=(COSTS,))


@story
async def test_two_models_share_the_cores_and_the_most_urgent_goes_first() -> None:
    dispatcher = Dispatcher(asyncio.get_running_loop().time, cores=2)
    runners = PuppetRunner(), PuppetRunner()
    first, second = (
        Worker(measured(), runner, Notebook(), dispatcher) for runner in runners
    )  # fmt: skip
    tasks = [asyncio.ensure_future(infer(first, InferenceRequest(REF, rows(1))))]
    await settle()
    assert len(runners[0].runs) == 1
    tasks.append(asyncio.ensure_future(infer(first, InferenceRequest(REF, rows(2)))))
    tight = InferenceRequest(REF, rows(3), deadline=9.0)
    tasks.append(asyncio.ensure_future(infer(second, tight)))
    await settle()
    assert len(runners[1].runs) == 0, "all cores are taken"
    runners[0].next().answer(1.0)
    await settle()
    assert (len(runners[0].runs), len(runners[1].runs)) == (0, 1), "it has the tighter deadline"
    runners[1].next().answer(1.0)
    await settle()
    runners[0].next().answer(1.0)
    await asyncio.gather(*tasks)


@story
async def test_a_run_that_lost_all_its_clients_is_broken_off_and_counted() -> None:
    stage = Stage(measured())
    goes, stays = stage.ask(1), stage.ask(2)
    await settle()
    (run,) = stage.runner.runs
    goes.cancel()
    await settle()
    assert not run.stopped, "somebody waits for it still"
    stays.cancel()
    await settle()
    assert run.stopped
    run.done(_result(run)._replace(stopped=True))
    await settle()
    (batch,) = stage.notebook.batches
    assert batch.saved == pytest.approx(batch.predicted - 0.25)
    assert batch.wasted == pytest.approx(0.25)


def _result(run: Any) -> Any:
    from inference_service.engine.interfaces import RunResult

    return RunResult([ExecutionFailed("stopped")] * len(run.parts), 0.25)


@story
async def test_a_promised_deadline_is_kept_or_refused_at_the_door() -> None:
    stage = Stage(measured())
    stage.ask(1)
    await settle()
    with pytest.raises(Overloaded, match="the answer would take about"):
        await stage.ask(2, deadline=1.5)
    fine = stage.ask(3, deadline=2.5)
    await settle()
    await asyncio.sleep(1.0)
    stage.runner.next().answer(1.0)
    await settle()
    await asyncio.sleep(1.0)
    stage.runner.next().answer(1.0)
    assert values(await fine) == [6]


@story
async def test_the_first_batch_after_a_hold_says_so() -> None:
    stage = Stage(measured())
    stage.worker.scheduler.hold.limit = 0.5
    returns = stage.worker.scheduler.hold.returns
    returns.fraction = 1.0
    returns.answered(2, 0.0)
    one = stage.ask(1)
    await settle()
    assert stage.runner.runs == [], "the other one is about to come"
    two = stage.ask(2)
    await settle()
    run = stage.runner.next()
    assert run.rows == [1, 2]
    run.answer(1.0)
    await asyncio.gather(one, two)
    lonely = stage.ask(3)
    await asyncio.sleep(1.0)
    assert len(stage.runner.runs) == 1, "a hold has an end"
    stage.runner.next().answer(1.0)
    await lonely
    assert {batch.reason for batch in stage.notebook.batches} <= {
        Release.SLOT_FREE,
        Release.HOLD,
    }


@story
async def test_14_the_clock_is_read_once_for_all_that_is_decided_in_a_dispatch() -> None:
    readings = 0

    def clock() -> float:
        nonlocal readings
        readings += 1
        return asyncio.get_running_loop().time()

    runner = PuppetRunner()
    worker = Worker(measured(), runner, Notebook(), Dispatcher(clock))
    tasks = [asyncio.ensure_future(infer(worker, InferenceRequest(REF, rows(i)))) for i in range(9)]
    await asyncio.sleep(0)
    assert readings == 9, "one for each that is accepted"
    await settle()
    assert readings == 10, "and one for the dispatch"
    for expected in (12, 14, 16):  # one for the end of the run, one for the next dispatch
        runner.next().answer(1.0)
        await settle()
        assert readings == expected
    await asyncio.gather(*tasks)


def sharing_stage() -> Stage:
    return Stage(replace(measured(), share_identical=True))


@story
async def test_identical_requests_are_computed_once() -> None:
    stage = sharing_stage()
    tasks = [stage.ask(7), stage.ask(7), stage.ask(8)]
    await settle()
    run = stage.runner.next()
    assert run.rows == [7, 8]
    run.answer()
    assert [values(await task) for task in tasks] == [[14], [14], [16]]
    again = stage.ask(7)
    await settle()
    stage.runner.next().answer()
    assert values(await again) == [14], "nothing is kept"


@story
async def test_a_computation_goes_on_while_anybody_waits_for_it() -> None:
    stage = sharing_stage()
    first, second = stage.ask(7), stage.ask(7)
    await settle()
    first.cancel()
    await settle()
    (run,) = stage.runner.runs
    assert not run.stopped
    second.cancel()
    await settle()
    assert run.stopped


@story
async def test_a_request_with_less_time_gives_up_alone_and_one_with_more_is_not_held_to_less() -> (
    None
):
    stage = sharing_stage()
    patient, hurried = stage.ask(7, deadline=90.0), stage.ask(7, deadline=2.0)
    await settle()
    assert len(stage.runner.runs) == 1
    with pytest.raises(DeadlineExceeded, match="identical"):
        await hurried
    longer = stage.ask(7, deadline=99.0)
    await settle()
    assert stage.worker.queue_rows == 1, "it is computed on its own"
    stage.runner.next().answer()
    assert values(await patient) == [14]
    await settle()
    stage.runner.next().answer()
    assert values(await longer) == [14]


@story
async def test_an_error_goes_to_all_that_shared() -> None:
    stage = sharing_stage()
    tasks = [stage.ask(7), stage.ask(7)]
    await settle()
    stage.runner.next().end([ExecutionFailed("poison")])
    for task in tasks:
        with pytest.raises(ExecutionFailed, match="poison"):
            await task


@story
async def test_the_scheduler_explains_itself() -> None:
    engine = LocalEngine(asyncio.get_running_loop().time)
    from inference_service.core.lifecycle import State

    engine.report("m", 1, State.LOADING)
    engine.report("m", 1, State.WARMING)
    runner = PuppetRunner()
    engine.add(Worker(measured(), runner, Notebook(), engine.dispatcher))
    asked = asyncio.ensure_future(infer(engine.resolve(REF), InferenceRequest(REF, rows(1))))
    await settle()
    runner.next().answer(1.2)
    await asked
    told = engine.explain(REF)
    assert told["cost"]["tables"][0]["table"][0]["ms"] == pytest.approx(1200), (
        "the first run counts for the warm-up"
    )
    assert told["default_deadline_ms"] == pytest.approx(60_000)
    (batch,) = told["recent_batches"]
    assert (batch["predicted_ms"], batch["ms"]) == (1000, 1200)
    assert batch["because"] == "a slot was free and this was all that was queued"
    assert told["layout"] == {"instances": 1, "threads": 2, "available": ["1 x 2 threads"]}


class TimedRunner(PuppetRunner):
    """Runs that take ``seconds(rows)`` of virtual time."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        super().__init__()
        self._seconds = seconds

    def start(self, job: Job, done: Callable[[RunResult], None]) -> Callable[[], None]:
        seconds = self._seconds(sum(len(part["x"]) for part in job.parts))
        outcomes = [{"y": part["x"]} for part in job.parts]
        loop = asyncio.get_running_loop()
        loop.call_later(seconds, lambda: done(RunResult(outcomes, seconds)))
        return lambda: None


@story
async def test_a_light_model_keeps_its_share_beside_one_that_is_overloaded() -> None:
    loop = asyncio.get_running_loop()
    dispatcher = Dispatcher(loop.time, cores=1)
    latencies: dict[str, list[float]] = {"heavy": [], "light": []}
    refused = {"heavy": 0, "light": 0}

    def worker(seconds: Callable[[int], float]) -> Worker:
        points = tuple((rows, seconds(rows)) for rows in (1, 2, 4, 8, 16, 32, 64))
        profiles = (Profile(Layout(1, 1), points, 2),)
        model = replace(info(policy=BatchPolicy(64, default_deadline=0.4)), profiles=profiles)
        return Worker(model, TimedRunner(seconds), Notebook(), dispatcher)

    async def ask(name: str, model: Worker) -> None:
        began = loop.time()
        try:
            await infer(model, InferenceRequest(REF, rows(1)))
        except Overloaded:
            refused[name] += 1
        else:
            latencies[name].append(loop.time() - began)

    async def arrive(name: str, model: Worker, gap: float, count: int) -> None:
        tasks = []
        for _ in range(count):
            await asyncio.sleep(gap)
            tasks.append(loop.create_task(ask(name, model)))
        await asyncio.gather(*tasks)

    heavy, light = worker(lambda n: 0.004 + 0.0005 * n), worker(lambda n: 0.003)
    await asyncio.gather(arrive("heavy", heavy, 1 / 3600, 3000), arrive("light", light, 1 / 20, 16))
    assert refused["heavy"] > 500, "it gets twice of what it can do"
    assert refused["light"] == 0
    assert max(latencies["light"]) < 0.1
