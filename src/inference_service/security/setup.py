"""From the settings to what controls access. Reads files; raises InvalidSettings for bad ones."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from inference_service.core.errors import InferenceServiceError
from inference_service.security.authorizer import Authorizer, TokenVerifier
from inference_service.security.grants import Principal, Scope, principal_of
from inference_service.security.hosts import HostRule, OriginRule, Sites, is_loopback
from inference_service.security.key_file import pepper_beside, read_keys, read_pepper
from inference_service.security.keys import InvalidKeys, KeyEntry, KeyRing, Tokens
from inference_service.security.proxies import TrustedProxies
from inference_service.security.quotas import Quota, Quotas, Rate
from inference_service.security.tls import Certificates
from inference_service.security.watch import Watched, Watcher
from inference_service.settings import InvalidSettings, Settings

log = logging.getLogger(__name__)

_SHORTEST_PEPPER = 16


@dataclass(slots=True)
class Security:
    """What the settings ask for; None or empty where they ask for nothing."""

    authorizer: Authorizer | None
    quotas: Quotas | None
    proxies: TrustedProxies
    sites: Sites
    certificates: Certificates | None
    watcher: Watcher
    admin_port: int | None = None
    """The port that admins use, once the server listens there."""

    @property
    def guards(self) -> bool:
        """Whether requests have to pass the middleware."""
        asked = (self.authorizer, self.quotas, self.admin_port)
        return bool(self.proxies) or any(one is not None for one in asked)


def security_of(settings: Settings) -> Security:
    """Raises InvalidSettings."""
    security = settings.security
    watched: list[Watched] = []
    try:
        authorizer = _authorizer(settings, watched) if security.access_control else None
        certificates = _certificates(settings, watched)
        proxies = TrustedProxies(security.trusted_proxies)
    except InferenceServiceError as error:
        raise InvalidSettings(f"security: {error}") from error
    except ValueError as error:
        raise InvalidSettings(f"setting 'security.trusted_proxies': {error}") from error
    sites = Sites(
        HostRule(security.allowed_hosts, loopback=is_loopback(settings.host)),
        OriginRule(settings.http.cors_origins),
    )
    quotas = None
    if authorizer is not None or security.quotas.any:
        quotas = Quotas(_quota(settings), time.monotonic)
    return Security(
        authorizer, quotas, proxies, sites, certificates, Watcher(watched), settings.admin.port
    )


def check_exposure(settings: Settings, *, allowed: bool = False) -> str:
    """A warning where whatever reaches the port may use the service, "" elsewhere.

    Raises InvalidSettings where that is on an address beyond this machine and neither ``allowed``
    (the command line) nor a setting says that it is meant.
    """
    if is_loopback(settings.host) or settings.security.access_control:
        return ""
    if not (allowed or settings.security.anonymous):
        raise InvalidSettings(
            f"{settings.host} can be reached from other machines, and there is no access control: "
            "set security.keys_file (inference-service keys create), or say --allow-anonymous "
            "(security.anonymous = true); docs/security.md"
        )
    return f"no access control: whatever reaches {settings.host} may use the service"


def _authorizer(settings: Settings, watched: list[Watched]) -> Authorizer:
    security = settings.security
    tokens = []
    if settings.admin.token is not None:
        admin = Principal("admin", frozenset({Scope.ADMIN}))
        tokens.append((settings.admin.token.get_secret_value(), admin))
    certificates = {one.name: principal_of(one.name, one.scopes) for one in security.certificates}
    authorizer = Authorizer(
        _ring(settings), time.time, Tokens(tokens), _verifier(settings), certificates
    )
    files = [file for file in (security.keys_file, _pepper_file(settings)) if file is not None]
    if files:

        def reload() -> None:
            authorizer.ring = _ring(settings)

        watched.append(Watched("API keys", files, reload))
    return authorizer


def _ring(settings: Settings) -> KeyRing:
    security = settings.security
    entries = [
        KeyEntry(one.id, one.name, one.scopes, one.hash, one.created, one.expires)
        for one in security.keys
    ]
    if security.keys_file is not None:
        entries += read_keys(security.keys_file)
    return KeyRing(entries, _pepper(settings) if entries else b"")


def _pepper_file(settings: Settings) -> Path | None:
    security = settings.security
    if security.pepper is not None:
        return None
    if security.pepper_file is not None:
        return security.pepper_file
    return pepper_beside(security.keys_file) if security.keys_file is not None else None


def _pepper(settings: Settings) -> bytes:
    if settings.security.pepper is not None:
        pepper = settings.security.pepper.get_secret_value().strip().encode()
        if len(pepper) < _SHORTEST_PEPPER:
            raise InvalidKeys(f"pepper: expected {_SHORTEST_PEPPER} bytes or more")
        return pepper
    file = _pepper_file(settings)
    if file is None:
        raise InvalidKeys("no pepper is set")
    return read_pepper(file)


def _verifier(settings: Settings) -> TokenVerifier | None:
    oidc = settings.security.oidc
    if not oidc.issuer:
        return None
    try:
        from inference_service.security.tokens import SignedTokens, fetcher
    except ModuleNotFoundError as error:
        raise InvalidSettings(
            f"setting 'security.oidc': {error.name} is not installed; install the extra 'auth', "
            "in a clone of the repository: pip install '.[auth]'"
        ) from error
    return SignedTokens(
        oidc.issuer, oidc.audience, fetcher(oidc.issuer, oidc.jwks),
        name_claim=oidc.name_claim, scope_claim=oidc.scope_claim, scopes=oidc.scopes,
    )  # fmt: skip


def _certificates(settings: Settings, watched: list[Watched]) -> Certificates | None:
    tls = settings.security.tls
    if tls.certificate is None or tls.key is None:
        return None
    certificates = Certificates(
        tls.certificate, tls.key, tls.client_ca, required=tls.client_certificates == "required"
    )
    watched.append(Watched("certificates", certificates.files, certificates.reload))
    return certificates


def _quota(settings: Settings) -> Quota:
    quotas, limits = settings.security.quotas, settings.limits

    def rate(name: str, per_second: float | None) -> Rate | None:
        if per_second is None:
            return None
        return Rate(name, per_second, max(1.0, per_second * quotas.burst))

    share = max(1, int(limits.max_in_flight_requests * quotas.share))
    return Quota(
        rate("requests", quotas.requests_per_second),
        rate("rows", quotas.rows_per_second),
        rate("bytes", quotas.bytes_per_second),
        min(quotas.concurrency or share, share),
        max(limits.max_body_bytes, int(limits.max_in_flight_bytes * quotas.share)),
    )
