"""All requests that wait or run, by the time at which they expire."""

import math

from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.scheduling.entries import Entry
from inference_service.core.scheduling.lists import Expiries


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=300))
def test_the_next_to_expire_is_the_first_that_has_not_ended(
    steps: list[tuple[int, bool]],
) -> None:
    """However requests come and end, and whenever what has ended is forgotten."""
    expiries: Expiries[int] = Expiries()
    live: list[Entry[int]] = []
    for time, comes in steps:
        if comes or not live:
            entry = Entry(0, 0, deadline=float(time))
            expiries.add(entry)
            live.append(entry)
        else:
            live.pop(time % len(live)).end()
            expiries.compact(len(live))
        assert expiries.next() == min((entry.expires_at for entry in live), default=math.inf)
        assert len(expiries._records) <= 65 + 2 * len(live) or comes


def test_nothing_is_kept_once_all_have_ended() -> None:
    expiries: Expiries[int] = Expiries()
    entry = Entry(0, 0, deadline=1.0)
    expiries.add(entry)
    entry.end()
    expiries.compact(0)
    assert not expiries._records
