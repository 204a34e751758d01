"""Inference requests in their plainest forms, by functions that are made for one model. Pure.

One input as JSON without parameters, as bytes behind the JSON, or as a raw body. They give exactly
what `codec` gives, or None.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import orjson

from inference_service.core.tensors import Array, BatchMode, Signature, Tensors
from inference_service.protocols.json_quick import QUICK_FROM
from inference_service.protocols.number_rows import ReadNumbers, number_reader
from inference_service.protocols.oip import codec
from inference_service.protocols.oip.wanted import Wanted
from inference_service.protocols.row_texts import RowTexts, row_texts
from inference_service.serving.codec import Content
from inference_service.serving.quick import Writer

BINARY = b"application/octet-stream"
LENGTH = b"inference-header-content-length"

_WORDS = (b"true", b"false", b"null")
_PART = {"name", "shape", "datatype", "data"}
_MEMBERS = {"inputs", "outputs", "parameters"}
_MOST_HEADS = 256
_LONGEST_TEXT = 2048

Found: TypeAlias = tuple[Tensors, int, Writer]
WriterOf: TypeAlias = Callable[[codec.Infer], codec.AnswerWriter | None]
"""The protocol's own writer of an answer; None: the request needs a part of the outputs alone."""


class _Envelope(NamedTuple):
    """What the JSON before the bytes says: the tensor's shape and bytes, and how to answer."""

    shape: tuple[int, ...]
    size: int
    writer: Writer


class Writers:
    """The writers for requests that want all outputs in one form."""

    def __init__(self, begin: bytes, outputs: Sequence[str], usual: WriterOf) -> None:
        """``begin`` is that of an answer in JSON, ``usual`` makes the protocol's own writers."""
        self._begin = begin
        self._outputs = set(outputs)
        self._usual = usual
        self._made: dict[tuple[tuple[Wanted, ...] | None, bool], Writer] = {}

    def find(self, request: codec.Infer) -> Writer | None:
        """The same writer for the same outputs; None: the answer is of another kind."""
        wanted = request.outputs
        key = wanted, request.binary
        found = self._made.get(key)
        if found is not None:
            return found
        names, binary = None, request.binary
        if wanted is not None:
            names, binary = tuple([one.name for one in wanted]), wanted[0].binary
            if set(names) != self._outputs:
                return None
            if any(one.is_changed or one.binary is not binary for one in wanted):
                return None
        usual = self._usual(replace(request, inputs={}))
        if usual is None:
            return None
        if len(self._made) >= _MOST_HEADS:
            self._made.clear()
        made = BytesWriter(usual, names) if binary else JsonWriter(self._begin, usual, names)
        self._made[key] = made
        return made


