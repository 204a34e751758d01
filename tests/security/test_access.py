"""One rule for every path, method and stream: the table, walked along the application's routes."""

import asyncio
import base64
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi.routing import APIRoute, APIWebSocketRoute
from jsonschema import Draft202012Validator
from starlette.routing import Mount, Route

from inference_service.security.authorizer import Authorizer
from inference_service.security.grants import Scope
from inference_service.security.keys import KeyEntry, KeyRing, create
from inference_service.security.setup import check_exposure, security_of
from inference_service.security.table import GRPC, HTTP, needed
from inference_service.service import Service
from inference_service.settings import InvalidSettings, Settings
from inference_service.web.access import AccessControl
from tests.conftest import ROOT

PEPPER = "a pepper of some length"
ROW = {"instances": [[1, 2, 3, 4]]}
PREDICT = "/v1/models/doubler:predict"
ADMIN = "the-admin-s-own-token"


class Keys:
    """A key for each scope, and what is kept of them."""

    def __init__(self) -> None:
        self.entries: list[KeyEntry] = []
        self.of = {str(scope): self.make(str(scope), [str(scope)]) for scope in Scope}
        self.of["other"] = self.make("other", ["infer:other", "read"])

    def make(self, name: str, scopes: list[str]) -> str:
        key, entry = create(name, scopes, PEPPER.encode(), 0)
        self.entries.append(entry)
        return key

    def settings(self, models: Path, **more: Any) -> Settings:
        security = {
            "pepper": PEPPER,
            "keys": [
                {"id": one.id, "name": one.name, "scopes": one.scopes, "hash": one.hash}
                for one in self.entries
            ],
            **more.pop("security", {}),
        }
        return Settings.model_validate({"models": models, "security": security, **more})


KEYS = Keys()


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[tuple[httpx.AsyncClient, Service]]:
    service = Service(settings)
    transport = httpx.ASGITransport(service.asgi)
    async with asyncio.timeout(60), service.lifespan():
        await service.loaded()
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client, service


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def routes_of(routes: Any) -> Iterator[tuple[str, str]]:
    """Method and path of every route, those of included routers too."""
    for route in routes:
        if isinstance(route, APIWebSocketRoute):
            yield "WEBSOCKET", route.path
        elif isinstance(route, APIRoute | Route):
            for method in sorted(route.methods or ()):
                yield method, route.path
        elif isinstance(route, Mount):
            yield "GET", route.path + "/swagger-ui.css"
        else:
            yield from routes_of(route.original_router.routes)


def example(path: str) -> str:
    for name, value in {
        "{model}": "doubler", "{version}": "1", "{label}": "stable", "{task}": "x",
        "{repository}": "r", "{rest:path}": "a/b:predict", "{folder}": "x", "{name}": "x.js", "{name:path}": "index.html",
        "{file}": "x.png",
    }.items():  # fmt: skip
        path = path.replace(name, value)
    assert "{" not in path
    return path


async def test_every_route_is_in_the_table_and_answers_its_scope_alone(
    zoo: Path, tmp_path: Path
) -> None:
    (tmp_path / "index.html").write_text("<p>The guide")
    settings = KEYS.settings(
        zoo / "doubler", platforms={"actuator": True}, http={"guide": tmp_path}
    )
    async with running(settings) as (client, service):
        walked = list(routes_of(service.fastapi.routes))
        assert len(walked) > 50
        rows = set()
        for method, path in walked:
            url = example(path)
            listed = [one for one in HTTP if fits(one.path, url, one.method, method)]
            assert listed, f"{method} {path} is not in the table"
            rows.add(listed[0])
            if method == "WEBSOCKET":
                continue
            need = needed(method, url).scope
            anonymous = await client.request(method, url, headers={"accept": "*/*"})
            wrong = await client.request(method, url, headers=bearer("isk_0000000000_x"))
            if need is None:
                assert anonymous.status_code not in {401, 403}
                continue
            assert (anonymous.status_code, wrong.status_code) == (401, 401), path
            assert anonymous.headers["www-authenticate"] == "Bearer"
            for scope in Scope:
                answer = await client.request(method, url, headers=bearer(KEYS.of[scope]))
                refused = answer.status_code == 403 and (method == "HEAD" or "scope" in answer.text)
                assert refused is (scope is not need), (method, path, scope, answer.text)
    platform = Settings.model_validate({"models": zoo, "platforms": {"sagemaker": True}})
    for method, path in routes_of(Service(platform).fastapi.routes):
        rows |= {one for one in HTTP if fits(one.path, example(path), one.method, method)}
    assert rows == set(HTTP), "lines of the table that no route needs"


