"""Loaded models keep within a budget: the longest unused go, and come back on demand."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.errors import (
    DeadlineExceeded,
    InvalidInput,
    ModelNotReady,
    Overloaded,
)
from inference_service.core.lifecycle import State
from inference_service.core.requests import InferenceRequest, ModelRef
from inference_service.engine.awaiting import infer
from inference_service.engine.budget import Budget, Resident, to_evict
from inference_service.engine.engine import LocalEngine
from inference_service.engine.interfaces import Job, ModelInfo, Runner, RunResult
from inference_service.engine.manager import Manager
from inference_service.engine.versions import AS_USUAL, Choice, Loader, VersionSource
from tests.engine.puppets import Notebook, PuppetRunner, rows
from tests.engine.test_worker import info
from tests.support import until

REFS = [ModelRef(name, 1) for name in "abcdef"]


class Doubler(PuppetRunner):
    """Answers at once."""

    def start(self, job: Job, done: Callable[[RunResult], None]) -> Callable[[], None]:
        stop = super().start(job, done)
        asyncio.get_running_loop().call_soon(self.next().answer)
        return stop


class Bench:
    """A manager of models of 10 bytes each, and what was loaded, in order."""

    def __init__(self, total: int, *names: str, pinned: str = "") -> None:
        self.engine = LocalEngine()
        self.manager = Manager(
            self.engine, Notebook(), budget=Budget(total, frozenset(pinned)), time_limit=10
        )
        self.names = names
        self.loads: list[str] = []
        self.runners: dict[str, Doubler] = {}
        self.broken: set[str] = set()

    def loader(self, name: str) -> Loader:
        def load(warming: Callable[[], None]) -> tuple[ModelInfo, Runner]:
            if name in self.broken:
                raise ValueError("its file is gone")
            self.loads.append(name)
            warming()
            self.runners[name] = Doubler()
            self.runners[name].memory_bytes = 10
            return replace(info(), name=name), self.runners[name]

        return load

    async def start(self) -> None:
        for name in self.names:
            await self.manager.load_all([self.source(name)])

    def source(self, name: str, files: str = "as they were") -> VersionSource:
        return VersionSource(name, 1, self.loader(name), files)

    async def load(self, name: str, choice: Choice = AS_USUAL, files: str = "as they were") -> None:
        await self.manager.load(name, [self.source(name, files)], choice)

    async def ask(self, name: str, deadline: float = 5.0) -> float:
        model = self.engine.resolve(ModelRef(name))
        until = self.engine.clock() + deadline
        answer = await infer(model, InferenceRequest(ModelRef(name), rows(3), deadline=until))
        return float(answer.outputs["y"][0, 0])

    def awake(self) -> str:
        return "".join(worker.info.name for worker in self.engine.workers())


async def test_the_longest_unused_goes_and_comes_back_with_its_next_request() -> None:
    bench = Bench(20, "a", "b")
    await bench.start()
    assert bench.awake() == "ab"
    assert await bench.ask("a") == 6.0
    await bench.load("c")
    assert bench.awake() == "ac"
    assert bench.runners["b"].closed
    status = next(one for one in bench.engine.statuses() if one.name == "b")
    assert status.state is State.READY
    assert "unloaded to make room" in status.error
    assert bench.engine.describe(ModelRef("b")).name == "b"
    assert bench.loads == ["a", "b", "c"], "to ask what it is loads nothing"
    assert await bench.ask("b") == 6.0
    assert bench.loads == ["a", "b", "c", "b"]
    assert bench.awake() == "bc"


async def test_many_requests_wait_for_one_load_and_all_are_answered() -> None:
    bench = Bench(10, "a", "b")
    await bench.start()
    answers = await asyncio.gather(*(bench.ask(name) for name in "aabbaabb"))
    assert answers == [6.0] * 8
    assert len(bench.loads) <= 2 + 3


async def test_what_is_pinned_stays() -> None:
    bench = Bench(20, "a", "b", "c", pinned="a")
    await bench.start()
    assert bench.awake() == "ac"


async def test_without_a_budget_nothing_goes() -> None:
    bench = Bench(20, "a", "b", "c")
    bench.manager._residence._budget = None
    await bench.start()
    assert bench.awake() == "abc"


async def test_a_request_is_refused_whose_deadline_a_load_does_not_keep() -> None:
    bench = Bench(10, "a", "b")
    await bench.start()
    sleeping = bench.engine.resolve(ModelRef("a"))
    sleeping.seconds = 4.0  # type: ignore[union-attr]
    refusal = sleeping.refusal(bench.engine.clock() + 3)
    assert isinstance(refusal, Overloaded)
    assert refusal.retry_after == 4.0
    assert sleeping.refusal(bench.engine.clock() + 5) is None
    await asyncio.sleep(0)
    assert await bench.ask("a") == 6.0


async def test_a_request_whose_deadline_passes_meanwhile_ends_in_time() -> None:
    bench = Bench(10, "a", "b")
    await bench.start()
    await bench.manager._changing.acquire()  # something else is being loaded
    with pytest.raises(DeadlineExceeded, match="while the model was being loaded"):
        await bench.ask("a", deadline=0.02)
    bench.manager._changing.release()
    assert await bench.ask("a") == 6.0


async def test_a_request_that_is_cancelled_meanwhile_gets_no_answer() -> None:
    bench = Bench(10, "a", "b")
    await bench.start()
    asking = asyncio.create_task(bench.ask("a"))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await bench.ask("a") == 6.0
    assert not bench.runners["a"].runs


async def test_a_model_that_can_not_come_back_has_failed() -> None:
    bench = Bench(10, "a", "b")
    await bench.start()
    bench.broken.add("a")
    with pytest.raises(ModelNotReady, match="failed to load: its file is gone"):
        await bench.ask("a")
    assert bench.engine.state("a", 1) is State.FAILED
    assert await bench.ask("b") == 6.0
    bench.broken.clear()
    await bench.load("a")
    assert await bench.ask("a") == 6.0


async def test_an_admins_load_wakes_a_model_and_ends_when_it_is_there() -> None:
    bench = Bench(10, "a", "b")
    await bench.start()
    await bench.load("a")
    assert bench.awake() == "a"
    assert bench.loads == ["a", "b", "a"]
    await bench.load("a")
    assert bench.loads == ["a", "b", "a"], "what is awake stays as it is"


async def test_a_look_at_the_repository_wakes_nothing() -> None:
    bench = Bench(10, "a", "b")
    await bench.start()
    await bench.load("a", Choice(watched=True))
    assert bench.awake() == "b"


async def test_an_admin_is_told_why_a_model_can_not_be_woken() -> None:
    bench = Bench(10, "a", "b")
    await bench.start()
    bench.broken.add("a")
    with pytest.raises(InvalidInput, match="model 'a': version 1: its file is gone"):
        await bench.load("a")
    assert bench.engine.state("a", 1) is State.FAILED
    assert bench.awake() == ""


async def test_requests_and_an_admin_wake_a_model_once() -> None:
    bench = Bench(10, "a", "b")
    await bench.start()
    answer, _, other = await asyncio.gather(bench.ask("a"), bench.load("a"), bench.ask("a"))
    assert (answer, other) == (6.0, 6.0)
    assert bench.loads == ["a", "b", "a"]


async def test_a_model_whose_files_changed_while_it_slept_is_loaded_once() -> None:
    bench = Bench(10, "a", "b")
    await bench.start()
    waiting = asyncio.create_task(bench.ask("a"))
    await bench.load("a", files="changed")
    assert await waiting == 6.0
    loads = len(bench.loads)
    await bench.load("a", files="changed")
    assert len(bench.loads) == loads


async def test_a_model_that_sleeps_can_be_unloaded() -> None:
    bench = Bench(10, "a", "b")
    await bench.start()
    await bench.manager.unload("a")
    assert bench.engine.state("a", 1) is State.UNLOADED
    assert bench.awake() == "b"


async def test_a_candidate_is_reached_by_no_request_before_it_is_activated() -> None:
    bench = Bench(100, "a")
    await bench.start()
    old = bench.runners["a"]
    candidate = await bench.manager.prepare(VersionSource("a", 1, bench.loader("a"), "new"))
    assert bench.runners["a"] is not old
    resolved = bench.engine.resolve(ModelRef("a"))
    assert resolved is not candidate.worker
    await bench.manager.activate(candidate)
    assert bench.engine.resolve(ModelRef("a")) is candidate.worker
    await until(lambda: old.closed)
    late = await infer(resolved, InferenceRequest(ModelRef("a"), rows(4), deadline=float("inf")))
    assert late.outputs["y"][0, 0] == 8.0, "found before the swap, answered after it"


async def test_a_candidate_that_is_discarded_leaves_the_current_one_alone() -> None:
    bench = Bench(100, "a")
    await bench.start()
    old = bench.runners["a"]
    candidate = await bench.manager.prepare(VersionSource("a", 1, bench.loader("a"), "new"))
    await bench.manager.staging.discard(candidate)
    assert bench.runners["a"].closed
    assert not old.closed
    assert await bench.ask("a") == 6.0


@given(
    st.lists(st.tuples(st.integers(0, 50), st.floats(0, 9)), max_size=6),
    st.integers(1, 100),
    st.integers(0, 40),
    st.sets(st.sampled_from(REFS)),
)
def test_what_is_evicted_is_needed_and_the_longest_unused(
    sizes: list[tuple[int, float]], budget: int, needed: int, keep: set[ModelRef]
) -> None:
    loaded = [Resident(ref, memory, used) for ref, (memory, used) in zip(REFS, sizes, strict=False)]
    gone = to_evict(loaded, budget, needed, keep)
    assert not keep & set(gone)
    left = [one for one in loaded if one.ref not in gone]
    free = [one for one in left if one.ref not in keep and one.memory]
    total = needed + sum(one.memory for one in left)
    assert total <= budget or not free
    if gone:
        last = next(one for one in loaded if one.ref == gone[-1])
        assert total + last.memory > budget, "the last one had to go"
        assert all(one.used_at >= last.used_at for one in free)
