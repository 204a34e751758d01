"""What a batch costs: S(rows), measured at warm-up and refined by every run.

A table of (rows, seconds) at a few sizes, linear between them. Service times of batches only grow
with the rows; measurements are noisy, so they are pooled into a rising curve (isotonic regression
by pool adjacent violators; Ayer et al. 1955, doi 10.1214/aoms/1177728423).
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from itertools import pairwise

Points = Sequence[tuple[int, float]]
"""(rows, seconds) with rising rows."""

KNEE = 0.97
"""Share of the best measured rows per second at which a larger batch is not worth its wait."""

_LEARNING_RATE = 0.1
_OUTLIER = 5.0
_STEP_AFTER = 8  # outliers in a row are not noise: the machine or the model has changed
_WINDOW = 256
_REFRESH = 16
_LARGEST_NOISE = 3.0
_ALL, _EVERY = 64, 4


def rising(values: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """The rising sequence that is closest to ``values`` in weighted least squares."""
    pools: list[list[float]] = []  # [mean, weight, count]
    for index, value in enumerate(values):
        pools.append([value, 1.0 if weights is None else weights[index], 1.0])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            mean, weight, count = pools.pop()
            last = pools[-1]
            total = last[1] + weight
            last[0] = (last[0] * last[1] + mean * weight) / total
            last[1] = total
            last[2] += count
    return [mean for mean, _, count in pools for _ in range(int(count))]


def knee(points: Points) -> int:
    """The smallest batch whose rows per second reach `KNEE` of the best; 1 without points."""
    if not points:
        return 1
    best = max(rows / seconds for rows, seconds in points)
    return next(rows for rows, seconds in points if rows / seconds >= KNEE * best)


class CostTable:
    """S(rows) in seconds for one model and one shape of its rows.

    An empty table knows nothing and says 0; its first observation becomes a straight line through
    the origin, the most careful guess for other sizes that one point allows.
    """

    __slots__ = ("_cache", "_rows", "_seconds")

    def __init__(self, points: Points = ()) -> None:
        self._rows = [rows for rows, _ in points]
        self._seconds = rising([max(seconds, 1e-9) for _, seconds in points])
        if self._rows != sorted(set(self._rows)) or (self._rows and self._rows[0] < 1):
            raise ValueError(f"a cost table needs rising rows from 1: {self._rows}")
        self._cache: dict[int, float] = {}

    @property
    def points(self) -> list[tuple[int, float]]:
        """The table as it stands."""
        return list(zip(self._rows, self._seconds, strict=True))

    def seconds(self, rows: int) -> float:
        """The expected seconds of a batch of ``rows`` rows."""
        known = self._cache.get(rows)
        if known is None:
            known = self._cache[rows] = self._interpolated(rows)
        return known

    def observe(self, rows: int, seconds: float, rate: float = _LEARNING_RATE) -> None:
        """Move the table towards a measured run: a step at the two sizes that bracket it."""
        self._cache.clear()
        if not self._rows:
            self._rows = sorted({1, rows})
            self._seconds = [seconds * size / rows for size in self._rows]
            return
        if rows > self._rows[-1]:
            self._seconds.append(self._interpolated(rows))
            self._rows.append(rows)
        error = seconds - self._interpolated(rows)
        right = bisect_left(self._rows, rows)
        if self._rows[right] == rows or right == 0:
            self._move(right, rate * error)
        else:
            low, high = self._rows[right - 1], self._rows[right]
            share = (rows - low) / (high - low)
            # Normalised, so that the estimate at ``rows`` itself moves by ``rate * error``.
            step = rate * error / (share * share + (1 - share) * (1 - share))
            self._move(right - 1, step * (1 - share))
            self._move(right, step * share)
        near = self._seconds[max(right - 2, 0) : right + 2]
        if any(left > later for left, later in pairwise(near)):
            self._seconds = rising(self._seconds)

    def scaled(self, factor: float) -> "CostTable":
        """The same curve at ``factor`` times the cost."""
        return CostTable([(rows, seconds * factor) for rows, seconds in self.points])

    def stretched(self, factor: float) -> "CostTable":
        """The curve of rows that are ``factor`` times as large: the same work in fewer rows."""
        return CostTable(
            [(rows, self.seconds(max(1, round(rows * factor)))) for rows in self._rows]
        )

    def _move(self, index: int, step: float) -> None:
        self._seconds[index] = max(self._seconds[index] + step, 1e-9)

    def _interpolated(self, rows: int) -> float:
        sizes, seconds = self._rows, self._seconds
        if not sizes:
            return 0.0
        right = bisect_left(sizes, rows)
        if right == 0:
            return seconds[0]
        if right == len(sizes):  # beyond the largest size: on with the average cost of a row there
            return seconds[-1] * rows / sizes[-1]
        low, high = sizes[right - 1], sizes[right]
        share = (rows - low) / (high - low)
        return seconds[right - 1] + share * (seconds[right] - seconds[right - 1])


class Noise:
    """How much longer than predicted a run may take: the p99 of observed/predicted, in 1 to 3."""

    __slots__ = ("_fresh", "_ratios", "factor")

    def __init__(self) -> None:
        self.factor = 1.0
        self._ratios: deque[float] = deque(maxlen=_WINDOW)
        self._fresh = 0

    def observe(self, ratio: float) -> None:
        """Note one run."""
        self._ratios.append(ratio)
        self._fresh += 1
        if self._fresh >= _REFRESH:
            self._fresh = 0
            ranked = sorted(self._ratios)
            p99 = ranked[min(len(ranked) - 1, int(0.99 * len(ranked)))]
            self.factor = min(max(p99, 1.0), _LARGEST_NOISE)


class CostModel:
    """The tables of one model: one for each volume (numbers in one row of all inputs).

    For a volume that was never measured, b rows are taken to cost what as many numbers cost in rows
    of the nearest volume. Volume 0 is the one that was measured at warm-up.
    """

    def __init__(self, points: Points = (), volume: int = 1) -> None:
        self._usual = volume
        self._tables: dict[int, CostTable] = {volume: CostTable(points)}
        self._noise = Noise()
        self._runs = 0
        self._far: deque[float] = deque(maxlen=_STEP_AFTER)

    @property
    def noise(self) -> float:
        """The factor U of docs/scheduler.md."""
        return self._noise.factor

    @property
    def tables(self) -> dict[int, list[tuple[int, float]]]:
        """The tables as they stand, by volume."""
        return {volume: table.points for volume, table in sorted(self._tables.items())}

    def frozen(self) -> "CostModel":
        """A copy of the usual table, without noise."""
        return CostModel(self._tables[self._usual].points)

    def table(self, volume: int) -> CostTable:
        """The table for this volume."""
        volume = volume or self._usual
        table = self._tables.get(volume)
        if table is None:
            nearest = min(self._tables, key=lambda known: abs(known - volume))
            table = self._tables[nearest].stretched(volume / nearest)
            self._tables[volume] = table
        return table

    def seconds(self, rows: int, volume: int = 0) -> float:
        """The expected seconds of a batch."""
        return self.table(volume).seconds(rows)

    def observe(self, rows: int, seconds: float, volume: int = 0) -> bool:
        """Learn from a run; whether the table has changed.

        One that took far longer than predicted counts as noise alone. After the first runs every
        fourth is looked at: the others would tell the same.
        """
        self._runs += 1
        if self._runs > _ALL and self._runs % _EVERY:
            return False
        table = self.table(volume)
        predicted = table.seconds(rows)
        if predicted <= 0.0:
            table.observe(rows, seconds)
            return True
        ratio = seconds / predicted
        self._noise.observe(ratio)
        if ratio <= _OUTLIER:
            self._far.clear()
            table.observe(rows, seconds)
            return True
        self._far.append(ratio)
        if len(self._far) == _STEP_AFTER:
            step = sorted(self._far)[_STEP_AFTER // 2]
            self._far.clear()
            self._tables[volume or self._usual] = table.scaled(step)
        return True
