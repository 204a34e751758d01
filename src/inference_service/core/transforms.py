"""What a model's owner wants done to tensors around the run: pure functions, per request.

Preprocessing happens before batching, so that requests stay independent; postprocessing after it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from inference_service.core.errors import InvalidModel, quoted
from inference_service.core.tensors import (
    Array,
    DType,
    Signature,
    Tensors,
    TensorSpec,
    render_shape,
)


@dataclass(frozen=True, slots=True)
class Affine:
    """``value * scale + offset``, with one number for all or one for each index of ``axis``."""

    scale: tuple[float, ...] = (1.0,)
    offset: tuple[float, ...] = (0.0,)
    axis: int = -1

    def check(self, spec: TensorSpec) -> None:
        """Raises InvalidModel where it can't be applied to this input."""
        if not spec.dtype.is_float:
            raise InvalidModel(f"preprocess.{spec.name}: scale and offset need a float input")
        rank = len(spec.shape)
        for name, values in (("scale", self.scale), ("offset", self.offset)):
            if len(values) == 1:
                continue
            if not -rank <= self.axis < rank or spec.shape[self.axis] not in {None, len(values)}:
                raise InvalidModel(
                    f"preprocess.{spec.name}.{name}: {len(values)} values don't fit axis "
                    f"{self.axis} of shape {render_shape(spec.shape)}"
                )

    def apply(self, array: Array) -> Array:
        """The array in its own dtype."""
        scale, offset = self._along(self.scale, array), self._along(self.offset, array)
        product: Array = np.multiply(array, scale)
        return np.asarray(np.add(product, offset), array.dtype)

    def _along(self, values: tuple[float, ...], array: Array) -> Array:
        shape = [1] * array.ndim
        if len(values) > 1:
            shape[self.axis] = len(values)
        return np.array(values, array.dtype).reshape(shape if array.ndim else ())


@dataclass(frozen=True, slots=True)
class TopK:
    """The ``k`` highest scores of each row in falling order, and beside them which they are."""

    k: int
    labels: tuple[str, ...] = ()

    def check(self, spec: TensorSpec) -> None:
        """Raises InvalidModel where it can't be applied to this output."""
        if len(spec.shape) != 2 or not (spec.dtype.is_float or spec.dtype.is_integer):
            raise InvalidModel(f"postprocess.{spec.name}: top_k needs scores [rows, classes]")
        classes = spec.shape[1]
        if self.labels and classes not in {None, len(self.labels)}:
            raise InvalidModel(
                f"labels.{spec.name}: {len(self.labels)} labels for {classes} classes"
            )

    def specs(self, spec: TensorSpec) -> tuple[TensorSpec, TensorSpec]:
        """What takes the output's place: the scores and ``<output>_labels`` or ``_indices``."""
        classes = spec.shape[1]
        shape = (spec.shape[0], self.k if classes is None else min(self.k, classes))
        scores = replace(spec, shape=shape, symbols=())
        name, dtype = self._companion(spec.name)
        return scores, TensorSpec(name, dtype, shape)

    def apply(self, name: str, scores: Array) -> Tensors:
        """Ties are given in the order of the classes."""
        order = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, : self.k]
        which: Array = order
        if self.labels:
            which = np.array(self.labels, object)[order]
        return {
            name: np.take_along_axis(scores, order, axis=1),
            self._companion(name)[0]: which,
        }

    def _companion(self, name: str) -> tuple[str, DType]:
        return (f"{name}_labels", DType.BYTES) if self.labels else (f"{name}_indices", DType.INT64)


