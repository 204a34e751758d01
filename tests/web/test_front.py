"""The shortcut for hot requests answers as the ASGI way does, byte for byte."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from inference_service import create_app
from inference_service.settings import Settings
from inference_service.web.hot_paths import HotPaths
from inference_service.web.http1.connection import HttpConnection
from inference_service.web.http1.front.connection import FrontConnection
from inference_service.web.http1.front.desk import Desk
from inference_service.web.http1.limits import ConnectionLimits
from tests.web.traffic import Model, Traffic
from tests.web.wire import Wire, comparable


@dataclass
class Site:
    """One service behind both kinds of connections."""

    app: FastAPI
    desk: Desk
    slow: Wire
    quick: Wire


@asynccontextmanager
async def served(models: Path, **settings: Any) -> AsyncIterator[Site]:
    loaded = asyncio.Event()
    app = create_app(Settings(models=models, **settings), lambda _: loaded.set())
    async with app.router.lifespan_context(app):
        await loaded.wait()
        desk = Desk(app.state.hot_paths)
        limits = ConnectionLimits()
        hot_paths = HotPaths(app)
        yield Site(
            app,
            desk,
            Wire(hot_paths, partial(HttpConnection, limits)),
            Wire(hot_paths, partial(FrontConnection, desk, limits)),
        )


@pytest.fixture
async def site(zoo: Path) -> AsyncIterator[Site]:
    async with served(zoo, default_model="doubler") as found:
        yield found


MODELS = (Model("doubler", 4, (1, 2)), Model("every-kind", 2), Model("any-length", 3))


async def difference(site: Site, traffic: Traffic, exchanges: int) -> str:
    """The first exchange that the two ways answer differently; "" none."""
    for _ in range(exchanges):
        pieces, shut = traffic.exchange()
        slow = comparable(await site.slow.ask(pieces, shut=shut))
        quick = comparable(await site.quick.ask(pieces, shut=shut))
        if slow != quick:
            return f"{pieces!r} (shut {shut})\n ASGI  {slow!r}\n front {quick!r}"
    return ""


@pytest.mark.parametrize("seed", range(2))
async def test_both_ways_answer_alike(site: Site, seed: int) -> None:
    assert await difference(site, Traffic(seed, MODELS), 1000) == ""
