"""`inference-service top`: what it makes of the feed's events."""

import io
import json

from click.testing import CliRunner

from inference_service.cli import main
from inference_service.cli.top import events, lines, sparkline

MODELS = [
    {"name": "quiet", "version": "1", "state": "ready"},
    {"name": "broken", "version": "2", "state": "failed"},
    {"name": "doubler", "version": "3", "state": "ready"},
]
SAMPLE = {
    "problem": "", "in_flight": 4, "streams": 1, "requests": 120.0, "errors": 0.0, "p50_ms": 1.234,
    "p99_ms": 1500.0, "queue_rows": 7, "busy": 1.5, "slots": 2,
    "models": [{"name": "doubler", "version": "3", "requests": 120.0, "errors": 0.0,
                "p50_ms": 1.234, "p99_ms": 1500.0, "batch_rows": {"1": 1, "7": 1}, "queue_rows": 7,
                "busy": 1.5}],
}  # fmt: skip


def test_the_busiest_model_comes_first_and_every_model_has_a_line() -> None:
    shown = lines(MODELS, SAMPLE, [60.0, 120.0], 200)
    assert "4 in flight" in shown[0]
    assert (
        "120.0 requests/s  p50 1.23 ms  p99 1500 ms  busy 1.5 of 2 slots  7 rows wait" in shown[1]
    )
    assert [line.split()[0] for line in shown[5:]] == ["doubler", "quiet", "broken"]
    assert shown[5].split()[3:] == ["120.0", "0.0", "1.23", "1500", "4.0", "7", "1.5"]
    assert "failed" in shown[7]


def test_lines_are_no_longer_than_the_terminal_is_wide() -> None:
    assert max(len(line) for line in lines(MODELS, SAMPLE, [1.0] * 60, 40)) == 40


def test_the_sparkline_is_relative_to_its_largest_value() -> None:
    assert sparkline([0, 4, 8]) == " ▄█"
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "  "


def test_events_are_read_whatever_comes_between() -> None:
    stream = io.BytesIO(
        b"retry: 2000\n\nevent: models\ndata: [1]\n\n: comment\nevent: sample\ndata: "
        + json.dumps(SAMPLE).encode()
        + b"\n\n"
    )
    assert [(name, type(data)) for name, data in events(stream)] == [
        ("models", list), ("sample", dict),
    ]  # fmt: skip


def test_a_service_that_is_not_there_is_named() -> None:
    found = CliRunner().invoke(main, ["top", "--server", "http://127.0.0.1:1", "--once"])
    assert found.exit_code == 1
    assert "no answer from http://127.0.0.1:1" in found.output
