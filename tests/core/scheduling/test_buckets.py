"""Rows of unlike length: the grid of padded lengths and the cheapest cut."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.scheduling.buckets import cheapest_cut, padding_waste, quantised
from inference_service.core.scheduling.cost import CostModel
from inference_service.core.scheduling.entries import Release
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.scheduling.scheduler import Scheduler
from tests.core.scheduling.make import items, offer


@given(st.integers(1, 100_000))
def test_padded_lengths_are_on_a_geometric_grid(length: int) -> None:
    padded = quantised(length)
    assert padded >= length
    assert padded == quantised(padded)
    assert padded <= max(length + 1, 1.2 * length)


@given(
    st.dictionaries(st.integers(1, 60), st.integers(1, 6), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
    st.floats(0.0, 20.0),
)
def test_the_cut_of_lengths_is_the_cheapest_of_all(
    rows: dict[int, int], rng: random.Random, base: float
) -> None:
    lengths = sorted(rows.items())
    head = rng.choice(lengths)[0]

    def seconds(count: int, length: int) -> float:
        return base + count * length

    def total(cuts: tuple[int, ...]) -> float:
        bounds = [0, *cuts, len(lengths)]
        return sum(
            seconds(sum(n for _, n in lengths[a:b]), lengths[b - 1][0]) for a, b in pairwise(bounds)
        )

    found = cheapest_cut(lengths, head, seconds)
    spots = range(1, len(lengths))
    every = [tuple(s for s in spots if mask >> s & 1) for mask in range(0, 2 ** len(lengths), 2)]
    best = min(map(total, every))
    if found is None:
        together = total(())
        flat = [length for length, count in lengths for _ in range(count)]
        assert together == pytest.approx(best) or padding_waste(flat, lengths[-1][0]) <= 0.1 + 1e-9
        return
    assert found[0] <= head <= found[1]
    a = next(i for i, (length, _) in enumerate(lengths) if length == found[0])
    b = next(i for i, (length, _) in enumerate(lengths) if length == found[1]) + 1
    containing = [cuts for cuts in every if {a, b} - {0, len(lengths)} <= set(cuts)
                  and not any(a < c < b for c in cuts)]  # fmt: skip
    assert min(map(total, containing)) == pytest.approx(best), "part of a cheapest partition"


@pytest.mark.parametrize("deadline", [float("inf"), 1e3], ids=["best effort", "deadlines"])
def test_rows_of_unlike_length_are_parted_where_padding_would_cost_more(deadline: float) -> None:
    points = [(1, 0.001), (8, 0.0015)]
    policy = BatchPolicy(8, default_deadline=1e6)
    scheduler: Scheduler[str] = Scheduler(policy, CostModel(points, 10, policy))
    for name, length in (("short1", 10), ("long", 400), ("short2", 11)):
        offer(scheduler, name, row_elements=1, length=length, deadline=deadline)
    (batch,) = scheduler.decide(0.0, 1).run
    assert (items(batch), batch.length) == (["short1", "short2"], 11)
    assert batch.reason in {Release.LENGTH, Release.DEADLINE}
