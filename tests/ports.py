"""Ports for other programs' servers."""

import socket
from random import SystemRandom

_BELOW_THE_SYSTEMS_CHOICE = range(20_000, 32_000)
"""No connection and no server with port 0 is given one of these (ip_local_port_range, RFC 6335)."""


def free_port() -> int:
    """A port that was free a moment ago, and that nobody else is likely to take before its server."""
    random = SystemRandom()
    while True:
        port = random.choice(_BELOW_THE_SYSTEMS_CHOICE)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:  # it is taken
                continue
        return port
