"""How long best-effort clients wait before they hang up, learned from those that did.

In an overload the queue grows until a request waits as long as it may. Clients that hang up sooner
would all be served just before or after they have gone: the model would work for nothing. So each
hang-up lowers the bound on the wait of its client towards a share of the age that the request had,
and what would wait longer is refused at once. The bound rises again with time. It is this client's
alone: what one does is no reason to refuse others.
"""

import math
from collections.abc import Hashable

_AIM = 0.5  # of the age of a request that was given up; at 0.7 most are given up in their runs
_STEP = 0.1  # of the way there for each that is given up: a single one says little
_DOUBLES = 10.0  # seconds after which the bound is twice as large: a client may have changed
_MOST_CLIENTS = 1024


class Abandonment:
    """Bounds on waits in seconds, and when they were set, by client."""

    def __init__(self) -> None:
        self.known: dict[Hashable, tuple[float, float]] = {}

    def note(self, client: Hashable, age: float, bound: float, now: float) -> None:
        """A request of this client was given up ``age`` seconds after it came; ``bound``: what it
        might have waited at most."""
        known = self.known
        bound = min(self.limit(client, now), bound)
        aim = _AIM * age
        if aim < bound:
            if client not in known and len(known) >= _MOST_CLIENTS:
                del known[next(iter(known))]
            known[client] = bound + _STEP * (aim - bound), now

    def limit(self, client: Hashable, now: float) -> float:
        """The seconds that a request of this client may wait; inf: no bound is known."""
        bound, since = self.known.get(client, (math.inf, now))
        return bound * float(2.0 ** min((now - since) / _DOUBLES, 64.0))
