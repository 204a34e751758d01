"""Under systemd: the protocols of sd_listen_fds(3) and sd_notify(3), as a real process follows them."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import requests

from inference_service.platforms.systemd import inherited_listener, notify, watchdog_interval

# What systemd does before it starts a service: the socket as descriptor 3, and its own process's id.
START = """
import os, socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
os.dup2(listener.fileno(), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, "-m", "inference_service", "serve", sys.argv[2]])
"""


def besides_signs_of_life(told: socket.socket) -> bytes:
    while (message := told.recv(100)) == b"WATCHDOG=1":
        pass
    return message


def test_a_process_takes_the_socket_and_leaves_it_to_the_next_one(
    zoo: Path, tmp_path: Path
) -> None:
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(str(tmp_path / "notify"))
    told.settimeout(60)
    with socket.create_server(("127.0.0.1", 0)) as listener, told:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v2/health/ready"
        for _ in range(2):
            process = subprocess.Popen(
                [sys.executable, "-c", START, str(listener.fileno()), str(zoo / "doubler")],
                pass_fds=[listener.fileno()],
                env={
                    **os.environ,
                    "NOTIFY_SOCKET": str(tmp_path / "notify"),
                    "WATCHDOG_USEC": "200000",
                    "INFERENCE_SERVICE_SHUTDOWN__LAME_DUCK": "0",
                },
                stdout=subprocess.DEVNULL,
            )
            try:
                assert besides_signs_of_life(told) == b"READY=1"
                assert [told.recv(100) for _ in range(2)] == [b"WATCHDOG=1"] * 2
                assert requests.get(url, timeout=20).status_code == 200
                process.send_signal(signal.SIGTERM)
                assert besides_signs_of_life(told) == b"STOPPING=1"
                assert process.wait(timeout=60) == 0
            finally:
                process.kill()
                process.wait(timeout=20)


def test_without_systemd_nothing_is_inherited_or_told() -> None:
    assert inherited_listener({}) is None
    assert inherited_listener({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) is None
    assert notify("READY=1", {}) is False
    assert notify("READY=1", {"NOTIFY_SOCKET": "/nowhere/at/all"}) is False


def test_signs_of_life_come_twice_as_often_as_they_must() -> None:
    assert watchdog_interval({"WATCHDOG_USEC": "30000000"}) == 15.0
    for none in ({}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}):
        assert watchdog_interval(none) is None
    assert watchdog_interval({"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}) is None
