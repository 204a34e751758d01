"""Attacks through the real nginx and HAProxy with their configurations, and on the bare service.

Proxy and service must agree on where a message ends, on which path it names, and on its client.
"""

import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import RunningServer, start_server
from tests.deploy.test_rolling_restart import PROXIES, certificate, running, session, wait_for
from tests.ports import free_port
from tests.tools import need

CLIENT = "127.0.0.2"  # the proxies are 127.0.0.1
PREDICT = b"/v1/models/doubler:predict"
BODY = b'{"instances":[[1,2,3,4]]}'
HIDDEN = b"GET /v2/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /v2/last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)


def post(headers: bytes, body: bytes, method: bytes = b"POST", path: bytes = PREDICT) -> bytes:
    head = b"%b %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return head % (method, path) + headers + b"\r\n" + body


def length(size: int) -> bytes:
    return b"Content-Length: %d\r\n" % size


def chunks(size: bytes = b"%x\r\n" % len(BODY), trailers: bytes = b"") -> bytes:
    return size + BODY + b"\r\n0\r\n" + trailers + b"\r\n"


SMUGGLED = {
    "a length and chunks": post(length(4) + CHUNKED, b"0\r\n\r\n" + HIDDEN),
    "chunks and a length": post(CHUNKED + length(5), b"0\r\n\r\n" + HIDDEN),
    "chunks and a length for all": post(CHUNKED + length(5 + len(HIDDEN)), b"0\r\n\r\n" + HIDDEN),
    "two lengths": post(length(0) + length(len(HIDDEN)), HIDDEN),
    "two lengths, the other first": post(length(len(HIDDEN)) + length(0), HIDDEN),
    "a list of lengths": post(b"Content-Length: 0, %d\r\n" % len(HIDDEN), HIDDEN),
    "a length with a sign": post(b"Content-Length: +%d\r\n" % len(HIDDEN), HIDDEN),
    "a length in hexadecimal": post(b"Content-Length: 0x%x\r\n" % len(HIDDEN), HIDDEN),
    "a blank before the colon": post(b"Content-Length : %d\r\n" % len(HIDDEN), HIDDEN),
    "a folded line": post(length(len(HIDDEN)) + b"X: a\r\n Content-Length: 0\r\n", HIDDEN),
    "folded chunks": post(length(len(HIDDEN)) + b"Transfer-Encoding:\r\n chunked\r\n", HIDDEN),
    "chunks after a bare LF": post(length(5 + len(HIDDEN)) + b"X: a\n" + CHUNKED, b"0\r\n\r\n" + HIDDEN),
    "chunks after a bare CR": post(length(5 + len(HIDDEN)) + b"X: a\r" + CHUNKED, b"0\r\n\r\n" + HIDDEN),
    "an unknown coding": post(length(5 + len(HIDDEN)) + b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n" + HIDDEN),
    "a coding after a control": post(length(5 + len(HIDDEN)) + b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n" + HIDDEN),
    "two codings": post(length(5 + len(HIDDEN)) + CHUNKED + b"Transfer-Encoding: identity\r\n", b"0\r\n\r\n" + HIDDEN),
    "an empty coding": post(length(5 + len(HIDDEN)) + b"Transfer-Encoding:\r\n", b"0\r\n\r\n" + HIDDEN),
    "a line in an extension": post(CHUNKED, b"5;x=\"\r\n0\r\n\r\n" + HIDDEN + b"\"\r\n0\r\n\r\n"),
    "a bare LF in an extension": post(CHUNKED, b"2;\n{}\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)),
    "a size that wraps around": post(CHUNKED, b"10000000000000000\r\n\r\n" + HIDDEN),
    "a size with a sign": post(CHUNKED, b"+%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)),
    "a body of GET": post(length(len(HIDDEN)), HIDDEN, b"GET", b"/v2"),
    "a body of HEAD": post(length(len(HIDDEN)), HIDDEN, b"HEAD", b"/v2"),
    "Expect": post(length(len(HIDDEN)) + b"Expect: 100-continue\r\n", HIDDEN),
    "a length that is the connection's": post(length(len(HIDDEN)) + b"Connection: Content-Length\r\n", HIDDEN),
    "an upgrade to h2c": post(
        length(len(HIDDEN)) + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAA\r\n", HIDDEN
    ),
    "an upgrade with a body": post(length(len(HIDDEN)) + b"Connection: Upgrade\r\nUpgrade: websocket\r\n", HIDDEN),
    "a length in a trailer": post(CHUNKED, chunks(trailers=length(len(HIDDEN))) ),
}  # fmt: skip


@dataclass
class Front:
    """Where a service is reached, itself or through a proxy."""

    port: int
    secured: ssl.SSLContext | None

    def exchange(self, data: bytes) -> bytes:
        """What is answered until the connection ends, or nothing comes for a while."""
        with ExitStack() as stack:
            address = ("127.0.0.1", self.port)
            made = socket.create_connection(address, timeout=30, source_address=(CLIENT, 0))
            connection = stack.enter_context(made)
            if self.secured is not None:
                wrapped = self.secured.wrap_socket(connection, server_hostname="localhost")
                connection = stack.enter_context(wrapped)
            connection.sendall(data)
            connection.settimeout(20)
            got = b""
            try:
                while piece := connection.recv(65536):
                    got += piece
            except (TimeoutError, ConnectionError):
                pass
            return got

    def get(self, path: str, *headers: str) -> bytes:
        lines = "".join(f"{line}\r\n" for line in headers)
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n"
        return self.exchange(head.encode())


@pytest.fixture(scope="module", params=["none", *sorted(PROXIES)])
def front(
    request: pytest.FixtureRequest, zoo: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    proxy, folder = request.param, tmp_path_factory.mktemp("proxy")
    if proxy != "none":
        need(proxy, "openssl")
    quotas = '{"requests_per_second": 0.001, "burst": 1e6}'
    server: RunningServer = start_server(
        zoo / "doubler",
        INFERENCE_SERVICE_SECURITY__TRUSTED_PROXIES='["127.0.0.1"]',
        INFERENCE_SERVICE_SECURITY__QUOTAS=quotas,
    )
    port = int(server.url.rpartition(":")[2])
    try:
        if proxy == "none":
            yield Front(port, None)
            return
        certificate(folder)
        at = free_port()
        command: Callable[[Path, int, list[int]], list[str]] = PROXIES[proxy]
        with running(command(folder, at, [port, port])), session(folder) as client:
            wait_for(f"https://localhost:{at}", client)
            yield Front(at, ssl.create_default_context(cafile=folder / "tls.crt"))
    finally:
        server.kill()


@pytest.mark.parametrize("name", SMUGGLED)
def test_a_request_in_a_body_is_never_answered(front: Front, name: str) -> None:
    got = front.exchange(SMUGGLED[name] + LAST)
    assert b"/v2/hidden" not in got
    assert re.match(rb"HTTP/1\.[01] \d\d\d ", got), "it has an answer"


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/%6detrics", "/metrics%2f", "//metrics"])  # fmt: skip
def test_the_proxies_do_not_pass_the_metrics_on(front: Front, path: str) -> None:
    if front.secured is None:
        pytest.skip("there is no proxy")
    assert b" 404 " in front.get(path)[:16]


@pytest.mark.parametrize("path", ["/v2", "/models/doubler/x/stream"])
def test_a_client_can_not_choose_the_address_that_it_is_counted_by(front: Front, path: str) -> None:
    told = [
        front.get(path),
        front.get(path, "X-Forwarded-For: 6.6.6.6"),
        front.get(path, "X-Forwarded-For: 6.6.6.7", "X-Forwarded-For: 6.6.6.8"),
        front.get(path, "Forwarded: for=6.6.6.8"),
        front.get(path, "Forwarded: for=6.6.6.9", "X-Forwarded-For: 6.6.6.9"),
    ]
    left = [int(re.findall(rb'(?i)ratelimit: "requests";r=(\d+)', one)[0]) for one in told]
    assert left == list(range(left[0], left[0] - 5, -1))
