"""Connections are accepted all at once, and running out of descriptors is survived."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

from inference_service import acceptor as acceptor_module
from inference_service.acceptor import Acceptor
from inference_service.listener import listen

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with listen("127.0.0.1", 0) as listening:
        yield listening


class Greeter(asyncio.Protocol):
    """Answers one byte as soon as it is connected."""

    def connection_made(self, transport: Any) -> None:
        transport.write(b"!")
        transport.close()


class Fails:
    """A listener whose next accepts fail."""

    def __init__(self, listener: socket.socket, *errors: int) -> None:
        self._listener = listener
        self._errors = list(errors)
        self.asked = 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.asked += 1
        if self._errors:
            raise OSError(self._errors.pop(0), "failed")
        return self._listener.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listener, name)


def connected(listener: socket.socket, count: int) -> contextlib.ExitStack:
    """So many clients, whose connections wait in the kernel."""
    stack = contextlib.ExitStack()
    stack.clients = [  # type: ignore[attr-defined]
        stack.enter_context(socket.create_connection(listener.getsockname(), timeout=20))
        for _ in range(count)
    ]
    return stack


@pytest.mark.parametrize("new_loop", LOOPS)
def test_all_waiting_connections_are_accepted_in_one_turn(
    listener: socket.socket, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    made: list[int] = []

    async def main() -> None:
        loop, turn = asyncio.get_running_loop(), 0

        class Counter(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                made.append(turn)
                transport.close()

        acceptor = Acceptor(listener, Counter, loop)
        acceptor.start()
        for _ in range(50):
            turn += 1
            await asyncio.sleep(0)
        await acceptor.close()

    with connected(listener, 128), asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    assert len(made) == 128
    assert len(set(made)) <= 2, "uvloop by itself takes 128 turns"


@pytest.mark.parametrize("new_loop", LOOPS)
def test_what_waits_when_accepting_ends_is_connected_still(
    listener: socket.socket, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def main() -> None:
        acceptor = Acceptor(listener, Greeter, asyncio.get_running_loop())
        await acceptor.close()
        await acceptor.close()  # again is fine
        assert not acceptor._connecting
        await asyncio.sleep(0)  # the protocols write and close

    with connected(listener, 300) as stack:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(main())
        for client in stack.clients:  # type: ignore[attr-defined]
            assert client.recv(1) == b"!"


@pytest.mark.parametrize("new_loop", LOOPS)
def test_without_descriptors_it_waits_for_some_and_does_not_spin(
    listener: socket.socket,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(acceptor_module, "RETRY_AFTER", 0.05)

    async def main() -> int:
        loop = asyncio.get_running_loop()
        acceptor = Acceptor(listener, Greeter, loop)
        failing = Fails(acceptor._listener, errno.EMFILE, errno.ENFILE)
        acceptor._listener = failing  # type: ignore[assignment]
        acceptor.start()
        (client,) = stack.clients  # type: ignore[attr-defined]
        client.setblocking(False)
        async with asyncio.timeout(5):
            assert await loop.sock_recv(client, 1) == b"!"
        await acceptor.close()
        return failing.asked

    with connected(listener, 1) as stack, asyncio.Runner(loop_factory=new_loop) as runner:
        asked = runner.run(main())
    assert asked <= 6, "two failures, the connection, and nothing more each time"
    assert caplog.text.count("can't accept connections") == 1


def test_a_connection_that_broke_while_it_waited_costs_the_next_one_nothing(
    listener: socket.socket,
) -> None:
    async def main() -> None:
        acceptor = Acceptor(listener, Greeter, asyncio.get_running_loop())
        acceptor._listener = Fails(acceptor._listener, errno.ECONNABORTED)  # type: ignore[assignment]
        await acceptor.close()
        await asyncio.sleep(0)

    with connected(listener, 1) as stack:
        asyncio.run(main())
        assert stack.clients[0].recv(1) == b"!"  # type: ignore[attr-defined]
