"""From the verdict on a file and the words of model.toml to a mode: merge, split or whole.

| verdict | served |
|---|---|
| proven | merged; a fixed batch is filled up with copies |
| mixing by dynamic quantisation alone | row by row: the rest is proven, and one row is exact |
| mixing | whole: as it was sent |
| unproven, frozen | whole; row by row where the graph runs one row, and no more |
| single (all first axes are 1) | row by row; whole where an output has no row axis |

model.toml may set another mode. Then rows are where the verdict has found them, or on axis 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from inference_service.core.errors import InferenceServiceError
from inference_service.core.guard import Shapes
from inference_service.core.rows import OutputRows, RowLayout
from inference_service.core.tensors import BatchMode, Tensors, TensorSpec
from inference_service.engine.interfaces import BatchSafety
from inference_service.runtime.bounds import Bounds, rows_within
from inference_service.runtime.probe import Sample, sample
from inference_service.runtime.session import OpenModel, failed_node
from inference_service.runtime.trial import ROWS, Tried, refuted
from inference_service.runtime.verdicts import Analysis, VerdictCache
from inference_service.safety.verdict import Status, Verdict

KNOWN = '[batching] mode = "merge"'
"""The line of model.toml that states that rows are independent."""

_MORE_ROWS = (2, 3, 4, 8)


@dataclass(frozen=True, slots=True)
class Decision:
    """How a model's requests are batched, and why.

    ``sizes`` has the batch size of a graph that runs no other. ``row`` are inputs that ran: of one
    row, or of the whole graph in the mode whole; None: none were found. ``proven``: the verdict's
    conditions are those of the mode. ``max_rows`` is the largest batch for which the proof holds.
    """

    mode: BatchMode
    rows: RowLayout
    safety: BatchSafety
    sizes: tuple[int, ...] = ()
    row: Tensors | None = None
    warnings: tuple[str, ...] = ()
    proven: bool = False
    max_rows: int | None = None


def decide(
    model: OpenModel,
    analysis: Analysis,
    declared: BatchMode | None,
    shapes: Mapping[str, Sequence[int]],
) -> Decision:
    """The mode of a model. ``shapes`` are row shapes from model.toml. It runs a few random rows."""
    verdict = analysis.verdict
    merged = _mergeable(model, verdict)
    safety = _safety(verdict, declared)
    if declared is not None:
        decision = _declared(model, verdict, declared, shapes, safety)
    elif merged:
        layout, sizes = layout_of(model, verdict), _sizes(verdict)
        found = sample(model, layout, shapes)
        row = _first_row(found, layout, sizes)
        warnings = (*_filled(sizes), *_unsampled(found))
        decision = Decision(
            BatchMode.MERGE, layout, safety, sizes, row, warnings,
            proven=True, max_rows=verdict.max_rows,
        )  # fmt: skip
    else:
        decision = _not_merged(model, analysis, shapes, safety)
    if decision.mode is not BatchMode.MERGE and declared is None:
        decision = replace(decision, warnings=(_why(decision, verdict), *decision.warnings))
    return decision


def checked(
    decision: Decision,
    model: OpenModel,
    path: Path,
    cache: VerdictCache,
    bounds: Bounds,
    *,
    by_value: bool = False,
) -> Decision:
    """What is merged is tried on real rows first: where they depend on each other, it is whole.

    ``by_value``: what a run costs is known to depend on values.
    """
    row = decision.row
    if decision.mode is not BatchMode.MERGE or row is None:
        return decision
    if decision.proven and not all(holds(shapes_of(row)) for holds in bounds.conditions):
        return decision  # a request of this shape runs alone
    most = rows_within(bounds.peak, decision.rows, row, ROWS)
    tried = Tried(model, path, decision.rows, decision.sizes, row, decision.proven, most, by_value)
    about = repr(
        (decision.proven, decision.rows, decision.sizes, sorted(shapes_of(row).items()), model.axes)
    )
    found = cache.remembered(path, f"trial {about}", lambda: refuted(tried))
    if not found:
        return decision
    safety = replace(decision.safety, refuted=found, advice="")
    return Decision(
        BatchMode.WHOLE,
        RowLayout(),
        safety,
        (),
        decision.rows.repeated(row, decision.sizes[0]) if decision.sizes else row,
        (f"{found}; requests are not batched", *decision.warnings),
    )


def shapes_of(inputs: Tensors) -> Shapes:
    """The shapes of a request's inputs by name."""
    return {name: array.shape for name, array in inputs.items()}


