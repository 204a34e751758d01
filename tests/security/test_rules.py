"""Quotas, hosts, origins, proxies and credentials: what is decided without a request."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.clients import network_of
from inference_service.core.errors import QuotaExceeded, Unauthorised
from inference_service.security.credentials import certificate_names, presented
from inference_service.security.hosts import HostRule, OriginRule, Sites, is_loopback
from inference_service.security.proxies import TrustedProxies
from inference_service.security.quotas import (
    MOST_CLIENTS,
    Quota,
    Quotas,
    Rate,
    rate_limit_headers,
)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_admitted_and_then_the_rate() -> None:
    clock = Clock()
    quotas = Quotas(Quota(requests=Rate("requests", 10.0, 20.0)), clock)
    for _ in range(20):
        quotas.enter("a").leave()
    with pytest.raises(QuotaExceeded) as refused:
        quotas.enter("a")
    assert refused.value.retry_after == pytest.approx(0.1)
    quotas.enter("b").leave()  # another client has its own
    clock.now += 0.1
    quotas.enter("a").leave()
    with pytest.raises(QuotaExceeded):
        quotas.enter("a")


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=60), st.integers(1, 50), st.integers(1, 9))
def test_no_window_admits_more_than_burst_and_rate(
    gaps: list[float], rate: int, burst: int
) -> None:
    """GCRA's bound: in any t seconds at most burst + rate * t requests."""
    clock = Clock()
    quotas = Quotas(Quota(requests=Rate("requests", rate, burst)), clock)
    admitted = []
    for gap in gaps:
        clock.now += gap
        try:
            quotas.enter("a").leave()
        except QuotaExceeded as error:
            assert error.retry_after > 0
        else:
            admitted.append(clock.now)
    for first, since in enumerate(admitted):
        for last in range(first, len(admitted)):
            assert last - first + 1 <= burst + rate * (admitted[last] - since) + 1e-6


def test_concurrency_and_bytes_in_flight_are_bounded_and_given_back() -> None:
    quotas = Quotas(Quota(concurrency=2, bytes_in_flight=100), Clock())
    one, two = quotas.enter("a"), quotas.enter("a")
    with pytest.raises(QuotaExceeded, match="'a' has 2 requests in work"):
        quotas.enter("a")
    one.grow(60)
    with pytest.raises(QuotaExceeded, match="'a' has 60 bytes in flight, and may have 100"):
        two.grow(41)
    one.leave()
    two.grow(41)
    quotas.enter("a").grow(59)


def test_rows_and_bytes_beyond_the_burst_are_paid_for_by_waiting() -> None:
    clock = Clock()
    rates = Quota(rows=Rate("rows", 10.0, 20.0), bytes=Rate("bytes", 100.0, 200.0))
    quotas = Quotas(rates, clock)
    quotas.charge_rows("a", 50)  # more than the burst: admitted while nothing is owed
    with pytest.raises(QuotaExceeded) as refused:
        quotas.charge_rows("a", 1)
    assert refused.value.retry_after == pytest.approx(3.1)
    entry = quotas.enter("b")
    entry.grow(500)
    entry.leave()
    with pytest.raises(QuotaExceeded, match="used up its bytes") as refused:
        quotas.enter("b")
    assert refused.value.retry_after == pytest.approx(3.0)
    clock.now += 3.01
    quotas.enter("b")


def test_the_memory_for_clients_is_bounded_and_busy_ones_are_kept() -> None:
    quotas = Quotas(Quota(concurrency=1), Clock())
    busy = quotas.enter("busy")
    for number in range(MOST_CLIENTS + 10):
        quotas.enter(str(number)).leave()
    assert quotas.remembered == MOST_CLIENTS
    with pytest.raises(QuotaExceeded):
        quotas.enter("busy")
    busy.leave()


