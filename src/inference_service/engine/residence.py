"""Which loaded models stay in memory: a budget, and the versions that sleep because of it."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from inference_service.core.requests import ModelRef
from inference_service.engine.budget import Budget, Resident, to_evict
from inference_service.engine.engine import LocalEngine
from inference_service.engine.sleeping import Sleeping

log = logging.getLogger(__name__)

Key = tuple[str, int]
"""A version: the model's name and the number."""


class Residence:
    """Puts versions to sleep where the budget is exceeded. ``load`` is to wake one.

    ``sizes`` and ``seconds`` are what loads have taken.
    """

    def __init__(
        self,
        engine: LocalEngine,
        budget: Budget | None,
        load: Callable[[Key], Coroutine[Any, Any, None]],
    ) -> None:
        self._engine = engine
        self._budget = budget
        self._load = load
        self.sizes: dict[Key, int] = {}
        self.seconds: dict[Key, float] = {}
        self._waking: dict[Key, asyncio.Task[None]] = {}

    async def make_room(self, coming: Key | None, keep: ModelRef) -> None:
        """Put the longest unused models to sleep until ``coming`` fits the budget, too."""
        if self._budget is None:
            return
        needed = 0 if coming is None else self.sizes.get(coming, 0)
        workers = {worker.info.ref: worker for worker in self._engine.workers()}
        loaded = [Resident(ref, w.memory_bytes, w.used_at) for ref, w in workers.items()]
        kept = {ref for ref in workers if ref.name in self._budget.pinned} | {keep}
        for ref in to_evict(loaded, self._budget.total, needed, kept):
            key = ref.name, workers[ref].info.version
            wake = partial(self._wake, key)
            info, seconds = workers[ref].info, self.seconds.get(key, 1.0)
            log.info("model %s version %d is unloaded to make room", *key)
            await self._engine.put_to_sleep(Sleeping(info, seconds, wake, self._engine.clock))

    def _wake(self, key: Key) -> None:
        """Load a version that sleeps, unless that has begun."""
        if key not in self._waking and self._engine.asleep(*key) is not None:
            task = self._waking[key] = asyncio.create_task(self._load(key))
            task.add_done_callback(lambda _: self._waking.pop(key, None))
