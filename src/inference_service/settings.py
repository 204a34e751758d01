"""One frozen tree of settings, read once and passed down.

Each value comes from, in falling order of precedence: the command line, the environment
(``INFERENCE_SERVICE_PORT``, ``INFERENCE_SERVICE_BATCHING__MAX_BATCH_SIZE``), the TOML file given
with ``--config``, the default here. docs/configuration.md is the reference.
"""

import os
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from inference_service.core.errors import InferenceServiceError, render_path
from inference_service.core.lifecycle import Isolation, ReadyWhen
from inference_service.core.tensors import NonFinite
from inference_service.faults import did_you_mean, first_fault
from inference_service.logs.settings import LogSettings
from inference_service.platforms.settings import PlatformSettings, platform_port
from inference_service.security.settings import SecuritySettings

PREFIX = "INFERENCE_SERVICE_"
_OF_KUBERNETES = re.compile(rf"{PREFIX}(SERVICE_(HOST|PORT)|PORT_\d+_(TCP|UDP|SCTP))(_|$)")


_URL = re.compile(r"[a-z][a-z0-9+.-]*://")


class InvalidSettings(InferenceServiceError):  # noqa: N818
    """A setting can't be used; the message names it."""


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
    public_key: Path | None = Field(
        None, description="PEM file of the Ed25519 key that models.lock must be signed with"
    )
    store: str | None = Field(
        None,
        description="URL of an object store that holds the repository (s3://, gs://, az://, "
        "oss://); the same as models = URL",
    )
    store_cache: Path | None = Field(
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
    profile_cache: Path | None = Field(
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
        description="where models run: thread (of this process) or process (one for each model, "
        "which may crash, hang or leak without harm to others)",
    )
    max_model_bytes: PositiveInt | None = Field(
        None,
        description="memory that the process of one model may take; unset: as much as the service "
        "may use",
    )
    decoder_processes: bool = Field(
        True,
        description="decode pictures and sound in processes, which are killed when a request ends",
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
        5.0, description="refuse a version whose smallest run takes so many times as long"
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

    record_traffic: Path | None = Field(
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
    cors_origins: tuple[str, ...] = Field(
        (), description="origins whose pages may call the service; `*`: all"
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


class Settings(BaseSettings):
    """All settings of the service."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, env_nested_delimiter="__"
    )

    models: Path = Field(Path("models"), description="a model repository or an .onnx file")
    host: str = Field("127.0.0.1", description="address to listen on")
    keep_alive: PositiveInt = Field(
        75, description="seconds an idle connection is kept; longer than the load balancer's"
    )
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0: any free one")
    default_model: str = Field("", description="the model of POST /predict; unset: the only one")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$")
    repository: RepositorySettings = RepositorySettings()
    limits: LimitSettings = LimitSettings()
    batching: BatchingSettings = BatchingSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    memory: MemorySettings = MemorySettings()
    rollout: RolloutSettings = RolloutSettings()
    health: HealthSettings = HealthSettings()
    shutdown: ShutdownSettings = ShutdownSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    grpc: GrpcSettings = GrpcSettings()
    http: HttpSettings = HttpSettings()
    wire: WireSettings = WireSettings()
    admin: AdminSettings = AdminSettings()
    security: SecuritySettings = SecuritySettings()
    log: LogSettings = LogSettings()
    platforms: PlatformSettings = PlatformSettings()

    @model_validator(mode="before")
    @classmethod
    def _models_of_a_store(cls, given: Any) -> Any:
        """A URL is no path: ``Path`` would take ``s3://models`` for ``s3:/models``."""
        if not isinstance(given, dict) or not _URL.match(str(given.get("models", ""))):
            return given
        rest = {name: value for name, value in given.items() if name != "models"}
        repository = rest.get("repository") or {}
        if isinstance(repository, BaseModel):
            repository = repository.model_dump(exclude_unset=True)
        return {**rest, "repository": {**repository, "store": str(given["models"])}}

    @model_validator(mode="after")
    def _admin_is_known(self) -> Self:
        if self.admin.repository and not self.admin.token and not self.security.access_control:
            raise ValueError(
                "admin.repository needs admin.token, or access control (security.keys_file): "
                "loading models needs an admin"
            )
        return self

    @model_validator(mode="after")
    def _platforms_send_no_keys(self) -> Self:
        platforms = self.platforms
        if (platforms.sagemaker or platforms.vertex) and self.security.access_control:
            raise ValueError(
                "platforms.sagemaker and platforms.vertex go without access control: the platform "
                "checks its clients itself and passes no key on"
            )
        return self


class _FileSettings(Settings):
    """The same with the environment asked first: what is passed in is the file's content."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


def load_settings(config: Path | None = None, **overrides: Any) -> Settings:
    """The settings from file, environment and ``overrides`` (the command line; None is unset).

    Raises InvalidSettings.
    """
    check_environment(os.environ)
    content: dict[str, Any] = {}
    if config is not None:
        try:
            content = tomllib.loads(config.read_text())
        except OSError as error:
            raise InvalidSettings(f"can't read {config}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise InvalidSettings(f"{config} is not valid TOML: {error}") from error
    try:
        merged = _FileSettings(**content).model_dump(exclude_unset=True)
        given = {name: value for name, value in overrides.items() if value is not None}
        loaded = Settings.model_validate({**merged, **given})
        return _at_platform_port(loaded)
    except ValidationError as error:
        place, words = first_fault(error, Settings)
        raise InvalidSettings(f"setting '{render_path(place)}': {words}") from error


def _at_platform_port(settings: Settings) -> Settings:
    """At the port that the platform gives, unless one is set. Raises InvalidSettings."""
    if "port" in settings.model_fields_set:
        return settings
    try:
        port = platform_port(settings.platforms, os.environ)
    except ValueError as error:
        raise InvalidSettings(str(error)) from error
    return settings if port is None else settings.model_copy(update={"port": port})


def check_environment(names: Iterable[str]) -> None:
    """Raises InvalidSettings for a variable with our prefix that is no setting.

    Kubernetes writes variables of its own for a Service that is called inference-service.
    """
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for name in sorted(names):
        given = name.upper()
        own = given.partition("__")[0]
        if given.startswith(PREFIX) and own not in known and not _OF_KUBERNETES.match(given):
            raise InvalidSettings(f"{name}: there is no such setting{did_you_mean(own, known)}")
