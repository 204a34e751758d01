"""Scores of classes to labels: what classifiers of images and of texts share. Pure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from inference_service.core.errors import InvalidModel, quoted
from inference_service.core.tensors import Array, Signature, TensorSpec
from inference_service.pipelines.registry import Amount, Options, Place

Kind = Literal["logits", "probabilities", "independent", "raw"]
Share = Annotated[float, Field(ge=0, le=1)]

UNSURE = "unsure"
"""The label before all others where the likeliest class is not likely enough."""


class Label(BaseModel):
    """A class and how likely it is."""

    label: str
    score: float = Field(description="0 to 1; any number where the model's are told raw")
    index: int = Field(description="of the class in the model's output; -1: of none (unsure)")


class Classification(BaseModel):
    """The classes of one payload, the likeliest first."""

    labels: Sequence[Label]


class ClassifyParameters(BaseModel):
    """What a request may say besides its payloads."""

    model_config = ConfigDict(extra="forbid")

    top_k: PositiveInt | None = Field(None, description="at most this many labels")
    threshold: Share | None = Field(None, description="only labels of this score and more")


class ScoreOptions(Options):
    """``[pipeline]`` of a classifier.

    ``scores`` says what the output holds: logits (softmax makes them probabilities), probabilities,
    independent logits, where several classes may be true at once (sigmoid), or raw numbers, which
    are no probabilities and are told as they are (regression). ``labels`` is a file
    beside the model, a line for each class, or a list; without it [labels] of model.toml counts.
    Where no class is as likely as ``unsure_below``, the answer begins with the label `UNSURE`: its
    score is the probability that the likeliest class is wrong.
    """

    input: str | None = None
    output: str | None = None
    scores: Kind = "logits"
    labels: str | Annotated[list[str], Field(max_length=100_000)] | None = None
    top_k: Amount = 5
    threshold: Share = 0.0
    unsure_below: Share = 0.0


def tensor(specs: Sequence[TensorSpec], name: str | None, what: str) -> TensorSpec:
    """The input or output of that name, or the only one. Raises InvalidModel."""
    if name is None and len(specs) == 1:
        return specs[0]
    for spec in specs:
        if spec.name == name:
            return spec
    known = quoted(spec.name for spec in specs)
    if name is None:
        raise InvalidModel(f"pipeline.{what}: say which {what}: pipeline.{what} = one of {known}")
    raise InvalidModel(f"pipeline.{what}: expected one of {known}, got {name!r}")


class Scorer:
    """Turns a row of the output into labels. Raises InvalidModel where they don't fit."""

    def __init__(self, options: ScoreOptions, place: Place, signature: Signature) -> None:
        spec = tensor(signature.outputs, options.output, "output")
        self.output = spec.name
        self._options = options
        if len(spec.shape) != 2 or not spec.dtype.is_float:
            raise InvalidModel(f"pipeline.output: expected floats [batch, classes], got {spec}")
        classes = spec.shape[1]
        self._labels = labels_beside(options, place, spec.name, classes)

    @property
    def labels(self) -> Mapping[str, Sequence[str]]:
        """See `LabellingTask`."""
        return {self.output: self._labels}

    def __call__(self, row: Array, parameters: ClassifyParameters) -> Classification:
        """The likeliest classes of [classes]."""
        scores = probabilities(row, self._options.scores)
        most = parameters.top_k or self._options.top_k
        least = self._options.threshold if parameters.threshold is None else parameters.threshold
        order = np.argsort(np.negative(scores), kind="stable")[:most]
        labels = self._labels
        best = float(scores.max(initial=0.0))
        unsure = [Label(label=UNSURE, score=1 - best, index=-1)]
        unsure = [one for one in unsure if best < self._options.unsure_below and one.score >= least]
        found = unsure + [
            Label(
                label=labels[index] if labels else str(index),
                score=float(scores[index]),
                index=index,
            )
            for index in order.tolist()
            if not least or scores[index] >= least
        ]
        return Classification(labels=found[:most])


def probabilities(scores: Array, kind: Kind) -> Array:
    """Along the last axis, in float64."""
    wide = scores.astype(np.float64)
    if kind in {"probabilities", "raw"}:
        return wide
    if kind == "independent":
        return np.asarray(1 / (1 + np.exp(-wide.clip(-500, 500))))
    powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def labels_beside(
    options: ScoreOptions, place: Place, output: str, classes: int | None
) -> Sequence[str]:
    """The names of the classes, if there are any. Raises InvalidModel where they don't fit."""
    labels = _lines(options.labels, place, "labels")
    if options.labels is None:
        labels = place.labels.get(output, ())
    if labels and classes not in {None, len(labels)}:
        raise InvalidModel(f"pipeline.labels: {len(labels)} labels for {classes} classes")
    return labels


def names_beside(
    names: str | list[str] | None, place: Place, labels: Sequence[str]
) -> Mapping[str, str]:
    """For people, by label. Raises InvalidModel where there is not one for each."""
    lines = _lines(names, place, "names")
    if lines and len(lines) != len(labels):
        raise InvalidModel(f"pipeline.names: {len(lines)} names for {len(labels)} labels")
    return dict(zip(labels, lines, strict=True)) if lines else {}


def _lines(given: str | list[str] | None, place: Place, what: str) -> Sequence[str]:
    if given is None or isinstance(given, list):
        return given or ()
    path: Path = place.file(given)
    try:
        return path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidModel(f"pipeline.{what}: {path.name} can't be read: {error}") from error
