"""classify and regress of TensorFlow Serving's REST API: examples to tensors, scores to results.

Pure. Source: tensorflow/serving, g3doc/api_rest.md and util/json_tensor.cc. An example is an object
of features: a value or a list of values each. An ONNX model has no such signatures of its own, so
any model can be asked: regress needs an output with one number for each row, classify one with a
row of scores.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inference_service.core.errors import InvalidInput, quoted
from inference_service.core.tensors import (
    Array,
    BatchMode,
    NonFinite,
    Signature,
    Tensors,
    TensorSpec,
    render_shape,
    wrong_names,
)
from inference_service.faults import invalid_input, noun
from inference_service.protocols.first_fault import FirstFault
from inference_service.protocols.json_tensors import dump, encodable, to_array
from inference_service.protocols.json_values import STRICT, Rules
from inference_service.protocols.tfserving.schema import SIGNATURE_NAME

_Features = dict[str, Any]
_MOST_REPEATED = 2**22
"""Values of a context's feature, over all examples."""


class ExamplesBody(BaseModel):
    """Examples: objects with a value, or a list of values, for each feature.

    Unknown fields are passed over, as TensorFlow Serving does.
    """

    model_config = ConfigDict(extra="ignore")

    signature_name: str | None = Field(
        None, description=f"only '{SIGNATURE_NAME}' exists for an ONNX model"
    )
    context: _Features = Field({}, description="features that all examples share")
    examples: Annotated[list[_Features], FirstFault(), Field(min_length=1)]


def decode(value: Any, signature: Signature, *, rules: Rules = STRICT) -> tuple[Tensors]:
    """`decode_examples`, for `json_large.read`."""
    return (decode_examples(value, signature, rules=rules),)


def decode_examples(value: Any, signature: Signature, *, rules: Rules = STRICT) -> Tensors:
    """The tensors of a classify or regress request. Raises InvalidInput."""
    if not isinstance(value, dict):
        raise InvalidInput(f"expected an object with 'examples', got {noun(value)}")
    try:
        body = ExamplesBody.model_validate(value)
    except ValidationError as error:
        raise invalid_input(error) from None
    if body.signature_name not in {None, "", SIGNATURE_NAME}:
        raise InvalidInput(
            f"unknown signature '{body.signature_name}', an ONNX model has only '{SIGNATURE_NAME}'"
        )
    if signature.mode is BatchMode.WHOLE or not signature.has_row_axis:
        raise InvalidInput("this model has no rows that could be examples: use predict")
    names = {spec.name for spec in signature.inputs}
    examples, context = body.examples, body.context
    if not context.keys() <= names:
        raise wrong_names(signature, {**context, **examples[0]}).within("context")
    for index, row in enumerate(examples):
        if len(row) > len(names) or row.keys() | context.keys() != names:
            raise wrong_names(signature, {**context, **row}).within("examples", index)
    return {spec.name: _feature(examples, context, spec, rules) for spec in signature.inputs}


def _feature(
    examples: Sequence[_Features], context: _Features, spec: TensorSpec, rules: Rules
) -> Array:
    """One feature of all examples; those that lack it share that of the context.

    The shared value is read once and repeated as an array, up to a bound: what comes in once must
    not become as many Python objects as there are examples.
    """
    rows = {i: row[spec.name] for i, row in enumerate(examples) if spec.name in row}
    if len(rows) == len(examples):
        return _column(rows, spec, rules, ("examples",))
    shared = _column({0: context[spec.name]}, spec, rules, ("context",))
    if shared.size * len(examples) > _MOST_REPEATED:
        raise InvalidInput(
            f"{shared.size} values for each of {len(examples)} examples are more than "
            f"{_MOST_REPEATED}: send fewer examples at a time",
            ("context", spec.name),
        )
    array = np.repeat(shared, len(examples), axis=0)
    if rows:
        own = _column(rows, spec, rules, ("examples",))
        if own.shape[1:] != shared.shape[1:]:
            raise InvalidInput(
                f"feature '{spec.name}' has shape {render_shape(own.shape[1:])} in an example and "
                f"{render_shape(shared.shape[1:])} in the context"
            )
        array[list(rows)] = own
    return array


