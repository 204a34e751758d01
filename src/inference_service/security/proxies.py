"""The client behind proxies: ``Forwarded`` (RFC 7239) and ``X-Forwarded-For/-Proto``. Pure.

They are believed where the connection is a configured proxy's, and read from the right, because
each proxy appends: what stands left of the first address that isn't a proxy's is the client's word.
A proxy that writes one of both headers passes the other on as the client sent it. So where both
come, they have to tell of the same client.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple

_LARGEST = 4096
_PAIR = re.compile(r'\s*([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^;,\s]*)\s*')


class Forwarded(NamedTuple):
    """``address`` "" : nothing is said. ``scheme`` likewise."""

    address: str = ""
    scheme: str = ""


class TrustedProxies:
    """Addresses and networks (``10.0.0.0/8``) whose words count."""

    def __init__(self, networks: Iterable[str]) -> None:
        """Raises ValueError for what is no network."""
        self._networks = tuple(ipaddress.ip_network(one, strict=False) for one in networks)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trusts(self, address: str) -> bool:
        """Whether this is a proxy's."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None)
        parsed = mapped or parsed
        return any(parsed in network for network in self._networks)

    def forwarded(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> Forwarded:
        """What the proxies say of the client, if the connection is one's."""
        if not self._networks or not self.trusts(peer):
            return Forwarded()
        standard, addresses, schemes = [], [], []
        for name, value in headers:
            if name == b"forwarded":
                standard.append(value)
            elif name == b"x-forwarded-for":
                addresses.append(value)
            elif name == b"x-forwarded-proto":
                schemes.append(value)
        told = []
        if standard:
            told.append(self._client(_elements(_joined(standard))))
        if addresses:
            given = _joined(addresses).split(",")
            told.append(self._client([Forwarded(_bare(one.strip())) for one in given]))
        if len({one.address for one in told}) > 1:
            return Forwarded()
        client = told[0] if told else Forwarded()
        scheme = client.scheme or _joined(schemes).rpartition(",")[2].strip().lower()
        return Forwarded(client.address, scheme if scheme in {"http", "https"} else "")

    def _client(self, elements: list[Forwarded]) -> Forwarded:
        """The first from the right that is no proxy's, or the last one that can be read."""
        client = Forwarded()
        for element in reversed(elements):
            if not _is_address(element.address):
                break
            client = element
            if not self.trusts(element.address):
                break
        return client


def _joined(values: list[bytes]) -> str:
    return b",".join(values)[-_LARGEST:].decode("latin-1")


def _elements(text: str) -> list[Forwarded]:
    found = []
    for element in text.split(","):
        pairs = {}
        for part in element.split(";"):
            match = _PAIR.fullmatch(part)
            if match:
                pairs[match[1].lower()] = match[2].strip('"')
        found.append(Forwarded(_bare(pairs.get("for", "")), pairs.get("proto", "").lower()))
    return found


def _bare(address: str) -> str:
    """Without a port or brackets."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
