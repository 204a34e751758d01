"""What the payloads of one request hold, and how many of them are prepared."""

import asyncio
from typing import Any

import numpy as np
import pytest

from inference_service.core.decoding import Here, counted, decoded
from inference_service.core.errors import Overloaded
from inference_service.core.in_flight import InFlight, Limits
from inference_service.core.tasks import Inference
from inference_service.protocols.tasks.holding import MOST_HELD, Holding

THIRD = MOST_HELD // 3 + 1


def wanted(size: int) -> list[Inference]:
    return [Inference({"x": np.zeros(size, np.uint8)})]


async def turned(holding: Holding, counts: list[int], release: asyncio.Event) -> None:
    share = await holding.turn()
    counts[0] += 1
    try:
        share.waits(wanted(THIRD))
        await release.wait()
    finally:
        share.end()


async def rest() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_as_many_are_prepared_as_fit_and_then_the_others() -> None:
    in_flight = InFlight(Limits(10, 2**40))
    release, counts = asyncio.Event(), [0]
    with in_flight.permit(5) as permit:
        holding = Holding(permit, 100)
        tasks = [asyncio.ensure_future(turned(holding, counts, release)) for _ in range(20)]
        await rest()
        assert counts == [3]
        assert in_flight.bytes == 5 + 3 * THIRD
        release.set()
        await asyncio.gather(*tasks)
        assert counts == [20]
        assert in_flight.bytes == 5
    assert in_flight.bytes == 0


async def test_no_more_are_prepared_at_the_same_time_than_there_is_work_for() -> None:
    holding = Holding(None, 2)
    first, second = await holding.turn(), await holding.turn()
    third = asyncio.ensure_future(holding.turn())
    await rest()
    assert not third.done()
    first.waits(wanted(1))  # it is prepared, however long it waits for its run
    (await asyncio.wait_for(third, 10)).end()
    second.end()
    first.end()


async def test_who_gives_up_while_it_waits_takes_no_turn() -> None:
    holding = Holding(None, 1)
    first = await holding.turn()
    second, third = (asyncio.ensure_future(holding.turn()) for _ in range(2))
    await rest()
    second.cancel()
    first.end()
    assert await asyncio.wait_for(third, 10)


async def test_what_does_not_fit_beside_other_requests_is_refused_and_leaves_nothing() -> None:
    in_flight = InFlight(Limits(10, 2 * THIRD))
    with in_flight.permit(THIRD), in_flight.permit(0) as permit:
        share = Holding(permit, 1).begin()
        with pytest.raises(Overloaded, match="bytes of requests"):
            share.waits(wanted(2 * THIRD))
        share.end()
        assert in_flight.bytes == THIRD


def made(size: int) -> list[Any]:
    return [np.zeros(size, np.uint8), "text", [np.zeros(3)]]


def test_what_comes_out_of_a_decoder_is_counted() -> None:
    def work() -> str:
        decoded(made, 10)
        decoded(made, 20)
        return "done"

    assert Here().begin(1).run(counted, work) == ("done", 30 + 48)
    assert counted(len, "abc") == (3, 0)
