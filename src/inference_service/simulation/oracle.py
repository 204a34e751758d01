"""What a scheduler that knows all arrivals beforehand could do, for one slot and equal rows."""

import math
from collections.abc import Callable, Sequence

import numpy as np

WINDOW = 300
"""Arrivals over which the least mean latency can be worked out."""


def most_in_time(
    times: Sequence[float], timeout: float, largest: int, seconds: Callable[[int], float]
) -> int:
    """The most requests that can be answered within ``timeout`` seconds of their arrival.

    Exact, by dynamic programming over (arrivals looked at, those of them left out) -> earliest end
    of the last run. With one timeout for all, a batch of n that ends with arrival k is best made
    of the n latest ones: they have the most time. Such a batch leaves the number of those left out
    as it is, so that all sizes are tried by one look at the last rows of the table.
    """
    cost = np.array([seconds(n) for n in range(1, largest + 1)])
    fitting = np.flatnonzero(cost <= timeout)  # costs need not rise with the rows
    if not len(fitting):
        return 0
    cost = cost[: fitting[-1] + 1]
    arrivals = np.asarray(times)
    kept = len(cost) + 1  # rows of the table that are still needed: row k is at k % kept
    ends = np.full((kept, len(arrivals) + 2), math.inf)
    ends[0, 0] = -math.inf
    lows, idle = [0] * kept, 0  # fewest left out, by row, and if idle now
    for k, now in enumerate(arrivals, 1):
        low, high = min(lows), idle + 2
        row = ends[k % kept]
        row[:] = math.inf
        row[low + 1 : high] = ends[(k - 1) % kept, low : high - 1]  # this one is left out
        first = np.arange(k - 1, max(k - 1 - len(cost), -1), -1)  # of the batches that end with it
        due = arrivals[first] + timeout
        sizes = np.flatnonzero(now + cost[: len(due)] <= due)
        if len(sizes):
            end = np.maximum(ends[first[sizes] % kept, low:high], now) + cost[sizes, None]
            end[end > due[sizes, None]] = math.inf
            np.minimum(row[low:high], end.min(axis=0), out=row[low:high])
        lows[k % kept] = low + int(np.argmax(row[low:high] < math.inf))
        # Who is idle with fewer left out is never worse off than the states behind.
        free = np.flatnonzero(row[low:high] <= now)
        idle = low + int(free[0]) if len(free) else high - 1
        row[idle + 1 : high] = math.inf
    return len(arrivals) - lows[len(arrivals) % kept]


def least_mean_latency(
    times: Sequence[float], largest: int, seconds: Callable[[int], float], ends: int = 64
) -> float:
    """A lower bound of the mean latency of first-in-first-out batches on one slot.

    f[k] over the first k arrivals is kept as a small Pareto set of (end of the last run, sum of
    latencies); ``ends`` of them are kept, so the bound is tight but not exact on long windows.
    """
    total, answered = 0.0, 0
    for start in range(0, len(times), WINDOW):
        window = times[start : start + WINDOW]
        total += _least_sum(window, largest, seconds, ends)
        answered += len(window)
    return total / answered


def _least_sum(
    times: Sequence[float], largest: int, seconds: Callable[[int], float], ends: int
) -> float:
    states: list[list[tuple[float, float]]] = [[(-math.inf, 0.0)]]
    prefix = [0.0]
    for time in times:
        prefix.append(prefix[-1] + time)
    for k in range(1, len(times) + 1):
        options = []
        for n in range(1, min(largest, k) + 1):
            arrived = prefix[k] - prefix[k - n]
            for free, latency in states[k - n]:
                end = max(free, times[k - 1]) + seconds(n)
                options.append((end, latency + n * end - arrived))
        options.sort()
        front: list[tuple[float, float]] = []
        for end, latency in options:
            if not front or latency < front[-1][1]:
                front.append((end, latency))
        step = max(1, len(front) // ends)
        states.append(front[::step] if step == 1 else [*front[:-1:step], front[-1]])
    return min(latency for _, latency in states[-1])
