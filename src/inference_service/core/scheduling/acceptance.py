"""Which requests are taken: a no comes at once, with the time after which a yes is likely."""

import math
from typing import Generic, TypeVar

from inference_service.core.errors import Overloaded
from inference_service.core.scheduling.load import CALM, Load
from inference_service.core.scheduling.tickets import Ticket

T = TypeVar("T")

_LIFO_FROM, _LIFO_UNTIL, _REFUSE_AT = 0.4, CALM, 0.5  # of the default deadline
_SHARE_FROM = 0.25
_LIKELY = 0.5  # of the last run: who has less time at the start of the next has hardly a chance


class Acceptance(Generic[T]):
    """The door of one model's queue. What is idle takes everything: a prediction may be wrong."""

    def __init__(self, load: Load[T]) -> None:
        self._load = load

    def admit(self, ticket: Ticket[T], volume: int, now: float, patience: float) -> None:
        """Raise Overloaded where the ticket can't be taken; plan it in where it has a deadline.

        In an overload of deadlines those without are planned in, too, with the derived one.
        """
        load, queue, rows = self._load, self._load.queue, ticket.rows
        limit = load.policy.max_queue_rows
        if limit is not None and queue.rows and queue.rows + rows > limit:
            raise Overloaded(
                f"{queue.rows} rows are queued for this model, the limit is {limit}",
                reason="queue_full",
                retry_after=load.drain(queue.rows, volume),
            )
        if ticket.firm:
            self._promise(ticket, volume, now)
            return
        if not load.busy:
            return
        calm = load.calm(rows, volume, now)
        if calm:
            load.overloaded = False
        else:
            self._check_wait(ticket, volume, now, patience)
        # Else those with deadlines would go before it for as long as it waits.
        if load.pressure or (queue.firm_rows and not calm):
            load.shelter(now)
            load.plan_in(ticket, volume, load.ends(now))

    def _check_wait(self, ticket: Ticket[T], volume: int, now: float, patience: float) -> None:
        load, queue, rows = self._load, self._load.queue, ticket.rows
        residual, drain = load.residual(now), load.drain(queue.rows + rows, volume)
        # Without the factor of noise: clients that take turns don't overload anybody.
        load.watch(residual + drain, patience, _LIFO_FROM, _LIFO_UNTIL)
        wait = residual + load.careful(drain)
        bound = patience * (_REFUSE_AT if load.overloaded else 1.0)
        if wait > bound:
            raise self._late(wait, bound)
        if wait > patience * _SHARE_FROM and load.greedy(ticket.client):
            raise Overloaded(
                "the queue is more than half full, and more than this client's share of it "
                "is its own",
                reason="client_share",
                retry_after=wait,
            )

    def refusal(self, now: float, deadline: float, volume: int | None) -> Overloaded | None:
        """Why a request of one row would be refused now; None where it may be taken."""
        load = self._load
        if not load.busy:
            return None
        if deadline != math.inf:
            return self._unpromised(now, deadline, volume)
        if load.calm(1, 0, now):
            return None
        wait = load.residual(now) + load.careful(load.drain(load.queue.rows + 1))
        bound = load.patience(0.0) * (_REFUSE_AT if load.overloaded else 1.0)
        return self._late(wait, bound) if wait > bound else None

    def _unpromised(self, now: float, deadline: float, volume: int | None) -> Overloaded | None:
        load = self._load
        ends = load.ends(now)
        if not load.pressure and not load.promises.exhausted(deadline, ends, volume):
            return None
        end = self._end(1, volume, ends, deadline)
        if end <= deadline:
            return None
        load.turned_away()
        return self._late(end - now, deadline - now)

    def _promise(self, ticket: Ticket[T], volume: int, now: float) -> None:
        load = self._load
        ends = load.ends(now)
        if not load.pressure or not load.busy:
            if load.promises.accept(ticket, volume, ends) or not load.busy:
                return
            load.turned_away()
        end = self._end(ticket.rows, volume, ends, ticket.deadline)
        if end <= ticket.deadline:
            ticket.standby = ticket.rows <= load.policy.max_batch_size
            if ticket.standby or load.promises.accept(ticket, volume, ends):
                return
            end = now + load.residual(now) + load.careful(load.drain(ticket.rows, volume))
        load.turned_away()
        raise self._late(end - now, ticket.deadline - now)

    def _end(self, rows: int, volume: int | None, ends: list[float], deadline: float) -> float:
        """When a request with this deadline may hope to be answered: after the runs that are full.

        Whoever brought no deadline of its own and is promised a later answer can wait.
        """
        load = self._load
        largest = load.policy.max_batch_size
        start = min(ends)
        full = load.careful(load.seconds(largest, volume or 0))
        ahead = load.promises.rows_before(deadline) + load.queue.standing_by_until(start + full)
        start += full * (ahead // largest) / load.slots
        own = 0.0 if volume is None else load.careful(load.seconds(min(rows, largest), volume))
        return start + max(own, _LIKELY * load.careful(load.last))

    def _late(self, wait: float, patience: float) -> Overloaded:
        load = self._load
        return Overloaded(
            f"the answer would take about {wait:.3g} s, more than the {patience:.3g} s there are",
            reason="deadline",
            retry_after=max(wait - patience, 0.0) + load.seconds(load.policy.max_batch_size),
        )
