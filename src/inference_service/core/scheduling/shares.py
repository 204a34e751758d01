"""Who has had how much: the counters of fairness between clients.

Start-time fair queueing on seconds of service (VTC, Sheng et al., OSDI'24): the least-served client
goes first. A client that comes (back) starts at the current minimum, so that idling saves nothing
up.
"""

from collections.abc import Hashable

_PRUNE_AT = 1024


class Shares:
    """Seconds of service by client, relative to a floor that only rises."""

    __slots__ = ("_served", "floor")

    def __init__(self) -> None:
        self._served: dict[Hashable, float] = {}
        self.floor = 0.0

    def enter(self, client: Hashable) -> float:
        """The client has something to run again; returns its counter."""
        served = max(self._served.get(client, 0.0), self.floor)
        self._served[client] = served
        if len(self._served) > _PRUNE_AT:
            # Whoever is at the floor or below starts there anyway.
            self._served = {c: s for c, s in self._served.items() if s > self.floor}
            self._served[client] = served
        return served

    def of(self, client: Hashable) -> float:
        """The client's counter."""
        return self._served.get(client, self.floor)

    def serve(self, client: Hashable, seconds: float) -> None:
        """The client is given so much; it was the least served one that had something to run."""
        served = self._served.get(client, self.floor)
        self.floor = max(self.floor, served)
        self._served[client] = served + seconds

    def spend(self, client: Hashable, seconds: float) -> None:
        """The client is given so much out of its turn: the floor stays."""
        self._served[client] = self._served.get(client, self.floor) + seconds

    def clear(self) -> None:
        """Nobody waits: all start anew."""
        self._served.clear()
        self.floor = 0.0
