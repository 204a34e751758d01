"""How a model uses the cores: a number of runs at a time, and the threads of each.

One run on all cores answers a lone request soonest. Models that don't scale over cores answer more
in all with a run on each (Packrat, ICML'25: 1.4 to 1.8 times). Which of both a model should use is
measured when it is loaded; where several are better at something, the layout that would drain the
queue soonest is used, with hysteresis.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from inference_service.core.scheduling.cost import CostModel, Points, knee
from inference_service.core.scheduling.policy import DEFAULTS, BatchPolicy

WORTH = DEFAULTS.layout_gain
"""A second layout must be better by this factor at something: it doubles the model's memory."""


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

    ``points`` are (rows, seconds), ``row_elements`` the elements of all inputs in a measured row.
    """

    layout: Layout
    points: Points = ()
    row_elements: int = 1

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
    """The layout in use: that which would drain what is queued soonest."""

    def __init__(self, profiles: Sequence[Profile], policy: BatchPolicy = DEFAULTS) -> None:
        self._policy = policy
        self.layouts = [profile.layout for profile in profiles]
        self.costs = [CostModel(p.points, p.row_elements, policy) for p in profiles]
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

    def consider(self, rows: int, most: int) -> bool:
        """Note the rows queued at a dispatch, run by up to ``most``; whether it has changed."""
        if len(self.layouts) == 1 or rows == 0:
            return False
        drains = [self._drain(index, rows, most) for index in range(len(self.layouts))]
        best = min(range(len(drains)), key=drains.__getitem__)
        # A higher index is for a backlog; it must be better by a margin, the way back need not.
        gain = self._policy.layout_gain if best > self.index else 1.0
        contrary = best != self.index and drains[best] * gain < drains[self.index]
        self._contrary = self._contrary + 1 if contrary else 0
        if self._contrary < self._policy.layout_persistence:
            return False
        self._contrary, self.index = 0, best
        return True

    def _drain(self, index: int, rows: int, most: int) -> float:
        """Seconds until this many rows are done, spread over the layout's instances."""
        full, rest = divmod(-(-rows // self.layouts[index].instances), most)
        cost = self.costs[index]
        return full * cost.seconds(most) + (cost.seconds(rest) if rest else 0.0)
