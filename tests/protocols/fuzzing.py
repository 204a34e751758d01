"""A structure-aware fuzzer of the request decoders.

It starts from valid requests and changes them: values, types, shapes, names, nesting, lengths,
bytes. What a decoder may do with the result is to return tensors that the signature accepts or
refuses in words, or to raise a `ClientError`. Anything else is a bug: another exception, more than
`SLOWEST` seconds, or an answer to a body that Python's own JSON reader calls no JSON.
"""

import json
import random
import struct
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from inference_service.core.errors import ClientError
from inference_service.core.tensors import Array, DType, Signature, TensorSpec
from inference_service.protocols.json_tensors import parse, rules_for
from inference_service.protocols.oip import codec as oip
from inference_service.protocols.oip.binary import from_bytes, to_bytes
from inference_service.protocols.predict import codec as predict
from inference_service.protocols.predict.quick import decoder as predict_decoder
from inference_service.protocols.tfserving import codec as tfserving
from inference_service.protocols.tfserving import examples
from inference_service.protocols.tfserving.quick import decoder as tfserving_decoder
from inference_service.web.compression import compressed, decompressed

SLOWEST = 1.0  # seconds for a body of a few kilobytes
LIMIT = 1 << 20

SIGNATURE = Signature(
    (
        TensorSpec("x", DType.FP32, (None, 3)),
        TensorSpec("n", DType.INT64, (None,)),
        TensorSpec("w", DType.BYTES, (None, 1)),
        TensorSpec("b", DType.BOOL, (None,)),
        TensorSpec("h", DType.FP16, (None, None)),
        TensorSpec("u", DType.UINT8, (None, 2, 2)),
    ),
    (TensorSpec("y", DType.FP32, (None,)),),
)
WIDE = Signature((TensorSpec("x", DType.FP32, (None, 120)),), SIGNATURE.outputs)
NARROW = Signature((TensorSpec("x", DType.FP32, (None, 3)),), SIGNATURE.outputs)

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 0.5, -0.0, 1e39, 1e308, 5e-324,
    "", "x", "NaN", "\x00", "🙂", "[", [], {}, [[]], [[[]]], {"b64": "AA=="}, {"b64": 3},
    float("nan"), float("inf"), "1", [1, [2]], {"x": 1}, 10**40, "a" * 300, [None] * 40,
]  # fmt: skip


@dataclass
class Found:
    """What a run has seen."""

    cases: int = 0
    accepted: int = 0
    refused: int = 0
    slowest: float = 0.0


