"""From what a request presents and needs to the client it is from, or to a refusal."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Protocol

from inference_service.core.errors import Unauthorised
from inference_service.security.credentials import Presented
from inference_service.security.grants import Principal, Scope
from inference_service.security.keys import PREFIX, KeyRing, Tokens
from inference_service.security.quotas import Entry
from inference_service.security.table import Need

_EXPECTED = (
    "expected a key as 'Authorization: Bearer <key>' or 'X-API-Key: <key>', or a client certificate"
)


class TokenVerifier(Protocol):
    """Signed tokens of an identity provider."""

    def known(self, token: str) -> Principal | None:
        """The client of a valid token whose signer's key is here; None: that key isn't.

        Raises Unauthorised for a token that is not valid.
        """

    async def verified(self, token: str) -> Principal:
        """The same, the signer's keys fetched again if need be. Raises Unauthorised."""


class Access:
    """A request's permission: which client it is from and what it does.

    ``client`` is the name that quotas go by: the principal's, or else an address. ``again`` finds
    the principal once more, or raises as `Authorizer.authorize`. ``entry`` is what the client's
    quota counts, where there is one.
    """

    __slots__ = ("_again", "client", "entry", "principal", "scope")

    def __init__(
        self,
        principal: Principal | None,
        scope: Scope | None,
        client: str = "",
        again: Callable[[], Principal] | None = None,
    ) -> None:
        self.principal = principal
        self.scope = scope
        self.client = principal.name if principal is not None else client
        self._again = again
        self.entry: Entry | None = None

    def renew(self) -> None:
        """For each message of what lasts: a key may have been revoked, or have expired, meanwhile.

        Raises Unauthorised or Forbidden.
        """
        if self._again is not None:
            self.principal = self._again()

    def check_model(self, model: str) -> None:
        """Raises Forbidden where inference with this model is not permitted."""
        if self.scope is Scope.INFER and self.principal is not None:
            self.principal.check_model(model)


current_access: ContextVar[Access | None] = ContextVar("current_access", default=None)
"""That of the request that the running task answers; None where nothing guards the service.

The model may be named in a body, or be the default: `GuardedEngine` looks here when it is known.
"""


class Authorizer:
    """The keys, tokens and certificates that are accepted at the moment.

    ``ring`` may be replaced at any time. ``certificates``: clients by a name in their certificate.
    """

    def __init__(
        self,
        ring: KeyRing,
        clock: Callable[[], float],
        tokens: Tokens | None = None,
        verifier: TokenVerifier | None = None,
        certificates: Mapping[str, Principal] | None = None,
    ) -> None:
        self.ring = ring
        self._clock = clock
        self._tokens = tokens or Tokens(())
        self._verifier = verifier
        self._certificates = certificates or {}

    async def authorize(self, presented: Presented, need: Need, client: str = "") -> Access:
        """``client`` is the name of who needs no scope: an address.

        Raises Unauthorised where the client is not known, Forbidden where it lacks the scope.
        """
        scope = need.scope
        if scope is None:
            return Access(None, None, client)
        principal = await self.identify(presented)
        principal.check_scope(scope)

        def again() -> Principal:
            found = self._known(presented)
            if found is None:
                raise Unauthorised("the key that signed the token is not published any more")
            found.check_scope(scope)
            return found

        return Access(principal, scope, again=again)

    async def identify(self, presented: Presented) -> Principal:
        """The client. Raises Unauthorised; never says what was wrong with a key."""
        principal = self._known(presented)
        if principal is None and self._verifier is not None:
            principal = await self._verifier.verified(presented.secret)
        assert principal is not None  # noqa: S101 - only a verifier leaves it open
        return principal

    def _known(self, presented: Presented) -> Principal | None:
        """The client by what is here; None: its token's signer has to be asked for."""
        secret = presented.secret
        if not secret:
            return self._certified(presented)
        if secret.startswith(PREFIX):
            principal = self.ring.find(secret, self._clock())
        else:
            principal = self._tokens.find(secret)
        if principal is not None:
            return principal
        if self._verifier is not None and secret.count(".") == 2:
            return self._verifier.known(secret)
        raise Unauthorised("the key is not valid")

    def _certified(self, presented: Presented) -> Principal:
        for name in presented.certificate:
            principal = self._certificates.get(name)
            if principal is not None:
                return principal
        if presented.certificate:
            raise Unauthorised("no client is known by the names in this certificate")
        raise Unauthorised(_EXPECTED)
