"""The text of model.toml: what an import knows, and comments on what else can be said."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inference_service.core.tensors import TensorSpec

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_ROW = 256
_WIDTH = 88


def value(thing: object) -> str:
    """A value as TOML writes it: JSON's texts, numbers and arrays are TOML's as well."""
    if isinstance(thing, Mapping):
        return "{ " + ", ".join(f"{key(name)} = {value(one)}" for name, one in thing.items()) + " }"
    if isinstance(thing, list | tuple):
        return "[" + ", ".join(value(one) for one in thing) + "]"
    if isinstance(thing, float) and not np.isfinite(thing):
        return "nan" if np.isnan(thing) else ("inf" if thing > 0 else "-inf")
    # TOML has no escape for DEL, which JSON writes as it is.
    return json.dumps(thing, ensure_ascii=False).replace("\x7f", "\\u007f")


def key(name: str) -> str:
    """A name as a key."""
    return name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def example_of(inputs: Mapping[str, object]) -> dict[str, Any] | None:
    """One row without its batch axis as plain values; None where it is too long to read."""
    arrays = {name: np.asarray(one) for name, one in inputs.items()}
    if sum(array.size for array in arrays.values()) > _LONGEST_ROW:
        return None
    plain = {}
    for name, array in arrays.items():
        if array.dtype.kind == "f":
            if not np.all(np.isfinite(array.astype(np.float64))):
                return None
            array = array.astype(np.float64).round(4)  # noqa: PLW2901
        plain[name] = array.tolist()
    return plain


def written(
    *,
    description: str,
    labels: Mapping[str, Sequence[str]],
    pipeline: Mapping[str, Any] | None,
    metadata: Mapping[str, str],
    example: Mapping[str, Any] | None,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
) -> str:
    """The whole file."""
    lines = [f"description = {value(description)}"] if description else [
        '# description = "What it does: shown on the home page and in /docs."'
    ]  # fmt: skip
    lines += ["", "# The graph takes and gives (shapes with the batch axis):"]
    lines += [f"#   input   {spec}" for spec in inputs]
    lines += [f"#   output  {spec}" for spec in outputs]
    if labels:
        lines += ["", "[labels]  # names of the classes, in the order of the output's last axis"]
        lines += [f"{key(name)} = {_list(names)}" for name, names in labels.items()]
    if pipeline:
        lines += ["", "[pipeline]"]
        lines += [f"{key(name)} = {value(one)}" for name, one in pipeline.items()]
    if metadata:
        lines += ["", "[metadata]  # free text, shown in /v2/models"]
        lines += [f"{key(name)} = {value(text)}" for name, text in metadata.items()]
    if example:
        lines += ["", "[example]  # one row for the docs page, by input"]
        lines += [f"{key(name)} = {_list(row)}" for name, row in example.items()]
    lines += ["", *_advice(inputs, outputs, labels=bool(labels), example=bool(example))]
    return "\n".join(lines) + "\n"


def _list(items: object) -> str:
    """A list over several lines where it is long."""
    line = value(items)
    if not isinstance(items, list | tuple) or len(line) <= _WIDTH:
        return line
    lines, row = [], ""
    for one in items:
        part = value(one)
        if row and len(row) + len(part) > _WIDTH:
            lines.append(row)
            row = ""
        row += f"{part}, "
    return "[\n    " + "\n    ".join(one.rstrip() for one in [*lines, row]) + "\n]"


def _advice(
    inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], *, labels: bool, example: bool
) -> list[str]:
    """Sections that an owner may want, as comments that can be uncommented as they stand."""
    lines = ["# Everything below is optional: docs/models.md has all of it."]
    scores = next((spec for spec in outputs if len(spec.shape) == 2), None)
    if not labels and scores is not None:
        classes = scores.shape[-1] or 2
        names = [f"class {index}" for index in range(min(classes, 3))]
        more = ", …" if classes > 3 else ""
        lines += [
            "",
            f"# [labels]  # one name for each of the {classes} classes of {scores.name}",
            f"# {key(scores.name)} = {value(names)[:-1]}{more}]",
        ]
    if scores is not None:
        lines += [
            "",
            f"# [postprocess.{key(scores.name)}]  # the highest scores with their labels, not all",
            "# top_k = 5",
        ]
    free = [
        spec for spec in inputs
        if any(length is None for length in spec.shape[1:])
    ]  # fmt: skip
    if free:
        shapes = {spec.name: [length or 16 for length in spec.shape[1:]] for spec in free}
        lines += [
            "",
            "# [warmup]  # row shapes to warm up with, the batch axis left out",
            f"# shapes = {value(shapes)}",
        ]
    lines += [
        "",
        "# [batching]",
        "# max_batch_size = 64      # unset: from measured costs",
        "# default_deadline = 5.0   # seconds, for requests that bring none",
    ]
    if not example:
        lines += ["", "# [example]  # one row for the docs page: fill it in"]
        lines += [
            f"# {key(spec.name)} = {'…' if spec.shape[1:] else '0'}  # {spec}" for spec in inputs
        ]
    return lines
