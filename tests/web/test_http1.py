"""HTTP/1.1 as clients speak it, byte for byte: a connection in front of a small application."""

import asyncio
from collections.abc import Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from inference_service.web.http1.connection import HttpConnection
from inference_service.web.http1.limits import MOST_PIPELINED, ConnectionLimits
from inference_service.web.watches import COMMENT
from tests.support import LONGEST_WAIT, until

H2C = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
)
"""As the HttpClient of JDK 11 to 21 sends it with the first request to an http: address."""


@dataclass
class Site:
    """The application answers with what it was asked, or does what the path says."""

    address: tuple[str, int]
    connections: list[HttpConnection] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        if scope["path"] == "/wait":
            await self.release.wait()
        if scope["path"] == "/watch":
            self.events.append("asked")
            while (await receive())["type"] != "http.disconnect":
                pass
            self.events.append("gone")
            return
        if scope["path"] == "/events":
            await self.tell_events(scope, receive, send)
            return
        if scope["path"] != "/unread":
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    self.events.append("cut")
                    return
                body += message["body"]
                more = message["more_body"]
        answer = b"%s %s [%s]" % (scope["method"].encode(), scope["raw_path"], body)
        if scope["path"] == "/large":
            answer = bytes(8 * 2**20)
        if scope["path"] == "/headers":
            answer = b" ".join(name for name, _ in scope["headers"])
        length = (b"content-length", b"%d" % len(answer))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": answer})

    async def tell_events(self, scope: Any, receive: Any, send: Any) -> None:
        """One event, and another one when it is released; what comes between is told to wait."""
        scope["state"][COMMENT] = b":\n\n"
        kind = (b"content-type", b"text/event-stream")
        await send({"type": "http.response.start", "status": 200, "headers": [kind]})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        self.events.append("asked")

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            self.events.append("gone")

        watching = asyncio.create_task(watch())
        await self.release.wait()
        if "gone" not in self.events:
            await send({"type": "http.response.body", "body": b"data: 2\n\n"})
        watching.cancel()

    async def ask(self, *pieces: bytes, shut: bool = False) -> bytes:
        """Send the pieces apart; all that comes back until the server closes or goes quiet."""
        reader, writer = await asyncio.open_connection(*self.address)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        if shut:
            writer.write_eof()
        found = b""
        try:
            while chunk := await next_of(reader, waits=4 if not shut else 400):
                found += chunk
        except TimeoutError:
            found += b"(open)"
        writer.close()
        return found


async def next_of(reader: asyncio.StreamReader, waits: int) -> bytes:
    """What comes next. Raises TimeoutError after so many short waits: on a busy machine one of them
    may be over before the loop has had a turn, and not several."""
    for _ in range(waits):
        with suppress(TimeoutError):
            return await asyncio.wait_for(reader.read(65536), 0.05)
    raise TimeoutError


async def quiet() -> None:
    """Until what was sent has been read and done: several turns of the loop, see `next_of`."""
    for _ in range(5):
        await asyncio.sleep(0.01)


@asynccontextmanager
async def site(limits: ConnectionLimits | None = None) -> Any:
    loop = asyncio.get_running_loop()
    found = Site(("", 0))
    config = uvicorn.Config(
        found.app,
        interface="asgi3",
        proxy_headers=False,
        server_header=False,
        ws="none",
        log_config=None,
        date_header=False,
    )
    config.load()
    state = ServerState()

    def protocol() -> HttpConnection:
        connection = HttpConnection(limits or ConnectionLimits(), config, state, {})
        found.connections.append(connection)
        return connection

    server = await loop.create_server(protocol, "127.0.0.1", 0)
    found.address = server.sockets[0].getsockname()[:2]
    try:
        yield found
    finally:
        found.release.set()
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        for _ in range(5):
            await asyncio.sleep(0)


def bodies(answer: bytes) -> list[bytes]:
    """The answers' bodies, in order (each has a Content-Length)."""
    found = []
    while answer.startswith(b"HTTP/1.1"):
        head, _, answer = answer.partition(b"\r\n\r\n")
        lengths = [
            line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
        ]
        if not lengths:
            continue
        length = int(lengths[0].partition(b":")[2])
        found.append(answer[:length])
        answer = answer[length:]
    return found


async def test_a_plain_request_is_answered() -> None:
    async with site() as one:
        assert await one.ask(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") == (
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\nGET /x []"
        )


def cut_anywhere(request: bytes) -> Iterator[tuple[bytes, ...]]:
    yield (request,)
    for place in range(1, len(request), 7):
        yield request[:place], request[place:]


WEBSOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


