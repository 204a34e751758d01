"""Tensors as raw bytes: little-endian, row-major, strings with their lengths. Pure.

Source: triton-inference-server/server, docs/protocol/extension_binary_data.md.
"""

import sys
from collections.abc import Sequence

import numpy as np

from inference_service.core.errors import InvalidInput
from inference_service.core.tensors import Array, DType, element_count
from inference_service.protocols.json_values import check_texts

_LENGTH = 4  # bytes of the length in front of a string
_SWAPPED = sys.byteorder == "big"


def from_bytes(data: memoryview, dtype: DType, shape: Sequence[int]) -> Array:
    """The tensor; numbers are not copied where they lie aligned. Raises InvalidInput."""
    count = element_count(shape)
    if dtype is DType.BYTES:
        check_texts(count)
        return _strings(data, count).reshape(shape)
    wanted = count * dtype.numpy.itemsize
    if len(data) != wanted:
        raise InvalidInput(
            f"{len(data)} bytes of binary data, but {dtype.value} of shape {list(shape)} "
            f"takes {wanted}"
        )
    array = np.frombuffer(data, dtype.numpy.newbyteorder("<")).reshape(shape)
    if dtype is DType.BOOL and count and int(array.view(np.uint8).max()) > 1:
        raise InvalidInput("a BOOL is one byte, 0 or 1; the binary data has others")
    if _SWAPPED:  # pragma: no cover - for machines that store numbers the other way round
        return array.astype(dtype.numpy)
    return np.require(array, requirements="A")


def _strings(data: memoryview, count: int) -> Array:
    texts: list[str] = []
    position = 0
    while position < len(data):
        start = position + _LENGTH
        position = start + int.from_bytes(data[position:start], "little")
        if position > len(data) or start > len(data):
            raise InvalidInput(f"string {len(texts)} of the binary data ends too early")
        try:
            texts.append(str(data[start:position], "utf-8"))
        except UnicodeDecodeError:
            raise InvalidInput(f"string {len(texts)} of the binary data is not UTF-8") from None
        if len(texts) > count:
            break
    if len(texts) != count:
        more = "more than " if len(texts) > count else ""
        raise InvalidInput(
            f"the shape has {count} strings, the binary data {more}{min(len(texts), count)}"
        )
    array = np.empty(count, object)
    array[:] = texts
    return array


def to_bytes(array: Array) -> bytes:
    """The tensor's bytes."""
    if array.dtype.kind in "OSU":
        return b"".join(
            len(text).to_bytes(_LENGTH, "little") + text for text in map(_encoded, array.flat)
        )
    if _SWAPPED:  # pragma: no cover - as above
        array = array.astype(array.dtype.newbyteorder("<"))
    return array.tobytes()


def _encoded(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
