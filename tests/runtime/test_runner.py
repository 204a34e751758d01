"""Runs in threads, or on the event loop for models that cost less than the hop."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference_service.core.errors import InvalidInput
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.tensors import BatchMode
from inference_service.engine.interfaces import Job, RunResult
from inference_service.runtime import runner as module
from inference_service.runtime.loader import LoadOptions, load
from inference_service.runtime.runner import OrtRunner, Shaping
from inference_service.runtime.session import RuntimeOptions, open_model
from tests import onnx_models


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
