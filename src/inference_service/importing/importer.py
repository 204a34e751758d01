"""The order of an import: convert, name, free the batch axis, compare, shrink, write.

Nothing is visible in the repository before everything has been checked (`importing.publish`).
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inference_service.core.errors import InferenceServiceError, InvalidModel
from inference_service.core.rows import RowLayout
from inference_service.core.tensors import Array, Tensors
from inference_service.importing import graph_edit, huggingface, manifest, record, samples
from inference_service.importing.batch_axis import Freed, free_batch
from inference_service.importing.comparison import TOLERANCE, Difference, differences, refused
from inference_service.importing.graph_edit import Proto
from inference_service.importing.helper import Helper
from inference_service.importing.publish import Files, Step, check_free, next_version, publish
from inference_service.importing.shrink import Shrunk, shrunk
from inference_service.importing.source import Source, recognised
from inference_service.repository.contents import is_name
from inference_service.runtime.batching import layout_of
from inference_service.runtime.comparison import identical
from inference_service.runtime.session import OpenModel, RuntimeOptions, open_model
from inference_service.safety.verdict import Status

LARGEST_MODEL = 2**31 - 2**20
"""Bytes of a graph with its weights: protobuf holds no more, and the analysis reads one message."""

EXAMPLE = "example.json"
"""The file beside the model with the body of a request."""


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What is to be imported, and how. See the options of the command."""

    source: str
    models: Path
    name: str | None = None
    version: int | None = None
    allow_pickle: bool = False
    inputs: Path | None = None
    example_inputs: str | None = None
    tolerance: float = TOLERANCE
    optimize: bool = False
    quantize: str | None = None
    accuracy_loss: float = 0.02
    allow_slower: bool = False
    python: str | None = None
    seconds: float = 1800.0
    tell: Callable[[str], None] = field(default=lambda _: None)


@dataclass(frozen=True, slots=True)
class Report:
    """What was written, and what was found out on the way."""

    folder: Path
    name: str
    version: int
    differences: tuple[Difference, ...]
    batching: str
    changes: tuple[str, ...]
    notes: tuple[str, ...]
    shrunk: tuple[Shrunk, ...]
    is_new: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the version goes, and a folder for what is made on the way."""

    folder: Path
    name: str
    version: int
    work: Path


@dataclass
class _Found:
    """A converted source: the graph, names, and what its framework knows."""

    model: Proto
    helper: Helper | None
    samples: Path | None = None
    labels: dict[str, list[str]] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    """Of the first output, whatever its name is."""
    versions: dict[str, str] = field(default_factory=dict)
    pipeline: Mapping[str, Any] | None = None
    files: dict[str, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    description: str = ""


def import_model(request: ImportRequest, step: Step = lambda _: None) -> Report:
    """Import a source as a new version. Raises InvalidModel, and OSError for a failed write."""
    source = recognised(request.source)
    name = request.name or source.suggested_name
    if not is_name(name):
        raise InvalidModel(f"'{name}' can't be a model's name, which stands in paths: give --name")
    folder = request.models / name
    version = next_version(folder) if request.version is None else request.version
    check_free(folder, version)
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="inference-service-")))
        request.tell("converting")
        found = _converted(source, request, work, stack)
        place = _Place(folder, name, version, work)
        return _finished(found, source, request, place, step)


def _converted(source: Source, request: ImportRequest, work: Path, stack: ExitStack) -> _Found:
    if not source.framework:
        if source.format == "huggingface":
            folder = huggingface.read(source.path)
            found = _Found(_read(folder.model), None, description=folder.description)
            _say_of_folder(found, folder)
            return found
        return _Found(_read(source.path), None)
    helper = stack.enter_context(Helper(source, work, request.python, request.seconds))
    got = helper.convert(
        {"allow_pickle": request.allow_pickle, "example_inputs": request.example_inputs}
    )
    model = _read(work / got["model"])
    names = _names(model, got["inputs"], got["outputs"])
    graph_edit.rename(model, names)
    found = _Found(
        model,
        helper,
        work / got["samples"] if got["samples"] else None,
        got["labels"],
        versions=got["versions"],
        pipeline=got["pipeline"],
        files={name: Path(path) for name, path in got["files"].items()},
        notes=got["notes"],
        description=got["description"],
    )
    if source.framework == "huggingface":
        _say_of_folder(found, huggingface.read(source.path, exported=True))
    return found


def _say_of_folder(found: _Found, folder: huggingface.Folder) -> None:
    """Note what a folder of Hugging Face says about the graph."""
    folder = huggingface.pooled(folder, [one.name for one in found.model.graph.output])
    found.pipeline, found.files, found.classes = folder.pipeline, folder.files, folder.labels
    found.notes += folder.notes


def _read(path: Path) -> Proto:
    """An ONNX file with its external data in it. Raises InvalidModel."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        size = sum(one.stat().st_size for one in [path, *_external(path)])
        if size > LARGEST_MODEL:
            raise InvalidModel(
                f"{path.name} has {size} bytes with its weights, more than {LARGEST_MODEL}; put it "
                "into the repository as it is"
            )
        model = onnx.load(path)
    except DecodeError:
        raise InvalidModel(f"{path.name} is no ONNX file, or only a part of one") from None
    except (OSError, ValueError) as error:
        raise InvalidModel(f"{path.name} can't be read: {error}") from None
    # onnx's checker has an error class of its own for data files outside the folder.
    except onnx.checker.ValidationError as error:
        raise InvalidModel(f"{path.name} can't be read: {error}") from None
    if not model.HasField("graph"):
        raise InvalidModel(f"{path.name} is no ONNX file: it holds no graph")
    return model


