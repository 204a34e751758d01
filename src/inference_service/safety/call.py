"""What a rule sees of one node: its inputs, its attributes, and the words for a refusal.

The class is the whole vocabulary of rules; `rules/__init__` explains how to write one.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite
from typing import Any, Protocol, TypeAlias

import numpy as np

from inference_service.safety.graph import Constant, Graph, Node
from inference_service.safety.poly import Expr, Number, Symbols, Taint, Unfollowed
from inference_service.safety.value import (
    CONST,
    COUNT,
    GIVEN,
    INTEGERS,
    MOST_CONTENTS,
    Contents,
    Count,
    Fault,
    Flow,
    Lost,
    Mark,
    Rows,
    Shape,
    Shared,
    Value,
    contents_of,
)

FINEST_FRACTION = 4096
"""Numbers of a float tensor are followed if they are multiples of 1/4096: exact in float32."""


class Mixing(Exception):  # noqa: N818
    """The node makes rows depend on each other or on their number. Only where a rule knows it."""


class Frozen(Exception):  # noqa: N818
    """A constant of the graph admits one number of rows only."""


class Spoiled(Exception):  # noqa: N818
    """An input has lost its rows already; ``flow`` says where."""

    def __init__(self, flow: Lost) -> None:
        super().__init__(flow.reason)
        self.flow = flow


class Host(Protocol):
    """What the analysis offers to rules beside the node itself."""

    symbols: Symbols
    batch: Expr

    def run_body(self, graph: Graph, inputs: Sequence[Value], call: "Call") -> list[Value]:
        """The outputs of a body that reads the tensors around it by name."""

    def decided(self, condition: Expr) -> bool | None:
        """Which way a condition on lengths was decided; None: not yet."""

    def decide(self, condition: Expr) -> bool:
        """Which way an undecided condition on lengths goes; the proof then depends on it."""

    def can_fail(self) -> None:
        """The values of a row can make the whole run fail."""

    def bound_rows(self, rows: int) -> None:
        """The proof holds for this many rows at most."""

    def exists(self, length: Expr) -> bool:
        """Whether a tensor that every run makes has an axis of this length: it is not negative."""

    def cost_by_value(self, reason: str) -> None:
        """The cost of a run depends on values."""

    def is_uniform(self, constant: Constant, axis: int) -> bool:
        """Whether the entries of a stored tensor along an axis are equal."""

    def read(self, constant: Constant) -> Contents | None:
        """The numbers of a small stored tensor."""


Result: TypeAlias = Flow | Value | list[Value]
RuleFunction: TypeAlias = Callable[["Call"], Result]


@dataclass(frozen=True, slots=True)
class Rule:
    """How one operator carries rows.

    ``accepts`` are the marks that it understands, ``kinds`` the inputs beside tensors.
    """

    function: RuleFunction
    accepts: frozenset[Mark]
    kinds: frozenset[str]


RULES: dict[tuple[str, str], Rule] = {}
"""By domain and operator."""


def rule(
    *operators: str,
    domain: str = "",
    accepts: Iterable[Mark] = (),
    kinds: Iterable[str] = (),
) -> Callable[[RuleFunction], RuleFunction]:
    """Enter a function as the rule of operators. Raises ValueError if one has a rule already."""

    def enter(function: RuleFunction) -> RuleFunction:
        for operator in operators:
            if (domain, operator) in RULES:
                raise ValueError(f"two rules for {domain or 'ai.onnx'} {operator}")
            RULES[domain, operator] = Rule(function, frozenset(accepts), frozenset(kinds))
        return function

    return enter


class Call:
    """One node while its rule runs.

    Every present input must be asked for (``value`` and all that use it): one that the rule never
    looked at makes the node unproven, since its rule does not consider it.
    """

    def __init__(
        self, node: Node, inputs: Sequence[Value | None], opset: int, host: Host, scanned: bool
    ) -> None:
        self.node = node
        self.inputs = inputs
        self.opset = opset
        self.host = host
        self.scanned = scanned
        self.used: set[int] = set()
        self.shapes: list[Shape | None] = []
        self.dtypes: list[str] = []

    # Inputs

    def has(self, index: int) -> bool:
        """Whether an input is present."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def value(self, index: int) -> Value:
        """An input. Raises Unfollowed where it is absent."""
        self.used.add(index)
        found = self.inputs[index] if index < len(self.inputs) else None
        if found is None:
            raise Unfollowed(f"its input {index} is absent")
        return found

    def flow(self, index: int) -> "Shared | Count | Rows":
        """The dependence of an input. Raises Spoiled where its rows are lost."""
        flow = self.value(index).flow
        if isinstance(flow, Lost):
            raise Spoiled(flow)
        return flow

    def shape(self, index: int) -> Shape:
        """The shape of an input. Raises Unfollowed where its rank is not known."""
        shape = self.value(index).shape
        if shape is None:
            raise Unfollowed(f"the rank of its input {index} is not known")
        return shape

    def dtype(self, index: int) -> str:
        """The element type of an input."""
        return self.value(index).dtype

    def contents(self, index: int) -> Contents | None:
        """The numbers of a small tensor where they are followed; stored ones are decoded."""
        value = self.value(index)
        if value.contents is not None or value.constant is None:
            return value.contents
        return self.host.read(value.constant)

    def sizes(self, index: int, *, lower: int | None = 0) -> list[Expr]:
        """The numbers of an integer tensor of rank 0 or 1, for shapes.

        ``lower`` bounds those that are not followed: 0 only where a run with a negative one fails.

        Numbers that are not followed are fresh symbols, tainted by what they depend on. Check the
        input's dependence with `whole` or `sized` before the result carries rows.
        """
        contents = self.contents(index)
        if contents is not None:
            return list(contents.ravel())
        shape = self.shape(index)
        count = shape[0] if shape else 1
        if len(shape) > 1 or not isinstance(count, int) or count > 64:
            raise Unfollowed("the number of lengths is not known")
        self.host.cost_by_value(f"the {self.node} takes a length from values")
        return [self.unknown(f"{index}.{place}", index, lower=lower) for place in range(count)]

    def number(self, index: int) -> int | None:
        """The number of a constant of one element; None where it is not known."""
        contents = self.contents(index)
        if contents is None or contents.size != 1:
            return None
        found = contents.ravel()[0]
        return found if isinstance(found, int) else None

    def unknown(self, slot: object, *indices: int, lower: int | None = 0) -> Expr:
        """A length that is not followed; the same one whenever the same node asks for it.

        It is tainted by the dependence of the inputs ``indices``.
        """
        if indices:
            self.host.cost_by_value(f"the {self.node} takes a size from values")
        taint, origin = Taint.FREE, None
        if self.scanned:
            taint, origin = Taint.ROWS, self.lost(Fault.MIXING, "a size that depends on a row")
        for index in indices:
            flow = self.value(index).flow
            if isinstance(flow, Lost):
                taint, origin = Taint.ROWS, flow
            elif isinstance(flow, Rows) and taint is not Taint.ROWS:
                reason = "the size of its result depends on the contents of rows"
                taint, origin = Taint.ROWS, self.lost(Fault.MIXING, reason)
            elif isinstance(flow, Count):
                taint = max(taint, Taint.BATCH)
        key = (id(self.node), slot, taint, lower)
        label = f"size {slot} of {self.node}"
        return self.host.symbols.variable(key, label, taint=taint, lower=lower, origin=origin)

    def body(self, name: str) -> Graph:
        """A graph attribute."""
        found = self.node.attributes.get(name)
        if not isinstance(found, Graph):
            raise Unfollowed(f"it has no {name}")
        return found

    # Dependence

    def whole(self, *indices: int, what: str = "weight") -> Shared:
        """Inputs that must not depend on rows nor on their number. Absent ones are fine."""
        result = CONST
        for index in indices:
            if not self.has(index):
                continue
            flow = self.flow(index)
            if isinstance(flow, Rows):
                raise Mixing(f"its {what} (input {index}) depends on rows")
            if isinstance(flow, Count):
                raise Mixing(f"its {what} (input {index}) depends on the number of rows")
            result = GIVEN if flow.given else result
        return result

    def sized(self, *indices: int) -> "Shared | Count":
        """Inputs used as lengths whose algebra is followed: they may depend on the row count."""
        result: Shared | Count = CONST
        for index in indices:
            if not self.has(index):
                continue
            flow = self.flow(index)
            if isinstance(flow, Rows):
                raise Mixing(f"a length (input {index}) comes from the contents of rows")
            result = joined(result, flow)
        return result

    # Attributes

    def int_(self, name: str, default: int) -> int:
        """An integer attribute."""
        found = self.node.attributes.get(name, default)
        if not isinstance(found, int):
            raise Unfollowed(f"its attribute {name} is no integer")
        return found

    def ints_(self, name: str) -> tuple[int, ...] | None:
        """A list of integers; None where it is absent."""
        found = self.node.attributes.get(name)
        if found is None:
            return None
        if not isinstance(found, Sequence) or not all(isinstance(entry, int) for entry in found):
            raise Unfollowed(f"its attribute {name} is no list of integers")
        return tuple(int(entry) for entry in found)

    def numbers_(self, name: str) -> list[Number]:
        """A list of floats that are exact in float32; empty where it is absent or another kind."""
        found = self.node.attributes.get(name)
        if not isinstance(found, tuple) or not all(isinstance(entry, float) for entry in found):
            return []
        exact = [exact_number(float(entry)) for entry in found]
        return [entry for entry in exact if entry is not None]

    def text(self, name: str, default: str = "") -> str:
        """A text attribute."""
        found = self.node.attributes.get(name, default)
        return found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found)

    # Results

    def out(self, shape: Shape | None, dtype: str | None = None) -> None:
        """State the shape and element type (default: of input 0) of the next output.

        State all shapes before asking for dependence: a refusal then leaves the shapes known.
        """
        self.shapes.append(shape)
        self.dtypes.append(self.dtype(0) if dtype is None and self.has(0) else dtype or "")

    def lost(self, fault: Fault, reason: str) -> Lost:
        """The dependence of a tensor whose rows this node loses."""
        return Lost(fault, str(self.node), reason)


