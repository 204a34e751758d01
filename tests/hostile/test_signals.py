"""Signals, a full disk, and a log that nothing reads: the service goes on."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from time import monotonic

import requests

from inference_service import DrainingServer, Service, Settings
from inference_service.sections import ShutdownSettings
from tests import onnx_models
from tests.ports import free_port
from tests.support import LONGEST_WAIT, until

START = [sys.executable, "-m", "inference_service", "serve"]


def test_sigterm_before_the_server_is_there_ends_with_0(tmp_path: Path) -> None:
    onnx_models.save(onnx_models.doubler(), tmp_path / "m.onnx")
    process = subprocess.Popen(
        [*START, str(tmp_path), "--port", str(free_port())],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        last = monotonic() + LONGEST_WAIT
        mask = 0
        while not mask >> (signal.SIGTERM - 1) & 1:  # the handler is there
            assert monotonic() < last
            status = Path(f"/proc/{process.pid}/status").read_text()
            mask = int(status.split("SigCgt:")[1].split()[0], 16)
            time.sleep(0.005)
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(LONGEST_WAIT) == 0
    finally:
        process.kill()
        process.communicate(timeout=30)


def test_the_end_is_told_when_it_begins(tmp_path: Path) -> None:
    onnx_models.save(onnx_models.doubler(), tmp_path / "m.onnx")
    process = subprocess.Popen(
        [*START, str(tmp_path), "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "INFERENCE_SERVICE_SHUTDOWN__GRACE_PERIOD": "20",
             "INFERENCE_SERVICE_SHUTDOWN__LAME_DUCK": "0"},
    )  # fmt: skip
    try:
        assert any("try it" in line for line in process.stdout or ())
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "shutting down: requests in work are answered, for up to 20 s" in told
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
        assert process.wait(LONGEST_WAIT) == 0
    finally:
        process.kill()
        process.wait(timeout=30)


async def test_sighup_reads_keys_certificates_and_models_again(tmp_path: Path) -> None:
    onnx_models.save(onnx_models.doubler(), tmp_path / "m.onnx")
    shutdown = ShutdownSettings(lame_duck=0, grace_period=1)
    service = Service(Settings(models=tmp_path, port=0, shutdown=shutdown))
    server = DrainingServer(service)
    looked = asyncio.Event()
    loop = asyncio.get_running_loop()
    service.security.watcher.look = lambda: loop.call_soon_threadsafe(looked.set)  # type: ignore[method-assign,assignment]
    models = asyncio.Event()
    service.watch.look_now = models.set  # type: ignore[method-assign]
    before = signal.getsignal(signal.SIGHUP)
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    os.kill(os.getpid(), signal.SIGHUP)
    await asyncio.wait_for(looked.wait(), 20)
    await asyncio.wait_for(models.wait(), 20)
    assert not serving.done()
    server.leave()
    await asyncio.wait_for(serving, 30)
    assert signal.getsignal(signal.SIGHUP) is before
