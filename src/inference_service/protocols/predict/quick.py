"""Bodies that are the input itself in its plainest form, by functions made for one model. Pure.

They give exactly what `codec` gives, or None.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import orjson

from inference_service.core.tensors import Signature, Tensors
from inference_service.protocols.json_quick import QUICK_FROM
from inference_service.protocols.number_rows import holds_no_words, number_reader
from inference_service.protocols.predict import codec
from inference_service.protocols.row_texts import RowTexts, row_texts
from inference_service.serving.codec import Content

_MATRIX = 2  # axes


class NamedWriter:
    """The outputs by name, as `codec.encode` writes them."""

    def __init__(self, *, one_row: bool) -> None:
        self._one_row = one_row
        self._encode = partial(codec.encode, one_row=one_row)

    def alone(self, outputs: Tensors, rows: int) -> Content:
        """See `serving.quick.Writer.alone`."""
        return Content(self._encode(outputs))

    def together(self, outputs: Sequence[Tensors], rows: Sequence[int]) -> list[Content] | None:
        """See `serving.quick.Writer.together`."""
        columns: list[tuple[bytes, RowTexts]] = []
        for name in outputs[0]:
            arrays = [tensors[name] for tensors in outputs]
            if any(not a.ndim or len(a) != n for a, n in zip(arrays, rows, strict=True)):
                return None
            texts = row_texts(arrays)
            if texts is None:
                return None
            columns.append((orjson.dumps(name), texts))
        answers, start = [], 0
        for count in rows:
            stop = start + count
            members = [
                b"%b:%b" % (name, texts.row(start) if self._one_row else texts.array(start, stop))
                for name, texts in columns
            ]
            answers.append(Content(b"{%b}" % b",".join(members)))
            start = stop
        return answers


Found: TypeAlias = tuple[Tensors, int, NamedWriter]


def decoder(signature: Signature) -> Callable[[bytes, Any], Found | None] | None:
    """A decoder of arrays of numbers for a model with one input of rows of more than one number;
    None: the model takes something else."""
    if len(signature.inputs) != 1 or signature.optional or not signature.has_row_axis:
        return None
    spec = signature.inputs[0]
    shape = signature.wanted_shape(spec)
    if shape is None or len(shape) != _MATRIX or shape[1] == 1:
        return None
    read = number_reader(spec.dtype, shape)
    if read is None:
        return None
    row, rows = NamedWriter(one_row=True), NamedWriter(one_row=False)
    name = spec.name

    def decode(body: bytes, _: Any) -> Found | None:
        if len(body) >= QUICK_FROM or not holds_no_words(body):
            return None
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            return None
        if type(value) is not list or not value:
            return None
        one_row = type(value[0]) is not list
        array = read([value] if one_row else value)
        return None if array is None else ({name: array}, len(array), row if one_row else rows)

    return decode
