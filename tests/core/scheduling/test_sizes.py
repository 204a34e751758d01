"""How many rows a run takes: the full size, the split, growth. Bad news must be measured live."""

import pytest

from inference_service.core.scheduling.cost import CostModel
from inference_service.core.scheduling.estimates import Estimates
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.scheduling.queue import Queue
from inference_service.core.scheduling.sizes import Sizes

STEP = [(1, 1.0), (4, 1.0), (8, 3.0)]
"""Eight rows take three times as long as four."""


def sizes(points: list[tuple[int, float]], live: int = 0, **policy: object) -> Sizes:
    """Of a model whose sizes were run ``live`` times each."""
    known = BatchPolicy(points[-1][0], **policy)  # type: ignore[arg-type]
    cost = CostModel(points, 1, known)
    for _ in range(live):
        for rows, seconds in points:
            cost.observe(rows, seconds)
    return Sizes(Estimates(known, cost, 1, Queue(known)))


@pytest.mark.parametrize(
    ("live", "queued", "limit"),
    [(0, 3, 3), (0, 8, 8), (1, 8, 8), (2, 8, 4), (2, 100, 4), (2, 4, 4), (2, 1, 1)],
    ids=["small", "not run yet", "run once", "run twice", "with a backlog", "good size", "one row"],
)
def test_a_size_is_avoided_after_it_was_slow_twice(live: int, queued: int, limit: int) -> None:
    assert sizes(STEP, live).limit(queued, 0) == limit


@pytest.mark.parametrize(
    ("points", "queued", "limit"),
    [
        ([(1, 1.0), (2, 1.0), (5, 1.0), (6, 2.5), (7, 2.6), (16, 3.0)], 7, 5),
        ([(1, 1.0), (2, 1.1), (3, 2.5), (16, 4.0)], 3, 2),
        ([(1, 1.0), (4, 1.9), (5, 2.9), (16, 9.0)], 5, 5),
    ],
    ids=["5 and 2", "2 and 1", "4 and 1 take as long"],
)
def test_one_run_is_split_in_two_that_take_less(
    points: list[tuple[int, float]], queued: int, limit: int
) -> None:
    assert sizes(points, 2).limit(queued, 0) == limit


def test_an_avoided_size_gets_a_new_chance_now_and_then() -> None:
    found = sizes(STEP, 2)
    limits = [found.limit(8, 0) for _ in range(128)]
    assert limits.count(8) == 2


def test_max_batch_size_grows_where_twice_the_size_runs_more_rows_per_second() -> None:
    policy = BatchPolicy(4, max_growth=32)
    cost = CostModel([(1, 0.01), (4, 0.01)], 1, policy)
    estimates: Estimates[int] = Estimates(policy, cost, 1, Queue(policy))
    found = Sizes(estimates)
    taken = []
    for _ in range(200):
        taken.append(found.limit(1000, 0))
        cost.observe(taken[-1], 0.01 if taken[-1] <= 16 else taken[-1] / 1000)
    assert estimates.max_batch_size == 16
    assert taken.count(32) <= 10


def test_a_fixed_max_batch_size_never_grows() -> None:
    assert {sizes(STEP).limit(1000, 0) for _ in range(64)} == {8}


def test_allowed_sizes_are_never_split() -> None:
    assert sizes(STEP, 2, sizes=(1, 4, 8)).limit(8, 0) == 8
