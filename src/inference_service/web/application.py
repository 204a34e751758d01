"""One ASGI application of FastAPI's part, the hot paths before it, and what surrounds both.

From the outside in: middleware that a host adds to the FastAPI application, the surrounding
middleware (CORS, access control), the hot paths, FastAPI with this service's own middleware. There
is one such stack, whether the `Application` is called or its FastAPI application: no request has
a way around middleware that was added.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from inference_service.core.errors import ModelNotReady
from inference_service.web import errors
from inference_service.web.docs_page import add_docs_page
from inference_service.web.hot_paths import HotPaths, Target
from inference_service.web.page_security import PageSecurity
from inference_service.web.requests import UsualRequests
from inference_service.web.timing import ServerTiming


def framework(
    title: str,
    version: str,
    description: str,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
) -> FastAPI:
    """FastAPI's part: the document, errors and this service's middleware, without a path."""
    app: FastAPI = FastAPIOffline(
        title=title,
        version=version,
        description=description,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # they are answered
        lifespan=lifespan,
    )
    add_docs_page(app)
    errors.install(app)
    for middleware in (PageSecurity, ServerTiming, UsualRequests):
        app.add_middleware(middleware)
    return app


class Running:
    """ASGI middleware: requests before the start of the service are answered with what is missing.

    Without it they would be told that there is no such model. ``problem`` is None from the start
    on. Hot paths need no such check: they exist when models are loaded.
    """

    def __init__(self, app: ASGIApp, problem: Callable[[], str | None]) -> None:
        self._app = app
        self._problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with 503."""
        problem = self._problem() if scope["type"] == "http" else None
        if problem is None:
            await self._app(scope, receive, send)
            return
        reply = errors.answer(ModelNotReady(problem))
        response = Response(reply.body, reply.status, reply.headers, "application/json")
        await response(scope, receive, send)


class Application:
    """The ASGI application of the service.

    It enters the stack of its FastAPI application directly: FastAPI's own entrance looks for a
    configured OpenTelemetry on each call, which takes longer than a hot path (5 us).
    """

    def __init__(self, app: FastAPI, surrounding: Sequence[Middleware] = ()) -> None:
        self.fastapi = app
        self.hot_paths: dict[str, Target] = {}
        self._surrounding = list(surrounding)
        self._own = list(app.user_middleware)
        self._watchers: list[Callable[[], None]] = []
        self._build_inner = app.build_middleware_stack
        app.build_middleware_stack = self._build  # type: ignore[method-assign]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; the lifespan is FastAPI's."""
        app = self.fastapi
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
            return
        scope["app"] = app
        if app.middleware_stack is None:
            app.middleware_stack = app.build_middleware_stack()
        await app.middleware_stack(scope, receive, send)

    def replace_hot_paths(self, targets: Mapping[str, Target]) -> None:
        """From now on these paths lead straight to their endpoints, and no others."""
        self.hot_paths.clear()
        self.hot_paths.update(targets)
        for watcher in self._watchers:
            watcher()

    def watch_hot_paths(self, watcher: Callable[[], None]) -> None:
        """Call ``watcher`` after each change of `hot_paths`."""
        self._watchers.append(watcher)

    @property
    def passes_plainly(self) -> bool:
        """Whether a request without an Origin comes to its hot path through no middleware that
        does anything: a server may then take it there on its own."""
        added = len(self.fastapi.user_middleware) - len(self._own)
        kinds: set[Any] = {one.cls for one in self._surrounding}
        return not added and kinds <= {CORSMiddleware}

    def _build(self) -> ASGIApp:
        """Called by FastAPI at its first request; later it accepts no more middleware."""
        app, everything = self.fastapi, self.fastapi.user_middleware
        added = everything[: len(everything) - len(self._own)]  # the last one added comes first
        app.user_middleware = self._own
        inner = self._build_inner()
        app.user_middleware = everything
        stack: ASGIApp = HotPaths(inner, self.hot_paths)
        for cls, args, kwargs in reversed([*added, *self._surrounding]):
            stack = cls(stack, *args, **kwargs)
        if added:  # errors of a host's middleware get the shape of all others
            handler: Any = app.exception_handlers.get(Exception)
            stack = ServerErrorMiddleware(stack, handler=handler)
        return stack
