"""The tensors that an ONNX file stores, as constants that are decoded when they are read.

External data is opened when it is read, inside the model's folder, and no further than the shape
asks for.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from inference_service.core.errors import InvalidModel
from inference_service.core.tensors import Array
from inference_service.safety.graph import Constant

Proto: TypeAlias = Any
"""A protobuf message of onnx.proto3."""

LARGEST_SPARSE = 2**24
"""Elements of a sparse tensor's dense form: a file of a few bytes can declare any shape."""


def dtype_name(number: int) -> str:
    """``float``, ``int64``, ``bfloat16``, ``string``: the names of onnx.proto3 in lower case."""
    from onnx import TensorProto

    try:
        return str(TensorProto.DataType.Name(number)).lower()
    except ValueError:
        return "undefined"


def constants_of(folder: Path | None) -> Callable[[Proto], Constant]:
    """Converts tensors of a file whose external data lies in ``folder``."""
    return lambda proto: Constant(
        _shape(proto.dims, proto.name), dtype_name(proto.data_type), lambda: _decode(proto, folder)
    )


def _shape(dims: Sequence[int], name: str) -> tuple[int, ...]:
    if any(length < 0 for length in dims):
        raise InvalidModel(f"tensor '{name}' has a negative length: {list(dims)}")
    return tuple(dims)


def _decode(proto: Proto, folder: Path | None) -> Array:
    """The contents of a tensor. Raises ValueError where the file lacks them."""
    from onnx import TensorProto, numpy_helper

    if proto.data_location == TensorProto.EXTERNAL:
        filled = TensorProto(dims=proto.dims, data_type=proto.data_type, name=proto.name)
        filled.raw_data = _external(proto, folder)
        proto = filled
    try:
        array: Array = numpy_helper.to_array(proto)
    except (TypeError, KeyError, OverflowError) as error:
        raise ValueError(f"tensor '{proto.name}' can't be decoded: {error}") from None
    return array


def _external(proto: Proto, folder: Path | None) -> bytes:
    """Exactly the bytes that the shape asks for: the data file may hold any number of them."""
    entries = {entry.key: entry.value for entry in proto.external_data}
    location = Path(entries.get("location", ""))
    if folder is None:
        raise ValueError(f"tensor '{proto.name}' is in another file, '{location}'")
    if location.is_absolute() or ".." in location.parts or not location.parts:
        raise ValueError(f"tensor '{proto.name}' lies outside of the model's folder: '{location}'")
    bits = _bits(proto.data_type)
    size = (math.prod(proto.dims) * bits + 7) // 8
    path = folder / location
    try:
        if not path.is_file():
            raise ValueError(f"tensor '{proto.name}': there is no file '{location}'")
        offset = int(entries.get("offset", 0))
        if offset < 0 or offset + size > path.stat().st_size:
            raise ValueError(f"tensor '{proto.name}' runs past the end of '{location}'")
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)
    except OSError as error:
        raise ValueError(f"'{location}' can't be read: {error.strerror}") from None


def _bits(data_type: int) -> int:
    """Bits of one element in raw data; types below 8 bits are packed."""
    from onnx import helper

    name = dtype_name(data_type)
    for suffix, bits in (("int4", 4), ("float4e2m1", 4), ("int2", 2)):
        if name.endswith(suffix):
            return bits
    try:
        return 8 * int(helper.tensor_dtype_to_np_dtype(data_type).itemsize)
    except KeyError:
        raise ValueError(f"elements of the type {name} have no fixed size") from None


def sparse_constant(proto: Proto) -> Constant:
    """A sparse tensor as a dense constant."""
    shape = _shape(proto.dims, proto.values.name)

    def read() -> Array:
        if math.prod(shape) > LARGEST_SPARSE:
            raise ValueError(f"sparse tensor '{proto.values.name}' has the shape {list(shape)}")
        values = _decode(proto.values, None)
        indices = _decode(proto.indices, None)
        dense = np.zeros(math.prod(shape), values.dtype)
        if indices.ndim == 2:  # one coordinate for each axis, instead of a flat place
            indices = np.ravel_multi_index(tuple(indices.T), shape)
        try:
            dense[indices] = values
        except (IndexError, ValueError) as error:
            name = proto.values.name
            raise ValueError(f"sparse tensor '{name}' is faulty: {error}") from None
        return dense.reshape(shape)

    return Constant(shape, dtype_name(proto.values.data_type), read)
