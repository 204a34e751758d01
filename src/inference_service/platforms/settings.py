"""The section ``[platforms]`` of the settings."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, SecretStr, field_validator


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RegistrationSettings(_Section):
    """Registration with a discovery server."""

    consul: str = Field("", description="URL of a Consul agent; unset: none")
    consul_token: SecretStr | None = Field(None, description="its ACL token")
    eureka: str = Field("", description="URL of a Eureka server, such as http://host:8761/eureka")
    name: str = Field(
        "inference-service",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,62}$",
        description="what clients look for",
    )
    host: str = Field("", description="name or address for clients; unset: this machine's name")
    port: int | None = Field(None, ge=1, le=65535, description="port for clients; unset: `port`")
    interval: PositiveFloat = Field(10.0, le=300, description="seconds between heartbeats")

    @field_validator("consul", "eureka")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("expected a URL of http or https")
        return value


class PlatformSettings(_Section):
    """What single platforms expect."""

    sagemaker: bool = Field(
        False, description="answer /ping and /invocations, at SageMaker's port unless one is set"
    )
    vertex: bool = Field(
        False, description="answer the paths and the port that Vertex AI gives in AIP_*"
    )
    actuator: bool = Field(False, description="answer /actuator/health and /actuator/info")
    registration: RegistrationSettings = RegistrationSettings()


_SAGEMAKER_PORT = 8080


def platform_port(settings: PlatformSettings, environment: Mapping[str, str]) -> int | None:
    """The port that a platform wants to be answered at; None: it says nothing.
    Raises ValueError.

    AIP_HTTP_PORT: https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
    8080 and SAGEMAKER_BIND_TO_PORT:
    https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
    """
    if settings.vertex:
        return _port("AIP_HTTP_PORT", environment, None)
    if settings.sagemaker:
        return _port("SAGEMAKER_BIND_TO_PORT", environment, _SAGEMAKER_PORT)
    return None


def _port(name: str, environment: Mapping[str, str], default: int | None) -> int | None:
    text = environment.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and 0 < int(text[:6]) < 65536):
        raise ValueError(f"{name}: expected a port, got '{text[:20]}'")
    return int(text)
