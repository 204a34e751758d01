"""Bytes of TensorFlow Serving's REST API to requests, and responses to bytes. Pure."""

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from pydantic import ValidationError

from inference_service.core.errors import InvalidInput, TooLarge
from inference_service.core.lifecycle import State
from inference_service.core.tensors import (
    Array,
    DType,
    NonFinite,
    Signature,
    Tensors,
    TensorSpec,
    render_shape,
)
from inference_service.faults import invalid_input, noun
from inference_service.protocols.json_quick import open_quickly
from inference_service.protocols.json_tensors import dump, encodable, from_rows
from inference_service.protocols.json_values import BASE64_KEY, STRICT, Rules, file_of
from inference_service.protocols.tfserving.schema import SIGNATURE_NAME, PredictBody, body_model

_DT = {
    DType.BOOL: "DT_BOOL",
    DType.UINT8: "DT_UINT8",
    DType.UINT16: "DT_UINT16",
    DType.UINT32: "DT_UINT32",
    DType.UINT64: "DT_UINT64",
    DType.INT8: "DT_INT8",
    DType.INT16: "DT_INT16",
    DType.INT32: "DT_INT32",
    DType.INT64: "DT_INT64",
    DType.FP16: "DT_HALF",
    DType.FP32: "DT_FLOAT",
    DType.FP64: "DT_DOUBLE",
    DType.BYTES: "DT_STRING",
}
_STATES = {
    State.LOADING: "LOADING",
    State.WARMING: "LOADING",
    State.READY: "AVAILABLE",
    State.DRAINING: "UNLOADING",
    State.UNLOADED: "END",
    State.FAILED: "END",
}


@lru_cache(maxsize=256)
def _body_model(signature: Signature) -> type[PredictBody]:
    return body_model("model", signature)


def decode_predict(
    value: Any, signature: Signature, *, rules: Rules = STRICT
) -> tuple[Tensors, bool]:
    """The tensors of a predict request, and whether it is in the row form. Raises InvalidInput."""
    if not isinstance(value, dict):
        raise InvalidInput(f"expected an object with 'instances' or 'inputs', got {noun(value)}")
    if len(value) == 1 and (rows := value.get("instances")) is not None:
        # The plainest envelope needs no model of pydantic, a tenth of a small request's time;
        # the tensors are read by the same function.
        return from_rows(rows, signature, ("instances",), rules=rules), True
    try:
        envelope = _body_model(signature).model_validate(value, context={"rules": rules})
    except ValidationError as error:
        raise invalid_input(error) from None
    by_rows = "instances" in envelope.given
    return (envelope.instances if by_rows else envelope.inputs), by_rows


def row_count(tensors: Tensors) -> int:
    """The number of instances of a request in the row form."""
    return next((array.shape[0] for array in tensors.values() if array.ndim), 1)


def decode_files(
    value: Any, signature: Signature, tensors: Callable[[bytes], Tensors], most: int
) -> tuple[Tensors, bool]:
    """Rows that are files: ``{"b64": ...}``, also below the input's name, alone or with ``_bytes``.

    ``tensors`` makes one row of a file, all of the same shape. Raises InvalidInput, and TooLarge
    for rows of more than ``most`` bytes together: a file of some bytes may become MiB.
    """
    if not isinstance(value, dict) or ("instances" in value) == ("inputs" in value):
        raise InvalidInput("expected an object with either 'instances' or 'inputs'")
    form = "instances" if "instances" in value else "inputs"
    names = {name for spec in signature.inputs for name in (spec.name, f"{spec.name}_bytes")}
    given = _below(value[form], names) if form == "inputs" else value[form]
    if isinstance(given, dict):  # one file, without a list
        given = [given]
    if not isinstance(given, list) or not given:
        raise InvalidInput('expected a list of {"b64": …}', (form,))
    inputs: dict[str, Array] = {}
    for place, item in enumerate(given):
        try:
            row = tensors(_file(_below(item, names)))
        except InvalidInput as error:
            raise error.within(form, place) from None
        if not inputs:
            inputs = _room_for(len(given), row, most)
        for name, array in row.items():
            inputs[name][place] = array[0]
    return inputs, form == "instances"


def _room_for(rows: int, row: Tensors, most: int) -> dict[str, Array]:
    taken = rows * sum(array.nbytes for array in row.values())
    if taken > most:
        raise TooLarge(
            f"{rows} files become {taken >> 20} MiB of tensors, the limit is {most >> 20} MiB: "
            "send fewer in one request"
        )
    return {name: np.empty((rows, *array.shape[1:]), array.dtype) for name, array in row.items()}


def _below(value: Any, names: Collection[str]) -> Any:
    if isinstance(value, dict) and len(value) == 1:
        ((name, inner),) = value.items()
        return inner if name in names else value
    return value


