"""What an admin can do with the model repository while the service runs."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

from inference_service.daemon import in_daemon
from inference_service.engine.manager import Manager
from inference_service.protocols.oip.repository import RepositoryControl
from inference_service.settings import Settings
from inference_service.sources import model_names, model_sources

_LISTING_TIME = 5.0  # seconds for the names of a repository, which may lie on a file server


def repository_control(
    settings: Settings, manager: Manager, on_change: Callable[[], None]
) -> RepositoryControl:
    """``on_change`` is called after models have been loaded or unloaded, or have failed."""

    async def load(name: str) -> None:
        try:
            found = in_daemon(lambda: model_sources(settings, name), "scan")
            sources = await asyncio.wrap_future(found)
            await manager.load(name, sources)
        finally:
            on_change()

    async def unload(name: str) -> None:
        await manager.unload(name)
        on_change()

    listing: list[Future[Sequence[str]]] = []

    async def names() -> Sequence[str]:
        """One look for all that ask at the same time: a file server may take long."""
        if not listing or listing[0].done():
            listing[:] = [in_daemon(partial(model_names, settings), "list")]
        try:
            return await asyncio.wait_for(asyncio.wrap_future(listing[0]), _LISTING_TIME)
        except TimeoutError:
            return []

    token = settings.admin.token if settings.admin.repository else None
    return RepositoryControl(
        names, load, unload, token.get_secret_value() if token else None,
        scoped=settings.admin.repository and settings.security.access_control,
    )  # fmt: skip
