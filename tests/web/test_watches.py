"""Waiting for the network: cheap where nothing is to be waited for, in earnest where it lasts."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message

from inference_service.web.watches import ROUND, Begun, ClientDisconnected, DisconnectWatch, Rounds
from tests.virtual_time import run_virtual


async def at_once() -> Message:
    return {"type": "there"}


async def later(seconds: float = 1.0) -> Message:
    await asyncio.sleep(seconds)
    return {"type": "later"}


async def test_what_need_not_wait_is_done_when_it_is_begun() -> None:
    begun = Begun(at_once())
    assert begun.done
    assert begun.result == {"type": "there"}
    assert await begun == begun.result


def test_what_has_to_wait_is_awaited_to_its_end() -> None:
    async def scenario() -> Message:
        begun = Begun(later())
        assert not begun.done
        return await begun

    assert run_virtual(scenario()) == {"type": "later"}


def test_a_timeout_reaches_what_was_begun_before_it() -> None:
    cleaned = []

    async def careful() -> Message:
        try:
            return await later(10)
        finally:
            cleaned.append(True)

    async def scenario() -> None:
        begun = Begun(careful())
        async with asyncio.timeout(1):
            await begun

    with pytest.raises(TimeoutError):
        run_virtual(scenario())
    assert cleaned == [True]


def test_an_error_of_what_was_begun_is_raised_where_it_is_begun_or_awaited() -> None:
    async def fails(seconds: float) -> Message:
        if seconds:
            await asyncio.sleep(seconds)
        raise KeyError("no")

    async def scenario() -> None:
        with pytest.raises(KeyError):
            Begun(fails(0))
        with pytest.raises(KeyError):
            await Begun(fails(1))

    run_virtual(scenario())


class Client:
    """Hangs up after some time; counts who listens."""

    def __init__(self, leaves_after: float) -> None:
        self.leaves_after = leaves_after
        self.listeners = 0

    async def receive(self) -> Message:
        self.listeners += 1
        await asyncio.sleep(self.leaves_after)
        return {"type": "http.disconnect"}


def test_a_short_wait_gets_no_listener() -> None:
    client = Client(1.0)

    async def scenario() -> None:
        rounds = Rounds()
        for _ in range(20):
            with DisconnectWatch(rounds, client.receive):
                await asyncio.sleep(ROUND / 2)

    run_virtual(scenario())
    assert client.listeners == 0


def test_a_client_that_leaves_ends_a_long_wait() -> None:
    client = Client(0.5)

    async def scenario() -> float:
        loop = asyncio.get_running_loop()
        with pytest.raises(ClientDisconnected), DisconnectWatch(Rounds(), client.receive):
            await asyncio.sleep(3600)
        return loop.time()

    assert run_virtual(scenario()) == pytest.approx(0.5, abs=3 * ROUND)


def test_somebody_elses_cancellation_stays_one() -> None:
    async def scenario() -> None:
        async def waits() -> None:
            with DisconnectWatch(Rounds(), Client(100).receive):
                await asyncio.sleep(3600)

        task = asyncio.create_task(waits())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(scenario())


def test_waits_of_a_new_event_loop_are_watched_too() -> None:
    rounds = Rounds()

    async def waits(client: Client) -> Any:
        with pytest.raises(ClientDisconnected), DisconnectWatch(rounds, client.receive):
            await asyncio.sleep(3600)

    run_virtual(waits(Client(0.5)))
    run_virtual(waits(Client(0.5)))
