"""Runs in threads, or on the event loop for models that cost less than the hop."""

import asyncio
import gc
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference_service.core.errors import InvalidInput
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.tensors import BatchMode
from inference_service.engine.interfaces import Job, RunResult
from inference_service.runtime import memory
from inference_service.runtime import runner as module
from inference_service.runtime.loader import load
from inference_service.runtime.options import LoadOptions
from inference_service.runtime.runner import OrtRunner, Shaping
from inference_service.runtime.session import RuntimeOptions, open_model
from tests import onnx_models
from tests.support import until


def open_runner(model: Any, folder: Path, mode: BatchMode, *, inline: bool) -> OrtRunner:
    opened = open_model(onnx_models.save(model, folder / "m.onnx"), RuntimeOptions(1))
    return OrtRunner("m", {1: opened}, Shaping(mode), 1, inline=inline)


async def run(runner: OrtRunner, *parts: Any) -> tuple[RunResult, threading.Thread]:
    ended: asyncio.Future[tuple[RunResult, threading.Thread]] = asyncio.Future()
    runner.start(Job(parts), lambda result: ended.set_result((result, threading.current_thread())))
    return await asyncio.wait_for(ended, 20)


@pytest.mark.parametrize("inline", [True, False])
async def test_a_batch_is_one_run_and_its_end_is_told_on_the_loop(
    tmp_path: Path, inline: bool
) -> None:
    runner = open_runner(onnx_models.doubler(), tmp_path, BatchMode.MERGE, inline=inline)
    parts = [{"x": np.full((rows, 3), rows, np.float32)} for rows in (1, 2)]
    result, thread = await run(runner, *parts)
    assert [outcome["y"].tolist() for outcome in result.outcomes if isinstance(outcome, dict)] == [
        [[2] * 3],
        [[4] * 3] * 2,
    ]
    assert result.runs == 1
    assert thread is threading.main_thread()
    await runner.aclose()


@pytest.mark.parametrize("inline", [True, False])
async def test_the_guilty_part_of_a_batch_fails_alone(tmp_path: Path, inline: bool) -> None:
    runner = open_runner(onnx_models.embedding(), tmp_path, BatchMode.MERGE, inline=inline)
    result, _ = await run(runner, *({"id": np.array([i], np.int64)} for i in (1, 99, 3, 4)))
    kinds = [isinstance(outcome, InvalidInput) for outcome in result.outcomes]
    assert kinds == [False, True, False, False]
    assert result.runs == 5
    await runner.aclose()


async def test_a_request_that_runs_whole_may_have_outputs_without_rows(tmp_path: Path) -> None:
    runner = open_runner(onnx_models.over_the_batch(), tmp_path, BatchMode.WHOLE, inline=False)
    result, _ = await run(runner, {"x": np.array([[1, 2, 3], [3, 4, 5]], np.float32)})
    (outcome,) = result.outcomes
    assert isinstance(outcome, dict)
    assert outcome["mean"].tolist() == [2, 3, 4]
    await runner.aclose()


async def test_runs_that_turn_out_slow_leave_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = open_runner(onnx_models.doubler(), tmp_path, BatchMode.MERGE, inline=True)
    monkeypatch.setattr(module, "_SLOW", 0.0)
    part = {"x": np.zeros((1, 3), np.float32)}
    for _ in range(8):
        assert runner.inline
        await run(runner, part)
    assert not runner.inline
    await run(runner, part)
    await runner.aclose()


def test_only_cheap_models_of_fixed_shape_run_on_the_event_loop(tmp_path: Path) -> None:
    def inline(model: Any) -> bool:
        path = onnx_models.save(model, tmp_path / "m.onnx")
        options = LoadOptions("m", 1, path, BatchPolicy(8, 64))
        return load(options, lambda: None)[1].inline

    assert inline(onnx_models.doubler())
    assert not inline(onnx_models.heavy())
    assert not inline(onnx_models.any_length()), "a longer input could cost anything"
    assert not inline(onnx_models.over_the_batch()), "it runs whole, with any number of rows"
    assert not inline(onnx_models.repeating()), "a value could cost anything"
    assert not inline(onnx_models.allocating()), "a value could take any memory"


async def test_a_request_that_runs_alone_leaves_the_event_loop(tmp_path: Path) -> None:
    """It may have any number of rows, whatever was measured."""
    runner = open_runner(onnx_models.doubler(), tmp_path, BatchMode.MERGE, inline=True)
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[RunResult] = asyncio.Future()
    part = {"x": np.zeros((1000, 3), np.float32)}
    runner.start(Job([part], alone=True), ended.set_result)
    assert not ended.done()
    assert loop is asyncio.get_running_loop()
    assert len((await asyncio.wait_for(ended, 20)).outcomes) == 1
    await runner.aclose()


def test_the_memory_of_an_outlier_is_given_back(tmp_path: Path) -> None:
    path = onnx_models.save(onnx_models.allocating(), tmp_path / "m.onnx")
    opened = open_model(path, RuntimeOptions(1))
    small = {"n": np.array([[1]])}
    opened.run(small)
    trimmer = memory.Trimmer(small, usual=0)
    before = memory.resident()
    assert opened.run({"n": np.array([[10**8]])})["y"] == 10**8
    assert memory.resident() - before > 300 * 2**20, "the arena keeps it"
    trimmer.after_run(opened)
    assert memory.resident() - before < 64 * 2**20


def test_the_limit_of_memory_is_the_tightest_of_the_cgroups(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "own" / "memory.max").write_text("1000000\n")
    own = tmp_path / "self"
    own.write_text("0::/own\n")
    assert memory.memory_limit(tmp_path, own) == 1_000_000
    (tmp_path / "own" / "memory.max").write_text("max\n")
    assert memory.memory_limit(tmp_path, own) > 1_000_000


@pytest.mark.parametrize("inline", [True, False])
async def test_sessions_are_freed_when_the_runner_is_closed(tmp_path: Path, inline: bool) -> None:
    """Not when the garbage collector looks: models that come and go would fill the memory."""
    runner = open_runner(onnx_models.doubler(), tmp_path, BatchMode.MERGE, inline=inline)
    session = weakref.ref(next(iter(runner._models.values())).session)  # type: ignore[attr-defined]
    gc.disable()
    try:
        await run(runner, {"x": np.ones((1, 3), np.float32)})
        await runner.aclose()
        await until(lambda: session() is None)
    finally:
        gc.enable()
