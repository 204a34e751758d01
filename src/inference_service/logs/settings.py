"""Settings of the log."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class LogFormat(StrEnum):
    """How lines of the log are written."""

    AUTO = "auto"
    """For people on a terminal, else JSON."""
    JSON = "json"
    PRETTY = "pretty"


class LogSettings(BaseModel):
    """The log on standard error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: LogFormat = Field(
        LogFormat.AUTO, description="auto (for people on a terminal, else JSON), json or pretty"
    )
    access_sample: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the requests that get a line each, and all failures of the service; "
        "0: no access log",
    )
