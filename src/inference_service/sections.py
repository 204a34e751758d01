"""The sections of the settings, each with its fields, defaults and what they mean.

docs/configuration.md is made of these texts.
"""

import re
from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FilePath,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
)

from inference_service.core.lifecycle import Isolation, ReadyWhen
from inference_service.core.tensors import NonFinite

_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/\s?#]+")


def _origin(given: str) -> str:
    """As browsers write it (RFC 6454, 6.2): any other text would never be found equal."""
    if not _ORIGIN.fullmatch(given):
        raise ValueError(f"expected an origin such as 'http://localhost:3000', got '{given}'")
    return given


def _none_if_empty(given: object) -> object:
    """An empty variable of the environment says no path; pathlib would take it for the folder."""
    return None if given == "" else given


_PathIfAny = Annotated[Path | None, BeforeValidator(_none_if_empty)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LimitSettings(_Section):
    """What a client may ask for, and how much may be in flight."""

    max_body_bytes: PositiveInt = Field(32 * 2**20, description="largest body, in bytes")
    max_in_flight_requests: PositiveInt = Field(10_000, description="over all models")
    max_in_flight_bytes: PositiveInt = Field(512 * 2**20, description="bodies over all models")
    max_connections: PositiveInt = Field(10_000, description="open HTTP connections")
    max_head_bytes: PositiveInt = Field(65_536, description="largest head of a request, in bytes")
    head_timeout: PositiveFloat = Field(
        20.0, description="seconds for the head of a request, and for a new connection's first one"
    )
    stall_timeout: PositiveFloat = Field(
        20.0,
        description="seconds after which a body or an answer without progress is given up",
    )
    max_streams: PositiveInt = Field(1_000, description="open WebSockets over all models")
    stream_idle_timeout: PositiveFloat = Field(
        30.0, description="seconds after which a stream from which nothing comes is closed"
    )
    max_message_bytes: PositiveInt = Field(2**20, description="largest message of a stream")
    request_timeout: PositiveFloat = Field(
        60.0, description="the most seconds that a request may take, whatever it asks for"
    )
    client_header: str = Field(
        "", description="header that tells clients apart, for fairness; unset: their addresses"
    )


class RepositorySettings(_Section):
    """How the model repository is read."""

    follow_links: bool = Field(
        False, description="follow symbolic links out of the model repository, too"
    )
    locked: bool = Field(
        False,
        description="serve only models that are in models.lock; unset: where there is one, too",
    )
    public_key: _PathIfAny = Field(
        None, description="PEM file of the Ed25519 key that models.lock must be signed with"
    )
    store: str | None = Field(
        None,
        description="URL of an object store that holds the repository (s3://, gs://, az://, "
        "oss://); the same as models = URL",
    )
    store_cache: _PathIfAny = Field(
        None, description="a folder for what is fetched from it; unset: the user's cache folder"
    )
    store_interval: PositiveFloat = Field(
        30.0, description="seconds between two looks at the store"
    )
    watch: bool = Field(
        True, description="load models again when their files change, and serve what is new"
    )
    watch_interval: PositiveFloat = Field(
        1.0,
        description="seconds between two looks at the files; what changes between two looks is "
        "still being written, and waits",
    )
    run_pipeline_code: bool = Field(
        False,
        description="run the pipeline.py of models whose model.toml names it: write access to the "
        "repository is then the right to run code",
    )


class BatchingSettings(_Section):
    """Defaults for models whose model.toml doesn't say otherwise. None of them needs tuning."""

    max_batch_size: PositiveInt | None = Field(
        None, description="rows in one run; unset: where measured rows per second level off"
    )
    max_queue_delay: NonNegativeFloat = Field(
        0.0, description="seconds a free slot waits for more rows; 0 is right for nearly all loads"
    )
    max_queue_rows: PositiveInt | None = Field(
        None, description="rows that may wait for one model; unset: bounded in time alone"
    )
    default_deadline: PositiveFloat | None = Field(
        None, description="seconds for requests without a deadline; unset: derived from costs"
    )
    hold: bool = Field(
        True, description="let a free slot wait for requests where that has been shown to pay"
    )


class RuntimeSettings(_Section):
    """How onnxruntime uses the machine."""

    intra_op_threads: PositiveInt | None = Field(
        None, description="threads of one run; unset: chosen from measured costs"
    )
    slots: PositiveInt | None = Field(
        None, description="runs of one model at the same time; unset: chosen from measured costs"
    )
    cores: PositiveInt | None = Field(
        None, description="cores that all models share; unset: cgroup quota and affinity"
    )
    profile_cache: _PathIfAny = Field(
        None,
        description="a folder that keeps what was found out about models between starts: batching, "
        "costs, the optimised graph; unset: the user's cache folder, if there is one",
    )
    helper_process: bool = Field(
        True, description="read, check and measure models in a process of their own"
    )
    max_load_bytes: PositiveInt | None = Field(
        None,
        description="memory that this process may take; unset: as much as the service may use",
    )
    max_run_bytes: PositiveInt | None = Field(
        None,
        description="memory that one run may take, as far as the shapes of its inputs tell; all "
        "runs together have a hard bound of this for each core; unset: half of what the process "
        "may use, for both",
    )
    isolation: Isolation = Field(
        Isolation.THREAD,
        description="where models run: thread (of this process), process (one for each model, "
        "which may crash, hang or leak without harm to others) or auto (a process for models whose "
        "costs do not follow from the shapes of their inputs)",
    )
    max_model_bytes: PositiveInt | None = Field(
        None,
        description="memory that the process of one model may take; unset: as much as the service "
        "may use",
    )
    custom_operators: tuple[FilePath, ...] = Field(
        (),
        description="libraries of custom operators (.so) for ONNX Runtime: native code that runs "
        "where the models run; unset: a graph that needs one is refused",
    )
    decoder_processes: bool = Field(
        True,
        description="decode pictures, sound and JSON of very many values in processes, which are "
        "killed when a request ends",
    )
    max_decoder_bytes: PositiveInt = Field(
        2**30, description="memory that one of these processes may take"
    )
    allow_spinning: bool = Field(
        False, description="threads wait busily; only for machines that do nothing else"
    )
    warm_up: bool = Field(True, description="run each model before it is ready")
    load_timeout: PositiveFloat = Field(
        300.0, description="seconds after which a model that isn't loaded and warm has failed"
    )


class MemorySettings(_Section):
    """What loaded models may take."""

    budget: PositiveInt | None = Field(
        None,
        description="bytes of all loaded models: the longest unused ones are unloaded to make "
        "room, and loaded again by the next request; unset: no bound",
    )
    pinned: tuple[str, ...] = Field((), description="models that are never unloaded for it")


class RolloutSettings(_Section):
    """What a version must pass before it replaces another one, and what takes it back."""

    check_signature: bool = Field(
        True, description="refuse a version that clients of the present one can't use"
    )
    tolerance: NonNegativeFloat = Field(
        1e-3, description="most difference to golden outputs, relative and absolute"
    )
    max_slowdown: PositiveFloat = Field(
        5.0, description="refuse a version whose smallest run takes this many times as long"
    )
    watch: NonNegativeFloat = Field(
        60.0,
        description="seconds that a replaced version stays in memory, ready to be taken back",
    )
    most_failures: NonNegativeFloat = Field(
        0.05,
        description="rise of the share of failed requests at which the replaced version is taken "
        "back; 1: never",
    )


class HealthSettings(_Section):
    """When the service is ready."""

    ready_when: ReadyWhen = Field(
        ReadyWhen.ANY,
        description="which models must be served: any (one, when all are loaded or have failed) "
        "or all",
    )


class TelemetrySettings(_Section):
    """What is written down besides metrics."""

    record_traffic: _PathIfAny = Field(
        None,
        description="file for arrival times and sizes of requests; never their content",
    )
    record_limit: PositiveInt = Field(1_000_000, description="requests that are recorded at most")
    triton_metrics: bool = Field(
        False, description="metrics also under Triton's names (nv_inference_*)"
    )


class GrpcSettings(_Section):
    """The Open Inference Protocol over gRPC; needs the extra ``grpc``."""

    port: int | None = Field(
        None, ge=0, le=65535, description="port of gRPC; unset: none; 0: any free one"
    )


class HttpSettings(_Section):
    """What browsers may do, and which way requests take."""

    front: bool = Field(
        True, description="answer small requests on a shortcut past ASGI, which answers alike"
    )
    cors_origins: tuple[Annotated[str, AfterValidator(_origin)], ...] = Field(
        (), description="origins whose pages may call the service; `*`: all"
    )
    guide: _PathIfAny = Field(
        None, description="folder of the documentation as pages, for `/guide` (`scripts/docs`)"
    )


class WireSettings(_Section):
    """How answers are written."""

    non_finite: NonFinite = Field(
        NonFinite.NULL, description="NaN and Infinity in JSON: null, error or bare"
    )
    compress_answers: bool = Field(True, description="gzip or deflate for clients that accept it")


class AdminSettings(_Section):
    """What clients may change."""

    repository: bool = Field(False, description="let clients load and unload models")
    uploads: bool = Field(
        False, description="let admins add versions to the repository; needs admin.repository"
    )
    max_upload_bytes: PositiveInt = Field(
        4 * 2**30, description="largest model.onnx that is accepted"
    )
    token: SecretStr | None = Field(
        None, description="what they must send as Authorization: Bearer"
    )
    port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="a port of its own for what needs the scope admin; unset: the same",
    )


class ShutdownSettings(_Section):
    """What happens on SIGTERM."""

    lame_duck: NonNegativeFloat = Field(
        1.0, description="seconds of not ready but still serving, for load balancers to notice"
    )
    grace_period: PositiveFloat = Field(
        30.0, description="seconds for accepted requests to be answered"
    )
