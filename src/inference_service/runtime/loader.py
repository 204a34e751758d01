"""From a file to a warm, probed model that can be served."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from inference_service.core.batcher import BatchPolicy
from inference_service.core.pipeline import Pipeline
from inference_service.core.tensors import BatchMode, Signature, Tensors
from inference_service.engine.interfaces import ModelInfo
from inference_service.runtime.probe import Probe, probe
from inference_service.runtime.runner import INLINE_BELOW, OrtRunner
from inference_service.runtime.session import OpenModel, RuntimeOptions, open_model

_WARM_UP_LIMIT = 0.25  # seconds that one run may take before larger batches are left cold


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """One model version's place, bounds and descriptions."""

    name: str
    version: int
    path: Path
    runtime: RuntimeOptions
    policy: BatchPolicy
    slots: int = 1
    mode: BatchMode | None = None
    warm_up: bool = True
    row_shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    description: str = ""
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    example: Mapping[str, Any] | None = None
    pipeline: Pipeline = field(default_factory=Pipeline)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A session with what the probe found."""

    info: ModelInfo
    model: OpenModel
    found: Probe


def inspect(options: LoadOptions) -> LoadedModel:
    """Open and probe a model, without warming it up. Raises InvalidModel."""
    model = open_model(options.path, options.runtime)
    found = probe(model, options.path, options.row_shapes)
    warnings = list(found.warnings)
    mode = found.mode
    if options.mode is not None and options.mode is not found.mode:
        warnings.append(
            f"model.toml sets batching.mode = '{options.mode}', the probe finds '{found.mode}'"
        )
        mode = options.mode
    if model.maps:
        warnings.append(
            f"output {', '.join(sorted(model.maps))} is a ZipMap: it is served as a tensor "
            "[rows, classes]; exporting with zipmap=False is faster"
        )
    policy = options.policy
    if mode is not BatchMode.MERGE:
        policy = BatchPolicy(1, policy.max_queue_rows)
    info = ModelInfo(
        name=options.name,
        version=options.version,
        signature=Signature(model.inputs, model.outputs, mode),
        policy=policy,
        description=options.description,
        labels=options.labels,
        metadata=options.metadata,
        example=options.example,
        warnings=tuple(warnings),
        pipeline=options.pipeline,
    )
    options.pipeline.check(info.signature)
    return LoadedModel(info, model, found)


def load(options: LoadOptions, warming: Callable[[], None]) -> tuple[ModelInfo, OrtRunner]:
    """Open, probe and warm up. Raises InvalidModel."""
    loaded = inspect(options)
    warming()
    cheap = False
    if options.warm_up and loaded.found.row is not None:
        largest = _warm(loaded, loaded.found.row)
        cheap = largest < INLINE_BELOW and loaded.info.signature.has_fixed_rows
    info = loaded.info
    mode = info.signature.mode
    return info, OrtRunner(info.name, loaded.model, mode, options.slots, inline=cheap)


def _warm(loaded: LoadedModel, row: Tensors) -> float:
    """Run every batch size; returns the seconds of the largest one, the best of three."""
    best = 0.0
    for size in batch_sizes(loaded.info):
        inputs = _repeated(row, size)
        times = []
        for _ in range(3):
            started = perf_counter()
            loaded.model.run(inputs)
            times.append(perf_counter() - started)
            if times[-1] > _WARM_UP_LIMIT:
                return times[-1]
        best = min(times)
    return best


def _repeated(row: Tensors, size: int) -> Tensors:
    """A batch of equal rows. Size 1 is the row itself, which may have no batch axis at all."""
    return row if size == 1 else {name: array.repeat(size, axis=0) for name, array in row.items()}


def batch_sizes(info: ModelInfo) -> list[int]:
    """1, 2, 4 … up to the largest batch."""
    sizes, size = [], 1
    while size < info.policy.max_batch_size:
        sizes.append(size)
        size *= 2
    return [*sizes, info.policy.max_batch_size]


def profile(loaded: LoadedModel, budget: float = 0.2) -> list[tuple[int, float]]:
    """Batch sizes and the median seconds of a run at each; the larger end at ``budget`` s a run."""
    row = loaded.found.row
    if row is None:
        return []
    table = []
    for size in batch_sizes(loaded.info):
        inputs = _repeated(row, size)
        loaded.model.run(inputs)
        times: list[float] = []
        stop = perf_counter() + budget
        while len(times) < 3 or (perf_counter() < stop and len(times) < 200):
            started = perf_counter()
            loaded.model.run(inputs)
            times.append(perf_counter() - started)
        table.append((size, sorted(times)[len(times) // 2]))
        if table[-1][1] > 5 * budget:
            break
    return table