def fits(pattern: str, path: str, of: str, method: str) -> bool:
    from inference_service.security.table import _pattern

    path = path.rstrip("/") or "/"
    return of == method.replace("HEAD", "GET") and _pattern(pattern).fullmatch(path) is not None


def test_every_method_of_grpc_is_in_the_table() -> None:
    from grpc_health.v1 import health_pb2
    from grpc_reflection.v1alpha import reflection_pb2

    from inference_service.protocols.oip.rpc.messages import DESCRIPTOR

    services = [
        DESCRIPTOR,
        health_pb2.DESCRIPTOR.services_by_name["Health"],
        reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"],
    ]
    methods = {f"/{one.full_name}/{method.name}" for one in services for method in one.methods}
    assert methods - set(GRPC) == set()


def test_the_document_shows_the_table() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    for row in HTTP:
        scope = row.scope or "none"
        assert f"| {row.method} | `{row.path}` | {scope} |" in page
    for method, permitted in GRPC.items():
        assert f"| gRPC | `{method[1:]}` | {permitted or 'none'} |" in page


async def test_what_is_not_in_the_table_is_for_admins(zoo: Path) -> None:
    assert needed("GET", "/of/a/host").scope is Scope.ADMIN
    assert needed("DELETE", "/v1/models/doubler").scope is Scope.ADMIN
    assert needed("POST", "/v2/health/live").scope is None  # it is answered 405
    assert needed("GET", "//metrics").scope is Scope.ADMIN
    assert needed("HEAD", "/metrics/").scope is Scope.METRICS
    async with running(KEYS.settings(zoo / "doubler")) as (client, _):
        assert (await client.get("/nowhere")).status_code == 401
        assert (await client.get("/nowhere", headers=bearer(KEYS.of["admin"]))).status_code == 404


async def test_a_key_for_another_model_is_refused_however_the_model_is_named(zoo: Path) -> None:
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
    asked: list[tuple[str, Any]] = [
        (PREDICT, ROW),
        ("/v1/models/doubler/versions/2:predict", ROW),
        ("/predict", {"x": [1, 2, 3, 4]}),
        ("/v2/models/doubler/infer", {"inputs": [tensor]}),
    ]
    async with running(KEYS.settings(zoo / "doubler")) as (client, _):
        for path, body in asked:
            allowed = await client.post(path, json=body, headers=bearer(KEYS.of["infer"]))
            assert allowed.status_code == 200, allowed.text
            refused = await client.post(path, json=body, headers=bearer(KEYS.of["other"]))
            assert refused.status_code == 403
            assert refused.json() == {"error": "'other' has no scope 'infer:doubler'"}
        read = await client.get("/v2/models/doubler", headers=bearer(KEYS.of["other"]))
        assert read.status_code == 200


async def test_every_way_to_send_a_key_works(zoo: Path) -> None:
    key = KEYS.of["infer"]
    basic = base64.b64encode(f"any:{key}".encode()).decode()
    async with running(KEYS.settings(zoo / "doubler")) as (client, _):
        for headers in (bearer(key), {"x-api-key": key}, {"authorization": f"Basic {basic}"}):
            assert (await client.post(PREDICT, json=ROW, headers=headers)).status_code == 200
        page = await client.get("/", headers={"accept": "text/html"})
        assert page.status_code == 401
        assert page.headers["www-authenticate"].startswith("Basic ")
        openai = await client.post("/v1/embeddings", json={})
        assert openai.json()["error"]["message"].startswith("expected a key as")


class Stream:
    """A WebSocket as an ASGI server tells it to the application."""

    def __init__(self, path: str, subprotocols: list[str], headers: dict[str, str]) -> None:
        self.sent: list[Any] = []
        self._pending = [
            {"type": "websocket.connect"},
            {"type": "websocket.disconnect", "code": 1000},
        ]
        self.scope = {
            "type": "websocket", "path": path, "query_string": b"", "root_path": "", "scheme": "ws",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "subprotocols": subprotocols, "client": ("127.0.0.1", 1),
            "server": ("test", 80), "extensions": {"websocket.http.response": {}}, "state": {},
        }  # fmt: skip

    async def receive(self) -> Any:
        return self._pending.pop(0)

    async def send(self, message: Any) -> None:
        self.sent.append(message)


