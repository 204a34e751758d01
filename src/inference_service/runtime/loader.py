"""From a file to a warm, probed model that can be served."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from inference_service.core.errors import InferenceServiceError
from inference_service.core.padding import PaddedAxis, Padding
from inference_service.core.pipeline import Pipeline
from inference_service.core.scheduling.layout import Layout, Profile, worth_having
from inference_service.core.scheduling.lengths import quantised
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.tasks import PayloadPipeline
from inference_service.core.tensors import BatchMode, Signature, Tensors, TensorSpec
from inference_service.engine.interfaces import ModelInfo
from inference_service.runtime.probe import Probe, probe
from inference_service.runtime.probe_padding import row_of_length, verified_padding
from inference_service.runtime.profile import (
    LARGEST,
    SLOW_RUN,
    Measurement,
    ProfileCache,
    knee_of,
    measure,
    repeated,
    sizes_up_to,
)
from inference_service.runtime.runner import INLINE_BELOW, OrtRunner
from inference_service.runtime.session import Frame, OpenModel, RuntimeOptions, open_model

_LARGEST_TO_OPEN_TWICE = 256 * 2**20  # bytes; a second layout is a second copy in memory


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """One model version's place, bounds and descriptions.

    ``layouts`` are the ways to use the cores that may be chosen from, the first for the probe.
    ``policy.max_batch_size`` None is derived: the knee of the measured costs.
    """

    name: str
    version: int
    path: Path
    policy: BatchPolicy
    layouts: tuple[Layout, ...] = (Layout(1, 1),)
    derive_max_batch_size: bool = False
    allow_spinning: bool = False
    profiles: ProfileCache = field(default_factory=lambda: ProfileCache(None))
    mode: BatchMode | None = None
    warm_up: bool = True
    share_identical: bool = False
    row_shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    padding: Mapping[str, PaddedAxis] = field(default_factory=dict)
    longest: int | None = None
    description: str = ""
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    version_labels: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    example: Mapping[str, Any] | None = None
    example_file: bytes = b""
    pipeline: Pipeline = field(default_factory=Pipeline)
    payloads: Callable[[], PayloadPipeline] | None = None
    frame: Frame = field(default_factory=Frame)

    def runtime(self, layout: Layout) -> RuntimeOptions:
        """How onnxruntime uses the machine in this layout."""
        # Who has to say which shapes work has a graph that takes several.
        one_shape = not (self.padding or self.payloads or self.row_shapes)
        return RuntimeOptions(
            layout.threads, self.allow_spinning, one_shape=one_shape, frame=self.frame
        )


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A session with what the probe found."""

    info: ModelInfo
    model: OpenModel
    found: Probe
    padding: Padding


def inspect(options: LoadOptions) -> LoadedModel:
    """Open and probe a model, without warming it up. Raises InvalidModel."""
    model = open_model(options.path, options.runtime(options.layouts[0]))
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
    padding = Padding()
    payloads = None if options.payloads is None else options.payloads()
    declared = _with_padding(options, payloads, model)
    if declared.padding:
        padding, why = verified_padding(model, mode, declared)
        warnings += why
    sizes = found.sizes or (options.policy.sizes if mode is BatchMode.MERGE else ())
    padding = replace(padding, sizes=sizes)
    info = ModelInfo(
        name=options.name,
        version=options.version,
        signature=_signature(model, mode, found.sizes),
        policy=_policy(options, mode, sizes),
        description=options.description,
        labels=options.labels,
        version_labels=options.version_labels,
        metadata=options.metadata,
        example=options.example,
        row_shapes=options.row_shapes,
        example_file=options.example_file,
        warnings=tuple(warnings),
        pipeline=options.pipeline,
        padding=padding,
        share_identical=options.share_identical,
    )
    options.pipeline.check(info.signature)
    if payloads is not None:
        tasks = payloads.tasks(info.signature)
        info = replace(info, tasks=tasks, text=payloads.embedder)
    return LoadedModel(info, model, found, padding)


