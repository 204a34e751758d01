"""What is asked of loading a model version: small groups by meaning."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference_service.core.padding import PaddedAxis
from inference_service.core.scheduling.layout import Layout
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.tasks import PayloadPipeline
from inference_service.core.tensors import BatchMode
from inference_service.core.transforms import Transforms
from inference_service.runtime.findings import FindingsCache
from inference_service.runtime.session import Frame, RuntimeOptions
from inference_service.runtime.verdicts import Analyse, VerdictCache, analysed


@dataclass(frozen=True, slots=True)
class Description:
    """What clients are told of a model; ``labels`` are names of classes by output."""

    description: str = ""
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    version_labels: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    example: Mapping[str, Any] | None = None
    example_file: bytes = b""


@dataclass(frozen=True, slots=True)
class Machine:
    """How the machine is used.

    ``layouts`` are the ways to use the cores that may be chosen from, the first for the check.
    ``max_run_bytes`` bounds the memory of a run, as far as shapes tell it. ``libraries`` are those
    of custom operators.
    """

    layouts: tuple[Layout, ...] = (Layout(1, 1),)
    allow_spinning: bool = False
    max_run_bytes: int | None = None
    warm_up: bool = True
    libraries: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept between starts, and what makes it: ``analyse`` gives the verdict on the file.

    ``graph`` is the file's optimised graph, where there is one: sessions are made of it.
    """

    verdicts: VerdictCache = field(default_factory=lambda: VerdictCache(None))
    findings: FindingsCache = field(default_factory=lambda: FindingsCache(None))
    analyse: Analyse = analysed
    graph: Path | None = None


@dataclass(frozen=True, slots=True)
class RowOptions:
    """What model.toml says of rows: how they batch, their shapes without the batch axis, the axes
    that are padded, by input, and the longest of these, in entries.
    """

    mode: BatchMode | None = None
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    padding: Mapping[str, PaddedAxis] = field(default_factory=dict)
    longest: int | None = None
    frame: Frame = field(default_factory=Frame)


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """One model version: its place, bounds, rows, machine and descriptions.

    With ``derive_max_batch_size`` the largest batch is the knee of the measured costs.
    """

    name: str
    version: int
    path: Path
    policy: BatchPolicy
    derive_max_batch_size: bool = False
    share_identical: bool = False
    transforms: Transforms = field(default_factory=Transforms)
    payloads: Callable[[], PayloadPipeline] | None = None
    rows: RowOptions = field(default_factory=RowOptions)
    machine: Machine = field(default_factory=Machine)
    kept: Kept = field(default_factory=Kept)
    about: Description = field(default_factory=Description)

    def runtime(self, layout: Layout) -> RuntimeOptions:
        """How onnxruntime uses the machine in this layout."""
        # Declared padding, a pipeline or warm-up shapes imply inputs of several shapes.
        one_shape = not (self.rows.padding or self.payloads or self.rows.shapes)
        return RuntimeOptions(
            layout.threads, self.machine.allow_spinning, one_shape=one_shape,
            frame=self.rows.frame, graph=self.kept.graph, libraries=self.machine.libraries,
        )  # fmt: skip
