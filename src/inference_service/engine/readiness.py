"""Whether the service is ready, and why it is not. Pure."""

from collections.abc import Collection, Iterable

from inference_service.core.lifecycle import ReadyWhen, State
from inference_service.engine.interfaces import ModelStatus

_LOADING = frozenset({State.LOADING, State.WARMING})


class Readiness:
    """Which versions have to be there for the service to be ready: those of its start.

    What is loaded later, on request, doesn't count: other models go on being served.
    ``finished``: each version of the start has been tried.
    """

    def __init__(self, ready_when: ReadyWhen) -> None:
        self._ready_when = ready_when
        self._expected: set[tuple[str, int]] = set()
        self.finished = False

    def expect(self, versions: Iterable[tuple[str, int]]) -> None:
        """These versions, by name and number, are to be there."""
        self._expected.update(versions)

    def forget(self, name: str, version: int) -> None:
        """This one need not be there: it was replaced or unloaded."""
        self._expected.discard((name, version))

    def problem(self, statuses: Iterable[ModelStatus], *, served: bool) -> str | None:
        """Why it is not ready, in words; None when it is. ``served``: a model answers."""
        if not self.finished:
            return self._first(statuses, _LOADING) or "models are being loaded"
        if self._ready_when is ReadyWhen.ANY and served:
            return None
        return self._first(statuses, _LOADING | {State.FAILED})

    def _first(self, statuses: Iterable[ModelStatus], states: Collection[State]) -> str | None:
        for status in statuses:
            if (status.name, status.version) in self._expected and status.state in states:
                model = f"model '{status.name}' version {status.version}"
                if status.state is State.FAILED:
                    return f"{model} failed: {status.error}"
                return f"{model} is {status.state}"
        return None
