"""Health and metadata of the Open Inference Protocol v2.

Source: kserve/open-inference-protocol, specification/protocol/inference_rest.md.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from inference_service.core.requests import ModelRef
from inference_service.core.tensors import TensorSpec
from inference_service.engine.interfaces import Engine, ModelInfo, ModelStatus
from inference_service.web.endpoint import parse_version
from inference_service.web.errors import ERRORS, ErrorBody
from inference_service.web.health import Health

TAG = "Open Inference Protocol"
_ModelName = Annotated[str, Path(description="name of a model")]


class ServerMetadata(BaseModel):
    """Who answers."""

    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    """The process answers."""

    live: bool


class Ready(BaseModel):
    """Every model that must be is warm."""

    ready: bool


class TensorMetadata(BaseModel):
    """An input or output; a free axis is -1."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelEntry(BaseModel):
    """One version in the list of models."""

    model_config = ConfigDict(protected_namespaces=())

    name: str
    version: str
    state: str
    error: str = Field("", description="why it failed to load")
    description: str = ""
    platform: str = ""
    inputs: list[TensorMetadata] = []
    outputs: list[TensorMetadata] = []
    batching: str = Field("", description="merge, split or whole: see docs/batching.md")
    max_batch_size: int | None = None
    labels: dict[str, list[str]] = {}
    metadata: dict[str, str] = {}
    warnings: list[str] = []


class ModelList(BaseModel):
    """Every model version that is known."""

    models: list[ModelEntry]


def router(engine: Engine, health: Health, name: str, version: str) -> APIRouter:
    """Server metadata, health, the list of models, model metadata and readiness."""
    routes = APIRouter(tags=[TAG])
    _add_server(routes, engine, health, ServerMetadata(name=name, version=version, extensions=[]))
    _add_models(routes, engine)
    return routes


def _add_server(
    routes: APIRouter, engine: Engine, health: Health, metadata: ServerMetadata
) -> None:
    @routes.get("/v2", response_model=ServerMetadata)
    @routes.get("/v2/", include_in_schema=False)
    def server_metadata() -> ServerMetadata:
        """Name, version and protocol extensions."""
        return metadata

    @routes.get("/v2/health/live", response_model=Live)
    async def live() -> Live:
        """200 as long as the event loop turns."""
        return Live(live=True)

    @routes.get("/v2/health/ready", response_model=Ready, responses={503: {"model": ErrorBody}})
    async def ready() -> Ready:
        """200 only when every model that must be is warm, and not while shutting down."""
        health.check()
        return Ready(ready=True)

    @routes.get("/v2/models", response_model=ModelList)
    def models() -> ModelList:
        """Every model version with its state, inputs, outputs and limits."""
        return ModelList(models=[_entry(status) for status in engine.statuses()])


def _add_models(routes: APIRouter, engine: Engine) -> None:
    errors: dict[int | str, dict[str, Any]] = {404: ERRORS[404], 503: ERRORS[503]}

    @routes.get("/v2/models/{model}", response_model=ModelMetadata, responses=errors)
    def model_metadata(model: _ModelName) -> ModelMetadata:
        """Inputs and outputs of the version that is served by default."""
        return _metadata(engine, engine.describe(ModelRef(model)))

    @routes.get(
        "/v2/models/{model}/versions/{version}", response_model=ModelMetadata, responses=errors
    )
    def version_metadata(model: _ModelName, version: str) -> ModelMetadata:
        """Inputs and outputs of one version."""
        return _metadata(engine, engine.describe(parse_version(version, model)))

    @routes.get("/v2/models/{model}/scheduler", responses=errors)
    async def scheduler(model: _ModelName) -> dict[str, Any]:
        """What the scheduler has measured, what waits, and why recent batches were released."""
        return dict(engine.explain(ModelRef(model)))

    @routes.get("/v2/models/{model}/versions/{version}/scheduler", responses=errors)
    async def version_scheduler(model: _ModelName, version: str) -> dict[str, Any]:
        """The same for one version."""
        return dict(engine.explain(parse_version(version, model)))

    @routes.get("/v2/models/{model}/ready", responses=errors)
    def model_ready(model: _ModelName) -> Response:
        """200 when requests for the model are answered."""
        engine.describe(ModelRef(model))
        return Response(status_code=200)

    @routes.get("/v2/models/{model}/versions/{version}/ready", responses=errors)
    def version_ready(model: _ModelName, version: str) -> Response:
        """200 when requests for the version are answered."""
        engine.describe(parse_version(version, model))
        return Response(status_code=200)


def _metadata(engine: Engine, info: ModelInfo) -> ModelMetadata:
    return ModelMetadata(
        name=info.name,
        versions=[str(other.version) for other in engine.models() if other.name == info.name],
        platform=info.platform,
        inputs=[_tensor(spec) for spec in info.signature.inputs],
        outputs=[_tensor(spec) for spec in info.served.outputs],
    )


def _entry(status: ModelStatus) -> ModelEntry:
    entry = ModelEntry(
        name=status.name, version=str(status.version), state=status.state, error=status.error
    )
    info = status.info
    if info is None:
        return entry
    return entry.model_copy(
        update={
            "description": info.description,
            "platform": info.platform,
            "inputs": [_tensor(spec) for spec in info.signature.inputs],
            "outputs": [_tensor(spec) for spec in info.served.outputs],
            "batching": info.signature.mode.value,
            "max_batch_size": info.policy.max_batch_size,
            "labels": dict(info.labels),
            "metadata": dict(info.metadata),
            "warnings": list(info.warnings),
        }
    )


def _tensor(spec: TensorSpec) -> TensorMetadata:
    shape = [-1 if n is None else n for n in spec.shape]
    return TensorMetadata(name=spec.name, datatype=spec.dtype.value, shape=shape)
