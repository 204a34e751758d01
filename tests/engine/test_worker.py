"""The batch loop of one model version, with a puppet for a runner and in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import numpy as np
import pytest

from inference_service.core.errors import (
    DeadlineExceeded,
    ExecutionFailed,
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    Overloaded,
)
from inference_service.core.lifecycle import ReadyWhen, State
from inference_service.core.requests import InferenceRequest, InferenceResponse, ModelRef
from inference_service.core.scheduling.layout import Layout, Profile
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.tensors import BatchMode, DType, Signature, Tensors, TensorSpec
from inference_service.engine.awaiting import infer
from inference_service.engine.dispatcher import Dispatcher
from inference_service.engine.engine import LocalEngine
from inference_service.engine.interfaces import ModelInfo, ProcessState, Runner
from inference_service.engine.manager import Manager
from inference_service.engine.versions import VersionSource
from inference_service.engine.worker import Worker
from tests.engine.puppets import Notebook, PuppetRunner, rows
from tests.virtual_time import run_virtual

REF = ModelRef("m")


def info(
    *,
    mode: BatchMode = BatchMode.MERGE,
    policy: BatchPolicy | None = None,
    width: int | None = 2,
    version: int = 1,
    slots: int = 1,
) -> ModelInfo:
    signature = Signature(
        (TensorSpec("x", DType.FP32, (None, width)),),
        (TensorSpec("y", DType.FP32, (None, width)), TensorSpec("z", DType.FP32, (None,))),
        mode,
    )
    policy = policy or BatchPolicy(4, 8)
    return ModelInfo("m", version, signature, policy, profiles=(Profile(Layout(slots, 1)),))


class Stage:
    """A worker, its puppet and its observer; requests are started as tasks."""

    def __init__(
        self, model: ModelInfo | None = None, slots: int = 1, dispatcher: Dispatcher | None = None
    ) -> None:
        self.runner = PuppetRunner()
        self.notebook = Notebook()
        self.dispatcher = dispatcher or Dispatcher(asyncio.get_running_loop().time)
        self.worker = Worker(
            model or info(slots=slots), self.runner, self.notebook, self.dispatcher
        )

    def ask(
        self, *values: float, inputs: Tensors | None = None, deadline: float = float("inf"),
        outputs: tuple[str, ...] = (),
    ) -> asyncio.Task[InferenceResponse]:  # fmt: skip
        request = InferenceRequest(REF, inputs or rows(*values), outputs, deadline=deadline)
        return asyncio.get_running_loop().create_task(infer(self.worker, request))

    async def learn(self, seconds: float) -> None:
        """Run until the worker knows that a row costs so much."""
        for _ in range(60):
            task = self.ask(0)
            await settle()
            self.runner.next().answer(seconds=seconds)
            await task


async def settle() -> None:
    """Let everything that is ready run."""
    for _ in range(10):
        await asyncio.sleep(0)


def done_with(task: asyncio.Task[InferenceResponse]) -> BaseException | None:
    """The error that it has ended with."""
    return task.exception() if task.done() else None


def values(response: InferenceResponse) -> list[float]:
    return [float(v) for v in response.outputs["y"][:, 0]]


def story(tell: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """A test that is told in virtual time."""

    def test() -> None:
        async def run() -> None:
            await tell()

        run_virtual(run())

    test.__doc__ = tell.__doc__
    return test


@story
async def test_requests_of_one_tick_share_one_run() -> None:
    stage = Stage()
    asked = [stage.ask(i) for i in range(3)]
    await settle()
    run = stage.runner.next()
    assert run.rows == [0, 1, 2]
    run.answer()
    assert [values(await task) for task in asked] == [[0], [2], [4]]
    assert stage.notebook.batches[0].rows == 3


@story
async def test_while_the_slot_is_busy_requests_gather_for_the_next_run() -> None:
    stage = Stage()
    first = stage.ask(1)
    await settle()
    later = [stage.ask(2), stage.ask(3)]
    await settle()
    (run,) = stage.runner.runs
    run.answer()
    stage.runner.runs.clear()
    await settle()
    assert stage.runner.next().rows == [2, 3]
    assert values(await first) == [2]
    for task in later:
        task.cancel()


@story
async def test_two_slots_run_at_the_same_time() -> None:
    stage = Stage(slots=2)
    stage.ask(1)
    await settle()
    stage.ask(2)
    await settle()
    assert len(stage.runner.runs) == 2


@story
async def test_only_equal_shapes_share_a_run() -> None:
    stage = Stage(info(width=None, slots=2))
    stage.ask(inputs={"x": np.zeros((1, 3), np.float32)})
    stage.ask(inputs={"x": np.zeros((1, 5), np.float32)})
    stage.ask(inputs={"x": np.zeros((2, 3), np.float32)})
    await settle()
    assert [[part["x"].shape for part in run.parts] for run in stage.runner.runs] == [
        [(1, 3), (2, 3)],
        [(1, 5)],
    ]


@story
async def test_different_requested_outputs_do_not_share_a_run() -> None:
    stage = Stage(slots=2)
    stage.ask(1, outputs=("y",))
    stage.ask(2, outputs=("z",))
    await settle()
    assert [run.outputs for run in stage.runner.runs] == [("y",), ("z",)]


@story
async def test_a_large_request_is_answered_in_order_although_it_ran_in_chunks() -> None:
    stage = Stage(slots=3)
    task = stage.ask(*range(10))
    await settle()
    first, second, third = stage.runner.runs
    for run in (third, first, second):  # whatever the order in which they end
        run.answer()
    assert values(await task) == [2 * v for v in range(10)]


@story
async def test_while_its_process_is_started_again_requests_wait_or_are_told_when_it_is_back() -> (
    None
):
    stage = Stage()
    stage.runner.own_process = ProcessState(1, 0)
    stage.worker = Worker(stage.worker.info, stage.runner, stage.notebook, stage.dispatcher)
    running = stage.ask(1)
    await settle()
    waits, hurried = stage.ask(2, deadline=10.0), stage.ask(3, deadline=1.0)
    await settle()
    stage.runner.own_process = ProcessState(None, 0, wait=1.5)
    stage.runner.changed()
    late = stage.ask(4, deadline=1.4)
    await settle()
    for task in (hurried, late):
        with pytest.raises(ModelNotReady) as told:
            await task
        assert told.value.retry_after == 1.5
    stage.runner.next().answer()
    await settle()
    assert values(await running) == [2]
    assert not stage.runner.runs, "nothing is started without a process"
    stage.runner.own_process = ProcessState(2, 1)
    stage.runner.changed()
    await settle()
    stage.runner.next().answer()
    assert values(await waits) == [4]


@story
async def test_a_run_that_waits_for_its_process_takes_no_cores_from_other_models() -> None:
    dispatcher = Dispatcher(asyncio.get_running_loop().time, cores=1)
    lost, other = Stage(dispatcher=dispatcher), PuppetRunner()
    lost.runner.own_process = ProcessState(1, 0)
    lost.worker = Worker(lost.worker.info, lost.runner, lost.notebook, dispatcher)
    first = lost.ask(1)
    await settle()
    second = asyncio.ensure_future(
        infer(Worker(info(), other, Notebook(), dispatcher), InferenceRequest(REF, rows(2)))
    )
    await settle()
    assert not other.runs, "the only core is taken"
    lost.runner.own_process = ProcessState(None, 0, wait=1.0)
    lost.runner.changed()
    await settle()
    other.next().answer()
    assert values(await second) == [4]
    lost.runner.own_process = ProcessState(2, 1)
    lost.runner.changed()
    lost.runner.next().answer()
    assert values(await first) == [2]
    assert not dispatcher.busy


@story
async def test_without_memory_to_join_its_chunks_a_request_fails_alone() -> None:
    stage = Stage()

    def join(*_: object) -> Tensors:
        raise MemoryError

    layout = stage.worker.info.signature.rows
    object.__setattr__(layout, "join", join)
    large, other = stage.ask(1, 2, 3, 4, 5), stage.ask(6)
    await settle()
    while not other.done():
        stage.runner.next().answer()
        await settle()
    assert values(await other) == [12]
    with pytest.raises(MemoryError):
        await large
    assert stage.worker.scheduler.requests == 0


@story
async def test_one_guilty_request_fails_alone() -> None:
    stage = Stage()
    good, bad = stage.ask(1), stage.ask(2)
    await settle()
    stage.runner.next().end([{"y": rows(2)["x"]}, ExecutionFailed("poison")])
    assert values(await good) == [2]
    with pytest.raises(ExecutionFailed, match="poison"):
        await bad


@story
async def test_after_a_failed_chunk_the_rest_of_the_request_is_not_run() -> None:
    stage = Stage()
    task = stage.ask(*range(8))
    await settle()
    stage.runner.next().end([ExecutionFailed("poison")])
    with pytest.raises(ExecutionFailed):
        await task
    await settle()
    assert stage.runner.runs == []
    assert stage.worker.queue_rows == 0


@story
async def test_a_cancelled_request_is_not_run() -> None:
    stage = Stage()
    stage.ask(1)
    await settle()
    goes, stays = stage.ask(2), stage.ask(3)
    await settle()
    goes.cancel()
    await settle()
    stage.runner.next().answer()
    await settle()
    assert stage.runner.next().rows == [3]
    stays.cancel()


@story
async def test_cancelling_a_running_request_harms_nobody_in_its_batch() -> None:
    stage = Stage()
    goes, stays = stage.ask(1), stage.ask(2)
    await settle()
    goes.cancel()
    await settle()
    stage.runner.next().answer()
    assert values(await stays) == [4]
    assert goes.cancelled()
    task = stage.ask(3)
    await settle()
    stage.runner.next().answer()
    assert values(await task) == [6], "the loop goes on"


@story
async def test_a_cancel_and_an_answer_in_the_same_tick_do_not_kill_the_worker() -> None:
    stage = Stage()
    goes, stays = stage.ask(1), stage.ask(2)
    await settle()
    run = stage.runner.next()
    goes.cancel()
    run.answer()
    assert values(await stays) == [4]
    await settle()
    assert goes.cancelled()
    await stage.worker.drain()


@story
async def test_a_cancel_and_a_deadline_in_the_same_tick_do_not_kill_the_worker() -> None:
    stage = Stage()
    stage.ask(0)
    await settle()
    task = stage.ask(1, deadline=2.0)
    await asyncio.sleep(2.0)
    task.cancel()
    await settle()
    stage.runner.next().answer()
    again = stage.ask(2)
    await settle()
    stage.runner.next().answer()
    assert values(await again) == [4]


@story
async def test_a_deadline_that_passes_in_the_queue_is_told_and_nothing_is_run() -> None:
    stage = Stage()
    stage.ask(1)
    await settle()
    late = stage.ask(2, deadline=1.5)
    with pytest.raises(DeadlineExceeded, match=r"after 1\.500 s in the queue, it was not run"):
        await late
    stage.runner.next().answer()
    await settle()
    assert stage.runner.runs == []


@story
async def test_a_deadline_that_passes_during_the_run_is_told_at_once() -> None:
    stage = Stage()
    late = stage.ask(2, deadline=1.5)
    with pytest.raises(DeadlineExceeded, match="while it was being run"):
        await late
    assert asyncio.get_running_loop().time() == pytest.approx(1.5)
    stage.runner.next().answer()
    await stage.worker.drain()


@story
async def test_a_request_that_comes_after_its_deadline_is_not_queued() -> None:
    stage = Stage()
    with pytest.raises(DeadlineExceeded):
        await stage.ask(1, deadline=0.0)
    assert stage.worker.queue_rows == 0


@story
async def test_a_full_queue_says_when_to_come_back() -> None:
    stage = Stage(info(policy=BatchPolicy(1, 5)))
    await stage.learn(2.0)
    running = stage.ask(1)
    await settle()
    waiting = [stage.ask(1) for _ in range(5)]
    await settle()
    with pytest.raises(Overloaded) as refusal:
        await stage.ask(2)
    for task in (running, *waiting):
        task.cancel()
    assert refusal.value.retry_after == pytest.approx(5 * 2.0, rel=0.01)


@story
async def test_in_an_overload_of_deadlines_the_start_of_a_run_tells_who_is_refused() -> None:
    stage = Stage(info(policy=BatchPolicy(2)))
    await stage.learn(2.0)
    running = stage.ask(1)
    await settle()
    hopeless, taken, left = (stage.ask(n, deadline=d) for n, d in ((2, 3.0), (3, 4.5), (4, 5.0)))
    with pytest.raises(Overloaded, match="the answer would take about 4 s"):
        await hopeless
    await asyncio.sleep(2.0)
    assert not left.done(), "the next run tells which of the two it is"
    stage.runner.next().answer(seconds=2.0)
    await running
    with pytest.raises(Overloaded, match=r"shed after 2\.000 s in the queue") as refusal:
        await left
    assert refusal.value.reason == "deadline"
    assert refusal.value.retry_after == pytest.approx(5.0, rel=0.01), "after the first one"
    stage.runner.next().answer(seconds=2.0)
    assert values(await taken) == [6]


@story
async def test_requests_that_are_shed_are_told_to_come_one_after_the_other() -> None:
    """Told the same time, they would come back together and be shed again."""
    stage = Stage(info(policy=BatchPolicy(2)))
    await stage.learn(2.0)
    running = stage.ask(1)
    await settle()
    queued = [stage.ask(n, deadline=4.5 + n / 10) for n in range(4)]
    await asyncio.sleep(2.0)
    stage.runner.next().answer(seconds=2.0)
    await running
    await settle()
    pauses = sorted(
        error.retry_after for task in queued if isinstance(error := done_with(task), Overloaded)
    )
    assert len(pauses) == 3
    gaps = [later - sooner for sooner, later in pairwise(pauses)]
    assert all(gap == pytest.approx(2.0, rel=0.01) for gap in gaps), "the work of a row"
    stage.runner.next().answer(seconds=2.0)
    await asyncio.gather(*queued, return_exceptions=True)


@story
async def test_requests_that_run_whole_are_never_merged() -> None:
    stage = Stage(info(mode=BatchMode.WHOLE, policy=BatchPolicy(1, 8), slots=2))
    stage.ask(1, 2)
    stage.ask(3)
    await settle()
    assert [run.rows for run in stage.runner.runs] == [[1, 2], [3]]


@story
async def test_a_model_that_runs_row_by_row_answers_a_request_of_many_rows() -> None:
    stage = Stage(info(mode=BatchMode.SPLIT, policy=BatchPolicy(1, 8)))
    task = stage.ask(1, 2, 3)
    for _ in range(3):
        await settle()
        stage.runner.next().answer()
    assert values(await task) == [2, 4, 6]


@story
async def test_draining_answers_what_was_accepted_and_refuses_what_comes_later() -> None:
    stage = Stage()
    accepted = [stage.ask(1), stage.ask(2)]
    await settle()
    drained = asyncio.ensure_future(stage.worker.drain())
    await settle()
    assert not drained.done()
    with pytest.raises(ModelNotReady, match="is being unloaded"):
        await stage.ask(3)
    stage.runner.next().answer()
    assert [values(await task) for task in accepted] == [[2], [4]]
    await drained


@story
async def test_the_timing_tells_queue_compute_and_company() -> None:
    stage = Stage()
    first = stage.ask(0)
    await settle()
    second = stage.ask(1), stage.ask(2)
    await asyncio.sleep(1.5)
    stage.runner.next().answer(seconds=0.5)
    await first
    await settle()
    stage.runner.next().answer(seconds=0.25)
    timing = (await second[0]).timing
    assert timing.queue == pytest.approx(1.5)
    assert (timing.compute, timing.batch_rows) == (0.25, 2)
    await second[1]


async def engine_with(*versions: int) -> tuple[LocalEngine, dict[int, PuppetRunner]]:
    engine = LocalEngine(asyncio.get_running_loop().time)
    runners = {}
    for version in versions:
        runner = runners[version] = PuppetRunner()
        engine.report("m", version, State.LOADING)
        engine.report("m", version, State.WARMING)
        engine.add(Worker(info(version=version), runner, Notebook(), engine.dispatcher))
    return engine, runners


@story
async def test_the_highest_version_answers_unless_another_is_asked_for() -> None:
    engine, _ = await engine_with(1, 3, 2)
    assert engine.describe(ModelRef("m")).version == 3
    assert engine.describe(ModelRef("m", 2)).version == 2


@story
async def test_unknown_models_and_versions_are_told_with_what_there_is() -> None:
    engine, _ = await engine_with(1, 3)
    with pytest.raises(ModelNotFound, match="unknown model: 'n' is not found; loaded are: 'm'"):
        engine.describe(ModelRef("n"))
    with pytest.raises(ModelNotFound, match="no version 2 loaded; loaded versions: 1, 3"):
        engine.describe(ModelRef("m", 2))
    with pytest.raises(InvalidInput):
        engine.describe(ModelRef(""))


@story
async def test_removing_a_version_drains_it_first() -> None:
    engine, runners = await engine_with(1, 2)
    asked = asyncio.ensure_future(
        infer(engine.resolve(ModelRef("m")), InferenceRequest(ModelRef("m"), rows(1)))
    )
    await settle()
    removed = asyncio.ensure_future(engine.remove("m", 2))
    await settle()
    assert engine.describe(ModelRef("m")).version == 1, "new requests go to the other version"
    assert not removed.done()
    runners[2].next().answer()
    await removed
    assert values(await asked) == [2]
    assert runners[2].closed
    with pytest.raises(ModelNotFound):
        engine.describe(ModelRef("m", 2))


@pytest.mark.parametrize("ready_when", ReadyWhen)
async def test_a_model_that_fails_to_load_fails_alone(ready_when: ReadyWhen) -> None:
    engine = LocalEngine()
    manager = Manager(engine, Notebook(), ready_when=ready_when)

    def broken(warming: Callable[[], None]) -> tuple[ModelInfo, Runner]:
        raise OSError("disk on fire")

    def fine(warming: Callable[[], None]) -> tuple[ModelInfo, Runner]:
        warming()
        return info(), PuppetRunner()

    assert manager.problem() == "models are being loaded"
    await manager.load_all([VersionSource("b", 1, broken), VersionSource("m", 1, fine)])
    assert engine.describe(ModelRef("m")).version == 1
    problem = "model 'b' version 1 failed: OSError: disk on fire"
    assert manager.problem() == (problem if ready_when is ReadyWhen.ALL else None)
    with pytest.raises(ModelNotReady, match="failed to load: OSError: disk on fire"):
        engine.describe(ModelRef("b"))
