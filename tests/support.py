"""What many tests need: clients of applications, services that run, waits that have a bound."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from inference_service import Service

LONGEST_WAIT = 60.0
"""Seconds for what takes a moment on an idle machine."""


def asking(app: Any, **options: Any) -> httpx.AsyncClient:
    """A client of an ASGI application in this process; ``options`` are `httpx.ASGITransport`'s."""
    transport = httpx.ASGITransport(app, **options)
    return httpx.AsyncClient(transport=transport, base_url="http://test", timeout=LONGEST_WAIT)


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A service with its models loaded, and a client of it."""
    async with service.lifespan():
        await asyncio.wait_for(service.loaded(), LONGEST_WAIT)
        async with asking(service.asgi) as client:
            yield client


async def until(condition: Callable[[], bool], seconds: float = LONGEST_WAIT) -> None:
    """Return as soon as the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