def test_a_new_client_is_counted_where_all_others_have_requests_in_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("inference_service.security.quotas.MOST_CLIENTS", 3)
    quotas = Quotas(Quota(concurrency=1), Clock())
    for name in ("a", "b", "c", "d"):
        quotas.enter(name)
    with pytest.raises(QuotaExceeded):
        quotas.enter("d")


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:0:ffff::2", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("::1", "::1"),
        ("team-a", "team-a"),
        ("", ""),
    ],
)
def test_addresses_of_one_network_are_one_client(address: str, client: str) -> None:
    assert network_of(address) == client


def test_headers_tell_what_is_left() -> None:
    clock = Clock()
    quotas = Quotas(Quota(requests=Rate("requests", 10.0, 20.0)), clock)
    for _ in range(5):
        quotas.enter("a").leave()
    assert rate_limit_headers(quotas.standings("a")) == [
        (b"ratelimit-policy", b'"requests";q=20;w=2'),
        (b"ratelimit", b'"requests";r=15;t=1'),
    ]
    assert rate_limit_headers([]) == []


@pytest.mark.parametrize(
    ("allowed", "loopback", "host", "may"),
    [
        ((), True, b"127.0.0.1:8000", True),
        ((), True, b"[::1]:8000", True),
        ((), True, b"localhost", True),
        ((), True, b"LOCALHOST.:80", True),
        ((), True, b"app.localhost", True),
        ((), True, b"", True),
        ((), True, b"backend:8000", True),
        (("api.example",), True, b"backend", False),
        ((), True, b"evil.example", False),
        ((), True, b"localhost.evil.example", False),
        ((), True, b"127.0.0.1.evil.example", False),
        ((), False, b"evil.example", True),
        (("api.example",), False, b"API.example:443", True),
        (("api.example",), False, b"evil.example", False),
        (("*.example",), False, b"a.b.example", True),
        (("*.example",), False, b"example", False),
        (("*.example",), False, b"badexample", False),
    ],
)
def test_hosts_that_a_request_may_name(
    allowed: tuple[str, ...], loopback: bool, host: bytes, may: bool
) -> None:
    rule = HostRule(allowed, loopback=loopback)
    assert [rule.allows(host), rule.allows(host)] == [may, may]  # the second from memory


@pytest.mark.parametrize(
    ("origin", "site", "may"),
    [
        (None, None, True),
        (None, b"none", True),
        (None, b"same-origin", True),
        (None, b"cross-site", False),
        (None, b"same-site", False),
        (b"http://here:8000", None, True),
        (b"http://HERE:8000", None, True),
        (b"http://here:9000", None, False),
        (b"http://evil", None, False),
        (b"http://evil/here:8000", None, False),
        (b"null", None, False),
        (b"", None, False),
        (b"https://app.example", b"cross-site", True),
        (b"https://public.example", b"same-origin", True),
    ],
)
def test_pages_that_may_send_requests(origin: bytes | None, site: bytes | None, may: bool) -> None:
    rule = OriginRule(["https://app.example"])
    assert rule.allows(b"here:8000", origin, site) is may


def test_reading_is_for_any_page_and_streams_and_writing_are_not() -> None:
    sites = Sites(HostRule((), loopback=True), OriginRule(()))
    evil = [(b"origin", b"http://evil")]
    assert sites.fault(b"GET", b"localhost", evil, stream=False) is None
    for method, stream in ((b"GET", True), (b"POST", False)):
        fault = sites.fault(method, b"localhost", evil, stream=stream)
        assert fault == (403, "pages of http://evil may not call this service (http.cors_origins)")
    fault = sites.fault(b"GET", b"evil.example", [], stream=False)
    assert fault is not None
    assert fault[0] == 421


