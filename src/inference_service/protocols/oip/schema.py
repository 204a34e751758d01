"""The pydantic models of the Open Inference Protocol's inference request and answer.

Source: kserve/open-inference-protocol, specification/protocol/inference_rest.md; the binary,
classification and parameters extensions of triton-inference-server/server, docs/protocol.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

Parameter = bool | int | float | str
"""What a parameter may be."""

_Length = Annotated[int, Field(ge=0, lt=2**48, strict=True)]


class _Part(BaseModel):
    # Fields that this service doesn't know are passed over, as Triton does: clients send some.
    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class InferInput(_Part):
    """One input: ``data`` nested or flat in row-major order, or bytes behind the JSON."""

    name: str
    shape: list[_Length]
    datatype: str = Field(description="BOOL, UINT8 … UINT64, INT8 … INT64, FP16, FP32, FP64, BYTES")
    parameters: dict[str, Parameter | None] | None = Field(
        None, description="`binary_data_size`: bytes of this tensor behind the JSON"
    )
    data: Any = Field(None, description="numbers, booleans or strings; without binary data only")


class InferOutput(_Part):
    """An output that is wanted."""

    name: str
    parameters: dict[str, Parameter | None] | None = Field(
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
    inputs: list[InferInput] = Field(min_length=1)
    outputs: list[InferOutput] | None = Field(None, description="the outputs wanted; none: all")


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
