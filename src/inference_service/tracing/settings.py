"""Settings of tracing."""

from pydantic import BaseModel, ConfigDict, Field


class TracingSettings(BaseModel):
    """Spans for a collector of OpenTelemetry; needs the extra ``tracing``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str | None = Field(
        None,
        pattern="^https?://",
        description="URL that takes OTLP over HTTP, such as http://collector:4318/v1/traces; "
        "unset: no tracing",
    )
    sample: float = Field(
        1.0, ge=0, le=1, description="share of the traces that begin here; others are as they came"
    )