class Decoder:
    """For a model with one input of numbers, whose rows have one shape."""

    def __init__(
        self, signature: Signature, flat: ReadNumbers, nested: ReadNumbers, writers: Writers
    ) -> None:
        (spec,) = signature.inputs
        self._signature = signature
        self._name, self._kind = spec.name, (spec.name, spec.dtype.value)
        self._dtype = spec.dtype.numpy
        self._rest = [n or 0 for n in spec.shape[1:]]
        self._numbers = math.prod(self._rest)
        self._flat, self._nested = flat, nested
        self._writers = writers
        self._in_json = writers.find(codec.Infer({}))
        self._in_bytes = writers.find(codec.Infer({}, binary=True))
        self._envelopes: dict[bytes, _Envelope] = {}

    def __call__(self, body: bytes, head: Any) -> Found | None:
        """The request in a body; ``head`` says how much of it is JSON. Raises InvalidInput."""
        if head.json_length is not None:
            return self._binary(body, head.json_length) if head.json_length else self._raw(body)
        if len(body) >= QUICK_FROM or any(word in body for word in _WORDS):
            return None
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            return None
        parts = value.get("inputs") if type(value) is dict and len(value) == 1 else None
        if type(parts) is not list or len(parts) != 1 or type(parts[0]) is not dict:
            return None
        array = self._tensor(parts[0])
        return None if array is None else self._found(array, self._in_json)

    def _found(self, array: Array, writer: Writer | None) -> Found | None:
        return None if writer is None else ({self._name: array}, len(array), writer)

    def _binary(self, body: bytes, length: int) -> Found | None:
        """The tensor's bytes follow ``length`` bytes of JSON, which clients repeat."""
        text = body[:length]
        envelope = self._envelopes.get(text)
        if envelope is None:
            envelope = self._learned(text, body)
            if envelope is None:
                return None
        shape, size, writer = envelope
        if len(body) - length != size:
            return None
        array = np.frombuffer(body, self._dtype, offset=length).reshape(shape)
        if not array.flags.aligned:
            array = array.copy()
        return {self._name: array}, shape[0], writer

    def _learned(self, text: bytes, body: bytes) -> _Envelope | None:
        """Read by `codec` itself. It is the same for all bodies that begin with this text and have
        as many bytes behind it, as these bytes are the one input and may have any value."""
        if len(text) >= len(body) or not _is_repeated(text):
            return None
        request = codec.decode(body, self._signature, len(text), null=True)
        array, size = request.inputs.get(self._name), len(body) - len(text)
        if array is None or len(request.inputs) > 1 or array.nbytes != size:
            return None
        plain = not request.id and not request.priority and request.timeout == math.inf
        if not plain or array.dtype != self._dtype or list(array.shape[1:]) != self._rest:
            return None
        writer = self._writers.find(request)
        if writer is None:
            return None
        if len(self._envelopes) >= _MOST_HEADS:
            self._envelopes.clear()
        envelope = self._envelopes[text] = _Envelope(array.shape, size, writer)
        return envelope

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
        return self._found(array, self._in_bytes) if array.flags.aligned else None


def decoder(signature: Signature, model: str, version: int, usual: WriterOf) -> Decoder | None:
    """None: the model is of another kind. ``usual`` makes the protocol's own writers."""
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
    return Decoder(signature, flat, nested, Writers(begin, signature.output_names, usual))


def _is_repeated(text: bytes) -> bool:
    """Whether it is JSON that may come again: without an id, and not long."""
    if len(text) > _LONGEST_TEXT:
        return False
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return type(value) is dict and value.keys() <= _MEMBERS


def _in_order(outputs: Tensors, names: Sequence[str] | None) -> Tensors:
    """The outputs as they are written; None: as they come."""
    return outputs if names is None else {name: outputs[name] for name in names}


class JsonWriter:
    """Answers in JSON, all outputs; in the order of ``names``, where it is given."""

    def __init__(
        self, begin: bytes, reply: codec.AnswerWriter, names: Sequence[str] | None = None
    ) -> None:
        self._begin = begin
        self._reply = reply
        self._names = names

    def alone(self, outputs: Tensors, rows: int) -> Content:
        """See `serving.quick.Writer.alone`."""
        return Content(self._reply.write(outputs).body)

    def together(self, outputs: Sequence[Tensors], rows: Sequence[int]) -> list[Content] | None:
        """See `serving.quick.Writer.together`."""
        columns: list[tuple[bytes, bytes, RowTexts]] = []
        for name, first in _in_order(outputs[0], self._names).items():
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
    """Answers in bytes behind the JSON, all outputs; in the order of ``names``, if it is given."""

    def __init__(self, reply: codec.AnswerWriter, names: Sequence[str] | None = None) -> None:
        self._reply = reply
        self._names = names
        self._heads: dict[tuple[Any, ...], tuple[bytes, tuple[bytes, bytes]]] = {}

    def alone(self, outputs: Tensors, rows: int) -> Content:
        """See `serving.quick.Writer.alone`."""
        if self._names is not None:
            outputs = _in_order(outputs, self._names)
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