async def test_a_stream_needs_a_key_and_a_browser_s_may_be_a_subprotocol() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    ring = KeyRing(KEYS.entries, PEPPER.encode())
    guarded = AccessControl(app, authorizer=Authorizer(ring, lambda: 1.0))
    key, path = KEYS.of["infer"], "/models/speech/detect/stream"
    for subprotocols, headers, outcome in (
        ([], {}, ("websocket.http.response.start", 401)),
        ([], {"x-api-key": KEYS.of["read"]}, ("websocket.http.response.start", 403)),
        ([], {"authorization": f"Bearer {key}"}, ("websocket.accept", None)),
        (["inference-service", f"inference-service.key.{key}"], {}, ("websocket.accept", "inference-service")),
    ):  # fmt: skip
        stream = Stream(path, subprotocols, headers)
        await guarded(stream.scope, stream.receive, stream.send)
        first = stream.sent[0]
        told = first.get("status") or first.get("subprotocol")
        assert (first["type"], told) == outcome


async def test_the_name_of_the_key_is_what_the_scheduler_shares_by(zoo: Path) -> None:
    limits = {"client_header": "x-client"}
    async with running(KEYS.settings(zoo / "doubler", limits=limits)) as (client, service):
        seen = []
        engine: Any = service.engine
        resolve = engine.resolve

        class Spying:
            def __init__(self, model: Any) -> None:
                self.info, self.refusal, self._submit = model.info, model.refusal, model.submit

            def submit(self, request: Any, on_done: Any) -> Any:
                seen.append(request.client)
                return self._submit(request, on_done)

        engine.resolve = lambda ref, client="": Spying(resolve(ref, client))
        headers = bearer(KEYS.of["infer"]) | {"x-client": "somebody else"}
        await client.post(PREDICT, json=ROW, headers=headers)
        assert seen == ["infer"]


async def test_the_admin_s_token_is_a_key_with_the_scope_admin(zoo: Path) -> None:
    admin = {"repository": True, "token": ADMIN}
    load = "/v2/repository/models/doubler/load"
    async with running(KEYS.settings(zoo / "doubler", admin=admin)) as (client, _):
        for key in (ADMIN, KEYS.of["admin"]):
            assert (await client.post(load, headers=bearer(key))).status_code == 200
        assert (await client.post(PREDICT, json=ROW, headers=bearer(ADMIN))).status_code == 403
        assert (await client.post(load, headers=bearer(KEYS.of["infer"]))).status_code == 403


async def test_admins_have_a_port_of_their_own(zoo: Path) -> None:
    settings = Settings.model_validate({"models": zoo / "doubler", "admin": {
        "repository": True, "token": ADMIN, "port": 8001}})  # fmt: skip
    load = "/v2/repository/models/doubler/load"
    async with running(settings) as (client, _):
        assert (await client.post(PREDICT, json=ROW)).status_code == 200
        refused = await client.post(load, headers=bearer(ADMIN))
        assert (refused.status_code, refused.json()) == (
            404, {"error": "this is answered at the port for admins"}
        )  # fmt: skip
        client.base_url = httpx.URL("http://test:8001")
        assert (await client.post(load, headers=bearer(ADMIN))).status_code == 200
        assert (await client.post(PREDICT, json=ROW)).status_code == 404


async def test_a_quota_is_told_in_headers_and_refused_with_429(zoo: Path) -> None:
    quotas = {"quotas": {"requests_per_second": 0.5, "burst": 4, "rows_per_second": 1}}
    async with running(KEYS.settings(zoo / "doubler", security=quotas)) as (client, _):
        headers = bearer(KEYS.of["infer"])
        first = await client.post(PREDICT, json=ROW, headers=headers)
        assert first.headers["ratelimit-policy"] == '"requests";q=2;w=4, "rows";q=4;w=4'
        assert first.headers["ratelimit"] == '"requests";r=1;t=2, "rows";r=3;t=1'
        await client.post(PREDICT, json=ROW, headers=headers)
        refused = await client.post(PREDICT, json=ROW, headers=headers)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "2"
        assert '"requests";r=0' in refused.headers["ratelimit"]
        assert refused.json() == {
            "error": "'infer' has used up its requests: 0.5 a second, 2 at once"
        }
        live = [(await client.get("/v2/health/live")).status_code for _ in range(5)]
        assert live == [200] * 5
        other = await client.get("/models", headers=bearer(KEYS.of["read"]))
        assert other.status_code == 200


async def test_rows_beyond_the_quota_are_refused_before_they_are_computed(zoo: Path) -> None:
    quotas = {"quotas": {"rows_per_second": 10, "burst": 1}}
    settings = Settings.model_validate({"models": zoo / "doubler", "security": quotas})
    async with running(settings) as (client, _):
        many = {"instances": [[1, 2, 3, 4]] * 35}
        assert (await client.post(PREDICT, json=many)).status_code == 200
        refused = await client.post(PREDICT, json=ROW)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "3"


