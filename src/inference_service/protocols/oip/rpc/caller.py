"""The client of a gRPC call."""

from typing import Any

from inference_service.security.authorizer import Access, current_access


def client_of(context: Any, access: Access | None = None) -> str:
    """Its name where access control knows it, or else its address."""
    access = access or current_access.get()
    if access is not None and access.principal is not None:
        return access.principal.name
    return str(context.peer()).rpartition(":")[0]
