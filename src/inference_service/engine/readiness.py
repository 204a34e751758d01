"""Whether the service is ready, and why it is not. Pure."""

from collections.abc import Collection, Sequence

from inference_service.core.lifecycle import ReadyWhen, State
from inference_service.engine.interfaces import ModelStatus

_LOADING = frozenset({State.LOADING, State.WARMING})


def problem_of(
    expected: Sequence[ModelStatus], ready_when: ReadyWhen, *, finished: bool, served: bool
) -> str | None:
    """Why it is not ready, in words; None when it is.

    ``expected`` are the versions of the start, ``finished`` whether each has been tried, ``served``
    whether any model answers.
    """
    if not finished:
        return _first(expected, _LOADING) or "models are being loaded"
    if ready_when is ReadyWhen.ANY and served:
        return None
    return _first(expected, _LOADING | {State.FAILED})


def _first(statuses: Sequence[ModelStatus], states: Collection[State]) -> str | None:
    for status in statuses:
        if status.state in states:
            model = f"model '{status.name}' version {status.version}"
            if status.state is State.FAILED:
                return f"{model} failed: {status.error}"
            return f"{model} is {status.state}"
    return None
