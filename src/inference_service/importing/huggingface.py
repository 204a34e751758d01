"""Hugging Face folders: config.json, tokenizer.json, preprocessor_config.json as a pipeline."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference_service.core.errors import InvalidModel
from inference_service.repository.files import read_small
from inference_service.repository.hugging_face import pipeline_of, within
from inference_service.repository.hugging_face_says import NotSaid

_LARGEST = 16 * 2**20
_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json",
          "preprocessor_config.json")  # fmt: skip
_NESTED = {"dense", "prompts"}


@dataclass(frozen=True, slots=True)
class Folder:
    """What a folder says. ``files`` go beside the model; ``pipeline`` is for model.toml.

    ``labels`` are the names of the classes of the first output; none where it has no classes.
    """

    model: Path
    description: str
    pipeline: Mapping[str, Any] | None
    files: dict[str, Path]
    labels: list[str] = field(default_factory=list)
    notes: tuple[str, ...] = field(default=())


def read(path: Path, *, exported: bool = False) -> Folder:
    """Raises InvalidModel. ``exported``: the graph comes from the weights, not from the folder."""
    config = _config(path / "config.json")
    model = path / "model.onnx"
    if not model.is_file():
        model = path / "onnx" / "model.onnx"
    if not exported and not model.is_file():
        raise InvalidModel(f"{path.name} has no model.onnx")
    files = {name: path / name for name in _FILES if (path / name).is_file()}
    architecture = str((config.get("architectures") or ["model"])[0])
    pipeline, notes = _pipeline(path, config, architecture)
    labels = _labels(config) if "For" in architecture else []
    if pipeline is not None:
        labels = pipeline.pop("labels", labels)  # they have a section of their own
    return Folder(model, f"{architecture} (Hugging Face).", pipeline, files, labels, notes)


def _config(path: Path) -> dict[str, Any]:
    found = _json(path)
    if not isinstance(found, dict):
        raise InvalidModel(f"{path.name}: expected an object")
    return found


def _json(path: Path) -> Any:
    content = read_small(path, _LARGEST)
    try:
        return json.loads(content or b"{}")
    except (ValueError, RecursionError) as error:
        raise InvalidModel(f"{path.name} is no JSON: {error}") from None


def _labels(config: Mapping[str, Any]) -> list[str]:
    """The names of classes in the order of their numbers."""
    names = config.get("id2label") or {}
    try:
        return [str(names[index]) for index in sorted(names, key=int)]
    except ValueError:
        return []


def _pipeline(
    path: Path, config: Mapping[str, Any], architecture: str
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """As the folder would be served where it lies."""
    try:
        found = pipeline_of(
            lambda name: _json(path / name) if within(name) and (path / name).is_file() else None,
            lambda name: (path / name).is_file(),
        )
    except NotSaid as why:
        return None, (f"clients send tensors: {why}",)
    if found is None:
        return None, (f"there is no pipeline for {architecture}: clients send tensors",)
    if found.keys() & _NESTED:
        return None, (
            "clients send tensors: Dense layers and prompts are known only where the folder is "
            "served as it is",
        )
    if found.get("pooling") == "none":  # exported from the weights: no graph has it then
        found["pooling"] = "mean"
        del found["output"]
    return found, ()
