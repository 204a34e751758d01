"""The stats feed: what a sample says of two readings, and what viewers are sent."""

import asyncio

import orjson
import pytest

from inference_service.core.errors import Overloaded, ShuttingDown
from inference_service.core.requests import ModelRef
from inference_service.core.statistics import Durations, Latencies, ModelStatistics, quantile
from inference_service.engine.interfaces import AnsweredRequests
from inference_service.telemetry import feed as feeds
from inference_service.telemetry.feed import Feed
from inference_service.telemetry.live import Reading, read_model, sample, totals
from inference_service.telemetry.statistics import StatisticsObserver

READY = ("doubler", "1", "ready", "")


def reading(clock: float, sums: ModelStatistics, queue: int = 0, running: int = 0) -> Reading:
    model = read_model(READY, sums, queue, 100, running)
    return Reading(1000 + clock, clock, "", 2, 3, 0, [model])


def worked(requests: int, seconds: float, runs: dict[int, int]) -> ModelStatistics:
    sums = ModelStatistics()
    for _ in range(requests):
        sums.succeeded((seconds, 0.0, 0.0, seconds, 0.0), 1)
    sums.batches = {rows: Durations(count, count * seconds) for rows, count in runs.items()}
    return sums


@pytest.mark.parametrize("seconds", [0.00002, 0.001, 0.0123, 1.7, 250.0])
def test_quantiles_are_within_five_percent(seconds: float) -> None:
    latencies = Latencies()
    for _ in range(1000):
        latencies.add(seconds)
    found = quantile(latencies.counts, 0.5)
    assert found is not None
    assert abs(found - seconds) / seconds < 0.05


def test_extreme_durations_are_counted_in_the_outermost_buckets() -> None:
    latencies = Latencies()
    for seconds in (0.0, -1.0, 1e-9, 1e9):
        latencies.add(seconds)
    assert latencies.counts[0] == 3
    assert latencies.counts[-1] == 1
    assert quantile([0] * 200, 0.5) is None


def test_the_median_and_the_99th_percentile_of_a_mixture() -> None:
    latencies = Latencies()
    for place in range(100):
        latencies.add(0.5 if place >= 98 else 0.01)
    median, high = quantile(latencies.counts, 0.5), quantile(latencies.counts, 0.99)
    assert median is not None
    assert high is not None
    assert 0.009 < median < 0.011
    assert 0.45 < high < 0.55


def test_requests_that_are_answered_together_count_one_by_one() -> None:
    statistics = StatisticsObserver(lambda: 7.0)
    times = ([0.01] * 99 + [1.0], [0.001] * 100, [0.002] * 100, [1] * 100, [0.0] * 100, [0.0] * 100)
    statistics.answered(AnsweredRequests("m", "1", "oip", *times))
    sums = statistics.of(ModelRef("m", 1))
    assert (sums.success.count, sums.rows, sums.last) == (100, 100, 7.0)
    assert sums.success.seconds == pytest.approx(1.99)
    assert sums.queue.seconds == pytest.approx(0.1)
    median = quantile(sums.latencies.counts, 0.5)
    assert median == pytest.approx(0.01, rel=0.05)


def test_a_sample_is_the_difference_of_two_readings() -> None:
    before = reading(10.0, worked(4, 0.01, {1: 4}))
    after = sample(before, reading(12.0, worked(14, 0.01, {1: 4, 5: 2}), queue=7))
    assert (after["requests"], after["errors"], after["queue_rows"]) == (5.0, 0.0, 7)
    assert after["models"][0]["batch_rows"] == {"5": 2}
    assert after["busy"] == 0.01  # two runs of 10 ms in two seconds
    assert 9.5 < after["p50_ms"] < 10.5


def test_a_run_longer_than_the_interval_is_seen_while_it_goes_on() -> None:
    sums = worked(1, 0.01, {1: 1})
    assert sample(reading(0.0, sums), reading(1.0, sums, running=1))["busy"] == 1.0


def test_models_in_which_nothing_happened_are_left_out() -> None:
    sums = worked(1, 0.01, {1: 1})
    assert sample(reading(0.0, sums), reading(1.0, sums))["models"] == []


def test_a_model_that_was_loaded_again_gives_no_negative_rates() -> None:
    fresh = sample(reading(0.0, worked(9, 0.01, {1: 9})), reading(1.0, ModelStatistics()))
    assert (fresh["requests"], fresh["models"]) == (0.0, [])


def test_the_totals_have_every_model() -> None:
    told = totals(reading(0.0, worked(3, 0.01, {1: 1, 2: 1})), since=900.0)
    (model,) = told["models"]
    assert (model["requests"], model["runs"], model["batch_rows"]) == (3, 2, {"1": 1, "2": 1})
    assert (told["since"], told["slots"], told["in_flight"]) == (900.0, 2, 3)


async def test_viewers_are_sent_the_models_then_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "PERIOD", 0.001)
    clock = iter(range(1_000_000))
    leaving = False
    feed = Feed(lambda: reading(float(next(clock)), ModelStatistics()), lambda: leaving)
    events = feed.events()
    async with asyncio.timeout(20):
        first = await anext(events)
        assert b"event: models\ndata: [" in first
        assert (await anext(events)).startswith(b"event: history\ndata: []")
        told = (await anext(events)).partition(b"data: ")[2]
        assert orjson.loads(told)["slots"] == 2
        leaving = True
        with pytest.raises(ShuttingDown):
            feed.check()
        assert [event async for event in events][1:] == []  # a shutdown ends the stream


async def test_viewers_have_a_bound_and_the_sampler_sleeps_without_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feeds, "_MOST_VIEWERS", 1)
    feed = Feed(lambda: reading(0.0, ModelStatistics()), lambda: False)
    feed.check()
    events = feed.events()
    await anext(events)
    with pytest.raises(Overloaded, match="1 viewers watch the stats already"):
        feed.check()
    await events.aclose()
    feed.check()
    assert feed._sampler is None
