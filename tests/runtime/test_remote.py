"""A model in a process of its own: the same answers, and whatever happens to it, it comes back."""

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest

from inference_service.core.errors import (
    InvalidInput,
    InvalidModel,
    ModelNotReady,
    OutOfMemory,
    RunStopped,
)
from inference_service.core.tensors import BatchMode
from inference_service.engine.interfaces import Job, ProcessState, RunResult
from inference_service.processes.errors import ChildLost
from inference_service.processes.values import described, packed, restored, unpacked
from inference_service.runtime.categories import KnownValues
from inference_service.runtime.isolated import Limits, isolated
from inference_service.runtime.model_process import Opening
from inference_service.runtime.remote import ModelProcess, Patience, RemoteModel
from inference_service.runtime.runner import OrtRunner, Shaping
from inference_service.runtime.session import RuntimeOptions, open_model
from inference_service.runtime.stopping import Stop
from tests import onnx_models

GIB = 2**30


@contextmanager
def process(
    model: Any, folder: Path, *, memory: int = 4 * GIB, smallest: Any = None
) -> Iterator[ModelProcess]:
    path = onnx_models.save(model, folder / "m.onnx")
    opening = Opening(path, {1: RuntimeOptions(1)}, KnownValues(), memory, smallest=smallest)
    found = ModelProcess("m", opening, 2, Patience(60, 0.2, 60))
    try:
        yield found
    finally:
        found.close()


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    event, until = threading.Event(), monotonic() + seconds
    while not condition():
        assert monotonic() < until
        event.wait(0.02)


