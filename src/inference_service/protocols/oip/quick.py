"""Inference requests in their plainest forms, by functions that are made for one model. Pure.

One input as JSON without parameters, or as a raw body. They give exactly what `codec` gives, or
None.
"""

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import orjson

from inference_service.core.tensors import Array, BatchMode, Signature, Tensors, TensorSpec
from inference_service.protocols.json_quick import QUICK_FROM
from inference_service.protocols.number_rows import ReadNumbers, number_reader
from inference_service.protocols.oip import codec
from inference_service.protocols.row_texts import RowTexts, row_texts
from inference_service.serving.codec import Content
from inference_service.serving.quick import Writer

BINARY = b"application/octet-stream"
LENGTH = b"inference-header-content-length"

_WORDS = (b"true", b"false", b"null")
_PART = {"name", "shape", "datatype", "data"}
_MOST_HEADS = 256

Found: TypeAlias = tuple[Tensors, int, Writer]


class Decoder:
    """For a model with one input of numbers, whose rows have one shape."""

    def __init__(self, spec: TensorSpec, flat: ReadNumbers, nested: ReadNumbers,
                 writers: tuple[Writer, Writer]) -> None:  # fmt: skip
        self._name, self._kind = spec.name, (spec.name, spec.dtype.value)
        self._dtype = spec.dtype.numpy
        self._rest = [n or 0 for n in spec.shape[1:]]
        self._numbers = math.prod(self._rest)
        self._flat, self._nested = flat, nested
        self._writers = writers

    def __call__(self, body: bytes, head: Any) -> Found | None:
        """The request in a body; ``head`` says how much of it is JSON."""
        if head.json_length == 0:
            return self._raw(body)
        if head.json_length is not None or len(body) >= QUICK_FROM:
            return None
        if any(word in body for word in _WORDS):
            return None
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            return None
        parts = value.get("inputs") if type(value) is dict and len(value) == 1 else None
        if type(parts) is not list or len(parts) != 1 or type(parts[0]) is not dict:
            return None
        array = self._tensor(parts[0])
        return None if array is None else ({self._name: array}, len(array), self._writers[0])

    def _tensor(self, part: dict[str, Any]) -> Array | None:
        if part.keys() != _PART or (part["name"], part["datatype"]) != self._kind:
            return None
        shape, data = part["shape"], part["data"]
        if type(shape) is not list or set(map(type, shape)) != {int} or shape[1:] != self._rest:
            return None
        if type(data) is not list or not data or shape[0] < 1:
            return None
        if type(data[0]) is list:
            array = self._nested(data)
            return array if array is not None and len(array) == shape[0] else None
        array = self._flat(data)
        fits = array is not None and array.size == shape[0] * self._numbers
        return array.reshape(shape) if array is not None and fits else None

    def _raw(self, body: bytes) -> Found | None:
        if len(body) != self._numbers * self._dtype.itemsize:
            return None
        array = np.frombuffer(body, self._dtype).reshape(1, *self._rest)
        return ({self._name: array}, 1, self._writers[1]) if array.flags.aligned else None


def decoder(
    signature: Signature, model: str, version: int, alone: Callable[[bool], codec.AnswerWriter]
) -> Decoder | None:
    """None: the model is of another kind. ``alone`` makes the usual writer, of JSON or bytes."""
    if len(signature.inputs) != 1 or signature.optional or signature.mode is BatchMode.WHOLE:
        return None
    spec = signature.inputs[0]
    plain = signature.has_fixed_rows and signature.has_row_axis and 0 not in spec.shape[1:]
    flat = number_reader(spec.dtype, (None,))
    nested = number_reader(spec.dtype, (None, *spec.shape[1:]))
    if not plain or sys.byteorder != "little" or flat is None or nested is None:
        return None
    begin = orjson.dumps({"model_name": model, "model_version": str(version)})[:-1]
    begin += b',"outputs":['
    writers = JsonWriter(begin, alone(False)), BytesWriter(alone(True))
    return Decoder(spec, flat, nested, writers)


class JsonWriter:
    """Answers in JSON, all outputs."""

    def __init__(self, begin: bytes, reply: codec.AnswerWriter) -> None:
        self._begin = begin
        self._reply = reply

    def alone(self, outputs: Tensors, rows: int) -> Content:
        """See `serving.quick.Writer.alone`."""
        return Content(self._reply.write(outputs).body)

    def together(self, outputs: Sequence[Tensors], rows: Sequence[int]) -> list[Content] | None:
        """See `serving.quick.Writer.together`."""
        columns: list[tuple[bytes, bytes, RowTexts]] = []
        for name, first in outputs[0].items():
            arrays = [tensors[name] for tensors in outputs]
            if any(not a.ndim or len(a) != n for a, n in zip(arrays, rows, strict=True)):
                return None
            texts = row_texts(arrays, flat=True)
            if texts is None:
                return None
            described = codec.described(name, first)
            head = orjson.dumps({**described, "shape": 0})[:-2]  # up to the 0
            columns.append((head, b"".join(b",%d" % n for n in first.shape[1:]), texts))
        answers, start = [], 0
        for count in rows:
            stop = start + count
            entries = [
                b'%b[%d%b],"data":[%b]}'
                % (head, count, rest, b",".join(texts.numbers(start, stop)))
                for head, rest, texts in columns
            ]
            answers.append(Content(b"%b%b]}" % (self._begin, b",".join(entries))))
            start = stop
        return answers


class BytesWriter:
    """Answers in bytes behind the JSON, all outputs."""

    def __init__(self, reply: codec.AnswerWriter) -> None:
        self._reply = reply
        self._heads: dict[tuple[Any, ...], tuple[bytes, tuple[bytes, bytes]]] = {}

    def alone(self, outputs: Tensors, rows: int) -> Content:
        """See `serving.quick.Writer.alone`."""
        kinds = tuple([(name, array.dtype, array.shape) for name, array in outputs.items()])
        known = self._heads.get(kinds)
        if known is None:
            answer = self._reply.write(outputs)
            length = answer.json_length or 0
            header = LENGTH, b"%d" % length
            if all(array.dtype.kind in "fiub" for array in outputs.values()):
                if len(self._heads) >= _MOST_HEADS:
                    self._heads.clear()
                self._heads[kinds] = answer.body[:length], header
            return Content(answer.body, BINARY, (header,))
        text, header = known
        data = [array.tobytes() for array in outputs.values()]
        return Content(b"".join([text, *data]), BINARY, (header,))

    def together(self, outputs: Sequence[Tensors], rows: Sequence[int]) -> list[Content] | None:
        """See `serving.quick.Writer.together`."""
        return [self.alone(one, count) for one, count in zip(outputs, rows, strict=True)]
