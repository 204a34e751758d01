"""Is a padded row's answer the row's own? Declared padding is tried before it is used.

A model may pay attention to what it is padded with, or give another number of outputs than
expected. Then padding is switched off, with a warning, and rows of unlike length run apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from inference_service.core.assembly import assemble, split
from inference_service.core.errors import InferenceServiceError, InvalidModel
from inference_service.core.padding import PaddedAxis, Padding
from inference_service.core.rows import RowLayout
from inference_service.core.tensors import BatchMode, Tensors
from inference_service.runtime.comparison import FINE, largest_difference, magnitudes
from inference_service.runtime.probe import random_row
from inference_service.runtime.session import OpenModel

_LENGTHS = (5, 9, 16)


class Declared(Protocol):
    """What model.toml says of padding."""

    @property
    def padding(self) -> Mapping[str, PaddedAxis]:
        """Inputs with an axis of variable length."""

    @property
    def longest(self) -> int | None:
        """The longest input that the model takes."""

    @property
    def shapes(self) -> Mapping[str, Sequence[int]]:
        """Shapes of rows for the probe."""


@dataclass(frozen=True, slots=True)
class _Off(Exception):  # noqa: N818
    """Padding can't be used."""

    why: str


def verified_padding(
    model: OpenModel, mode: BatchMode, declared: Declared
) -> tuple[Padding, list[str]]:
    """The declared padding if random rows of several lengths bear it out; else none and why.

    Raises InvalidModel where the declaration doesn't fit the model's inputs.
    """
    _check(model, declared)
    if mode is not BatchMode.MERGE:
        return Padding(), [f"padding is not used: rows are not batched (mode '{mode}')"]
    lengths = [min(n, declared.longest or n) for n in _LENGTHS]
    if len(set(lengths)) < len(lengths):
        longest = max(lengths)
        lengths = sorted({max(1, longest // 3), max(1, longest // 2), longest})
    try:
        parts = [row_of_length(model, declared, n, seed) for seed, n in enumerate(lengths)]
        singles = [model.run(part) for part in parts]
        padding = Padding(declared.padding, _output_axes(model, singles, lengths), declared.longest)
        target = lengths[-1]
        together = model.run(assemble(_of_one_shape(padding.lengthened(parts, target))))
        answers = padding.shortened(split(together, [1] * len(parts)), parts, target)
    except (_Off, InferenceServiceError) as error:
        why = error.why if isinstance(error, _Off) else str(error)
        return Padding(), [f"padding is switched off: {why}"]
    for length, single, answer in zip(lengths, singles, answers, strict=True):
        # Padding changes the order of summation in every element: one tolerance for an output.
        largest = {
            name: np.asarray(np.max(column, initial=0.0))
            for name, column in magnitudes(single, RowLayout()).items()
        }
        found = largest_difference(answer, single, RowLayout(), largest)
        if found.size > FINE:
            why = (
                f"a row of length {length} has another '{found.output}' when it is padded to "
                f"{target} and batched"
            )
            return Padding(), [f"padding is switched off: {why}"]
    return padding, []


def _of_one_shape(parts: Sequence[Tensors]) -> Sequence[Tensors]:
    """The same. Raises _Off where an input has a free axis that isn't padded."""
    for name in parts[0]:
        if len({part[name].shape[1:] for part in parts}) > 1:
            raise _Off(f"input '{name}' has an axis of variable length that is not padded")
    return parts


def _check(model: OpenModel, declared: Declared) -> None:
    known = {spec.name: spec for spec in model.inputs}
    for name, padded in declared.padding.items():
        spec = known.get(name)
        if spec is None:
            names = ", ".join(f"'{n}'" for n in known)
            raise InvalidModel(f"padding.{name}: the model has no such input, it has {names}")
        if not 1 <= padded.axis < len(spec.shape):
            raise InvalidModel(
                f"padding.{name}.axis = {padded.axis}: the input {spec} has axes 1 to "
                f"{len(spec.shape) - 1} after the batch's"
            )
        if spec.shape[padded.axis] is not None:
            raise InvalidModel(
                f"padding.{name}.axis = {padded.axis}: this axis of {spec} has one length"
            )


def row_of_length(model: OpenModel, declared: Declared, length: int, seed: int = 0) -> Tensors:
    """A random row whose padded axes have this length."""
    shapes: dict[str, list[int]] = {}
    for spec in model.inputs:
        given = declared.shapes.get(spec.name)
        shape = list(given) if given is not None else [n or length for n in spec.shape[1:]]
        if spec.name in declared.padding:
            shape[declared.padding[spec.name].axis - 1] = length
        shapes[spec.name] = shape
    return random_row(model, length, shapes, seed=seed)


def _output_axes(
    model: OpenModel, singles: Sequence[Tensors], lengths: Sequence[int]
) -> dict[str, int]:
    """The axis of each output that is as long as the inputs, where there is one."""
    axes = {}
    for spec in model.outputs:
        shapes = [single[spec.name].shape for single in singles]
        if len({len(shape) for shape in shapes}) != 1:
            raise _Off(f"output '{spec.name}' has another number of axes for another length")
        for axis in range(1, len(shapes[0])):
            sizes = [shape[axis] for shape in shapes]
            if sizes == list(lengths) and spec.name not in axes:
                axes[spec.name] = axis
            elif len(set(sizes)) > 1:
                raise _Off(
                    f"axis {axis} of output '{spec.name}' has lengths {sizes} for inputs of "
                    f"{list(lengths)}, so a padded output can't be cut"
                )
    return axes
