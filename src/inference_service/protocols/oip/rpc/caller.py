"""The client of a gRPC call."""

from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from inference_service.security.authorizer import current_access


def address_of(context: Any) -> str:
    """The address of the connection, as HTTP tells it: gRPC writes ``ipv4:192.0.2.1:5000`` and
    ``ipv6:%5B2001:db8::1%5D:5000``."""
    return _address(context.peer().rpartition(":")[0])


@lru_cache(4096)
def _address(peer: str) -> str:
    kind, _, rest = peer.partition(":")
    return unquote(rest).strip("[]") if kind in {"ipv4", "ipv6"} else kind


def client_of(context: Any) -> str:
    """Its name where access control knows it, or else its address."""
    access = current_access.get()
    return access.client if access is not None else address_of(context)
