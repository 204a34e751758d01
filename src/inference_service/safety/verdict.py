"""What the analysis of a graph says of batching it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
"""The shapes of one request's inputs by name, the batch axis included."""


class Status(StrEnum):
    """The kinds of verdict."""

    PROVEN = "proven"
    """Every output's row depends on the same row of the inputs and on constants alone."""
    MIXING = "mixing"
    """A named node makes a row's result depend on other rows, or on their number."""
    UNPROVEN = "unproven"
    """An operator or an algebra that the analysis does not follow: nothing is claimed."""
    SINGLE = "single"
    """There is no batch axis to merge along: one row, or axes of one fixed length 1."""
    FROZEN = "frozen"
    """The batch axis is declared free, but the graph holds a constant that admits one size only."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A relation between lengths of input axes on which a proof depends.

    ``holds`` takes the shapes of a request's inputs; ``text`` is the relation for people.
    """

    text: str
    holds: Callable[[Shapes], bool] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class OutputRows:
    """Where an output's rows are: ``entries`` per row along ``axis``. ``axis`` None: shared.

    A shared output is the same for every row of a run (a constant, or a function of the inputs
    that are equal for all members of the run).
    """

    axis: int | None
    entries: int = 1


@dataclass(frozen=True, slots=True)
class Cost:
    """Whether the cost of a run follows from the shapes of its inputs alone.

    ``by_shape`` False: a loop's trip count or a tensor's size comes from values; ``reason`` names
    the node. ``peak_bytes`` is an upper bound on the bytes of the tensors that are alive at one
    time in a run with inputs of these shapes; None where it could not be derived.
    """

    by_shape: bool
    reason: str = ""
    peak_bytes: Callable[[Shapes], int] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of the analysis.

    ``inputs`` has the batch axis of every input that carries rows. ``equal`` names inputs that must
    be bytewise equal for all members of a run (part of the batch key). ``conditions`` must hold for
    a request, otherwise it runs alone. ``max_rows`` bounds the rows of a run for which the proof
    holds, ``fixed_rows`` is the only batch size of a graph with a fixed batch. ``partial``: the
    values of one row can make a whole run fail (a failed merged run is repeated request by
    request). ``node`` and ``reason`` say why a verdict is not `PROVEN`; "" where it is.
    """

    status: Status
    inputs: Mapping[str, int] = field(default_factory=dict)
    outputs: Mapping[str, OutputRows] = field(default_factory=dict)
    equal: frozenset[str] = frozenset()
    conditions: tuple[Condition, ...] = ()
    max_rows: int | None = None
    fixed_rows: int | None = None
    partial: bool = False
    node: str = ""
    reason: str = ""
    cost: Cost = field(default_factory=lambda: Cost(by_shape=False, reason="not analysed"))

    @property
    def costs_by_value(self) -> bool:
        """Whether it is known that shapes don't tell what a run costs."""
        return self.status is Status.PROVEN and not self.cost.by_shape
