"""Swaps of versions in the engine: gate, atomic swap, standby, rollback."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from inference_service.core.errors import InvalidInput
from inference_service.core.lifecycle import State
from inference_service.core.regression import Outcomes
from inference_service.core.requests import InferenceRequest, ModelRef
from inference_service.core.routing import Routing, Shadow
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.tensors import DType, Signature, TensorSpec
from inference_service.engine.awaiting import infer
from inference_service.engine.engine import LocalEngine
from inference_service.engine.gate import Golden
from inference_service.engine.interfaces import Job, ModelInfo, Runner, RunResult
from inference_service.engine.manager import Manager
from inference_service.engine.rollout import Rollout, RolloutRules
from inference_service.engine.shadow import MOST
from inference_service.engine.versions import Choice, Loader, VersionSource
from tests.engine.puppets import Notebook, PuppetRunner, rows
from tests.engine.test_worker import info
from tests.support import until


class Factor(PuppetRunner):
    """Answers each run at once."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.hangs = False

    def start(self, job: Job, done: Callable[[RunResult], None]) -> Callable[[], None]:
        if self.hangs:
            return super().start(job, done)
        factor = np.float32(self.factor)
        done(RunResult([{"y": np.multiply(part["x"], factor)} for part in job.parts], 0.001))
        return lambda: None


class Bench:
    """A model whose version n multiplies by n; ``counts`` are its requests so far."""

    def __init__(self, rules: RolloutRules | None = None) -> None:
        self.engine = LocalEngine()
        self.counts: dict[int, Outcomes] = {}
        self.told: list[tuple[int, str]] = []
        rollout = Rollout(
            self.engine,
            rules or RolloutRules(linger=0.05, watch=30),
            lambda _, version: self.counts.get(version, Outcomes()),
            lambda _, version, outcome: self.told.append((version, outcome)),
        )
        self.manager = Manager(self.engine, Notebook(), rollout=rollout)
        self.runners: dict[object, Factor] = {}

    def source(
        self, version: int, fingerprint: object = "a", factor: float | None = None,
        signature: Signature | None = None, goldens: Sequence[Golden] = (), error: str = "",
        routing: Routing | None = None,
    ) -> VersionSource:  # fmt: skip
        def load(warming: Callable[[], None]) -> tuple[ModelInfo, Runner]:
            if error:
                raise ValueError(error)
            warming()
            runner = self.runners[version, fingerprint] = Factor(factor or version)
            found = info(version=version, policy=BatchPolicy(max_batch_size=8))
            return replace(found, signature=signature or found.signature), runner

        loader: Loader = load
        return VersionSource(
            "m", version, loader, fingerprint, lambda _: goldens, routing or Routing()
        )

    async def ask(self, version: int | None = None, client: str = "") -> float:
        model = self.engine.resolve(ModelRef("m", version), client)
        answer = await infer(model, InferenceRequest(model.info.ref, rows(1)))
        return float(answer.outputs["y"][0, 0])

    def state(self, version: int) -> State | None:
        return self.engine.state("m", version)

    def reason(self, version: int) -> str:
        return next(one.error for one in self.engine.statuses() if one.version == version)


async def started(bench: Bench, version: int = 1) -> Bench:
    await bench.manager.load_all([bench.source(version)])
    return bench


async def test_a_new_version_takes_over_at_once_and_the_old_ends_its_requests() -> None:
    bench = await started(Bench(RolloutRules(linger=1.0, watch=0)))
    found = bench.engine.resolve(ModelRef("m"))  # its body is still on its way
    await bench.manager.load("m", [bench.source(2)])
    assert await bench.ask() == 2
    answer = await infer(found, InferenceRequest(found.info.ref, rows(1)))
    assert answer.model == ModelRef("m", 1)
    assert answer.outputs["y"][0, 0] == 1, "the version that was found answers"
    assert bench.state(1) is State.DRAINING
    await until(lambda: bench.state(1) is State.UNLOADED)
    assert bench.runners[1, "a"].closed


async def test_changed_files_of_a_version_are_swapped() -> None:
    bench = await started(Bench())
    await bench.manager.load("m", [bench.source(1, "b", factor=5)])
    assert await bench.ask() == 5
    assert not bench.runners[1, "a"].closed, "it can be taken back"


