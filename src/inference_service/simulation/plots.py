"""Plots of a simulation, one picture for each cost table; they need matplotlib, an extra."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference_service.simulation.study import OURS

Lines = dict[str, list[float]]
"""Values by policy, one for each load."""


@dataclass(slots=True)
class Curves:
    """What is drawn: latencies (seconds) and regret at ``loads``, goodput at ``overloads``.

    Loads and goodput are shares of the capacity; regret is a mean latency against the least one.
    """

    loads: Sequence[float]
    overloads: Sequence[float]
    p50: Lines = field(default_factory=dict)
    p99: Lines = field(default_factory=dict)
    regret: Lines = field(default_factory=dict)
    goodput: Lines = field(default_factory=dict)

    def add(self, policy: str, p50: float, p99: float, regret: float) -> None:
        """What a policy does at the next load."""
        self.p50.setdefault(policy, []).append(p50)
        self.p99.setdefault(policy, []).append(p99)
        self.regret.setdefault(policy, []).append(regret)


def draw(title: str, curves: Curves, path: Path) -> str | None:
    """Write the picture; its name, or None without matplotlib."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "simulate"
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
    styles: dict[str, dict[str, Any]] = {
        policy: {"color": f"C{n % 10}", "linestyle": "-" if n < 10 else ":", "lw": 1.0}
        for n, policy in enumerate(curves.p50)
    }
    styles[OURS] |= {"lw": 2.4, "zorder": 3}
    panels = (
        ("p50 latency, ms", curves.loads, curves.p50, 1e3),
        ("p99 latency, ms", curves.loads, curves.p99, 1e3),
        ("mean latency / offline optimum", curves.loads, curves.regret, 1.0),
        ("answers within 10 S(1), share of capacity", curves.overloads, curves.goodput, 1.0),
    )
    for axis, (what, loads, lines, unit) in zip(axes.flat, panels, strict=True):
        for policy, values in lines.items():
            style = styles.get(policy, {"color": "black", "linestyle": "--"})
            axis.plot(loads, [unit * value for value in values], label=policy, **style)
        scale = "linear" if lines is curves.goodput else "log"
        axis.set(xlabel="load (share of capacity)", ylabel=what, yscale=scale)
        axis.grid(alpha=0.3)
    axes[1, 1].legend(fontsize=7)
    figure.suptitle(f"{title}: Poisson arrivals")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path.name
