"""The simulation: its loads, the ports of others' policies, the oracle, the commands."""

import itertools
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_service.core.scheduling.entries import Entry
from inference_service.simulation.arrivals import OPEN, Closed, arrivals, poisson
from inference_service.simulation.lengths import run_lengths
from inference_service.simulation.oracle import least_mean_latency, most_in_time
from inference_service.simulation.rivals import (
    ClosedBatches,
    Cork,
    Fifo,
    Prefetched,
    RollingWindow,
    Timer,
    Window,
    rivals,
)
from inference_service.simulation.server import Arrival, VirtualServer
from inference_service.simulation.study import (
    OURS,
    affine,
    best_timer,
    ideal_lockstep,
    jain_index,
    ours,
    run_arrivals,
    run_closed,
    run_open,
)
from inference_service.simulation.trace import InvalidTrace, read_trace
from inference_service.simulation.tuning import advise
from tests.conftest import ROOT

MODEL = affine(0.1)


def batches(policy: Any, times: list[float], cost: float = 1.0) -> list[tuple[float, int]]:
    """When each batch started, and its rows."""
    server = VirtualServer(policy, lambda batch: cost)
    for arrival in arrivals(times):
        server.add(arrival)
    server.run()
    return [(round(batch.started, 6), batch.rows) for batch in server.batches]


def flat(rows: int) -> float:
    return 1.0


@pytest.mark.parametrize("process", list(OPEN))
def test_loads_have_the_rate_that_was_asked_for(process: str) -> None:
    times = OPEN[process](100.0, 20_000, 1)
    assert len(times) == 20_000
    assert times == sorted(times)
    assert len(times) / times[-1] == pytest.approx(100, rel=0.1)
    assert OPEN[process](100.0, 50, 1) == OPEN[process](100.0, 50, 1)


def test_work_conserving_takes_what_is_there() -> None:
    assert batches(Fifo(8, flat), [0, 0.1, 0.2, 2.5]) == [(0, 1), (1, 2), (2.5, 1)]


def test_a_timer_makes_a_lone_request_wait() -> None:
    assert batches(Timer(8, flat, 0.5), [0, 0.1, 2.0]) == [(0.5, 2), (2.5, 1)]
    assert batches(Timer(2, flat, 0.5), [0, 0.1]) == [(0.1, 2)], "full: it goes at once"


def test_a_timer_runs_while_the_worker_is_busy_and_a_window_begins_when_it_is_free() -> None:
    times = [0, 0.6, 0.7]
    assert batches(Timer(8, flat, 0.5), times) == [(0.5, 1), (1.5, 2)]
    assert batches(Window(8, flat, 0.5), times) == [(0.5, 1), (2.0, 2)]


def test_rolling_windows_end_whoever_comes() -> None:
    assert batches(RollingWindow(8, flat, 0.5), [0.7, 0.9, 2.3]) == [(1.0, 2), (2.5, 1)]


def test_cork_drops_who_would_be_late_and_trains_with_what_comes() -> None:
    cork = Cork(8, flat, 3.6)
    trained = batches(cork, [2.0 * n for n in range(12)])
    assert trained == [(2.0 * n, 1) for n in range(12)]
    assert cork.decide(100.0, 1).run == []
    for n in range(3):
        cork.offer(Entry(n, 0), 96.5 + n / 2)
    decisions = cork.decide(99.0, 1)
    assert [drop.entry.item for drop in decisions.drop] == [0]
    assert [batch.rows for batch in decisions.run] == [2]


def test_closed_batches_cannot_grow() -> None:
    assert batches(ClosedBatches(8, flat, 0.2), [0, 0.3, 0.6, 0.7]) == [
        (0.2, 1),
        (1.2, 1),
        (2.2, 2),
    ]


def test_a_prefetched_batch_is_frozen_early() -> None:
    assert batches(Prefetched(8, flat), [0, 0.1, 0.2, 0.3]) == [(0, 1), (1, 1), (2, 2)]


def test_every_policy_answers_or_drops_everybody() -> None:
    slo = 10 * MODEL.cost(1)
    times = poisson(0.8 * MODEL.capacity, 800, 1)
    for name, make in rivals(MODEL.largest, MODEL.cost, slo).items():
        result = run_open(name, make(), MODEL, times, slo)
        assert result.answered + result.expired == 800, name


