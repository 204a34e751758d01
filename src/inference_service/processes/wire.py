"""Messages over a socket pair: a JSON header, bytes behind it, and descriptors beside it."""

import array
import json
import socket
import struct
from collections.abc import Sequence
from typing import Any

from inference_service.processes.errors import ChildLost

_LENGTHS = struct.Struct("<IQ")
LARGEST_HEADER = 2**20
_MOST_DESCRIPTORS = 4
_BLOCK = 2**20


def send(
    pipe: socket.socket,
    header: dict[str, Any],
    payload: Sequence[Any] = (),
    descriptors: Sequence[int] = (),
) -> None:
    """Send one message; ``payload`` are objects with the buffer interface, of single bytes.

    Raises OSError, TimeoutError among them.
    """
    text = json.dumps(header).encode()
    size = sum(len(part) for part in payload)
    head = _LENGTHS.pack(len(text), size) + text
    if descriptors:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
        sent = pipe.sendmsg([head], [rights])
        head = head[sent:]
    if head:
        pipe.sendall(head)
    for part in payload:
        pipe.sendall(part)


def receive(pipe: socket.socket, most: int) -> tuple[dict[str, Any], bytearray, list[int]]:
    """The next message, with at most ``most`` bytes behind its header.

    The descriptors belong to the caller. Raises ChildLost at the end of the other side and for what
    is no message, and OSError, TimeoutError among them.
    """
    head, descriptors = _begin(pipe)
    length, size = _LENGTHS.unpack(head)
    if length > LARGEST_HEADER or size > most:
        raise ChildLost(f"it has sent a message of {length} and {size} bytes")
    try:
        header = json.loads(_exactly(pipe, length))
    except ValueError as error:
        raise ChildLost(f"it has sent something odd: {error}") from error
    if not isinstance(header, dict):
        raise ChildLost("it has sent something odd")
    return header, _exactly(pipe, size), descriptors


def _begin(pipe: socket.socket) -> tuple[bytes, list[int]]:
    descriptors = array.array("i")
    room = socket.CMSG_LEN(_MOST_DESCRIPTORS * descriptors.itemsize)
    head, beside, _, _ = pipe.recvmsg(_LENGTHS.size, room)
    for level, kind, data in beside:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    if not head:
        raise ChildLost("it has ended")
    rest = bytes(_exactly(pipe, _LENGTHS.size - len(head)))
    return head + rest, descriptors.tolist()


def _exactly(pipe: socket.socket, size: int) -> bytearray:
    """Memory is taken as the bytes come."""
    found = bytearray()
    while len(found) < size:
        block = pipe.recv(min(size - len(found), _BLOCK))
        if not block:
            raise ChildLost("it has ended in the middle of a message")
        found += block
    return found
