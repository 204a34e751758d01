"""Which layout is used: that which would drain the queue soonest, with hysteresis."""

import pytest

from inference_service.core.scheduling.layout import Layout, LayoutChoice, Profile, worth_having

ALL_CORES = Profile(Layout(1, 4), ((1, 1.0), (32, 8.0), (64, 16.0)))
EACH_CORE = Profile(Layout(4, 1), ((1, 2.0), (32, 20.0), (64, 40.0)))


def test_both_are_kept_where_each_is_better_at_something() -> None:
    assert worth_having([ALL_CORES, EACH_CORE]) == (ALL_CORES, EACH_CORE)
    assert worth_having([ALL_CORES]) == (ALL_CORES,)


@pytest.mark.parametrize(("rows", "index"), [(1, 0), (2, 0), (32, 1), (512, 1)])
def test_a_backlog_of_32_clients_reaches_the_layout_with_more_rows(rows: int, index: int) -> None:
    choice = LayoutChoice([ALL_CORES, EACH_CORE])
    for _ in range(40):
        choice.consider(rows, 64)
    assert choice.index == index


def test_it_changes_after_16_dispatches_in_a_row_that_say_so() -> None:
    choice = LayoutChoice([ALL_CORES, EACH_CORE])
    changes = [choice.consider(64, 64) for _ in range(16)]
    assert changes == [False] * 15 + [True]
    assert choice.layout == Layout(4, 1)
    assert [choice.consider(64 if i % 5 else 1, 64) for i in range(60)] == [False] * 60
    assert [choice.consider(1, 64) for _ in range(16)][-1]
    assert choice.layout == Layout(1, 4)


def test_a_single_layout_never_changes() -> None:
    choice = LayoutChoice([ALL_CORES])
    assert not any(choice.consider(1000, 64) for _ in range(50))