def _external(path: Path) -> list[Path]:
    """The files with weights that exporters write beside a graph."""
    return [
        one for one in path.parent.glob(f"{path.name}*")
        if one != path and one.suffix in {".data", ".weights"}
    ]  # fmt: skip


def _names(model: Proto, inputs: list[str], outputs: list[str]) -> dict[str, str]:
    """The names that the framework wants, by those of the graph."""
    entries = graph_edit.inputs_of(model)
    new = graph_edit.sensible_names(inputs, "input")
    if len(entries) != len(new):  # an input that the graph does not use was dropped
        new = graph_edit.sensible_names([entry.name for entry in entries], "input")
    names = {entry.name: one for entry, one in zip(entries, new, strict=True)}
    results = [entry.name for entry in model.graph.output]
    if len(results) != len(outputs):
        outputs = results
    named = graph_edit.sensible_names(outputs, "output", new)
    return names | dict(zip(results, named, strict=True))


# Checks


@dataclass(frozen=True, slots=True)
class _Checked:
    """The final graph, opened, with the rows on which it was compared."""

    model: OpenModel
    content: bytes
    layout: RowLayout
    row: Tensors
    rows: Tensors
    differences: tuple[Difference, ...]


def _finished(
    found: _Found, source: Source, request: ImportRequest, place: _Place, step: Step
) -> Report:
    folder, name, version = place.folder, place.name, place.version
    if not found.helper:
        found.notes += graph_edit.without_sequences(found.model)
        entries = graph_edit.inputs_of(found.model)
        results = [entry.name for entry in found.model.graph.output]
        keep = [entry.name for entry in entries]
        graph_edit.rename(found.model, _names(found.model, keep, results))
    found.labels |= {
        output: classes for output, classes in graph_edit.without_zipmap(found.model).items()
        if classes and output not in found.labels
    }  # fmt: skip
    results = list(found.model.graph.output)
    if found.classes and results[0].name not in found.labels:
        found.labels[results[0].name] = found.classes
    original = found.model.SerializeToString()
    request.tell("proving which rows may share a run")
    freed = free_batch(found.model)
    request.tell("comparing with the original")
    checked = _checked(found, freed, original, request)
    small = []
    content = checked.content
    if request.optimize or request.quantize:
        request.tell("making it smaller and faster")
        for one in shrunk(checked.model, content, checked.rows, request, place.work):
            small.append(one)
            content = one.content
    facts = {
        "compared_with_the_original": [one.plain() for one in checked.differences],
        "batch": {"verdict": freed.verdict.status.value, "changes": list(freed.changes)},
        "shrunk": [one.plain() for one in small],
    }
    contents: dict[str, bytes | Path] = {
        "model.onnx": content,
        EXAMPLE: _example(checked),
        record.FILE: record.record(source, content, found.versions, facts),
        **found.files,
    }
    is_new = not folder.exists()
    request.tell("writing")
    at = publish(folder, version, Files(_manifest(found, checked, source), contents), step)
    notes = list(found.notes)
    if freed.kept_because:
        notes.append(f"the batch size stays as it was exported: {freed.kept_because}")
    return Report(
        at, name, version, checked.differences, freed.verdict.status.value,
        freed.changes, tuple(notes), tuple(small), is_new,
    )  # fmt: skip