@pytest.mark.parametrize(
    ("peer", "headers", "address", "scheme"),
    [
        ("10.0.0.1", [(b"x-forwarded-for", b"1.2.3.4")], "1.2.3.4", ""),
        ("10.0.0.1", [(b"x-forwarded-for", b"6.6.6.6, 1.2.3.4, 10.0.0.2")], "1.2.3.4", ""),
        ("10.0.0.1", [(b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-for", b"1.2.3.4")], "1.2.3.4", ""),
        ("10.0.0.1", [(b"x-forwarded-for", b"1.2.3.4:99"), (b"x-forwarded-proto", b"https")], "1.2.3.4", "https"),
        ("10.0.0.1", [(b"x-forwarded-for", b"junk, 10.0.0.3")], "10.0.0.3", ""),
        ("10.0.0.1", [(b"x-forwarded-proto", b"ftp")], "", ""),
        ("9.9.9.9", [(b"x-forwarded-for", b"1.2.3.4"), (b"x-forwarded-proto", b"https")], "", ""),
        ("10.0.0.1", [(b"forwarded", b'for="[2001:db8::1]:4711";proto=https')], "2001:db8::1", "https"),
        ("10.0.0.1", [(b"forwarded", b"for=6.6.6.6, for=1.2.3.4;proto=http;by=x")], "1.2.3.4", "http"),
        ("::ffff:10.0.0.1", [(b"x-forwarded-for", b"1.2.3.4")], "1.2.3.4", ""),
        ("unix", [(b"x-forwarded-for", b"1.2.3.4")], "", ""),
        # A proxy that writes X-Forwarded-For alone passes a client's Forwarded on, or the other way.
        ("10.0.0.1", [(b"forwarded", b"for=6.6.6.6"), (b"x-forwarded-for", b"1.2.3.4")], "", ""),
        ("10.0.0.1", [(b"forwarded", b"for=unknown"), (b"x-forwarded-for", b"1.2.3.4")], "", ""),
        ("10.0.0.1", [(b"forwarded", b"for=1.2.3.4"), (b"x-forwarded-for", b"6.6.6.6, 1.2.3.4")], "1.2.3.4", ""),
    ],
)  # fmt: skip
def test_proxies_are_believed_where_they_are_configured(
    peer: str, headers: list[tuple[bytes, bytes]], address: str, scheme: str
) -> None:
    proxies = TrustedProxies(["10.0.0.0/8"])
    assert proxies.forwarded(peer, headers) == (address, scheme)


def test_the_ways_to_present_a_key() -> None:
    basic = base64.b64encode(b"anything:isk_1")
    assert presented([(b"authorization", b"Bearer isk_1")]).secret == "isk_1"
    assert presented([(b"authorization", b"bearer  isk_1 ")]).secret == "isk_1"
    assert presented([(b"x-api-key", b"isk_1")]).secret == "isk_1"
    assert presented([(b"authorization", b"Basic " + basic)]).secret == "isk_1"
    offered = ("inference-service", "inference-service.key.isk_1")
    assert presented([], subprotocols=offered).secret == "isk_1"
    assert presented([], certificate=["a"]).certificate == ["a"]
    same = [(b"authorization", b"Bearer isk_1"), (b"x-api-key", b"isk_1")]
    assert presented(same).secret == "isk_1"


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer isk_1"), (b"x-api-key", b"isk_2")],
        [(b"authorization", b"Digest x")],
        [(b"authorization", b"Basic ?")],
        [(b"x-api-key", b"k" * 9000)],
    ],
)
def test_what_is_no_credential_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Unauthorised):
        presented(headers)


def test_names_of_a_certificate() -> None:
    certificate: dict[str, object] = {
        "subject": ((("organizationName", "x"),), (("commonName", "client"),)),
        "subjectAltName": (
            ("DNS", "a.example"),
            ("URI", "spiffe://a/b"),
            ("IP Address", "1.2.3.4"),
        ),
    }
    assert certificate_names(certificate) == ("a.example", "spiffe://a/b", "client")
    assert certificate_names(None) == ()


def test_loopback_addresses() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "127.9.9.9")] == [
        True
    ] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "", "10.0.0.1", "name")] == [False] * 5