def _column(rows: Mapping[int, Any], spec: TensorSpec, rules: Rules, at: tuple[str, ...]) -> Array:
    """Values by the place of their example, as rows. Flat lists in TensorFlow; nested are taken."""
    shape = spec.shape[1:] if spec.ranked else None
    values = list(rows.values())
    if shape in {(), (1,)}:  # one value has two spellings in each example
        values = [value[0] if _is_single(value) else value for value in values]
        shape = ()
    elif shape == (None,):  # and is a list of one
        values = [value if isinstance(value, list) else [value] for value in values]
    sizes = [size for size in shape or () if size is not None]
    fixed = shape is not None and len(sizes) == len(shape)
    flat = (
        fixed
        and len(sizes) > 1
        and all(isinstance(value, list) and list not in set(map(type, value)) for value in values)
    )
    wanted = (math.prod(sizes),) if flat else shape
    try:
        array = to_array(values, spec, None if wanted is None else (None, *wanted), (), rules=rules)
    except InvalidInput as error:
        index, *inner = error.path or (0,)
        place = list(rows)[int(index)]
        where = (*at, place) if at == ("examples",) else at
        raise InvalidInput(error.message, (*where, spec.name, *inner)) from None
    return array.reshape(len(rows), *spec.shape[1:]) if fixed else array


def _is_single(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 1


def regression_output(signature: Signature) -> str:
    """The output that has one number for each row. Raises InvalidInput where there isn't one."""
    for spec in signature.outputs:
        rows = spec.shape and spec.name not in signature.rows.outputs
        if spec.dtype.is_float and rows and spec.shape[1:] in {(), (1,)}:
            return spec.name
    for spec in signature.outputs:
        if spec.dtype.is_float and not spec.ranked:
            return spec.name
    raise InvalidInput(
        "this model can't regress: none of its outputs "
        f"({quoted(signature.output_names)}) has one float for each row"
    )


def classification_output(signature: Signature) -> str:
    """The output that has a row of scores. Raises InvalidInput where there isn't one."""
    for spec in signature.outputs:
        rows = len(spec.shape) == 2 and spec.name not in signature.rows.outputs
        if spec.dtype.is_float and rows:
            return spec.name
    for spec in signature.outputs:
        if spec.dtype.is_float and not spec.ranked:
            return spec.name
    raise InvalidInput(
        "this model can't classify: none of its outputs "
        f"({quoted(signature.output_names)}) has a row of scores for each row"
    )


def encode_regression(
    outputs: Tensors,
    name: str,
    non_finite: NonFinite = NonFinite.NULL,
    *,
    rows: int | None = None,
) -> bytes:
    """``{"results": [number, …]}``. Raises InvalidInput where there isn't one for each example."""
    values = outputs[name]
    if values.size != (values.size if rows is None else rows) or values.ndim not in {1, 2}:
        raise _other_rows(name, values, rows)
    return dump({"results": encodable("", values.reshape(-1))}, non_finite)


def encode_classification(
    outputs: Tensors,
    name: str,
    labels: Mapping[str, Sequence[str]],
    non_finite: NonFinite = NonFinite.NULL,
    *,
    rows: int | None = None,
) -> bytes:
    """``{"results": [[[label, score], …], …]}``; without labels a class is named by its index.

    Raises InvalidInput where there isn't a row of scores for each example.
    """
    scores = outputs[name]
    if scores.ndim != 2 or rows not in {None, scores.shape[0]}:
        raise _other_rows(name, scores, rows)
    given = outputs.get(f"{name}_labels", outputs.get(f"{name}_indices"))
    known = labels.get(name, ())
    if given is None:
        row = [known[i] if i < len(known) else str(i) for i in range(scores.shape[1])]
        named = [row] * len(scores)
    else:
        named = [[str(label) for label in row] for row in given.tolist()]
    plain = [
        [[label, value] for label, value in zip(labels_, values, strict=True)]
        for labels_, values in zip(named, np.asarray(scores), strict=True)
    ]
    return dump({"results": plain}, non_finite)


def _other_rows(name: str, array: Array, rows: int | None) -> InvalidInput:
    return InvalidInput(
        f"output '{name}' of shape {render_shape(array.shape)} has no result for each of {rows} "
        "examples: use predict"
    )
