"""The shortcut in an overload: what was refused once is refused again without being decoded."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.web.test_front import Site, few, served
from tests.web.test_front_behaviour import BODY, HOT, answered, statuses
from tests.web.wire import Transport

__all__ = ["few"]  # a fixture

INVALID = HOT.replace(b"[1,2,3,4]", b"[1,2,3,?]")


@pytest.fixture
async def site(few: Path) -> AsyncIterator[Site]:
    """A service whose queue has room for one row."""
    async with served(few, batching={"max_queue_rows": 1}) as found:
        yield found


def fill(site: Site) -> Transport:
    """The client of a request that waits from now on. Another one has been refused."""
    first = send(site, HOT)
    assert statuses(refused(site, HOT)) == [b"503"]
    return first


def send(site: Site, data: bytes) -> Transport:
    _, transport = site.quick.open()
    transport.protocol.data_received(data)
    return transport


def refused(site: Site, data: bytes) -> bytes:
    """What a request is told at once, before the model runs."""
    transport = send(site, data)
    site.desk.write(site.desk.settled)
    site.desk.settled.clear()
    return bytes(transport.sent)


def with_body(body: bytes) -> bytes:
    head = HOT[: -len(BODY)].replace(b" %d\r" % len(BODY), b" %d\r" % len(body))
    return head + body


async def test_it_is_not_decoded(site: Site) -> None:
    fill(site)
    sent = refused(site, INVALID)
    assert statuses(sent) == [b"503"]
    assert b"1 rows are queued for this model, the limit is 1" in sent
    assert b"\r\nretry-after: 1\r\n" in sent
    assert site.service.in_flight.requests == 1


async def test_requests_behind_it_on_a_connection_are_refused_in_their_order(site: Site) -> None:
    fill(site)
    names = [b"a", b"b", b"c"]
    data = b"".join(HOT.replace(b"Host", b"X-Request-ID: %b\r\nHost" % name) for name in names)
    sent = refused(site, data)
    assert statuses(sent) == 3 * [b"503"]
    assert [sent.index(b"x-request-id: %b\r\n" % name) for name in names] == sorted(
        sent.index(b"x-request-id: %b\r\n" % name) for name in names
    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances":[[1,2,?]]}',
        b'{"instances":[%b[1,2,3,?]]}' % (b"[1,2,3,4]," * 4),
        b'{"priority":"high","instances":[[1,2,?]]}',
    ],
    ids=["smaller", "larger", "says its class"],
)
async def test_what_may_be_judged_otherwise_is_decoded(site: Site, body: bytes) -> None:
    fill(site)
    transport = send(site, with_body(body))
    assert statuses(await answered(site, transport, 1)) == [b"400"]


async def test_another_time_is_judged_anew(site: Site) -> None:
    fill(site)
    hurried = INVALID.replace(b"Host", b"X-Request-Timeout: 9\r\nHost")
    assert statuses(await answered(site, send(site, hurried), 1)) == [b"400"]


async def test_it_is_taken_once_there_is_room(site: Site) -> None:
    first = fill(site)
    await answered(site, first, 1)
    assert statuses(await answered(site, send(site, HOT), 1)) == [b"200"]


async def test_it_is_counted(site: Site) -> None:
    first = fill(site)
    refused(site, INVALID)
    await answered(site, first, 1)
    metrics = await site.quick.ask([b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"])
    assert b'inference_rejected_total{model="doubler",reason="queue_full"} 2.0' in metrics
    assert b'outcome="rejected",protocol="tfserving",version="2"} 2.0' in metrics


async def test_refusals_that_are_kept_are_bounded(site: Site) -> None:
    fill(site)
    for number in range(3000):
        timeout = b"X-Request-Timeout: %d\r\nHost" % (number + 1)
        assert statuses(refused(site, HOT.replace(b"Host", timeout))) == [b"503"]
    assert len(site.desk._refusals._kept) <= 1024