async def test_a_body_beyond_the_client_s_share_is_refused(zoo: Path) -> None:
    limits = {"max_in_flight_bytes": 4000, "max_body_bytes": 1000}
    async with running(KEYS.settings(zoo / "doubler", limits=limits)) as (client, _):
        headers = bearer(KEYS.of["infer"])

        async def slowly() -> AsyncIterator[bytes]:
            yield b" " * 3000

        for content in (b" " * 3000, slowly()):
            refused = await client.post(PREDICT, content=content, headers=headers)
            assert refused.status_code in {413, 429}
        assert (await client.post(PREDICT, json=ROW, headers=headers)).status_code == 200


async def test_proxies_tell_the_client_s_address(zoo: Path) -> None:
    security = {
        "trusted_proxies": ["127.0.0.1"],
        "quotas": {"requests_per_second": 0.1, "burst": 10},
    }
    settings = Settings.model_validate({"models": zoo / "doubler", "security": security})
    async with running(settings) as (client, _):

        async def ask(address: str) -> int:
            answer = await client.post(PREDICT, json=ROW, headers={"x-forwarded-for": address})
            return answer.status_code

        assert [await ask("1.1.1.1"), await ask("1.1.1.1"), await ask("2.2.2.2")] == [200, 429, 200]


def test_without_access_control_requests_pass_no_middleware_of_it() -> None:
    assert not security_of(Settings()).guards


def test_a_service_without_access_control_listens_on_loopback_unless_it_is_meant() -> None:
    assert check_exposure(Settings()) == ""
    assert check_exposure(Settings(host="::1")) == ""
    everywhere = Settings(host="0.0.0.0")
    with pytest.raises(InvalidSettings, match="--allow-anonymous"):
        check_exposure(everywhere)
    warning = "no access control: whatever reaches 0.0.0.0 may use the service"
    assert check_exposure(everywhere, allowed=True) == warning
    meant = Settings.model_validate({"host": "0.0.0.0", "security": {"anonymous": True}})
    assert check_exposure(meant) == warning
    guarded = KEYS.settings(Path("models"), host="0.0.0.0")
    assert check_exposure(guarded) == ""


