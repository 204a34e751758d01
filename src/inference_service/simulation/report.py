"""The report of ``inference-service simulate``: tables in markdown, and plots."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from inference_service.core.scheduling.virtual import Batching
from inference_service.simulation.arrivals import OPEN, Closed
from inference_service.simulation.lengths import run_lengths
from inference_service.simulation.oracle import least_mean_latency, most_in_time
from inference_service.simulation.rivals import rivals
from inference_service.simulation.study import (
    OURS,
    Model,
    Result,
    averaged,
    best_timer,
    ideal_lockstep,
    ours,
    run_closed,
    run_open,
)

log = logging.getLogger(__name__)

LOADS = (0.1, 0.3, 0.5, 0.7, 0.9)
SLOS = (3, 10)
"""Deadlines in units of S(1)."""

CLIENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
CLOSED = (
    *(Closed(clients) for clients in CLIENTS),
    *(Closed(clients, 2e-4) for clients in CLIENTS),
    *(Closed(clients, 1e-3, random=True) for clients in CLIENTS),
    *(Closed(clients, 2e-4, 2e-5) for clients in (4, 16, 64)),
    Closed(64, 1e-3),
)
LENGTH_LOADS = (0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to simulate: ``draws`` of each open load, of twice ``count`` arrivals each.

    Of fewer draws a p99 is mostly luck, and the best of seven timers the luckiest.
    """

    count: int = 3000
    seed: int = 1
    draws: int = 20
    loads: Sequence[float] = LOADS
    trace: Sequence[float] = ()


Progress = Callable[[str], None]


