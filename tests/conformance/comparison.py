"""What an equal answer is."""

from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def difference(
    got: Mapping[str, Array], expected: Mapping[str, Array], rtol: float, atol: float
) -> str | None:
    """The first difference between named outputs, in words; None where they are equal.

    The suite's own comparison: names, shapes and types are equal, texts, whole numbers and truth
    values too, and floats within ``atol + rtol * |expected|``, NaN being equal to NaN.
    """
    if list(got) != list(expected):
        return f"outputs {list(got)}, expected {list(expected)}"
    for name, array in got.items():
        wanted = expected[name]
        if array.shape != wanted.shape:
            return f"'{name}' has shape {list(array.shape)}, expected {list(wanted.shape)}"
        if array.dtype != wanted.dtype:
            return f"'{name}' is {array.dtype}, expected {wanted.dtype}"
        unequal = ~_equal(array, wanted, rtol, atol)
        if unequal.any():
            place = tuple(int(i) for i in np.argwhere(unequal)[0])
            return (
                f"'{name}'{list(place)} is {array[place]!s}, expected {wanted[place]!s}; "
                f"{int(unequal.sum())} of {wanted.size} differ"
            )
    return None


def _equal(array: Array, wanted: Array, rtol: float, atol: float) -> Array:
    if array.dtype.kind != "f":
        return np.asarray(array == wanted)
    with np.errstate(all="ignore"):
        return np.asarray(
            np.isclose(array.astype("f8"), wanted.astype("f8"), rtol, atol, equal_nan=True)
        )


def rounding(expected: Mapping[str, Array]) -> float:
    """What sums may differ by because another number of rows takes another way through a kernel."""
    largest, finest = 0.0, 0.0
    for array in expected.values():
        if array.dtype.kind != "f":
            continue
        finite = array[np.isfinite(array)]
        if finite.size:
            largest = max(largest, float(np.abs(finite.astype("f8")).max()))
            finest = max(finest, float(np.finfo(array.dtype).eps))
    return 8 * finest * largest


def same_kind(got: Mapping[str, Array], expected: Mapping[str, Array]) -> str | None:
    """The same for outputs that are drawn at random: names, shapes and types."""
    for name in expected:
        if name in got and got[name].shape == expected[name].shape and got[name].dtype.kind != "O":
            got = {**got, name: expected[name].astype(got[name].dtype)}
    return difference(got, expected, 0, 0)
