"""The pydantic models of TensorFlow Serving's REST API.

Source: tensorflow/serving, g3doc/api_rest.md and util/json_tensor.cc.

For each loaded model a request model is made from its signature: it validates the bodies and it is
the schema on the docs page. The tensors themselves are validated and converted as a whole; there is
never a pydantic object for a number.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Self

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
from inference_service.core.tensors import Shape, Signature, Tensors, TensorSpec
from inference_service.protocols.json_schema import tensor_schema
from inference_service.protocols.json_tensors import from_columns, from_rows
from inference_service.protocols.json_values import STRICT, Rules

SIGNATURE_NAME = "serving_default"
_FORMS = frozenset({"instances", "inputs"})
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
    """The envelope: exactly one of ``instances`` (rows) and ``inputs`` (columns).

    Unknown fields are passed over, as TensorFlow Serving does: KServe and Vertex AI send
    ``parameters``. A form that is null beside the other one is absent.
    """

    model_config = ConfigDict(extra="ignore")

    signature_name: str | None = Field(
        None, description=f"only '{SIGNATURE_NAME}' exists for an ONNX model"
    )
    instances: Any = Field(None, description="row form: a list with one entry per row")
    inputs: Any = Field(None, description="column form: a tensor, or an object of named tensors")

    @model_validator(mode="before")
    @classmethod
    def _without_null(cls, value: Any) -> Any:
        if isinstance(value, dict) and {"instances", "inputs"} <= value.keys():
            return {k: v for k, v in value.items() if v is not None or k not in _FORMS}
        return value

    @property
    def given(self) -> set[str]:
        """The forms that the request has."""
        return self.model_fields_set & _FORMS

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if len(self.given) != 1:
            got = "both" if self.given else "neither"
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


class OpenAIModel(BaseModel):
    """A model as OpenAI's clients list it."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="when this service was started, in seconds since 1970")
    owned_by: str


class ModelStatusAnswer(OpenAIModel):
    """The answer of ``GET /v1/models/{model}``: TensorFlow Serving's, KServe V1's and OpenAI's."""

    model_config = ConfigDict(protected_namespaces=())

    model_version_status: list[VersionStatus]
    name: str
    ready: bool


class ModelListAnswer(BaseModel):
    """The answer of ``GET /v1/models``: OpenAI's ``data`` and KServe V1's ``models``."""

    object: Literal["list"] = "list"
    data: list[OpenAIModel]
    models: list[str]


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
    if not signature.row_obstacle:
        fields["instances"] = (
            Annotated[Any, _TensorField(signature, from_rows, rows_schema(signature))],
            Field(None, description="row form: a list with one entry per row"),
        )
    return create_model(f"{name} request", __base__=PredictBody, **fields)


def rows_schema(signature: Signature) -> JsonSchemaValue:
    """JSON Schema of ``instances``."""
    properties = {spec.name: tensor_schema(spec, row_shape(spec)) for spec in signature.inputs}
    row = _object(properties)
    if len(properties) == 1:
        row = {"anyOf": [*properties.values(), row]}
    return {"type": "array", "items": row, "minItems": 1}


def column_schema(signature: Signature) -> JsonSchemaValue:
    """JSON Schema of ``inputs``."""
    properties = {
        spec.name: tensor_schema(spec, signature.wanted_shape(spec)) for spec in signature.accepted
    }
    required = [spec.name for spec in signature.inputs]
    columns = _object(properties, required)
    if len(required) > 1:
        return columns
    return {"anyOf": [properties[required[0]], columns]}


def answer_schema(signature: Signature) -> JsonSchemaValue:
    """JSON Schema of the answer to either form."""
    columns = {
        spec.name: tensor_schema(spec, spec.shape if spec.ranked else None, answer=True)
        for spec in signature.outputs
    }
    rows = {
        spec.name: tensor_schema(spec, row_shape(spec), answer=True) for spec in signature.outputs
    }
    one = len(columns) == 1
    row = next(iter(rows.values())) if one else _object(rows)
    column = next(iter(columns.values())) if one else _object(columns)
    return {
        "type": "object",
        "properties": {"predictions": {"type": "array", "items": row}, "outputs": column},
    }


def row_shape(spec: TensorSpec) -> Shape | None:
    """The shape of one row; None: any."""
    return spec.shape[1:] if spec.ranked else None


def _object(
    properties: dict[str, JsonSchemaValue], required: Sequence[str] | None = None
) -> JsonSchemaValue:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties if required is None else required),
        "additionalProperties": False,
    }
