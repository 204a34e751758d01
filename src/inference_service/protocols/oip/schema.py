"""The pydantic models of the Open Inference Protocol's inference request and answer.

Source: kserve/open-inference-protocol, specification/protocol/inference_rest.md; the binary,
classification and parameters extensions of triton-inference-server/server, docs/protocol.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeInt

from inference_service.core.errors import InvalidInput
from inference_service.protocols.first_fault import FirstFault

Parameter = bool | int | float | str
"""What a parameter may be."""

_Length = Annotated[int, Field(ge=0, lt=2**48, strict=True)]
MOST_PARAMETERS = 64
"""Of an input or output."""
MOST_AXES = 64
"""Of a tensor that numpy can hold."""
_LONGEST_NUMBER = 16  # digits
MOST_TENSORS = 4096
"""Inputs or outputs of a request."""


def _written_as_text(value: Any) -> Any:
    """Whole numbers in strings, as the JSON form of protocol buffers writes those of 64 bits."""
    if type(value) is not list or len(value) > MOST_AXES:
        return value
    return [
        int(one) if type(one) is str and len(one) < _LONGEST_NUMBER and one.isdecimal() else one
        for one in value
    ]


_Parameters = Annotated[dict[str, Parameter | None], Field(max_length=MOST_PARAMETERS)]


class _Part(BaseModel):
    # Fields that this service doesn't know are passed over, as Triton does: clients send some.
    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class InferInput(_Part):
    """One input: ``data`` nested or flat in row-major order, or bytes behind the JSON."""

    name: str
    shape: Annotated[list[_Length], FirstFault(), BeforeValidator(_written_as_text)]
    datatype: str = Field(description="BOOL, UINT8 … UINT64, INT8 … INT64, FP16, FP32, FP64, BYTES")
    parameters: _Parameters | None = Field(
        None, description="`binary_data_size`: bytes of this tensor behind the JSON"
    )
    data: Any = Field(None, description="numbers, booleans or strings; without binary data only")


class InferOutput(_Part):
    """An output that is wanted."""

    name: str
    parameters: _Parameters | None = Field(
        None, description="`binary_data`: as bytes; `classification`: the N highest classes"
    )


class InferBody(_Part):
    """An inference request."""

    id: str | None = Field(None, description="comes back in the answer")
    parameters: dict[str, Any] | None = Field(
        None,
        description="`binary_data_output`: all outputs as bytes; `timeout`: microseconds; "
        "`priority`: 1 is the highest, 0 the default",
    )
    inputs: Annotated[list[InferInput], FirstFault(), Field(min_length=1, max_length=MOST_TENSORS)]
    outputs: Annotated[list[InferOutput], FirstFault(), Field(max_length=MOST_TENSORS)] | None = (
        Field(None, description="the outputs wanted; none: all")
    )


class InferAnswerOutput(_Part):
    """One output: ``data`` is flat in row-major order."""

    name: str
    datatype: str
    shape: list[NonNegativeInt]
    data: list[Any] | None = None
    parameters: dict[str, Any] | None = None


class InferAnswer(_Part):
    """The answer to an inference request."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferAnswerOutput]


def check_few_parameters(value: Mapping[str, Any]) -> None:
    """pydantic looks at all members of an object, and collects a fault for each, before it counts.

    Raises InvalidInput.
    """
    for kind in ("inputs", "outputs"):
        parts = value.get(kind)
        if type(parts) is not list:
            continue
        for index, part in enumerate(parts[:MOST_TENSORS]):
            given = part.get("parameters") if type(part) is dict else None
            if type(given) is dict and len(given) > MOST_PARAMETERS:
                text = f"at most {MOST_PARAMETERS}, got {len(given)}"
                raise InvalidInput(text, (kind, index, "parameters"))
