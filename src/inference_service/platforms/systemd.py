"""A service under systemd: an inherited socket, and messages about its state.

Protocols: sd_listen_fds(3) and sd_notify(3), which are small enough to need no library.
"""

import asyncio
import os
from collections.abc import Mapping
from socket import AF_UNIX, SO_TYPE, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET, socket

from inference_service.settings import InvalidSettings

_FIRST = 3  # the descriptors behind stdin, stdout and stderr


def inherited_listener(environment: Mapping[str, str]) -> socket | None:
    """The listening socket of a .socket unit; None: there is none for this process.

    Raises InvalidSettings for several sockets, or one that is no stream.
    """
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return None
    number = environment.get("LISTEN_FDS", "")
    if number != "1":
        raise InvalidSettings(f"LISTEN_FDS: expected one socket from systemd, got '{number[:20]}'")
    os.set_inheritable(_FIRST, False)
    try:
        listener = socket(fileno=_FIRST)
        if listener.getsockopt(SOL_SOCKET, SO_TYPE) != SOCK_STREAM:
            raise InvalidSettings("the socket from systemd is none of streams: ListenStream=")
    except OSError as error:
        raise InvalidSettings(f"the socket from systemd: {error.strerror}") from error
    return listener


def notify(message: str, environment: Mapping[str, str]) -> bool:
    """Tell systemd, such as ``READY=1``; False where it isn't there to be told."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # the abstract namespace
        address = "\0" + address[1:]
    with socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC) as channel:
        channel.settimeout(1.0)
        try:
            channel.sendto(message.encode(), address)
        except OSError:
            return False
    return True


def watchdog_interval(environment: Mapping[str, str]) -> float | None:
    """Seconds between signs of life: half of what systemd waits. None: it waits for none."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = environment.get("WATCHDOG_USEC", "")
    return int(text) / 2e6 if text.isdigit() and int(text) > 0 else None


async def watchdog(environment: Mapping[str, str]) -> None:
    """Signs of life from the event loop, for ever; nothing where systemd waits for none."""
    interval = watchdog_interval(environment)
    while interval is not None and notify("WATCHDOG=1", environment):  # noqa: ASYNC110
        await asyncio.sleep(interval)