def write_report(models: Sequence[Model], plan: Plan, folder: Path, progress: Progress) -> Path:
    """Simulate everything and write ``report.md``, with matplotlib also plots; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# The scheduler in simulation", ""]
    curves: dict[str, dict[str, list[Result]]] = {}
    for model in models:
        progress(model.name)
        table = ", ".join(f"S({rows}) = {seconds * 1e3:.3g} ms" for rows, seconds in model.points)
        lines += [f"## {model.name}", "", f"{table}; batches of up to {model.largest}.", ""]
        lines += _open_section(model, plan, curves)
        lines += _overload_section(model, plan)
        lines += _closed_section(model, plan)
        lines += _lengths_section(model, plan)
        if plan.trace:
            lines += _trace_section(model, plan.trace)
    plots = _plots(models, curves, plan, folder)
    if not plots:
        lines += ["Plots need matplotlib: `pip install 'inference-service[simulate]'`.", ""]
    lines += [f"![{name}]({name})\n" for name in plots]
    path = folder / "report.md"
    path.write_text("\n".join(lines))
    return path


def _open_section(
    model: Model, plan: Plan, curves: dict[str, dict[str, list[Result]]]
) -> Iterator[str]:
    yield from _heading("Open load: against fixed timers chosen in hindsight")
    yield from _table_head(
        "arrivals", "load", "mean ms", "p99 ms", "rows a batch", "mean / best timer",
        "p99 / best timer", "mean / lower bound",
    )  # fmt: skip
    for process, times_of in OPEN.items():
        for load in plan.loads:
            draws = [
                times_of(load * model.capacity, 2 * plan.count, plan.seed + draw)
                for draw in range(plan.draws)
            ]
            times = draws[0]
            runs = [run_open(OURS, ours(model), model, draw) for draw in draws]
            mine, rows = averaged(runs), sum(run.batch for run in runs) / len(runs)
            mean, p99 = best_timer(model, draws)
            bound = least_mean_latency(times[:900], model.largest, model.cost, 12)
            first = run_open(OURS, ours(model), model, times[:900])
            yield _row(
                process, f"{load:.0%}", _ms(mine.mean), _ms(mine.p99), f"{rows:.1f}",
                f"{mine.mean / mean.mean:.3f} ({mean.policy})",
                f"{mine.p99 / p99.p99:.3f} ({p99.policy})", f"{first.mean / bound:.3f}",
            )  # fmt: skip
            if process == "poisson":
                at = curves.setdefault(model.name, {})
                at.setdefault(OURS, []).append(run_open(OURS, ours(model), model, times))
                for name, make in rivals(model.largest, model.cost, 10 * model.cost(1)).items():
                    at.setdefault(name, []).append(run_open(name, make(), model, times))
    yield ""


def _overload_section(model: Model, plan: Plan) -> Iterator[str]:
    yield from _heading("Twice the capacity: answers in time against a clairvoyant oracle's")
    names = [OURS, *rivals(model.largest, model.cost, 1.0)]
    yield from _table_head("deadline", "oracle", *names)
    for factor in SLOS:
        slo = factor * model.cost(1)
        times = OPEN["poisson"](2 * model.capacity, 4 * plan.count, plan.seed)
        best = most_in_time(times, slo, model.largest, model.cost)
        shares = [run_open(OURS, ours(model), model, times, slo).in_time / best]
        for name, make in rivals(model.largest, model.cost, slo).items():
            shares.append(run_open(name, make(), model, times, slo).in_time / best)
        yield _row(f"{factor} S(1)", str(best), *(f"{share:.1%}" for share in shares))
    yield ""


def _closed_section(model: Model, plan: Plan) -> Iterator[str]:
    yield from _heading("Closed loop: answers per second against all clients in one step")
    yield from _table_head(
        "clients", "spread", "one step, 1/s", OURS, "work-conserving", "rows a batch", "p99 ms",
        "p99.9 ms", "idle beside queued", "Jain",
    )  # fmt: skip
    plain = rivals(model.largest, model.cost, 1.0)["work-conserving"]
    for load in CLOSED:
        count = max(3 * plan.count, 100 * load.clients)
        mine = run_closed(OURS, ours(model), model, load, count)
        other = run_closed("work-conserving", plain(), model, load, count)
        ideal = ideal_lockstep(model, load)
        yield _row(
            load.name, f"{load.spread * 1e6:g} µs", f"{ideal:.0f}", f"{mine.rate / ideal:.3f}",
            f"{other.rate / ideal:.3f}", f"{mine.batch:.1f}", _ms(mine.p99), _ms(mine.p999),
            f"{mine.idle:.1%}", f"{mine.jain:.3f}",
        )  # fmt: skip
    yield ""


def _lengths_section(model: Model, plan: Plan) -> Iterator[str]:
    yield from _heading("Rows of unlike length: what is padding")
    yield "Lengths are log-normal, 1 to 512, a row of mean length costs what the table says."
    yield ""
    yield from _table_head(
        "load", "mean ms", "in order of arrival", "p99 ms", "in order of arrival", "padding",
        "in order of arrival", "rows a batch",
    )  # fmt: skip
    for load in LENGTH_LOADS:
        mine, other = run_lengths(model, load * model.capacity, plan.count, plan.seed)
        yield _row(
            f"{load:.0%}", _ms(mine.result.mean), _ms(other.result.mean), _ms(mine.result.p99),
            _ms(other.result.p99), f"{mine.padding:.1%}", f"{other.padding:.1%}",
            f"{mine.result.batch:.1f}",
        )  # fmt: skip
    yield ""


def _trace_section(model: Model, times: Sequence[float]) -> Iterator[str]:
    """All policies on a recorded load. They know rows of one request alone: each row is one."""
    seconds = max(times[-1], 1e-9)
    yield from _heading(f"The recorded load: {len(times)} rows in {seconds:.3g} s")
    yield from _table_head("policy", "mean ms", "p50 ms", "p99 ms", "p99.9 ms", "rows a batch")
    policies: dict[str, Callable[[], Batching]] = {
        OURS: lambda: ours(model),
        **rivals(model.largest, model.cost, 10 * model.cost(1)),
    }
    for name, make in policies.items():
        found = run_open(name, make(), model, times)
        cells = (_ms(s) for s in (found.mean, found.p50, found.p99, found.p999))
        yield _row(name, *cells, f"{found.batch:.1f}")
    yield ""


def _plots(
    models: Sequence[Model], curves: dict[str, dict[str, list[Result]]], plan: Plan, folder: Path
) -> list[str]:
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an extra
    except ImportError:
        return []
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "simulate"
    from matplotlib import pyplot as plt  # noqa: PLC0415

    names = []
    for number, model in enumerate(models):
        figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
        for policy, results in curves[model.name].items():
            width = 2.4 if policy == OURS else 1.0
            loads = plan.loads[: len(results)]
            axes[0].plot(loads, [r.mean * 1e3 for r in results], label=policy, lw=width)
            axes[1].plot(loads, [r.p99 * 1e3 for r in results], label=policy, lw=width)
        for axis, what in zip(axes, ("mean", "p99"), strict=True):
            axis.set(xlabel="load (share of capacity)", ylabel=f"{what} latency, ms", yscale="log")
            axis.grid(alpha=0.3)
        axes[0].legend(fontsize=7)
        figure.suptitle(f"{model.name}: latency against load, Poisson arrivals")
        name = f"latency-{number}.svg"
        figure.savefig(folder / name, metadata={"Date": None})
        plt.close(figure)
        names.append(name)
    return names


def _heading(text: str) -> Iterable[str]:
    return (f"### {text}", "")


def _table_head(*names: str) -> Iterable[str]:
    return (_row(*names), _row(*("---" for _ in names)))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}"
