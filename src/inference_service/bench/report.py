"""What a load has shown, as text, JSON or a picture. Pure but for the picture's file."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference_service.bench.load import Outcome

PERCENTILES = (50, 90, 95, 99, 99.9)
_WIDTH = 40  # characters of a bar
_STEPS = 12  # bars


def percentile(latencies: Sequence[float], share: float) -> float:
    """The nearest rank of sorted latencies: the least that ``share`` per cent don't exceed."""
    return latencies[max(0, math.ceil(share / 100 * len(latencies)) - 1)]


def summary(outcome: Outcome) -> dict[str, Any]:
    """The figures; times in milliseconds."""
    times = sorted(outcome.latencies)
    told: dict[str, Any] = {
        "seconds": round(outcome.seconds, 3),
        "answered": len(times),
        "answered_per_second": round(len(times) / outcome.seconds, 1) if outcome.seconds else 0.0,
        "failed": dict(sorted(outcome.failures.items())),
        "rows_in_a_run": dict(sorted(outcome.rows.items())),
    }
    if times:
        told["milliseconds"] = {
            "mean": round(1e3 * sum(times) / len(times), 3),
            **{f"p{share:g}": round(1e3 * percentile(times, share), 3) for share in PERCENTILES},
            "max": round(1e3 * times[-1], 3),
        }
    return told


def lines(outcome: Outcome) -> list[str]:
    """The figures, and how the latencies and the sizes of runs are spread."""
    told = summary(outcome)
    found = [
        f"{told['answered']} answered in {told['seconds']:.1f} s: "
        f"{told['answered_per_second']:.1f} a second"
    ]
    found += [f"{count} failed: {why}" for why, count in told["failed"].items()]
    if "milliseconds" not in told:
        return found
    found.append("  ".join(f"{name} {value:g} ms" for name, value in told["milliseconds"].items()))
    times = sorted(outcome.latencies)
    low, high = times[0], percentile(times, 99.9)
    ratio = max(high / low, 1.001) ** (1 / _STEPS)
    edges = [low * ratio ** (step + 1) for step in range(_STEPS)]
    counts = [0] * _STEPS
    for one in times:
        counts[min(_STEPS - 1, int(math.log(one / low) / math.log(ratio)))] += 1
    found += ["", "latency up to"]
    found += _bars([f"{1e3 * edge:9.2f} ms" for edge in edges], counts)
    if outcome.rows:
        found += ["", "rows in a run, by requests"]
        sizes = sorted(outcome.rows)
        found += _bars([f"{size:9d}   " for size in sizes], [outcome.rows[size] for size in sizes])
    return found


def _bars(names: Sequence[str], counts: Sequence[int]) -> list[str]:
    most = max(counts)
    return [
        f"{name} {'#' * math.ceil(_WIDTH * count / most):<{_WIDTH}} {count}".rstrip()
        for name, count in zip(names, counts, strict=True)
    ]


def plot(outcome: Outcome, path: Path, title: str) -> None:
    """Latencies by percentile and sizes of runs (SVG, PNG or PDF, by the file's name).

    Raises ModuleNotFoundError without matplotlib, ValueError for another kind of file.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 # an extra

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    times = sorted(outcome.latencies)
    shares = [100 * (1 - 10 ** (-step / 20)) for step in range(61)]  # 0 to 99.9
    left.plot([1 / (1 - s / 100) for s in shares], [1e3 * percentile(times, s) for s in shares])
    left.set_xscale("log")
    left.set_xticks([2, 10, 100, 1000], ["50 %", "90 %", "99 %", "99.9 %"])
    left.set(xlabel="requests that are not slower", ylabel="milliseconds", ylim=(0, None))
    sizes = sorted(outcome.rows)
    right.bar([str(size) for size in sizes], [outcome.rows[size] for size in sizes])
    right.set(xlabel="rows in a run", ylabel="requests")
    figure.suptitle(title)
    figure.savefig(path)
