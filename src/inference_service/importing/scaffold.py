"""A model's folder with a commented model.toml, made from the graph where there is one."""

import os
from pathlib import Path

from inference_service.core.errors import InvalidModel
from inference_service.core.rows import RowLayout
from inference_service.importing import manifest
from inference_service.importing.publish import MANIFEST, MODEL, Files, publish
from inference_service.repository.contents import is_name, scan
from inference_service.runtime.probe import sample
from inference_service.runtime.session import OpenModel, RuntimeOptions, open_model

_EMPTY = """\
# {name}: put its graph at {name}/1/model.onnx (or import a trained model:
# inference-service import SOURCE --name {name}), then run `inference-service new {name}` again
# without this file, for a model.toml with the graph's own inputs and outputs.

# description = "What it does: shown on the home page and in /docs."
"""


def scaffold(models: Path, name: str, graph: Path | None = None) -> list[Path]:
    """Make ``models/name``; the files that were written. Raises InvalidModel and OSError."""
    if not is_name(name):
        raise InvalidModel(f"'{name}' can't be a model's name, which stands in paths")
    folder = models / name
    if graph is not None:
        if folder.exists():
            raise InvalidModel(
                f"{folder} is there already: `inference-service import {graph} --name {name}` adds "
                "a version"
            )
        text = _from_graph(name, open_model(graph, RuntimeOptions(1)))
        version = publish(folder, 1, Files(text, {MODEL: graph}))
        return [folder / MANIFEST, version / MODEL]
    target = folder / MANIFEST
    if target.exists():
        raise InvalidModel(f"{target} is there already, and is not overwritten")
    text = _EMPTY.format(name=name)
    if folder.is_dir():
        found = scan(folder)[0]
        if found.versions:
            path = found.versions[max(found.versions)]
            text = _from_graph(name, open_model(path, RuntimeOptions(1)))
    (folder / "1").mkdir(parents=True, exist_ok=True)
    _write(target, text)
    return [target]


def _from_graph(name: str, model: OpenModel) -> str:
    example = None
    found = sample(model, RowLayout(), {})
    if found.inputs is not None and all(len(array.shape) for array in found.inputs.values()):
        example = manifest.example_of({key: one[0] for key, one in found.inputs.items()})
    return manifest.written(
        description="",
        labels=model.labels,
        pipeline=None,
        metadata={},
        example=example,
        inputs=model.inputs,
        outputs=model.outputs,
    )


def _write(path: Path, text: str) -> None:
    """At once, and only where there is no such file."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    try:
        os.link(part, path)
    except FileExistsError:
        raise InvalidModel(f"{path} is there already, and is not overwritten") from None
    finally:
        part.unlink()
