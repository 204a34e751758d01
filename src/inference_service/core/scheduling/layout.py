"""How a model uses the cores: so many runs at a time, each with so many threads.

One run on all cores answers a lone request soonest. Models that don't scale over cores answer more
in all with a run on each (Packrat, ICML'25: 1.4 to 1.8 times). Which of both a model should use is
measured when it is loaded; where each is better at something, the backlog decides, with hysteresis.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from inference_service.core.scheduling.cost import CostModel, Points, knee

WORTH = 1.1
"""A second layout must be better by this factor at something: it doubles the model's memory."""

_SWITCH_UP, _SWITCH_DOWN = 2.0, 0.5  # batches in the queue
_PERSISTENT = 16  # dispatches in a row


@dataclass(frozen=True, slots=True)
class Layout:
    """``instances`` runs at a time, each with ``threads`` intra-op threads."""

    instances: int
    threads: int

    def __str__(self) -> str:
        return f"{self.instances} x {self.threads} threads"


@dataclass(frozen=True, slots=True)
class Profile:
    """What runs cost in a layout, measured with all of its instances at work.

    ``points`` are (rows, seconds) and ``volume`` the numbers in one row of the rows measured.
    """

    layout: Layout
    points: Points = ()
    volume: int = 1

    @property
    def rate(self) -> float:
        """Rows per second at best."""
        best = max((rows / seconds for rows, seconds in self.points), default=0.0)
        return best * self.layout.instances

    @property
    def alone(self) -> float:
        """Seconds of the smallest batch."""
        return self.points[0][1] if self.points else 0.0

    @property
    def knee(self) -> int:
        """The smallest batch that is nearly as fast per row as the best."""
        return knee(self.points)


def worth_having(profiles: Sequence[Profile]) -> tuple[Profile, ...]:
    """The one profile that is good at everything, or the quickest and the one of most rows."""
    quickest = min(profiles, key=lambda profile: profile.alone)
    fullest = max(profiles, key=lambda profile: profile.rate)
    if quickest is fullest or fullest.rate <= WORTH * quickest.rate:
        return (quickest,)
    if fullest.alone <= WORTH * quickest.alone:
        return (fullest,)
    return quickest, fullest


class LayoutChoice:
    """Which of the layouts is used now: the first at low load, the last with a backlog."""

    def __init__(self, profiles: Sequence[Profile]) -> None:
        self.layouts = [profile.layout for profile in profiles]
        self.costs = [CostModel(profile.points, profile.volume) for profile in profiles]
        self.index = 0
        self._contrary = 0

    @property
    def layout(self) -> Layout:
        """The layout for the next batch."""
        return self.layouts[self.index]

    @property
    def cost(self) -> CostModel:
        """Its costs."""
        return self.costs[self.index]

    def consider(self, backlog: float) -> bool:
        """Note the backlog (in batches) at a dispatch; whether the layout has changed."""
        if len(self.layouts) == 1:
            return False
        contrary = backlog >= _SWITCH_UP if self.index == 0 else backlog <= _SWITCH_DOWN
        self._contrary = self._contrary + 1 if contrary else 0
        if self._contrary < _PERSISTENT:
            return False
        self._contrary = 0
        self.index = 1 - self.index
        return True
