"""Signals, a full disk, and a log that nothing reads: the service goes on."""

import asyncio
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from time import monotonic

import pytest
import requests

from inference_service import DrainingServer, Service, Settings
from inference_service.cli import logs
from inference_service.cli.logs import RateLimit, UnblockedHandler
from inference_service.settings import ShutdownSettings
from tests import onnx_models
from tests.ports import free_port
from tests.support import until

START = [sys.executable, "-m", "inference_service", "serve"]


def record(text: str, *values: object) -> logging.LogRecord:
    return logging.LogRecord("test", logging.WARNING, "", 0, text, values, None)


def test_lines_of_one_kind_are_limited_and_counted() -> None:
    now = [100.0]
    limit = RateLimit(lambda: now[0])
    allowed = [limit.allows(record("bad request from %s", one)) for one in range(30)]
    assert allowed == [True] * 20 + [False] * 10
    assert limit.allows(record("another")), "others are written"
    now[0] += 10
    assert limit.allows(record("bad request from %s", 0))


def test_kinds_are_bounded_too() -> None:
    limit = RateLimit(lambda: 0.0)
    assert sum(limit.allows(record(f"text {one}")) for one in range(5000)) == 1000


def test_a_full_pipe_blocks_no_line_and_what_was_left_out_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "_WAITING", 5)
    reader, writer = os.pipe()
    handler = UnblockedHandler(writer, RateLimit(lambda: 0.0))
    begun = monotonic()
    for one in range(200):  # 16 KB each: the pipe holds four
        handler.handle(record(f"{one} " + "x" * 16_000))
    assert monotonic() - begun < 5
    printed = bytearray()
    all_read = threading.Event()

    def read() -> None:
        while b"and now" not in printed:
            printed.extend(os.read(reader, 2**16))
        all_read.set()

    threading.Thread(target=read, daemon=True).start()
    handler.flush()
    handler.handle(record("and now"))
    assert all_read.wait(20)
    assert re.search(rb"\(1[789]\d lines were left out\)\nand now", printed)


def test_sigterm_before_the_server_is_there_ends_with_0(tmp_path: Path) -> None:
    onnx_models.save(onnx_models.doubler(), tmp_path / "m.onnx")
    process = subprocess.Popen(
        [*START, str(tmp_path), "--port", str(free_port())],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        last = monotonic() + 30
        mask = 0
        while not mask >> (signal.SIGTERM - 1) & 1:  # the handler is there
            assert monotonic() < last
            status = Path(f"/proc/{process.pid}/status").read_text()
            mask = int(status.split("SigCgt:")[1].split()[0], 16)
            time.sleep(0.005)
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate(timeout=30)


def test_sighup_and_a_full_disk_are_no_reason_to_stop(tmp_path: Path) -> None:
    onnx_models.save(onnx_models.doubler(), tmp_path / "m.onnx")
    url = f"http://127.0.0.1:{(port := free_port())}"
    with Path("/dev/full").open("w") as full:
        process = subprocess.Popen(
            [*START, str(tmp_path), "--port", str(port)],
            stdout=full,
            stderr=full,
            env={**os.environ, "INFERENCE_SERVICE_SHUTDOWN__LAME_DUCK": "0"},
        )
    try:
        last = monotonic() + 60
        while True:
            assert monotonic() < last
            assert process.poll() is None
            try:
                if requests.get(url + "/v2/health/ready", timeout=20).status_code == 200:
                    break
            except requests.ConnectionError:
                time.sleep(0.05)
        process.send_signal(signal.SIGHUP)
        body = {"instances": [[1, 2, 3]]}
        answer = requests.post(f"{url}/v1/models/m:predict", json=body, timeout=20)
        assert answer.json() == {"predictions": [[2, 4, 6]]}
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait(timeout=30)


async def test_sighup_reads_keys_and_certificates_again(tmp_path: Path) -> None:
    onnx_models.save(onnx_models.doubler(), tmp_path / "m.onnx")
    shutdown = ShutdownSettings(lame_duck=0, grace_period=1)
    service = Service(Settings(models=tmp_path, port=0, shutdown=shutdown))
    server = DrainingServer(service)
    looked = asyncio.Event()
    loop = asyncio.get_running_loop()
    service.security.watcher.look = lambda: loop.call_soon_threadsafe(looked.set)  # type: ignore[method-assign,assignment]
    before = signal.getsignal(signal.SIGHUP)
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    os.kill(os.getpid(), signal.SIGHUP)
    await asyncio.wait_for(looked.wait(), 20)
    assert not serving.done()
    server.leave()
    await asyncio.wait_for(serving, 30)
    assert signal.getsignal(signal.SIGHUP) is before
