"""The shortcut for hot requests answers as the ASGI way does, byte for byte."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from inference_service.service import Service
from inference_service.settings import Settings
from inference_service.web.http1.connection import HttpConnection
from inference_service.web.http1.front.connection import FrontConnection
from inference_service.web.http1.front.desk import Desk
from inference_service.web.http1.limits import ConnectionLimits
from tests import onnx_models
from tests.web.traffic import Model, Traffic
from tests.web.wire import Wire, comparable


@dataclass
class Site:
    """One service behind both kinds of connections."""

    service: Service
    desk: Desk
    slow: Wire
    quick: Wire


@asynccontextmanager
async def served(models: Path, **settings: Any) -> AsyncIterator[Site]:
    service = Service(Settings(models=models, **settings))
    async with service.lifespan():
        await service.loaded()
        limits = ConnectionLimits(sites=service.security.sites)
        desk = Desk(service.asgi.hot_paths, limits)
        yield Site(
            service,
            desk,
            Wire(service.asgi, partial(HttpConnection, limits)),
            Wire(service.asgi, partial(FrontConnection, desk, limits)),
        )


def repository(folder: Path) -> Path:
    """Models that are loaded quickly."""
    for path, model in {
        "doubler/1": onnx_models.doubler(4), "doubler/2": onnx_models.doubler(4),
        "any-length/1": onnx_models.any_length(), "every-kind/1": onnx_models.every_kind(),
    }.items():  # fmt: skip
        onnx_models.save(model, folder / path / "model.onnx")
    (folder / "doubler" / "model.toml").write_text('versions = { kind = "all" }\n')
    return folder


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository."""
    return repository(tmp_path_factory.mktemp("few"))


@pytest.fixture
async def site(few: Path) -> AsyncIterator[Site]:
    async with served(few, default_model="doubler") as found:
        yield found


MODELS = (Model("doubler", 4, (1, 2)), Model("any-length", 3), Model("every-kind", 2))


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
    assert site.desk.begun > 300  # the shortcut was taken
