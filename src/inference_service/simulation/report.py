"""The report of ``inference-service simulate``: tables in markdown, and plots."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from inference_service.simulation.arrivals import OPEN, Closed
from inference_service.simulation.lengths import run_lengths
from inference_service.simulation.oracle import WINDOW, least_mean_latency, most_in_time
from inference_service.simulation.plots import Curves, draw
from inference_service.simulation.rivals import WORK_CONSERVING, rivals
from inference_service.simulation.server import Batching
from inference_service.simulation.study import (
    OURS,
    Model,
    averaged,
    best_timer,
    ideal_lockstep,
    ours,
    run_closed,
    run_open,
)

LOADS = (0.1, 0.3, 0.5, 0.7, 0.9)
OVERLOADS = (0.5, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0)
"""Of the plot of goodput, in units of the capacity."""

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
ORACLE = "oracle"
LENGTH_LOADS = (0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to simulate: ``draws`` of each open load, of four times ``count`` arrivals each.

    Of fewer draws a p99 is mostly luck, and the best of seven timers the luckiest. ``jobs`` models
    are simulated at a time.
    """

    count: int = 3000
    seed: int = 1
    draws: int = 20
    loads: Sequence[float] = LOADS
    trace: Sequence[float] = ()
    jobs: int = 1


Progress = Callable[[str], None]


