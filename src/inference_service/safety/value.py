"""What the analysis knows of a tensor: dependence, shape, contents and marks, side by side.

A value is a product: its shape stays known after its dependence is lost, so that the shape of a
tensor that mixes rows can still be asked for.
"""

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from inference_service.safety.graph import Constant
from inference_service.safety.poly import Expr

Shape: TypeAlias = tuple[Expr, ...]
Contents: TypeAlias = NDArray[Any]
"""An object array of expressions, of the tensor's own shape."""

MOST_CONTENTS = 512
"""Elements of a tensor whose contents are followed."""


@dataclass(frozen=True, slots=True)
class Shared:
    """Depends on no row. ``given``: on an input that is equal for all members of a run."""

    given: bool


CONST, GIVEN = Shared(False), Shared(True)


@dataclass(frozen=True, slots=True)
class Count:
    """Depends on the number of rows, and on nothing else of a row."""


COUNT = Count()


@dataclass(frozen=True, slots=True)
class Rows:
    """The entries of row i along ``axis`` depend on row i and on `Shared` alone.

    The axis has outer * B * group places; the row of place p is (p // group) mod B. ``group`` above
    1 is a flattened batch ([B*L, D]), ``outer`` above 1 a time-first one ([T*B, D]).
    """

    axis: int
    outer: Expr = 1
    group: Expr = 1


class Fault(Enum):
    """Why a tensor's rows are lost."""

    MIXING = "mixing"
    """A node made rows depend on each other or on their number: known, not suspected."""
    UNFOLLOWED = "unfollowed"
    """The analysis does not follow; nothing is claimed."""
    FROZEN = "frozen"
    """A constant in the graph admits one number of rows only."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The rows of this tensor are lost; the node and the reason say where it happened."""

    fault: Fault
    node: str
    reason: str


Flow: TypeAlias = Shared | Count | Rows | Lost


class Mark(Enum):
    """Side facts without which the dependence alone would be believed too much.

    A rule takes marked inputs only where it names the mark (``accepts``); all others refuse.
    """

    ROW_NUMBER = "the row's own number"
    """Rows whose every entry is the number of its row: it tells the row's place in the run."""
    ROW_INDEX = "an index with the row's own number"
    """An index whose component 0 along the last axis is the number of the row."""
    PADDED = "padded to the longest row"
    """Rows whose length, and padding, come from the longest row of the run."""
    SCANNED = "one row of a scan over the rows"
    """Inside a Scan over the batch: a function of the current row and of `Shared`."""


NO_MARKS: frozenset[Mark] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """One tensor. ``shape`` None: not known. ``contents`` None: not followed.

    ``uniform`` holds axes along which all entries are equal, whatever the number of rows: such an
    axis may meet any other. It is a fact in favour, so a rule that does not know it drops it.
    ``constant`` is the stored tensor, decoded only where its contents are needed.
    ``kind`` as in `graph.Value`: sequences have the flow of their elements.
    """

    flow: Flow
    shape: Shape | None = None
    dtype: str = ""
    contents: Contents | None = None
    marks: frozenset[Mark] = NO_MARKS
    uniform: frozenset[int] = field(default_factory=frozenset)
    constant: Constant | None = None
    kind: str = "tensor"
    padding: str | None = None
    """What rows with the mark PADDED are filled up with."""

    def with_flow(self, flow: Flow) -> "Value":
        """The same tensor with another dependence."""
        return replace(self, flow=flow)


def contents_of(values: Any) -> Contents:
    """An object array from (nested) expressions or an array of numbers."""
    array = np.asarray(values)
    if array.dtype != object:
        array = array.astype(object)  # plain Python numbers
    return array


SIZES = {
    "bool": 1, "int8": 1, "uint8": 1, "float16": 2, "bfloat16": 2, "int16": 2, "uint16": 2,
    "float": 4, "int32": 4, "uint32": 4, "double": 8, "int64": 8, "uint64": 8, "complex64": 8,
    "complex128": 16, "string": 64,
}  # fmt: skip
"""Bytes of an element by dtype. A string is an estimate: the object alone, short text inside."""

INTEGERS = frozenset(
    {"bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"}
)
