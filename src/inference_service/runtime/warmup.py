"""The warm-up: what runs of a model cost in each layout, and which layouts are worth having."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from inference_service.core.errors import InferenceServiceError
from inference_service.core.scheduling.buckets import quantised
from inference_service.core.scheduling.layout import Layout, Profile, worth_having
from inference_service.core.tensors import BatchMode, Tensors
from inference_service.engine.interfaces import ModelInfo
from inference_service.runtime.declared import check_batch
from inference_service.runtime.probe_padding import row_of_length
from inference_service.runtime.profile import (
    LARGEST,
    SLOW_RUN,
    Measurement,
    measure,
    sizes_up_to,
)
from inference_service.runtime.runner import INLINE_BELOW
from inference_service.runtime.session import OpenModel, open_model

if TYPE_CHECKING:  # the loader imports this module
    from inference_service.runtime.loader import LoadedModel
    from inference_service.runtime.options import LoadOptions

_LARGEST_TO_OPEN_TWICE = 256 * 2**20  # bytes; a second layout is a second copy in memory
_LONE = Layout(1, 1)
_TYPICAL, _LONGEST_TYPICAL = 32, 128  # of an axis of variable length
_ENOUGH_INLINE = 32  # rows that one turn of the event loop may answer without a hop


def typical_row(model: OpenModel, info: ModelInfo, row: Tensors, options: LoadOptions) -> Tensors:
    """What is measured: layouts and batch sizes are chosen by it, so it is as long as usual."""
    padding = info.padding
    if not padding.inputs:
        return row
    length = min((padding.longest or 4 * _TYPICAL) // 4, _LONGEST_TYPICAL)
    declared = replace(options.rows, padding=padding.inputs, longest=padding.longest)
    try:
        typical = row_of_length(model, declared, quantised(max(length, 1)))
        model.run(typical)
    except InferenceServiceError:
        return row
    return typical


def chosen(found: Sequence[Profile], info: ModelInfo, options: LoadOptions) -> tuple[Profile, ...]:
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
    return worth_having([profile for profile in found if profile.layout in options.machine.layouts])


def is_cheap(info: ModelInfo, profiles: Sequence[Profile]) -> bool:
    """Whether every run is of a measured shape and costs less than a hop to a thread."""
    signature = info.signature
    fixed = signature.has_fixed_rows
    if signature.mode is BatchMode.WHOLE:
        fixed = fixed and all(None not in spec.shape for spec in signature.inputs)
    return fixed and all(
        seconds < INLINE_BELOW
        for size, seconds in profiles[0].points
        if size <= info.policy.max_batch_size
    )


def worth_inlining(profiles: Sequence[Profile], largest: int) -> int:
    """A smaller largest batch, where that lets a cheap model's runs stay on the event loop."""
    cheap = [size for size, seconds in profiles[0].points if seconds < INLINE_BELOW]
    return min(largest, cheap[-1]) if cheap and cheap[-1] >= _ENOUGH_INLINE else largest


def measured(
    info: ModelInfo, row: Tensors, options: LoadOptions, models: dict[int, OpenModel]
) -> list[Profile]:
    """Measure every layout that the file is small enough for.

    Sessions of the other layouts are added to ``models``.
    """
    layouts = options.machine.layouts
    if options.path.stat().st_size > _LARGEST_TO_OPEN_TWICE:
        layouts = layouts[:1]
    sizes = sizes_up_to(info.policy.max_batch_size, info.policy.sizes)
    _open(layouts, options, models)
    lone = (_LONE,) if 1 in models and _LONE not in layouts else ()
    layouts = (*layouts, *lone)
    check_batch(sizes[0], row)
    stop = options.derive_max_batch_size
    measurements = [
        Measurement(
            models[layout.threads], layout, stop_at_knee=stop,
            slow=INLINE_BELOW if layout in lone else SLOW_RUN,
        )
        for layout in layouts
    ]  # fmt: skip
    return measure(measurements, row, sizes, info.signature.rows)


def profile(loaded: LoadedModel, options: LoadOptions, budget: float = 2.0) -> list[Profile]:
    """The costs in every layout, measured at leisure; empty where no row is known."""
    info, row = loaded.info, loaded.found.row
    if row is None:
        return []
    sizes = sizes_up_to(min(info.policy.max_batch_size, LARGEST), info.policy.sizes)
    models = {options.machine.layouts[0].threads: loaded.model}
    _open(options.machine.layouts, options, models)
    stop = options.derive_max_batch_size
    measurements = [
        Measurement(models[layout.threads], layout, stop_at_knee=stop, budget=budget)
        for layout in options.machine.layouts
    ]
    return measure(measurements, row, sizes, info.signature.rows)


def _open(layouts: Sequence[Layout], options: LoadOptions, models: dict[int, OpenModel]) -> None:
    for layout in layouts:
        if layout.threads not in models:
            models[layout.threads] = open_model(options.path, options.runtime(layout))
