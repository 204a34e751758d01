"""Which models have to go for another one to fit. Pure."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from inference_service.core.requests import ModelRef


class Budget(NamedTuple):
    """The bytes that loaded models may take in all, and the models that are never unloaded."""

    total: int
    pinned: frozenset[str] = frozenset()


class Resident(NamedTuple):
    """A loaded version: its bytes, and when it was last used."""

    ref: ModelRef
    memory: int
    used_at: float


def to_evict(
    loaded: Sequence[Resident], budget: int, needed: int, keep: Collection[ModelRef]
) -> list[ModelRef]:
    """The longest unused versions without which all others and ``needed`` bytes fit the budget.

    Those in ``keep`` never go: with them alone it may be exceeded.
    """
    total = needed + sum(one.memory for one in loaded)
    gone: list[ModelRef] = []
    for one in sorted(loaded, key=lambda one: one.used_at):
        if total <= budget:
            break
        if one.ref not in keep and one.memory:
            gone.append(one.ref)
            total -= one.memory
    return gone
