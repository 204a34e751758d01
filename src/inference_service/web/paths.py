"""Paths of an application that is mounted in another one, or lies behind a prefix of a proxy."""

from starlette.types import Scope


def root_path(scope: Scope) -> str:
    """The prefix under which clients find the application: "" or like ``/ml``."""
    return str(scope.get("root_path", "")).rstrip("/")


def own_path(scope: Scope) -> str:
    """The path below that prefix, as the application's routes name it.

    Source: the ASGI specification, HTTP connection scope (``path`` includes ``root_path``); as
    Starlette does, a path without the prefix is taken as it is.
    """
    path: str = scope.get("path", "")
    root = root_path(scope)
    if root and path.startswith(root) and path[len(root) :][:1] in {"", "/"}:
        return path[len(root) :]
    return path
