"""How the service listens."""

import socket

from inference_service.server import listen


def test_answers_are_not_held_back_until_packets_are_acknowledged() -> None:
    """Nagle's algorithm and delayed acknowledgements together cost 40 ms, whatever the event loop."""
    with (
        listen("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
