"""From a file to a warm model whose batching is decided, and that can be served."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inference_service.core.padding import Padding
from inference_service.core.scheduling.layout import Profile
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.tasks import PayloadPipeline, labels_of
from inference_service.core.tensors import BatchMode, Signature, Tensors, TensorSpec
from inference_service.engine.interfaces import ModelInfo
from inference_service.runtime.batching import Decision, checked, decide
from inference_service.runtime.bounds import Bounds, Holds, Peak, Turned, guard_of, rows_within
from inference_service.runtime.declared import (
    check_labels,
    check_row_shapes,
    example_row,
    plain_row,
)
from inference_service.runtime.memory import Trimmer, resident
from inference_service.runtime.options import LoadOptions
from inference_service.runtime.probe_padding import verified_padding
from inference_service.runtime.profile import LARGEST, derived_max_batch_size
from inference_service.runtime.runner import OrtRunner, Shaping
from inference_service.runtime.session import OpenModel, open_model
from inference_service.runtime.verdicts import (
    Analysis,
    analysis_of,
)
from inference_service.runtime.warmup import (
    chosen,
    is_cheap,
    measured,
    typical_row,
    worth_inlining,
)

_UNMEASURED = 64  # rows; the largest batch of a model whose costs are not known


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A session, what was decided about its batching, and the verdict on which that rests."""

    info: ModelInfo
    model: OpenModel
    found: Decision
    analysis: Analysis


def inspect(options: LoadOptions, save: Path | None = None) -> LoadedModel:
    """Open a model, decide how it is batched and check that, without a warm-up.

    With ``save`` its optimised graph is written there. Raises InvalidModel.
    """
    runtime = replace(options.runtime(options.machine.layouts[0]), save=save)
    model = open_model(options.path, runtime)
    check_row_shapes(options.rows.shapes, model.inputs)
    payloads = None if options.payloads is None else options.payloads()
    model = with_example(model, options, payloads)
    analysis = analysis_of(
        options.path, model.constants, options.kept.verdicts, options.kept.analyse
    )
    decision = decide(model, analysis, options.rows.mode, options.rows.shapes)
    bounds = _bounds(options, model, analysis)
    by_value = analysis.verdict.costs_by_value
    kept = options.kept.verdicts
    decision = checked(decision, model, options.path, kept, bounds, by_value=by_value)
    warnings = list(decision.warnings)
    if model.maps:
        warnings.append(
            f"output {', '.join(sorted(model.maps))} is a ZipMap: it is served as a tensor "
            "[rows, classes]; exporting with zipmap=False is faster"
        )
    padding, why = _padding(options, payloads, model, decision)
    decision = replace(decision, warnings=(*warnings, *why))
    info = info_of(options, model, decision, padding)
    loaded = described(options, payloads, LoadedModel(info, model, decision, analysis))
    if options.about.labels:
        outputs = {} if decision.row is None else model.run(decision.row)
        check_labels(options.about.labels, loaded.info.signature, outputs)
    return loaded


def described(
    options: LoadOptions, payloads: PayloadPipeline | None, loaded: LoadedModel
) -> LoadedModel:
    """With what pipelines and the analysis add. Raises InvalidModel."""
    info = loaded.info
    options.transforms.check(info.signature)
    if payloads is not None:
        tasks = payloads.tasks(info.signature)
        labels = {**info.labels, **labels_of(tasks)}
        info = replace(info, tasks=tasks, text=payloads.embedder, labels=labels)
    bounds = _bounds(options, loaded.model, loaded.analysis)
    guard = guard_of(options, payloads, info, loaded.found, bounds)
    return replace(loaded, info=replace(info, guard=guard))


def _bounds(options: LoadOptions, model: OpenModel, analysis: Analysis) -> Bounds:
    turned = Turned(options.rows.frame.axes, {name: a.shape for name, a in model.constants.items()})
    conditions = tuple(Holds(turned, one.holds) for one in analysis.verdict.conditions)
    peak = analysis.verdict.cost.peak_bytes
    return Bounds(conditions, None if peak is None else Peak(turned, peak))


