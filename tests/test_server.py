"""How the service listens, and how it stops."""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from inference_service import server as server_module
from inference_service.acceptor import Acceptor
from inference_service.listener import ignore_attempts, listen
from inference_service.repository_watch import NoWatch
from inference_service.security.setup import security_of
from inference_service.server import DrainingServer
from inference_service.settings import Settings
from inference_service.web.health import Health
from tests.virtual_time import run_virtual


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with listen("127.0.0.1", 0) as listening:
        yield listening


def test_answers_are_not_held_back_until_packets_are_acknowledged(listener: socket.socket) -> None:
    """Nagle's algorithm and delayed acknowledgements together cost 40 ms, whatever the event loop."""
    with socket.create_connection(listener.getsockname(), timeout=20):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_attempts_are_ignored_but_connections_that_were_made_can_be_accepted(
    listener: socket.socket,
) -> None:
    with (
        socket.create_connection(listener.getsockname(), timeout=20) as client,
        socket.socket() as late,
    ):
        assert ignore_attempts(listener)
        late.settimeout(0.05)
        with pytest.raises(TimeoutError):
            late.connect(listener.getsockname())
        connection, _ = listener.accept()
        with connection:
            client.sendall(b"question")
            assert connection.recv(8) == b"question"
            connection.sendall(b"answer")
            assert client.recv(6) == b"answer"
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


class Connection:
    """As uvicorn keeps them: ``cycle`` is the last request, None before the first."""

    def __init__(self, cycle: object) -> None:
        self.cycle = cycle
        self.closed: float | None = None

    def shutdown(self) -> None:
        self.closed = asyncio.get_running_loop().time()


def leave(listener: socket.socket, *connections: Connection) -> int:
    """Leave in virtual time; how many connections were taken from the kernel."""
    taken: list[object] = []

    async def main() -> None:
        server = DrainingServer(Unused(), listener)
        server.force_exit = True  # no lifespan to end
        server.server_state.connections.update(connections)  # type: ignore[arg-type]
        server.servers = []

        async def connect(_: object, connection: socket.socket) -> None:
            connection.close()
            taken.append(connection)

        loop: Any = asyncio.get_running_loop()
        loop.connect_accepted_socket = connect
        server._acceptor = Acceptor(listener, asyncio.Protocol, loop)
        await server.shutdown([listener])
        assert listener.fileno() == -1

    run_virtual(main())
    return len(taken)


class Unused:
    """A service without requests."""

    settings = Settings()
    health = Health(lambda: None)
    security = security_of(settings)
    watch = NoWatch()

    @staticmethod
    async def asgi(*_: object) -> None:
        raise AssertionError


def test_a_connection_without_a_request_is_given_time_to_bring_it(listener: socket.socket) -> None:
    fresh, used = Connection(None), Connection(object())
    leave(listener, fresh, used)
    assert fresh.closed == pytest.approx(2.25, abs=0.05)


def test_an_idle_connection_is_closed_soon(listener: socket.socket) -> None:
    used = Connection(object())
    leave(listener, used)
    assert used.closed == pytest.approx(0.25, abs=0.05)


def test_a_websocket_does_not_wait_for_a_first_request(listener: socket.socket) -> None:
    stream = Connection(None)
    del stream.cycle
    leave(listener, stream)
    assert stream.closed == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("filters", [True, False])
def test_connections_that_wait_in_the_kernel_are_taken(
    filters: bool, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the system knows no filters."""
    if not filters:
        monkeypatch.setattr(server_module, "ignore_attempts", lambda _: False)
    with socket.create_connection(listener.getsockname(), timeout=20):
        assert leave(listener) == 1
