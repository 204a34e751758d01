"""Hugging Face folders as the source of an import: what goes into model.toml, and beside it."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inference_service.core.errors import InvalidModel
from inference_service.repository.files import read_small
from inference_service.repository.hugging_face import (
    CONFIG,
    architecture_of,
    labels_of,
    pipeline_of,
    within,
)
from inference_service.repository.hugging_face_says import NotSaid

_LARGEST = 16 * 2**20
_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", CONFIG,
          "preprocessor_config.json", "vocab.json")  # fmt: skip
_NESTED = {"dense", "prompts"}


@dataclass(frozen=True, slots=True)
class Folder:
    """What a folder says. ``files`` go beside the model; ``pipeline`` is for model.toml.

    ``labels`` are the names of the classes of the first output, which have a section of their own
    in model.toml, for tensors and the pipeline; none where it has no classes.
    """

    model: Path
    description: str
    pipeline: Mapping[str, Any] | None
    files: dict[str, Path]
    labels: list[str]
    notes: tuple[str, ...] = ()


def read(path: Path, *, exported: bool = False) -> Folder:
    """Raises InvalidModel. ``exported``: the graph comes from the weights, not from the folder."""
    config = _json(path, CONFIG)
    if not isinstance(config, dict | None):
        raise InvalidModel(f"{CONFIG}: expected an object")
    model = path / "model.onnx"
    if not model.is_file():
        model = path / "onnx" / "model.onnx"
    if not exported and not model.is_file():
        raise InvalidModel(f"{path.name} has no model.onnx")
    files = {name: path / name for name in _FILES if (path / name).is_file()}
    architecture = architecture_of(config or {}) or "model"
    pipeline, notes = _pipeline(path, architecture)
    labels = labels_of(config or {}) if "For" in architecture else []
    labels = (pipeline or {}).pop("labels", labels)
    return Folder(model, f"{architecture} (Hugging Face).", pipeline, files, labels, notes)


def pooled(folder: Folder, outputs: Collection[str]) -> Folder:
    """With a way to make a vector of a text's where neither folder nor graph (its ``outputs``) say
    one: the mean of its tokens', as of most encoders."""
    said = folder.pipeline or {}
    if said.get("pooling") != "none" or said["output"] in outputs:
        return folder
    kept = {name: value for name, value in said.items() if name != "output"}
    note = "the folder does not say how vectors are pooled: model.toml has the mean of the tokens'"
    return replace(folder, pipeline={**kept, "pooling": "mean"}, notes=(*folder.notes, note))


def _pipeline(path: Path, architecture: str) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """As the folder would be served where it lies, and why it would not."""
    try:
        found = pipeline_of(lambda name: _json(path, name), lambda name: (path / name).is_file())
    except NotSaid as why:
        return None, (f"clients send tensors: {why}",)
    if found is None:
        note = f"the folder says too little for a pipeline of {architecture}: clients send tensors"
        return None, (note,)
    if found.keys() & _NESTED:
        note = ("clients send tensors: Dense layers and prompts are known only where the folder is "
                "served as it is")  # fmt: skip
        return None, (note,)
    return found, ()


def _json(path: Path, name: str) -> Any:
    """What a file of the folder holds; None where there is none."""
    content = read_small(path / name, _LARGEST) if within(name) else None
    if content is None:
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidModel(f"{name} is no JSON: {error}") from None
