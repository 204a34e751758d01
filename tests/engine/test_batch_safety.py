"""In production: a violation of batch safety turns the model to whole, and nobody gets an error."""

import asyncio
from typing import Any

import numpy as np
import pytest

from inference_service.core.errors import ExecutionFailed, RowsMismatch
from inference_service.core.guard import Guard
from inference_service.core.tensors import BatchMode
from inference_service.engine.keys import equal_key
from tests.engine.test_worker import Stage, info, settle, story, values

APART = RowsMismatch("output 'y' has shape [1] for a batch of 2 rows")


@story
async def test_rows_that_do_not_fit_are_computed_again_each_request_alone() -> None:
    stage = Stage()
    asked = [stage.ask(1), stage.ask(2, 3)]
    await settle()
    run = stage.runner.next()
    assert run.rows == [1, 2, 3]
    run.end([APART, APART])
    await settle()
    alone = []
    for _ in asked:
        again = stage.runner.next()
        assert again.job.alone
        alone.append(again.rows)
        again.answer()
        await settle()
    assert sorted(alone) == [[1], [2, 3]]
    assert [values(await task) for task in asked] == [[2], [4, 6]]
    assert stage.notebook.violations == [stage.worker.info.ref]


@story
async def test_what_was_queued_to_be_merged_runs_alone_after_a_violation() -> None:
    stage = Stage()
    first = stage.ask(1)
    await settle()
    run = stage.runner.next()
    queued = [stage.ask(2), stage.ask(3)]
    await settle()
    stage.worker.violated("a difference")
    run.answer()
    await settle()
    for wanted in ([2], [3]):
        again = stage.runner.next()
        assert (again.job.alone, again.rows) == (True, wanted)
        again.answer()
        await settle()
    assert [values(await task) for task in (first, *queued)] == [[2], [4], [6]]


@story
async def test_a_violation_is_told_once_and_the_model_is_whole_from_then_on() -> None:
    stage = Stage()
    stage.worker.violated("rows differ")
    stage.worker.violated("again")
    told = stage.worker.info
    assert told.signature.mode is BatchMode.WHOLE
    assert told.safety.refuted == "rows differ"
    assert "requests are not batched any more: rows differ" in told.warnings
    assert stage.notebook.violations == [told.ref]
    asked = [stage.ask(1), stage.ask(2)]
    await settle()
    run = stage.runner.next()
    assert run.rows == [1]
    run.answer()
    await settle()
    stage.runner.next().answer()
    assert [values(await task) for task in asked] == [[2], [4]]


@story
async def test_a_lone_run_that_does_not_fit_is_no_endless_loop() -> None:
    stage = Stage()
    stage.worker.violated("rows differ")
    task = stage.ask(1)
    await settle()
    stage.runner.next().end([APART])
    with pytest.raises(ExecutionFailed):
        await task
    assert not stage.runner.runs


@story
async def test_a_request_that_may_not_share_a_run_is_not_cut_either() -> None:
    model = info()
    object.__setattr__(model, "guard", Guard(conditions=[lambda shapes: shapes["x"][0] < 5]))
    stage = Stage(model)
    asked = [stage.ask(*range(6)), stage.ask(7), stage.ask(8)]
    await settle()
    alone = stage.runner.next()
    assert (alone.job.alone, alone.rows) == (True, [0, 1, 2, 3, 4, 5]), "max_batch_size is 4"
    alone.answer()
    await settle()
    merged = stage.runner.next()
    assert (merged.job.alone, merged.rows) == (False, [7, 8])
    merged.answer()
    assert [values(await task) for task in asked] == [[0, 2, 4, 6, 8, 10], [14], [16]]


# Audits

DIFFERENCE = "a row's output 'y' alone is not what it was among other requests'"


async def merged_run(stage: Stage) -> None:
    tasks = [stage.ask(1), stage.ask(2, 3)]
    await settle()
    stage.runner.next().answer()
    await asyncio.gather(*tasks)


