"""Registration, against fakes that hold to what Consul and Eureka document."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from inference_service.platforms.discovery import (
    Call,
    Consul,
    Discovery,
    Eureka,
    Instance,
    Membership,
    Standing,
)
from inference_service.platforms.registration import Registration, send
from inference_service.platforms.settings import PlatformSettings, RegistrationSettings
from inference_service.platforms.setup import registration
from inference_service.settings import InvalidSettings, Settings
from tests.ports import free_port
from tests.support import until

INSTANCE = Instance("scores", "10.0.0.7", 8000, "1.2.3", interval=10.0)
LEAVING, STARTING, UP = Standing.LEAVING, Standing.STARTING, Standing.UP


class FakeConsul:
    """https://developer.hashicorp.com/consul/api-docs/agent/service and .../agent/check"""

    def __init__(self) -> None:
        self.services: dict[str, Any] = {}
        self.checks: dict[str, str] = {}

    def __call__(self, call: Call) -> int:  # noqa: PLR0911 - one for each answer
        parts = urlsplit(call.url)
        path = unquote(parts.path)
        if call.method != "PUT" or not path.startswith("/v1/agent/"):
            return 405
        if call.headers.get("X-Consul-Token") != "secret":
            return 403
        if path == "/v1/agent/service/register":
            body = json.loads(call.body)
            known = {"ID", "Name", "Tags", "Address", "Port", "Meta", "Check"}
            assert set(body) <= known, "an unknown field"
            assert isinstance(body["Port"], int)
            assert all(isinstance(value, str) for value in body["Meta"].values())
            check = body["Check"]
            for field in ("TTL", "DeregisterCriticalServiceAfter"):
                assert check[field].endswith("s")
                float(check[field][:-1])
            self.services[body["ID"]] = body
            self.checks[check["CheckID"]] = check["Status"]
            return 200
        if path.startswith("/v1/agent/check/update/"):
            check_id = path.removeprefix("/v1/agent/check/update/")
            if check_id not in self.checks:
                return 404
            status = json.loads(call.body)["Status"]
            assert status in {"passing", "warning", "critical"}
            self.checks[check_id] = status
            return 200
        name = path.removeprefix("/v1/agent/service/deregister/")
        if name not in self.services:
            return 404
        del self.services[name], self.checks[f"service:{name}"]
        return 200

    def status(self) -> str | None:
        return next(iter(self.checks.values()), None)


class FakeEureka:
    """https://github.com/Netflix/eureka/wiki/Eureka-REST-operations"""

    def __init__(self) -> None:
        self.instances: dict[str, Any] = {}

    def __call__(self, call: Call) -> int:
        parts = urlsplit(call.url)
        *root, apps, app = unquote(parts.path).removeprefix("/eureka").split("/")[:3]
        assert (root, apps) == ([""], "apps")
        rest = unquote(parts.path).removeprefix(f"/eureka/apps/{app}").removeprefix("/")
        if call.method == "POST":
            instance = json.loads(call.body)["instance"]
            assert app == instance["app"] == instance["app"].upper()
            # Eureka's ApplicationResource.addInstance refuses an instance without one of these.
            for field in ("instanceId", "hostName", "ipAddr", "app", "dataCenterInfo"):
                assert instance[field]
            assert instance["dataCenterInfo"]["name"] in {"MyOwn", "Amazon"}
            assert instance["port"]["@enabled"] in {"true", "false"}
            self.instances[instance["instanceId"]] = instance
            return 204
        if rest not in self.instances:
            return 404
        if call.method == "DELETE":
            del self.instances[rest]
            return 200
        assert call.method == "PUT"
        (status,) = parse_qs(parts.query)["status"]
        assert status in {"UP", "DOWN", "STARTING", "OUT_OF_SERVICE", "UNKNOWN"}
        self.instances[rest]["status"] = status
        return 200

    def status(self) -> str | None:
        return next((found["status"] for found in self.instances.values()), None)


SERVERS: dict[str, tuple[Callable[[], Discovery], Any, str, str]] = {
    "consul": (
        lambda: Consul("http://127.0.0.1:8500/", "secret"),
        FakeConsul,
        "critical",
        "passing",
    ),
    "eureka": (lambda: Eureka("http://127.0.0.1:8761/eureka/"), FakeEureka, "STARTING", "UP"),
}


@pytest.fixture(params=sorted(SERVERS))
def case(request: pytest.FixtureRequest) -> Any:
    make, fake, starting, up = SERVERS[request.param]
    return Membership(make(), INSTANCE), fake(), starting, up


def step(member: Membership, server: Callable[[Call], int], standing: Standing, now: float) -> bool:
    """Whether there was something to say."""
    call = member.due(standing, now)
    if call is None:
        return False
    member.answered(server(call), now)
    return True


