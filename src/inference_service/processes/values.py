"""Plain values and arrays as a JSON header and bytes, and back. Pure.

Nothing but numbers, texts, lists and arrays can come out of it, whatever the bytes are.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from inference_service.core.tensors import Array
from inference_service.processes.errors import ChildLost

_MOST_AXES = 64
_ALIGNED = 64  # bytes, as onnxruntime likes its inputs


def described(array: Array) -> tuple[dict[str, Any], Array]:
    """An array's description, and its bytes as a flat array of uint8."""
    if array.dtype.kind in "OSU":
        flat = _texts_packed(array)
        return {"kind": "texts", "shape": list(array.shape), "bytes": flat.nbytes}, flat
    whole = np.ascontiguousarray(array)
    flat = whole.reshape(-1).view(np.uint8)
    return {"kind": array.dtype.str, "shape": list(array.shape), "bytes": flat.nbytes}, flat


def restored(about: dict[str, Any], data: Any, offset: int) -> Array:
    """The array that a description tells, as a view of the buffer where it is of numbers.

    Raises ChildLost where the two don't fit.
    """
    try:
        kind, size = about["kind"], int(about["bytes"])
        shape = tuple(int(length) for length in about["shape"])
        _check_shape((*shape, size, offset))
        flat = np.frombuffer(data, np.uint8, size, offset)
        if kind == "texts":
            return _texts_unpacked(flat, shape)
        found: Array = flat.view(_of_numbers(kind)).reshape(shape)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ChildLost(f"it has sent an array that is none: {error}") from error
    return found


def _check_shape(numbers: tuple[int, ...]) -> None:
    if len(numbers) > _MOST_AXES or min(numbers) < 0:
        raise ValueError("a shape that no array has")


def _of_numbers(kind: str) -> np.dtype[Any]:
    dtype = np.dtype(kind)
    if dtype.kind not in "biuf":
        raise ValueError("a type that no tensor has")
    return dtype


def _texts_packed(array: Array) -> Array:
    """Lengths (int64; -1 - length for bytes), then the texts as UTF-8."""
    items = [one if isinstance(one, str | bytes) else str(one) for one in array.ravel().tolist()]
    parts = [
        one if isinstance(one, bytes) else one.encode("utf-8", "surrogatepass") for one in items
    ]
    lengths = [
        -1 - len(part) if isinstance(one, bytes) else len(part)
        for one, part in zip(items, parts, strict=True)
    ]
    packed = np.array(lengths, np.int64).tobytes() + b"".join(parts)
    return np.frombuffer(packed, np.uint8)


def _texts_unpacked(flat: Array, shape: tuple[int, ...]) -> Array:
    count = 1
    for length in shape:
        count *= length
    if count * 8 > flat.nbytes:
        raise ValueError("fewer texts than its shape has")
    lengths = flat[: count * 8].view(np.int64).tolist()
    data = flat[count * 8 :].tobytes()
    found = np.empty(count, object)
    place = 0
    for index, length in enumerate(lengths):
        end = place + (length if length >= 0 else -1 - length)
        if end > len(data):
            raise ValueError("texts that are longer than its bytes")
        part = data[place:end]
        found[index] = part.decode("utf-8", "surrogatepass") if length >= 0 else part
        place = end
    return found.reshape(shape)


def packed(value: Any) -> tuple[Any, list[Array]]:
    """A value of plain ones, sequences and arrays as JSON, and the bytes of its arrays in order.

    Raises TypeError for anything else.
    """
    arrays: list[Array] = []
    return _pack(value, arrays), arrays


# Not functions within functions: one that calls itself is garbage in a cycle, which would keep the
# bytes until the collector comes.
def _pack(value: Any, arrays: list[Array]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        about, flat = described(value)
        arrays.append(flat)
        return {"array": about}
    if isinstance(value, list | tuple):
        return [_pack(part, arrays) for part in value]
    raise TypeError(f"a {type(value).__name__} can't be sent to another process")


def unpacked(value: Any, data: Any) -> Any:
    """What `packed` packed; sequences are lists. Raises ChildLost."""
    return _unpack(value, data, 0)[0]


def _unpack(value: Any, data: Any, place: int) -> tuple[Any, int]:
    """The value, and where the next array begins."""
    if isinstance(value, list):
        found = []
        for part in value:
            one, place = _unpack(part, data, place)
            found.append(one)
        return found, place
    if not isinstance(value, dict):
        return value, place
    about = value.get("array")
    if not isinstance(about, dict):
        raise ChildLost("it has sent a value that is none")
    return restored(about, data, place), place + int(about["bytes"])


def placed(sizes: Sequence[int], start: int = 0) -> tuple[list[int], int]:
    """Offsets of arrays of these sizes one after the other, and where the last one ends."""
    offsets = []
    for size in sizes:
        offsets.append(start)
        start += -(-size // _ALIGNED) * _ALIGNED
    return offsets, start
