"""JSON Schema and examples of tensors, for the docs page."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from pydantic import BaseModel

from inference_service.core.tensors import DType, Shape, Signature, TensorSpec


def inlined(model: type[BaseModel]) -> dict[str, Any]:
    """A model's JSON Schema without references: those inside a path of OpenAPI lead nowhere."""
    schema = model.model_json_schema()
    known = schema.pop("$defs", {})

    def resolved(value: Any) -> Any:
        if isinstance(value, list):
            return [resolved(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return resolved(known[value["$ref"].rpartition("/")[2]])
        return {key: resolved(item) for key, item in value.items()}

    found: dict[str, Any] = resolved(schema)
    return found


def tensor_schema(spec: TensorSpec, shape: Shape | None, *, answer: bool = False) -> dict[str, Any]:
    """JSON Schema of a tensor as nested arrays; without a shape it may be of any rank.

    Floats of an ``answer`` may be null: NaN is written so.
    """
    if shape is None:
        return {"description": f"nested arrays of {spec.dtype.label}, of any rank"}
    schema = _leaf_schema(spec.dtype)
    if answer and spec.dtype.is_float:
        schema = {"type": ["number", "null"]}
    for size in reversed(shape):
        schema = {"type": "array", "items": schema}
        if size is not None:
            schema |= {"minItems": size, "maxItems": size}
    return schema


def _leaf_schema(dtype: DType) -> dict[str, Any]:
    if dtype is DType.BYTES:
        return {"type": "string"}
    if dtype is DType.BOOL:
        return {"type": "boolean"}
    if dtype.is_integer:
        smallest, largest = dtype.limits
        return {"type": "integer", "minimum": smallest, "maximum": largest}
    return {"type": "number"}


LARGEST_EXAMPLE = 40_000
"""Values; a page with a larger one would be slow to open."""
_MANY = 1_000  # values; an example of more is all zeros, which take the least room
_FREE = 4  # the length of a free axis of which nothing is known


def example_row(
    signature: Signature,
    given: Mapping[str, Any] | None,
    lengths: Mapping[str, Sequence[int]] | None = None,
    *,
    rows: bool = True,
) -> dict[str, Any] | None:
    """Values for the docs page: the owner's example, else what fits the graph; None: too many.

    One row; without ``rows`` the whole tensors, for models that have no batch axis. ``lengths``
    are shapes of rows that the graph is known to take, for inputs that take several.
    """
    row = {}
    for spec in signature.inputs:
        if given is not None and spec.name in given:
            row[spec.name] = given[spec.name]
            continue
        # Of an unknown rank a list of values is the likeliest to run.
        whole = spec.shape if spec.ranked else (1, None)
        free = whole[1:] if rows else whole
        shape = [_FREE if length is None else length for length in free]
        known = (lengths or {}).get(spec.name)
        if rows and known is not None and prod(known) <= LARGEST_EXAMPLE:
            shape = list(known)
        if prod(shape) > LARGEST_EXAMPLE:
            return None
        row[spec.name] = _example(spec.dtype, shape, many=prod(shape) > _MANY)
    return row


def _example(dtype: DType, shape: Sequence[int], *, many: bool = False) -> Any:
    if shape:
        return [_example(dtype, shape[1:], many=many) for _ in range(shape[0])]
    if dtype is DType.BYTES:
        return "text"
    if dtype is DType.BOOL:
        return True
    return 0 if many else 0.5 if dtype.is_float else 1