async def test_a_broken_version_leaves_the_working_one_and_its_reason_is_told() -> None:
    bench = await started(Bench())
    with pytest.raises(InvalidInput, match="version 2: ValueError: truncated"):
        await bench.manager.load("m", [bench.source(2, error="truncated")])
    assert await bench.ask() == 1
    assert (bench.state(2), bench.reason(2)) == (State.FAILED, "ValueError: truncated")
    with pytest.raises(InvalidInput, match="truncated"):
        await bench.manager.load("m", [bench.source(1, "b", error="truncated")])
    assert await bench.ask() == 1
    assert bench.state(1) is State.READY
    assert bench.reason(1) == "the changed files are not served: truncated"
    await bench.manager.load("m", [bench.source(1, "c", factor=3)])
    assert (await bench.ask(), bench.reason(1)) == (3, "")


async def test_a_version_that_fails_at_the_start_leaves_its_place_to_the_one_before() -> None:
    bench = Bench()
    first = bench.source(1)
    torn = replace(bench.source(2, error="torn"), earlier=first)
    await bench.manager.load_all([replace(bench.source(3, error="cut"), earlier=torn)])
    assert await bench.ask() == 1
    assert bench.manager.problem() is None, "the model answers"
    assert (bench.state(3), bench.reason(3)) == (State.FAILED, "ValueError: cut")
    await bench.manager.load("m", [bench.source(3, "b")], Choice(watched=True))
    assert await bench.ask() == 3


async def test_where_another_version_is_served_no_earlier_one_is_tried() -> None:
    bench = Bench()
    torn = replace(bench.source(2, error="torn"), earlier=bench.source(1))
    await bench.manager.load_all([bench.source(3), torn])
    assert (await bench.ask(), bench.state(1)) == (3, None)


def other() -> Signature:
    return Signature(
        (TensorSpec("x", DType.FP32, (None, 2)),), (TensorSpec("z", DType.FP32, (None,)),)
    )


async def test_a_version_with_another_signature_needs_force() -> None:
    bench = await started(Bench())
    with pytest.raises(InvalidInput, match="output 'y' is gone; load it with force"):
        await bench.manager.load("m", [bench.source(2, signature=other())])
    assert await bench.ask() == 1
    assert bench.runners[2, "a"].closed, "what is refused is freed"
    assert (2, "failed") in bench.told
    await bench.manager.load("m", [bench.source(2, signature=other())], Choice(force=True))
    assert bench.engine.describe(ModelRef("m")).version == 2


def golden(expected: float) -> Golden:
    return Golden("golden/one.json", rows(1), {"y": np.array([[expected, 0]], np.float32)})


async def test_a_version_that_answers_golden_requests_otherwise_is_refused() -> None:
    bench = await started(Bench())
    with pytest.raises(InvalidInput, match=r"golden/one.json: output 'y' differs in 1 of 2 values"):
        await bench.manager.load("m", [bench.source(2, goldens=[golden(2.1)])])
    assert await bench.ask() == 1
    await bench.manager.load("m", [bench.source(2, goldens=[golden(2.0001)])])
    assert await bench.ask() == 2


async def test_the_version_before_is_taken_back_without_a_load() -> None:
    bench = await started(Bench())
    await bench.manager.load("m", [bench.source(2)])
    old = bench.runners[1, "a"]
    assert await bench.manager.rollback("m") == "version 1 answers again"
    assert (await bench.ask(), bench.state(1)) == (1, State.READY)
    assert bench.runners[1, "a"] is old
    await until(lambda: bench.state(2) is State.UNLOADED)
    assert bench.reason(2) == "rolled back: on request"
    assert bench.runners[2, "a"].closed


async def test_what_was_rolled_back_is_not_loaded_again_before_it_changes() -> None:
    bench = await started(Bench())
    await bench.manager.load("m", [bench.source(2)])
    await bench.manager.rollback("m")
    with pytest.raises(InvalidInput, match="rolled back, and has not changed"):
        await bench.manager.load("m", [bench.source(2)], Choice(watched=True))
    assert await bench.ask() == 1
    await bench.manager.load("m", [bench.source(2, "fixed")], Choice(watched=True))
    assert await bench.ask() == 2


async def test_changed_files_are_rolled_back() -> None:
    bench = await started(Bench())
    await bench.manager.load("m", [bench.source(1, "b", factor=7)])
    await bench.manager.rollback("m")
    assert await bench.ask() == 1
    assert bench.reason(1) == "the changed files were rolled back: on request"


