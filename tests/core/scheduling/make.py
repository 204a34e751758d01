"""Schedulers for tests, and the steps of their driver."""

from typing import Any

from inference_service.core.scheduling.cost import CostModel
from inference_service.core.scheduling.entries import Batch, Decisions, Entry
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.scheduling.scheduler import Scheduler


def make(
    largest: int = 4, one: float = 1.0, row: float = 0.0, slots: int = 1, **policy: Any
) -> Scheduler[str]:
    """A scheduler that knows S(b) = one + row (b - 1), and refuses nothing unless told to."""
    sizes = policy.get("sizes") or [b for b in (1, 2, 4, 8, 16, 32, 64) if b <= largest]
    known = BatchPolicy(largest, **{"default_deadline": 1e6, **policy})
    points = [(b, one + row * (b - 1)) for b in sizes]
    return Scheduler(known, CostModel(points, 1, known), slots)


def offer(scheduler: Scheduler[str], item: str, now: float = 0.0, **request: Any) -> Entry[str]:
    entry = Entry(item, **{"key": 0, **request})
    scheduler.offer(entry, now)
    return entry


def items(batch: Batch[str]) -> list[str]:
    return [entry.item for entry, _, _ in batch.parts]


def end(scheduler: Scheduler[str], batch: Batch[str], now: float) -> None:
    """The batch has run until now, its requests are answered."""
    scheduler.ended(batch, now - batch.started, now)


def occupy(scheduler: Scheduler[str], now: float = 0.0) -> Batch[str]:
    """A run that keeps the only slot busy."""
    offer(scheduler, "running", now, key="other")
    (batch,) = scheduler.decide(now, 1).run
    return batch


def runs(scheduler: Scheduler[str], now: float, count: int = 100) -> list[list[str]]:
    """What runs from now on, one run after the other as long as each is predicted to take."""
    found = []
    for _ in range(count):
        decisions: Decisions[str] = scheduler.decide(now, 1)
        if not decisions.run:
            break
        found.append(items(decisions.run[0]))
        now += decisions.run[0].predicted
        end(scheduler, decisions.run[0], now)
    return found