def with_example(
    model: OpenModel, options: LoadOptions, payloads: PayloadPipeline | None
) -> OpenModel:
    """Rows may be made of the owner's example. Raises InvalidModel."""
    signature = Signature(model.inputs, model.outputs)
    tasks = (
        payloads.tasks(signature).values() if payloads is not None and options.about.example else ()
    )
    row = example_row(options.about.example or {}, signature, [task.noun for task in tasks])
    return replace(model, known=model.known.with_row(row))


def _known_example(row: Tensors | None, model: OpenModel) -> Mapping[str, Any] | None:
    """For the docs page, where the graph takes some values only."""
    if row is None or not model.known.encoders:
        return None
    return plain_row(row, Signature(model.inputs, model.outputs))


def info_of(
    options: LoadOptions,
    model: OpenModel,
    decision: Decision,
    padding: Padding,
) -> ModelInfo:
    """What was decided, for all who ask for it."""
    return ModelInfo(
        name=options.name,
        version=options.version,
        signature=_signature(model, decision),
        policy=_policy(options, decision, padding.sizes),
        description=options.about.description,
        labels={**model.labels, **options.about.labels},
        version_labels=options.about.version_labels,
        metadata=options.about.metadata,
        example=options.about.example or _known_example(decision.row, model),
        row_shapes=options.rows.shapes,
        example_file=options.about.example_file,
        warnings=decision.warnings,
        transforms=options.transforms,
        padding=padding,
        share_identical=options.share_identical,
        safety=decision.safety,
    )


def _padding(
    options: LoadOptions,
    payloads: PayloadPipeline | None,
    model: OpenModel,
    decision: Decision,
) -> tuple[Padding, list[str]]:
    """How rows and batches are padded, and what is to be said of it."""
    padding = Padding()
    why: list[str] = []
    declared = options.rows
    if payloads is not None and not options.rows.padding:
        # Texts are of any length: without another word their pipeline says how they are padded.
        names = {spec.name for spec in model.inputs}
        known = {name: axis for name, axis in payloads.padding.items() if name in names}
        declared = replace(declared, padding=known, longest=payloads.longest)
    if declared.padding:
        if decision.rows.trivial:
            padding, why = verified_padding(model, decision.mode, declared)
        else:
            why = ["padding is not used: not every tensor has its rows on axis 0"]
    most = math.inf if decision.max_rows is None else decision.max_rows
    merged = decision.mode is BatchMode.MERGE
    allowed = tuple(size for size in options.policy.sizes if merged and size <= most)
    return replace(padding, sizes=decision.sizes or allowed), why


def _signature(model: OpenModel, decision: Decision) -> Signature:
    """As clients see it: a fixed batch is ours to fill up, theirs has any number of rows."""
    rows = decision.rows

    def freed(spec: TensorSpec, axis: int | None) -> TensorSpec:
        if axis is None or axis >= len(spec.shape):
            return spec
        shape, symbols = list(spec.shape), list(spec.symbols or [""] * len(spec.shape))
        shape[axis], symbols[axis] = None, ""
        return replace(spec, shape=tuple(shape), symbols=tuple(symbols))

    inputs, outputs = model.inputs, model.outputs
    if decision.sizes:
        inputs = tuple(freed(spec, rows.axis(spec.name)) for spec in inputs)
        outputs = tuple(freed(spec, rows.output_axis(spec.name)) for spec in outputs)
    return Signature(inputs, outputs, decision.mode, model.optional, rows)


def _policy(options: LoadOptions, decision: Decision, sizes: tuple[int, ...]) -> BatchPolicy:
    policy = options.policy
    if decision.mode is not BatchMode.MERGE:
        return replace(policy, max_batch_size=1, max_queue_delay=0.0, sizes=())
    largest = LARGEST if options.derive_max_batch_size else policy.max_batch_size
    if sizes:
        largest = min(largest, sizes[-1])
    if decision.max_rows is not None:
        largest = min(largest, decision.max_rows)
    return replace(policy, max_batch_size=largest, sizes=sizes)


