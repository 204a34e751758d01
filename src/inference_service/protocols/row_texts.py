"""JSON of the rows of several answers at once: one call of orjson, cut between the rows. Pure.

A call of orjson for each of 32 small answers takes as long as the numbers themselves. The texts are
those that `json_tensors.dump` gives for each answer alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import orjson

from inference_service.core.tensors import Array
from inference_service.protocols.json_tensors import encodable

MOST_BYTES = 2**18
"""Of arrays that are written at once, on the event loop: it takes a few milliseconds."""


class RowTexts(NamedTuple):
    """The text of each row without its outermost brackets, and what is written around them.

    ``opening`` and ``closing`` are the brackets of an array of rows, ``between`` separates two.
    """

    rows: list[bytes]
    opening: bytes
    between: bytes
    closing: bytes

    def array(self, start: int, stop: int) -> bytes:
        """The JSON array of rows ``start`` to ``stop``."""
        return self.opening + self.between.join(self.rows[start:stop]) + self.closing

    def row(self, place: int) -> bytes:
        """The JSON of one row alone."""
        return self.opening[1:] + self.rows[place] + self.closing[1:]

    def numbers(self, start: int, stop: int) -> list[bytes]:
        """The texts of flat rows: their numbers, without brackets."""
        return self.rows[start:stop]

    def __len__(self) -> int:  # of a tuple it would be the number of its fields
        return len(self.rows)


def row_texts(arrays: Sequence[Array], *, flat: bool = False) -> RowTexts | None:
    """The texts of the rows of these arrays, one array after the other; rows are on axis 0.

    ``flat``: a row is a list of numbers, whatever its axes. None where the arrays are not of one
    kind, hold more than `MOST_BYTES`, or can't be cut: strings, rows without numbers.
    """
    first = arrays[0]
    dtype, rest = first.dtype, first.shape[1:]
    if dtype.kind not in "fiub" or not first.ndim:
        return None
    size = 0
    for array in arrays:
        if array.dtype != dtype or array.shape[1:] != rest or not array.ndim:
            return None
        size += array.nbytes
    if size > MOST_BYTES:
        return None
    joined = np.concatenate(arrays)
    if not joined.size:
        return None
    if flat:
        joined = joined.reshape(len(joined), -1)
    text = orjson.dumps(encodable("", joined), option=orjson.OPT_SERIALIZE_NUMPY)
    axes = joined.ndim
    opening, closing = b"[" * axes, b"]" * axes
    between = closing[1:] + b"," + opening[1:]
    rows = text[axes:-axes].split(between)
    return RowTexts(rows, opening, between, closing) if len(rows) == len(joined) else None
