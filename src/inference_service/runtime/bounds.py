"""The bounds of one model's requests: what the analysis and model.toml say of their shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from inference_service.core.guard import Guard, Shapes
from inference_service.core.rows import RowLayout
from inference_service.core.tasks import BoundedPipeline, PayloadPipeline
from inference_service.core.tensors import BatchMode, Shape, Signature, Tensors
from inference_service.engine.interfaces import ModelInfo
from inference_service.safety.ranges import LONGEST

if TYPE_CHECKING:  # they import this module
    from inference_service.runtime.batching import Decision
    from inference_service.runtime.options import LoadOptions


@dataclass(frozen=True, slots=True)
class Turned:
    """Shapes of requests as the graph gets them: declared axes in their place, constants added."""

    axes: Mapping[str, int]
    constants: Shapes

    def __call__(self, shapes: Shapes) -> Shapes:
        """The graph's shapes."""
        if not self.axes and not self.constants:
            return shapes
        turned = dict(shapes)
        for name in self.axes.keys() & turned.keys():
            first, *rest = turned[name]
            rest.insert(self.axes[name], first)
            turned[name] = tuple(rest)
        return {**turned, **self.constants}


@dataclass(frozen=True, slots=True)
class Holds:
    """A condition on the shapes of requests."""

    turned: Turned
    holds: Callable[[Shapes], bool]

    def __call__(self, shapes: Shapes) -> bool:
        """Whether it is met."""
        return self.holds(self.turned(shapes))


@dataclass(frozen=True, slots=True)
class Peak:
    """A bound of a run's memory by the shapes of a request."""

    turned: Turned
    peak: Callable[[Shapes], int]

    def __call__(self, shapes: Shapes) -> int:
        """Bytes."""
        return self.peak(self.turned(shapes))


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the analysis says of the shapes of requests."""

    conditions: tuple[Holds, ...]
    peak: Peak | None


BATCH_BYTES = 192 * 2**20
"""Of a batch that is tried or measured, and of one that is run though no request asks for it."""


def rows_within(peak: Peak | None, layout: RowLayout, row: Tensors, most: int) -> int:
    """The rows of a batch, at most ``most``, of which a run stays within `BATCH_BYTES`."""
    while peak is not None and most > 1:
        shapes = {}
        for name, array in row.items():
            axis = layout.axis(name)
            shapes[name] = tuple(
                most * length if at == axis else length for at, length in enumerate(array.shape)
            )
        if peak(shapes) <= BATCH_BYTES:
            break
        most //= 2
    return most


def guard_of(
    options: LoadOptions,
    payloads: PayloadPipeline | None,
    info: ModelInfo,
    decision: Decision,
    bounds: Bounds,
) -> Guard | None:
    """The bounds on requests; None where their shapes say nothing: there is one shape of rows."""
    signature = info.signature
    longest = _longest(options, payloads, signature)
    merged = decision.mode is BatchMode.MERGE
    conditions: tuple[Callable[[Shapes], bool], ...] = ()
    if merged and decision.proven:
        free = () if signature.has_fixed_rows else (_is_short,)
        conditions = (*bounds.conditions, *free)
        if decision.max_rows is not None:  # the graph may answer more rows otherwise
            conditions = (*conditions, partial(_has_at_most, decision.max_rows, signature.rows))
    if merged and signature.rows.named_unlike(signature.inputs):
        conditions = (*conditions, partial(_agree, signature.rows))
    one_shape = signature.has_fixed_rows and decision.mode is not BatchMode.WHOLE
    peak = None if one_shape or options.machine.max_run_bytes is None else bounds.peak
    if not conditions and not longest and peak is None:
        return None
    return Guard(
        conditions,
        longest,
        peak,
        options.machine.max_run_bytes,
        signature.rows,
        None if decision.mode is BatchMode.WHOLE else info.policy.max_batch_size,
    )


def _has_at_most(rows: int, layout: RowLayout, shapes: Shapes) -> bool:
    """Whether a request has no more rows than those for which the proof holds."""
    axes = ((name, layout.axis(name)) for name in shapes)
    return all(axis is None or shapes[name][axis] <= rows for name, axis in axes)


def _agree(layout: RowLayout, shapes: Shapes) -> bool:
    """Whether all inputs have the same number of rows."""
    axes = ((shape, layout.axis(name)) for name, shape in shapes.items())
    return len({shape[axis] for shape, axis in axes if axis is not None and axis < len(shape)}) < 2


def _is_short(shapes: Shapes) -> bool:
    """Whether the lengths are among those for which a proof computes with them."""
    return all(length <= LONGEST for shape in shapes.values() for length in shape)


def _longest(
    options: LoadOptions, payloads: PayloadPipeline | None, signature: Signature
) -> dict[str, Shape]:
    """The longest axes of inputs, by model.toml and the pipeline."""
    padding, limit = options.rows.padding, options.rows.longest
    if payloads is not None and not padding:
        padding, limit = payloads.padding, payloads.longest
    names = {spec.name for spec in signature.inputs}
    longest: dict[str, Shape] = {}
    if limit is not None:
        for name in names & padding.keys():
            longest[name] = (*[None] * padding[name].axis, limit)
    if isinstance(payloads, BoundedPipeline):
        longest |= payloads.bounds(signature)
    return longest
