"""Accepts every waiting connection in one turn of the event loop.

uvloop accepts one connection per turn. While k connections are served a turn takes k requests, so
the last of n connections that arrive together waits for about n**2 / 2 requests: half a second at
128. Here a readable listener is emptied instead, as asyncio's own loop does it.
"""

import asyncio
import errno
import logging
import ssl
from collections.abc import Callable
from socket import socket

log = logging.getLogger(__name__)

ACCEPTED_PER_TURN = 256
"""Connections; others wait for the next turn, after what is running."""
RETRY_AFTER = 1.0
"""Seconds without accepting when descriptors or memory are exhausted. The kernel keeps the
connections that wait meanwhile."""

HANDSHAKE_TIMEOUT = 10.0
"""Seconds from accepting a connection to the end of its TLS handshake."""
_SHUTDOWN_TIMEOUT = 5.0  # seconds for the client to end TLS, too
_LAST_HANDSHAKES = 2.0  # seconds for handshakes that are under way when accepting ends

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# A connection that failed while it waited, or that the network refused: the next one may be fine.
_FAILED_ALONE = frozenset(
    {
        errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.ENOPROTOOPT,
        errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EINTR,
    }
)  # fmt: skip


class Acceptor:
    """Connects what arrives at a listening socket to protocols, until it is closed.

    It works on a descriptor of its own: closing it leaves the caller's listener open.
    """

    def __init__(
        self,
        listener: socket,
        protocol: Callable[[], asyncio.Protocol],
        loop: asyncio.AbstractEventLoop,
        tls: Callable[[], ssl.SSLContext] | None = None,
        most_handshakes: int = 10_000,
    ) -> None:
        """``tls`` gives the context of the next handshake; None: no encryption.

        A connection that is accepted while ``most_handshakes`` others are not done is closed.
        """
        self._listener = listener.dup()
        self._listener.setblocking(False)
        self._protocol = protocol
        self._loop = loop
        self._tls = tls
        self._most_handshakes = most_handshakes
        self._connecting: set[asyncio.Task[None]] = set()  # the loop itself keeps weak references
        self._retry: asyncio.TimerHandle | None = None
        self._exhausted = False

    def start(self) -> None:
        """Accept from now on."""
        self._retry = None
        self._loop.add_reader(self._listener, self._accept_waiting)

    async def close(self) -> None:
        """Accept what waits already, and then no more. Returns when all of it is connected."""
        if self._listener.fileno() == -1:
            return
        self._pause()
        while self._accept_waiting():
            pass
        self._pause()
        self._listener.close()
        if self._connecting:
            await asyncio.wait(self._connecting, timeout=_LAST_HANDSHAKES)

    def _pause(self) -> None:
        self._loop.remove_reader(self._listener)
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _accept_waiting(self) -> bool:
        """Whether there may be more."""
        for _ in range(ACCEPTED_PER_TURN):
            try:
                connection, _address = self._listener.accept()
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno in _FAILED_ALONE:
                    continue
                if error.errno in _EXHAUSTED:
                    self._wait_for_descriptors(error)
                    return False
                raise
            self._exhausted = False
            if self._tls is not None and len(self._connecting) >= self._most_handshakes:
                connection.close()
                continue
            connection.setblocking(False)
            task = self._loop.create_task(self._connect(connection))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)
        return True

    def _wait_for_descriptors(self, error: OSError) -> None:
        """The listener stays readable: without a pause the loop would do nothing but ask."""
        if not self._exhausted:
            self._exhausted = True
            log.error("can't accept connections: %s; trying again", error.strerror)
        self._pause()
        self._retry = self._loop.call_later(RETRY_AFTER, self.start)

    async def _connect(self, connection: socket) -> None:
        try:
            if self._tls is None:
                await self._loop.connect_accepted_socket(self._protocol, connection)
            else:
                await self._loop.connect_accepted_socket(
                    self._protocol,
                    connection,
                    ssl=self._tls(),
                    ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
                    ssl_shutdown_timeout=_SHUTDOWN_TIMEOUT,
                )
        except OSError:  # it broke before it was connected, or was no TLS that is spoken here
            connection.close()
