"""The driving sequence: offer, decide, finish, ended."""

import math
from typing import Any

import pytest

from inference_service.core.errors import Overloaded
from inference_service.core.scheduling.entries import (
    MOVES,
    DropReason,
    EntryState,
    Priority,
    Release,
)
from inference_service.core.scheduling.policy import DEFAULTS, BatchPolicy, constants
from inference_service.simulation.arrivals import OPEN
from inference_service.simulation.rivals import Fifo
from inference_service.simulation.study import affine, run_open
from tests.core.scheduling.make import end, items, make, occupy, offer, runs


def test_a_free_slot_takes_everything_that_is_queued() -> None:
    scheduler = make()
    for name in "abc":
        offer(scheduler, name)
    (batch,) = scheduler.decide(0.0, 1).run
    assert (items(batch), batch.rows, batch.reason) == (["a", "b", "c"], 3, Release.SLOT_FREE)


def test_no_batch_is_formed_without_a_free_slot() -> None:
    scheduler = make()
    offer(scheduler, "a")
    assert scheduler.decide(0.0, 0).run == []
    assert scheduler.rows == 1


def test_two_free_slots_get_two_batches() -> None:
    scheduler = make(2, slots=2)
    for name in "abc":
        offer(scheduler, name)
    assert [items(batch) for batch in scheduler.decide(0.0, 2).run] == [["a", "b"], ["c"]]


def test_a_batch_has_at_most_max_batch_size_rows_and_what_fits_is_never_cut() -> None:
    scheduler = make(4)
    for name, rows in (("a", 3), ("b", 2), ("c", 1)):
        offer(scheduler, name, rows=rows)
    assert runs(scheduler, 0.0) == [["a"], ["b", "c"]]


def test_a_large_request_is_cut_and_others_run_between_its_chunks() -> None:
    scheduler = make(2)
    large = offer(scheduler, "large", rows=7)
    (first,) = scheduler.decide(0.0, 1).run
    assert (first.rows, large.state, large.left) == (2, EntryState.PARTIAL, 5)
    offer(scheduler, "small")
    end(scheduler, first, 1.0)
    assert ["small"] in [names[:1] for names in runs(scheduler, 1.0)[:2]]
    assert large.state is EntryState.ENDED


def test_different_keys_never_share_a_batch() -> None:
    scheduler = make()
    for name, key in (("a", 0), ("b", None), ("c", 0)):
        offer(scheduler, name, key=key)
    assert runs(scheduler, 0.0) == [["a", "c"], ["b"]]


def test_what_has_ended_is_not_dispatched() -> None:
    scheduler = make()
    entries = [offer(scheduler, name) for name in "ab"]
    assert scheduler.finish(entries[0])
    assert not scheduler.finish(entries[0])
    assert runs(scheduler, 0.0) == [["b"]]


@pytest.mark.parametrize("running", [False, True])
def test_a_deadline_that_passes_drops_the_request_queued_or_running(*, running: bool) -> None:
    scheduler = make()
    if running:
        offer(scheduler, "a", deadline=1.5)
        assert scheduler.decide(0.0, 1).wake_at == 1.5
    else:
        occupy(scheduler)
        offer(scheduler, "a", 0.1, deadline=2.5)
        assert scheduler.decide(0.1, 0).wake_at == 2.5
    (drop,) = scheduler.decide(3.0, 0).drop
    assert (drop.entry.item, drop.reason, drop.dispatched) == ("a", DropReason.EXPIRED, running)


def test_an_answered_request_leaves_no_alarm_behind() -> None:
    scheduler = make()
    offer(scheduler, "a", deadline=5.0)
    (batch,) = scheduler.decide(0.0, 1).run
    end(scheduler, batch, 1.0)
    assert scheduler.decide(1.0, 1).wake_at == math.inf
    assert scheduler.requests == 0


def test_cancelled_requests_do_not_pile_up_while_no_slot_is_free() -> None:
    scheduler = make()
    occupy(scheduler)
    for i in range(2000):
        scheduler.finish(offer(scheduler, str(i)))
    assert len(scheduler._expiries._records) < 200
    assert scheduler.rows == 0


def test_with_a_delay_a_lone_request_waits_for_others_but_not_longer() -> None:
    scheduler = make(max_queue_delay=0.5)
    offer(scheduler, "a", 1.0)
    decisions = scheduler.decide(1.0, 1)
    assert (decisions.run, decisions.wake_at) == ([], 1.5)
    offer(scheduler, "b", 1.2)
    (batch,) = scheduler.decide(1.5, 1).run
    assert (items(batch), batch.reason) == (["a", "b"], Release.DELAY)


def test_with_a_delay_a_full_batch_and_a_near_deadline_do_not_wait() -> None:
    scheduler = make(2, max_queue_delay=5.0)
    offer(scheduler, "a")
    offer(scheduler, "b")
    (batch,) = scheduler.decide(0.0, 1).run
    assert batch.reason is Release.FULL
    end(scheduler, batch, 1.0)
    offer(scheduler, "c", 1.0, deadline=2.5)
    assert scheduler.decide(1.0, 1).wake_at == 1.5
    assert items(scheduler.decide(1.5, 1).run[0]) == ["c"]


@pytest.mark.parametrize(
    "request_",
    [{"rows": 0}, {"rows": -1}, {"deadline": math.nan}],
    ids=["no rows", "negative rows", "nan"],
)
def test_a_request_that_makes_no_sense_is_an_error(request_: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"a request has|a deadline is"):
        offer(make(), "a", **request_)


def test_an_empty_queue_takes_a_request_of_any_size() -> None:
    scheduler = make(2, max_queue_rows=3)
    offer(scheduler, "a", rows=10)
    with pytest.raises(Overloaded, match="10 rows are queued for this model, the limit is 3"):
        offer(scheduler, "b")


@pytest.mark.parametrize("process", list(OPEN))
@pytest.mark.parametrize("load", [0.3, 0.95])
def test_10_without_a_hold_batches_are_those_of_the_plain_work_conserving_policy(
    process: str, load: float
) -> None:
    model = affine(0.1)
    times = OPEN[process](load * model.capacity, 1500, 3)
    scheduler = make(64, 1.0, default_deadline=1e9, hold=False)
    scheduler.use(type(scheduler.cost)(model.points), 1)
    mine = run_open("a", scheduler, model, times)
    assert mine == run_open("a", Fifo(model.largest, model.cost), model, times)


def test_the_states_of_an_entry_have_one_end() -> None:
    assert MOVES[EntryState.ENDED] == frozenset()
    entry = offer(make(), "a")
    entry.end()
    with pytest.raises(ValueError, match="an entry ends once"):
        entry.end()


def test_every_constant_has_a_unit_and_a_reason() -> None:
    known = list(constants(DEFAULTS))
    assert len(known) > 40
    assert all(constant.unit and constant.reason for constant in known)
    assert len(DEFAULTS.weights) == len(DEFAULTS.wait_bounds) == len(Priority)


@pytest.mark.parametrize(
    "options",
    [{"max_batch_size": 0}, {"max_batch_size": 1, "max_queue_rows": -1},
     {"max_batch_size": 1, "max_queue_delay": -1.0}, {"max_batch_size": 4, "sizes": (2, 1)},
     {"max_batch_size": 4, "sizes": (0, 1)}],
)  # fmt: skip
def test_a_policy_without_sense_is_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"positive bounds|must rise"):
        BatchPolicy(**options)
