"""What follows a decision is done once, at its end."""

import asyncio

import pytest

from inference_service.engine.dispatcher import Dispatcher


class Model:
    """Always has something to run, once; ``act`` is called when it does."""

    cores, deadline = 0, float("inf")

    def __init__(self, act: object) -> None:
        self.wants_slot = True
        self._act = act

    def run_seconds(self) -> float:
        return 0.001

    def dispatch(self, now: float, slots: int) -> bool:
        if slots:
            self.wants_slot = False
            assert callable(self._act)
            self._act()
        return slots > 0


async def test_what_is_asked_for_in_a_decision_is_done_at_its_end() -> None:
    told: list[str] = []
    dispatcher = Dispatcher(asyncio.get_running_loop().time)

    def act(name: str) -> None:
        told.append(name)
        dispatcher.soon(lambda: told.append(f"after {name}"))

    for name in "ab":
        dispatcher.mark(Model(lambda name=name: act(name)))
    await asyncio.sleep(0)
    assert told == ["a", "b", "after a", "after b"]


async def test_outside_of_a_decision_it_is_done_in_the_next_turn() -> None:
    told: list[str] = []
    Dispatcher(asyncio.get_running_loop().time).soon(lambda: told.append("done"))
    assert not told
    await asyncio.sleep(0)
    assert told == ["done"]


async def test_a_failure_is_logged_and_the_others_are_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[str] = []
    dispatcher = Dispatcher(asyncio.get_running_loop().time)

    def act() -> None:
        dispatcher.soon(lambda: told.remove("nothing"))
        dispatcher.soon(lambda: told.append("done"))

    dispatcher.mark(Model(act))
    await asyncio.sleep(0)
    assert told == ["done"]
    assert "what follows a decision has failed" in caplog.text
