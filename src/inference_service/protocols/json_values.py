"""Single JSON values and flat arrays of them: what becomes of them in a data type."""

import base64
import binascii
from typing import Any

import numpy as np

from inference_service.core.tensors import Array, DType

BASE64_KEY = "b64"
_EXACT_FLOAT = 2.0**53  # above it a float no longer holds every integer


def cast(raw: Array, dtype: DType) -> Array | None:
    """To the wanted dtype where no value changes its meaning; else None."""
    kind, target = raw.dtype.kind, dtype.numpy
    if raw.size == 0:
        return raw.astype(target)
    if dtype is DType.BOOL:
        return raw if kind == "b" else None
    if kind not in "iuf":
        return None
    if dtype.is_float:
        return _finite(raw, target)
    if kind == "f":
        if not (np.abs(raw) <= _EXACT_FLOAT).all() or (raw != np.trunc(raw)).any():
            return None
        raw = raw.astype(np.int64)
    smallest, largest = dtype.limits
    in_range = raw.min() >= smallest and raw.max() <= largest
    return raw.astype(target) if in_range else None


def unsigned(value: Any, raw: Array) -> Array:
    """numpy makes floats, and loses digits, of integers on both sides of 2**63."""
    exact = np.asarray(value, object)
    if not all(type(item) is int for item in exact.flat):
        return raw
    try:
        return exact.astype(np.uint64)
    except OverflowError:
        return raw


def _finite(raw: Array, target: np.dtype[np.generic]) -> Array | None:
    with np.errstate(over="ignore"):
        array = raw.astype(target)
    return array if np.isfinite(array).all() else None


def text_of(value: Any) -> str | None:
    """A string leaf: the string itself or ``{"b64": …}`` of UTF-8."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and value.keys() == {BASE64_KEY}:
        try:
            return base64.b64decode(value[BASE64_KEY], validate=True).decode()
        except (binascii.Error, ValueError, TypeError):
            return None
    return None