@story
async def test_a_row_of_a_merged_run_is_run_again_when_idle() -> None:
    stage = Stage()
    await merged_run(stage)
    assert not stage.runner.audits, "first things first"
    await asyncio.sleep(0.1)
    ((audit, done),) = stage.runner.audits
    assert (audit.part, audit.row) == (0, 0)
    assert [len(part["x"]) for part in audit.job.parts] == [1, 2]
    done("")
    await merged_run(stage)
    await asyncio.sleep(0.1)
    assert len(stage.runner.audits) == 1, "at most once a second"
    await asyncio.sleep(10.0)
    await merged_run(stage)
    await asyncio.sleep(0.1)
    audit, done = stage.runner.audits[1]
    assert (audit.part, audit.row) == (1, 1), "each row has its turn"
    for _ in range(2):
        done(DIFFERENCE)
        assert stage.worker.info.signature.mode is BatchMode.MERGE, "it is compared again first"
        again, done = stage.runner.audits[-1]
        assert again is audit
    done(DIFFERENCE)
    assert stage.worker.info.signature.mode is BatchMode.WHOLE
    assert stage.notebook.violations == [stage.worker.info.ref]


@story
async def test_a_difference_that_does_not_come_again_ends_nothing() -> None:
    stage = Stage()
    await merged_run(stage)
    await asyncio.sleep(0.1)
    _, done = stage.runner.audits[-1]
    done(DIFFERENCE)
    _, done = stage.runner.audits[-1]
    done("")
    assert stage.worker.info.signature.mode is BatchMode.MERGE
    assert not stage.notebook.violations
    await asyncio.sleep(10.0)
    await merged_run(stage)
    await asyncio.sleep(0.1)
    assert len(stage.runner.audits) == 3, "audits go on"


@story
async def test_a_slow_audit_is_followed_by_a_hundredfold_pause() -> None:
    stage = Stage()
    await merged_run(stage)
    await asyncio.sleep(0.1)
    _, done = stage.runner.audits.pop()
    await asyncio.sleep(2.0)
    done("")
    await asyncio.sleep(199.0)
    await merged_run(stage)
    await asyncio.sleep(0.1)
    assert not stage.runner.audits
    await asyncio.sleep(10.0)
    await merged_run(stage)
    await asyncio.sleep(0.1)
    assert len(stage.runner.audits) == 1


@story
async def test_nothing_is_audited_while_requests_wait_or_run() -> None:
    stage = Stage()
    await merged_run(stage)
    task = stage.ask(9)
    await asyncio.sleep(0.9)
    assert not stage.runner.audits
    stage.runner.next().answer()
    await task
    await asyncio.sleep(0.2)
    assert len(stage.runner.audits) == 1


@story
async def test_lone_requests_and_models_that_do_not_merge_are_not_audited() -> None:
    stage = Stage()
    task = stage.ask(1)
    await settle()
    stage.runner.next().answer()
    await task
    whole = Stage(info(mode=BatchMode.WHOLE))
    task = whole.ask(1)
    await settle()
    whole.runner.next().answer()
    await task
    await asyncio.sleep(5)
    assert not stage.runner.audits
    assert not whole.runner.audits


def test_equal_keys_are_equal_for_equal_bytes_alone() -> None:
    large = np.zeros(4096, np.float32)
    other = large.copy()
    other[-1] = -0.0
    arrays: list[Any] = [
        np.array(1, np.int64), np.array(1, np.int32), np.array([1], np.int64), np.array(2, np.int64),
        large, other, np.array(["a", "b"], object), np.array(["ab", ""], object), None,
    ]  # fmt: skip
    keys = [equal_key([array]) for array in arrays]
    assert len(set(keys)) == len(keys)
    assert equal_key([large.copy()]) == equal_key([large])
    assert equal_key([np.zeros(2**20, np.float32)]) is None, "more than is hashed"
    assert len(equal_key([large])[0][2]) == 32  # type: ignore[index]