@given(st.integers(0, 10_000), st.integers(1, 4), st.floats(1.5, 6.0), st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_oracle_is_the_best_of_all_schedules(
    seed: int, largest: int, timeout: float, odd: bool
) -> None:
    """Costs may fall with the rows: ``odd`` numbers of rows take twice as long."""
    rng = random.Random(seed)
    times = sorted(rng.uniform(0, 5) for _ in range(6))

    def seconds(rows: int) -> float:
        return (0.8 + 0.3 * rows) * (2 if odd and rows % 2 else 1)

    best = 0
    for chosen in itertools.product([False, True], repeat=6):
        kept = [time for time, keep in zip(times, chosen, strict=True) if keep]
        if len(kept) > best and _feasible(kept, timeout, largest, seconds):
            best = len(kept)
    assert most_in_time(times, timeout, largest, seconds) == best


def _feasible(times: list[float], timeout: float, largest: int, seconds: Any) -> bool:
    """Whether all can be answered in time, in batches of consecutive ones."""
    ends = {0: [float("-inf")]}
    for k in range(1, len(times) + 1):
        ends[k] = [
            end
            for n in range(1, min(largest, k) + 1)
            for free in ends[k - n]
            if (end := max(free, times[k - 1]) + seconds(n)) <= times[k - n] + timeout
        ]
    return bool(ends[len(times)])


def test_the_lower_bound_is_below_every_policy() -> None:
    times = poisson(0.7 * MODEL.capacity, 300, 3)
    bound = least_mean_latency(times, MODEL.largest, MODEL.cost)
    slo = 10 * MODEL.cost(1)
    makes: dict[str, Any] = {OURS: lambda: ours(MODEL), **rivals(MODEL.largest, MODEL.cost, slo)}
    for name, make in makes.items():
        result = run_open(name, make(), MODEL, times)
        if not result.expired:
            assert result.mean >= bound * (1 - 1e-9), name


@pytest.mark.parametrize("process", list(OPEN))
@pytest.mark.parametrize("load", [0.2, 0.9])
def test_no_fixed_timer_is_much_better_even_chosen_in_hindsight(process: str, load: float) -> None:
    times = OPEN[process](load * MODEL.capacity, 3000, 2)
    mine = run_open(OURS, ours(MODEL), MODEL, times)
    mean, p99 = best_timer(MODEL, [times])
    assert mine.mean <= 1.04 * mean.mean
    assert mine.p99 <= 1.06 * p99.p99


@pytest.mark.parametrize("factor", [3, 10])
def test_at_twice_the_capacity_most_of_what_is_possible_is_answered_in_time(factor: int) -> None:
    slo = factor * MODEL.cost(1)
    times = poisson(2 * MODEL.capacity, 6000, 4)
    mine = run_open(OURS, ours(MODEL), MODEL, times, slo)
    assert mine.in_time >= 0.96 * most_in_time(times, slo, MODEL.largest, MODEL.cost)
    assert mine.in_time >= 0.99 * mine.answered, "next to nothing that is answered is late"


def test_patient_clients_are_answered_although_others_are_in_a_hurry() -> None:
    """Runs short enough for all of them would keep up with half of the load."""
    rng = random.Random(1)
    times = poisson(0.8 * MODEL.capacity, 6000, 4)
    load = [Arrival(time, timeout=rng.choice((3, 10, 30)) * MODEL.cost(1)) for time in times]
    mine = run_arrivals(OURS, ours(MODEL), MODEL, load)
    assert mine.in_time > 0.75 * len(times)


def trace(folder: Path, *lines: str) -> Path:
    path = folder / "trace.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_trace_begins_at_zero_and_may_be_of_one_model(tmp_path: Path) -> None:
    path = trace(
        tmp_path,
        '{"model":"a","time":11.0,"rows":2,"timeout":0.5,"priority":"high","client":3}',
        '{"model":"b","time":10.0,"rows":1}',
        '{"model":"a","time":10.5,"rows":1}',
    )
    first, second = read_trace(path, "a")
    assert (first.time, first.rows, second.time, second.rows) == (0.0, 1, 0.5, 2)
    assert (second.timeout, second.priority, second.client) == (0.5, "high", 3)
    assert len(read_trace(path)) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", "line 1: expected an object with time, rows"),
        ('{"time": 1}', "line 1: expected .*KeyError: 'rows'"),
        ('{"time": -1, "rows": 1}', "line 1: time and rows must be positive"),
        ('{"time": 1, "rows": 1, "model": "x"}', "has no arrivals of model 'm'"),
    ],
)
def test_a_bad_trace_is_told_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(InvalidTrace, match=message):
        read_trace(trace(tmp_path, line), "m")


