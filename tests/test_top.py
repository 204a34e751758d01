"""`inference-service top`: what it makes of the feed's events."""

import contextlib
import errno
import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from inference_service.cli import main
from inference_service.cli.top import events, fitting, lines, sparkline
from inference_service.security.keys import create
from tests import onnx_models
from tests.conftest import RunningServer

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


def test_a_terminal_with_few_rows_says_how_many_are_left_out() -> None:
    assert fitting(["a", "b", "c"], 4) == ["a", "b", "c"]
    assert fitting(["a", "b", "c", "d", "e"], 4) == ["a", "b", "… and 3 more"]
    assert fitting(["a", "b"], 1) == ["… and 2 more"]


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
    assert "no service listens at http://127.0.0.1:1: " in found.output


class Gone(io.StringIO):
    """A pipe whose reader has gone, as head's."""

    def write(self, _: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_a_reader_that_has_gone_is_not_taken_for_the_service(
    tmp_path: Path,
    serve: Callable[..., RunningServer],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    onnx_models.save(onnx_models.doubler(), tmp_path / "doubler" / "1" / "model.onnx")
    url = serve(tmp_path).url
    monkeypatch.setattr(sys, "stdout", Gone())
    with pytest.raises(SystemExit):
        main(["top", "--once", "--server", url])
    assert capsys.readouterr().err == ""


@contextlib.contextmanager
def on_a_terminal(
    url: str, rows: int, columns: int
) -> Iterator[tuple["subprocess.Popen[bytes]", Callable[[str], str]]]:
    """The command on a terminal of this size; reads what it writes until a text has come."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "inference_service", "top", "--server", url],
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    seen = ""

    def read(text: str) -> str:
        nonlocal seen
        until = time.monotonic() + 60
        while text not in seen:
            assert time.monotonic() < until, seen
            ready, _, _ = select.select([ours], [], [], 1)
            if ready:
                seen += os.read(ours, 65536).decode()
        return seen

    try:
        yield process, read
    finally:
        process.kill()
        process.wait(timeout=20)
        os.close(ours)


def test_it_draws_one_screen_over_the_other_and_ends_with_ctrl_c(
    zoo_server: RunningServer,
) -> None:
    with on_a_terminal(zoo_server.url, 8, 60) as (process, read):
        read("\x1b[H")
        row = {"instances": [[1, 2, 3]]}
        requests.post(f"{zoo_server.url}/v1/models/doubler:predict", json=row, timeout=20)
        read("doubler")
        process.send_signal(signal.SIGINT)
        text = read("\x1b[?25h")
        assert process.wait(timeout=20) == 0
    assert text.index("\x1b[?25l") < text.index("\x1b[H")
    for screen in text.split("\x1b[H")[1:-1]:
        shown = re.sub(r"\x1b\[\??[0-9]*[A-Za-z]", "", screen).replace("\r", "").splitlines()
        assert len(shown) <= 7
        assert max(map(len, shown)) <= 60
        assert re.match(r"inference-service, ready", shown[0])
        assert "more" in shown[-1]


def test_a_key_is_sent_where_access_is_controlled(
    serve: Callable[..., RunningServer], zoo: Path
) -> None:
    pepper = "a pepper of some length"
    key, entry = create("reader", ["read"], pepper.encode(), 0)
    told = {"id": entry.id, "name": entry.name, "scopes": list(entry.scopes), "hash": entry.hash}
    server = serve(
        zoo / "doubler",
        INFERENCE_SERVICE_SECURITY__KEYS=json.dumps([told]),
        INFERENCE_SERVICE_SECURITY__PEPPER=pepper,
    )
    refused = CliRunner().invoke(main, ["top", "--server", server.url, "--once"])
    assert refused.exit_code == 1
    assert "answers 401" in refused.output
    given = {"INFERENCE_SERVICE_TOKEN": key}
    found = CliRunner(env=given).invoke(main, ["top", "--server", server.url, "--once"])
    assert found.exit_code == 0, found.output
    assert "doubler" in found.output