def test_an_instance_is_known_while_it_starts_and_up_as_soon_as_it_is_ready(case: Any) -> None:
    member, server, starting, up = case
    assert step(member, server, STARTING, 0.0)
    assert server.status() == starting
    assert step(member, server, UP, 0.5), "a change is told at once"
    assert server.status() == up


def test_heartbeats_come_once_an_interval(case: Any) -> None:
    member, server, *_ = case
    told = [now for now in range(60) if step(member, server, UP, float(now))]
    assert told == [0, 10, 20, 30, 40, 50]


def test_a_server_that_forgot_the_instance_gets_it_again_at_once(case: Any) -> None:
    member, server, _, up = case
    step(member, server, UP, 0.0)
    forgotten = type(server)()
    assert step(member, forgotten, UP, 10.0)
    assert forgotten.status() is None
    assert step(member, forgotten, UP, 10.5)
    assert forgotten.status() == up


def test_a_server_that_does_not_answer_is_asked_once_an_interval(case: Any) -> None:
    member, *_ = case
    asked = []
    for now in range(30):
        if member.due(UP, float(now)) is not None:
            asked.append(now)
            member.answered(None, float(now))
    assert asked == [0, 10, 20]


def test_a_server_that_refuses_is_asked_once_an_interval(case: Any) -> None:
    member, *_ = case
    asked = []
    for now in range(30):
        if member.due(UP, float(now)) is not None:
            asked.append(now)
            member.answered(403, float(now))
    assert asked == [0, 10, 20]


def test_an_instance_that_leaves_is_unknown(case: Any) -> None:
    member, server, *_ = case
    assert member.due(LEAVING, 0.0) is None, "it was never known"
    step(member, server, UP, 0.0)
    step(member, server, LEAVING, 0.5)
    assert server.status() is None


def test_what_clients_read_in_consul() -> None:
    body = json.loads(Consul("http://c").register(INSTANCE, UP).body)
    assert (body["Name"], body["Address"], body["Port"]) == ("scores", "10.0.0.7", 8000)
    assert body["Check"]["TTL"] == "30s"
    assert body["Check"]["DeregisterCriticalServiceAfter"] == "100s"


@pytest.mark.parametrize("secure", [False, True])
def test_what_clients_read_in_eureka(secure: bool) -> None:
    instance = Instance("scores", "ml.example.com", 8443, "1", 30.0, secure)
    body = json.loads(Eureka("http://e/eureka").register(instance, UP).body)["instance"]
    assert body["vipAddress"] == "scores"
    port = body["securePort" if secure else "port"]
    assert port == {"$": 8443, "@enabled": "true"}
    assert body["port" if secure else "securePort"]["@enabled"] == "false"
    assert body["leaseInfo"] == {"renewalIntervalInSecs": 30, "durationInSecs": 90}
    assert body["healthCheckUrl"].startswith("https:" if secure else "http:")


async def test_the_task_registers_and_leaves() -> None:
    server, standing = FakeConsul(), UP
    member = Membership(Consul("http://127.0.0.1:8500", "secret"), INSTANCE)
    registration = Registration([member], lambda: standing, server)
    registration.start()
    await until(lambda: server.status() == "passing")
    standing = LEAVING
    await asyncio.wait_for(registration.stop(), 30)
    assert server.services == {}


@pytest.fixture
def recorder() -> Iterator[tuple[str, list[Any]]]:
    """An HTTP server that keeps what it is asked, and answers 404 below /gone."""
    seen: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append((self.command, self.path, dict(self.headers), body))
            self.send_response(404 if self.path.startswith("/gone") else 204)
            self.end_headers()

        do_PUT = do_POST = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()
    thread.join(timeout=30)


def test_calls_go_over_http(recorder: tuple[str, list[Any]]) -> None:
    host, seen = recorder
    assert send(Call("DELETE", f"http://name:p%40ss@{host}/a?status=UP")) == 204
    assert send(Call("PUT", f"http://{host}/gone", b"{}", {"X-Consul-Token": "t"})) == 404
    (method, path, headers, _), (_, _, token, body) = seen
    assert (method, path) == ("DELETE", "/a?status=UP")
    assert headers["Authorization"] == "Basic bmFtZTpwQHNz"
    assert (token["X-Consul-Token".title()], body) == ("t", b"{}")


def test_no_answer_is_no_status() -> None:
    assert send(Call("PUT", f"http://127.0.0.1:{free_port()}/")) is None


def test_a_port_that_clients_can_not_know_is_not_registered() -> None:
    given: dict[str, Any] = {"eureka": "http://127.0.0.1:8761/eureka"}

    def made() -> Registration:
        found = PlatformSettings(registration=RegistrationSettings(**given))
        return registration(Settings(port=0, platforms=found), lambda: UP)

    with pytest.raises(InvalidSettings, match="port is 0"):
        made()
    given["port"] = 8000  # a proxy's
    made()
