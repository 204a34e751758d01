"""Measure what runs of a model cost, at growing batch sizes and in several layouts, in short time.

The measurement is the warm-up: it visits every size that will be run, so that the memory arena and
the kernels are ready. What it finds is kept between starts (`findings`).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby
from operator import itemgetter
from time import perf_counter

from inference_service.core.rows import RowLayout
from inference_service.core.scheduling.cost import CostTable, Points, knee
from inference_service.core.scheduling.layout import Layout, Profile
from inference_service.core.scheduling.policy import DEFAULTS
from inference_service.core.tensors import Tensors
from inference_service.runtime.memory import resident
from inference_service.runtime.session import OpenModel

BUDGET = 0.6
"""Seconds for one layout. Larger batches than fit are left cold; online runs extend the table."""

LARGEST = 1024
"""Rows. The search for the knee ends here."""

SLOW_RUN = 0.25
_MOST_GROWTH = 128 * 2**20  # bytes; the next size takes twice as much
_PER_SIZE = 0.03
_RUNS = (3, 50)
_AGAIN = 0.12  # seconds in all
_GAIN = 1.03
_OVERHEAD = 150e-6  # of a batch outside of the run: assembling, splitting, the hop to a thread


def sizes_up_to(largest: int, allowed: Sequence[int] = ()) -> list[int]:
    """1, 2, 4 … and the largest; or the allowed ones."""
    if allowed:
        return list(allowed)
    sizes, size = [], 1
    while size < largest:
        sizes.append(size)
        size *= 2
    return [*sizes, largest]


class Measurement:
    """The runs of one layout, at growing sizes, all of its instances at work."""

    def __init__(
        self, model: OpenModel, layout: Layout, *, stop_at_knee: bool,
        budget: float = BUDGET, slow: float = SLOW_RUN,
    ) -> None:  # fmt: skip
        self._model = model
        self._layout = layout
        self._stop_at_knee = stop_at_knee
        self._left = budget
        self._again = _AGAIN
        self._slow = slow
        self._points: list[tuple[int, float]] = []
        self._best, self._stale = 0.0, 0
        self._base = resident()
        self.ended = False

    def add(self, batch: Tensors, size: int) -> None:
        """The median seconds of a batch of this size.

        It is the last one when the budget is used up, after a run that took more than ``slow``
        seconds, when the process has grown by much, and with ``stop_at_knee`` when two sizes in a
        row have brought less than 3 % more rows per second.
        """
        begun = perf_counter()
        with ThreadPoolExecutor(self._layout.instances) as pool:
            times = _times(lambda: self._model.run(batch), self._layout.instances, pool)
        seconds = sorted(times)[len(times) // 2]
        self._points.append((size, seconds))
        rate = size / seconds
        self._stale = 0 if rate > _GAIN * self._best else self._stale + 1
        self._best = max(self._best, rate)
        self._left -= perf_counter() - begun
        at_knee = self._stop_at_knee and self._stale >= 2
        large = resident() - self._base > _MOST_GROWTH
        self.ended = seconds > self._slow or self._left <= 0 or at_knee or large

    @property
    def doubtful(self) -> list[int]:
        """Sizes around and beyond the knee: something may have disturbed their runs."""
        if not self._stop_at_knee:
            return []
        found = knee(with_overhead(self._points))
        return [size for size, _ in self._points if 2 * size >= found]

    def again(self, batch: Tensors, size: int) -> None:
        """One more run in each instance, while there is time. Disturbances only add to it."""
        if self._again <= 0:
            return
        begun = perf_counter()
        with ThreadPoolExecutor(self._layout.instances) as pool:
            run = partial(self._model.run, batch)
            runs = [pool.submit(_timed, run) for _ in range(self._layout.instances)]
            seconds = max(found.result() for found in runs)
        index = [known for known, _ in self._points].index(size)
        self._points[index] = (size, min(self._points[index][1], seconds))
        self._again -= perf_counter() - begun

    def profile(self, row: Tensors) -> Profile:
        """What was found for batches of this row."""
        volume = sum(array.size for array in row.values())
        return Profile(self._layout, tuple(self._points), max(1, volume))


def measure(
    measurements: Sequence[Measurement], row: Tensors, sizes: Sequence[int], rows: RowLayout
) -> list[Profile]:
    """Size by size, so that what else the machine does disturbs all layouts alike.

    Those around the knee are run once more: a moment of disturbance would else halve the batches.
    """
    for size in sizes:
        going = [one for one in measurements if not one.ended]
        if not going:
            break
        batch = rows.repeated(row, size)
        for one in going:
            one.add(batch, size)
    doubtful = [(size, one) for one in measurements for size in one.doubtful]
    for size, pairs in groupby(sorted(doubtful, key=itemgetter(0)), key=itemgetter(0)):
        batch = rows.repeated(row, size)
        for _, one in pairs:
            one.again(batch, size)
    return [one.profile(row) for one in measurements]


def _timed(run: Callable[[], object]) -> float:
    started = perf_counter()
    run()
    return perf_counter() - started


def _times(run: Callable[[], object], instances: int, pool: ThreadPoolExecutor) -> list[float]:
    def timed() -> list[float]:
        times: list[float] = []
        until = perf_counter() + _PER_SIZE
        least, most = _RUNS
        while len(times) < least or (perf_counter() < until and len(times) < most):
            times.append(_timed(run))
            if times[-1] > SLOW_RUN:
                break
        return times

    run()
    if instances == 1:
        return timed()
    return [t for f in [pool.submit(timed) for _ in range(instances)] for t in f.result()]


def knee_of(profiles: Sequence[Profile]) -> int:
    """The largest batch worth running, over all layouts; the hop to a thread is counted in."""
    return max(knee(with_overhead(profile.points)) for profile in profiles)


def derived_max_batch_size(profiles: Sequence[Profile]) -> int:
    """Where the measured rows per second level off, but not less than 32 unless such a run is long.

    A busy moment at the start makes a knee tiny. What runs cost is learned later; a size that is
    never run is not.
    """
    least = DEFAULTS.least_max_batch
    tables = [CostTable(profile.points) for profile in profiles if profile.points]
    short = all(table.seconds(least) <= DEFAULTS.long_run for table in tables)
    return max(knee_of(profiles), least if tables and short else 1)


def with_overhead(points: Points) -> Points:
    """What a batch of each size costs, not only its run."""
    return [(rows, seconds + _OVERHEAD) for rows, seconds in points]
