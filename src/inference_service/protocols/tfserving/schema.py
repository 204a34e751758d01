"""The pydantic models of TensorFlow Serving's REST API.

Source: tensorflow/serving, g3doc/api_rest.md and util/json_tensor.cc.

For each loaded model a request model is made from its signature: it validates the bodies and it is
the schema on the docs page. The tensors themselves are validated and converted as a whole; there is
never a pydantic object for a number.
"""

from collections.abc import Callable
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
    create_model,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from inference_service.core.errors import InvalidInput
from inference_service.core.tensors import Signature, Tensors
from inference_service.protocols.json_schema import tensor_schema
from inference_service.protocols.json_tensors import from_columns, from_rows
from inference_service.protocols.json_values import STRICT, Rules

SIGNATURE_NAME = "serving_default"
_Reader = Callable[..., Tensors]


class _TensorField:
    """Metadata of a field whose value is read into arrays by ``reader``."""

    def __init__(self, signature: Signature, reader: _Reader, schema: JsonSchemaValue) -> None:
        self._signature = signature
        self._reader = reader
        self._schema = schema

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(
        self, _: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return self._schema

    def _validate(self, value: Any, info: ValidationInfo) -> Tensors:
        rules: Rules = info.context["rules"] if info.context else STRICT
        try:
            return self._reader(value, self._signature, (), rules=rules)
        except InvalidInput as error:
            context = {"message": error.message, "path": error.path}
            raise PydanticCustomError("tensor", "{message}", context) from None


class PredictBody(BaseModel):
    """The envelope: exactly one of ``instances`` (rows) and ``inputs`` (columns)."""

    model_config = ConfigDict(extra="forbid")

    signature_name: str | None = Field(
        None, description=f"only '{SIGNATURE_NAME}' exists for an ONNX model"
    )
    instances: Any = Field(None, description="row form: a list with one entry per row")
    inputs: Any = Field(None, description="column form: a tensor, or an object of named tensors")

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        given = self.model_fields_set & {"instances", "inputs"}
        if len(given) != 1:
            got = "both" if given else "neither"
            raise PydanticCustomError(
                "form", "expected one of 'instances' and 'inputs', got {got}", {"got": got}
            )
        if self.signature_name not in {None, "", SIGNATURE_NAME}:
            raise PydanticCustomError(
                "signature_name",
                "unknown signature '{name}', an ONNX model has only 'serving_default'",
                {"name": self.signature_name},
            )
        return self


class PredictAnswer(BaseModel):
    """``predictions`` answers ``instances``, ``outputs`` answers ``inputs``."""

    predictions: list[Any] | None = Field(None, description="one entry per instance")
    outputs: Any = Field(None, description="a tensor, or an object of named tensors")


class ClassifyAnswer(BaseModel):
    """For each example the classes with their scores."""

    results: list[list[list[Any]]] = Field(description="pairs of a label and its score")


class RegressAnswer(BaseModel):
    """One number for each example."""

    results: list[float | None]


class VersionError(BaseModel):
    """The error of a version that could not be loaded."""

    error_code: str = "OK"
    error_message: str = ""


class VersionStatus(BaseModel):
    """A version's place in its life."""

    version: str
    state: str
    status: VersionError


class ModelStatusAnswer(BaseModel):
    """The answer of ``GET /v1/models/{model}``."""

    model_version_status: list[VersionStatus]


class ModelSpec(BaseModel):
    """Which model the metadata is of."""

    name: str
    signature_name: str = ""
    version: str


class MetadataAnswer(BaseModel):
    """The answer of ``GET /v1/models/{model}/metadata``."""

    model_config = ConfigDict(protected_namespaces=())

    model_spec: ModelSpec
    metadata: dict[str, Any]


def body_model(name: str, signature: Signature) -> type[PredictBody]:
    """The request model of one loaded model."""
    fields: dict[str, Any] = {
        "inputs": (
            Annotated[Any, _TensorField(signature, from_columns, column_schema(signature))],
            Field(None, description="column form: every input as one tensor over all rows"),
        )
    }
    if signature.has_row_axis:
        fields["instances"] = (
            Annotated[Any, _TensorField(signature, from_rows, rows_schema(signature))],
            Field(None, description="row form: a list with one entry per row"),
        )
    return create_model(f"{name} request", __base__=PredictBody, **fields)


def rows_schema(signature: Signature) -> JsonSchemaValue:
    """JSON Schema of ``instances``."""
    properties = {spec.name: tensor_schema(spec, spec.shape[1:]) for spec in signature.inputs}
    row = _object(properties)
    if len(properties) == 1:
        row = {"anyOf": [*properties.values(), row]}
    return {"type": "array", "items": row, "minItems": 1}


def column_schema(signature: Signature) -> JsonSchemaValue:
    """JSON Schema of ``inputs``."""
    properties = {
        spec.name: tensor_schema(spec, signature.wanted_shape(spec)) for spec in signature.inputs
    }
    columns = _object(properties)
    return {"anyOf": [*properties.values(), columns]} if len(properties) == 1 else columns


def answer_schema(signature: Signature) -> JsonSchemaValue:
    """JSON Schema of the answer to either form."""
    columns = {spec.name: tensor_schema(spec, spec.shape) for spec in signature.outputs}
    rows = {spec.name: tensor_schema(spec, spec.shape[1:]) for spec in signature.outputs}
    one = len(columns) == 1
    row = next(iter(rows.values())) if one else _object(rows)
    column = next(iter(columns.values())) if one else _object(columns)
    return {
        "type": "object",
        "properties": {"predictions": {"type": "array", "items": row}, "outputs": column},
    }


def _object(properties: dict[str, JsonSchemaValue]) -> JsonSchemaValue:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
