"""Straight from the path to its endpoint, past the framework's routing and middleware.

FastAPI's and Starlette's way to an endpoint costs more than a small model's run. The paths of
loaded models are looked up in a table instead; every other request takes the usual way. The table
is filled by asking the routes themselves, so a path means the same on both ways, and the endpoint
does all that the middleware would: errors in our shape, Server-Timing.
"""

from collections.abc import Awaitable, Iterable, Mapping, Sequence

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from inference_service.web.paths import own_path

Target = tuple[ASGIApp, Mapping[str, str]]
"""An endpoint and its path parameters."""


class HotPaths:
    """ASGI application in front of the framework's; ``targets`` is looked up on each request."""

    def __init__(self, app: ASGIApp, targets: Mapping[str, Target]) -> None:
        self._app = app
        self._targets = targets

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass the request to its endpoint, or to FastAPI."""
        if scope["type"] == "http" and scope["method"] == "POST":
            path = own_path(scope) if scope.get("root_path") else scope["path"]
            target = self._targets.get(path)
            if target is not None:
                endpoint, scope["path_params"] = target
                return endpoint(scope, receive, send)
        return self._app(scope, receive, send)


def resolve(routes: Sequence[BaseRoute], paths: Iterable[str]) -> dict[str, Target]:
    """The lean endpoints behind these paths, as the routes themselves match them."""
    targets: dict[str, Target] = {}
    for path in paths:
        scope: Scope = {"type": "http", "method": "POST", "path": path, "root_path": "",
                        "headers": [], "path_params": {}}  # fmt: skip
        for route in routes:
            match, found = route.matches(dict(scope))
            endpoint = getattr(route, "lean_endpoint", None)
            if match is Match.FULL and endpoint is not None:
                targets[path] = endpoint, found["path_params"]
                break
    return targets
