"""The socket that the service listens on, and how to end listening without losing anybody."""

import ctypes
import os
import struct
from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL
from socket import (
    AI_PASSIVE,
    IPPROTO_TCP,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_NODELAY,
    create_server,
    gaierror,
    getaddrinfo,
    socket,
)

from inference_service.settings import InvalidSettings

_SO_ATTACH_FILTER = 26  # asm-generic/socket.h; Python's socket module doesn't know it
# Classic BPF over the TCP header: a segment with SYN and without ACK is dropped, others pass.
_DROP_SYN = (
    (0x30, 0, 0, 13),  # load the byte of flags
    (0x54, 0, 0, 0x12),  # of which only SYN and ACK count
    (0x15, 0, 1, 0x02),  # if it is SYN alone ...
    (0x06, 0, 0, 0),  # ... keep nothing
    (0x06, 0, 0, 0xFFFFFFFF),  # else keep all
)


_HINTS = {
    EADDRINUSE: "; another program listens there: end it, or take another --port (0: any free one)",
    EACCES: "; ports below 1024 need a privilege: take another --port",
    EADDRNOTAVAIL: "; it is no address of this machine: --host 0.0.0.0 listens on all that it has",
}


def listen(host: str, port: int) -> socket:
    """A listening socket. Raises InvalidSettings with the address that can't be had."""
    try:
        family, _, _, _, address = getaddrinfo(host, port, type=SOCK_STREAM, flags=AI_PASSIVE)[0]
        listener = create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        # create_server appends the address to the system's words
        why = error.strerror if isinstance(error, gaierror) else os.strerror(error.errno or 0)
        hint = _HINTS.get(error.errno or 0, "")
        raise InvalidSettings(f"can't listen on {host}:{port}: {why}{hint}") from error
    # Connections inherit it. uvloop sets it on each, asyncio's own loop doesn't; without it the
    # second packet of an answer waits for the first one's acknowledgement: up to 40 ms.
    listener.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    return listener


def ignore_attempts(listener: socket) -> bool:
    """Let no new connection begin; those that have begun can still be accepted.

    Between the last ``accept`` and ``close`` the kernel may finish another handshake, and closing
    would reset a client that believes to be connected. A filter that drops SYNs leaves no such
    moment: who comes now tries again after a second (RFC 6298) and is refused, or reaches somebody
    else. Linux only; False where that can't be done.
    """
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in _DROP_SYN)
    memory = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("HP", len(_DROP_SYN), ctypes.addressof(memory))
    try:
        listener.setsockopt(SOL_SOCKET, _SO_ATTACH_FILTER, described)
    except OSError:
        return False
    return True
