"""A model whose own process is started again: which requests wait for it, and which are told."""

from collections.abc import Callable, Iterator

from inference_service.core.errors import ModelNotReady
from inference_service.core.scheduling.entries import Entry
from inference_service.core.scheduling.scheduler import Scheduler
from inference_service.engine.interfaces import Runner
from inference_service.engine.reply import Reply


class Absence:
    """``on`` while the runner has lost its process. ``changed`` is called when that changes."""

    def __init__(self, name: str, runner: Runner, changed: Callable[[], None]) -> None:
        self.on = False
        self._name = name
        self._process = runner.process
        self._changed = changed
        if runner.process() is not None:
            runner.watch(self._look)

    def _look(self) -> None:
        state = self._process()
        self.on = state is not None and state.pid is None
        self._changed()

    def refuse(self, scheduler: Scheduler[Reply], now: float) -> Iterator[Entry[Reply]]:
        """Tell the requests whose deadlines come before there is a process again; the others wait.

        Those that have been told; they are to be finished.
        """
        state = self._process()
        if state is None or state.pid is not None:
            return
        for entry, _, _ in scheduler.drop_until(now + state.wait):
            words = f"the process of model '{self._name}' is being started again"
            entry.item.fail(ModelNotReady(words, retry_after=state.wait))
            yield entry
