"""Overloads in virtual time: what is refused, when, and when clients are told to come back."""

import heapq
import math
import pickle
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from inference_service.core.errors import Overloaded, Repeat
from inference_service.core.scheduling.cost import CostModel
from inference_service.core.scheduling.entries import Batch, Entry
from inference_service.core.scheduling.hang_ups import HangUps
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.scheduling.scheduler import Scheduler
from inference_service.simulation.arrivals import mmpp, poisson
from inference_service.simulation.server import Arrival, VirtualServer
from inference_service.simulation.truths import LARGEST, TABLES, capacity, warm_up
from tests.core.scheduling.make import end, make, occupy, offer

DEADLINE = 0.25
SEED = 3


class Clients(VirtualServer):
    """Clients that hang up after ``patience`` seconds, or come back when they are told to."""

    def __init__(
        self, policy: Scheduler[Any], service: Callable[[Batch[Any]], float],
        ended: Callable[[Arrival], None], patience: float = math.inf,
    ) -> None:  # fmt: skip
        super().__init__(policy, service, 1, ended)
        self.scheduler = policy
        self.patience = patience
        self.retry_after: dict[Arrival, float] = {}

    def _arrive(self, arrival: Arrival) -> None:
        if arrival.batch_rows < 0:  # stands for the end of the patience with another one
            self._hang_up(arrival.key)
            return
        entry: Entry[Any] = Entry(
            arrival, 0, arrival.rows, client=arrival.client, deadline=self.now + arrival.timeout
        )
        try:
            self.policy.offer(entry, self.now)
        except Overloaded as refusal:
            self.retry_after[arrival] = refusal.retry_after
            self._end(arrival, "refused")
            return
        if self.patience < math.inf:
            end = Arrival(self.now + self.patience, key=entry)
            end.batch_rows = -1
            heapq.heappush(self._events, (end.time, next(self._order), end))

    def _hang_up(self, entry: Any) -> None:
        if not entry.item.outcome:
            self._end(entry.item, "hung up")
            self.scheduler.abandoned(entry, self.now)
            self.scheduler.finish(entry)


def scheduler(table: str, noise: float = 0.0) -> tuple[Scheduler[Any], Callable[[Any], float]]:
    seconds, rng = TABLES[table], random.Random(SEED)
    points = warm_up(seconds)
    policy = BatchPolicy(LARGEST)
    scheduler: Scheduler[Any] = Scheduler(policy, CostModel(points, 0, policy))

    def service(batch: Batch[Any]) -> float:
        return seconds(batch.rows) * (rng.lognormvariate(0.0, noise) if noise else 1.0)

    return scheduler, service


def run(
    table: str, times: Sequence[float], *, timeout: float = math.inf, patience: float = math.inf,
    noise: float = 0.0, rows: int = 4,
) -> list[Arrival]:  # fmt: skip
    policy, service = scheduler(table, noise)
    ended: list[Arrival] = []
    server = Clients(policy, service, ended.append, patience)
    for time in times:
        server.add(Arrival(time, rows=rows, timeout=timeout))
    server.run()
    return ended


def goodput(ended: Sequence[Arrival], table: str, within: float) -> float:
    """Answers within ``within`` seconds, of the rows per second that are possible."""
    good = [one for one in ended if one.outcome == "ok" and one.latency <= within]
    last = max(one.time for one in ended)
    return sum(one.rows for one in good) / last / capacity(TABLES[table])


def arrivals(table: str, factor: float, kind: str, seconds: float = 3.0) -> list[float]:
    rate = factor * capacity(TABLES[table]) / 4
    count = int(rate * seconds)
    return poisson(rate, count, SEED) if kind == "poisson" else mmpp(rate, count, SEED, 5.0)


@pytest.mark.parametrize("kind", ["poisson", "bursts"])
@pytest.mark.parametrize("factor", [1.5, 3.0, 10.0])
@pytest.mark.parametrize("table", ["weightbound", "flat"])
def test_an_overload_of_deadlines_is_refused_at_once_and_keeps_the_goodput(
    table: str, factor: float, kind: str
) -> None:
    times = arrivals(table, factor, kind, 2.0 if factor > 5 else 3.0)
    ended = run(table, times, timeout=DEADLINE)
    refused = sorted(one.latency for one in ended if one.outcome in {"refused", "shed"})
    assert not refused or refused[int(0.97 * len(refused))] == 0.0
    if kind == "poisson":
        assert goodput(ended, table, DEADLINE) > 0.9


