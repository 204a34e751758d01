"""The clock of the machine is set while clients ask: dates follow it, nothing else does."""

import json
import mmap
import os
import shutil
import ssl
import struct
import subprocess
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

from inference_service.security.keys import KeyEntry, create
from tests import onnx_models
from tests.conftest import RunningServer
from tests.faults.load import Load
from tests.faults.test_service import eventually
from tests.security.authority import Authority

HOUR = 3600
SOURCE = Path(__file__).with_name("clock.c")
PEPPER = "0123456789abcdef0123456789abcdef"
ISSUER, AUDIENCE = "https://id.example", "inference"


class Clock:
    """The time of day of the processes that are started with ``environment``."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            reason = "there is no C compiler"
            (pytest.fail if os.environ.get("REQUIRE_TOOLS") else pytest.skip)(reason)
        library, offset = folder / "clock.so", folder / "offset"
        command = [
            compiler,
            "-O2",
            "-Wall",
            "-Werror",
            "-shared",
            "-fPIC",
            "-o",
            str(library),
            str(SOURCE),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        offset.write_bytes(bytes(8))
        with offset.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 8)
        self.offset = 0
        self.environment = {"LD_PRELOAD": str(library), "TEST_CLOCK": str(offset)}

    def step(self, seconds: int) -> None:
        """Set it by so much, from now on."""
        self.offset += seconds
        self._memory[:] = struct.pack("q", self.offset)

    def now(self) -> float:
        return time.time() + self.offset


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    (tmp_path / "clock").mkdir()
    return Clock(tmp_path / "clock")


def models(folder: Path) -> Path:
    onnx_models.save(onnx_models.doubler(), folder / "doubler" / "1" / "model.onnx")
    onnx_models.save(onnx_models.embedding(), folder / "apart" / "1" / "model.onnx")
    (folder / "apart" / "model.toml").write_text('runtime.isolation = "process"\n')
    return folder


def date_of(url: str) -> float:
    head = requests.get(url + "/v2/health/live", timeout=20).headers
    return parsedate_to_datetime(head["Date"]).timestamp()


def test_a_step_of_the_clock_changes_no_answer_and_no_deadline(
    serve: Callable[..., RunningServer], clock: Clock, tmp_path: Path
) -> None:
    watching = {"INFERENCE_SERVICE_REPOSITORY__WATCH": "true"}
    server = serve(models(tmp_path / "models"), **clock.environment, **watching)
    load = Load(server.url, "doubler")
    url = f"{server.url}/v1/models/apart:predict"
    with load.running(), requests.Session() as session:
        for step in (HOUR, -HOUR, -HOUR, 24 * HOUR, -23 * HOUR):
            clock.step(step)
            before = load.counts["right"]
            began = time.monotonic()
            eventually(lambda: abs(date_of(server.url) - clock.now()) < 3)
            for word in range(10):
                headers = {"X-Request-Timeout": "20"}
                answer = session.post(url, json={"instances": [word]}, headers=headers, timeout=30)
                assert answer.json() == {"predictions": [[word, word]]}
            eventually(lambda n=before: load.counts["right"] > n + 50)  # type: ignore[misc]
            assert time.monotonic() - began < 120
        scraped = requests.get(server.url + "/metrics", timeout=20).text
    assert load.only_right(), load.counts
    assert "_created" not in scraped
    assert server.terminate() == 0
    assert "Traceback" not in server.output()


class Secured:
    """A server with keys, tokens of a provider and quotas."""

    def __init__(self, folder: Path, now: float) -> None:
        jwt = pytest.importorskip("jwt")
        ec = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ec")
        signer = ec.generate_private_key(ec.SECP256R1())
        published = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(signer.public_key()))
        jwks = folder / "jwks.json"
        jwks.write_text(json.dumps({"keys": [{**published, "kid": "1", "alg": "ES256"}]}))
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "team", "scope": "infer",
                  "exp": now + HOUR / 2}  # fmt: skip
        self.token = jwt.encode(claims, signer, "ES256", headers={"kid": "1"})
        self.entries: list[KeyEntry] = []
        self.lasting = self._key("lasting", 0)
        self.ending = self._key("ending", int(now) + HOUR // 2)
        self.greedy = self._key("greedy", 0)
        security: dict[str, Any] = {
            "PEPPER": PEPPER,
            "KEYS": json.dumps([
                {"id": one.id, "name": one.name, "scopes": one.scopes, "hash": one.hash,
                 "expires": one.expires} for one in self.entries
            ]),
            "OIDC__ISSUER": ISSUER, "OIDC__AUDIENCE": AUDIENCE, "OIDC__JWKS": str(jwks),
            "QUOTAS__REQUESTS_PER_SECOND": "20", "QUOTAS__BURST": "1",
        }  # fmt: skip
        self.environment = {
            f"INFERENCE_SERVICE_SECURITY__{name}": value for name, value in security.items()
        }

    def _key(self, name: str, expires: int) -> str:
        key, entry = create(name, ["infer"], PEPPER.encode(), 0)
        self.entries.append(KeyEntry(entry.id, name, entry.scopes, entry.hash, 0, expires))
        return key


def test_what_is_valid_until_a_date_follows_the_clock_and_quotas_do_not(
    serve: Callable[..., RunningServer], clock: Clock, tmp_path: Path
) -> None:
    secured = Secured(tmp_path, clock.now())
    server = serve(models(tmp_path / "models"), **clock.environment, **secured.environment)
    url = f"{server.url}/v1/models/doubler:predict"

    def ask(secret: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {secret}"}
        return requests.post(url, json={"instances": [[1, 2, 3]]}, headers=headers, timeout=20)

    for step, valid in ((0, True), (HOUR, False), (-HOUR, True), (-HOUR, True), (2 * HOUR, False)):
        clock.step(step)
        assert ask(secured.lasting).json() == {"predictions": [[2, 4, 6]]}
        for secret in (secured.ending, secured.token):
            assert ask(secret).status_code == (200 if valid else 401), (step, secret)
        begun, answered = time.monotonic(), 0
        while time.monotonic() < begun + 1.0 or not answered:
            answered += ask(secured.greedy).status_code == requests.codes.ok
        most = 20 + 20 * (time.monotonic() - begun) + 1
        assert answered <= most, "the rate is that of real seconds"


def test_a_client_s_certificate_is_valid_by_the_clock(
    serve: Callable[..., RunningServer], clock: Clock, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)  # for an hour
    certificate, key = authority.sign("localhost", "server")
    client = authority.sign("client.example", "client")
    identities = [{"name": "client.example", "scopes": ["infer"]}]
    security = {
        "CERTIFICATES": json.dumps(identities), "TLS__CERTIFICATE": str(certificate),
        "TLS__KEY": str(key), "TLS__CLIENT_CA": str(authority.file),
    }  # fmt: skip
    given = {f"INFERENCE_SERVICE_SECURITY__{name}": value for name, value in security.items()}
    server = serve(models(tmp_path / "models"), **clock.environment, **given)
    url = f"{server.url}/v1/models/doubler:predict"

    def ask(certificate: tuple[Path, Path]) -> list[list[float]] | None:
        context = ssl.create_default_context(cafile=str(authority.file))
        context.load_cert_chain(*map(str, certificate))
        try:
            answer = httpx.post(url, json={"instances": [[1, 2, 3]]}, verify=context, timeout=20)
        except httpx.TransportError:  # it is refused in the handshake
            return None
        found: list[list[float]] = answer.json()["predictions"]
        return found

    for step, valid in ((0, True), (2 * HOUR, False), (-2 * HOUR, True), (-HOUR, False)):
        clock.step(step)
        assert (ask(client) == [[2, 4, 6]]) is valid, step
    clock.step(HOUR)
    assert ask(client) == [[2, 4, 6]]
    assert "Traceback" not in server.output()