def joined(one: "Shared | Count", other: "Shared | Count") -> "Shared | Count":
    """What depends on both."""
    if isinstance(one, Count) or isinstance(other, Count):
        return COUNT
    return GIVEN if one.given or other.given else CONST


def normal_axis(axis: int, rank: int) -> int:
    """An axis counted from the front. Raises Unfollowed where there is none."""
    if not -rank <= axis < rank:
        raise Unfollowed(f"it has no axis {axis}")
    return axis % rank


def numbers(array: Any, dtype: str) -> Contents | None:
    """Stored numbers as expressions; None where one can't be followed exactly."""
    if array.size > MOST_CONTENTS:
        return None
    if dtype in INTEGERS:
        return contents_of(array.astype(np.int64) if array.dtype == bool else array)
    if dtype not in {"float", "double", "float16"}:
        return None
    exact = [exact_number(float(entry)) for entry in array.ravel()]
    if any(entry is None for entry in exact):
        return None
    result = np.empty(array.size, object)
    result[:] = exact
    return result.reshape(array.shape)


def exact_number(number: float) -> Number | None:
    """A float as an exact number; None where float32 arithmetic on it would round."""
    if not isfinite(number) or abs(number) > 2**53:
        return None
    fraction = Fraction(number)
    if fraction.denominator > FINEST_FRACTION:
        return None
    return fraction.numerator if fraction.denominator == 1 else fraction
