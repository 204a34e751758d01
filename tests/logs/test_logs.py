"""Lines of the log: their formats, their limits, who writes them, and what they say of requests."""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from inference_service.logs.access import NAME
from inference_service.logs.formats import JsonLines, PrettyLines
from inference_service.logs.limits import RateLimit
from inference_service.logs.native import native_lines, record_of
from inference_service.logs.settings import LogFormat, LogSettings
from inference_service.logs.setup import formatter
from inference_service.logs.writer import ThreadedWriter
from inference_service.service import Service
from inference_service.serving.request_ids import new_id, read_id
from inference_service.settings import Settings
from tests import onnx_models

WARNING = (
    b"\x1b[0;93m2026-11-26 19:00:00.123456789 [W:onnxruntime:, graph.cc:4285 "
    b"CleanUnused] Removing initializer 'w'. It is 100 % unused.\x1b[m"
)


def record(message: str = "a %s", *arguments: object, **fields: object) -> logging.LogRecord:
    return logging.makeLogRecord({
        "name": "inference_service.x", "levelno": 30, "levelname": "WARNING", "msg": message,
        "args": arguments, "created": 1_700_000_000.25, "msecs": 250.0, "fields": fields,
    })  # fmt: skip


def test_json_is_one_object_a_line() -> None:
    line = JsonLines().format(record("two\n%s", "lines", model="m", ms=1.5))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250Z", "level": "warning", "logger": "inference_service.x",
        "message": "two\nlines", "model": "m", "ms": 1.5,
    }  # fmt: skip


def test_json_tells_an_exception_in_the_same_line() -> None:
    failed = record("failed")
    try:
        int("no")
    except ValueError:
        failed.exc_info = sys.exc_info()
    line = JsonLines().format(failed)
    assert "\n" not in line
    assert "ValueError: invalid literal" in json.loads(line)["exception"]


def test_people_get_a_line_with_fields_and_colours_where_they_are_wanted() -> None:
    line = PrettyLines().format(record("two\n%s", "lines", model="m", error="a b"))
    assert line.endswith('WARNING inference_service.x: two lines model=m error="a b"')
    assert "\x1b[33mWARNING" in PrettyLines(colors=True).format(record("a"))


@pytest.mark.parametrize(
    "sent", ["\x1b[2J", "\x9b31m", "\x7f", "a\u2028b", "\u202egnp", "\ud800", "\r"]
)
def test_what_a_client_sent_moves_nothing_on_a_terminal(sent: str) -> None:
    said = record("from %s", f"a{sent}b", error=f"c{sent}d")
    said.exc_info = (ValueError, ValueError(sent), None)
    pretty = PrettyLines().format(said)
    assert all(line.isprintable() for line in pretty.split("\n"))
    line = JsonLines().format(said)
    assert line.isprintable()
    read = json.loads(line)
    assert (read["message"], read["error"]) == (f"from a{sent}b", f"c{sent}d")


def test_no_line_is_longer_than_its_bound() -> None:
    assert len(JsonLines().format(record("x" * 10_000_000))) < 20_000


@pytest.mark.parametrize(
    ("kind", "terminal", "expected"),
    [("auto", True, PrettyLines), ("auto", False, JsonLines),
     ("json", True, JsonLines), ("pretty", False, PrettyLines)],
)  # fmt: skip
def test_the_format_is_that_of_the_setting(kind: str, terminal: bool, expected: type) -> None:
    assert type(formatter(LogFormat(kind), terminal=terminal)) is expected


def test_the_access_log_has_a_line_for_each_request_that_it_is_to_have() -> None:
    limit = RateLimit(most=1, free=NAME)
    lines = [record("request") for _ in range(100)]
    for line in lines[:50]:
        line.name = NAME
    assert sum(map(limit.filter, lines)) == 51


def test_repeated_lines_are_limited_and_counted() -> None:
    now = [0.0]
    limit = RateLimit(most=3, period=10, clock=lambda: now[0])
    passed = [limit.filter(record("spoilt")) for _ in range(100)]
    assert passed == [True] * 3 + [False] * 97
    other = record("of another place")
    other.lineno = 7
    assert limit.filter(other)
    now[0] = 10.0
    later = record("spoilt")
    assert limit.filter(later)
    assert later.getMessage() == "spoilt (97 more like this were left out)"


def test_a_line_of_onnx_runtime_is_a_record() -> None:
    found: Any = record_of(WARNING)
    assert (found.name, found.levelname) == ("onnxruntime", "WARNING")
    assert found.getMessage() == "Removing initializer 'w'. It is 100 % unused."
    assert found.fields == {"place": "graph.cc:4285 CleanUnused"}


def test_a_line_of_a_helper_process_is_a_record() -> None:
    found: Any = record_of(b"2026-11-26 19:00:00,123 ERROR inference_service.runtime.helper: no")
    assert (found.name, found.levelno) == ("inference_service.runtime.helper", logging.ERROR)
    assert found.getMessage() == "no"


@pytest.mark.parametrize("line", [b"", b"Traceback (most recent call last):", b"\xff\xfe", b"[W:x"])
def test_other_lines_are_none(line: bytes) -> None:
    assert record_of(line) is None


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for end in (reader, writer):
        try:
            os.close(end)
        except OSError:
            continue