@dataclass(frozen=True, slots=True)
class Transforms:
    """[preprocess], [postprocess] and [names]: steps by input or output, names that clients use.

    ``names`` are clients' by the graph's; the steps, as everything else, go by the graph's.
    """

    before: Mapping[str, Affine] = field(default_factory=dict)
    after: Mapping[str, TopK] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    def check(self, signature: Signature) -> None:
        """Raises InvalidModel where a step has no tensor, or one that it can't be applied to."""
        inputs = {spec.name: spec for spec in signature.inputs}
        outputs = {spec.name: spec for spec in signature.outputs}
        for section, steps, specs in (
            ("preprocess", self.before, inputs),
            ("postprocess", self.after, outputs),
        ):
            for name, step in steps.items():
                if name not in specs:
                    known = quoted(specs)
                    raise InvalidModel(f"{section}.{name}: no such tensor; this model has {known}")
                step.check(specs[name])
        self._check_names(signature)

    def _check_names(self, signature: Signature) -> None:
        """Raises InvalidModel where a name has no tensor, or two tensors would have one name."""
        outputs = self._stepped(signature)
        for kind, specs in (("inputs", signature.accepted), ("outputs", outputs)):
            told = [self.name(spec.name) for spec in specs]
            twice = [name for name in told if told.count(name) > 1]
            if twice:
                raise InvalidModel(f"names: two {kind} are called '{twice[0]}'")
        known = [spec.name for spec in (*signature.accepted, *outputs)]
        for name, new in self.names.items():
            if name not in known:
                raise InvalidModel(f"names.{name}: no such tensor; this model has {quoted(known)}")
            if new in known and new != name:
                raise InvalidModel(f"names.{name}: '{new}' is the name of another tensor")

    @property
    def changes_inputs(self) -> bool:
        """Whether `preprocess` does anything."""
        return bool(self.before or self.names)

    @property
    def changes_outputs(self) -> bool:
        """Whether `postprocess` does anything."""
        return bool(self.after or self.names)

    def name(self, own: str) -> str:
        """What clients call a tensor of the graph."""
        return self.names.get(own, own)

    def served(self, signature: Signature) -> Signature:
        """The signature as clients see it: the same one where nothing is changed."""
        if not self.changes_outputs:
            return signature
        rows, name = signature.rows, self.name
        return replace(
            signature,
            inputs=tuple(replace(spec, name=name(spec.name)) for spec in signature.inputs),
            optional=tuple(replace(spec, name=name(spec.name)) for spec in signature.optional),
            outputs=tuple(replace(spec, name=name(spec.name)) for spec in self._stepped(signature)),
            rows=replace(
                rows,
                inputs={name(own): axis for own, axis in rows.inputs.items()},
                outputs={name(own): where for own, where in rows.outputs.items()},
            ),
        )

    def _stepped(self, signature: Signature) -> Sequence[TensorSpec]:
        """The outputs after the steps, by the graph's names."""
        outputs: list[TensorSpec] = []
        for spec in signature.outputs:
            step = self.after.get(spec.name)
            outputs += [spec] if step is None else step.specs(spec)
        return outputs

    def sources(self, signature: Signature) -> dict[str, str]:
        """The model's own output behind each output that clients see."""
        found: dict[str, str] = {}
        for spec in signature.outputs:
            step = self.after.get(spec.name)
            specs = (spec,) if step is None else step.specs(spec)
            found |= {self.name(served.name): spec.name for served in specs}
        return found

    def preprocess(self, inputs: Tensors) -> Tensors:
        """The tensors for the model, which may be called by either name."""
        if self.names:
            own = {new: name for name, new in self.names.items()}
            inputs = {own.get(name, name): array for name, array in inputs.items()}
        if not self.before:
            return inputs
        changed = {name: step.apply(inputs[name]) for name, step in self.before.items()}
        return {**inputs, **changed}

    def postprocess(self, outputs: Tensors) -> Tensors:
        """The tensors for the client."""
        if not self.changes_outputs:
            return outputs
        answer: dict[str, Array] = {}
        for name, array in outputs.items():
            step = self.after.get(name)
            found = {name: array} if step is None else step.apply(name, array)
            answer |= {self.name(own): value for own, value in found.items()}
        return answer
