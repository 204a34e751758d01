"""What lasts: a key that is revoked ends it, and each message of it counts as a request."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inference_service.core.errors import Overloaded, QuotaExceeded, ShuttingDown, Unauthorised
from inference_service.protocols.oip.rpc import receiving
from inference_service.protocols.oip.rpc import server as rpc_server
from inference_service.protocols.oip.rpc.messages import message
from inference_service.security.authorizer import Authorizer, current_access
from inference_service.security.credentials import Presented
from inference_service.security.keys import KeyRing, create
from inference_service.security.quotas import Quota, Quotas, Rate
from inference_service.security.table import needed
from inference_service.service import Service
from inference_service.settings import Settings
from inference_service.web.access import AccessControl
from inference_service.web.stats import _permitted
from tests.support import asking, until
from tests.virtual_time import run_virtual

PEPPER = "a pepper of some length"
PATH = "/models/speech/detect/stream"
KEY, ENTRY = create("team", ["infer", "read"], PEPPER.encode(), 0)
NO_KEYS = KeyRing((), b"")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Stream:
    """A WebSocket from which as many messages come as are taken."""

    def __init__(self) -> None:
        self.scope = {
            "type": "websocket", "path": PATH, "headers": [(b"x-api-key", KEY.encode())],
            "subprotocols": [], "client": ("1.2.3.4", 5),
        }  # fmt: skip

    async def receive(self) -> dict[str, Any]:
        return {"type": "websocket.receive", "bytes": b"12345"}

    async def send(self, message: Any) -> None:
        """Nothing is looked at."""


def guarded(quotas: Quotas | None, take: Callable[[Any], Any]) -> tuple[AccessControl, Authorizer]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await take(receive)

    authorizer = Authorizer(KeyRing([ENTRY], PEPPER.encode()), lambda: 1.0)
    return AccessControl(app, authorizer=authorizer, quotas=quotas), authorizer


async def test_a_revoked_key_ends_a_websocket_at_its_next_message() -> None:
    async def take(receive: Any) -> None:
        await receive()
        authorizer.ring = NO_KEYS
        with pytest.raises(Unauthorised):
            await receive()
        taken.append(True)

    taken: list[bool] = []
    app, authorizer = guarded(None, take)
    stream = Stream()
    await app(stream.scope, stream.receive, stream.send)
    assert taken == [True]


def test_messages_of_a_websocket_come_at_the_rate_of_the_quota() -> None:
    async def converse() -> float:
        loop = asyncio.get_running_loop()
        quota = Quota(requests=Rate("requests", 10.0, 5.0), bytes=Rate("bytes", 1e6, 1e6))

        async def take(receive: Any) -> None:
            for _ in range(24):
                await receive()

        app, _ = guarded(Quotas(quota, loop.time), take)
        stream, since = Stream(), loop.time()
        await app(stream.scope, stream.receive, stream.send)
        return loop.time() - since

    # The opening and 24 messages are 25 requests; 5 come at once, 20 at 10 a second.
    assert run_virtual(converse()) == pytest.approx(2.0, abs=0.05)


def test_bytes_of_messages_are_paid_for_by_waiting_and_a_large_debt_is_refused() -> None:
    clock = Clock()
    quotas = Quotas(Quota(bytes=Rate("bytes", 100.0, 200.0)), clock)
    entry = quotas.enter("a")
    assert entry.message(500) == 0
    assert entry.message(900) == pytest.approx(3.0)  # 500 are owed, 200 of them are the burst
    with pytest.raises(QuotaExceeded, match="used up its bytes for 12 s") as refused:
        entry.message(1)
    assert refused.value.retry_after == pytest.approx(12.0)


def test_several_messages_in_work_count_as_several_requests() -> None:
    quotas = Quotas(Quota(concurrency=2), Clock())
    entry = quotas.enter("a")
    another = entry.another()
    assert another is not None
    assert entry.another() is None
    another.leave()
    assert entry.another() is not None


@asynccontextmanager
async def calling(
    models: Path, security: dict[str, Any], **more: Any
) -> AsyncIterator[tuple[Service, str]]:
    """A service that listens for gRPC."""
    given = {"models": models, "grpc": {"port": 0}, "security": security, **more}
    service = Service(Settings.model_validate(given))
    async with asyncio.timeout(60), service.lifespan():
        await service.loaded()
        yield service, f"127.0.0.1:{service.grpc_port}"


def keyed(**more: Any) -> dict[str, Any]:
    entry = {"id": ENTRY.id, "name": ENTRY.name, "scopes": ENTRY.scopes, "hash": ENTRY.hash}
    return {"pepper": PEPPER, "keys": [entry], **more}


def asked() -> bytes:
    request = message("ModelInferRequest")(model_name="doubler")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    tensor.contents.fp32_contents[:] = [1, 2, 3, 4]
    return bytes(request.SerializeToString())


class Talk:
    """A stream of inferences by gRPC."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(address)
        method: Any = self.channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        self.call: Any = method(metadata=(("x-api-key", KEY),))

    async def ask(self) -> Any:
        await self.call.write(asked())
        return await self.answer()

    async def answer(self) -> Any:
        try:
            data = await self.call.read()
        except grpc.aio.AioRpcError as ended:
            return ended.code()
        answer = message("ModelStreamInferResponse").FromString(data)
        return answer.error_message or next(iter(answer.infer_response.outputs)).shape


