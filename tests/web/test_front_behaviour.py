"""What the shortcut does beside answering: order, bounds, hang-ups, leaving."""

import asyncio
from typing import Any

import pytest

from inference_service.core.requests import ModelRef
from inference_service.security.hosts import HostRule, OriginRule, Sites
from inference_service.web.http1.front.table import LARGEST_BODY
from inference_service.web.http1.limits import MOST_PIPELINED
from tests.web.test_front import Site, few, site
from tests.web.wire import HIGH_WATER, Transport, comparable

__all__ = ["few", "site"]  # fixtures

BODY = b'{"instances":[[1,2,3,4]]}'
HOT = (
    b"POST /v1/models/doubler:predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    + BODY
)
COLD = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n"


def statuses(sent: bytes | bytearray) -> list[bytes]:
    return [bytes(part[:3]) for part in sent.split(b"HTTP/1.1 ")[1:]]


async def answered(one: Site, transport: Transport, count: int) -> bytes:
    """What was sent, once there are so many answers."""
    async with asyncio.timeout(20):
        while len(statuses(transport.sent)) < count:  # noqa: ASYNC110
            await asyncio.sleep(0)
    await one.quick.quiet(transport)
    return bytes(transport.sent)


async def test_answers_come_in_order_whichever_way_they_take(site: Site) -> None:
    _, transport = site.quick.open()
    transport.protocol.data_received(HOT + COLD + HOT + HOT)
    sent = await answered(site, transport, 4)
    kinds = [b"predictions" in part for part in sent.split(b"HTTP/1.1 ")[1:]]
    assert kinds == [True, False, True, True]


async def test_requests_of_one_read_are_answered_by_one_write(site: Site) -> None:
    _, transport = site.quick.open()
    transport.protocol.data_received(10 * HOT)
    await answered(site, transport, 10)
    assert transport.writes == 1
    assert b'desc="10 rows"' in transport.sent