def _file(value: Any) -> bytes:
    if not isinstance(value, dict) or set(value) != {BASE64_KEY}:
        raise InvalidInput(f"expected a file as in the other rows, {{'{BASE64_KEY}': …}}")
    text = value[BASE64_KEY]
    if not isinstance(text, str):
        raise InvalidInput("expected base64 in a string", (BASE64_KEY,))
    return file_of(text, (BASE64_KEY,))[0]


def decode_quickly(body: bytes, signature: Signature) -> tuple[Tensors, bool] | None:
    """The same straight from the body, for many numbers in a plain request; else None."""
    quick = open_quickly(body)
    if quick is None:
        return None
    members = quick.items(quick.value)
    if members is None:
        return None
    name = members.pop("signature_name", None)
    if name is not None and name not in ("", SIGNATURE_NAME):  # it may be an array: not hashable
        return None
    tensors: Tensors | None = None
    specs = signature.inputs
    if members.keys() == {"inputs"}:
        tensors = quick.columns(members["inputs"], signature)
    elif members.keys() == {"instances"} and len(specs) == 1 and not signature.row_obstacle:
        shape = signature.wanted_shape(specs[0])
        array = quick.numbers(members["instances"], specs[0].dtype, shape)
        tensors = None if array is None else {specs[0].name: array}
    return (tensors, "instances" in members) if tensors and quick.accounted else None


def encode_predict(
    outputs: Tensors,
    *,
    by_rows: bool,
    rows: int | None = None,
    non_finite: NonFinite = NonFinite.NULL,
) -> bytes:
    """The answer in the form of the question. One output is given bare, several by name.

    Raises InvalidInput where an output hasn't one entry for each of ``rows`` instances.
    """
    if by_rows:
        _check_rows(outputs, rows)
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        return dump({"predictions" if by_rows else "outputs": encodable(name, array)}, non_finite)
    values = {name: encodable(name, array) for name, array in outputs.items()}
    if not by_rows:
        return dump({"outputs": values}, non_finite)
    names = list(values)
    entries = zip(*values.values(), strict=True)
    return dump(
        {"predictions": [dict(zip(names, row, strict=True)) for row in entries]}, non_finite
    )


def _check_rows(outputs: Tensors, rows: int | None) -> None:
    """Each prediction is of one instance: an output without rows has no place in this form."""
    for name, array in outputs.items():
        shape = array.shape
        if rows is None and shape:
            rows = shape[0]
        if not shape or shape[0] != rows:
            raise InvalidInput(
                f"inconsistent batch size: output '{name}' of shape {render_shape(array.shape)} "
                f"doesn't have one entry for each of {rows} instances; "
                "use the column form 'inputs'"
            )


def metadata(name: str, version: int, signature: Signature) -> dict[str, Any]:
    """The answer of ``…/metadata``."""
    definition = {
        "inputs": {spec.name: _tensor_info(spec) for spec in signature.accepted},
        "outputs": {spec.name: _tensor_info(spec) for spec in signature.outputs},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(version)},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE_NAME: definition}}},
    }


def _tensor_info(spec: TensorSpec) -> dict[str, Any]:
    sizes = [{"size": str(-1 if n is None else n), "name": ""} for n in spec.shape]
    return {
        "dtype": _DT[spec.dtype],
        "tensor_shape": {"dim": sizes, "unknown_rank": not spec.ranked},
        "name": spec.name,
    }


def model_status(
    name: str, versions: Sequence[tuple[int, State, str]], created: int
) -> dict[str, Any]:
    """The answer of ``GET /v1/models/{model}``, a path of three protocols whose keys don't collide.

    TensorFlow Serving reads the versions' states, KServe V1 ``name`` and ``ready``, OpenAI's
    clients the fields of `model_entry`.
    """
    ready = any(state is State.READY for _, state, _ in versions)
    return {**status(versions), "name": name, "ready": ready, **model_entry(name, created)}


def status(versions: Sequence[tuple[int, State, str]]) -> dict[str, Any]:
    """TensorFlow Serving's status of a model: versions, the newest first."""
    return {
        "model_version_status": [
            {
                "version": str(version),
                "state": _STATES[state],
                "status": {
                    "error_code": "UNKNOWN" if state is State.FAILED else "OK",
                    "error_message": error,
                },
            }
            for version, state, error in sorted(versions, key=lambda entry: -entry[0])
        ]
    }


def model_entry(name: str, created: int) -> dict[str, Any]:
    """A model as OpenAI's clients list it. ``created`` is in seconds since 1970.

    Source: https://platform.openai.com/docs/api-reference/models/object
    """
    return {"id": name, "object": "model", "created": created, "owned_by": "inference-service"}


def model_list(names: Sequence[str], created: int) -> dict[str, Any]:
    """The answer of ``GET /v1/models``: ``data`` is OpenAI's, ``models`` KServe V1's."""
    data = [model_entry(name, created) for name in names]
    return {"object": "list", "data": data, "models": list(names)}