def _checked(found: _Found, freed: Freed, original: bytes, request: ImportRequest) -> _Checked:
    options = RuntimeOptions(1)
    content = freed.model.SerializeToString()
    model = open_model(content, options)
    proven = freed.verdict.status is Status.PROVEN
    layout = layout_of(model, freed.verdict) if proven else RowLayout()
    row = _random(model, layout, 1)
    if freed.changes:
        _same_at_first_size(open_model(original, options), model)
    tests = []
    if request.inputs is not None:
        tests.append(samples.given_rows(request.inputs, model.inputs))
    if found.samples is not None:
        tests.append(samples.framework_rows(found.samples, model.inputs))
    free = proven and freed.verdict.fixed_rows is None
    if row is not None and found.samples is None:
        tests.append(_random(model, layout, samples.ROWS if free else 1) or row)
    if not tests:
        raise InvalidModel("it could not be run on random input: give rows with --inputs FILE")
    row = row if row is not None else layout.take(tests[0], 0, 1)
    if request.inputs is not None or found.samples is not None:
        row = layout.take(tests[0], 0, 1) if free or proven else row
    found_differences: list[Difference] = []
    for rows in tests:
        found_differences += _compared(found.helper, model, layout, rows)
    problem = refused(found_differences, request.tolerance)
    if problem:
        raise InvalidModel(
            f"the converted model's answers are not the original's: {problem}; nothing was "
            f"written (the bound is {request.tolerance:g} of the largest value: --tolerance)"
        )
    return _Checked(model, content, layout, row, tests[0], tuple(found_differences))


def _random(model: OpenModel, layout: RowLayout, rows: int) -> Tensors | None:
    try:
        return samples.random_rows(model, layout, rows)
    except InferenceServiceError:
        return None


def _same_at_first_size(original: OpenModel, changed: OpenModel) -> None:
    """The edited graph computes bit for bit the same at the batch size of the export.

    Raises InvalidModel.
    """
    rows = _random(original, RowLayout(), 1)
    if rows is None:
        return
    wanted, got = original.run(rows), changed.run(rows)
    output = identical(wanted, got)
    if output:
        found = differences(got, {output: wanted[output]})
        if not all(one.within(1e-6) for one in found):
            raise InvalidModel(
                f"freeing the batch axis changed output '{output}': this is a fault of the import"
            )


def _compared(
    helper: Helper | None, model: OpenModel, layout: RowLayout, rows: Tensors
) -> list[Difference]:
    """Against the original framework; without one, a batch against its rows one by one."""
    got = model.run(rows)
    if helper is None:
        count = layout.rows(rows)
        parts = [model.run(layout.take(rows, at, at + 1)) for at in range(count)]
        if count == 1:
            return differences(got, parts[0])
        return differences(got, layout.join(parts, [1] * count))
    wanted = _of_the_original(helper, model, layout, rows)
    return differences(got, dict(zip(got, wanted, strict=True)))


def _of_the_original(
    helper: Helper, model: OpenModel, layout: RowLayout, rows: Tensors
) -> list[Array]:
    """In one run; row by row where the original takes one row only."""
    ordered = [np.asarray(rows[spec.name]) for spec in model.inputs]
    try:
        return helper.run(ordered)
    except InvalidModel:
        count = layout.rows(rows)
        if count == 1:
            raise
    each = [
        helper.run([np.asarray(part[spec.name]) for spec in model.inputs])
        for part in (layout.take(rows, at, at + 1) for at in range(count))
    ]
    axes = [layout.output_axis(spec.name) for spec in model.outputs]
    return [
        np.concatenate(arrays, axis=axis) if axis is not None else arrays[0]
        for arrays, axis in zip(zip(*each, strict=True), axes, strict=True)
    ]


# What is written


def _example(checked: _Checked) -> bytes:
    """The body of POST /v1/models/NAME:predict with one row."""
    plain = {name: array.tolist() for name, array in checked.row.items()}
    body: dict[str, Any] = {"inputs": plain}
    if checked.layout.trivial:
        rows = {name: array[0].tolist() for name, array in checked.row.items()}
        body = {"instances": [next(iter(rows.values())) if len(rows) == 1 else rows]}
    return (json.dumps(body, allow_nan=True) + "\n").encode()


def _manifest(found: _Found, checked: _Checked, source: Source) -> str:
    rows = {name: array[0] for name, array in checked.row.items()}
    example = None
    if found.pipeline is None and checked.layout.trivial:
        example = manifest.example_of(rows)
    return manifest.written(
        description=found.description,
        labels=found.labels,
        pipeline=found.pipeline,
        metadata={"imported_from": source.text if source.format == "factory" else source.path.name},
        example=example,
        inputs=checked.model.inputs,
        outputs=checked.model.outputs,
    )