def test_advice_meets_the_objective_with_the_fewest_replicas() -> None:
    load = arrivals(poisson(1.6 * MODEL.capacity, 1500, 1))
    advice = advise(MODEL, load, 0.05)
    assert advice.met
    assert advice.replicas >= 2
    assert advice.result.p99 <= 0.05
    impossible = advise(MODEL, load, MODEL.cost(1) / 2, most=4)
    assert not impossible.met


def test_an_arrival_knows_its_latency() -> None:
    arrival = Arrival(1.0, timeout=2.0, ended=2.5, outcome="ok")
    assert (arrival.latency, arrival.in_time) == (1.5, True)


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "inference_service", *map(str, words)],
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip


def test_simulate_writes_a_report_with_plots(tmp_path: Path) -> None:
    costs = tmp_path / "costs.json"
    table = [{"rows": b, "milliseconds": 2 + 0.2 * b} for b in (1, 2, 4, 8)]
    costs.write_text(json.dumps([{"model": "m", "profile": [{"table": table}]}]))
    recorded = trace(tmp_path, '{"time":1,"rows":2}', '{"time":1.001,"rows":1}')
    run = command(
        "simulate", "--quick", "--costs", costs, "--trace", recorded, "--out", tmp_path / "out"
    )
    assert run.returncode == 0, run.stderr
    report = (tmp_path / "out" / "report.md").read_text()
    for part in (
        "## m",
        "| poisson | 90% |",
        "| 3 S(1) |",
        "Clockwork",
        "closed 512, think 1 ms exponential",
        "Jain",
        "### Rows of unlike length",
        "The recorded load: 3 rows",
        "## Truths that differ from the table",
        "| classes at 2 x capacity: high |",
    ):
        assert part in report
    assert (tmp_path / "out" / "curves-0.svg").read_text().startswith("<?xml")


def test_tune_recommends_a_configuration_that_can_be_pasted(tmp_path: Path) -> None:
    measured = json.loads((ROOT / "benchmarks" / "costs.json").read_text())
    costs = tmp_path / "costs.json"
    costs.write_text(json.dumps([one for one in measured if one["model"] == "mlp"]))
    run = command("tune", "--costs", costs, "--rate", "50", "--slo", "100", "--json")
    assert run.returncode == 0, run.stderr
    found = {entry["model"]: entry for entry in json.loads(run.stdout)}
    assert found["mlp"]["met"]
    assert found["mlp"]["predicted_p99_ms"] <= 100
    words = command("tune", "--costs", costs, "--rate", "50", "--slo", "0.001")
    assert words.returncode == 1
    assert "NOT met" in words.stdout
    assert "[batching]\nmax_batch_size = " in words.stdout


def test_tune_needs_one_kind_of_load_and_real_costs(tmp_path: Path) -> None:
    costs = tmp_path / "costs.json"
    costs.write_text("[]")
    both = command("tune", "--costs", costs, "--slo", "5")
    assert both.returncode == 2
    assert "give either --rate or --trace" in both.stderr
    empty = command("tune", "--costs", costs, "--slo", "5", "--rate", "1")
    assert empty.returncode == 2
    assert "has no profile: make it with" in empty.stderr


@pytest.mark.parametrize("clients", [2, 4, 16])
@pytest.mark.parametrize("ratio", [0.02, 0.5])
def test_clients_in_lockstep_are_answered_in_one_step(clients: int, ratio: float) -> None:
    """Two are enough, although their answers go out one by one before there is a hold."""
    model, load = affine(ratio), Closed(clients, 2e-4)
    found = run_closed(OURS, ours(model), model, load, 6000)
    assert found.rate >= 0.9 * ideal_lockstep(model, load)
    assert found.jain >= 0.99


@pytest.mark.parametrize(
    ("amounts", "index"), [([], 1.0), ([3], 1.0), ([2, 2, 2], 1.0), ([6, 0, 0], 1 / 3)]
)
def test_jains_index_is_one_where_all_have_the_same(amounts: list[float], index: float) -> None:
    assert jain_index(amounts) == pytest.approx(index)


def test_rows_of_unlike_length_are_padded_less_than_in_the_order_of_arrival() -> None:
    mine, other = run_lengths(MODEL, 0.7 * MODEL.capacity, 1500, 1)
    assert mine.padding < 0.5 * other.padding
    assert mine.result.p99 < 0.2 * other.result.p99
    assert mine.result.answered == other.result.answered == 1500
