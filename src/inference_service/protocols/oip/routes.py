"""The paths of the Open Inference Protocol v2, which KServe and Triton speak, too.

Source: kserve/open-inference-protocol, specification/protocol/inference_rest.md.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from inference_service.core.requests import ModelRef
from inference_service.core.tensors import TensorSpec
from inference_service.engine.interfaces import Engine, ModelInfo, ModelStatus
from inference_service.protocols.oip.absent import add_absent
from inference_service.protocols.oip.extensions import (
    StatisticsAnswer,
    StatisticsOf,
    model_config,
    statistics,
)
from inference_service.protocols.oip.infer import add_infer
from inference_service.protocols.oip.repository import RepositoryControl, add_repository
from inference_service.protocols.oip.upload import add_upload
from inference_service.web.endpoint import Edge
from inference_service.web.errors import ERRORS, ErrorBody
from inference_service.web.health import Health
from inference_service.web.routing import ModelName, Version, parse_version

TAG = "Open Inference Protocol"


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


class ModelReady(BaseModel):
    """The model answers requests."""

    name: str
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
    parameters: dict[str, str] = Field({}, description="how requests are batched, and why")


class ListedModel(BaseModel):
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
    batch_safety: dict[str, Any] = Field(
        {}, description="the verdict on the graph, the node and the reason: see docs/batching.md"
    )
    labels: dict[str, list[str]] = {}
    metadata: dict[str, str] = {}
    warnings: list[str] = []


class ModelList(BaseModel):
    """Every model version that is known."""

    models: list[ListedModel]


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What the server says of itself, and what its extensions need."""

    name: str
    version: str
    statistics: StatisticsOf
    control: RepositoryControl

    @property
    def extensions(self) -> list[str]:
        """Those that work here and now."""
        names = [
            "classification", "model_configuration", "binary_tensor_data", "statistics",
            "parameters", "schedule_policy",
        ]  # fmt: skip
        return [*names, "model_repository"] if self.control.token else names


def router(edge: Edge, health: Health, server: ServerInfo) -> APIRouter:
    """Server, health, models, inference, and the extensions."""
    routes = APIRouter(tags=[TAG])
    engine = edge.engine
    metadata = ServerMetadata(
        name=server.name, version=server.version, extensions=server.extensions
    )
    _add_server(routes, engine, health, metadata)
    add_infer(routes, edge)
    _add_statistics(routes, engine, server.statistics)
    _add_models(routes, engine)
    _add_scheduler(routes, engine)
    add_repository(routes, engine, server.control)
    add_absent(routes)
    add_upload(routes, server.control)
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


_NOT_THERE: dict[int | str, dict[str, Any]] = {404: ERRORS[404], 503: ERRORS[503]}


def _add_statistics(routes: APIRouter, engine: Engine, of: StatisticsOf) -> None:
    @routes.get("/v2/models/stats", response_model=StatisticsAnswer)
    async def all_statistics() -> StatisticsAnswer:
        """Requests, runs and where their time went, for every version that is ready."""
        return statistics(engine.models(), of)

    @routes.get("/v2/models/{model}/stats", response_model=StatisticsAnswer, responses=_NOT_THERE)
    async def model_statistics(model: ModelName) -> StatisticsAnswer:
        """The same for the versions of one model."""
        engine.describe(ModelRef(model))
        return statistics([info for info in engine.models() if info.name == model], of)

    @routes.get(
        "/v2/models/{model}/versions/{version}/stats",
        response_model=StatisticsAnswer,
        responses=_NOT_THERE,
    )
    async def version_statistics(model: ModelName, version: Version) -> StatisticsAnswer:
        """The same for one version."""
        return statistics([engine.describe(parse_version(version, model))], of)


