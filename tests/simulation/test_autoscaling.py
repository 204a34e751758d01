"""The autoscalers' control laws, and what follows from them."""

import pytest

from inference_service.simulation.autoscaling import (
    Autoscaler,
    Policy,
    Replica,
    Signal,
    bursty,
    diurnal,
    idle_then,
    simulate,
)

RATE = Policy(Signal.RATE, 0.5)
REPLICA = Replica()


@pytest.mark.parametrize(
    ("replicas", "total", "wanted"),
    [
        (4, 2.0, 4),  # at the target
        (4, 2.19, 4),  # within the tolerance of a tenth
        (4, 3.0, 6),  # ceil(4 * 0.75 / 0.5)
        (4, 2.3, 5),  # rounded up
        (4, 40.0, 8),  # at most 100 % or 4 more in a period
    ],
)
def test_the_number_is_proportional_to_the_metric(replicas: int, total: float, wanted: int) -> None:
    assert Autoscaler(RATE).decide(15, replicas, replicas, total, 1.0) == wanted


def test_replicas_that_start_count_as_idle_when_more_are_wanted() -> None:
    assert Autoscaler(RATE).decide(15, 8, 4, 4.0, 1.0) == 8


def test_it_goes_down_only_after_the_stabilization() -> None:
    scaler = Autoscaler(Policy(Signal.RATE, 0.5, least=1))
    assert scaler.decide(0, 4, 4, 2.0, 1.0) == 4
    for now in range(15, 301, 15):
        assert scaler.decide(now, 4, 4, 0.5, 1.0) == 4
    assert scaler.decide(315, 4, 4, 0.5, 1.0) == 2, "by no more than half in a minute"


def test_keda_goes_to_zero_after_the_cooldown_and_back_at_the_first_request() -> None:
    scaler = Autoscaler(Policy(Signal.RATE, 0.5, least=0, keda=True, cooldown=60, stabilization=0))
    assert scaler.decide(15, 1, 1, 0.5, 1.0) == 1
    assert scaler.decide(60, 1, 1, 0.0, 0.0) == 1
    assert scaler.decide(75, 1, 1, 0.0, 0.0) == 0
    assert scaler.decide(90, 0, 0, 0.0, 5.0) == 1


def test_batching_keeps_a_replica_busy_long_before_it_is_full() -> None:
    rate = 0.3 * REPLICA.capacity
    assert REPLICA.busy(rate) == pytest.approx(1.0)
    assert REPLICA.batch(rate) < REPLICA.max_batch / 10
    assert REPLICA.busy(50) == pytest.approx(50 * (REPLICA.fixed + REPLICA.each))


def test_every_request_is_answered_or_refused() -> None:
    peak = 6 * REPLICA.capacity
    found = simulate(bursty(peak / 10, peak, 600, 60), 1200, RATE, REPLICA)
    answered = sum(weight for _, weight in found.latencies)
    assert answered + found.refused == pytest.approx(found.offered, rel=1e-3)


def test_the_rate_carries_a_day_at_a_fraction_of_what_the_busy_share_costs() -> None:
    peak = 8 * REPLICA.capacity
    day = diurnal(0.1 * peak, peak, 3600)
    by_rate = simulate(day, 3600, Policy(Signal.RATE, 0.6), REPLICA)
    by_busy = simulate(day, 3600, Policy(Signal.SATURATION, 0.6), REPLICA)
    assert by_rate.within(0.2) > 0.999
    assert by_rate.replica_seconds < 0.7 * by_busy.replica_seconds


@pytest.mark.parametrize(
    "replica",
    [Replica(start=90), Replica(0.01, 0.0001, 64), Replica(0.0005, 0.01, 8)],
    ids=["slow to start", "flat costs", "costs per row"],
)
def test_six_tenths_of_the_capacity_hold_for_models_of_other_costs(replica: Replica) -> None:
    """By the rate, and by the requests in flight that belong to it; docs/autoscaling.md."""
    peak = 8 * replica.capacity
    day = diurnal(0.1 * peak, peak, 7200)
    in_flight = replica.in_flight(0.6 * replica.capacity)
    for policy in (Policy(Signal.RATE, 0.6), Policy(Signal.IN_FLIGHT, in_flight)):
        assert simulate(day, 7200, policy, replica).within(0.2) > 0.999


def test_replicas_for_a_burst_must_be_there_before_it() -> None:
    bursts = bursty(0.2 * 8 * REPLICA.capacity, 0.6 * 8 * REPLICA.capacity, 1800, 300)
    some = simulate(bursts, 3600, Policy(Signal.RATE, 0.6, least=2), REPLICA)
    enough = simulate(bursts, 3600, Policy(Signal.RATE, 0.6, least=5), REPLICA)
    assert some.within(0.2) < 0.97
    assert enough.within(0.2) > 0.999


def test_from_zero_the_first_requests_wait_for_a_start() -> None:
    keda = Policy(Signal.RATE, 0.6, least=0, keda=True)
    found = simulate(idle_then(REPLICA.capacity, 60), 600, keda, REPLICA)
    assert found.series[0][2] == 0
    assert 0 < found.refused / found.offered < 0.2
