"""The ONNX project's own node tests as material: each with its lengths freed in every way.

The tests have fixed lengths. `variants` turns a length into the free axis "N" wherever it stands:
in all inputs, in some, on other axes of each. What the analysis proves of a variant is checked in
numbers; inputs come from the test itself, so that indices, sizes and axes are ones that work.
"""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice, product
from random import Random

import numpy as np
import onnx

MOST_VARIANTS = 40


@dataclass(frozen=True)
class Case:
    """A model with inputs that it takes. ``free``: which axes were made "N"."""

    name: str
    model: onnx.ModelProto
    examples: Mapping[str, "np.ndarray"]
    free: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        return f"{self.name} with {', '.join(f'{n}[{a}]' for n, a in self.free) or 'fixed axes'}"


@cache
def cases() -> tuple[Case, ...]:
    """All node tests whose inputs are tensors. Making them takes about 20 s."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        found = collect_testcases(None)
    made = []
    for test in found:
        assert test.model is not None
        assert test.data_sets is not None
        names = [value.name for value in test.model.graph.input]
        arrays = list(test.data_sets[0][0])
        inputs = zip(test.model.graph.input, arrays, strict=False)
        if len(arrays) <= len(names) and all(_is_tensor(v, a) for v, a in inputs):
            examples = dict(zip(names, arrays, strict=False))
            made.append(Case(test.name, test.model, examples))
    return tuple(made)


def _is_tensor(value: onnx.ValueInfoProto, array: object) -> bool:
    if not isinstance(array, np.ndarray) or not value.type.HasField("tensor_type"):
        return False
    return len(value.type.tensor_type.shape.dim) == array.ndim


def variants(case: Case, most: int = MOST_VARIANTS) -> Iterator[Case]:
    """The test as it is, and with one length freed, wherever inputs have it."""
    yield case
    lengths = {n for a in case.examples.values() for n in a.shape}
    for length in sorted(lengths):
        options = [
            [None, *(axis for axis, n in enumerate(array.shape) if n == length)]
            for array in case.examples.values()
        ]
        every = list(islice(product(*options), 4096))
        every.sort(key=lambda axes: -sum(axis is not None for axis in axes))
        chosen = every[: most // 4] + Random(0).sample(every, min(len(every), most // 4))
        for axes in dict.fromkeys(chosen):
            named = zip(case.examples, axes, strict=True)
            free = tuple((name, axis) for name, axis in named if axis is not None)
            if free:
                yield Case(case.name, freed(case.model, free), case.examples, free)


def freed(model: onnx.ModelProto, free: tuple[tuple[str, int], ...]) -> onnx.ModelProto:
    """The model with these axes of its inputs named "N", and outputs of no declared shape."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    inputs = {value.name: value for value in copy.graph.input}
    for name, axis in free:
        inputs[name].type.tensor_type.shape.dim[axis].dim_param = "N"
    for value in copy.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    del copy.graph.value_info[:]
    return copy
