"""Loads that hang, and what they keep from the others: nothing for long."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inference_service.core.errors import InvalidInput
from inference_service.core.lifecycle import ReadyWhen, State
from inference_service.core.requests import ModelRef
from inference_service.daemon import left_behind
from inference_service.engine.engine import LocalEngine
from inference_service.engine.interfaces import ModelInfo, Runner
from inference_service.engine.manager import Manager
from inference_service.engine.versions import Loader, VersionSource
from tests.engine.puppets import Notebook, PuppetRunner
from tests.engine.test_worker import info
from tests.support import until

FOREVER = 3600.0


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    """A pipe without a writer: opening it to read hangs until the test is over."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    yield path
    # Whoever still waits for a writer gets one, and ends.
    os.close(os.open(path, os.O_RDWR))


def hanging(pipe: Path) -> Loader:
    def load(warming: Callable[[], None]) -> tuple[ModelInfo, Runner]:
        pipe.read_bytes()
        raise AssertionError("nothing was written")

    return load


def fine(warming: Callable[[], None]) -> tuple[ModelInfo, Runner]:
    warming()
    return info(), PuppetRunner()


async def test_a_load_that_hangs_fails_when_its_time_is_up(pipe: Path) -> None:
    engine = LocalEngine()
    manager = Manager(engine, Notebook(), time_limit=0.5)
    await manager.load_all([VersionSource("h", 1, hanging(pipe)), VersionSource("m", 1, fine)])
    assert engine.problem("h", 1) == "it was not loaded within 0.5 seconds (runtime.load_timeout)"
    assert engine.describe(ModelRef("m")).version == 1
    assert "load h" in left_behind(), "its thread can't be ended"


@pytest.mark.parametrize("ready_when", ReadyWhen)
async def test_a_load_that_hangs_does_not_hold_up_the_others(
    pipe: Path, ready_when: ReadyWhen
) -> None:
    engine = LocalEngine()
    manager = Manager(engine, Notebook(), time_limit=FOREVER, patience=0.05, ready_when=ready_when)
    sources = [VersionSource("h", 1, hanging(pipe)), VersionSource("m", 1, fine)]
    loading = asyncio.create_task(manager.load_all(sources))
    await until(lambda: manager.readiness.finished)
    assert engine.state("m", 1) is State.READY
    problem = "model 'h' version 1 is loading"
    assert manager.problem() == (problem if ready_when is ReadyWhen.ALL else None)
    with pytest.raises(InvalidInput, match="failed to load model 'h': version 1: it is being"):
        await manager.load("h", [VersionSource("h", 1, fine)])
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading


async def test_a_load_that_is_too_late_changes_nothing(pipe: Path) -> None:
    """It was given up, and goes on: its model stays failed until somebody loads it again."""
    engine = LocalEngine()
    manager = Manager(engine, Notebook(), time_limit=0.5)
    ended: list[bool] = []

    def late(warming: Callable[[], None]) -> tuple[ModelInfo, Runner]:
        pipe.read_bytes()
        warming()
        ended.append(True)
        return info(), PuppetRunner()

    await manager.load_all([VersionSource("m", 1, late)])
    os.close(os.open(pipe, os.O_RDWR))
    await until(lambda: bool(ended))
    await asyncio.sleep(0)
    assert engine.state("m", 1) is State.FAILED
    await manager.load("m", [VersionSource("m", 1, fine)])
    assert engine.state("m", 1) is State.READY


async def test_quick_loads_go_one_after_the_other() -> None:
    running = 0

    def alone(warming: Callable[[], None]) -> tuple[ModelInfo, Runner]:
        nonlocal running
        running += 1
        assert running == 1
        warming()
        running -= 1
        return info(), PuppetRunner()

    engine = LocalEngine()
    await Manager(engine, Notebook()).load_all([VersionSource("m", 1, alone)])
    assert engine.problem("m", 1) is None


async def test_nothing_is_ready_before_all_have_been_tried() -> None:
    engine = LocalEngine()
    manager = Manager(engine, Notebook())
    seen: list[str | None] = []

    def second(warming: Callable[[], None]) -> tuple[ModelInfo, Runner]:
        seen.append(manager.problem())
        raise ValueError("broken")

    await manager.load_all([VersionSource("m", 1, fine), VersionSource("n", 1, second)])
    assert seen == ["model 'n' version 1 is loading"]
    assert manager.problem() is None


async def test_a_service_without_any_model_is_not_ready() -> None:
    def broken(warming: Callable[[], None]) -> tuple[ModelInfo, Runner]:
        raise ValueError("broken")

    manager = Manager(LocalEngine(), Notebook())
    await manager.load_all([VersionSource("m", 1, broken)])
    assert manager.problem() == "model 'm' version 1 failed: ValueError: broken"


async def test_a_load_on_request_that_hangs_is_told_and_the_old_goes_on(pipe: Path) -> None:
    engine = LocalEngine()
    manager = Manager(engine, Notebook(), time_limit=0.5)
    await manager.load_all([VersionSource("m", 1, fine, "old")])
    with pytest.raises(InvalidInput, match="it was not loaded within"):
        await manager.load("m", [VersionSource("m", 1, hanging(pipe), "new")])
    assert engine.state("m", 1) is State.READY