async def test_a_client_that_hangs_up_is_forgotten(site: Site) -> None:
    connection, transport = site.quick.open()
    transport.protocol.data_received(3 * HOT)
    assert site.service.in_flight.requests == 3
    transport.lose(None)
    assert site.service.in_flight.requests == site.service.in_flight.bytes == 0
    assert not connection.waiting
    await site.quick.quiet(transport)
    assert not transport.sent
    metrics = await site.quick.ask([b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"])
    assert b'outcome="cancelled",protocol="tfserving",version="2"} 3.0' in metrics


async def test_no_more_is_begun_than_may_be_in_a_pipeline(site: Site) -> None:
    connection, transport = site.quick.open()
    transport.protocol.data_received(200 * HOT)
    assert len(connection.waiting) == MOST_PIPELINED
    assert not transport.reading
    sent = await answered(site, transport, 200)
    assert statuses(sent) == 200 * [b"200"]
    assert transport.reading


async def test_a_client_that_reads_no_answers_gets_no_more_of_them(site: Site) -> None:
    connection, transport = site.quick.open()
    transport.reads = False
    fed = 0
    while transport.reading and fed < 20_000:
        transport.protocol.data_received(20 * HOT)
        fed += 20
        await asyncio.sleep(0)
    most = HIGH_WATER + 2 * MOST_PIPELINED * 400
    assert fed < 20_000
    await site.quick.quiet(transport)
    assert transport.unsent < most
    transport.read_all()
    sent = await answered(site, transport, fed)
    assert statuses(sent) == fed * [b"200"]
    assert not connection.waiting


async def test_a_body_that_comes_apart_is_put_together(site: Site) -> None:
    before = site.desk.begun
    for place in range(HOT.index(BODY), len(HOT)):
        sent = await site.quick.ask([HOT[:place], HOT[place:-1], HOT[-1:]])
        assert statuses(sent) == [b"200"]
    assert site.desk.begun == before + len(BODY)


@pytest.mark.parametrize(("rows", "hot"), [(100, 1), (3600, 1), (4000, 0)])
async def test_a_body_of_many_segments_is_put_together(site: Site, rows: int, hot: int) -> None:
    """Up to what the front takes: more goes on to the parser as it comes."""
    before = site.desk.begun
    body = b'{"instances":[%b]}' % b",".join(rows * [b"[1.5,2.0,3.0,4.0]"])
    head = HOT[: HOT.index(BODY)].replace(b" %d\r" % len(BODY), b" %d\r" % len(body))
    data = head + body + HOT  # the next request comes with the last segment
    connection, transport = site.quick.open()
    for place in range(0, len(data), 1448):
        transport.protocol.data_received(data[place : place + 1448])
        assert len(connection._partial) < len(head) + LARGEST_BODY
        await asyncio.sleep(0)
    sent = await answered(site, transport, 2)
    assert statuses(sent) == [b"200", b"200"]
    assert sent.count(b"[3.0,4.0,6.0,8.0]") == rows
    assert site.desk.begun == before + 2 * hot
    assert not connection._partial


async def test_a_body_that_does_not_come_is_left_to_the_bounds_of_the_other_way(
    site: Site,
) -> None:
    connection, transport = site.quick.open()
    transport.protocol.data_received(HOT[:-1])
    now = asyncio.get_running_loop().time()
    connection.check(now + 1.5)
    connection.check(now + 30)  # the usual bound
    sent = await answered(site, transport, 1)
    assert statuses(sent) == [b"408"]
    assert transport.ended or transport.closing


async def test_an_idle_connection_is_closed(site: Site) -> None:
    connection, transport = site.quick.open()
    transport.protocol.data_received(HOT)
    await answered(site, transport, 1)
    now = asyncio.get_running_loop().time()
    connection.check(now + connection.timeout_keep_alive - 1)
    assert not transport.closing
    connection.check(now + connection.timeout_keep_alive + 1)
    assert transport.closing


async def test_leaving_answers_what_is_in_work_and_says_so(site: Site) -> None:
    connection, transport = site.quick.open()
    transport.protocol.data_received(2 * HOT)
    state = site.quick.state
    usual, state.default_headers = state.default_headers, [
        *state.default_headers, (b"connection", b"close"),
    ]  # fmt: skip
    connection.shutdown()
    try:
        sent = await answered(site, transport, 2)
    finally:
        state.default_headers = usual
    assert statuses(sent) == [b"200", b"200"]
    assert [b"connection: close" in part for part in sent.split(b"HTTP/1.1 ")[1:]] == [False, True]
    assert transport.closing


async def test_the_end_of_the_grace_period_fails_what_is_in_work(site: Site) -> None:
    connection, transport = site.quick.open()
    transport.protocol.data_received(2 * HOT)
    connection.fail_all()
    assert statuses(bytes(transport.sent)) == [b"503", b"503"]
    assert site.service.in_flight.requests == 0


async def test_other_hosts_and_pages_are_refused(site: Site) -> None:
    limits: Any = site.desk.limits
    assert limits.sites is not None  # those of the service
    strict = Sites(HostRule(["here"], loopback=False), OriginRule([]))
    assert strict.fault(b"POST", b"a", [], stream=False) is not None
    page = HOT.replace(b"Host: a", b"Host: a\r\nOrigin: http://evil.example.com")
    for request, status in (
        (HOT, b"200"),
        (page, b"403"),
        (HOT.replace(b" a\r", b" b.c\r"), b"421"),
    ):
        sent = await site.quick.ask([request])
        assert statuses(sent) == [status]


@pytest.mark.parametrize("seconds", [b"30", b"0.000001"])
async def test_a_deadline_is_the_schedulers(site: Site, seconds: bytes) -> None:
    asked = HOT.replace(b"Host: a", b"Host: a\r\nX-Request-Timeout: " + seconds)
    sent = await site.quick.ask([asked])
    assert statuses(sent) == ([b"200"] if seconds == b"30" else [b"504"])


async def test_a_lone_client_is_answered_past_the_queue(site: Site) -> None:
    worker: Any = site.service.engine.resolve(ModelRef("doubler"))
    worker._runner.inline = True  # whatever its costs were measured to be
    usual = await site.slow.ask([HOT])
    _, transport = site.quick.open()
    at_once = 0
    for _ in range(20):
        transport.sent.clear()
        transport.protocol.data_received(HOT)
        at_once += bool(transport.sent)
        sent = await answered(site, transport, 1)
        assert comparable(sent) == comparable(usual)
    assert at_once == 12
    _, other = site.quick.open()
    other.protocol.data_received(HOT)
    assert not other.sent  # there are two clients
    await answered(site, other, 1)
    worker._at_once._tell()
    metrics = await site.quick.ask([b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"])
    labels = b'{model="doubler",outcome="ok",protocol="tfserving",version="2"}'
    assert b"inference_requests_total" + labels + b" 22.0" in metrics
    assert b'inference_batch_rows_count{model="doubler",version="2"} 22.0' in metrics
    assert len(worker.recent) == 22


async def test_answers_go_out_even_if_they_can_not_be_counted(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("no metrics")

    edge: Any = next(iter(site.service.asgi.hot_paths.values()))[0]
    monkeypatch.setattr(edge.edge.exchange, "answered", fail)
    _, transport = site.quick.open()
    transport.protocol.data_received(3 * HOT)
    assert statuses(await answered(site, transport, 3)) == 3 * [b"200"]


async def test_the_name_of_a_request_is_in_the_same_place_either_way(site: Site) -> None:
    data = b"\0\0\x80?" * 4
    head = (
        b"POST /v2/models/doubler/infer HTTP/1.1\r\nHost: a\r\nX-Request-Id: a-1\r\n"
        b"Inference-Header-Content-Length: 0\r\nContent-Length: 16\r\n\r\n"
    )
    before = site.desk.begun
    quick, slow = [comparable(await one.ask([head + data])) for one in (site.quick, site.slow)]
    assert quick == slow
    assert b"x-request-id: a-1\r\ninference-header-content-length: 138\r\n\r\n" in quick
    assert site.desk.begun == before + 1


async def test_a_batch_that_runs_on_the_event_loop_is_answered_in_the_same_turn(
    site: Site,
) -> None:
    connections = [site.quick.open() for _ in range(3)]
    for connection, _ in connections:
        connection.data_received(HOT)
    await asyncio.sleep(0)  # the decision, the run, and the answers
    assert [statuses(transport.sent) for _, transport in connections] == 3 * [[b"200"]]
    assert all(b'desc="3 rows"' in transport.sent for _, transport in connections)
