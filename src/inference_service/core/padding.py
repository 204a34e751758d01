"""Make rows of unlike length, and batches of unlike size, fit a run; and undo it in the outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from inference_service.core.errors import InvalidInput
from inference_service.core.tensors import Array, Tensors


@dataclass(frozen=True, slots=True)
class PaddedAxis:
    """An input's axis of variable length (1 is the first after the batch's) and what fills it."""

    axis: int
    value: float = 0.0


@dataclass(frozen=True)
class Padding:
    """How a model's batches are padded.

    ``inputs`` are the inputs with an axis of variable length, ``outputs`` the axes of outputs that
    are as long as the inputs. ``longest`` is the longest input that the model takes, if that is
    known. ``sizes`` are the only batch sizes that it runs.
    """

    inputs: Mapping[str, PaddedAxis] = field(default_factory=dict)
    outputs: Mapping[str, int] = field(default_factory=dict)
    longest: int | None = None
    sizes: tuple[int, ...] = ()

    @property
    def trivial(self) -> bool:
        """Whether nothing is ever padded."""
        return not self.inputs and not self.sizes

    def length(self, inputs: Tensors) -> int:
        """The length of a request's rows. Raises InvalidInput where its inputs don't agree."""
        lengths: dict[str, int] = {
            name: inputs[name].shape[axis.axis] for name, axis in self.inputs.items()
        }
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            raise InvalidInput(f"inputs of variable length must have one length: {listed}")
        return next(iter(lengths.values()))

    def lengthened(self, parts: Sequence[Tensors], length: int) -> Sequence[Tensors]:
        """All parts at one length."""
        if not length or not self.inputs:
            return parts
        return [
            {
                name: _lengthened(array, self.inputs[name], length)
                if name in self.inputs
                else array
                for name, array in part.items()
            }
            for part in parts
        ]

    def shortened(
        self, outputs: Sequence[Tensors], parts: Sequence[Tensors], length: int
    ) -> list[Tensors]:
        """Each part's outputs at its own length again."""
        if not length or not self.outputs:
            return list(outputs)
        return [
            {
                name: _cut(array, self.outputs[name], self.length(part))
                if name in self.outputs
                else array
                for name, array in answer.items()
            }
            for answer, part in zip(outputs, parts, strict=True)
        ]

    def size(self, count: int) -> int:
        """The allowed batch size at which ``count`` rows are run."""
        return next((size for size in self.sizes if size >= count), count)


def _lengthened(array: Array, axis: PaddedAxis, length: int) -> Array:
    missing = length - array.shape[axis.axis]
    if missing <= 0:
        return array
    shape = list(array.shape)
    shape[axis.axis] = missing
    value = str(axis.value) if array.dtype.kind == "O" else axis.value
    return np.concatenate([array, np.full(shape, value, array.dtype)], axis=axis.axis)


def _cut(array: Array, axis: int, length: int) -> Array:
    index = [slice(None)] * array.ndim
    index[axis] = slice(0, length)
    return array[tuple(index)]
