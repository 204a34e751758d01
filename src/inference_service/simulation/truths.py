"""What runs really cost: truths that differ from what a scheduler believes.

A scheduler knows a table of a few sizes, measured at warm-up. Real costs have knees between those
sizes, noise, stalls and slow spells, and the warm-up itself may have been disturbed.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from inference_service.core.scheduling.cost import Points

Seconds = Callable[[int], float]

LARGEST = 64
SIZES = (1, 2, 4, 8, 16, 32, 64)
"""Rows that a warm-up measures."""


def _steps(rows: int) -> float:
    """Kernels with tiles: 33 rows take nearly twice as long as 32."""
    base = 3e-3 if rows <= 8 else 6e-3 if rows <= 32 else 11e-3
    return base + 1e-5 * rows


def _alternating(rows: int) -> float:
    """Vector units: sizes that are no multiple of 8 take half as long again."""
    return (2e-3 + 1e-4 * rows) * (1.0 if rows < 8 or rows % 8 == 0 else 1.5)


TABLES: dict[str, Seconds] = {
    "flat": lambda rows: 4e-3 + 2e-5 * rows,
    "weightbound": lambda rows: 1.8e-3 + 3.5e-4 * rows**0.92,
    "steps": _steps,
    "convex": lambda rows: 2e-3 + 1e-4 * rows + 4e-6 * rows * rows,
    "nonmono": _alternating,
    "linear": lambda rows: 1e-4 + 5e-4 * rows,
}
"""S(rows) in seconds by name, for batches of up to `LARGEST` rows."""


def capacity(seconds: Seconds, largest: int = LARGEST) -> float:
    """Rows per second at the best size."""
    return max(rows / seconds(rows) for rows in range(1, largest + 1))


def warm_up(seconds: Seconds, rng: random.Random | None = None, sigma: float = 0.7) -> Points:
    """What a warm-up measures; with ``rng`` a disturbed one, each size by a log-normal factor."""
    return [
        (rows, seconds(rows) * (rng.lognormvariate(0.0, sigma) if rng else 1.0)) for rows in SIZES
    ]


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What is between the table and the truth.

    ``noise`` is the sigma of a log-normal factor; a share ``stalls`` of the runs takes ``stall``
    times as long; between the times of ``spell`` all take ``slow`` times as long.
    """

    noise: float = 0.0
    stalls: float = 0.0
    stall: float = 8.0
    spell: tuple[float, float] = (0.0, 0.0)
    slow: float = 1.0

    def factor(self, now: float, rng: random.Random) -> float:
        """How many times as long a run that starts now takes."""
        factor = rng.lognormvariate(0.0, self.noise) if self.noise else 1.0
        if self.stalls and rng.random() < self.stalls:
            factor *= self.stall
        return factor * (self.slow if self.spell[0] <= now < self.spell[1] else 1.0)


EXACT = Disturbance()
NOISY = Disturbance(noise=0.12, stalls=0.004)
