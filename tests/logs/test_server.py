"""The log of a real server: every line has the format, and nothing of payloads or keys."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import onnx_models
from tests.ports import free_port
from tests.support import until

SECRET, PAYLOAD = "a-key-that-nobody-may-read", "a-payload-that-nobody-may-read"


class Logged:
    """A server whose standard error is a file."""

    def __init__(self, folder: Path) -> None:
        onnx_models.save(onnx_models.doubler(), folder / "m" / "doubler" / "1" / "model.onnx")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._log = folder / "log"
        given = {"LOG__FORMAT": "json", "LOG__ACCESS_SAMPLE": "1"}
        with self._log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "inference_service", "serve", folder / "m", "--port", str(port)],
                stdout=subprocess.DEVNULL, stderr=file,
                env={**os.environ, **{f"INFERENCE_SERVICE_{n}": v for n, v in given.items()}},
            )  # fmt: skip

    def text(self) -> str:
        return self._log.read_text()

    def until(self, pattern: str) -> None:
        asyncio.run(until(lambda: re.search(pattern, self.text()) is not None))

    def ready(self) -> bool:
        try:
            return requests.get(self.url + "/v2/health/ready", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Logged]:
    running = Logged(tmp_path)
    try:
        asyncio.run(until(running.ready))
        yield running
    finally:
        running.process.kill()
        running.process.wait(timeout=20)


def test_lines_are_json_with_ids_and_times_and_without_payloads_and_keys(
    server: Logged,
) -> None:
    path = f"{server.url}/v1/models/doubler:predict"
    headers = {"Authorization": f"Bearer {SECRET}", "X-Api-Key": SECRET, "Cookie": SECRET}
    server.process.send_signal(signal.SIGUSR1)
    server.until("the log level is now debug")
    good: Any = {"json": {"instances": [[1, 2, 3]]}, "headers": {**headers, "X-Request-Id": "ok-1"}}
    assert requests.post(path, timeout=20, **good).status_code == 200
    spoilt: Any = {"data": f'{{"instances": [["{PAYLOAD}"]]}}', "headers": headers}
    assert requests.post(path, timeout=20, **spoilt).status_code == 400
    server.until('"invalid_input"')
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(timeout=60)
    lines = [json.loads(line) for line in server.text().splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    told = [line for line in lines if line["logger"] == "inference_service.access"]
    assert [line["outcome"] for line in told] == ["ok", "invalid_input"]
    assert told[0]["request_id"] == "ok-1"
    assert told[1]["request_id"]
    assert told[0]["total_ms"] >= told[0]["compute_ms"] > 0
    assert SECRET not in server.text()
    assert PAYLOAD not in server.text()
