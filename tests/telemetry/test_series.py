"""Our counters and histograms are told just like prometheus_client's own."""

from typing import Any

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import (
    CollectorRegistry,
    disable_created_metrics,
    generate_latest,
    openmetrics,
)

from inference_service.telemetry import series

BUCKETS = (0.0005, 0.1, 1, 30)
disable_created_metrics()  # type: ignore[no-untyped-call]


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", 'é\n"b']), st.floats(-1, 1e9, allow_subnormal=False)),
        max_size=30,
    )
)
def test_the_pages_are_equal_byte_by_byte(observed: list[tuple[str, float]]) -> None:
    own, other = CollectorRegistry(), CollectorRegistry()
    our_count = series.Counter("n", "How many", ("model", "x"), own)
    our_times = series.Histogram("s", "How long", ("model",), own, BUCKETS)
    their_count = prometheus_client.Counter("n", "How many", ("model", "x"), registry=other)
    their_times = prometheus_client.Histogram(
        "s", "How long", ("model",), registry=other, buckets=BUCKETS
    )
    for label, value in observed:
        for count in (our_count.labels(label, "y"), their_count.labels(label, "y")):
            count.inc()
            count.inc(abs(value))
        our_times.labels(label).observe(value)
        their_times.labels(label).observe(value)
    assert generate_latest(own) == generate_latest(other)
    as_openmetrics: Any = openmetrics.exposition.generate_latest
    assert as_openmetrics(own) == as_openmetrics(other)


def test_a_name_is_taken_once() -> None:
    registry = CollectorRegistry()
    series.Counter("n", "How many", (), registry)
    with pytest.raises(ValueError, match="Duplicated"):
        series.Counter("n", "How many", (), registry)
