"""HEAD, trailing slashes, pages of other origins, and what browsers are told."""

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.conftest import RunningServer, serving

BODY = {"instances": [[1, 2, 3]]}
PREDICT = "/v1/models/doubler/versions/1:predict"


@pytest.fixture(scope="module")
def open_server(zoo: Path) -> Iterator[RunningServer]:
    """Pages of two origins may call it."""
    origins = json.dumps(["https://app.example", "http://localhost:3000"])
    with serving(zoo, INFERENCE_SERVICE_HTTP__CORS_ORIGINS=origins) as running:
        yield running


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/metrics", "/models", "/openapi.json", "/v2", "/v2/health/live",
     "/v2/health/ready", "/v2/models", "/v1/models/doubler", "/v2/models/doubler/config", "/nowhere"],
)  # fmt: skip
def test_head_is_get_without_the_body(zoo_server: RunningServer, path: str) -> None:
    plain = {"Accept-Encoding": "identity"}
    get = requests.get(zoo_server.url + path, headers=plain, timeout=30)
    with requests.Session() as session:
        for _ in range(2):  # the connection goes on
            head = session.head(zoo_server.url + path, headers=plain, timeout=30)
            assert head.status_code == get.status_code
            assert head.content == b""
            if path != "/metrics":
                assert head.headers["content-length"] == str(len(get.content))


def test_head_where_only_post_is(zoo_server: RunningServer) -> None:
    head = requests.head(zoo_server.url + PREDICT, timeout=20)
    assert (head.status_code, head.headers["allow"], head.content) == (405, "POST", b"")
    post = requests.post(zoo_server.url + "/v2/models", timeout=20)
    assert post.headers["allow"] == "GET, HEAD"


def test_a_trailing_slash_means_nothing(zoo_server: RunningServer) -> None:
    for path in (PREDICT, "/v1/models/doubler/versions/1:predict"):
        for slashes in ("/", "//"):
            answer = requests.post(
                zoo_server.url + path + slashes, json=BODY, timeout=20, allow_redirects=False,
                headers={"Host": "ml", "X-Forwarded-Proto": "https"},
            )  # fmt: skip
            assert answer.json() == {"predictions": [[2, 4, 6]]}
    for path in ("/v2/models/", "/v2/", "/v2/health/live/", "/metrics/", "/docs/", "/models/"):
        answer = requests.get(zoo_server.url + path, timeout=20, allow_redirects=False)
        assert answer.status_code == 200, path


def test_metrics_are_compressed_for_those_who_accept_it(zoo_server: RunningServer) -> None:
    url = zoo_server.url + "/metrics"
    packed = requests.get(url, headers={"Accept-Encoding": "gzip"}, timeout=20, stream=True)
    assert packed.headers["content-encoding"] == "gzip"
    assert "Accept-Encoding" in packed.headers["vary"]
    assert b"inference_requests_total" in gzip.decompress(packed.raw.read())
    plain = requests.get(url, headers={"Accept-Encoding": "identity"}, timeout=20)
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_can_not_be_framed_and_load_nothing_of_others(
    zoo_server: RunningServer, path: str
) -> None:
    headers = requests.get(zoo_server.url + path, timeout=20).headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "script-src 'self'" in headers["content-security-policy"]
    assert "unsafe-inline'; script" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


ORIGIN = "http://localhost:3000"


def test_pages_of_other_origins_may_not_ask_unless_a_setting_says_so(
    zoo_server: RunningServer,
) -> None:
    answer = requests.post(
        zoo_server.url + PREDICT, json=BODY, headers={"Origin": ORIGIN}, timeout=20
    )
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", [PREDICT, "/predict", "/v2/models/doubler/infer"])
def test_pages_of_the_origins_that_are_set_may_ask(open_server: RunningServer, path: str) -> None:
    url = open_server.url + path
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, x-request-timeout",
    }
    preflight = requests.options(url, headers=asked, timeout=20)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert "content-type" in preflight.headers["access-control-allow-headers"]
    for body in (BODY, {"wrong": 1}):  # errors must be readable, too
        answer = requests.post(url, json=body, headers={"Origin": ORIGIN}, timeout=20)
        assert answer.headers["access-control-allow-origin"] == ORIGIN
    other = {**asked, "Origin": "http://evil.example"}
    assert requests.options(url, headers=other, timeout=20).status_code == 400
    answer = requests.post(url, json=BODY, headers={"Origin": "http://evil.example"}, timeout=20)
    assert "access-control-allow-origin" not in answer.headers


def test_all_origins_may_be_let_in(serve: Callable[..., RunningServer], zoo: Path) -> None:
    server = serve(zoo, INFERENCE_SERVICE_HTTP__CORS_ORIGINS='["*"]')
    for path, body in ((PREDICT, BODY), ("/v2/health/live", None)):
        method = "GET" if body is None else "POST"
        answer = requests.request(
            method, server.url + path, json=body, headers={"Origin": ORIGIN}, timeout=20
        )
        assert answer.headers["access-control-allow-origin"] == "*"