@pytest.mark.parametrize("offer", [b"", H2C, H2C.replace(b", HTTP2-Settings", b""), WEBSOCKET])
@pytest.mark.parametrize("chunked", [False, True])
async def test_an_upgrade_that_is_offered_is_ignored_wherever_the_request_is_cut(
    offer: bytes, chunked: bool
) -> None:
    framed = (
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        if chunked
        else b"Content-Length: 5\r\n\r\nabcde"
    )
    request = b"POST /x HTTP/1.1\r\nHost: a\r\n" + offer + framed
    async with site() as one:
        answers = await asyncio.gather(*(one.ask(*pieces) for pieces in cut_anywhere(request)))
        for answer in answers:
            assert bodies(answer) == [b"POST /x [abcde]"]
            assert answer.endswith(b"(open)"), "the connection is kept"


async def test_what_was_offered_is_not_among_the_headers_and_the_rest_is() -> None:
    async with site() as one:
        answer = await one.ask(b"GET /headers HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n" + H2C + b"\r\n")
        assert bodies(answer) == [b"host x-a"]
        kept = b"GET /headers HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: foo/2\r\n\r\n"
        assert bodies(await one.ask(kept)) == [b"host connection"]


async def test_requests_follow_each_other_after_an_ignored_upgrade() -> None:
    request = b"POST /%d HTTP/1.1\r\nHost: a\r\n" + H2C + b"Content-Length: 1\r\n\r\n%d"
    async with site() as one:
        answer = await one.ask(b"".join(request % (n, n) for n in range(9)))
        assert bodies(answer) == [b"POST /%d [%d]" % (n, n) for n in range(9)]


@pytest.mark.parametrize(
    ("head", "status", "words"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"400", b"expected one Host header, got 0"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", b"400", b"expected one Host header, got 2"),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", b"400", b"expected one Host header, got 2"),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", b"400", b"not a host"),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", b"400", b"not a host"),
        (b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", b"400", b"not a host"),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400", b"HTTP/1.0 has no Transfer-Encoding"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", b"501", b"expected 'chunked'"),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", b"505", b"HTTP/2.0"),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", b"405", b"CONNECT"),
        (b"GARBAGE\r\n\r\n", b"400", b"not valid HTTP"),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", b"400", b"beginning of TLS, and this port has none: take http://"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX A: b\r\n\r\n", b"400", b"not valid HTTP"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", b"400", b"not valid HTTP"),
    ],
)  # fmt: skip
async def test_what_is_no_request_is_refused_in_words(
    head: bytes, status: bytes, words: bytes
) -> None:
    async with site() as one:
        answer = await one.ask(head)
        assert answer.startswith(b"HTTP/1.1 " + status), answer
        assert b"connection: close" in answer
        (body,) = bodies(answer)
        assert body.startswith(b'{"error":"')
        assert words in body
        assert not answer.endswith(b"(open)")


async def test_clients_that_begin_with_http_2_are_told_in_its_frames_to_take_http_1() -> None:
    async with site() as one:
        settings = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
        answer = await one.ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings)
        assert answer.startswith(settings)
        length, kind, error, words = answer[11], answer[12], answer[25], answer[26:]
        assert (length, kind, error) == (8 + len(words), 7, 13)  # GOAWAY, HTTP_1_1_REQUIRED
        assert words == b"this port speaks HTTP/1.1; gRPC has a port of its own (grpc.port)"


async def test_http_2_behind_a_request_is_refused_in_its_place() -> None:
    async with site() as one:
        answer = await one.ask(
            b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        )
        assert [body[:5] for body in bodies(answer)] == [b"GET /", b'{"err']