@pytest.mark.parametrize("factor", [1.5, 3.0, 10.0])
def test_refusals_are_immediate_where_a_deadline_is_only_a_few_runs_away(factor: float) -> None:
    """Runs of 0.1 s and deadlines of 0.25 s: which run a request gets into decides."""
    policy = BatchPolicy(LARGEST)
    points = [(1 << power, 0.002 + 0.098 / LARGEST * (1 << power)) for power in range(9)]
    one: Scheduler[Any] = Scheduler(policy, CostModel(points, 0, policy))
    rng, ended = random.Random(SEED), list[Arrival]()

    def service(batch: Batch[Any]) -> float:
        return (0.002 + 0.098 / LARGEST * batch.rows) * rng.lognormvariate(0.0, 0.1)

    server = VirtualServer(one, service, 1, ended.append)
    rate = factor * LARGEST / 0.1 / 16
    for time in poisson(rate, int(6.0 * rate), SEED):
        server.add(Arrival(time, rows=16, timeout=DEADLINE))
    server.run()
    refused = [arrival.latency for arrival in ended if arrival.outcome in {"refused", "shed"}]
    assert sum(latency > 0.02 for latency in refused) < 0.01 * len(refused)
    assert sum(one.rows for one in ended if one.in_time) / 6.0 * 0.1 / LARGEST > 0.95


def test_noise_makes_few_answers_late() -> None:
    ended = run("weightbound", arrivals("weightbound", 3.0, "poisson"), timeout=DEADLINE, noise=0.2)
    late = [one for one in ended if one.outcome in {"ok", "expired"} and not one.in_time]
    assert len(late) < 0.03 * sum(one.in_time for one in ended)


@pytest.mark.parametrize("factor", [1.5, 3.0])
@pytest.mark.parametrize("table", ["weightbound", "flat"])
def test_clients_that_hang_up_are_refused_rather_than_served_too_late(
    table: str, factor: float
) -> None:
    ended = run(table, arrivals(table, factor, "poisson", 6.0), patience=DEADLINE)
    assert goodput(ended, table, DEADLINE) > 0.85


@pytest.mark.parametrize("run_seconds", [0.05, 0.15, 0.24, 0.3])
def test_clients_that_hang_up_are_served_however_long_a_full_run_is(run_seconds: float) -> None:
    """Their patience is 0.25 s; smaller runs than the full one have as many rows per second."""
    policy = BatchPolicy(LARGEST)
    fixed, row = 0.02 * run_seconds, 0.98 * run_seconds / LARGEST
    points = [(1 << power, fixed + row * (1 << power)) for power in range(LARGEST.bit_length())]
    one: Scheduler[Any] = Scheduler(policy, CostModel(points, 0, policy))
    ended: list[Arrival] = []
    server = Clients(one, lambda batch: fixed + row * batch.rows, ended.append, patience=DEADLINE)
    rate = 3.0 * LARGEST / run_seconds
    for time in poisson(rate, int(8.0 * rate), SEED):
        server.add(Arrival(time))
    server.run()
    good = [e for e in ended if e.outcome == "ok" and 2.0 < e.time < 8.0]
    assert len(good) / 6.0 * run_seconds / LARGEST > 0.9


