"""Keys, certificates and encryption on real connections: HTTP, WebSocket and gRPC."""

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from tritonclient import grpc as triton

from inference_service.cli import main
from inference_service.security.tls import Certificates, InvalidCertificate
from tests.conftest import RunningServer, start_server
from tests.security.authority import Authority
from tests.support import LONGEST_WAIT

PREDICT = "/v1/models/doubler:predict"
ROW = {"instances": [[1, 2, 3, 4]]}


class Secured:
    """A server with TLS, client certificates, keys, gRPC and a port for admins."""

    def __init__(self, folder: Path, models: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.certificate, self.key = self.authority.sign("localhost", "server")
        self.client = self.authority.sign("client.example", "client")
        self.keys = folder / "keys.toml"
        self.infer, self.admin = self.create("infer"), self.create("admin")
        identities = [{"name": "client.example", "scopes": ["infer"]}]
        prefix = "INFERENCE_SERVICE_"
        self.server: RunningServer = start_server(
            models,
            **{
                prefix + "SECURITY__KEYS_FILE": str(self.keys),
                prefix + "SECURITY__CERTIFICATES": json.dumps(identities),
                prefix + "SECURITY__TLS__CERTIFICATE": str(self.certificate),
                prefix + "SECURITY__TLS__KEY": str(self.key),
                prefix + "SECURITY__TLS__CLIENT_CA": str(self.authority.file),
                prefix + "GRPC__PORT": "0",
                prefix + "ADMIN__PORT": "0",
                prefix + "ADMIN__REPOSITORY": "true",
            },
        )
        self.url = self.server.url

    def create(self, scope: str) -> str:
        arguments = ["keys", "create", scope, "--scope", scope, "--file", str(self.keys)]
        return CliRunner().invoke(main, arguments).stdout.strip()

    def context(self, *, client: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.authority.file)
        if client:
            context.load_cert_chain(*self.client)
        return context

    def ask(self, key: str = "", *, client: bool = False, **headers: str) -> httpx.Response:
        if key:
            headers["authorization"] = f"Bearer {key}"
        return httpx.post(
            self.url + PREDICT, json=ROW, headers=headers, verify=self.context(client=client),
            timeout=LONGEST_WAIT,
        )  # fmt: skip


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, zoo: Path) -> Iterator[Secured]:
    made = Secured(tmp_path_factory.mktemp("secured"), zoo / "doubler")
    yield made
    made.server.process.kill()
    made.server.process.wait(timeout=30)


def test_keys_and_client_certificates_are_accepted_over_tls(secured: Secured) -> None:
    assert secured.url.startswith("https://")
    assert secured.ask().status_code == 401
    answer = secured.ask(secured.infer)
    assert answer.json() == {"predictions": [[2, 4, 6, 8]]}
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert secured.ask(client=True).json() == answer.json()
    context = secured.context(client=True)
    forbidden = httpx.get(secured.url + "/models", verify=context, timeout=LONGEST_WAIT)
    assert forbidden.json() == {
        "error": "this needs the scope 'read', which 'client.example' does not have"
    }


