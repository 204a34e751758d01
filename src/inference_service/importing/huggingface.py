"""Hugging Face folders as the source of an import: what goes into model.toml, and beside it."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inference_service.core.errors import InvalidModel
from inference_service.repository.files import read_small
from inference_service.repository.hugging_face import CONFIG, labels_of, pipeline_of

_LARGEST = 16 * 2**20
_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", CONFIG,
          "preprocessor_config.json")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Folder:
    """What a folder says. ``files`` go beside the model; ``pipeline`` is for model.toml.

    ``labels`` are the names of the classes of the first output; none where it has no classes, or
    where the pipeline has them.
    """

    model: Path
    description: str
    pipeline: Mapping[str, Any] | None
    files: dict[str, Path]
    labels: list[str]
    notes: tuple[str, ...] = ()


def read(path: Path, *, exported: bool = False) -> Folder:
    """Raises InvalidModel. ``exported``: the graph comes from the weights, not from the folder."""
    config = _json(path / CONFIG) or {}
    model = path / "model.onnx"
    if not model.is_file():
        model = path / "onnx" / "model.onnx"
    if not exported and not model.is_file():
        raise InvalidModel(f"{path.name} has no model.onnx")
    files = {name: path / name for name in _FILES if (path / name).is_file()}
    architecture = str((config.get("architectures") or ["model"])[0])
    pipeline = pipeline_of(lambda name: _json(path / name), lambda name: (path / name).is_file())
    has_classes = "For" in architecture and "labels" not in (pipeline or {})
    return Folder(
        model, f"{architecture} (Hugging Face).", pipeline, files,
        labels_of(config) if has_classes else [], () if pipeline else (_why_none(architecture),),
    )  # fmt: skip


def pooled(folder: Folder, outputs: Collection[str]) -> Folder:
    """With a way to make a vector of a text's where neither folder nor graph (its ``outputs``) say
    one: the mean of its tokens', as of most encoders."""
    said = folder.pipeline or {}
    if said.get("pooling") != "none" or said["output"] in outputs:
        return folder
    kept = {name: value for name, value in said.items() if name != "output"}
    note = "the folder does not say how vectors are pooled: model.toml has the mean of the tokens'"
    return replace(folder, pipeline={**kept, "pooling": "mean"}, notes=(*folder.notes, note))


def _why_none(architecture: str) -> str:
    return f"the folder says too little for a pipeline of {architecture}: clients send tensors"


def _json(path: Path) -> dict[str, Any] | None:
    content = read_small(path, _LARGEST)
    if content is None:
        return None
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidModel(f"{path.name} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise InvalidModel(f"{path.name}: expected an object")
    return found
