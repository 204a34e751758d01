"""Loads: when requests come. Open ones are lists; clients in a closed loop come back."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from inference_service.simulation.server import Arrival


def poisson(rate: float, count: int, seed: int) -> list[float]:
    """Arrival times of independent clients, ``rate`` per second."""
    rng = random.Random(seed)
    now = 0.0
    times: list[float] = []
    for _ in range(count):
        now += rng.expovariate(rate)
        times.append(now)
    return times


def mmpp(rate: float, count: int, seed: int, ratio: float) -> list[float]:
    """A Poisson process that switches between two rates, ``ratio`` apart, with the same mean.

    Both states last as long on average: 200 arrivals at the mean rate.
    """
    rng = random.Random(seed)
    low = 2 * rate / (1 + ratio)
    rates, stay = (low, low * ratio), 200 / rate
    now, state = 0.0, 0
    times: list[float] = []
    switch = rng.expovariate(1 / stay)
    while len(times) < count:
        gap = rng.expovariate(rates[state])
        if now + gap < switch:
            now += gap
            times.append(now)
        else:
            now, state = switch, 1 - state
            switch = now + rng.expovariate(1 / stay)
    return times


def on_off(rate: float, count: int, seed: int) -> list[float]:
    """Nothing for half of the time, twice the rate in the other half; 100 arrivals a burst."""
    rng = random.Random(seed)
    half = 50 / rate
    times: list[float] = []
    for time in poisson(2 * rate, count, rng.randrange(1 << 30)):
        bursts, rest = divmod(time, half)
        times.append(bursts * 2 * half + rest)
    return times


OPEN: dict[str, Callable[[float, int, int], list[float]]] = {
    "poisson": poisson,
    "mmpp-5": lambda rate, count, seed: mmpp(rate, count, seed, 5.0),
    "mmpp-20": lambda rate, count, seed: mmpp(rate, count, seed, 20.0),
    "on-off": on_off,
}
"""Arrival processes by name: (requests per second, how many, seed) -> times."""


@dataclass(frozen=True, slots=True)
class Closed:
    """``clients`` that send the next request ``think`` seconds after each answer.

    ``spread`` seconds lie between the requests of clients that were answered together: no client's
    network and event loop deliver them at one instant. ``random`` makes the thinking exponential.
    """

    clients: int
    think: float = 0.0
    spread: float = 0.0
    random: bool = False

    @property
    def name(self) -> str:
        """For tables."""
        kind = "exponential" if self.random else "fixed"
        return f"closed {self.clients}, think {self.think * 1e3:g} ms {kind}"


def arrivals(times: list[float], timeout: float = float("inf")) -> list[Arrival]:
    """Requests of one row at these times."""
    return [Arrival(time, timeout=timeout) for time in times]
