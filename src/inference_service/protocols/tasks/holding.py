"""How much the payloads of one request take in memory, beside what was sent.

A file of some bytes may be a tensor of MiB. So what it has become counts as bytes in flight for as
long as it is there, and of many files in one request only as many are prepared as fit.
"""

import asyncio
from collections.abc import Sequence

from inference_service.core.in_flight import Permit
from inference_service.core.tasks import Inference

MOST_HELD = 64 * 2**20
"""Bytes that the payloads of one request may hold before another one of them is prepared."""


class Holding:
    """Of one request. ``at_once`` payloads are prepared at the same time. For the event loop."""

    def __init__(self, permit: Permit | None, at_once: int) -> None:
        self._permit = permit
        self._at_once = at_once
        self._preparing = 0
        self._bytes = 0
        self._waiting: list[asyncio.Future[None]] = []

    async def turn(self) -> "Share":
        """Wait until another payload may be prepared. `Share.end` must follow."""
        while self._preparing >= self._at_once or self._bytes > MOST_HELD:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        return self.begin()

    def begin(self) -> "Share":
        """Without a wait, where there is one payload."""
        self._preparing += 1
        return Share(self)

    def prepared(self) -> None:
        """One less is being prepared."""
        self._preparing -= 1
        self._wake()

    def change(self, size: int) -> None:
        """Hold ``size`` bytes more (less: negative). Raises Overloaded."""
        if size > 0 and self._permit is not None:
            self._permit.grow(size)
        self._bytes += size
        if size < 0:
            if self._permit is not None:
                self._permit.shrink(-size)
            self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            if not turn.done():
                turn.set_result(None)


class Share:
    """What one payload holds: what its decoder brought, and the tensors that wait for a run."""

    def __init__(self, holding: Holding) -> None:
        self._holding = holding
        self._prepared = False
        self._brought = 0
        self._held = 0

    def brought(self, size: int) -> None:
        """A decoder has returned ``size`` bytes: they may be held until the payload's end."""
        self._brought += size

    def waits(self, wanted: Sequence[Inference]) -> None:
        """It is prepared, and these are to be run. Raises Overloaded."""
        tensors = sum(array.nbytes for one in wanted for array in one.inputs.values())
        self._hold(self._brought + tensors)
        self._ready()

    def end(self) -> None:
        """Nothing of it is left."""
        self._hold(0)
        self._ready()

    def _ready(self) -> None:
        if not self._prepared:
            self._prepared = True
            self._holding.prepared()

    def _hold(self, size: int) -> None:
        self._holding.change(size - self._held)
        self._held = size
