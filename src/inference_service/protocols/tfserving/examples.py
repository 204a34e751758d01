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
    wrong_names,
)
from inference_service.protocols.json_tensors import dump, encodable, to_array
from inference_service.protocols.json_values import STRICT, Rules
from inference_service.protocols.tfserving.schema import SIGNATURE_NAME

_Features = dict[str, Any]


class ExamplesBody(BaseModel):
    """Examples: objects with a value, or a list of values, for each feature."""

    model_config = ConfigDict(extra="forbid")

    signature_name: str | None = Field(
        None, description=f"only '{SIGNATURE_NAME}' exists for an ONNX model"
    )
    context: _Features = Field({}, description="features that all examples share")
    examples: Annotated[list[_Features], Field(min_length=1)]


def decode_examples(value: Any, signature: Signature, *, rules: Rules = STRICT) -> Tensors:
    """The tensors of a classify or regress request. Raises InvalidInput."""
    if not isinstance(value, dict):
        raise InvalidInput("expected an object with 'examples'")
    try:
        body = ExamplesBody.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidInput(first["msg"], tuple(first["loc"])) from None
    if body.signature_name not in {None, "", SIGNATURE_NAME}:
        raise InvalidInput(
            f"unknown signature '{body.signature_name}', an ONNX model has only '{SIGNATURE_NAME}'"
        )
    if signature.mode is BatchMode.WHOLE or not signature.has_row_axis:
        raise InvalidInput("this model has no rows that could be examples: use predict")
    rows = [body.context | example for example in body.examples]
    names = {spec.name for spec in signature.inputs}
    for index, row in enumerate(rows):
        if row.keys() != names:
            raise wrong_names(signature, row).within("examples", index)
    return {spec.name: _column(rows, spec, rules) for spec in signature.inputs}


def _column(rows: Sequence[_Features], spec: TensorSpec, rules: Rules) -> Array:
    """One feature of all examples. Values are flat lists in TensorFlow; nested ones are taken."""
    shape = spec.shape[1:]
    values = [row[spec.name] for row in rows]
    if not shape:
        values = [value[0] if _is_single(value) else value for value in values]
    flat = len(shape) > 1 and all(
        isinstance(value, list) and not any(isinstance(item, list) for item in value)
        for value in values
    )
    sizes = [size for size in shape if size is not None]
    wanted = (math.prod(sizes),) if flat and len(sizes) == len(shape) else shape
    try:
        array = to_array(values, spec, (None, *wanted), (), rules=rules)
    except InvalidInput as error:
        index, *inner = error.path or (0,)
        raise InvalidInput(error.message, ("examples", index, spec.name, *inner)) from None
    return array.reshape(len(rows), *sizes) if wanted != shape else array


def _is_single(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 1


def regression_output(signature: Signature) -> str:
    """The output that has one number for each row. Raises InvalidInput where there isn't one."""
    for spec in signature.outputs:
        if spec.dtype.is_float and spec.shape[1:] in {(), (1,)}:
            return spec.name
    raise InvalidInput(
        "this model can't regress: none of its outputs "
        f"({quoted(signature.output_names)}) has one float for each row"
    )


def classification_output(signature: Signature) -> str:
    """The output that has a row of scores. Raises InvalidInput where there isn't one."""
    for spec in signature.outputs:
        if spec.dtype.is_float and len(spec.shape) == 2:
            return spec.name
    raise InvalidInput(
        "this model can't classify: none of its outputs "
        f"({quoted(signature.output_names)}) has a row of scores for each row"
    )


def encode_regression(outputs: Tensors, name: str, non_finite: NonFinite = NonFinite.NULL) -> bytes:
    """``{"results": [number, …]}``."""
    return dump({"results": encodable("", outputs[name].reshape(-1))}, non_finite)


def encode_classification(
    outputs: Tensors,
    name: str,
    labels: Mapping[str, Sequence[str]],
    non_finite: NonFinite = NonFinite.NULL,
) -> bytes:
    """``{"results": [[[label, score], …], …]}``; without labels a class is named by its index."""
    scores = outputs[name]
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
