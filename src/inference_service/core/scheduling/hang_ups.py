"""How long clients without deadlines wait before they hang up, learned from hang-ups.

In an overload the queue grows until a request waits as long as it may. Clients that hang up sooner
would all be served just before or after they have gone: the model would work for nothing. So the
requests of a client most of which are given up at some age are scheduled as if that age, less a
margin, were their deadline. An answer that was waited for longer is evidence against it: where
clients share an address, a few that hang up change nothing for the others. What is learned is this
client's alone. The deadline grows again with time, as no request is old enough any more to show
that the client waits longer now.
"""

import math
from collections.abc import Hashable
from typing import NamedTuple

_SHARE = 0.9  # of the age at which requests are given up: runs end later than predicted, too
_STEP = 0.1  # of the way to each new age: a single one says little
_KEEP = 0.98  # of the counts at each new one: about the latest 50 count
_LEAST = 8.0  # requests given up before anything is concluded
_MAJORITY = 2.0  # times as many must be given up as wait longer
_DOUBLES = 10.0  # seconds after which the deadline is twice as far: a client may have changed
_MOST_CLIENTS = 1024


class _Seen(NamedTuple):
    """The age in seconds at which requests of a client are given up, how many were and how many
    were answered at a higher age (the latest count most), and when the last one was given up."""

    age: float
    gone: float = 0.0
    stayed: float = 0.0
    since: float = 0.0


_NOTHING = _Seen(math.inf)


class HangUps:
    """What is known of clients, of the latest 1024 that hung up."""

    def __init__(self) -> None:
        self.known: dict[Hashable, _Seen] = {}

    def gave_up(self, client: Hashable, age: float, now: float) -> None:
        """A request of this client was given up ``age`` seconds after it came."""
        known = self.known
        if client not in known and len(known) >= _MOST_CLIENTS:
            del known[next(iter(known))]
        seen = known.get(client) or _Seen(age)
        usual = seen.age + _STEP * (age - seen.age)
        known[client] = _Seen(usual, seen.gone * _KEEP + 1.0, seen.stayed * _KEEP, now)

    def answered(self, client: Hashable, age: float) -> None:
        """A request of this client was answered at this age, and its client was still there."""
        seen = self.known.get(client)
        if seen is not None and age > seen.age:
            gone, stayed = seen.gone * _KEEP, seen.stayed * _KEEP + 1.0
            self.known[client] = seen._replace(gone=gone, stayed=stayed)

    def limit(self, client: Hashable, now: float) -> float:
        """Seconds within which a request of this client has to be answered; inf: not known."""
        seen = self.known.get(client, _NOTHING)
        if seen.gone < max(_LEAST, _MAJORITY * seen.stayed):
            return math.inf
        return _SHARE * seen.age * float(2.0 ** min((now - seen.since) / _DOUBLES, 64.0))
