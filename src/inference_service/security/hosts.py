"""Which hosts a request may name and which pages may send it. Pure.

A page of another site can make a browser send requests here. Two checks stop it: ``Host`` must be a
name of this service, or a page whose name is pointed at this address reads the answers (DNS
rebinding); and what changes something, computes, or opens a WebSocket must come from no page or
from one of ours.
"""

import ipaddress
from collections.abc import Iterable

from inference_service.core.errors import clipped

_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_MOST_KNOWN = 1024


class HostRule:
    """The hosts that requests may name.

    ``allowed``: names, ``*.example.com`` for those below one. Empty: on a loopback address, numeric
    addresses and names without a dot, because no site on the internet has one; otherwise any.
    """

    def __init__(self, allowed: Iterable[str], *, loopback: bool) -> None:
        self._allowed = frozenset(name.lower().rstrip(".") for name in allowed)
        self._any = not self._allowed and not loopback
        self._plain = not self._allowed
        self._known: set[bytes] = set()

    def allows(self, host: bytes) -> bool:
        """Whether a request may name it. An empty one is what HTTP/1.0 leaves out."""
        if self._any or host in self._known:
            return True
        allowed = self._allows(host)
        if allowed and len(self._known) < _MOST_KNOWN:
            self._known.add(host)
        return allowed

    def _allows(self, host: bytes) -> bool:
        name = _name_of(host)
        if not name or name == "localhost" or name.endswith(".localhost") or _is_address(name):
            return True
        if self._plain and "." not in name:
            return True
        return any(
            name == one or (one.startswith("*.") and name.endswith(one[1:]))
            for one in self._allowed
        )


class OriginRule:
    """The pages that may send requests other than reading ones."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(allowed)

    def allows(self, host: bytes, origin: bytes | None, site: bytes | None) -> bool:
        """Whether the page may: ``origin`` is the header Origin, ``site`` is Sec-Fetch-Site.

        No page sends neither. Behind a proxy that changes ``Host``, browsers still say
        ``same-origin``, which pages can't forge.
        """
        if site == b"same-origin" or "*" in self._allowed:
            return True
        if origin is None:
            return site is None or site == b"none"
        text = origin.decode("latin-1")
        if text in self._allowed:
            return True
        _, _, authority = text.partition("://")
        return bool(authority) and authority.lower().encode("latin-1") == host.lower()


class Sites:
    """Both rules, for the head of a request."""

    def __init__(self, hosts: HostRule, origins: OriginRule) -> None:
        self.hosts = hosts
        self.origins = origins

    def fault(
        self, method: bytes, host: bytes, headers: Iterable[tuple[bytes, bytes]], *, stream: bool
    ) -> tuple[int, str] | None:
        """Status and text of the refusal, if it is refused; ``stream``: it opens a WebSocket."""
        if not self.hosts.allows(host):
            name = clipped(host.decode("latin-1"))
            return 421, (
                f"this service is not '{name}'; the setting security.allowed_hosts lists its names"
            )
        if method in _SAFE and not stream:
            return None
        origin = site = None
        for field, value in headers:
            if field == b"origin":
                origin = value
            elif field == b"sec-fetch-site":
                site = value
        if (origin is None and site is None) or self.origins.allows(host, origin, site):
            return None
        page = clipped(origin.decode("latin-1")) if origin is not None else "other sites"
        return 403, f"pages of {page} may not call this service (http.cors_origins)"


def _name_of(host: bytes) -> str:
    text = host.decode("latin-1").lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether listening there reaches this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