def layout_of(model: OpenModel, verdict: Verdict) -> RowLayout:
    """Where rows are in the tensors of a session: declared axes are turned to the front there."""
    inputs: dict[str, int | None] = {}
    for spec in model.inputs:
        axis = verdict.inputs.get(spec.name)
        if spec.name in model.axes:
            axis = 0
        if axis != 0:
            inputs[spec.name] = axis
    inputs |= dict.fromkeys(spec.name for spec in model.optional)
    outputs = {}
    for name, rows in verdict.outputs.items():
        axis = 0 if name in model.axes else rows.axis
        where = OutputRows(axis, rows.entries)
        if where != OutputRows():
            outputs[name] = where
    return RowLayout(inputs, outputs)


def _mergeable(model: OpenModel, verdict: Verdict) -> bool:
    """Whether the proof holds for the session: with rows, and on the axes that are declared."""
    if verdict.status is not Status.PROVEN:
        return False
    names = {spec.name for spec in model.inputs}
    ranked = all(spec.ranked for spec in model.inputs)
    agree = all(
        verdict.inputs.get(name, axis) == axis for name, axis in model.axes.items() if name in names
    )
    return ranked and agree and bool(names & verdict.inputs.keys())


def _sizes(verdict: Verdict) -> tuple[int, ...]:
    return () if verdict.fixed_rows is None else (verdict.fixed_rows,)


def _filled(sizes: tuple[int, ...]) -> tuple[str, ...]:
    if not sizes:
        return ()
    return (
        f"the graph has a fixed batch of {sizes[0]}: smaller batches are filled up with copies",
    )


def _unsampled(found: Sample) -> tuple[str, ...]:
    if found.error is None:
        return ()
    return (
        f"it could not be run on random input, so it is not tried before it is served "
        f"({found.error}); give one row in model.toml, [example] input = .., or the shapes of its "
        "free axes, [warmup] shapes = { input = [..] }",
    )


def _first_row(found: Sample, layout: RowLayout, sizes: tuple[int, ...]) -> Tensors | None:
    """Of a fixed batch, a sample is all of it."""
    if found.inputs is None or not sizes:
        return found.inputs
    return layout.take(found.inputs, 0, 1)


def _declared(
    model: OpenModel,
    verdict: Verdict,
    declared: BatchMode,
    shapes: Mapping[str, Sequence[int]],
    safety: BatchSafety,
) -> Decision:
    if declared is BatchMode.WHOLE:
        found = sample(model, RowLayout(), shapes)
        return Decision(declared, RowLayout(), safety, (), found.inputs, _unsampled(found))
    proven = _mergeable(model, verdict)
    layout = layout_of(model, verdict) if proven else _assumed(model)
    sizes = _sizes(verdict) if proven else _fixed(model.inputs)
    if declared is BatchMode.SPLIT:
        sizes = ()
    found = sample(model, layout, shapes)
    row = _first_row(found, layout, sizes)
    warnings = (*_filled(sizes), *_unsampled(found))
    if declared is BatchMode.MERGE and not proven:
        reason = f": {safety.reason}" if safety.reason else ""
        warnings = (f"rows share runs by declaration; the verdict is '{verdict.status}'{reason}",
                    *warnings)  # fmt: skip
    return Decision(declared, layout, safety, sizes, row, warnings, proven)


def _assumed(model: OpenModel) -> RowLayout:
    """Rows on axis 0; scalars, and inputs that have a default, are equal for all rows of a run."""
    scalars = [spec for spec in model.inputs if spec.scalar]
    return RowLayout({spec.name: None for spec in (*scalars, *model.optional)})


def _fixed(inputs: Sequence[TensorSpec]) -> tuple[int, ...]:
    first = {spec.shape[0] for spec in inputs if spec.shape}
    size = next(iter(first)) if len(first) == 1 else None
    return () if size is None or size == 1 else (size,)