@pytest.mark.parametrize(
    "host", [b"a", b"a:80", b"", b"127.0.0.1:8000", b"[::1]:8000", b"x_y.example", b"a."]
)
async def test_hosts_as_they_are_written(host: bytes) -> None:
    async with site() as one:
        answer = await one.ask(b"GET /x HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
        assert bodies(answer) == [b"GET /x []"]


async def test_http_1_0_needs_no_host() -> None:
    async with site() as one:
        assert bodies(await one.ask(b"GET /x HTTP/1.0\r\n\r\n")) == [b"GET /x []"]


async def test_what_is_malformed_is_answered_in_its_place() -> None:
    """Two right requests, and then something else: 200, 200, 400, and the end."""
    async with site() as one:
        good = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
        answer = await one.ask(good % 1 + good % 2 + b"NO SUCH\r\n\r\n" + good % 3)
        assert [body[:5] for body in bodies(answer)] == [b"GET /", b"GET /", b'{"err']
        assert not answer.endswith(b"(open)")


async def test_a_longer_body_than_was_declared_costs_the_rest_not_the_request() -> None:
    async with site() as one:
        answer = await one.ask(
            b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nabcdef\r\n\r\n"
        )
        assert bodies(answer)[0] == b"POST /x [ab]"
        assert b"HTTP/1.1 400" in answer


async def test_a_broken_body_is_the_answer_to_its_own_request() -> None:
    async with site() as one:
        answer = await one.ask(
            b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"zz\r\nno\r\n"
        )
        assert answer.count(b"HTTP/1.1") == 1
        assert answer.startswith(b"HTTP/1.1 400")
        assert one.events == ["cut"]
        first = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
        answer = await one.ask(
            first + b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
        )
        assert [answer[:12], answer.count(b"HTTP/1.1")] == [b"HTTP/1.1 200", 2]


@pytest.mark.parametrize("http", [b"1.0", b"1.1"])
async def test_a_client_that_closes_its_side_after_the_request_is_answered(http: bytes) -> None:
    """As ``nc -N`` does it; also where the answer takes a while."""
    async with site() as one:
        answer = await one.ask(
            b"POST /x HTTP/" + http + b"\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", shut=True
        )
        assert bodies(answer)[-1] == b"POST /x [ab]"
        waiting = asyncio.create_task(
            one.ask(b"GET /wait HTTP/" + http + b"\r\nHost: a\r\n\r\n", shut=True)
        )
        await asyncio.sleep(0.2)
        one.release.set()
        answer = await waiting
        assert bodies(answer)[-1] == b"GET /wait []"
        assert answer.count(b"100 Continue") == (http == b"1.1")
        assert not answer.endswith(b"(open)")


async def test_pipelined_requests_before_a_half_close_are_all_answered() -> None:
    async with site() as one:
        request = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
        answer = await one.ask(b"".join(request % n for n in range(20)), shut=True)
        assert bodies(answer.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")) == [
            b"GET /%d []" % n for n in range(20)
        ]


@pytest.mark.parametrize("connection", [b"keep-alive", b"close"])
async def test_a_client_that_is_gone_is_noticed(connection: bytes) -> None:
    async with site() as one:
        _, writer = await asyncio.open_connection(*one.address)
        writer.write(b"GET /watch HTTP/1.1\r\nHost: a\r\nConnection: " + connection + b"\r\n\r\n")
        await until(lambda: one.events == ["asked"])
        writer.close()
        await until(lambda: one.events == ["asked", "gone"])


async def test_a_client_that_is_gone_is_noticed_by_the_request_that_is_being_answered() -> None:
    """Also where others wait behind it."""
    async with site() as one:
        _, writer = await asyncio.open_connection(*one.address)
        writer.write(b"GET /watch HTTP/1.1\r\nHost: a\r\n\r\nGET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: one.events == ["asked"])
        writer.transport.abort()
        await until(lambda: one.events == ["asked", "gone"])


@pytest.mark.parametrize("http", [b"1.0", b"1.1"])
async def test_a_client_that_leaves_a_stream_of_events_is_noticed_within_a_second(
    http: bytes,
) -> None:
    """Though nothing is to be told to it. The second is the server's: its own loop counts it."""
    async with site() as one:
        reader, writer = await asyncio.open_connection(*one.address)
        writer.write(b"GET /events HTTP/" + http + b"\r\nHost: a\r\n\r\n")
        await reader.readuntil(b"data: 1\n\n")
        await until(lambda: one.events == ["asked"])
        writer.close()
        asyncio.get_running_loop().call_later(1, one.events.append, "a second")
        await until(lambda: len(one.events) == 3)
        assert one.events == ["asked", "gone", "a second"]


@pytest.mark.parametrize("http", [b"1.0", b"1.1"])
async def test_a_client_that_closes_its_side_gets_the_rest_of_a_stream(http: bytes) -> None:
    async with site() as one:
        reader, writer = await asyncio.open_connection(*one.address)
        writer.write(b"GET /events HTTP/" + http + b"\r\nHost: a\r\n\r\n")
        answer = await reader.readuntil(b"data: 1\n\n")
        writer.write_eof()
        answer += await asyncio.wait_for(reader.readuntil(b"\n:\n\n"), LONGEST_WAIT)
        one.release.set()
        answer += await asyncio.wait_for(reader.read(), LONGEST_WAIT)
        told = [line for line in answer.split(b"\n") if line.startswith(b"data:")]
        assert told == [b"data: 1", b"data: 2"]
        assert "gone" not in one.events
        writer.close()


async def test_heads_are_bounded_however_they_come() -> None:
    limits = ConnectionLimits(head_bytes=4096)
    start = b"GET / HTTP/1.1\r\nHost: a\r\n"
    attacks = [
        [start + b"X: " + b"a" * 5000 + b"\r\n\r\n"],
        [start + b"X: ", *[b"a" * 1000] * 8],
        [start, *[b"X: a\r\n" * 200] * 8],
        [start + b"".join(b"X%d: a\r\n" % n for n in range(600)) + b"\r\n"],
        [b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"],
        [b"GET /", *[b"a" * 1000] * 8],
        [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;", *[b"a" * 1000] * 8],
        [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", *[b"X: a\r\n" * 200] * 8],
    ]  # fmt: skip
    async with site(limits) as one:
        for attack in attacks:
            answer = await one.ask(*attack)
            assert answer.startswith(b"HTTP/1.1 431"), (attack[0], answer)
            assert b"the head is larger than 4096 bytes" in answer
        fine = start + b"X: " + b"a" * 3900 + b"\r\n\r\n"
        assert bodies(await one.ask(fine)) == [b"GET / []"]
        long_body = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n"
        assert len(bodies(await one.ask(long_body, *[b"a" * 1000] * 9))[0]) > 9000


async def test_a_pipeline_is_bounded_and_loses_nothing() -> None:
    requests = [b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"]
    requests += [
        b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx" % n for n in range(4000)
    ]
    async with site() as one:
        reader, writer = await asyncio.open_connection(*one.address)
        writer.write(b"".join(requests))
        await until(lambda: bool(one.connections) and one.connections[0].flow.held)
        most = len(one.connections[0].pipeline)
        assert MOST_PIPELINED <= most <= MOST_PIPELINED + 16 * 1024 / 50
        one.release.set()
        found = b""
        async with asyncio.timeout(20):
            while found.count(b"HTTP/1.1 200") < 4001 or not found.endswith(b"[x]"):
                found += await reader.read(2**16)
        writer.close()
        assert bodies(found)[1:] == [b"POST /%d [x]" % n for n in range(4000)]


async def overdue(one: Site, seconds: float, *, leaving: bool = False) -> None:
    """Let the connection look at its time limits as if so much time had passed."""
    (connection,) = one.connections
    now = asyncio.get_running_loop().time()
    connection.check(now, leaving=leaving)
    connection.check(now + seconds, leaving=leaving)


LATE: list[tuple[bytes, float, bytes]] = [
    (b"", 21, b""),
    (b"GET / HT", 21, b"HTTP/1.1 408"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: y", 21, b"HTTP/1.1 408"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", 21, b"HTTP/1.1 408"),
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HT", 21, b"HTTP/1.1 408"),
]


@pytest.mark.parametrize(("sent", "seconds", "last"), LATE)
async def test_what_takes_too_long_ends(sent: bytes, seconds: float, last: bytes) -> None:
    async with site() as one:
        reader, writer = await asyncio.open_connection(*one.address)
        writer.write(sent)
        await quiet()
        await overdue(one, 15)
        await quiet()
        assert not one.connections[0].transport.is_closing(), "that is within the limits"
        await overdue(one, seconds)
        found = await asyncio.wait_for(reader.read(), LONGEST_WAIT)
        writer.close()
        assert found[found.rfind(b"HTTP/1.1") :].startswith(last)
        assert found.count(b"HTTP/1.1") == sent.count(b"\r\n\r\nGET") + bool(last)


async def test_an_answer_that_nobody_reads_is_given_up() -> None:
    async with site() as one:
        _, writer = await asyncio.open_connection(*one.address, limit=1024)
        writer.write(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: one.connections[0].transport.get_write_buffer_size() > 0)
        await quiet()
        await overdue(one, 21)
        await until(lambda: one.connections[0] not in one.connections[0].connections)
        writer.close()


async def test_a_request_that_is_being_answered_and_an_idle_connection_are_left_alone() -> None:
    async with site() as one:
        reader, writer = await asyncio.open_connection(*one.address)
        writer.write(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        await quiet()
        await overdue(one, 1000)
        one.release.set()
        assert (await reader.read(15)) == b"HTTP/1.1 200 OK"
        await quiet()
        await overdue(one, 1000)
        assert not one.connections[0].transport.is_closing()
        writer.close()


async def test_half_a_body_does_not_hold_up_a_shutdown() -> None:
    async with site() as one:
        reader, writer = await asyncio.open_connection(*one.address)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
        await quiet()
        await overdue(one, 3, leaving=True)
        assert (await reader.read()).startswith(b"HTTP/1.1 408")
        writer.close()


async def test_more_connections_than_allowed_are_refused_in_words() -> None:
    async with site(ConnectionLimits(connections=2)) as one:
        others = [await asyncio.open_connection(*one.address) for _ in range(2)]
        await until(lambda: len(one.connections) == 2)
        answer = await one.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1" in answer
        for _, writer in others:
            writer.close()
