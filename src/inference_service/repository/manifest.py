"""model.toml: what a model's owner says about it. Every field has a default and bounds.

The bounds are far beyond what anybody needs, and refuse what would take the service down with the
model: thousands of threads, rows of gigabytes, a wait without end.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Self, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    ValidationError,
    field_validator,
    model_validator,
)

from inference_service.core.errors import InvalidModel, render_path
from inference_service.core.lifecycle import Isolation
from inference_service.core.padding import PaddedAxis
from inference_service.core.routing import Routing, Shadow
from inference_service.core.tensors import BatchMode
from inference_service.core.transforms import Affine, TopK, Transforms
from inference_service.core.versions import VERSION_FOLDER, Latest, VersionPolicy
from inference_service.faults import first_fault
from inference_service.repository.files import read_small

LARGEST_FILE = 2**20
"""Bytes of a model.toml. Longer lists, of labels say, are files of their own."""

Rows: TypeAlias = Annotated[int, Field(ge=1, le=65_536)]
"""Rows of one run: where more rows per second are won by more rows is over long before."""

QueuedRows: TypeAlias = Annotated[int, Field(ge=1, le=10**9)]
"""Each takes memory while it waits."""

MOST_THREADS = 1_024
"""No machine has more cores, and each thread takes a stack."""

Threads: TypeAlias = Annotated[int, Field(ge=1, le=MOST_THREADS)]

Delay: TypeAlias = Annotated[float, Field(ge=0, le=60)]
"""Seconds: a request is ended after `limits.request_timeout`, 60 by default."""

Deadline: TypeAlias = Annotated[float, Field(ge=1e-3, le=86_400)]
"""Seconds: between the fastest answer there is and a day."""

Length: TypeAlias = Annotated[int, Field(ge=1, le=2**26)]
"""Of an axis: that many float32 are 256 MB, in one row."""

Classes: TypeAlias = Annotated[int, Field(ge=1, le=100_000)]
"""Of an answer: each is written as text."""

Axis: TypeAlias = Annotated[int, Field(ge=-64, le=63)]
"""Tensors have 64 axes at most."""


TensorName: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")
]
"""What clients call a tensor."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Batching(_Section):
    """Overrides of the batching; unset ones come from the settings of the service.

    ``axes`` is the batch axis of inputs and outputs where it isn't the first.
    """

    mode: BatchMode | None = None
    max_batch_size: Rows | None = None
    max_queue_delay: Delay | None = None
    max_queue_rows: QueuedRows | None = None
    default_deadline: Deadline | None = None
    hold: bool | None = None
    allowed_batch_sizes: Annotated[list[Rows], Field(max_length=64)] = []
    share_identical: bool = False
    axes: dict[str, Annotated[int, Field(ge=0, le=63)]] = {}

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

    axis: Annotated[int, Field(ge=1, le=63)]
    value: Annotated[float, Field(allow_inf_nan=True)] = 0.0
    mask: str | None = None
    max_length: Length | None = None


class Runtime(_Section):
    """How onnxruntime runs this model. ``constants`` are inputs that are the same for all rows."""

    slots: Threads | None = None
    intra_op_threads: Threads | None = None
    isolation: Isolation | None = None
    constants: dict[str, Any] = {}

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if (self.slots or 1) * (self.intra_op_threads or 1) > MOST_THREADS:
            raise ValueError(f"slots * intra_op_threads should be at most {MOST_THREADS}")
        return self


class WarmUp(_Section):
    """Runs before the model is ready. ``shapes`` are row shapes, the batch axis left out."""

    enabled: bool = True
    shapes: dict[str, Annotated[list[Length], Field(max_length=63)]] = {}


class Preprocess(_Section):
    """``value * scale + offset`` for one input: one number, or one for each index of ``axis``."""

    scale: float | list[float] = 1.0
    offset: float | list[float] = 0.0
    axis: Axis = -1


class Postprocess(_Section):
    """The highest scores of an output with their labels, instead of all scores."""

    top_k: Classes


Share: TypeAlias = Annotated[float, Field(ge=0, le=1_000_000)]
"""A weight among others; only the ratios count."""


class Mirrored(_Section):
    """A ``share`` of the requests also goes to ``version`` (a label or a number) for comparison."""

    version: str | NonNegativeInt
    share: Annotated[float, Field(gt=0, le=1)] = 0.01


class Manifest(_Section):
    """The whole file.

    ``traffic`` are the shares of requests without a version, by label or number of a version.
    """

    description: str = ""
    labels: dict[str, list[str]] = {}
    names: dict[str, TensorName] = {}
    versions: Annotated[VersionPolicy, Field(discriminator="kind")] = Latest()
    version_labels: dict[str, NonNegativeInt] = {}
    traffic: Annotated[dict[str, Share], Field(max_length=64)] = {}
    shadow: Mirrored | None = None
    batching: Batching = Batching()
    runtime: Runtime = Runtime()
    warmup: WarmUp = WarmUp()
    padding: dict[str, PaddedInput] = {}
    pipeline: dict[str, Any] | None = None
    preprocess: dict[str, Preprocess] = {}
    postprocess: dict[str, Postprocess] = {}
    metadata: dict[str, str] = {}
    example: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _versions_are_known(self) -> Self:
        self.routing()
        return self

    def routing(self) -> Routing:
        """Which versions answer requests that name none. Raises ValueError for unknown labels."""
        weights: dict[int, float] = {}
        for name, weight in self.traffic.items():
            version = self._version("traffic", name)
            weights[version] = weights.get(version, 0.0) + weight
        if weights and not any(weights.values()):
            raise ValueError("traffic: at least one share must be above 0")
        shadow = None
        if self.shadow is not None:
            version = self._version("shadow", str(self.shadow.version))
            shadow = Shadow(version, self.shadow.share)
        return Routing(weights, shadow)

    def _version(self, place: str, name: str) -> int:
        if name in self.version_labels:
            return self.version_labels[name]
        if not VERSION_FOLDER.match(name):
            known = ", ".join(self.version_labels) or "none"
            raise ValueError(f"{place}: '{name}' is no version and no label; labels are: {known}")
        return int(name)


def transforms_of(manifest: Manifest) -> Transforms:
    """The manifest's steps around the run."""
    return Transforms(
        before={
            name: Affine(_numbers(step.scale), _numbers(step.offset), step.axis)
            for name, step in manifest.preprocess.items()
        },
        after={
            name: TopK(step.top_k, tuple(manifest.labels.get(name, ())))
            for name, step in manifest.postprocess.items()
        },
        names=manifest.names,
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
    name = path.name
    content = read_small(path, LARGEST_FILE)
    if content is None:
        return Manifest()
    try:
        return Manifest.model_validate(tomllib.loads(content.decode()))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidModel(f"{name} is not UTF-8 (line {line}): save it as UTF-8") from None
    except ValidationError as error:
        place, words = first_fault(error, Manifest)
        raise InvalidModel(f"{name}: {render_path(place)}: {words}") from error
    except RecursionError:
        raise InvalidModel(f"{name}: it is nested too deeply") from None
    except ValueError as error:  # TOML's own errors, and numbers that Python doesn't read
        raise InvalidModel(f"{name} is not valid TOML: {error}") from error
