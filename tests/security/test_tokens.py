"""Tokens of an identity provider: signed JWTs, keys that rotate, and what is refused."""

import base64
import json
import threading
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from inference_service.core.errors import Unauthorised
from inference_service.security import tokens
from inference_service.security.authorizer import Authorizer
from inference_service.security.credentials import presented
from inference_service.security.grants import Scope
from inference_service.security.keys import KeyRing
from inference_service.security.table import Need
from inference_service.security.tokens import SignedTokens, fetcher
from tests.support import until

ISSUER, AUDIENCE = "https://id.example", "inference"


class Provider:
    """Publishes its keys and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.keys: dict[str, Any] = {}
        self.down = False
        self.now = 1000.0

    def rotate(self, name: str, kind: str = "EC") -> None:
        key: Any = (
            ec.generate_private_key(ec.SECP256R1())
            if kind == "EC"
            else rsa.generate_private_key(65537, 2048)
        )
        self.keys = {name: key}

    def fetch(self) -> dict[str, Any]:
        self.asked += 1
        if self.down:
            raise OSError("unreachable")
        published = []
        for name, key in self.keys.items():
            is_ec = isinstance(key, ec.EllipticCurvePrivateKey)
            algorithm: Any = jwt.algorithms.ECAlgorithm if is_ec else jwt.algorithms.RSAAlgorithm
            public = json.loads(algorithm.to_jwk(key.public_key()))
            published.append({**public, "kid": name, "alg": "ES256" if is_ec else "RS256"})
        return {"keys": published}

    def token(self, name: str = "1", **changed: Any) -> str:
        claims = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": "team-a", "exp": time.time() + 60,
            "scope": "infer openid", **changed,
        }  # fmt: skip
        claims = {claim: value for claim, value in claims.items() if value is not None}
        key = self.keys[name]
        algorithm = "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "RS256"
        return jwt.encode(claims, key, algorithm, headers={"kid": name})

    def verifier(self, **more: Any) -> SignedTokens:
        return SignedTokens(ISSUER, AUDIENCE, self.fetch, clock=lambda: self.now, **more)


@pytest.fixture
def provider() -> Provider:
    made = Provider()
    made.rotate("1")
    return made


async def test_a_token_makes_a_client_with_the_scopes_that_are_ours(provider: Provider) -> None:
    authorizer = Authorizer(KeyRing([], b""), time.time, verifier=provider.verifier())
    for _ in range(3):
        given = presented([(b"authorization", b"Bearer " + provider.token().encode())])
        access = await authorizer.authorize(given, Need(Scope.INFER))
        assert access.principal is not None
        assert access.principal.name == "team-a"
        assert access.principal.scopes == frozenset((Scope.INFER,))
    assert provider.asked == 1


async def test_the_provider_s_words_are_turned_into_ours(provider: Provider) -> None:
    scopes = {"ml-users": ("infer:digits", "read"), "ml-admins": ("admin",)}
    verifier = provider.verifier(name_claim="client_id", scope_claim="groups", scopes=scopes)
    token = provider.token(client_id="batch", groups=["ml-users", "others"])
    found = await verifier.verified(token)
    assert (found.name, found.models) == ("batch", ("digits",))
    assert found.scopes == frozenset((Scope.INFER, Scope.READ))


async def test_a_rotated_key_is_fetched_and_an_unknown_one_not_again_and_again(
    provider: Provider,
) -> None:
    verifier = provider.verifier()
    old = provider.token()
    await verifier.verified(old)
    provider.rotate("2", "RSA")
    fresh = provider.token("2")
    assert verifier.known(fresh) is None
    with pytest.raises(Unauthorised, match="the issuer does not publish"):
        await verifier.verified(fresh)  # ten seconds between two looks
    provider.now += 10
    assert (await verifier.verified(fresh)).name == "team-a"
    assert provider.asked == 2
    provider.now += 10
    with pytest.raises(Unauthorised):
        await verifier.verified(old)


async def test_while_the_provider_is_down_its_former_keys_are_used(provider: Provider) -> None:
    verifier = provider.verifier()
    await verifier.verified(provider.token())
    provider.down = True
    provider.now += 4000
    assert (await verifier.verified(provider.token())).name == "team-a"


async def test_a_provider_that_does_not_answer_holds_up_no_request(provider: Provider) -> None:
    answered = threading.Event()

    def fetch() -> dict[str, Any]:
        if provider.asked:
            answered.wait(60)
        return provider.fetch()

    verifier = SignedTokens(ISSUER, AUDIENCE, fetch, clock=lambda: provider.now)
    token = provider.token()
    await verifier.verified(token)
    provider.now += 4000
    for one in (token, provider.token()):  # one that was seen before, and another
        known = verifier.known(one)
        assert known is not None
        assert known.name == "team-a"
    answered.set()
    await until(lambda: provider.asked == 2)


async def test_a_key_that_is_withdrawn_ends_its_tokens_within_the_hour(provider: Provider) -> None:
    verifier = provider.verifier()
    old = provider.token()
    await verifier.verified(old)
    provider.rotate("2")
    provider.now += 4000
    verifier.known(old)
    await until(lambda: provider.asked == 2)
    with pytest.raises(Unauthorised):
        await verifier.verified(old)


def test_an_answer_that_goes_on_and_on_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless:
        def read1(self, _: int) -> bytes:
            return b" "

    monkeypatch.setattr(tokens, "_LONGEST_FETCH", 0.0)
    with pytest.raises(tokens.ProviderUnreachable, match="took more than"):
        tokens._read(Endless())


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://evil.example"}, {"aud": "another"}, {"exp": time.time() - 3600},
        {"exp": None}, {"aud": None}, {"iss": None}, {"sub": None}, {"sub": 7},
        {"nbf": time.time() + 3600},
    ],
)  # fmt: skip
async def test_claims_that_do_not_fit_are_refused(
    provider: Provider, changed: dict[str, Any]
) -> None:
    with pytest.raises(Unauthorised):
        await provider.verifier().verified(provider.token(**changed))


async def test_forged_tokens_are_refused(provider: Provider) -> None:
    verifier = provider.verifier()
    good = provider.token()
    claims = jwt.decode(good, options={"verify_signature": False})
    other = ec.generate_private_key(ec.SECP256R1())
    forged = [
        good[:-8] + "AAAAAAAA",
        jwt.encode(claims, other, "ES256", headers={"kid": "1"}),
        jwt.encode(claims, "", "none", headers={"kid": "1"}),
        jwt.encode(claims, "x" * 32, "HS256", headers={"kid": "1"}),
        "a.b.c", "..", "e30.e30.e30",
    ]  # fmt: skip
    for token in forged:
        with pytest.raises(Unauthorised):
            await verifier.verified(token)


def encoded(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


HEADERS: list[Any] = [
    {"alg": "none"}, {"alg": "None"}, {"alg": None}, {"alg": ["ES256"]}, {"alg": "ES384"}, {},
    {"alg": "ES256", "kid": ["1"]}, {"alg": "ES256", "kid": {}}, {"alg": "ES256", "kid": 1},
    {"alg": "ES256", "kid": "../../dev/null"}, {"alg": "ES256", "kid": "1", "crit": ["x"], "x": 1},
    {"alg": "ES256", "kid": "1", "b64": False, "crit": ["b64"]}, [1], "text",
    b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}", b'{"kid":' + b"9" * 5000 + b"}", b"\xff",
]  # fmt: skip


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: str(header)[:30])
async def test_headers_of_tokens_that_ask_for_another_check_are_refused(
    provider: Provider, header: Any
) -> None:
    verifier = provider.verifier()
    await verifier.verified(provider.token())
    claims = encoded(jwt.decode(provider.token(), options={"verify_signature": False}))
    text = f"{encoded(header)}.{claims}"
    key: Any = provider.keys["1"]
    signature = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(
        text.encode(), key
    )
    for end in (encoded(signature), ""):
        with pytest.raises(Unauthorised):
            assert verifier.known(f"{text}.{end}") is None
            await verifier.verified(f"{text}.{end}")


@pytest.mark.parametrize("place", ["jku", "x5u", "jwk"])
async def test_a_token_does_not_bring_its_own_key(provider: Provider, place: str) -> None:
    verifier = provider.verifier()
    await verifier.verified(provider.token())
    own = ec.generate_private_key(ec.SECP256R1())
    claims = jwt.decode(provider.token(), options={"verify_signature": False})
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(own.public_key()))
    brought = public if place == "jwk" else "https://evil.example/keys"
    with pytest.raises(Unauthorised, match="Signature verification failed"):
        verifier.known(jwt.encode(claims, own, "ES256", headers={"kid": "1", place: brought}))
    assert provider.asked == 1


def test_keys_come_from_a_file_or_over_https(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text('{"keys": []}')
    assert fetcher(ISSUER, str(file))() == {"keys": []}
    with pytest.raises(Exception, match="is not https"):
        fetcher(ISSUER, "http://id.example/keys")()
    with pytest.raises(Exception, match="is not https"):
        fetcher("http://id.example", "")()
