"""What the families of loads are to show. Truths differ from what the scheduler believes."""

import random
from itertools import pairwise

import pytest

from inference_service.simulation.arrivals import poisson
from inference_service.simulation.families import FAMILIES, believing, run_family, run_truth
from inference_service.simulation.oracle import most_in_time
from inference_service.simulation.server import Arrival
from inference_service.simulation.truths import (
    NOISY,
    TABLES,
    Disturbance,
    capacity,
    warm_up,
)

BY_NAME = {family.name: family for family in FAMILIES}


@pytest.mark.parametrize("load", ["1.1", "2", "3"])
def test_high_priority_is_never_answered_less_than_low(load: str) -> None:
    found = run_family(BY_NAME[f"classes at {load} x capacity"], 11)
    assert found["high"].answered > found["low"].answered
    assert found["high"].answered >= {"1.1": 0.99, "2": 0.95, "3": 0.62}[load]


def test_a_rare_shape_keeps_its_share() -> None:
    rare = run_family(BY_NAME["a rare shape beside 2 x capacity of the same client"], 12)["rare"]
    assert rare.answered == 1.0
    assert rare.p50 < 0.12


def test_a_polite_client_hardly_notices_a_greedy_one() -> None:
    found = run_family(BY_NAME["a polite client beside a greedy one of 3 x capacity"], 13)
    assert found["polite"].answered == 1.0
    assert found["polite"].p99 < 0.1 < found["greedy"].p99


def test_large_requests_are_answered_under_load() -> None:
    found = run_family(BY_NAME["large requests of 20 batches at 90 % load"], 14)
    assert found["large"].answered == 1.0
    assert found["small"].answered > 0.9


def test_best_effort_is_answered_beside_an_overload_of_deadlines() -> None:
    found = run_family(BY_NAME["best effort beside 2 x capacity with deadlines"], 15)
    assert found["best effort"].answered == 1.0
    assert found["best effort"].p50 < 0.15
    assert found["deadlines"].in_time > 0.35


@pytest.mark.parametrize(
    ("table", "load", "timeout", "slow"),
    [("flat", 0.1, 3, 8.0), ("weightbound", 0.3, 6, 8.0), ("steps", 0.2, 3, 10.0),
     ("linear", 0.3, 6, 20.0), ("flat", 0.3, 3, 3.0)],
)  # fmt: skip
def test_a_slow_spell_is_over_within_a_second(
    table: str, load: float, timeout: float, slow: float
) -> None:
    seconds = TABLES[table]
    rate = load * capacity(seconds)
    arrivals = [Arrival(t, timeout=timeout * seconds(1)) for t in poisson(rate, int(4 * rate), 21)]
    spell = Disturbance(spell=(1.0, 2.0), slow=slow)
    ended = run_truth(believing(warm_up(seconds)), seconds, arrivals, spell)
    shares = [
        sum(a.in_time for a in ended if low <= a.time < high)
        / max(1, sum(low <= a.time < high for a in ended))
        for low, high in pairwise((0.0, 1.0, 2.0, 3.0, 4.0))
    ]
    assert shares[0] > 0.97
    assert shares[2] > 0.85, "the first second after it"
    assert shares[3] > 0.98


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("table", ["flat", "weightbound"])
def test_a_disturbed_warm_up_costs_nothing_at_90_percent_load(table: str, seed: int) -> None:
    seconds = TABLES[table]
    rate = 0.9 * capacity(seconds)
    load = [Arrival(t) for t in poisson(rate, int(1.5 * rate), 30 + seed)]
    good = run_truth(believing(warm_up(seconds)), seconds, load)
    bad = run_truth(believing(warm_up(seconds, random.Random(seed))), seconds, load)
    assert all(a.outcome == "ok" for a in bad)
    assert sum(a.latency for a in bad) <= 1.25 * sum(a.latency for a in good)


@pytest.mark.parametrize("timeout", [3, 10])
@pytest.mark.parametrize("table", ["flat", "weightbound", "convex", "linear", "steps", "nonmono"])
def test_goodput_at_twice_the_capacity_is_near_the_oracles(table: str, timeout: int) -> None:
    """The oracle knows the truth and all arrivals; the table has knees between its sizes."""
    seconds = TABLES[table]
    times = poisson(2 * capacity(seconds), 2500, 41)
    load = [Arrival(t, timeout=timeout * seconds(1)) for t in times]
    ended = run_truth(believing(warm_up(seconds)), seconds, load)
    best = most_in_time(times, timeout * seconds(1), 64, seconds)
    least = {"steps": 0.85, "nonmono": 0.75, "convex": 0.92}.get(table, 0.95)
    assert sum(a.in_time for a in ended) >= least * best


def test_two_percent_of_slow_runs_cost_little_goodput() -> None:
    seconds = TABLES["weightbound"]
    rate = 0.8 * capacity(seconds)
    load = [Arrival(t, timeout=6 * seconds(1)) for t in poisson(rate, 6000, 51)]
    stalls = Disturbance(stalls=0.02, stall=4.0)
    ended = run_truth(believing(warm_up(seconds)), seconds, load, stalls)
    assert sum(a.in_time for a in ended) > 0.75 * len(load)


def test_short_deadlines_are_answered_beside_long_ones() -> None:
    seconds, rng = TABLES["flat"], random.Random(61)
    rate = 0.9 * capacity(seconds)
    load = [
        Arrival(t, timeout=rng.choice((2, 4, 8, 20)) * seconds(1)) for t in poisson(rate, 6000, 62)
    ]
    ended = run_truth(believing(warm_up(seconds)), seconds, load, NOISY)
    short = [a for a in ended if a.timeout <= 2 * seconds(1)]
    assert sum(a.in_time for a in short) > 0.35 * len(short)
