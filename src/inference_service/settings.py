"""One frozen tree of settings, read once and passed down.

Each value comes from, in falling order of precedence: the command line, the environment
(``INFERENCE_SERVICE_PORT``, ``INFERENCE_SERVICE_BATCHING__MAX_BATCH_SIZE``), the TOML file given
with ``--config``, the default here. docs/configuration.md is the reference.
"""

import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from pydantic import (
    BaseModel,
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from inference_service.core.errors import InferenceServiceError, render_path
from inference_service.faults import did_you_mean, first_fault
from inference_service.logs.settings import LogSettings
from inference_service.platforms.settings import PlatformSettings, platform_port
from inference_service.sections import (
    AdminSettings,
    BatchingSettings,
    GrpcSettings,
    HealthSettings,
    HttpSettings,
    LimitSettings,
    MemorySettings,
    RepositorySettings,
    RolloutSettings,
    RuntimeSettings,
    ShutdownSettings,
    TelemetrySettings,
    WireSettings,
)
from inference_service.security.settings import SecuritySettings
from inference_service.tracing.settings import TracingSettings

PREFIX = "INFERENCE_SERVICE_"
_OF_COMMANDS = {f"{PREFIX}URL", f"{PREFIX}TOKEN"}
"""Of the commands that ask a running service."""
_LONGEST = 60  # characters of a value that are repeated
_OF_KUBERNETES = re.compile(rf"{PREFIX}(SERVICE_(HOST|PORT)|PORT_\d+_(TCP|UDP|SCTP))(_|$)")


_URL = re.compile(r"[a-z][a-z0-9+.-]*://")
_NUMERIC = re.compile(r"[0-9.]*|[0-9A-Fa-f:.%]*::?[0-9A-Fa-f:.]*(%\w+)?")
_A_HOST = ": expected one of this machine, such as 127.0.0.1, or 0.0.0.0 for all; the port is apart"


class InvalidSettings(InferenceServiceError):  # noqa: N818
    """A setting can't be used; the message names it."""


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
    tracing: TracingSettings = TracingSettings()
    platforms: PlatformSettings = PlatformSettings()

    @field_validator("host")
    @classmethod
    def _host_is_no_url(cls, given: str) -> str:
        """What looks like an address must be one; a name is looked up when it is listened on."""
        if _NUMERIC.fullmatch(given) and given:
            try:
                ipaddress.ip_address(given)
            except ValueError:
                raise ValueError(f"'{given}' is no address{_A_HOST}") from None
        elif "/" in given or ":" in given:
            raise ValueError(f"'{given}' is more than an address{_A_HOST}")
        return given

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
    def _cache_is_no_model(self) -> Self:
        """What is kept there are models, too: they would be served, and kept again."""
        cache = self.runtime.profile_cache
        models = self.models.resolve()
        if cache is None or not cache.resolve().is_relative_to(models):
            return self
        below = cache.resolve().relative_to(models).parts
        if not any(part.startswith((".", "_")) for part in below):
            raise ValueError(
                f"runtime.profile_cache: {cache} lies in the model repository {self.models}, so "
                "that what is kept would be served; expected a folder outside of it"
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
        merged = _from_environment(content).model_dump(exclude_unset=True)
        given = {name: value for name, value in overrides.items() if value is not None}
        loaded = Settings.model_validate({**merged, **given})
        return _at_platform_port(loaded)
    except ValidationError as error:
        place, words = first_fault(error, Settings)
        raise InvalidSettings(f"setting '{render_path(place)}': {words}") from error


def _from_environment(content: dict[str, Any]) -> Settings:
    """The file's content below the environment. Raises InvalidSettings for a variable of several
    values that is not JSON, ValidationError for other faults."""
    try:
        return _FileSettings(**content)
    except SettingsError as error:
        cause = error.__cause__
        if not isinstance(cause, json.JSONDecodeError):
            raise InvalidSettings(str(error)) from error
        given = cause.doc
        name = next((one for one in sorted(_ours(os.environ)) if os.environ[one] == given), PREFIX)
        likely = json.dumps([one.strip() for one in given.split(",")])
        hint = "" if given.lstrip().startswith(("[", "{")) else f", such as {likely}"
        section = name.upper().removeprefix(PREFIX).lower() in Settings.model_fields
        raise InvalidSettings(
            f"{name}: expected JSON{', an object of the keys in it' if section else hint}, "
            f"got '{given[:_LONGEST]}'"
        ) from error


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
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | _OF_COMMANDS
    for name in sorted(_ours(names)):
        own = name.upper().partition("__")[0]
        if own not in known:
            raise InvalidSettings(f"{name}: there is no such setting{did_you_mean(own, known)}")


def _ours(names: Iterable[str]) -> Iterable[str]:
    """The variables with our prefix that Kubernetes did not write."""
    for name in names:
        if name.upper().startswith(PREFIX) and not _OF_KUBERNETES.match(name.upper()):
            yield name
