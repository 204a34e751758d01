"""What somebody who knows all arrivals beforehand could do, for one slot and equal rows."""

import math
from collections.abc import Callable, Sequence

import numpy as np

WINDOW = 2000
"""Arrivals of one programme; longer traces are cut into windows."""

_MEAN_WINDOW = 300


def most_in_time(
    times: Sequence[float], patience: float, largest: int, seconds: Callable[[int], float]
) -> int:
    """The most requests that can be answered within ``patience`` seconds of their arrival.

    By dynamic programming over (last arrival looked at, answered so far) -> earliest end. With one
    patience for all, a batch of n that ends with arrival k is best made of the n latest ones: they
    have the most time. Windows begin idle, so the sum over windows is an upper bound.
    """
    return sum(
        _window(times[start : start + WINDOW], patience, largest, seconds)
        for start in range(0, len(times), WINDOW)
    )


def _window(
    times: Sequence[float], patience: float, largest: int, seconds: Callable[[int], float]
) -> int:
    count = len(times)
    earliest = np.full((count + 1, count + 1), math.inf)
    earliest[:, 0] = -math.inf
    cost = [0.0] + [seconds(n) for n in range(1, largest + 1)]
    for k in range(1, count + 1):
        best = earliest[k - 1].copy()
        arrival = times[k - 1]
        for n in range(1, min(largest, k) + 1):
            deadline = times[k - n] + patience
            if arrival + cost[n] > deadline:
                break  # a larger batch has an older head and takes longer
            end = np.maximum(earliest[k - n][: count + 1 - n], arrival) + cost[n]
            end[end > deadline] = math.inf
            np.minimum(best[n:], end, out=best[n:])
        earliest[k] = best
    return int(np.flatnonzero(np.isfinite(earliest[count]) | (earliest[count] == -math.inf))[-1])


def least_mean_latency(
    times: Sequence[float], largest: int, seconds: Callable[[int], float], ends: int = 64
) -> float:
    """A lower bound of the mean latency of first-in-first-out batches on one slot.

    f[k] over the first k arrivals is kept as a small Pareto set of (end of the last run, sum of
    latencies); ``ends`` of them are kept, so the bound is tight but not exact on long windows.
    """
    total, answered = 0.0, 0
    for start in range(0, len(times), _MEAN_WINDOW):
        window = times[start : start + _MEAN_WINDOW]
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