def write_report(models: Sequence[Model], plan: Plan, folder: Path, progress: Progress) -> Path:
    """Simulate everything and write ``report.md``, with matplotlib also plots; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# The scheduler in simulation", ""]
    for number, (model, (section, curves)) in enumerate(_simulated(models, plan)):
        progress(model.name)
        lines += section
        name = draw(model.name, curves, folder / f"curves-{number}.svg")
        if name is None:
            lines += ["Plots need the extra `simulate`: `pip install '.[simulate]'`.", ""]
        else:
            lines += [f"![{model.name}]({name})", ""]
    path = folder / "report.md"
    path.write_text("\n".join(lines))
    return path


def _simulated(
    models: Sequence[Model], plan: Plan
) -> Iterator[tuple[Model, tuple[list[str], Curves]]]:
    section = partial(_model_section, plan=plan)
    if plan.jobs == 1:
        yield from zip(models, map(section, models), strict=True)
        return
    with ProcessPoolExecutor(plan.jobs) as executor:
        yield from zip(models, executor.map(section, models), strict=True)


def _model_section(model: Model, plan: Plan) -> tuple[list[str], Curves]:
    curves = Curves(plan.loads, OVERLOADS)
    table = ", ".join(f"S({rows}) = {seconds * 1e3:.3g} ms" for rows, seconds in model.points)
    lines = [f"## {model.name}", "", f"{table}; batches of up to {model.largest}.", ""]
    lines += _open_section(model, plan, curves)
    lines += _overload_section(model, plan, curves)
    lines += _closed_section(model, plan)
    lines += _lengths_section(model, plan)
    if plan.trace:
        lines += _trace_section(model, plan.trace)
    return lines, curves


def _open_section(model: Model, plan: Plan, curves: Curves) -> Iterator[str]:
    yield from _heading("Open load: against fixed timers chosen in hindsight")
    yield from _table_head(
        "arrivals", "load", "mean ms", "p50 ms", "p99 ms", "p99.9 ms", "rows a batch",
        "mean / best timer", "p99 / best timer", "mean / offline optimum",
    )  # fmt: skip
    for process, times_of in OPEN.items():
        for load in plan.loads:
            draws = [
                times_of(load * model.capacity, 4 * plan.count, plan.seed + draw)
                for draw in range(plan.draws)
            ]
            runs = [run_open(OURS, ours(model), model, draw) for draw in draws]
            mine, rows = averaged(runs), sum(run.batch for run in runs) / len(runs)
            mean, p99 = best_timer(model, draws)
            policies = _policies(model, 10 * model.cost(1)) if process == "poisson" else {}
            regrets = _regrets(model, draws[0], {OURS: lambda: ours(model), **policies})
            yield _row(
                process, f"{load:.0%}", *map(_ms, (mine.mean, mine.p50, mine.p99, mine.p999)),
                f"{rows:.1f}", f"{mine.mean / mean.mean:.3f} ({mean.policy})",
                f"{mine.p99 / p99.p99:.3f} ({p99.policy})", f"{regrets[OURS]:.3f}",
            )  # fmt: skip
            for name, make in policies.items():
                result = runs[0] if name == OURS else run_open(name, make(), model, draws[0])
                curves.add(name, result.p50, result.p99, regrets[name])
    yield ""


def _policies(model: Model, slo: float) -> dict[str, Callable[[], Batching]]:
    return {OURS: lambda: ours(model), **rivals(model.largest, model.cost, slo)}


def _regrets(
    model: Model, times: Sequence[float], policies: dict[str, Callable[[], Batching]]
) -> dict[str, float]:
    """Each policy's mean latency against the optimum of one who knows all arrivals.

    In a few windows, each of which begins idle, as the optimum can't be worked out for more.
    """
    windows = [times[start : start + WINDOW] for start in range(0, 3 * WINDOW, WINDOW)]
    best = sum(least_mean_latency(window, model.largest, model.cost, 12) for window in windows)
    return {
        name: sum(run_open(name, make(), model, window).mean for window in windows) / best
        for name, make in policies.items()
    }


def _overload_section(model: Model, plan: Plan, curves: Curves) -> Iterator[str]:
    yield from _heading("Twice the capacity: answers in time against a clairvoyant oracle's")
    names = [OURS, *rivals(model.largest, model.cost, 1.0)]
    yield from _table_head("deadline", "oracle", *names)
    tight, loose = (factor * model.cost(1) for factor in SLOS)
    by_load = {load: _in_time(model, plan, load, loose) for load in OVERLOADS}
    rows = _in_time(model, plan, 2.0, tight), by_load[2.0]
    for factor, found in zip(SLOS, rows, strict=True):
        best = found[ORACLE]
        shares = (f"{found[name] / best:.1%}" for name in names)
        yield _row(f"{factor} S(1)", str(best), *shares)
    yield ""
    for load, found in by_load.items():
        for name, count in found.items():
            curves.goodput.setdefault(name, []).append(load * count / (4 * plan.count))


def _in_time(model: Model, plan: Plan, load: float, slo: float) -> dict[str, int]:
    """Answers in time by policy, the oracle's first."""
    times = OPEN["poisson"](load * model.capacity, 4 * plan.count, plan.seed)
    found = {ORACLE: most_in_time(times, slo, model.largest, model.cost)}
    for name, make in _policies(model, slo).items():
        found[name] = run_open(name, make(), model, times, slo).in_time
    return found


def _closed_section(model: Model, plan: Plan) -> Iterator[str]:
    yield from _heading("Closed loop: answers per second against all clients in one step")
    yield from _table_head(
        "clients", "spread", "one step, 1/s", OURS, "work-conserving", "rows a batch", "p99 ms",
        "p99.9 ms", "idle beside queued", "Jain",
    )  # fmt: skip
    plain = rivals(model.largest, model.cost, 1.0)[WORK_CONSERVING]
    for load in CLOSED:
        count = max(3 * plan.count, 100 * load.clients)
        mine = run_closed(OURS, ours(model), model, load, count)
        other = run_closed(WORK_CONSERVING, plain(), model, load, count)
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
    for name, make in _policies(model, 10 * model.cost(1)).items():
        found = run_open(name, make(), model, times)
        cells = (_ms(s) for s in (found.mean, found.p50, found.p99, found.p999))
        yield _row(name, *cells, f"{found.batch:.1f}")
    yield ""


def _heading(text: str) -> Iterable[str]:
    return (f"### {text}", "")


def _table_head(*names: str) -> Iterable[str]:
    return (_row(*names), _row(*("---" for _ in names)))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}"
