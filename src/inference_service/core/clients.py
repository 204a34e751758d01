"""What clients without a name are told apart by."""

import ipaddress
from functools import lru_cache

_NETWORK = 64
"""Bits of an IPv6 address that are a network's (RFC 4291, 2.5.4); the other 64 its user chooses."""


@lru_cache(4096)
def network_of(address: str) -> str:
    """An IPv4 address, or the network of an IPv6 address: a client must not become another one with
    each address of its network. What is no address stays as it is."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4 or parsed.is_loopback:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), _NETWORK), strict=False))