def _with_padding(
    options: LoadOptions, payloads: PayloadPipeline | None, model: OpenModel
) -> LoadOptions:
    """Texts are of any length: without another word their pipeline says how they are padded."""
    if payloads is None or options.padding:
        return options
    names = {spec.name for spec in model.inputs}
    padding = {name: axis for name, axis in payloads.padding.items() if name in names}
    return replace(options, padding=padding, longest=payloads.longest)


def _signature(model: OpenModel, mode: BatchMode, fixed: tuple[int, ...]) -> Signature:
    """As clients see it: a fixed batch is ours to fill up, theirs has any number of rows."""
    if not fixed:
        return Signature(model.inputs, model.outputs, mode)

    def freed(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        return tuple(
            replace(spec, shape=(None, *spec.shape[1:]), symbols=("", *spec.symbols[1:]))
            if spec.shape and spec.shape[0] in fixed
            else spec
            for spec in specs
        )

    return Signature(freed(model.inputs), freed(model.outputs), mode)


def _policy(options: LoadOptions, mode: BatchMode, sizes: tuple[int, ...]) -> BatchPolicy:
    policy = options.policy
    if mode is not BatchMode.MERGE:
        return replace(policy, max_batch_size=1, max_queue_delay=0.0, sizes=())
    largest = LARGEST if options.derive_max_batch_size else policy.max_batch_size
    if sizes:
        largest = min(largest, sizes[-1])
    return replace(policy, max_batch_size=largest, sizes=sizes)


def load(options: LoadOptions, warming: Callable[[], None]) -> tuple[ModelInfo, OrtRunner]:
    """Open, probe and warm up. Raises InvalidModel."""
    loaded = inspect(options)
    warming()
    models = {options.layouts[0].threads: loaded.model}
    profiles: tuple[Profile, ...] = (Profile(options.layouts[0]),)
    info = loaded.info
    cheap = False
    if options.warm_up and loaded.found.row is not None:
        row = _typical_row(loaded, loaded.found.row, options)
        profiles = _chosen(_profiles(loaded, row, options, models), info, options)
        if options.derive_max_batch_size and not info.policy.sizes:
            largest = min(knee_of(profiles), info.policy.max_batch_size)
            if info.signature.has_fixed_rows:
                largest = _worth_inlining(profiles, largest)
            info = replace(info, policy=replace(info.policy, max_batch_size=largest))
        cheap = info.signature.has_fixed_rows and all(
            seconds < INLINE_BELOW
            for size, seconds in profiles[0].points
            if size <= info.policy.max_batch_size
        )
    elif options.derive_max_batch_size and info.signature.mode is BatchMode.MERGE:
        largest = min(_UNMEASURED, info.policy.max_batch_size)
        info = replace(info, policy=replace(info.policy, max_batch_size=largest))
    used = {profile.layout.threads for profile in profiles}
    kept = {threads: model for threads, model in models.items() if threads in used}
    if options.warm_up and loaded.found.row is not None:
        # Larger batches have been measured than are ever going to run.
        smallest = repeated(loaded.found.row, min(info.policy.sizes, default=1))
        for model in kept.values():
            model.trim(smallest)
    runner = OrtRunner(
        info.name,
        kept,
        info.signature.mode,
        max(profile.layout.instances for profile in profiles),
        padding=loaded.padding,
        inline=cheap,
    )
    return replace(info, profiles=profiles), runner


def _typical_row(loaded: LoadedModel, row: Tensors, options: LoadOptions) -> Tensors:
    """What is measured: layouts and batch sizes are chosen by it, so it is as long as usual."""
    padding = loaded.padding
    if not padding.inputs:
        return row
    length = min((padding.longest or 4 * _TYPICAL) // 4, _LONGEST_TYPICAL)
    declared = replace(options, padding=padding.inputs, longest=padding.longest)
    try:
        typical = row_of_length(loaded.model, declared, quantised(max(length, 1)))
        loaded.model.run(typical)
    except InferenceServiceError:
        return row
    return typical


def _chosen(found: Sequence[Profile], info: ModelInfo, options: LoadOptions) -> tuple[Profile, ...]:
    """The layouts to use: a model that is cheap enough runs on the event loop, with one thread.

    Waking a second thread takes longer than its runs do.
    """
    lone = next((profile for profile in found if profile.layout == _LONE), None)
    if lone is not None and info.signature.has_fixed_rows:
        largest = info.policy.max_batch_size
        if options.derive_max_batch_size:
            largest = min(largest, _ENOUGH_INLINE)
        cheap = [rows for rows, seconds in lone.points if seconds < INLINE_BELOW]
        if cheap and cheap[-1] >= largest:
            return (lone,)
    return worth_having([profile for profile in found if profile.layout in options.layouts])


def _worth_inlining(profiles: Sequence[Profile], largest: int) -> int:
    """A smaller largest batch, where that lets a cheap model's runs stay on the event loop."""
    cheap = [size for size, seconds in profiles[0].points if seconds < INLINE_BELOW]
    return min(largest, cheap[-1]) if cheap and cheap[-1] >= _ENOUGH_INLINE else largest


_LONE = Layout(1, 1)
_TYPICAL, _LONGEST_TYPICAL = 32, 128  # of an axis of variable length
_ENOUGH_INLINE = 32  # rows that one turn of the event loop may answer without a hop
_UNMEASURED = 64  # rows; the largest batch of a model whose costs are not known


def _profiles(
    loaded: LoadedModel, row: Tensors, options: LoadOptions, models: dict[int, OpenModel]
) -> list[Profile]:
    """Measure every layout that the file is small enough for, or read what was measured before.

    Sessions of the other layouts are added to ``models``.
    """
    layouts = options.layouts
    if options.path.stat().st_size > _LARGEST_TO_OPEN_TWICE:
        layouts = layouts[:1]
    sizes = sizes_up_to(loaded.info.policy.max_batch_size, loaded.info.policy.sizes)
    for layout in layouts:
        if layout.threads not in models:
            models[layout.threads] = open_model(options.path, options.runtime(layout))
    lone = (_LONE,) if 1 in models and _LONE not in layouts else ()
    layouts = (*layouts, *lone)
    cache = options.profiles
    key = cache.key(options.path, layouts, sizes)
    known = cache.read(key)
    if known is not None:
        for profile in known:  # still warm the sizes up, once each
            for size, _ in profile.points:
                models[profile.layout.threads].run(repeated(row, size))
        return list(known)
    stop = options.derive_max_batch_size
    measurements = [
        Measurement(
            models[layout.threads], layout, stop_at_knee=stop,
            slow=INLINE_BELOW if layout in lone else SLOW_RUN,
        )
        for layout in layouts
    ]  # fmt: skip
    found = measure(measurements, row, sizes)
    cache.write(key, options.name, found)
    return found


def profile(loaded: LoadedModel, options: LoadOptions, budget: float = 2.0) -> list[Profile]:
    """The costs in every layout, measured at leisure; empty where the model can't be probed."""
    if loaded.found.row is None:
        return []
    sizes = sizes_up_to(min(loaded.info.policy.max_batch_size, LARGEST), loaded.info.policy.sizes)
    models = {options.layouts[0].threads: loaded.model}
    for layout in options.layouts:
        if layout.threads not in models:
            models[layout.threads] = open_model(options.path, options.runtime(layout))
    stop = options.derive_max_batch_size
    measurements = [
        Measurement(models[layout.threads], layout, stop_at_knee=stop, budget=budget)
        for layout in options.layouts
    ]
    return measure(measurements, loaded.found.row, sizes)
