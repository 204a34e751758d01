"""GET /stats: what the service does now, as JSON or as server-sent events."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Protocol

from fastapi import FastAPI, Request, Response
from starlette.responses import StreamingResponse

from inference_service.core.errors import Forbidden, Unauthorised
from inference_service.security.authorizer import current_access

_EVENTS = "text/event-stream"
_HEADERS = {"cache-control": "no-store", "vary": "Accept"}


class StatsFeed(Protocol):
    """Where the numbers come from."""

    def totals(self) -> bytes:
        """JSON."""

    def check(self) -> None:
        """Raises Overloaded or ShuttingDown where no viewer can be added."""

    def events(self) -> AsyncGenerator[bytes, None]:
        """Server-sent events."""


def add_stats(app: FastAPI, feed: StatsFeed) -> None:
    """The path."""

    @app.get(
        "/stats",
        tags=["Metrics"],
        response_class=Response,
        responses={200: {"content": {"application/json": {}, _EVENTS: {}}}},
    )
    async def stats(request: Request) -> Response:
        """What each model has done since the start, its queue, its latencies and batches.

        With `Accept: text/event-stream` a sample comes each second.
        """
        if _EVENTS not in request.headers.get("accept", ""):
            return Response(feed.totals(), 200, _HEADERS, "application/json")
        feed.check()
        headers = {**_HEADERS, "x-accel-buffering": "no"}  # nginx would hold the events back
        return StreamingResponse(_permitted(feed.events()), 200, headers, _EVENTS)


async def _permitted(events: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    """The events, as long as the client may see them."""
    access = current_access.get()
    async with aclosing(events):
        async for event in events:
            try:
                if access is not None:
                    access.renew()
            except (Forbidden, Unauthorised):
                return
            yield event
