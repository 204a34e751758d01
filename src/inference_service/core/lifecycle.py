"""The states of a model version and the table of legal moves between them."""

from enum import StrEnum


class State(StrEnum):
    """Where a model version is in its life."""

    LOADING = "loading"
    WARMING = "warming"
    READY = "ready"
    DRAINING = "draining"
    UNLOADED = "unloaded"
    FAILED = "failed"


class Isolation(StrEnum):
    """Where a model runs: ``THREAD`` of the service's process, or a ``PROCESS`` of its own.

    ``AUTO``: in a process unless the analysis proves that what a run costs follows from the shapes
    of its inputs.
    """

    THREAD = "thread"
    PROCESS = "process"
    AUTO = "auto"

    def wants_process(self, *, bounded: bool) -> bool:
        """Whether a model gets a process; ``bounded``: the costs of its runs follow from shapes."""
        return self is Isolation.PROCESS or (self is Isolation.AUTO and not bounded)


class ReadyWhen(StrEnum):
    """Which of the models that should be served must be, for the service to be ready."""

    ANY = "any"
    """One, when the others are loaded or have failed: one bad file takes no replica out."""
    ALL = "all"
    """All: a rollout stops at a model that can't be loaded."""


MOVES: dict[State, frozenset[State]] = {
    State.LOADING: frozenset({State.WARMING, State.FAILED, State.UNLOADED}),
    State.WARMING: frozenset({State.READY, State.FAILED, State.UNLOADED}),
    State.READY: frozenset({State.DRAINING}),
    State.DRAINING: frozenset({State.UNLOADED, State.READY}),  # READY: it is taken back
    State.UNLOADED: frozenset({State.LOADING}),
    State.FAILED: frozenset({State.LOADING, State.UNLOADED}),
}


def move(state: State, to: State) -> State:
    """The next state. Raises ValueError for a move that the table doesn't have."""
    if to not in MOVES[state]:
        raise ValueError(f"a model version can't go from {state} to {to}")
    return to
