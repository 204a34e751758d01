"""Hot reload: looks at the files of the repository, and has models loaded whose files have changed.

It polls, as no notification exists for all that a repository may lie on (NFS, FUSE, overlays, the
links that Kubernetes swaps); a look costs one stat for each file. A change counts when it has
settled: two looks in a row see the same. What is being copied differs from look to look.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future

from inference_service.core.errors import InferenceServiceError
from inference_service.daemon import in_daemon

log = logging.getLogger(__name__)

_SETTLES = 0.2  # seconds to the look after one that was asked for

Look = Callable[[], Mapping[str, object]]
"""What each entry of the repository looks like now. Raises OSError."""


class NoWatch:
    """In place of a watch where none is wanted."""

    def start(self) -> None:
        """Nothing begins."""

    def stop(self) -> None:
        """Nothing ends."""

    def look_now(self) -> None:
        """What is loaded stays."""


class RepositoryWatch(NoWatch):
    """Calls ``changed`` with the names of entries that have changed and settled.

    ``changed`` may raise InferenceServiceError: it is logged, and the entry waits for its next
    change. The first look is taken when the watch is made.
    """

    def __init__(
        self, look: Look, changed: Callable[[str], Awaitable[None]], interval: float
    ) -> None:
        self._look = look
        self._changed = changed
        self._interval = interval
        self._first: Future[Mapping[str, object]] = in_daemon(look, "watch")
        self._known: Mapping[str, object] | None = None
        self._before: Mapping[str, object] = {}
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()

    def start(self) -> None:
        """Begin; needs a running event loop."""
        self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        """No more looks."""
        if self._task is not None:
            self._task.cancel()

    def look_now(self) -> None:
        """Do not wait for the next look, nor for as long as usual for the one after it."""
        self._hurry.set()

    async def _wait(self, *, hurried: bool) -> bool:
        """Until the next look; whether it was asked for."""
        if hurried:
            await asyncio.sleep(min(_SETTLES, self._interval))
            return False
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), self._interval)
        hurried = self._hurry.is_set()
        self._hurry.clear()
        return hurried

    async def _run(self) -> None:
        known, hurried = await self._seen(self._first), False
        while True:
            hurried = await self._wait(hurried=hurried)
            now = await self._seen(in_daemon(self._look, "watch"))
            if now is None:
                continue
            if known is None:  # the first look failed: what was loaded is not known
                known = now
            known = await self.compare(known, now)

    async def _seen(self, looking: "Future[Mapping[str, object]]") -> Mapping[str, object] | None:
        """A look that hangs holds up the watch alone; None where it fails."""
        try:
            return await asyncio.wrap_future(looking)
        except OSError as error:
            log.warning("the model repository can't be read: %s", error)
            return None

    async def compare(
        self, known: Mapping[str, object], now: Mapping[str, object]
    ) -> Mapping[str, object]:
        """Have changed what has settled; returns what is known from now on."""
        done = dict(known)
        for name in sorted(known.keys() | now.keys()):
            stamp = now.get(name)
            if stamp == known.get(name) or stamp != self._before.get(name):
                continue
            log.info("the files of %s have changed", name or "the model")
            try:
                await self._changed(name)
            except InferenceServiceError as error:
                log.error("%s", error)
            # Whatever happened, the watch goes on.
            except Exception:
                log.exception("loading %s failed", name)
            if stamp is None:
                done.pop(name, None)
            else:
                done[name] = stamp
        self._before = now
        return done
