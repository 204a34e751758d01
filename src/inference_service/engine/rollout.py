"""From one version of a model to the next: checked, swapped at once, watched, taken back.

A version that is loaded passes the gate before any request reaches it. The one that it replaces is
put aside: it answers the requests that have found it before, and stays warm for ``watch`` seconds.
If requests fail more often meanwhile, it is taken back, which takes no time and no load.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from inference_service.core.lifecycle import State
from inference_service.core.regression import Outcomes, regressed
from inference_service.engine.engine import LocalEngine
from inference_service.engine.gate import GateRules, ReadGoldens, check
from inference_service.engine.interfaces import ModelInfo
from inference_service.engine.versions import VersionSource
from inference_service.engine.worker import Worker

log = logging.getLogger(__name__)

Count = Callable[[str, int], Outcomes]
"""How requests of a version have ended so far."""
Tell = Callable[[str, int, str], None]
"""Is told of a version what has become of a load: loaded, failed or rolled_back."""

_LOOK = 0.5
"""Seconds between two looks at the failures."""


@dataclass(frozen=True, slots=True)
class RolloutRules:
    """``linger`` are seconds in which a replaced version still answers the requests that have found
    it: their bodies are on their way. For ``watch`` seconds it can be taken back at once, and is
    taken back where the share of failures rises by more than ``most_failures``."""

    gate: GateRules = field(default_factory=GateRules)
    linger: float = 5.0
    watch: float = 60.0
    most_failures: float = 0.05


@dataclass(slots=True, eq=False)
class Standby:
    """A version that has been replaced by the version ``successor``, and can be taken back."""

    worker: Worker
    source: VersionSource
    successor: int
    until: float
    at: Outcomes
    before: Outcomes
    spent: str = ""
    """Why it is never taken back."""
    task: asyncio.Task[None] | None = None

    @property
    def info(self) -> ModelInfo:
        """All that is known of it."""
        return self.worker.info


def _nothing(name: str, version: int, outcome: str) -> None:
    """What is done with events that no request causes."""


class Rollout:
    """The versions that have been replaced, and the rules of the replacement."""

    def __init__(
        self,
        engine: LocalEngine,
        rules: RolloutRules | None = None,
        count: Count = lambda name, version: Outcomes(),
        tell: Tell = _nothing,
    ) -> None:
        self._engine = engine
        self.rules = rules or RolloutRules()
        self._count = count
        self.tell = tell
        self._standbys: dict[str, list[Standby]] = {}
        self.on_regression: Callable[[Standby, str], Awaitable[None]] | None = None
        """Is to take a version back, for this reason, unless it is not the latest any more."""

    async def check(self, worker: Worker, goldens: ReadGoldens | None, *, force: bool) -> None:
        """Raises InvalidModel where the version may not be served. ``force``: golden files only.

        It is compared with the current version if it takes its place: a lower one does not.
        """
        current = None if force else self._engine.current(worker.info.name)
        if current is not None and worker.info.version < current.version:
            current = None
        await check(self.rules.gate, worker, current, goldens)

    def replace(self, worker: Worker, before: VersionSource) -> None:
        """Swap the files of one version; ``before`` are the old ones."""
        old = self._engine.swap(worker)
        if old is not None:
            self._stand_by(old, before, before.version)

    def retire(self, source: VersionSource, successor: int) -> None:
        """Put a version aside, as ``successor`` has taken its place."""
        why = f"version {successor} has taken its place"
        worker = self._engine.put_aside(source.name, source.version, why)
        self._stand_by(worker, source, successor)

    def latest(self, name: str) -> Standby | None:
        """The version that was replaced last and is still there."""
        found = [standby for standby in self._standbys.get(name, []) if not standby.spent]
        return found[-1] if found else None

    def restore(self, name: str, version: int, fingerprint: object) -> bool:
        """Take a version back if it is there with the same files."""
        for standby in self._standbys.get(name, []):
            same = standby.source.version == version and standby.source.fingerprint == fingerprint
            if same and self._engine.state(name, version) is State.DRAINING:
                self._release(standby)
                self._engine.take_back(standby.worker)
                return True
        return False

    def take_back(self, standby: Standby, why: str) -> None:
        """Let it answer again, and put its successor aside; ``why`` it failed."""
        info = standby.info
        name, successor = info.name, standby.successor
        self._release(standby)
        if info.version == successor:
            failed = self._engine.swap(standby.worker)
            self._engine.note(name, successor, f"the changed files were rolled back: {why}")
        else:
            self._engine.take_back(standby.worker)
            failed = None
            if self._engine.state(name, successor) is State.READY:
                failed = self._engine.put_aside(name, successor, f"rolled back: {why}")
        if failed is not None:
            self._stand_by(failed, standby.source, info.version, f"rolled back: {why}")
        self.tell(name, successor, "rolled_back")

    async def finish(self, name: str) -> None:
        """Free all that were replaced, at once."""
        for standby in list(self._standbys.get(name, [])):
            self._release(standby)
            await self._engine.free(standby.worker)

    def close(self) -> None:
        """Watch nothing any more; the engine frees what is left."""
        for standbys in self._standbys.values():
            for standby in standbys:
                if standby.task is not None:
                    standby.task.cancel()

    def _stand_by(
        self, worker: Worker, source: VersionSource, successor: int, why: str = ""
    ) -> None:
        """``why``: it is not to be taken back, and this is the reason for people."""
        name, version = worker.info.name, worker.info.version
        rules, now = self.rules, asyncio.get_running_loop().time()
        seconds = rules.linger if why else max(rules.linger, rules.watch)
        standbys = self._standbys.setdefault(name, [])
        for earlier in standbys:
            earlier.until = min(earlier.until, now + rules.linger)
        standby = Standby(
            worker, source, successor, now + seconds,
            self._count(name, successor), self._count(name, version), why,
        )  # fmt: skip
        standbys.append(standby)
        standby.task = asyncio.create_task(self._watch(standby))

    def _release(self, standby: Standby) -> None:
        self._standbys[standby.info.name].remove(standby)
        if standby.task is not None and standby.task is not asyncio.current_task():
            standby.task.cancel()

    async def _watch(self, standby: Standby) -> None:
        loop, name = asyncio.get_running_loop(), standby.info.name
        while (left := standby.until - loop.time()) > 0:
            await asyncio.sleep(min(left, _LOOK))
            after = self._count(name, standby.successor).since(standby.at)
            if (
                self.on_regression is not None
                and standby is self.latest(name)
                and regressed(standby.before, after, self.rules.most_failures)
            ):
                why = f"{after.failed} of {after.total} requests failed after the swap"
                await self.on_regression(standby, why)
                if standby not in self._standbys[name]:
                    return
        self._standbys[name].remove(standby)
        await self._engine.free(standby.worker, standby.spent)