def test_lines_of_native_code_become_records_and_others_pass(
    pipe: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    reader, keep = pipe
    native = os.dup(keep)  # stands for standard error
    with caplog.at_level(logging.WARNING), native_lines(native, keep):
        os.write(native, b"plain\n" + WARNING[:20])
        os.write(native, WARNING[20:] + b"\nwithout an end")
    assert os.read(reader, 1000) == b"plain\nwithout an end"
    assert [r.name for r in caplog.records] == ["onnxruntime"]
    os.write(native, b"as before")
    assert os.read(reader, 1000) == b"as before"
    os.close(native)


def test_nothing_waits_for_a_reader_that_does_not_read(pipe: tuple[int, int]) -> None:
    reader, descriptor = pipe
    writer = ThreadedWriter(descriptor)
    writer.setFormatter(PrettyLines())
    begun = time.monotonic()
    for _ in range(12_000):
        writer.emit(record("x" * 100))
    assert time.monotonic() - begun < 5
    assert 0 < writer.dropped <= 2_000
    os.close(reader)  # the thread ends its write with an error
    writer.close()


def test_all_is_written_in_order(pipe: tuple[int, int]) -> None:
    reader, descriptor = pipe
    writer = ThreadedWriter(descriptor)
    writer.setFormatter(logging.Formatter("%(message)s"))
    for number in range(100):
        writer.emit(record(str(number)))
    writer.close()
    assert os.read(reader, 10_000).decode().split() == [str(number) for number in range(100)]


@pytest.mark.parametrize(
    ("given", "read"),
    [(b"abc-1.2_3:4", "abc-1.2_3:4"), (b"", ""), (b"x" * 128, "x" * 128), (b"x" * 129, ""),
     (b"a b", ""), (b"a\nb", ""), (b'a"b', ""), ("é".encode(), "")],
)  # fmt: skip
def test_an_id_is_bounded_in_length_and_characters(given: bytes, read: str) -> None:
    assert read_id(given) == read


def test_ids_differ() -> None:
    assert len({new_id() for _ in range(1000)}) == 1000


async def ask(tmp_path: Path, settings: LogSettings, **headers: str) -> httpx.Response:
    onnx_models.save(onnx_models.doubler(), tmp_path / "doubler" / "1" / "model.onnx")
    service = Service(Settings(models=tmp_path, log=settings))
    async with service.lifespan():
        await service.loaded()
        transport = httpx.ASGITransport(service.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.post(
                "/v1/models/doubler:predict", json={"instances": [[1, 2, 3]]}, headers=headers
            )


async def test_the_access_log_says_who_asked_what_and_how_it_ended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        answer = await ask(tmp_path, LogSettings(access_sample=1), **{"X-Request-Id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    (line,) = [r for r in caplog.records if r.name == "inference_service.access"]
    fields = line.fields  # type: ignore[attr-defined]
    assert {name: fields[name] for name in ("request_id", "model", "version", "protocol", "outcome")} == {
        "request_id": "mine-1", "model": "doubler", "version": "1", "protocol": "tfserving",
        "outcome": "ok" if answer.status_code == 200 else "invalid_input",
    }  # fmt: skip
    assert fields["client"] == "127.0.0.1"
    assert fields["total_ms"] > 0
    assert "instances" not in json.dumps(fields)


async def test_a_request_without_an_id_gets_one_where_requests_are_logged(tmp_path: Path) -> None:
    answer = await ask(tmp_path, LogSettings(access_sample=0.5))
    assert read_id(answer.headers["x-request-id"].encode())


async def test_without_an_access_log_there_are_no_lines_and_ids_come_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = await ask(tmp_path, LogSettings(), **{"X-Request-Id": "mine-2"})
    assert answer.headers["x-request-id"] == "mine-2"
    assert [r for r in caplog.records if r.name == "inference_service.access"] == []


PROGRAM = """
import logging, os, signal, sys
from inference_service.logs.settings import LogFormat
from inference_service.logs.setup import logging_to_stderr
with logging_to_stderr("info", LogFormat.JSON):
    log = logging.getLogger("x")
    log.debug("hidden")
    log.info("shown", extra={"fields": {"a": 1}})
    os.kill(os.getpid(), signal.SIGUSR1)
    log.debug("shown, too")
    os.kill(os.getpid(), signal.SIGUSR1)
    log.debug("hidden again")
    os.write(2, b"\\x1b[0;93m2026-11-26 19:00:00.1 [W:onnxruntime:, a.cc:1 F] native\\x1b[m\\n")
print("after", file=sys.stderr)
"""


def test_a_process_logs_json_and_its_level_changes_with_a_signal() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    *lines, last = run.stderr.splitlines()
    assert last == "after"
    told = [(line["level"], line["message"]) for line in map(json.loads, lines)]
    assert told == [
        ("info", "shown"), ("warning", "the log level is now debug"), ("debug", "shown, too"),
        ("warning", "the log level is now info"), ("warning", "native"),
    ]  # fmt: skip
    assert json.loads(lines[0])["a"] == 1