@pytest.mark.parametrize(
    ("security", "message"),
    [
        ({"keys_file": "/nowhere/keys.toml"}, "security: can't read keys.toml: No such file"),
        ({"pepper": "short", "keys": [
            {"id": "0" * 10, "name": "a", "scopes": ["infer"], "hash": "hmac-sha256:" + "0" * 64}
        ]}, "security: pepper: expected 16 bytes or more"),
        ({"trusted_proxies": ["somewhere"]}, "setting 'security.trusted_proxies'"),
        ({"tls": {"certificate": "/nowhere/a", "key": "/nowhere/b"}}, "a and b can't be used"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_used_are_told(security: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSettings, match=message):
        security_of(Settings.model_validate({"security": security}))


async def test_the_openapi_document_tells_the_keys_the_scopes_and_the_refusals(zoo: Path) -> None:
    async with running(KEYS.settings(zoo / "doubler")) as (client, _):
        answer = await client.get("/openapi.json", headers=bearer(KEYS.of["read"]))
        refused = await client.post(PREDICT, json=ROW)
    document = answer.json()
    assert document["components"]["securitySchemes"] == {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "a key of the service, or a token of the identity provider",
        },
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    for path, item in document["paths"].items():
        for verb, operation in item.items():
            scope = needed(verb.upper(), example(path)).scope
            documented = {"401", "403", "429"} & operation["responses"].keys()
            if scope is None:
                assert (operation["security"], documented) == ([], set()), path
                continue
            assert operation["security"] == [{"bearer": []}, {"apiKey": []}], path
            assert documented == {"401", "403", "429"}, path
            assert f"'{scope}'" in operation["responses"]["403"]["description"], path
    told = document["paths"][PREDICT]["post"]["responses"][str(refused.status_code)]
    schema = told["content"]["application/json"]["schema"]
    assert Draft202012Validator({**schema, "components": document["components"]}).is_valid(
        refused.json()
    )
    openai = document["paths"]["/v1/embeddings"]["post"]["responses"]
    assert openai["429"]["content"] == openai["400"]["content"]


async def test_without_access_control_the_document_asks_for_no_key(zoo: Path) -> None:
    quotas = {"security": {"quotas": {"requests_per_second": 5}}}
    for more, documented in (({}, False), (quotas, True)):
        settings = Settings.model_validate({"models": zoo / "doubler", **more})
        async with running(settings) as (client, _):
            document = (await client.get("/openapi.json")).json()
        assert "securitySchemes" not in document["components"]
        responses = document["paths"][PREDICT]["post"]["responses"]
        assert ("429" in responses) is documented
        assert not {"401", "403"} & responses.keys()


async def test_an_upload_may_be_larger_than_what_a_client_may_have_in_flight(
    zoo: Path, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    shutil.copytree(zoo / "doubler", models / "doubler")
    content = (models / "doubler/1/model.onnx").read_bytes() + b"\0" * 3000
    settings = KEYS.settings(
        models,
        limits={"max_body_bytes": 1000, "max_in_flight_bytes": 1000},
        admin={"uploads": True, "repository": True},
    )
    async with running(settings) as (client, _):
        path = "/v2/repository/models/other/versions/1"
        answer = await client.put(path, content=content, headers=bearer(KEYS.of["admin"]))
        assert answer.status_code == 201, answer.text
        body = b" " * 1500
        refused = await client.post(PREDICT, content=body, headers=bearer(KEYS.of["infer"]))
        assert refused.status_code in {413, 429}


@pytest.mark.parametrize(
    "name", ["models.lock", "models.lock.sig", "\u00e9" * 150, "_drafts", ".hidden", "stats", ".."]
)
async def test_an_upload_needs_a_name_that_a_model_can_have(
    tmp_path: Path, zoo: Path, name: str
) -> None:
    models = tmp_path / "models"
    shutil.copytree(zoo / "doubler", models / "doubler")
    settings = KEYS.settings(models, admin={"uploads": True, "repository": True})
    async with running(settings) as (client, _):
        path = f"/v2/repository/models/{quote(name)}/versions/1".replace("..", "%2e%2e")
        answer = await client.put(path, content=b"x", headers=bearer(KEYS.of["admin"]))
        assert (answer.status_code, "model's name" in answer.text) == (400, True), answer.text
        assert [child.name for child in models.iterdir()] == ["doubler"]


async def test_a_path_that_is_not_there_does_not_come_back_at_full_length(zoo: Path) -> None:
    async with running(Settings.model_validate({"models": zoo / "doubler"})) as (client, _):
        for method, path in (("GET", "/" + "a" * 50_000), ("DELETE", f"/v2/models/{'a' * 50_000}")):
            answer = await client.request(method, path)
            assert answer.status_code in {404, 405}
            assert len(answer.text) < 1000


async def test_strangers_are_not_told_which_model_is_missing_and_why(tmp_path: Path) -> None:
    (tmp_path / "secret-project.onnx").write_bytes(b"no model")
    async with running(KEYS.settings(tmp_path)) as (client, _):
        for path in ("/v2/health/ready", "/health"):
            answer = await client.get(path)
            assert answer.status_code == 503
            told = answer.json()["error"]
            assert told == "not ready: a model is loading or has failed; see /v2/models"
        listed = await client.get("/v2/models", headers=bearer(KEYS.of["read"]))
        assert "secret-project" in listed.text


@pytest.mark.parametrize("origins", [["*"], ["https://app.example"]])
async def test_pages_of_other_sites_do_not_use_the_password_of_a_browser(
    zoo: Path, origins: list[str]
) -> None:
    settings = KEYS.settings(zoo / "doubler", http={"cors_origins": origins})
    async with running(settings) as (client, _):
        password = base64.b64encode(f"any:{KEYS.of['infer']}".encode()).decode()

        async def ask(credentials: dict[str, str], **headers: str) -> int:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            answer = await client.post(PREDICT, json=ROW, headers={**credentials, **named})
            return answer.status_code

        basic, key = {"authorization": f"Basic {password}"}, bearer(KEYS.of["infer"])
        other, same = "https://app.example", "http://test"
        assert await ask(basic) == 200
        assert await ask(basic, origin=same) == 200
        assert await ask(basic, sec_fetch_site="same-origin") == 200
        assert await ask(key, origin=other, sec_fetch_site="cross-site") == 200
        for headers in ({"origin": other}, {"origin": "null"}, {"sec_fetch_site": "cross-site"}):
            assert await ask(basic, **headers) == 403


async def test_the_paths_of_a_platform_are_answered_beside_a_port_for_admins(zoo: Path) -> None:
    given = {
        "models": zoo / "doubler", "platforms": {"sagemaker": True}, "admin": {"port": 0},
        "security": {"quotas": {"requests_per_second": 0.001, "burst": 1000}},
    }  # fmt: skip
    async with running(Settings.model_validate(given)) as (client, service):
        service.security.admin_port = 9
        assert (await client.post("/invocations", json=ROW)).status_code == 200
        assert [(await client.get("/ping")).status_code for _ in range(3)] == [200] * 3
