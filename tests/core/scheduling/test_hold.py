"""The hold: the signs of a closed loop, the trials, and when it ends."""

import math

import pytest

from inference_service.core.scheduling.hold import Hold
from inference_service.core.scheduling.hold.evidence import Population, Returns, worthwhile
from inference_service.core.scheduling.hold.trial import Trial
from inference_service.core.scheduling.policy import DEFAULTS
from inference_service.simulation.arrivals import OPEN, Closed
from inference_service.simulation.study import affine, ideal_lockstep, ours, run_closed, run_open


@pytest.mark.parametrize(
    ("queued", "expected", "wait"),
    [(1, (1, 0.1, 0.0), 0.1), (1, (3, 0.1, 0.0), 0.1), (1, (1, 2.0, 0.0), None),
     (8, (4, 0.0, 0.0), None), (1, (0, math.inf, math.inf), None)],
    ids=["one", "all three at once", "too late", "full", "none"],
)  # fmt: skip
def test_a_wait_is_worth_what_one_run_saves_against_two(
    queued: int, expected: tuple[int, float, float], wait: float | None
) -> None:
    found = worthwhile(queued, expected, 8, lambda rows: 1.0 + 0.01 * rows)
    assert found == (None if wait is None else pytest.approx(wait))


def test_it_knows_how_many_follow_the_answers_and_when() -> None:
    returns = Returns(DEFAULTS)
    now = 0.0
    for _ in range(40):
        returns.answered(4, now)
        for i in range(4):
            returns.came(1, now + 0.1 + 0.01 * i)
        now += 1.0
    returns.answered(4, now)
    assert returns.fraction > 0.99
    assert returns.expected(now) == pytest.approx((4, 0.1, 0.01), rel=0.01)
    assert returns.expected(now + 0.5)[0] == 0, "they are overdue"
    assert returns.together(lambda rows: 1.0)
    assert not returns.together(lambda rows: 0.1)


def test_in_a_closed_loop_as_many_are_in_the_system_all_the_time() -> None:
    population = Population()
    for present in (8, 8, 7, 8):
        population.came(1, present)
        population.answered(present)
    assert population.clients == 8
    assert population.steady == pytest.approx(31 / 32)


def trial(base: float, challenger: float) -> bool | None:
    """A trial in which answers take so many seconds with each of the two limits."""
    found, now, verdict = Trial(0.0, 0.5, 2, 0.0, DEFAULTS), 0.0, None
    for _ in range(2000):
        latency = challenger if found.limit else base
        now += latency
        verdict = found.add([latency, latency], now)
        if verdict is not None:
            break
    return verdict


@pytest.mark.parametrize(
    ("base", "challenger", "won"),
    [(0.010, 0.009, True), (0.010, 0.010, False), (0.010, 0.0099, False), (0.010, 0.02, False),
     (0.1, 0.05, False)],
    ids=["better", "the same", "hardly better", "worse", "too slow to tell"],
)  # fmt: skip
def test_a_challenger_wins_with_two_percent_more_answers(
    base: float, challenger: float, *, won: bool
) -> None:
    assert trial(base, challenger) is won


@pytest.mark.parametrize("think", [0.05, 0.15, 0.25, 0.37, 0.5])
def test_two_clients_are_answered_in_one_step_for_any_think_time_up_to_half_a_run(
    think: float,
) -> None:
    model = affine(0.02)
    load = Closed(2, think * model.cost(1), 1e-5)
    assert run_closed("a", ours(model), model, load, 4000).rate >= 0.93 * ideal_lockstep(
        model, load
    )


@pytest.mark.parametrize("load", [Closed(16, 2e-4), Closed(64, 2e-4), Closed(16, 2e-4, 2e-5)])
def test_many_clients_are_answered_in_one_step(load: Closed) -> None:
    model = affine(0.02)
    assert run_closed("a", ours(model), model, load, 8000).rate >= 0.9 * ideal_lockstep(model, load)


@pytest.mark.parametrize("process", [*OPEN, "regular"])
def test_no_hold_where_arrivals_have_nothing_to_do_with_answers(process: str) -> None:
    model = affine(0.02)
    scheduler = ours(model)
    rate = 0.5 * model.capacity
    times = (
        [i / rate for i in range(4000)] if process == "regular" else OPEN[process](rate, 4000, 1)
    )
    result = run_open("a", scheduler, model, times)
    assert scheduler.hold.limit == 0.0
    assert result.idle < 0.01


def test_a_hold_ends_at_once_when_there_are_more_requests_than_clients() -> None:
    hold = Hold(DEFAULTS)
    hold.limit, hold._clients = 0.5, 4
    hold.ended([0.1] * 4, 1.0, 0, lambda rows: 1.0)
    assert hold.limit == 0.5
    hold.ended([0.1] * 4, 1.0, 1, lambda rows: 1.0)
    assert hold.limit == 0.0