def handshake(secured: Secured, context: ssl.SSLContext) -> ssl.SSLSocket:
    port = httpx.URL(secured.url).port
    assert port is not None
    connection = socket.create_connection(("127.0.0.1", port), timeout=LONGEST_WAIT)
    return context.wrap_socket(connection, server_hostname="localhost")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_and_weak_ciphers_are_refused(secured: Secured) -> None:
    old = secured.context()
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        handshake(secured, old)
    weak = secured.context()
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers("AES128-SHA:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        handshake(secured, weak)
    modern = secured.context()
    with handshake(secured, modern) as connection:
        assert connection.version() == "TLSv1.3"
    modern.maximum_version = ssl.TLSVersion.TLSv1_2
    with handshake(secured, modern) as connection:
        assert connection.version() == "TLSv1.2"


def test_plain_http_and_silence_do_not_disturb_others(secured: Secured) -> None:
    port = httpx.URL(secured.url).port
    with (
        socket.create_connection(
            ("127.0.0.1", port or 0), timeout=LONGEST_WAIT
        ),  # it never begins a handshake
        socket.create_connection(("127.0.0.1", port or 0), timeout=LONGEST_WAIT) as plain,
    ):
        plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert secured.ask(secured.infer).status_code == 200


def test_a_refusal_is_read_by_its_client_over_tls(secured: Secured) -> None:
    with handshake(secured, secured.context()) as connection:
        connection.sendall(b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n")
        assert connection.recv(4096).startswith((b"HTTP/1.1 400", b"HTTP/1.1 505"))


_UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.mark.parametrize(
    ("method", "host", "more", "status"),
    [
        ("GET", "evil.example", "", b"421"),
        ("POST", "localhost", "Origin: http://evil.example\r\nContent-Length: 0\r\n", b"403"),
        ("GET", "localhost", f"Origin: http://evil.example\r\n{_UPGRADE}", b"403"),
        ("GET", "localhost", "Origin: http://evil.example\r\n", b"200"),
        ("POST", "localhost", "Origin: https://localhost\r\nContent-Length: 0\r\n", b"405"),
        ("GET", "localhost", f"Origin: https://localhost\r\n{_UPGRADE}", b"401"),
    ],
)
def test_other_hosts_and_pages_of_other_sites_are_refused(
    secured: Secured, method: str, host: str, more: str, status: bytes
) -> None:
    path = "/models/doubler/x/stream" if "Upgrade" in more else "/v2/health/live"
    with handshake(secured, secured.context()) as connection:
        connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode())
        assert connection.recv(4096).split()[1] == status


def infer(secured: Secured, headers: dict[str, str], *, client: bool = False) -> Any:
    options: dict[str, Any] = {"root_certificates": str(secured.authority.file)}
    if client:
        options |= {
            "certificate_chain": str(secured.client[0]),
            "private_key": str(secured.client[1]),
        }
    address = secured.server.grpc_address.replace("127.0.0.1", "localhost")
    with triton.InferenceServerClient(address, ssl=True, **options) as asking:
        tensor = triton.InferInput("x", [1, 4], "FP32")
        tensor.set_data_from_numpy(np.array([[1, 2, 3, 4]], np.float32))
        return asking.infer("doubler", [tensor], headers=headers).as_numpy("y").tolist()


def test_grpc_needs_the_same_keys(secured: Secured) -> None:
    assert infer(secured, {"authorization": f"Bearer {secured.infer}"}) == [[2, 4, 6, 8]]
    assert infer(secured, {"x-api-key": secured.infer}) == [[2, 4, 6, 8]]
    for headers, status in (
        ({}, "UNAUTHENTICATED"),
        ({"x-api-key": secured.admin}, "PERMISSION_DENIED"),
    ):
        with pytest.raises(triton.InferenceServerException) as refused:
            infer(secured, headers)
        assert refused.value.status() == f"StatusCode.{status}"


def test_grpc_s_health_is_open_and_a_stream_needs_a_key(secured: Secured) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    credentials = grpc.ssl_channel_credentials(secured.authority.file.read_bytes())
    address = secured.server.grpc_address.replace("127.0.0.1", "localhost")
    with grpc.secure_channel(address, credentials) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest()).status == 1
        stream: Any = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        with pytest.raises(grpc.RpcError) as refused:
            next(iter(stream(iter([b""]))))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        allowed = stream(iter([b""]), metadata=(("x-api-key", secured.infer),))
        assert b"model" in next(iter(allowed))  # what is told of a message without a model's name


def test_the_port_for_admins_is_announced_and_the_only_one(secured: Secured) -> None:
    line = next(line for line in secured.server.announcement.splitlines() if "admin" in line)
    load = "/v2/repository/models/doubler/load"
    headers = {"x-api-key": secured.admin}
    asked = {"headers": headers, "verify": secured.context(), "timeout": LONGEST_WAIT}
    assert httpx.post(line.split()[1] + load, **asked).status_code == 200  # type: ignore[arg-type]
    assert httpx.post(secured.url + load, **asked).status_code == 404  # type: ignore[arg-type]


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.1)
    return condition()


def test_keys_and_certificates_are_read_again_while_it_serves(secured: Secured) -> None:
    late = secured.create("infer")
    assert within(LONGEST_WAIT, lambda: secured.ask(late).status_code == 200)
    identifier = late.split("_")[1]
    CliRunner().invoke(main, ["keys", "revoke", identifier, "--file", str(secured.keys)])
    assert within(LONGEST_WAIT, lambda: secured.ask(late).status_code == 401)
    assert secured.ask(secured.infer).status_code == 200

    def serial() -> int:
        with handshake(secured, secured.context()) as connection:
            found = connection.getpeercert()
            assert found is not None
            return int(str(found["serialNumber"]), 16)

    before = serial()
    secured.authority.sign("localhost", "server")
    assert within(LONGEST_WAIT, lambda: serial() != before)
    assert infer(secured, {"x-api-key": secured.infer}) == [[2, 4, 6, 8]]
    secured.keys.write_text("[")  # what can't be read changes nothing
    assert not within(3, lambda: secured.ask(secured.infer).status_code != 200)


def test_certificates_that_do_not_fit_are_refused_and_change_nothing(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.sign("a", "a")
    certificates = Certificates(certificate, key)
    before = certificates.context
    authority.sign("b", "b")[1].replace(key)
    with pytest.raises(InvalidCertificate, match=r"a\.pem and a\.key can't be used"):
        certificates.reload()
    assert certificates.context is before
    with pytest.raises(InvalidCertificate, match="No such file"):
        Certificates(tmp_path / "missing.pem", key)
