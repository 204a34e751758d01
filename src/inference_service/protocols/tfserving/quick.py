"""Predict requests in their plainest form, by functions that are made for one model. Pure.

They give exactly what `codec` gives, or None.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import orjson

from inference_service.core.tensors import Signature, Tensors
from inference_service.protocols.json_quick import QUICK_FROM
from inference_service.protocols.number_rows import ReadNumbers, number_reader
from inference_service.protocols.row_texts import RowTexts, row_texts
from inference_service.protocols.tfserving import codec
from inference_service.serving.codec import Content

_U, _L = b"ul"
_AFTER_KEY = len(b'{"inpu')
"""The u of the key ``inputs`` stands before it, where no spaces do."""


class PredictWriter:
    """Answers in the row form or in the column form, as `codec.encode_predict` writes them."""

    def __init__(self, *, by_rows: bool) -> None:
        self._by_rows = by_rows
        self._key = b'{"predictions":' if by_rows else b'{"outputs":'
        self._encode = partial(codec.encode_predict, by_rows=by_rows)

    def alone(self, outputs: Tensors, rows: int) -> Content:
        """See `serving.quick.Writer.alone`."""
        return Content(self._encode(outputs, rows=rows if self._by_rows else None))

    def together(self, outputs: Sequence[Tensors], rows: Sequence[int]) -> list[Content] | None:
        """See `serving.quick.Writer.together`."""
        first = outputs[0]
        texts: list[RowTexts] = []
        for name in first:
            arrays = [tensors[name] for tensors in outputs]
            for array, count in zip(arrays, rows, strict=True):
                if not array.ndim or len(array) != count:
                    return None
            found = row_texts(arrays)
            if found is None:
                return None
            texts.append(found)
        if len(texts) == 1:
            return [Content(body) for body in self._bare(texts[0], rows)]
        names = [orjson.dumps(name) for name in first]
        write = self._rows if self._by_rows else self._columns
        return [Content(body) for body in write(names, texts, rows)]

    def _bare(self, texts: RowTexts, rows: Sequence[int]) -> list[bytes]:
        key, pieces = self._key, texts.rows
        before, after = key + texts.opening, texts.closing + b"}"
        if len(rows) == len(pieces):  # one row each
            return [before + piece + after for piece in pieces]
        bodies, start = [], 0
        for count in rows:
            bodies.append(before + texts.between.join(pieces[start : start + count]) + after)
            start += count
        return bodies

    def _columns(
        self, names: Sequence[bytes], texts: Sequence[RowTexts], rows: Sequence[int]
    ) -> list[bytes]:
        bodies, start = [], 0
        for count in rows:
            stop = start + count
            members = [b"%b:%b" % (name, text.array(start, stop))
                       for name, text in zip(names, texts, strict=True)]  # fmt: skip
            bodies.append(b"%b{%b}}" % (self._key, b",".join(members)))
            start = stop
        return bodies

    def _rows(
        self, names: Sequence[bytes], texts: Sequence[RowTexts], rows: Sequence[int]
    ) -> list[bytes]:
        objects = [
            b"{%b}"
            % b",".join(
                [
                    b"%b:%b" % (name, text.row(place))
                    for name, text in zip(names, texts, strict=True)
                ]
            )
            for place in range(len(texts[0].rows))
        ]
        bodies, start = [], 0
        for count in rows:
            bodies.append(b"%b[%b]}" % (self._key, b",".join(objects[start : start + count])))
            start += count
        return bodies


Found: TypeAlias = tuple[Tensors, int, PredictWriter]
"""The tensors, the number of rows, and the writer of the form in which they came."""


def decoder(signature: Signature) -> Callable[[bytes, Any], Found | None]:
    """A decoder of short requests of numbers for a model with one input, and of long ones.

    What it is given besides the body is not looked at.
    """
    read = _reader(signature)
    name = signature.inputs[0].name
    takes_rows = not signature.row_obstacle
    by_rows, by_columns = PredictWriter(by_rows=True), PredictWriter(by_rows=False)

    def decode(body: bytes, _: Any) -> Found | None:
        if len(body) >= QUICK_FROM:
            return long(body)
        # A u or an l is in true, false and null. The key "inputs" has its u at the beginning.
        if read is None or _L in body or (_U in body and body.find(b"u", _AFTER_KEY) >= 0):
            return None
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            return None
        if type(value) is not dict or len(value) != 1:
            return None
        rows, form = value.get("instances"), by_rows
        if rows is None:
            rows, form = value.get("inputs"), by_columns
        if type(rows) is not list or (form is by_rows and not takes_rows):
            return None
        array = read(rows)
        return None if array is None else ({name: array}, len(array), form)

    def long(body: bytes) -> Found | None:
        found = codec.decode_quickly(body, signature)
        if found is None:
            return None
        tensors, in_rows = found
        return tensors, codec.row_count(tensors), by_rows if in_rows else by_columns

    return decode


def _reader(signature: Signature) -> ReadNumbers | None:
    if len(signature.inputs) != 1 or not signature.has_row_axis or signature.optional:
        return None
    spec = signature.inputs[0]
    shape = signature.wanted_shape(spec)
    return None if shape is None else number_reader(spec.dtype, shape)
