"""Whether a version fails more often than the one that it has replaced. Pure."""

import math
from typing import NamedTuple


class Outcomes(NamedTuple):
    """Requests of a version that have ended: all, and those that the model has failed."""

    total: int = 0
    failed: int = 0

    def since(self, earlier: "Outcomes") -> "Outcomes":
        """What has been added."""
        return Outcomes(self.total - earlier.total, self.failed - earlier.failed)

    @property
    def rate(self) -> float:
        """The share that failed."""
        return self.failed / self.total if self.total else 0.0


FEWEST_FAILURES = 5
"""Fewer prove nothing: a client may have sent what no version can answer."""

_SIGMAS = 3.0


def regressed(before: Outcomes, after: Outcomes, most: float) -> bool:
    """Whether the share of failures has risen by more than ``most``, and not by chance.

    The rise must be above three standard errors of the difference of two proportions (the pooled
    z-test), so that a few failures among few requests change nothing.
    """
    if after.failed < FEWEST_FAILURES or after.rate - before.rate <= most:
        return False
    if not before.total:  # nothing to compare with
        return after.rate > max(most, 0.5)
    total = before.total + after.total
    pooled = (before.failed + after.failed) / total
    if pooled >= 1.0:
        return False
    error = math.sqrt(pooled * (1 - pooled) * (1 / before.total + 1 / after.total))
    return after.rate - before.rate > _SIGMAS * error
