"""Costs are measured in short time, and a run that nobody needs is stopped."""

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference_service.core.rows import RowLayout
from inference_service.core.scheduling.layout import Layout
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.tensors import Tensors
from inference_service.engine.interfaces import Job, RunResult
from inference_service.runtime import profile as profile_module
from inference_service.runtime.loader import load
from inference_service.runtime.options import LoadOptions
from inference_service.runtime.profile import (
    Measurement,
    knee_of,
    measure,
    sizes_up_to,
)
from inference_service.runtime.runner import OrtRunner, Shaping
from inference_service.runtime.session import RuntimeOptions, open_model
from tests import onnx_models
from tests.load_options import load_options


def test_sizes_double_up_to_the_largest() -> None:
    assert sizes_up_to(12) == [1, 2, 4, 8, 12]
    assert sizes_up_to(12, (3, 6)) == [3, 6]


def options(tmp_path: Path, **changes: object) -> LoadOptions:
    path = onnx_models.save(onnx_models.heavy(256), tmp_path / "m.onnx")
    values: dict[str, Any] = {"path": path, "policy": BatchPolicy(1), "derive_max_batch_size": True}
    return load_options(**{**values, **changes})


def test_the_largest_batch_is_derived_from_the_costs(tmp_path: Path) -> None:
    info, _ = load(options(tmp_path), lambda: None)
    assert 2 <= info.policy.max_batch_size <= 1024
    assert [rows for rows, _ in info.profiles[0].points][:4] == [1, 2, 4, 8]


class Disturbed:
    """A model whose rows come for free up to 64, but something else runs at its first 32 and more.

    Its runs take as long as its own clock says.
    """

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.now = 0.0

    def run(self, batch: Tensors) -> Tensors:
        size = len(batch["x"])
        self.sizes.append(size)
        disturbed = size >= 32 and self.sizes.count(size) <= 4  # to warm up, and three
        self.now += max(size, 64) / 1e4 * (3 if disturbed else 1)
        return batch

    def clock(self) -> float:
        return self.now


def test_a_disturbed_measurement_does_not_make_batches_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model: Any = Disturbed()
    monkeypatch.setattr(profile_module, "perf_counter", model.clock)
    row = {"x": np.zeros((1, 1), np.float32)}
    one = Measurement(model, Layout(1, 1), stop_at_knee=True)
    (found,) = measure([one], row, sizes_up_to(256), RowLayout())
    assert knee_of([found]) == 64
    assert model.sizes.count(64) == 5
    assert model.sizes.count(8) < 10, "what is far below the knee isn't run again"


TWO_CORES = (Layout(1, 2), Layout(2, 1))


def test_a_cheap_model_runs_on_the_event_loop_with_one_thread(tmp_path: Path) -> None:
    path = onnx_models.save(onnx_models.doubler(), tmp_path / "cheap.onnx")
    info, runner = load(options(tmp_path, path=path, layouts=TWO_CORES), lambda: None)
    assert [profile.layout for profile in info.profiles] == [Layout(1, 1)]
    assert runner.inline


def test_a_model_that_takes_longer_keeps_its_threads(tmp_path: Path) -> None:
    path = onnx_models.save(onnx_models.heavy(1536), tmp_path / "heavy.onnx")
    info, runner = load(options(tmp_path, path=path, layouts=TWO_CORES), lambda: None)
    assert {profile.layout for profile in info.profiles} <= set(TWO_CORES)
    assert not runner.inline


async def test_a_run_that_nobody_waits_for_is_broken_off(tmp_path: Path) -> None:
    path = onnx_models.save(onnx_models.deep(512, 600), tmp_path / "m.onnx")
    opened = open_model(path, RuntimeOptions(1))
    runner = OrtRunner("m", {1: opened}, Shaping(), 1)
    ended: asyncio.Future[RunResult] = asyncio.Future()
    started = time.perf_counter()
    stop = runner.start(Job([{"x": np.ones((4000, 512), np.float32)}]), ended.set_result)
    await asyncio.sleep(0.05)
    stop()
    result = await asyncio.wait_for(ended, 20)
    assert result.stopped
    assert result.seconds <= time.perf_counter() - started
    assert result.runs == 1, "it is not bisected"
    again: asyncio.Future[RunResult] = asyncio.Future()
    runner.start(Job([{"x": np.ones((1, 512), np.float32)}]), again.set_result)
    assert not (await asyncio.wait_for(again, 20)).stopped
    await runner.aclose()