def of_two_kinds(share: float, factor: float, patience: float) -> dict[float, Counter[str]]:
    """What became of requests of one address, of which a share hangs up; by patience."""
    policy, service = scheduler("weightbound")
    rng = random.Random(SEED)
    outcomes: dict[float, Counter[str]] = {math.inf: Counter(), patience: Counter()}

    class Two(Clients):
        def _arrive(self, arrival: Arrival) -> None:
            if arrival.batch_rows >= 0:
                self.patience = patience if arrival.client == "hurries" else math.inf
                arrival.client = None
            super()._arrive(arrival)

    kinds: dict[Arrival, float] = {}
    server = Two(policy, service, lambda one: outcomes[kinds[one]].update([one.outcome]))
    for time in arrivals("weightbound", factor, "poisson"):
        hurries = rng.random() < share
        one = Arrival(time, rows=4, client="hurries" if hurries else "waits")
        kinds[one] = patience if hurries else math.inf
        server.add(one)
    server.run()
    return outcomes


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5])
def test_clients_that_wait_are_not_refused_for_others_of_their_address(share: float) -> None:
    patience = 2 * warm_up(TABLES["weightbound"])[0][1]
    waits = of_two_kinds(share, 0.9, patience)[math.inf]
    assert waits["ok"] > 0.99 * waits.total()


def test_one_that_hangs_up_is_no_reason_to_refuse_others() -> None:
    policy, service = scheduler("weightbound")
    ended: list[Arrival] = []
    server = Clients(policy, service, ended.append, patience=0.06)
    for time in arrivals("weightbound", 1.5, "poisson"):
        server.add(Arrival(time, rows=4, client="impatient"))
    server.run(2.9)
    assert policy.admission.hang_ups.limit("impatient", server.now) < 0.1
    assert policy.admission.hang_ups.limit("another", server.now) == math.inf


def test_giving_up_before_a_request_could_be_answered_teaches_nothing() -> None:
    policy = make(4, one=1.0)
    occupy(policy)
    for number in range(30):
        entry = offer(policy, str(number), client="user")
        policy.abandoned(entry, 0.9)
        policy.finish(entry)
    assert policy.admission.hang_ups.limit("user", 0.9) == math.inf


def test_a_few_that_are_given_up_teach_nothing() -> None:
    hang_ups = HangUps()
    for _ in range(7):
        hang_ups.gave_up("user", 1.0, 0.0)
    assert hang_ups.limit("user", 0.0) == math.inf
    hang_ups.gave_up("user", 1.0, 0.0)
    hang_ups.gave_up("user", 1.0, 0.0)
    assert hang_ups.limit("user", 0.0) == pytest.approx(0.9)


def test_answers_at_a_higher_age_are_evidence_against_it() -> None:
    hang_ups = HangUps()
    for _ in range(12):
        hang_ups.gave_up("user", 1.0, 0.0)
    for _ in range(4):
        hang_ups.answered("user", 0.9)
    assert hang_ups.limit("user", 0.0) == pytest.approx(0.9)
    for _ in range(8):
        hang_ups.answered("user", 1.1)
    assert hang_ups.limit("user", 0.0) == math.inf


def test_the_learned_deadline_grows_again_with_time() -> None:
    hang_ups = HangUps()
    for _ in range(12):
        hang_ups.gave_up("user", 5.0, 10.0)
    assert hang_ups.limit("user", 30.0) == pytest.approx(4 * hang_ups.limit("user", 10.0))


def test_no_more_than_1024_clients_are_known() -> None:
    hang_ups = HangUps()
    for client in range(3000):
        hang_ups.gave_up(client, 1.0, 0.0)
    assert len(hang_ups.known) == 1024
    assert 2999 in hang_ups.known


def test_a_request_larger_than_a_batch_has_a_learned_deadline_too() -> None:
    policy = make(4, one=1.0)
    occupy(policy)
    for number in range(30):
        entry = offer(policy, str(number), client="user", rows=1)
        policy.abandoned(entry, 18.0)
        policy.finish(entry)
    large = offer(policy, "large", client="user", rows=8)
    assert not large.best_effort
    assert large.order_key == pytest.approx(large.deadline - 1.0)


