"""The fair order of best effort, and admission by class and by flow."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_service.core.errors import Overloaded
from inference_service.core.scheduling.admission import OverloadState
from inference_service.core.scheduling.entries import Priority
from inference_service.core.scheduling.scheduler import Scheduler
from tests.core.scheduling.make import make, occupy, offer, runs


def flat(batches: list[list[str]]) -> list[str]:
    return [name for batch in batches for name in batch]


def test_4_first_in_first_out_within_a_client() -> None:
    scheduler = make(2)
    for i in range(9):
        offer(scheduler, str(i))
    assert flat(runs(scheduler, 0.0)) == list("012345678")


def test_4_also_while_a_key_is_new() -> None:
    scheduler = make(1)
    offer(scheduler, "other", key="other")
    for i in range(3):
        offer(scheduler, str(i), key="new")
    assert flat(runs(scheduler, 0.0)) == ["other", "0", "1", "2"]


@pytest.mark.parametrize(
    ("first", "second", "shares"),
    [
        ({"client": "a"}, {"client": "b"}, (16, 16)),
        ({"priority": Priority.HIGH}, {"priority": Priority.NORMAL}, (25, 7)),
        ({"priority": Priority.NORMAL}, {"priority": Priority.LOW}, (25, 7)),
        ({"priority": Priority.HIGH}, {"priority": Priority.LOW}, (30, 2)),
        ({"key": "a"}, {"key": "b"}, (16, 16)),
    ],
    ids=["clients", "high and normal", "normal and low", "high and low", "shapes"],
)
def test_service_is_shared_by_weight_between_flows_with_a_backlog(
    first: dict[str, Any], second: dict[str, Any], shares: tuple[int, int]
) -> None:
    scheduler = make(4)
    for request in (first, second):  # a new key counts for the client until it is known
        offer(scheduler, "warm", **request)
    runs(scheduler, 0.0)
    occupy(scheduler)
    for _ in range(100):
        offer(scheduler, "first", **first)
    for _ in range(100):
        offer(scheduler, "second", **second)
    served = flat(runs(scheduler, 0.0, 8))
    assert (served.count("first"), served.count("second")) == pytest.approx(shares, abs=4)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4)), min_size=60, max_size=90))
@settings(deadline=None, max_examples=50)
def test_8_clients_with_a_backlog_have_had_the_same_service_but_for_two_batches(
    requests: list[tuple[str, int]],
) -> None:
    scheduler = make(4)
    queued = dict.fromkeys("abc", 0)
    for client, rows in requests:
        offer(scheduler, client, client=client, rows=rows)
        queued[client] += rows
    served = dict.fromkeys("abc", 0)
    while scheduler.rows:
        (batch,) = scheduler.decide(0.0, 1).run
        for entry, start, stop in batch.parts:
            served[entry.item] += stop - start
        scheduler.estimates.ended(batch, 1.0)
        waiting = [served[c] for c in "abc" if served[c] < queued[c]]
        if len(waiting) == len([c for c in "abc" if queued[c]]):
            assert max(waiting) - min(waiting) <= 2 * 4


def test_a_newcomer_does_not_wait_behind_a_flood() -> None:
    scheduler = make(4)
    for _ in range(100):
        offer(scheduler, "flood", client="a")
    runs(scheduler, 0.0, 3)
    offer(scheduler, "new", client="b")
    assert "new" in runs(scheduler, 0.0, 1)[0]


def test_an_endless_series_of_new_clients_does_not_starve_a_backlog() -> None:
    scheduler = make(1)
    for _ in range(20):
        offer(scheduler, "backlog", client="a")
    served = []
    for i in range(40):
        offer(scheduler, "new", client=i)
        served += flat(runs(scheduler, 0.0, 1))
    assert served.count("backlog") >= 5, "its share of all flows that wait"


def test_requests_with_a_key_each_count_for_their_client() -> None:
    scheduler = make(1)
    for i in range(50):
        offer(scheduler, "many keys", key=("own", i), client="a")
    offer(scheduler, "other", key="other", client="b")
    assert "other" in flat(runs(scheduler, 0.0, 3))


def full_to(share: float, **request: Any) -> Scheduler[str]:
    """A queue that needs this share of the default deadline (100 s); a run takes a second."""
    scheduler = make(1, default_deadline=100.0)
    offer(scheduler, "running", **request)
    scheduler.decide(0.0, 1)
    for _ in range(int(100 * share) - 1):
        offer(scheduler, "a", client="a", priority=Priority.HIGH)
    return scheduler


@pytest.mark.parametrize(
    ("share", "refused", "state"),
    [
        (0.05, [], OverloadState.NONE),
        (0.15, [Priority.LOW], OverloadState.SHED_LOW),
        (0.30, [Priority.NORMAL, Priority.LOW], OverloadState.SHED_NORMAL),
    ],
)
def test_low_is_shed_first_then_normal_then_high(
    share: float, refused: list[Priority], state: OverloadState
) -> None:
    scheduler = full_to(share)
    found = []
    for priority in Priority:
        try:
            offer(scheduler, "b", client="a", priority=priority)
        except Overloaded as refusal:
            assert refusal.reason == "overload"
            assert refusal.retry_after > 0
            found.append(priority)
    assert found == refused
    assert scheduler.admission.state(0.0) is state


def test_a_polite_client_is_accepted_beside_a_greedy_one_that_is_refused() -> None:
    scheduler = full_to(0.37)
    with pytest.raises(Overloaded):
        offer(scheduler, "a", client="a")
    offer(scheduler, "b", client="b")


def test_a_large_request_is_judged_by_what_is_ahead_of_it_and_its_own_deadline() -> None:
    scheduler = make(4, default_deadline=None)
    occupy(scheduler)
    offer(scheduler, "large", rows=400)
    assert scheduler.rows == 400


def test_queued_work_is_counted_by_group() -> None:
    scheduler = make(64)
    occupy(scheduler)
    for key in range(10):
        offer(scheduler, "a", key=key)
    assert scheduler.estimates.queued_seconds == pytest.approx(10.0), "nothing of it merges"


def test_an_idle_model_refuses_nothing() -> None:
    scheduler = make(1, default_deadline=0.1)
    offer(scheduler, "a", priority=Priority.LOW)
    assert scheduler.rows == 1
