"""What changes the models while the service runs: an admin, and the watch of the repository."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial

from inference_service.core.errors import InvalidModel
from inference_service.daemon import in_daemon
from inference_service.engine.manager import Manager
from inference_service.engine.versions import Choice
from inference_service.protocols.oip.repository import RepositoryControl, Upload
from inference_service.repository.stamps import stamps
from inference_service.repository_watch import NoWatch, RepositoryWatch
from inference_service.runtime.verdicts import user_cache
from inference_service.settings import Settings
from inference_service.sources import model_names, model_sources
from inference_service.stores.repository import StoredRepository
from inference_service.uploads import write_version

log = logging.getLogger(__name__)

_LISTING_TIME = 5.0  # seconds for the names of a repository, which may lie on a file server


Refresh = Callable[[], None]


def _no_refresh() -> None:
    """What is fetched where the repository is a folder of its own."""


class ModelChanges:
    """``on_change`` is called after models have been loaded or unloaded, or have failed.

    ``refresh`` brings the repository up to date where it is a copy of a store; it blocks.
    """

    def __init__(
        self, settings: Settings, manager: Manager, on_change: Callable[[], None],
        refresh: Refresh | None = None,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._manager = manager
        self._on_change = on_change
        self._refresh = refresh or _no_refresh
        self._listing: Future[Sequence[str]] | None = None

    async def load(self, name: str, choice: Choice) -> None:
        """Serve the versions that are in the repository now.

        Raises ModelNotFound, or InvalidInput with what is wrong.
        """
        try:
            if not choice.watched:
                await asyncio.wrap_future(in_daemon(self._refresh, "fetch"))
            found = in_daemon(lambda: model_sources(self._settings, name, choice.default), "scan")
            sources = await asyncio.wrap_future(found)
            await self._manager.load(name, sources, choice)
        finally:
            self._on_change()

    async def unload(self, name: str) -> None:
        """Serve no version any more. Raises ModelNotFound."""
        await self._manager.unload(name)
        self._on_change()

    async def rollback(self, name: str) -> str:
        """Back to the version before; what was done, in words. Raises InvalidInput."""
        try:
            return await self._manager.rollback(name)
        finally:
            self._on_change()

    async def names(self) -> Sequence[str]:
        """One look for all that ask at the same time: a file server may take long."""
        if self._listing is None or self._listing.done():
            self._listing = in_daemon(partial(model_names, self._settings), "list")
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self._listing), _LISTING_TIME)
        except TimeoutError:
            return []

    async def follow(self, entry: str) -> None:
        """Serve what has become of an entry of the repository: a file's or folder's name."""
        names = await self.names()
        name = entry.removesuffix(".onnx") if entry else next(iter(names), "")
        if name in names:
            await self.load(name, Choice(watched=True))
        elif self._manager.knows(name) and names:  # an empty repository is none: it is not mounted
            log.warning("model %s is gone from the repository", name)
            await self.unload(name)


def repository_control(settings: Settings, changes: ModelChanges) -> RepositoryControl:
    """What an admin can do, where the settings allow it."""

    async def promote(name: str, version: int, force: bool) -> None:
        await changes.load(name, Choice(force=force, default=version))

    async def load(name: str, force: bool) -> None:
        await changes.load(name, Choice(force=force))

    token = settings.admin.token if settings.admin.repository else None
    return RepositoryControl(
        changes.names, load, changes.unload, promote, changes.rollback, _upload(settings),
        token.get_secret_value() if token else None,
        scoped=settings.admin.repository and settings.security.access_control,
    )  # fmt: skip


def _upload(settings: Settings) -> Upload | None:
    """What writes uploaded versions; None where there are none: a copy of a store is no place."""
    admin, models = settings.admin, settings.models
    if not admin.uploads or settings.repository.store is not None:
        return None

    async def upload(name: str, version: int, chunks: AsyncIterator[bytes], digest: str) -> str:
        return await write_version(
            models, name, version, chunks, digest=digest, most=admin.max_upload_bytes
        )

    return upload


def repository_watch(
    settings: Settings, changes: ModelChanges, refresh: Refresh | None = None
) -> NoWatch:
    """The watch of the repository, where the settings want one."""
    repository = settings.repository
    if not repository.watch:
        return NoWatch()

    def look() -> Mapping[str, object]:
        if refresh is not None:
            refresh()
        return stamps(settings.models)

    interval = repository.watch_interval if refresh is None else repository.store_interval
    return RepositoryWatch(look, changes.follow, interval)


def located(settings: Settings) -> tuple[Settings, Refresh | None]:
    """The settings with the repository's folder: a copy, if it lies in a store, and its refresh.

    Raises InvalidModel where the store can't be had and there is no copy.
    """
    repository = settings.repository
    if repository.store is None:
        return settings, None
    cache = repository.store_cache or user_cache()
    if cache is None:
        raise InvalidModel("there is no folder for a copy of the store (repository.store_cache)")
    stored = StoredRepository(repository.store, cache)
    return settings.model_copy(update={"models": stored.path}), stored.refresh