@pytest.mark.parametrize("table", ["weightbound", "flat"])
@pytest.mark.parametrize(
    ("factor", "seconds", "timeout", "share"),
    [
        (15.0, 0.2, math.inf, 0.95),
        (15.0, 0.2, DEADLINE, 0.75),
        (3.0, 2.0, math.inf, 0.65),
        (3.0, 2.0, DEADLINE, 0.65),
    ],
)
def test_clients_that_come_back_when_they_are_told_to_are_served(
    table: str, factor: float, seconds: float, timeout: float, share: float
) -> None:
    """Work for three seconds comes in 0.2 s; or for six in 2 s, so that others come meanwhile.

    Where answers are of use for 0.25 s only, not all that come back within a second can be served.
    """
    policy, service = scheduler(table)
    rng, tries, served = random.Random(SEED), Counter[Arrival](), Counter[int]()

    def over(arrival: Arrival) -> None:
        if arrival.outcome == "ok":
            served[tries[arrival]] += 1
            return
        wait = max(1, math.ceil(server.retry_after.get(arrival, 1.0))) + 0.5 * rng.random()
        again = Arrival(server.now + wait, arrival.rows, timeout)
        tries[again] = tries[arrival] + 1
        server.add(again)

    server = Clients(policy, service, over)
    times = arrivals(table, factor, "poisson", seconds)
    for time in times:
        server.add(Arrival(time, rows=4, timeout=timeout))
    server.run()
    assert served.total() == len(times)
    assert served[0] + served[1] > share * len(times)
    assert max(served) <= 4
    assert max(server.retry_after.values()) < 6.0


def test_no_client_is_told_to_come_back_later_than_in_15_seconds() -> None:
    policy = make(4, one=1.0, default_deadline=8.0)
    occupy(policy)
    told = []
    for number in range(200):
        try:
            offer(policy, str(number))
        except Overloaded as refusal:
            told.append(refusal.retry_after)
    assert told == sorted(told)
    assert told[-1] == 15.0


def test_what_could_not_be_in_time_for_sure_is_refused_when_it_comes() -> None:
    scheduler = make(4, one=1.0)
    occupy(scheduler)
    for number in range(4):
        offer(scheduler, str(number), deadline=3.2)
    with pytest.raises(Overloaded, match=r"4 rows are due before it: .* than the 3\.2 s there are"):
        offer(scheduler, "not for sure", deadline=3.2)
    offer(scheduler, "sooner", deadline=2.5)
    offer(scheduler, "later", deadline=9.0)


def refusal_of(scheduler: Scheduler[str], **request: Any) -> Repeat:
    with pytest.raises(Overloaded) as refused:
        offer(scheduler, "refused", **request)
    assert refused.value.repeat is not None
    return refused.value.repeat


def test_a_refusal_is_repeated_until_there_is_time_enough() -> None:
    scheduler = make(1, one=1.0)
    occupy(scheduler)
    repeat = refusal_of(scheduler, deadline=1.5)  # it lacks 0.5 s
    told = [repeat.again(now) for now in (0.0, 0.2, 0.4)]
    assert told == pytest.approx([2.5, 3.3, 4.1])  # a run after the one that was told before
    assert repeat.again(0.5) is None
    offer(scheduler, "in time", now=0.5, deadline=2.0)


@pytest.mark.parametrize("change", ["a run ends", "a request leaves"])
def test_a_refusal_is_not_repeated_once_something_has_changed(change: str) -> None:
    scheduler = make(1, one=1.0, max_queue_rows=1)
    running = occupy(scheduler)
    waits = offer(scheduler, "waits")
    repeat = refusal_of(scheduler)
    assert repeat.again(1e3) is not None, "time alone frees no place"
    if change == "a run ends":
        end(scheduler, running, 1.0)
    else:
        scheduler.finish(waits)
    assert repeat.again(1.0) is None


def test_a_refusal_that_goes_to_another_process_is_not_repeated_there() -> None:
    scheduler = make(1, one=1.0, max_queue_rows=1)
    occupy(scheduler)
    offer(scheduler, "waits")
    with pytest.raises(Overloaded) as refused:
        offer(scheduler, "refused")
    copy = pickle.loads(pickle.dumps(refused.value))  # noqa: S301 - our own
    assert (str(copy), copy.retry_after) == (str(refused.value), refused.value.retry_after)
    assert copy.repeat is None


def test_a_request_that_is_refused_before_it_is_queued_is_told_when_to_come_as_well() -> None:
    scheduler = make(1, one=1.0)
    occupy(scheduler)
    told = []
    for _ in range(3):
        refusal = scheduler.refusal(0.0, 0.5)
        assert refusal is not None
        told.append(refusal.retry_after)
    assert told == pytest.approx([2.5, 3.5, 4.5])
