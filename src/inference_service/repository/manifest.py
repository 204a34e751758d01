"""model.toml: what a model's owner says about it. Every field has a default."""

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt, ValidationError

from inference_service.core.errors import InvalidModel, render_path
from inference_service.core.pipeline import Affine, Pipeline, TopK
from inference_service.core.tensors import BatchMode
from inference_service.core.versions import Latest, VersionPolicy


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Batching(_Section):
    """Overrides of the batching; unset ones come from the settings of the service."""

    mode: BatchMode | None = None
    max_batch_size: PositiveInt | None = None
    max_queue_delay: NonNegativeFloat | None = None
    max_queue_rows: PositiveInt | None = None


class Runtime(_Section):
    """How onnxruntime runs this model."""

    slots: PositiveInt | None = None
    intra_op_threads: PositiveInt | None = None


class WarmUp(_Section):
    """Runs before the model is ready. ``shapes`` are row shapes, the batch axis left out."""

    enabled: bool = True
    shapes: dict[str, list[PositiveInt]] = {}


class Preprocess(_Section):
    """``value * scale + offset`` for one input: one number, or one for each index of ``axis``."""

    scale: float | list[float] = 1.0
    offset: float | list[float] = 0.0
    axis: int = -1


class Postprocess(_Section):
    """The highest scores of an output with their labels, instead of all scores."""

    top_k: PositiveInt


class Manifest(_Section):
    """The whole file."""

    description: str = ""
    labels: dict[str, list[str]] = {}
    versions: Annotated[VersionPolicy, Field(discriminator="kind")] = Latest()
    batching: Batching = Batching()
    runtime: Runtime = Runtime()
    warmup: WarmUp = WarmUp()
    preprocess: dict[str, Preprocess] = {}
    postprocess: dict[str, Postprocess] = {}
    metadata: dict[str, str] = {}
    example: dict[str, Any] | None = None


def pipeline_of(manifest: Manifest) -> Pipeline:
    """The manifest's steps around the run."""
    return Pipeline(
        before={
            name: Affine(_numbers(step.scale), _numbers(step.offset), step.axis)
            for name, step in manifest.preprocess.items()
        },
        after={
            name: TopK(step.top_k, tuple(manifest.labels.get(name, ())))
            for name, step in manifest.postprocess.items()
        },
    )


def _numbers(value: float | list[float]) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


def read_manifest(path: Path) -> Manifest:
    """The manifest in the file; all defaults where there is none.

    Raises InvalidModel with the field and what was expected there.
    """
    if not path.exists():
        return Manifest()
    try:
        with path.open("rb") as file:
            return Manifest.model_validate(tomllib.load(file))
    except tomllib.TOMLDecodeError as error:
        raise InvalidModel(f"{path.name} is not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = render_path(tuple(first["loc"]))
        raise InvalidModel(f"{path.name}: {where}: {first['msg']}") from error