class Mutator:
    """Valid requests, changed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def arrays(self, signature: Signature) -> dict[str, Array]:
        """One valid request."""
        rows = self.random.choice((1, 1, 2, 3))
        found: dict[str, Array] = {}
        for spec in signature.inputs:
            shape = (rows, *[2 if n is None else n for n in spec.shape[1:]])
            if spec.dtype is DType.BYTES:
                found[spec.name] = np.full(shape, "wörd", object)
            else:
                found[spec.name] = np.array(self.random.randint(0, 9)).astype(
                    spec.dtype.numpy
                ) * np.ones(shape, spec.dtype.numpy)
        return found

    def value(self, value: Any) -> Any:
        """Somewhere in a JSON value, something else."""
        pick = self.random.random()
        if isinstance(value, dict) and value and pick < 0.85:
            key = self.random.choice(list(value))
            changed = dict(value)
            if pick < 0.1:
                del changed[key]
            elif pick < 0.2:
                changed[
                    self.random.choice(
                        ["", "z", "data", "inputs", key + " ", key + "\x00", "é" + key]
                    )
                ] = changed[key]
            else:
                changed[key] = self.value(value[key])
            return changed
        if isinstance(value, list) and value and pick < 0.85:
            index = self.random.randrange(len(value))
            changed_list = list(value)
            if pick < 0.1:
                del changed_list[index]
            elif pick < 0.2:
                changed_list.insert(index, self.random.choice(ODD))
            elif pick < 0.25:
                return changed_list * 2
            else:
                changed_list[index] = self.value(value[index])
            return changed_list
        if isinstance(value, int) and not isinstance(value, bool) and pick < 0.5:
            return value + self.random.choice((-1, 1, 2**32, 2**62, -value))
        return self.random.choice(ODD)

    def maybe(self, value: Any) -> Any:
        """The value, or a change of it, or a change of the change."""
        while self.random.random() < 0.6:
            value = self.value(value)
        return value

    def damage(self, body: bytes) -> bytes:
        """Somewhere in the bytes, something else; mostly nothing."""
        pick = self.random.random()
        if pick < 0.7 or not body:
            return body
        at = self.random.randrange(len(body))
        if pick < 0.8:
            return body[:at]
        if pick < 0.9:
            return body[:at] + bytes([self.random.randrange(256)]) + body[at + 1 :]
        piece = self.random.choice(
            [b"[" * 1500, b"{", b'"', b"\x00", b"NaN", b"1e999", b"\xff", b",,", b"]" * 9]
        )
        return body[:at] + piece + body[at:]

    def text(self, value: Any) -> bytes:
        """A value as JSON, sometimes long enough for the quick reader."""
        body = json.dumps(value).encode()
        if self.random.random() < 0.3:
            body += b" " * 1100
        return self.damage(body)


def _lists(arrays: dict[str, Array]) -> dict[str, Any]:
    return {name: array.tolist() for name, array in arrays.items()}


_MADE: dict[str, Callable[[Signature], Any]] = {
    "tfserving": lru_cache(tfserving_decoder), "predict": lru_cache(predict_decoder),
}  # fmt: skip


def _agreed(usual: Callable[[], object], made: Any, signature: Signature) -> object:
    """What the usual decoder does; what one that is made for the model takes, it takes, too."""
    try:
        rows = usual()
    except ClientError:
        assert made is None, "the usual decoder refuses what the made one takes"
        raise
    assert made is None or signature.check(made[0]) == rows
    return rows


def _tfserving(mutator: Mutator, signature: Signature) -> Callable[[], object]:
    arrays = _lists(mutator.arrays(signature))
    names = list(arrays)
    rows = [dict(zip(names, row, strict=True)) for row in zip(*arrays.values(), strict=True)]
    if len(names) == 1 and mutator.random.random() < 0.5:
        rows = [row[names[0]] for row in rows]
    form: dict[str, Any] = mutator.random.choice([{"inputs": arrays}, {"instances": rows}])
    if mutator.random.random() < 0.3:
        form = {"signature_name": "serving_default", **form}
    body = mutator.text(mutator.maybe(form))

    def decode() -> object:
        quick = tfserving.decode_quickly(body, signature)
        if quick is not None:
            return signature.check(quick[0])
        tensors, _ = tfserving.decode_predict(parse(body), signature, rules=rules_for(body))
        return signature.check(tensors)

    made = _MADE["tfserving"](signature)
    if made is not None:
        return lambda: _agreed(decode, made(body, None), signature)

    return decode


def _predict(mutator: Mutator, signature: Signature) -> Callable[[], object]:
    arrays: Any = _lists(mutator.arrays(signature))
    if len(arrays) == 1 and mutator.random.random() < 0.7:
        (arrays,) = arrays.values()
    body = mutator.text(mutator.maybe(arrays))

    def decode() -> object:
        quick = predict.decode_quickly(body, signature)
        if quick is not None:
            return signature.check(quick[0])
        tensors, _ = predict.decode(parse(body), signature, rules=rules_for(body))
        return signature.check(tensors)

    made = _MADE["predict"](signature)
    if made is not None:
        return lambda: _agreed(decode, made(body, None), signature)

    return decode


def _examples(mutator: Mutator, signature: Signature) -> Callable[[], object]:
    arrays = _lists(mutator.arrays(signature))
    rows = [dict(zip(arrays, row, strict=True)) for row in zip(*arrays.values(), strict=True)]
    body = mutator.text(mutator.maybe({"examples": rows, "context": {}}))

    def decode() -> object:
        return signature.check(
            examples.decode_examples(parse(body), signature, rules=rules_for(body))
        )

    return decode


def _oip(mutator: Mutator, signature: Signature) -> Callable[[], object]:
    chance = mutator.random
    inputs, tail = [], b""
    for name, array in mutator.arrays(signature).items():
        entry = oip.described(name, array)
        if chance.random() < 0.5:
            data = to_bytes(array)
            entry["parameters"] = {"binary_data_size": len(data)}
            tail += data
        else:
            entry["data"] = (array if chance.random() < 0.5 else array.reshape(-1)).tolist()
        if chance.random() < 0.1:
            entry.setdefault("parameters", {})["content_type"] = "base64"
        inputs.append(entry)
    request = {
        "id": "a", "inputs": inputs, "parameters": {"priority": 1, "timeout": 5},
        "outputs": [{"name": "y", "parameters": {"classification": 1, "binary_data": True}}],
    }  # fmt: skip
    head = mutator.text(mutator.maybe(request))
    tail = mutator.damage(tail)
    length: int | None = chance.choice(
        [len(head)] * 8 + [None, 0, len(head) + 1, 10**9, max(len(head) - 1, 0)]
    )
    body = head + tail
    bare = chance.random() < 0.3

    def decode() -> object:
        return signature.check(oip.decode(body, signature, length, non_finite=bare).inputs)

    return decode


def _raw(mutator: Mutator, signature: Signature) -> Callable[[], object]:
    spec = mutator.random.choice(signature.inputs)
    alone = Signature((spec,), signature.outputs)
    size = mutator.random.randrange(40)
    body = bytes(mutator.random.randrange(256) for _ in range(size))

    def decode() -> object:
        return alone.check(oip.decode(body, alone, 0).inputs)

    return decode


def _strings(mutator: Mutator, _: Signature) -> Callable[[], object]:
    texts = [b"a" * mutator.random.randrange(5) for _ in range(3)]
    data = mutator.damage(b"".join(struct.pack("<I", len(text)) + text for text in texts))
    count = mutator.random.choice([3, 3, 3, 0, 1, 4, 2**40])

    def decode() -> object:
        return from_bytes(memoryview(data), DType.BYTES, [count])

    return decode


def _compression(mutator: Mutator, _: Signature) -> Callable[[], object]:
    encoding = mutator.random.choice(["gzip", "deflate"])
    content = bytes(mutator.random.choice([10, 3000, 4 * LIMIT]))
    body = mutator.damage(compressed(content, encoding) * mutator.random.choice([1, 1, 1, 2, 90]))
    if mutator.random.random() < 0.1:
        body = zlib.compress(content, wbits=-zlib.MAX_WBITS)

    def decode() -> object:
        return decompressed(body, encoding, LIMIT)

    return decode


DECODERS: dict[str, tuple[Callable[[Mutator, Signature], Callable[[], object]], Signature]] = {
    "tfserving": (_tfserving, SIGNATURE),
    "tfserving-wide": (_tfserving, WIDE),
    "tfserving-narrow": (_tfserving, NARROW),
    "predict": (_predict, SIGNATURE),
    "predict-narrow": (_predict, NARROW),
    "predict-wide": (_predict, WIDE),
    "examples": (_examples, SIGNATURE),
    "oip": (_oip, SIGNATURE),
    "oip-wide": (_oip, WIDE),
    "oip-raw": (_raw, SIGNATURE),
    "oip-strings": (_strings, SIGNATURE),
    "compression": (_compression, SIGNATURE),
}


def run(name: str, mutator: Mutator, cases: int) -> Found:
    """So many cases; raises what a decoder must not raise."""
    make, signature = DECODERS[name]
    found = Found()
    for _ in range(cases):
        decode = make(mutator, signature)
        begun = time.thread_time()
        try:
            decode()
            found.accepted += 1
        except ClientError as error:
            assert str(error), "a complaint has words"
            found.refused += 1
        seconds = time.thread_time() - begun
        found.slowest = max(found.slowest, seconds)
        assert seconds < SLOWEST, "a small body takes long"
        found.cases += 1
    return found
