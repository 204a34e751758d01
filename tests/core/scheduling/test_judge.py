"""The hold for clients in a closed loop: for whom it is decided, and when it is looked at again."""

from typing import Any

from inference_service.core.scheduling.tickets import Batch
from inference_service.core.scheduling.virtual import Arrival
from inference_service.simulation.study import JudgedServer, affine, ours

WEIGHTS = affine(0.02)  # a run costs much, a row little
THINK = 2e-4


class Loop:
    """Clients that ask again when they are answered; more of them may come."""

    def __init__(self, *, held: float = 1.0) -> None:
        self.scheduler = ours(WEIGHTS)
        self.held = held  # a run after a hold takes so many times as long
        self.server = JudgedServer(self.scheduler, self.seconds, ended=self.ended)

    def seconds(self, batch: Batch[Any]) -> float:
        return WEIGHTS.cost(batch.rows) * (self.held if batch.held > 0 else 1.0)

    def ended(self, arrival: Arrival) -> None:
        self.server.add(Arrival(self.server.now + THINK, client=arrival.client))

    def join(self, clients: int) -> None:
        for client in range(clients):
            self.server.add(Arrival(self.server.now + client * 1e-6, client=client))

    def rows(self, seconds: float) -> float:
        """The mean batch of the next seconds."""
        before = len(self.server.batches)
        self.server.run(self.server.now + seconds)
        batches = self.server.batches[before:]
        return sum(batch.rows for batch in batches) / len(batches)


def test_clients_in_step_are_held_together() -> None:
    loop = Loop()
    loop.join(16)
    loop.rows(3.0)
    assert loop.rows(1.0) == 16


def test_a_hold_ends_when_more_clients_come_and_is_decided_anew() -> None:
    loop = Loop()
    loop.join(8)
    loop.rows(3.0)
    assert loop.scheduler.hold.theta > 0
    loop.join(24)
    loop.rows(0.1)
    assert loop.scheduler.hold.theta == 0.0
    loop.rows(3.0)
    assert loop.rows(1.0) == 32


def test_what_was_decided_for_few_clients_does_not_count_for_many() -> None:
    loop = Loop(held=1.6)  # on the live load a hold doesn't pay, whatever the replay says
    loop.join(4)
    loop.rows(20.0)
    loop.held = 1.0
    loop.rows(4.0)
    assert loop.scheduler.hold.theta == 0.0, "the next look is far away"
    loop.join(28)
    loop.rows(4.0)
    assert loop.rows(1.0) == 32
