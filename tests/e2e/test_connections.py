"""Many connections, too many connections, and none left behind."""

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import requests

from tests.conftest import RunningServer
from tests.support import LONGEST_WAIT, until


def connect(server: RunningServer) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=LONGEST_WAIT)


def sockets_of(process: int) -> int:
    found = 0
    for entry in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += os.readlink(entry).startswith("socket:")
    return found


def test_running_out_of_descriptors_is_survived(
    serve: Callable[..., RunningServer], zoo: Path
) -> None:
    """Who waits meanwhile is answered as soon as there are descriptors again."""
    server = serve(zoo)
    pid = server.process.pid
    with requests.Session() as session:
        assert session.get(server.url + "/v2/health/live", timeout=LONGEST_WAIT).status_code == 200
        used = max(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()) + 1
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 8, used + 8))
        with contextlib.ExitStack() as stack:
            for _ in range(30):
                stack.enter_context(connect(server))
            late = connect(server)
            assert (
                session.get(server.url + "/v2/health/live", timeout=LONGEST_WAIT).status_code == 200
            )
    with late:
        late.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert late.recv(65536).startswith(b"HTTP/1.1 200")


def test_closed_connections_leave_no_socket(zoo_server: RunningServer) -> None:
    before = sockets_of(zoo_server.process.pid)
    for _ in range(3):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(connect(zoo_server)) for _ in range(100)]
            for client in clients:
                client.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            for client in clients:
                assert client.recv(65536).startswith(b"HTTP/1.1 200")
    assert requests.get(zoo_server.url + "/v2/health/live", timeout=LONGEST_WAIT).status_code == 200
    asyncio.run(until(lambda: sockets_of(zoo_server.process.pid) <= before + 2))


@pytest.mark.parametrize("clients", [200])
def test_a_shutdown_answers_everybody_who_was_connected(
    serve: Callable[..., RunningServer], zoo: Path, clients: int
) -> None:
    server = serve(zoo, INFERENCE_SERVICE_SHUTDOWN__LAME_DUCK="0")
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(connect(server)) for _ in range(clients)]
        server.process.terminate()
        for client in waiting:
            client.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        for client in waiting:
            answer = b"".join(iter(partial(client.recv, 65536), b""))
            assert answer.startswith(b"HTTP/1.1 200")
            assert b"connection: close" in answer
    assert server.process.wait(timeout=LONGEST_WAIT) == 0
