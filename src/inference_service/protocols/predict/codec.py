"""The body of ``POST /predict``: the input itself. Pure.

The rank of what is sent says what it is: for a model that takes rows of 64 numbers, 64 numbers are
one row and its answer comes without a batch axis, a list of such rows is a batch.
"""

import contextlib
from typing import Any

from inference_service.core.errors import InvalidInput
from inference_service.core.tensors import NonFinite, Signature, Tensors
from inference_service.protocols.json_large import Decode
from inference_service.protocols.json_quick import open_quickly
from inference_service.protocols.json_tensors import (
    dump,
    encodable,
    from_columns,
    is_bare,
)
from inference_service.protocols.json_values import STRICT, Rules


def is_envelope(value: Any, signature: Signature) -> bool:
    """Whether the body is ``{"instances": …}`` or ``{"inputs": …}`` rather than named inputs."""
    names = {spec.name for spec in signature.inputs}
    return (
        isinstance(value, dict)
        and not value.keys() <= names
        and bool(value.keys() & {"instances", "inputs"})
    )


def decode(value: Any, signature: Signature, *, rules: Rules = STRICT) -> tuple[Tensors, bool]:
    """The tensors, and whether they are one row without a batch axis. Raises InvalidInput."""
    specs = signature.inputs
    named = {specs[0].name: value} if is_bare(value) and len(specs) == 1 else value
    if not isinstance(named, dict):
        names = ", ".join(f"'{spec.name}'" for spec in specs)
        raise InvalidInput(f"expected an object with one key per input: {names}")
    if not _is_one_row(named, signature):
        return from_columns(named, signature, (), rules=rules), False
    lone = {name: [value] for name, value in named.items()}
    for spec in signature.optional:  # they have no batch axis
        if spec.name in lone:
            lone[spec.name] = named[spec.name]
    try:
        return from_columns(lone, signature, (), rules=rules), True
    except InvalidInput as error:
        # A flat list can also be several rows of one value, an empty one several empty rows.
        with contextlib.suppress(InvalidInput):
            return from_columns(named, signature, (), rules=rules), False
        path = (error.path[0], *error.path[2:]) if len(error.path) > 1 else error.path
        raise InvalidInput(error.message, path) from None


def decode_any(
    value: Any, signature: Signature, envelope: Decode, *, rules: Rules = STRICT
) -> tuple[Tensors, bool, bool]:
    """As `decode`, or what ``envelope`` makes of an envelope, and whether it is one."""
    if is_envelope(value, signature):
        tensors, by_rows = envelope(value, signature, rules=rules)
        return tensors, by_rows, True
    return *decode(value, signature, rules=rules), False


def decode_any_quickly(
    body: bytes, signature: Signature, _: Decode
) -> tuple[Tensors, bool, bool] | None:
    """`decode_any` straight from the body, as `decode_quickly`."""
    found = decode_quickly(body, signature)
    return None if found is None else (*found, False)


def decode_quickly(body: bytes, signature: Signature) -> tuple[Tensors, bool] | None:
    """The same straight from the body, for an array of many numbers; else None."""
    quick = open_quickly(body)
    if quick is None or len(signature.inputs) != 1 or not signature.has_row_axis:
        return None
    spec = signature.inputs[0]
    shape = signature.wanted_shape(spec)
    if shape is None:
        return None
    lone = quick.rank(quick.value) == len(shape) - 1
    array = quick.numbers(quick.value, spec.dtype, shape[1:] if lone else shape)
    if array is None or not quick.accounted:
        return None
    return {spec.name: array[None] if lone else array}, lone


def encode(outputs: Tensors, *, one_row: bool, non_finite: NonFinite = NonFinite.NULL) -> bytes:
    """The outputs by name; those of a lone row without the batch axis."""
    if one_row:
        # What has more or fewer entries than the one row has no batch axis to leave out.
        outputs = {
            name: array.reshape(array.shape[1:]) if array.shape[:1] == (1,) else array
            for name, array in outputs.items()
        }
    return dump({name: encodable(name, array) for name, array in outputs.items()}, non_finite)


def _is_one_row(named: dict[str, Any], signature: Signature) -> bool:
    """Whether every input comes without its batch axis."""
    if not signature.has_row_axis:
        return False
    for spec in signature.inputs:
        if spec.name in named:
            rank = _rank(named[spec.name])
            if rank != len(spec.shape) - 1 and (rank or spec.shape[1:] != (1,)):
                return False
    return True


def _rank(value: Any) -> int:
    """How deeply lists are nested, going by the first entries."""
    rank = 0
    while isinstance(value, list):
        rank += 1
        if not value:
            break
        value = value[0]
    return rank