def _add_models(routes: APIRouter, engine: Engine) -> None:
    @routes.get("/v2/models/{model}", response_model=ModelMetadata, responses=_NOT_THERE)
    def model_metadata(model: ModelName) -> ModelMetadata:
        """Inputs and outputs of the version that is served by default."""
        return model_metadata_of(engine, engine.describe(ModelRef(model)))

    @routes.get(
        "/v2/models/{model}/versions/{version}",
        response_model=ModelMetadata,
        responses=_NOT_THERE,
    )
    def version_metadata(model: ModelName, version: Version) -> ModelMetadata:
        """Inputs and outputs of one version."""
        return model_metadata_of(engine, engine.describe(parse_version(version, model)))

    @routes.get("/v2/models/{model}/ready", response_model=ModelReady, responses=_NOT_THERE)
    def model_ready(model: ModelName) -> ModelReady:
        """200 when requests for the model are answered."""
        return ModelReady(name=engine.describe(ModelRef(model)).name, ready=True)

    @routes.get(
        "/v2/models/{model}/versions/{version}/ready",
        response_model=ModelReady,
        responses=_NOT_THERE,
    )
    def version_ready(model: ModelName, version: Version) -> ModelReady:
        """200 when requests for the version are answered."""
        return ModelReady(name=engine.describe(parse_version(version, model)).name, ready=True)

    @routes.get("/v2/models/{model}/config", responses=_NOT_THERE)
    def config(model: ModelName) -> dict[str, Any]:
        """The configuration, as Triton writes it."""
        return model_config(engine.describe(ModelRef(model)))

    @routes.get("/v2/models/{model}/versions/{version}/config", responses=_NOT_THERE)
    def version_config(model: ModelName, version: Version) -> dict[str, Any]:
        """The same for one version."""
        return model_config(engine.describe(parse_version(version, model)))


def _add_scheduler(routes: APIRouter, engine: Engine) -> None:
    @routes.get("/v2/models/{model}/scheduler", responses=_NOT_THERE)
    async def scheduler(model: ModelName) -> dict[str, Any]:
        """What the scheduler has measured, what waits, and why recent batches were released."""
        return dict(engine.explain(ModelRef(model)))

    @routes.get("/v2/models/{model}/versions/{version}/scheduler", responses=_NOT_THERE)
    async def version_scheduler(model: ModelName, version: Version) -> dict[str, Any]:
        """The same for one version."""
        return dict(engine.explain(parse_version(version, model)))


def model_metadata_of(engine: Engine, info: ModelInfo) -> ModelMetadata:
    """Inputs and outputs as clients see them; the batch axis is the first."""
    return ModelMetadata(
        name=info.name,
        versions=[str(other.version) for other in engine.models() if other.name == info.name],
        platform=info.platform,
        inputs=[
            _tensor(replace(spec, shape=info.served.wanted_shape(spec) or ()))
            for spec in info.served.accepted
        ],
        outputs=[_tensor(spec) for spec in info.served.outputs],
        parameters={
            "batching": info.served.mode.value,
            "batch_safety": info.safety.verdict,
            "batch_safety_reason": info.safety.why,
        },
    )


def _entry(status: ModelStatus) -> ListedModel:
    entry = ListedModel(
        name=status.name, version=str(status.version), state=status.state, error=status.error
    )
    info = status.info
    if info is None:
        return entry
    return entry.model_copy(
        update={
            "description": info.description,
            "platform": info.platform,
            "inputs": [_tensor(spec) for spec in info.served.inputs],
            "outputs": [_tensor(spec) for spec in info.served.outputs],
            "batching": info.served.mode.value,
            "batch_safety": _safety(info),
            "max_batch_size": info.policy.max_batch_size,
            "labels": dict(info.labels),
            "metadata": dict(info.metadata),
            "warnings": list(info.warnings),
        }
    )


def _safety(info: ModelInfo) -> dict[str, Any]:
    """Why requests share runs, or why not: the verdict, the node and the reason."""
    safety = asdict(info.safety)
    return {key: value for key, value in safety.items() if value or key == "verdict"}


def _tensor(spec: TensorSpec) -> TensorMetadata:
    # A list of lengths can't say that the rank is unknown: the nearest is one free axis.
    shape = [-1 if n is None else n for n in spec.shape] if spec.ranked else [-1]
    return TensorMetadata(name=spec.name, datatype=spec.dtype.value, shape=shape)