async def test_a_revoked_key_ends_a_stream_of_grpc_at_its_next_message(zoo: Path) -> None:
    async with calling(zoo / "doubler", keyed()) as (service, address):
        talk = Talk(address)
        async with talk.channel:
            assert await talk.ask() == [1, 4]
            assert service.security.authorizer is not None
            service.security.authorizer.ring = NO_KEYS
            assert await talk.ask() is grpc.StatusCode.UNAUTHENTICATED
            assert await talk.call.details() == "the key is not valid"


async def test_messages_of_a_grpc_stream_count_and_wait_for_the_client_s_concurrency(
    zoo: Path,
) -> None:
    quotas = {"requests_per_second": 0.001, "burst": 20_000, "concurrency": 2}
    async with calling(zoo / "doubler", keyed(quotas=quotas)) as (service, address):
        assert service.security.quotas is not None
        talk = Talk(address)
        async with talk.channel:
            for _ in range(10):
                await talk.call.write(asked())
            assert [await talk.answer() for _ in range(10)] == [[1, 4]] * 10
            left = service.security.quotas.standings("team")[0].remaining
            assert left == 20 - 1 - 10
            for _ in range(9):
                await talk.ask()
            assert await talk.ask() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await until(lambda: service.security.quotas._usage("team").requests == 0)  # type: ignore[union-attr]


async def test_a_client_without_a_key_has_one_quota_for_http_and_grpc(zoo: Path) -> None:
    security = {
        "trusted_proxies": ["127.0.0.1"],
        "quotas": {"requests_per_second": 0.001, "burst": 1000},
    }
    limits = {"client_header": "x-client"}
    async with calling(zoo / "doubler", security, limits=limits) as (service, address):
        quotas = service.security.quotas
        assert quotas is not None
        async with grpc.aio.insecure_channel(address) as channel:
            infer: Any = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            for metadata in ((("x-forwarded-for", "2001:db8::1"),), (("x-client", "a"),)):
                await infer(asked(), metadata=metadata)
        assert quotas.standings("2001:db8::/64")[0].remaining == 0
        assert quotas.standings("127.0.0.1")[0].remaining == 0


async def test_a_client_s_own_name_for_itself_has_no_rows_of_its_own(zoo: Path) -> None:
    security = {"quotas": {"rows_per_second": 0.001, "burst": 1000}}
    given = {
        "models": zoo / "doubler", "security": security, "limits": {"client_header": "x-client"},
    }  # fmt: skip
    service = Service(Settings.model_validate(given))
    async with asyncio.timeout(60), service.lifespan():
        await service.loaded()
        async with asking(service.asgi) as client:

            async def ask(name: str) -> int:
                row = {"instances": [[1, 2, 3, 4]]}
                path, headers = "/v1/models/doubler:predict", {"x-client": name}
                return (await client.post(path, json=row, headers=headers)).status_code

            assert [await ask("one"), await ask("two")] == [200, 429]


async def test_the_stats_end_when_the_key_is_revoked() -> None:
    authorizer = Authorizer(KeyRing([ENTRY], PEPPER.encode()), lambda: 1.0)
    ended = []

    async def events() -> Any:
        try:
            while True:
                yield b"event"
        finally:
            ended.append(True)

    current_access.set(await authorizer.authorize(Presented(KEY), needed("GET", "/stats")))
    seen = 0
    async for _ in _permitted(events()):
        seen += 1
        if seen == 3:
            authorizer.ring = NO_KEYS
    assert (seen, ended) == (3, [True])
    current_access.set(None)


