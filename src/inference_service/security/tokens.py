"""Tokens of an identity provider: JWT (RFC 7519), signed with keys that it publishes (RFC 7517).

PyJWT verifies them. The provider's keys are fetched when a token names one that isn't here, at most
once in ten seconds and again after an hour; while the provider can't be reached the former ones
stay in use.
"""

import asyncio
import json
import logging
import time
import urllib.request
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt

from inference_service.core.errors import InferenceServiceError, Unauthorised, clipped
from inference_service.daemon import in_daemon
from inference_service.security.grants import InvalidGrant, Principal, principal_of

log = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
"""All asymmetric: with a symmetric one the service could make tokens itself."""
_LARGEST = 2**20
_TIMEOUT = 5.0
_LONGEST_FETCH = 10.0
"""Seconds for all of a provider's answer, of which `_TIMEOUT` may pass without a byte."""
_AGAIN = 10.0
_FRESH = 3600.0
_LEEWAY = 30
_REMEMBERED = 4096
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

Fetch = Callable[[], Mapping[str, Any]]


class ProviderUnreachable(InferenceServiceError):  # noqa: N818
    """The identity provider's keys can't be had."""


class SignedTokens:
    """The `TokenVerifier` of one provider.

    ``scope_claim`` names the claim with the scopes (a list, or words in one text); ``scopes`` turns
    the provider's words into ours, and where it is empty they are ours already.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        fetch: Fetch,
        *,
        name_claim: str = "sub",
        scope_claim: str = "scope",
        scopes: Mapping[str, Iterable[str]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._fetch = fetch
        self._claims = name_claim, scope_claim
        self._scopes = {word: tuple(ours) for word, ours in (scopes or {}).items()}
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = -_FRESH
        self._asked_at = -_FRESH
        self._fetching: asyncio.Task[None] | None = None
        self._known: OrderedDict[str, tuple[float, Principal]] = OrderedDict()

    def known(self, token: str) -> Principal | None:
        """See `TokenVerifier`. Keys that are an hour old stay in use while fresh ones are fetched:
        no request waits for a provider that doesn't answer."""
        if self._clock() - self._fetched_at > _FRESH:
            self._begin_refresh()
        remembered = self._known.get(token)
        if remembered is not None and time.time() < remembered[0]:
            return remembered[1]
        key = self._keys.get(self._key_id(token))
        return None if key is None else self._verify(token, key)

    async def verified(self, token: str) -> Principal:
        """See `TokenVerifier`."""
        identifier = self._key_id(token)
        self._begin_refresh()
        if self._fetching is not None:
            await asyncio.wait((self._fetching,), timeout=_LONGEST_FETCH)
        key = self._keys.get(identifier)
        if key is None:
            raise Unauthorised("the token is signed with a key that the issuer does not publish")
        return self._verify(token, key)

    def _begin_refresh(self) -> None:
        if self._fetching is None and self._clock() - self._asked_at >= _AGAIN:
            self._asked_at = self._clock()
            self._fetching = asyncio.create_task(self._refresh())

    async def _refresh(self) -> None:
        try:
            content = await asyncio.wrap_future(in_daemon(self._fetch, "jwks"))
            keys = jwt.PyJWKSet.from_dict(dict(content)).keys
            self._keys = {key.key_id or "": key for key in keys if key.public_key_use != "enc"}
            self._fetched_at = self._clock()
            self._known.clear()  # what was signed with a key that is gone is valid no more
        except Exception as error:
            log.error("the identity provider's keys can't be had: %s", error)
        finally:
            self._fetching = None

    def _key_id(self, token: str) -> str:
        try:
            return str(jwt.get_unverified_header(token).get("kid", ""))
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise Unauthorised("the token is no JWT") from None

    def _verify(self, token: str, key: "jwt.PyJWK") -> Principal:
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name] if key.algorithm_name in ALGORITHMS else [],
                audience=self._audience,
                issuer=self._issuer,
                leeway=_LEEWAY,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.PyJWTError as error:
            raise Unauthorised(f"the token is not valid: {clipped(str(error), 200)}") from None
        except (ValueError, TypeError, RecursionError):
            raise Unauthorised("the token is not valid") from None
        principal = self._principal(claims)
        self._known[token] = float(claims["exp"]), principal
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return principal

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        name_claim, scope_claim = self._claims
        name = claims.get(name_claim)
        if not isinstance(name, str) or not name:
            raise Unauthorised(f"the token has no claim '{name_claim}'")
        given = claims.get(scope_claim, ())
        words = given.split() if isinstance(given, str) else given
        if not isinstance(words, list | tuple):
            words = ()
        grants: list[str] = []
        for word in words[:256]:
            grants += self._scopes.get(str(word), ()) if self._scopes else _ours(str(word))
        return principal_of(clipped(name, 128), grants)


def _ours(word: str) -> tuple[str, ...]:
    """A provider's scope if it is one of ours: it may grant others to other services."""
    try:
        principal_of("", (word,))
    except InvalidGrant:
        return ()
    return (word,)


def fetcher(issuer: str, source: str) -> Fetch:
    """How the keys are had: from the URL or file ``source``, or, where it is "", from where the
    issuer's ``/.well-known/openid-configuration`` says (OpenID Connect Discovery 1.0, 4)."""
    if source and "://" not in source:
        return lambda: _json(Path(source).read_bytes())
    if source:
        return lambda: _get(source)

    def discovered() -> Mapping[str, Any]:
        document = _get(issuer.rstrip("/") + "/.well-known/openid-configuration")
        if document.get("issuer") != issuer:
            raise ProviderUnreachable("the issuer's document is another issuer's")
        return _get(str(document.get("jwks_uri")))

    return discovered


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """A redirect could lead to where the operator did not point."""


def _get(url: str) -> Mapping[str, Any]:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ProviderUnreachable(f"{url[:200]} is not https")
    opener = urllib.request.build_opener(_NoRedirects)
    with opener.open(url, timeout=_TIMEOUT) as answer:
        return _json(_read(answer))


def _read(answer: Any) -> bytes:
    """The answer up to `_LARGEST` and a bit. Raises ProviderUnreachable for one that goes on and
    on: the socket's timeout is for each piece."""
    until = time.monotonic() + _LONGEST_FETCH
    content = bytearray()
    while len(content) <= _LARGEST and (piece := answer.read1(_LARGEST)):
        content += piece
        if time.monotonic() > until:
            raise ProviderUnreachable(f"the answer took more than {_LONGEST_FETCH:g} s")
    return bytes(content)


def _json(content: bytes) -> Mapping[str, Any]:
    if len(content) > _LARGEST:
        raise ProviderUnreachable(f"the keys have more than {_LARGEST} bytes")
    value = json.loads(content)
    if not isinstance(value, dict):
        raise ProviderUnreachable("the keys are no JSON object")
    return value
