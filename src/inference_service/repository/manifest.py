"""model.toml: what a model's owner says about it. Every field has a default."""

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
)

from inference_service.core.errors import InvalidModel, render_path
from inference_service.core.padding import PaddedAxis
from inference_service.core.pipeline import Affine, Pipeline, TopK
from inference_service.core.tensors import BatchMode
from inference_service.core.versions import Latest, VersionPolicy


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Batching(_Section):
    """Overrides of the batching; unset ones come from the settings of the service.

    ``axes`` is the batch axis of inputs and outputs where it isn't the first.
    """

    mode: BatchMode | None = None
    max_batch_size: PositiveInt | None = None
    max_queue_delay: NonNegativeFloat | None = None
    max_queue_rows: PositiveInt | None = None
    default_deadline: PositiveFloat | None = None
    hold: bool | None = None
    allowed_batch_sizes: list[PositiveInt] = []
    share_identical: bool = False
    axes: dict[str, NonNegativeInt] = {}

    @field_validator("allowed_batch_sizes")
    @classmethod
    def _rising(cls, sizes: list[int]) -> list[int]:
        if sizes != sorted(set(sizes)):
            raise ValueError("the sizes must rise")
        return sizes


class PaddedInput(_Section):
    """An input with an axis of variable length (1 is the first after the batch's).

    ``mask`` names the input that marks what is padding: it is filled with 0 on the same axis.
    """

    axis: PositiveInt
    value: float = 0.0
    mask: str | None = None
    max_length: PositiveInt | None = None


class Runtime(_Section):
    """How onnxruntime runs this model. ``constants`` are inputs that are the same for all rows."""

    slots: PositiveInt | None = None
    intra_op_threads: PositiveInt | None = None
    constants: dict[str, Any] = {}


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
    version_labels: dict[str, NonNegativeInt] = {}
    batching: Batching = Batching()
    runtime: Runtime = Runtime()
    warmup: WarmUp = WarmUp()
    padding: dict[str, PaddedInput] = {}
    pipeline: dict[str, Any] | None = None
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


def padding_of(manifest: Manifest) -> tuple[dict[str, PaddedAxis], int | None]:
    """The padded inputs, masks included, and the longest that the model takes."""
    axes, limits = {}, []
    for name, declared in manifest.padding.items():
        axes[name] = PaddedAxis(declared.axis, declared.value)
        if declared.mask is not None:
            axes[declared.mask] = PaddedAxis(declared.axis, 0.0)
        if declared.max_length is not None:
            limits.append(declared.max_length)
    return axes, min(limits, default=None)


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