def load(options: LoadOptions, warming: Callable[[], None]) -> tuple[ModelInfo, OrtRunner]:
    """Open, decide, check and warm up. Raises InvalidModel, or what a run raises."""
    before = resident()
    loaded = inspect(options)
    warming()
    info, runner = warmed(loaded, options)
    runner.memory_bytes = max(0, resident() - before)
    runner.bounded = loaded.analysis.verdict.cost.by_shape
    return info, runner


def warmed(loaded: LoadedModel, options: LoadOptions) -> tuple[ModelInfo, OrtRunner]:
    """Warm up and measure: the model as it is served. Raises what a run raises."""
    return warm(loaded, options).served()


@dataclass(frozen=True, slots=True)
class Warm:
    """A model whose costs are measured.

    ``models`` are its sessions by their threads, ``row`` is the smallest input that runs (None:
    none is known), ``inline``: its runs are shorter than a hop to a thread. ``usual`` is what the
    largest of its usual runs takes, in bytes.
    """

    info: ModelInfo
    models: Mapping[int, OpenModel]
    row: Tensors | None
    inline: bool = False
    usual: int = 0

    def served(self) -> tuple[ModelInfo, OrtRunner]:
        """The model as it is served."""
        info, trimmer = self.info, None
        if self.row is not None:
            smallest = info.signature.rows.repeated(self.row, min(info.policy.sizes, default=1))
            for model in self.models.values():  # larger batches were measured than will ever run
                model.trim(smallest)
            trimmer = Trimmer(smallest, self.usual)
        runner = OrtRunner(
            info.name,
            self.models,
            Shaping(info.signature.mode, info.signature.rows, info.padding),
            max(profile.layout.instances for profile in info.profiles),
            inline=self.inline,
            trimmer=trimmer,
        )
        return info, runner


def warm(loaded: LoadedModel, options: LoadOptions) -> Warm:
    """Run growing batches and measure what they cost. Raises what a run raises."""
    models = {options.machine.layouts[0].threads: loaded.model}
    profiles: tuple[Profile, ...] = (Profile(options.machine.layouts[0]),)
    info, row = loaded.info, loaded.found.row
    if not options.machine.warm_up or row is None:
        if options.derive_max_batch_size and info.signature.mode is BatchMode.MERGE:
            largest = min(_UNMEASURED, info.policy.max_batch_size)
            info = replace(info, policy=replace(info.policy, max_batch_size=largest))
        return Warm(replace(info, profiles=profiles), models, None)
    before = resident()
    typical = typical_row(loaded.model, info, row, options)
    if options.derive_max_batch_size and not info.policy.sizes:
        peak = _bounds(options, loaded.model, loaded.analysis).peak
        most = rows_within(peak, info.signature.rows, typical, info.policy.max_batch_size)
        info = replace(info, policy=replace(info.policy, max_batch_size=most))
    profiles = chosen(measured(info, typical, options, models), info, options)
    usual = resident() - before
    if options.derive_max_batch_size and not info.policy.sizes:
        largest = min(derived_max_batch_size(profiles), info.policy.max_batch_size)
        if info.signature.has_fixed_rows:
            largest = worth_inlining(profiles, largest)
        growth = info.policy.max_batch_size
        derived = replace(info.policy, max_batch_size=largest, max_growth=growth)
        info = replace(info, policy=derived)
    cheap = loaded.analysis.verdict.cost.by_shape and is_cheap(info, profiles)
    if cheap:  # longer runs would block the event loop
        info = replace(info, policy=replace(info.policy, max_growth=0))
    used = {profile.layout.threads for profile in profiles}
    models = {threads: model for threads, model in models.items() if threads in used}
    return Warm(replace(info, profiles=profiles), models, row, cheap, max(0, usual))