def state(pid: int) -> str:
    """``T``: stopped, ``Z``: ended (proc_pid_stat(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def in_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, found


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.int16).reshape(2, 3),
        np.array(2.5),
        np.zeros((3, 0), np.float32),
        np.array([True, False]),
        np.array([["ä", "", "\ud800"], ["b", b"\xff\x00", "c"]], object),
        np.zeros(0, object),
    ],
    ids=["ints", "scalar", "empty", "bools", "texts", "no texts"],
)
def test_an_array_survives_the_way_to_another_process(array: Any) -> None:
    about, flat = described(array)
    again = restored(about, b"\0" * 8 + flat.tobytes(), 8)
    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    assert again.tolist() == array.tolist()


def test_a_value_with_arrays_survives_it_too() -> None:
    value = [1, "a", None, [2.5, np.arange(3)], np.array(["x"], object)]
    told, parts = packed(value)
    again = unpacked(told, b"".join(part.tobytes() for part in parts))
    assert repr(again) == repr(value)
    with pytest.raises(TypeError, match="object"):
        packed([object()])


def test_no_collector_is_needed_to_be_rid_of_a_large_value() -> None:
    """It comes rarely: what a thousand pictures were decoded to would wait for it."""
    told, parts = packed([np.zeros(10), ["a"]])
    flat = b"".join(part.tobytes() for part in parts)
    del parts
    gc.collect()
    gc.disable()
    try:
        packed([np.zeros(10), ["a"]])
        unpacked(told, flat)
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "about",
    [
        {"kind": "|O", "shape": [1], "bytes": 8},
        {"kind": "<M8[s]", "shape": [1], "bytes": 8},
        {"kind": "<f4", "shape": [3], "bytes": 8},
        {"kind": "<f4", "shape": [-1], "bytes": 8},
        {"kind": "<f4", "shape": [2], "bytes": 1000},
        {"kind": "<f4", "shape": [2], "bytes": -8},
        {"kind": "texts", "shape": [10**9], "bytes": 8},
        {"kind": "texts", "shape": [1], "bytes": 8},
        {"kind": "<f4", "shape": [1] * 65, "bytes": 4},
        {"shape": [2], "bytes": 8},
    ],
)
def test_what_a_broken_process_sends_is_refused(about: dict[str, Any]) -> None:
    with pytest.raises(ChildLost):
        restored(about, b"\x7f" + b"\0" * 15, 0)


def test_answers_are_those_of_the_model(tmp_path: Path) -> None:
    with process(onnx_models.every_kind(), tmp_path) as running:
        model = RemoteModel(running, 1)
        for rows in (2, 5000, 1):
            inputs = {
                "name": np.array(["ä" * (one % 7) for one in range(rows)], object),
                "flag": np.arange(rows) % 2 == 0,
                "counts": np.arange(rows * 2).reshape(rows, 2),
            }
            outputs = model.run(inputs)
            assert outputs["name_out"].tolist() == inputs["name"].tolist()
            assert outputs["flag_out"].tolist() == inputs["flag"].tolist()
            assert outputs["counts_out"].tolist() == inputs["counts"].tolist()
            assert list(model.run(inputs, ["flag_out"])) == ["flag_out"]
        assert running.restarts == 0


def test_an_answer_may_be_much_larger_than_the_request(tmp_path: Path) -> None:
    with process(onnx_models.pairs(), tmp_path) as running:
        model = RemoteModel(running, 1)
        rows = np.full((1, 700), 2, np.float32)
        expected = open_model(tmp_path / "m.onnx", RuntimeOptions(1)).run({"x": rows})
        for name, array in model.run({"x": rows}).items():
            np.testing.assert_array_equal(array, expected[name])


def test_errors_are_told_as_they_are(tmp_path: Path) -> None:
    with process(onnx_models.embedding(), tmp_path) as running:
        with pytest.raises(InvalidInput, match="look_up"):
            RemoteModel(running, 1).run({"id": np.array([99])})
        assert RemoteModel(running, 1).run({"id": np.array([3])})["vector"].tolist() == [[3, 3]]
        assert running.restarts == 0


def test_a_run_that_takes_all_memory_fails_alone(tmp_path: Path) -> None:
    with process(
        onnx_models.allocating(), tmp_path, memory=GIB, smallest={"n": np.array([[1]])}
    ) as running:
        model = RemoteModel(running, 1)
        with pytest.raises(InvalidInput, match="ask for 3814 MiB of memory at once"):
            model.run({"n": np.array([[10**9]])})
        assert model.run({"n": np.array([[7]])})["y"].tolist() == 7
        assert running.restarts == 0


def test_a_run_that_finds_no_memory_now_may_later(tmp_path: Path) -> None:
    with process(
        onnx_models.allocating(), tmp_path, memory=GIB, smallest={"n": np.array([[1]])}
    ) as running:
        model = RemoteModel(running, 1)
        with pytest.raises(OutOfMemory) as error:
            model.run({"n": np.array([[240 * 10**6]])})
        assert "Expand node 'ones': " in error.value.detail
        assert model.run({"n": np.array([[7]])})["y"].tolist() == 7
        assert running.restarts == 0


def test_a_process_that_can_not_get_its_memory_back_is_replaced(tmp_path: Path) -> None:
    with process(onnx_models.allocating(), tmp_path, memory=GIB) as running:
        model = RemoteModel(running, 1)
        with pytest.raises(OutOfMemory):
            model.run({"n": np.array([[240 * 10**6]])})
        eventually(lambda: running.restarts == 1)
        assert model.run({"n": np.array([[7]])})["y"].tolist() == 7


def test_a_run_is_stopped(tmp_path: Path) -> None:
    with process(onnx_models.repeating(), tmp_path) as running:
        stop = Stop()
        thread, found = in_thread(
            lambda: RemoteModel(running, 1).run({"x": np.full((1, 1), 1e12, np.float32)}, stop=stop)
        )
        threading.Event().wait(0.1)
        stop.set()
        thread.join(20)
        assert isinstance(found[0], RunStopped)
        assert running.restarts == 0


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_crashes_or_hangs_is_replaced(tmp_path: Path, how: int) -> None:
    with process(onnx_models.doubler(), tmp_path) as running:
        model, stop = RemoteModel(running, 1), Stop()
        one = {"x": np.ones((1, 3), np.float32)}
        pid = running.pid
        assert pid is not None
        os.kill(pid, how)
        eventually(lambda: state(pid) in "TZ")
        thread, found = in_thread(lambda: model.run(one, stop=stop))
        if how == signal.SIGSTOP:  # it ends when its last client has gone
            thread.join(0.2)
            assert not found
            stop.set()
        thread.join(20)
        assert isinstance(found[0], ModelNotReady)
        assert found[0].retry_after >= 1
        eventually(lambda: running.restarts == 1)
        assert model.run(one)["y"].tolist() == [[2.0] * 3]
        assert running.pid != pid


def test_a_file_that_has_changed_is_not_taken_for_the_model(tmp_path: Path) -> None:
    with process(onnx_models.doubler(), tmp_path) as running:
        onnx_models.save(onnx_models.doubler(5), tmp_path / "m.onnx")
        pid = running.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: state(pid) == "Z")
        one = {"x": np.ones((1, 3), np.float32)}
        with pytest.raises(ModelNotReady):
            RemoteModel(running, 1).run(one)
        with pytest.raises(ModelNotReady, match="is being started again"):
            RemoteModel(running, 1).run(one)


def test_a_file_that_can_not_be_opened_says_why(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"garbage")
    opening = Opening(tmp_path / "m.onnx", {1: RuntimeOptions(1)}, KnownValues(), GIB)
    with pytest.raises(InvalidModel, match="onnxruntime can't load it"):
        ModelProcess("m", opening, 1)


async def test_a_batch_whose_process_is_lost_is_answered_by_the_next_one(tmp_path: Path) -> None:
    path = onnx_models.save(onnx_models.doubler(), tmp_path / "m.onnx")
    plain = OrtRunner("m", {1: open_model(path, RuntimeOptions(1))}, Shaping(BatchMode.MERGE), 1)
    runner = isolated("m", plain, path, Limits(GIB, patience=Patience(60, 0.2, 60)))
    (model,) = runner._models.values()
    assert isinstance(model, RemoteModel)
    running = model._process

    async def run() -> RunResult:
        ended: asyncio.Future[RunResult] = asyncio.Future()
        parts = [{"x": np.full((1, 3), value, np.float32)} for value in range(3)]
        runner.start(Job(parts), ended.set_result)
        return await asyncio.wait_for(ended, 20)

    good = await run()
    assert [one["y"][0, 0] for one in good.outcomes if isinstance(one, dict)] == [0, 2, 4]
    pid = running.pid
    assert pid is not None
    assert plain.process() is None
    assert runner.process() == ProcessState(pid, 0)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: state(pid) == "Z")
    again = await run()
    assert [one["y"][0, 0] for one in again.outcomes if isinstance(one, dict)] == [0, 2, 4]
    assert (again.runs, again.stopped) == (4, True), "costs are not learnt from it"
    eventually(lambda: runner.process() == ProcessState(running.pid, 1))
    await runner.aclose()
    with pytest.raises(ModelNotReady):
        running.run(1, {}, (), None)