def _not_merged(
    model: OpenModel,
    analysis: Analysis,
    shapes: Mapping[str, Sequence[int]],
    safety: BatchSafety,
) -> Decision:
    """Row by row where that is exact, else whole."""
    by_row = analysis.by_row
    if by_row is not None and by_row.fixed_rows is None and not by_row.conditions:
        layout = layout_of(model, by_row)
        # An output without rows would be that of the first row, not of the request.
        if not any(place.axis is None for place in layout.outputs.values()):
            found = sample(model, layout, shapes)
            return Decision(BatchMode.SPLIT, layout, safety, (), found.inputs, _unsampled(found))
    found = sample(model, RowLayout(), shapes)
    mode = BatchMode.WHOLE
    mixing = analysis.verdict.status is Status.MIXING  # a request is run as it was sent
    first = {spec.shape[0] if spec.shape else -1 for spec in model.inputs}
    if all(spec.ranked for spec in model.inputs):
        outputs = [spec.shape[0] if spec.shape else -1 for spec in model.outputs if spec.ranked]
        one_each = all(n in {1, None} for n in outputs)
        if first == {1} and one_each:
            mode = BatchMode.SPLIT
        elif first == {None} and found.inputs is not None and one_each and not mixing:
            safety, mode = _tried(model, found.inputs, safety)
    return Decision(mode, _assumed(model), safety, (), found.inputs, _unsampled(found))


def _tried(model: OpenModel, row: Tensors, safety: BatchSafety) -> tuple[BatchSafety, BatchMode]:
    """Row by row, where the graph has an answer of one entry for one row, and none for more."""
    answer = model.run(row)
    if any(array.ndim == 0 or len(array) != 1 for array in answer.values()):
        return safety, BatchMode.WHOLE
    node: str | None = None
    for rows in _MORE_ROWS:
        for more in (RowLayout().repeated(row, rows), _grown(model, row, rows)):
            try:
                model.run(more)
            except InferenceServiceError as error:
                node = node or failed_node(error)
            else:
                return safety, BatchMode.WHOLE
    reason = safety.reason or "its size is that of one row"
    if node is not None:
        reason = f"{reason} (a batch of {_MORE_ROWS[0]} rows fails in the {node})"
    return replace(safety, node=safety.node or node or "", reason=reason), BatchMode.SPLIT


def _grown(model: OpenModel, row: Tensors, size: int) -> Tensors:
    """All axes repeated that are called like a first one, or have no name: of a square matrix, a
    graph of distances, its rows can't be more without its columns."""
    first = {spec.symbols[0] if spec.symbols else "" for spec in model.inputs if spec.shape}
    grown = dict(row)
    for spec in model.inputs:
        if spec.name not in row:
            continue
        for axis, length in enumerate(spec.shape):
            if length is None and (spec.symbols[axis] if spec.symbols else "") in first:
                grown[spec.name] = np.repeat(grown[spec.name], size, axis)
    return grown


def _safety(verdict: Verdict, declared: BatchMode | None) -> BatchSafety:
    unproven = verdict.status is Status.UNPROVEN
    return BatchSafety(
        verdict.status.value,
        verdict.node,
        verdict.reason,
        tuple(condition.text for condition in verdict.conditions),
        tuple(sorted(verdict.equal)),
        declared=declared is not None,
        advice=KNOWN if unproven and declared is None else "",
    )


def _why(decision: Decision, verdict: Verdict) -> str:
    """Why requests don't share runs, for people."""
    consequence = {
        BatchMode.SPLIT: "every row runs alone",
        BatchMode.WHOLE: "requests are not batched",
    }[decision.mode]
    safety = decision.safety
    if verdict.status is Status.SINGLE:
        why = safety.reason or "the graph has a fixed batch of 1"
    elif verdict.status is Status.PROVEN:
        why = "the file doesn't tell the number of axes, or has no rows on the axes of model.toml"
    else:
        why = safety.reason or f"the verdict is '{verdict.status}'"
        if verdict.status is Status.MIXING:
            why = f"the {safety.node} mixes rows: {why}"
        elif verdict.status is Status.FROZEN:
            why = f"the {safety.node} admits one number of rows: {why}"
        elif safety.node:
            why = f"rows are not proven to be independent: {safety.node}: {why}"
    hint = ""
    if verdict.status is Status.UNPROVEN:
        hint = f" (if rows are known to be independent, model.toml: {KNOWN})"
    if verdict.status is Status.MIXING and decision.mode is BatchMode.SPLIT:
        hint = " (quantised statically, or in its weights alone, it could be batched)"
        if "ynamicQuantize" not in f"{safety.node} {safety.reason}":
            hint = ""
    return f"{why}; {consequence}{hint}"
