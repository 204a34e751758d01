"""What the OpenAPI document says of keys, scopes and quotas. Pure."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from inference_service.security.table import needed

_KEYS: dict[str, dict[str, str]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "a key of the service, or a token of the identity provider",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_CERTIFICATE = {"type": "mutualTLS", "description": "a certificate of a known client"}
_VERBS = ("get", "post", "put", "patch", "delete")


class Protection(NamedTuple):
    """What guards the service: keys and tokens, clients' certificates, quotas."""

    keys: bool = False
    certificates: bool = False
    quotas: bool = False


def protect(document: dict[str, Any], protection: Protection) -> dict[str, Any]:
    """The same document, changed in place: the ways to show a key, the scope that each operation
    needs, and the refusals (401, 403, 429) in the shape of its other errors.

    Operations that need no scope have an empty ``security`` (OpenAPI 3.1, 4.8.10).
    """
    schemes = {**(_KEYS if protection.keys else {})}
    if protection.keys and protection.certificates:
        schemes["certificate"] = dict(_CERTIFICATE)
    if schemes:
        document.setdefault("components", {})["securitySchemes"] = schemes
    for verb, path, operation in _operations(document):
        scope = needed(verb.upper(), path.replace("{", "").replace("}", "")).scope
        if schemes:
            operation["security"] = [] if scope is None else [{name: []} for name in schemes]
        if scope is None:
            continue
        refusals: dict[str, str] = {}
        if schemes:
            refusals["401"] = "No key, or one that is unknown or has expired"
            refusals["403"] = f"The key does not have the scope '{scope}'"
        if protection.quotas:
            refusals["429"] = "The client's quota is used up; see Retry-After"
        for status, description in refusals.items():
            operation["responses"][status] = {
                "description": description,
                "content": _errors(operation),
            }
        operation["responses"] = dict(sorted(operation["responses"].items()))
    return document


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for verb in _VERBS:
            if verb in item:
                yield verb, path, item[verb]


def _errors(operation: dict[str, Any]) -> dict[str, Any]:
    """The content of an error of this operation."""
    for status, answer in operation["responses"].items():
        if status[0] in "45" and status not in {"401", "403", "429"} and answer.get("content"):
            return dict(answer["content"])
    return {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