async def _once_there_is_room(watch: Callable[[], Any]) -> int:
    """The first status that a watcher is told: the service hears a moment later that one left."""
    async with asyncio.timeout(60):
        while True:
            try:
                found = await anext(aiter(watch()))
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                await asyncio.sleep(0.01)
            else:
                return int(found.status)


async def test_a_watcher_of_grpc_s_health_that_leaves_takes_nothing_from_the_others(
    zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc_server, "_REFRESH", 0.01)
    monkeypatch.setattr(rpc_server, "MOST_WATCHERS", 2)
    async with (
        calling(zoo / "doubler", {}) as (service, address),
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        question = health_pb2.HealthCheckRequest()
        stays, leaves = stub.Watch(question), stub.Watch(question)
        assert (await stays.read()).status == (await leaves.read()).status == 1
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await anext(aiter(stub.Watch(question)))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        leaves.cancel()
        other = health_pb2.HealthCheckRequest(service="other")
        assert await _once_there_is_room(lambda: stub.Watch(other)) == 3
        service.health.leave()
        assert (await stays.read()).status == 2


class SlowWatcher:
    """The context of a call that watches the health, and the service's health."""

    def __init__(self) -> None:
        self.healthy = True
        self.told: list[int] = []
        self.being_told, self.taken = asyncio.Event(), asyncio.Event()

    def check(self) -> None:
        if not self.healthy:
            raise ShuttingDown

    async def write(self, found: Any) -> None:
        self.told.append(found.status)
        self.being_told.set()
        await self.taken.wait()


async def test_a_watcher_hears_of_what_changes_while_it_is_being_told() -> None:
    one: Any = SlowWatcher()
    servicer = rpc_server._Health(one)
    watching = asyncio.create_task(servicer.Watch(health_pb2.HealthCheckRequest(), one))
    await asyncio.wait_for(one.being_told.wait(), 60)
    one.healthy = False
    servicer._look()
    one.taken.set()
    await until(lambda: one.told == [1, 2])
    one.healthy = True
    servicer._look()
    await until(lambda: one.told == [1, 2, 1])
    watching.cancel()


class Slow:
    """Calls of one message of which nothing comes."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(address)

    def call(self, method: str, key: str = "") -> Any:
        made: Any = self.channel.stream_unary(f"/inference.GRPCInferenceService/{method}")
        return made(metadata=(("x-api-key", key),) if key else ())


async def test_a_call_without_a_key_is_refused_before_its_message_is_received(zoo: Path) -> None:
    async with calling(zoo / "doubler", keyed()) as (_, address):
        slow = Slow(address)
        async with slow.channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await slow.call("ModelInfer")
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_messages_that_are_being_received_are_bounded_in_number_and_time(zoo: Path) -> None:
    limits = {
        "max_body_bytes": 2**20, "max_in_flight_bytes": 4 * 2**20, "request_timeout": 3.0,
    }  # fmt: skip
    async with calling(zoo / "doubler", {}, limits=limits) as (_, address):
        slow = Slow(address)
        async with slow.channel:
            calls = [asyncio.ensure_future(slow.call("ModelInfer")) for _ in range(5)]
            ended = await asyncio.gather(*calls, return_exceptions=True)
            codes = [error.code() for error in ended if isinstance(error, grpc.aio.AioRpcError)]
            assert sorted(codes, key=str) == [
                *[grpc.StatusCode.DEADLINE_EXCEEDED] * 2, *[grpc.StatusCode.UNAVAILABLE] * 3
            ]  # fmt: skip
            infer: Any = slow.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            assert await infer(asked())


async def test_a_client_has_half_of_the_places_and_waits_for_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receiving, "_PATIENCE", 0.01)
    places = receiving.Places(4)
    await places.take("a")
    await places.take("a")
    with pytest.raises(Overloaded, match="2 messages are being received, 2 of them from this"):
        await places.take("a")
    await places.take("b")
    monkeypatch.setattr(receiving, "_PATIENCE", 60)
    waiting = asyncio.ensure_future(places.take("a"))
    await asyncio.sleep(0)
    places.leave("a")
    await waiting
