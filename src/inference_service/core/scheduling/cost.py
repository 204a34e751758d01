"""What a batch costs: S(rows), measured at warm-up and refined by every run.

A table has points (rows, seconds) and is linear between them. Sizes are added where runs show that
the straight line is wrong: kernels have steps, and a table with knees between powers of two costs a
third of the goodput. Costs need not rise with the rows.

**Bad news is believed only if it was measured live.** A size that is thought too slow is never run,
so it would never be learned that it is not. So a size that was not run yet costs at most twice its
half, and a size is avoided only after it was slow twice (`CostTable.believed`).

**Slow spells** (another process, throttling) change all sizes alike: one factor for all tables, the
median of the latest ratios, goes up after five slow runs and down after five usual ones. The shape
of the tables is not learned meanwhile, and what the first runs of a spell have taught is undone.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from inference_service.core.scheduling.policy import DEFAULTS, BatchPolicy

Points = Sequence[tuple[int, float]]
"""(rows, seconds) with rising rows."""

_LEAST_SECONDS = 1e-9


def knee(points: Points, share: float = DEFAULTS.knee) -> int:
    """The smallest batch whose rows per second reach ``share`` of the best; 1 without points."""
    if not points:
        return 1
    best = max(rows / seconds for rows, seconds in points)
    return next(rows for rows, seconds in points if rows / seconds >= share * best)


@dataclass(slots=True)
class _Point:
    """One size of a table. ``runs`` were measured live, ``recent`` are the last four of them."""

    rows: int
    seconds: float
    runs: int = 0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=4))


class CostTable:
    """S(rows) in seconds at the usual speed, for rows of one shape.

    An empty table knows nothing and says 0; its first observation becomes a straight line through
    the origin, the most careful guess for other sizes that one point allows.
    """

    __slots__ = ("_points", "_policy", "_rows", "curve", "version")

    def __init__(self, points: Points = (), policy: BatchPolicy = DEFAULTS) -> None:
        self._policy = policy
        self._points = [_Point(rows, max(seconds, _LEAST_SECONDS)) for rows, seconds in points]
        self._rows = [point.rows for point in self._points]
        if self._rows != sorted(set(self._rows)) or (self._rows and self._rows[0] < 1):
            raise ValueError(f"a cost table needs rising rows from 1: {self._rows}")
        self.curve: list[float] = [0.0]
        """Seconds by rows, up to the largest size that was asked for."""
        self.version = 0
        if self._points:
            self._interpolate(0, len(self._points))
            self._cap_from(0)

    @property
    def points(self) -> list[tuple[int, float]]:
        """The table as it stands."""
        return [(point.rows, point.seconds) for point in self._points]

    def up_to(self, rows: int) -> list[float]:
        """The curve, long enough to be indexed with ``rows``."""
        curve = self.curve
        if len(curve) <= rows:
            last = self._rows[-1] if self._rows else 0
            unit = self._points[-1].seconds / last if last else 0.0
            curve.extend([unit * size for size in range(len(curve), rows + 1)])
        return curve

    def seconds(self, rows: int) -> float:
        """The expected seconds of a batch of ``rows`` rows; 0: not known."""
        curve = self.curve
        return curve[rows] if rows < len(curve) else self._beyond(rows)

    def believed(self, rows: int) -> bool:
        """Whether runs of this size, or of both its neighbours, were measured often enough."""
        index = bisect_left(self._rows, rows)
        if index == len(self._rows):
            return False
        point = self._points[index]
        if point.rows == rows:
            return point.runs >= self._policy.runs_believed
        before = self._points[index - 1].runs if index else 0
        return min(before, point.runs) >= 1 and before + point.runs >= 4

    def least(self, rows: int) -> float:
        """The best of its last runs: what is compared before a size is avoided."""
        index = bisect_left(self._rows, rows)
        if index < len(self._rows) and self._rows[index] == rows and self._points[index].recent:
            return min(self._points[index].recent)
        return self.seconds(rows)

    def measured(self, rows: int) -> bool:
        """Whether runs of this size, or of both its neighbours, were measured live at all."""
        index = bisect_left(self._rows, rows)
        if index == len(self._rows):
            return False
        point = self._points[index]
        near = point.rows == rows or (index > 0 and self._points[index - 1].runs > 0)
        return near and point.runs > 0

    def observe(self, rows: int, seconds: float) -> None:
        """Move the table towards a measured run."""
        self.version += 1
        if not self._points:
            unit = seconds / rows
            self._points = [
                _Point(size, max(unit * size, _LEAST_SECONDS)) for size in sorted({1, rows})
            ]
            self._rows = [point.rows for point in self._points]
            index = len(self._rows) - 1
            self._points[index].runs = 1
            self._interpolate(0, len(self._points))
            return
        index = bisect_left(self._rows, rows)
        exact = index < len(self._rows) and self._rows[index] == rows
        if not exact:
            if not self._is_new(index, rows, seconds):
                self._move_neighbours(index, rows, seconds)
                return
            self._insert(index, rows, self.seconds(rows))
        self._learn(self._points[index], seconds)
        self._interpolate(index, index + 1)
        self._cap_from(index + 1)

    def scale(self, factor: float) -> None:
        """The usual speed has changed."""
        self.version += 1
        for point in self._points:
            point.seconds *= factor
            point.recent = deque((seconds * factor for seconds in point.recent), maxlen=4)
        self.curve = [seconds * factor for seconds in self.curve]

    def copy(self) -> "CostTable":
        """The table as it stands."""
        same = CostTable((), self._policy)
        same._points = [replace(one, recent=one.recent.copy()) for one in self._points]
        same._rows, same.curve, same.version = self._rows.copy(), self.curve.copy(), self.version
        return same

    def stretched(self, factor: float) -> "CostTable":
        """The curve of rows that are ``factor`` times as large: the same work in fewer rows."""
        points = [(rows, self.seconds(max(1, round(rows * factor)))) for rows in self._rows]
        return CostTable(points, self._policy)

    def _is_new(self, index: int, rows: int, seconds: float) -> bool:
        """Whether a size that has no point gets one: the straight line is off by too much."""
        if index == len(self._rows):
            return True
        return abs(seconds - self.seconds(rows)) > self._policy.new_size_error * self.seconds(rows)

    def _insert(self, index: int, rows: int, seconds: float) -> None:
        self._points.insert(index, _Point(rows, seconds))
        self._rows.insert(index, rows)

    def _learn(self, point: _Point, seconds: float) -> None:
        policy = self._policy
        point.runs += 1
        point.recent.append(seconds)
        # Slow runs may be stalls, so they count up to a bound. Quick ones tell the truth.
        most = policy.largest_step if point.runs <= 3 else policy.speed_band
        target = min(max(seconds, point.seconds / policy.largest_step if point.runs > 3 else 0.0),
                     most * point.seconds)  # fmt: skip
        rate = max(1 / point.runs, policy.learning_rate)
        point.seconds = max(point.seconds + rate * (target - point.seconds), _LEAST_SECONDS)

    def _move_neighbours(self, index: int, rows: int, seconds: float) -> None:
        """A step of both sizes around it, so that the estimate at ``rows`` moves by the rate."""
        left, right = self._points[max(index - 1, 0)], self._points[index]
        share = (rows - left.rows) / (right.rows - left.rows) if index else 1.0
        weight = share * share + (1 - share) * (1 - share)
        step = self._policy.learning_rate * (seconds - self.seconds(rows)) / weight
        left.seconds = max(left.seconds + step * (1 - share), _LEAST_SECONDS)
        right.seconds = max(right.seconds + step * share, _LEAST_SECONDS)
        self._interpolate(max(index - 1, 0), index + 1)

    def _interpolate(self, first: int, stop: int) -> None:
        """Draw the lines to and from the points ``first`` to ``stop``."""
        points, curve = self._points, self.curve
        last = points[-1].rows
        if len(curve) <= last:
            curve.extend([0.0] * (last + 1 - len(curve)))
        if first == 0:  # below the smallest size a run costs what that costs
            curve[1 : points[0].rows + 1] = [points[0].seconds] * points[0].rows
        for index in range(max(first, 1), min(stop + 1, len(points))):
            left, right = points[index - 1], points[index]
            gap = right.rows - left.rows
            slope = (right.seconds - left.seconds) / gap
            start = left.seconds
            curve[left.rows : right.rows + 1] = [start + slope * i for i in range(gap + 1)]
        if stop >= len(points):
            del curve[last + 1 :]

    def _cap_from(self, first: int) -> None:
        """A size that was never run costs at most twice its half."""
        for index in range(max(first, 1), len(self._points)):
            point = self._points[index]
            most = 2 * self.curve[point.rows // 2]
            if point.runs or point.seconds <= most or point.rows // 2 < self._rows[0]:
                continue
            point.seconds = most
            self._interpolate(index, index + 1)

    def _beyond(self, rows: int) -> float:
        """On with the average cost of a row at the largest size."""
        return self._points[-1].seconds * rows / self._rows[-1] if self._points else 0.0


class CostModel:
    """The tables of one model, one for each number of elements in a row.

    For rows that were never measured, b rows are taken to cost what as many elements cost in the
    nearest table. 0 elements stand for the table that was measured at warm-up.
    """

    def __init__(
        self, points: Points = (), row_elements: int = 1, policy: BatchPolicy = DEFAULTS
    ) -> None:
        self._policy = policy
        self._usual = row_elements
        self._tables = {row_elements: CostTable(points, policy)}
        self._latest: deque[float] = deque(maxlen=policy.speed_window)
        self._ratios: deque[float] = deque(maxlen=policy.margin_window)
        self._before: dict[int, CostTable] = {}  # the tables before what may be a spell
        self._begun: list[tuple[int, int, float]] = []  # its runs: elements, rows, seconds
        self._off = 0
        self._runs = 0
        self.version = 0
        """Changes with every run that is observed: what was derived from costs is stale then."""
        self.speed = 1.0
        """How many times as long as usual runs take at present: the factor of all tables."""
        self.margin = 1.0
        """The safety margin for deadlines: a quantile of observed over predicted seconds."""

    @property
    def tables(self) -> dict[int, list[tuple[int, float]]]:
        """The tables at the present speed, by elements of a row."""
        return {
            elements: [(rows, seconds * self.speed) for rows, seconds in table.points]
            for elements, table in sorted(self._tables.items())
        }

    def table(self, row_elements: int = 0) -> CostTable:
        """The table for rows of this size."""
        row_elements = row_elements or self._usual
        table = self._tables.get(row_elements)
        if table is None:
            nearest = min(self._tables, key=lambda known: abs(known - row_elements))
            table = self._tables[nearest].stretched(row_elements / nearest)
            self._tables[row_elements] = table
        return table

    def seconds(self, rows: int, row_elements: int = 0) -> float:
        """The expected seconds of a batch."""
        return self.table(row_elements).seconds(rows) * self.speed

    def observe(self, rows: int, seconds: float, row_elements: int = 0) -> None:
        """Learn from a run."""
        self._runs += 1
        self.version += 1
        table = self.table(row_elements)
        usual = table.seconds(rows)
        if usual <= 0.0:
            table.observe(rows, seconds)
            if not self._tables[self._usual].points:  # there was no warm-up
                self._usual = row_elements
            return
        # Only a size that was measured live tells the speed: a guess may be wrong by itself.
        measured, ratio = table.measured(rows), seconds / usual
        if self.speed == 1.0:
            ratio = self._against_before(row_elements or self._usual, rows, seconds, ratio)
        if measured:
            self._watch(ratio)
        if self.speed != 1.0 and self._before:
            self._restore()
            table = self.table(row_elements)
        if self.speed == 1.0:
            self._off = 0
            table.observe(rows, seconds)
        else:
            self._off += 1
            if not measured:
                table.observe(rows, seconds / self.speed)
            if self._off >= self._policy.lasting:
                self._settle()

    def _against_before(self, size: int, rows: int, seconds: float, ratio: float) -> float:
        """The ratio to what the tables say without the runs that may be the first of a spell.

        They are kept as they were before an unusual run, until a usual one shows that it's none.
        """
        if self._before:
            known = self._before.get(size)
            if known is not None and known.measured(rows):
                ratio = seconds / known.seconds(rows)
                if self._usual_speed(ratio):
                    self._before = {}
            if len(self._begun) >= 4 * self._policy.speed_window:
                self._before = {}  # only new sizes run, which are learned
        elif not self._usual_speed(ratio):
            self._before = {size: table.copy() for size, table in self._tables.items()}
            self._begun = []
        if self._before:
            self._begun.append((size, rows, seconds))
        return ratio

    def _restore(self) -> None:
        """It is a spell: what its first runs have taught is no cost of their sizes.

        A backlog that begins with it runs large batches, perhaps for the first time. Learned as
        they are they would be avoided for as long as the spell lasts: a third of the throughput.
        """
        for size, table in self._before.items():
            table.version = self._tables[size].version + 1
            self._tables[size] = table
        self._before = {}
        self._latest.clear()
        self._latest.extend(
            [seconds / self.table(size).seconds(rows) for size, rows, seconds in self._begun]
        )
        self.speed = self._middle()

    def _watch(self, ratio: float) -> None:
        policy, ratios = self._policy, self._ratios
        self._latest.append(ratio)
        ratios.append(ratio / self.speed)
        if self.speed != 1.0 or not self._usual_speed(ratio):
            self.speed = self._middle()
        if self._runs % 4 == 0:
            ranked = sorted(ratios)
            margin = ranked[int(policy.margin_quantile * (len(ranked) - 1))]
            self.margin = min(max(margin, 1.0), policy.largest_margin)

    def _middle(self) -> float:
        """The median of the latest ratios; 1 within the band."""
        latest = self._latest
        middle = sorted(latest)[len(latest) // 2] if len(latest) >= 5 else 1.0
        return 1.0 if self._usual_speed(middle) else middle

    def _usual_speed(self, ratio: float) -> bool:
        band = self._policy.speed_band
        return 1 / band <= ratio <= band

    def _settle(self) -> None:
        """The spell has become the usual speed."""
        for table in self._tables.values():
            table.scale(self.speed)
        self.speed, self._off = 1.0, 0
        self._latest.clear()
