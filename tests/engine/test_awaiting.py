"""Answers by callback to coroutines."""

import asyncio
import gc
import weakref
from collections.abc import Callable

from inference_service.core.errors import InvalidInput
from inference_service.engine.awaiting import awaited
from inference_service.web.watches import ROUND, DisconnectWatch, Rounds

OnDone = Callable[[str | Exception], None]


class Body:
    """What a request brings."""


async def test_a_late_answer_changes_nothing() -> None:
    told: list[OnDone] = []

    def begin(on_done: OnDone) -> OnDone:
        told.append(on_done)
        on_done("first")
        return on_done

    assert await awaited(begin, lambda _: None) == "first"
    told[0](InvalidInput("second"))


async def test_a_wait_for_a_hang_up_leaves_nothing_behind() -> None:
    body = Body()
    kept = weakref.ref(body)

    async def receive(of: Body = body) -> dict[str, str]:
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    gc.disable()
    try:
        with DisconnectWatch(Rounds(), receive) as watch:
            watch.listen(asyncio.get_running_loop())
            await asyncio.sleep(ROUND)
        del watch, receive, body
        for _ in range(3):
            await asyncio.sleep(0)
        assert kept() is None
    finally:
        gc.enable()
