"""Measured cost tables: what ``inference-service check --profile --json`` writes."""

import json
from pathlib import Path

from inference_service.core.errors import InferenceServiceError
from inference_service.simulation.study import Model, measured


class InvalidCosts(InferenceServiceError):  # noqa: N818
    """A file has no cost tables."""


def read_costs(path: Path) -> list[Model]:
    """A model for each measured table in the file. Raises InvalidCosts."""
    models = []
    try:
        for report in json.loads(path.read_text()):
            for profile in report.get("profile", [])[:1]:
                points = [(row["rows"], row["milliseconds"] / 1e3) for row in profile["table"]]
                models.append(measured(report["model"], points))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidCosts(
            f"{path} is not the output of `check MODEL --profile --json` ({error})"
        ) from error
    if not models:
        raise InvalidCosts(f"{path} has no profile: make it with `check MODEL --profile --json`")
    return models