async def test_a_version_that_is_gone_from_memory_is_loaded_again() -> None:
    bench = await started(Bench(RolloutRules(linger=0, watch=0)))
    await bench.manager.load("m", [bench.source(2)])
    await until(lambda: bench.state(1) is State.UNLOADED)
    await bench.manager.rollback("m")
    assert await bench.ask() == 1


async def test_a_first_version_has_nothing_to_go_back_to() -> None:
    bench = await started(Bench())
    with pytest.raises(InvalidInput, match="model 'm' has no version to go back to"):
        await bench.manager.rollback("m")


async def test_failures_after_a_swap_take_the_version_before_back() -> None:
    bench = await started(Bench())
    bench.counts[1] = Outcomes(500, 1)
    await bench.manager.load("m", [bench.source(2)])
    bench.counts[2] = Outcomes(40, 40)
    await until(lambda: bench.state(1) is State.READY)
    assert await bench.ask() == 1
    assert bench.told[-1] == (2, "rolled_back")
    assert "40 of 40 requests failed after the swap" in bench.reason(2)


async def test_failures_as_before_change_nothing() -> None:
    bench = await started(Bench(RolloutRules(linger=0, watch=0.6)))
    bench.counts[1] = Outcomes(500, 250)
    await bench.manager.load("m", [bench.source(2)])
    bench.counts[2] = Outcomes(40, 20)
    await until(lambda: bench.state(1) is State.UNLOADED)
    assert await bench.ask() == 2


async def test_a_promoted_version_answers_what_names_none() -> None:
    bench = await started(Bench())
    both = [bench.source(2), bench.source(1)]
    await bench.manager.load("m", both)
    assert await bench.ask() == 2
    await bench.manager.load("m", both, Choice(default=1))
    assert (await bench.ask(), await bench.ask(2)) == (1, 2)
    await bench.manager.rollback("m")
    assert await bench.ask() == 2


async def test_versions_share_requests_by_client() -> None:
    bench = await started(Bench())
    routing = Routing({1: 1, 2: 1})
    both = [bench.source(version, routing=routing) for version in (2, 1)]
    await bench.manager.load("m", both)
    clients = [f"c{i}" for i in range(40)]
    first = [await bench.ask(client=client) for client in clients]
    assert set(first) == {1, 2}
    assert first == [await bench.ask(client=client) for client in clients]
    assert {await bench.ask() for _ in range(20)} == {1, 2}, "each counts for itself"


async def test_no_request_fails_in_fifty_swaps_under_load() -> None:
    bench = await started(Bench(RolloutRules(linger=0.05, watch=0)))
    stop = False

    async def client() -> int:
        asked = 0
        while not stop:
            model = bench.engine.resolve(ModelRef("m"))
            await asyncio.sleep(0)  # the body
            answer = await infer(model, InferenceRequest(model.info.ref, rows(1)))
            assert answer.outputs["y"][0, 0] == answer.model.version == model.info.version
            asked += 1
        return asked

    clients = [asyncio.create_task(client()) for _ in range(32)]
    for version in range(2, 52):
        broken = version % 5 == 0
        load = bench.manager.load("m", [bench.source(version, error="torn" if broken else "")])
        if broken:
            with pytest.raises(InvalidInput, match="torn"):
                await load
        else:
            await load
            assert bench.engine.describe(ModelRef("m")).version == version
    stop = True
    assert min(await asyncio.gather(*clients)) > 0


async def test_copies_for_the_shadow_delay_nothing_and_are_compared() -> None:
    bench = await started(Bench())
    routing = Routing(shadow=Shadow(2, 0.5))
    both = [bench.source(version, routing=routing) for version in (2, 1)]
    await bench.manager.load("m", both)
    assert [await bench.ask() for _ in range(4)] == [1] * 4, "the shadow answers no client"
    await asyncio.sleep(0)
    (sums,) = bench.engine.comparisons().values()
    assert (sums.compared, sums.different, sums.difference) == (2, 2, 1.0)
    assert bench.reason(2).startswith("shadow: 2 of 2 answers differ, by up to 1;")


async def test_a_shadow_that_fails_or_hangs_harms_nobody() -> None:
    bench = await started(Bench())
    routing = Routing(shadow=Shadow(2, 1.0))
    await bench.manager.load("m", [bench.source(v, routing=routing) for v in (2, 1)])
    bench.runners[2, "a"].hangs = True
    assert [await bench.ask() for _ in range(MOST + 8)] == [1] * (MOST + 8)
    (sums,) = bench.engine.comparisons().values()
    assert sums.under_way <= MOST
    assert sums.dropped >= 1
