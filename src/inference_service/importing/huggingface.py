"""Hugging Face folders: config.json, tokenizer.json, preprocessor_config.json as a pipeline."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference_service.core.errors import InvalidModel
from inference_service.repository.files import read_small

_LARGEST = 16 * 2**20
_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json",
          "preprocessor_config.json")  # fmt: skip
_RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


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
    config = _json(path / "config.json")
    model = path / "model.onnx"
    if not model.is_file():
        model = path / "onnx" / "model.onnx"
    if not exported and not model.is_file():
        raise InvalidModel(f"{path.name} has no model.onnx")
    files = {name: path / name for name in _FILES if (path / name).is_file()}
    architecture = str((config.get("architectures") or ["model"])[0])
    pipeline, notes = _pipeline(path, config, architecture)
    labels = _labels(config) if "For" in architecture else []
    return Folder(model, f"{architecture} (Hugging Face).", pipeline, files, labels, notes)


def _json(path: Path) -> dict[str, Any]:
    content = read_small(path, _LARGEST)
    try:
        found = json.loads(content or b"{}")
    except ValueError as error:
        raise InvalidModel(f"{path.name} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise InvalidModel(f"{path.name}: expected an object")
    return found


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
    if architecture.endswith("ForImageClassification"):
        return _images(path), ()
    if not (path / "tokenizer.json").is_file():
        return None, ("there is no tokenizer.json: clients send tensors",)
    if architecture.endswith("Model") or (path / "modules.json").is_file():
        return _embedding(path, config), ()
    return None, (f"there is no pipeline for {architecture}: clients send token ids",)


def _embedding(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    pooling = "mean"
    stated = path / "1_Pooling" / "config.json"
    if stated.is_file() and _json(stated).get("pooling_mode_cls_token"):
        pooling = "cls"
    found: dict[str, Any] = {"kind": "text-embedding", "pooling": pooling}
    limits = [
        _json(path / name).get(field)
        for name, field in (
            ("sentence_bert_config.json", "max_seq_length"),
            ("tokenizer_config.json", "model_max_length"),
        )
        if (path / name).is_file()
    ]
    limits.append(config.get("max_position_embeddings"))
    known = [one for one in limits if isinstance(one, int) and 0 < one <= 1_000_000]
    if known:
        found["max_tokens"] = min(known)
    return found


def _images(path: Path) -> dict[str, Any] | None:
    stated = path / "preprocessor_config.json"
    if not stated.is_file():
        return None
    said = _json(stated)
    found: dict[str, Any] = {"kind": "image-classification", "resize": "stretch"}
    for name, to in (("image_mean", "mean"), ("image_std", "std")):
        numbers = said.get(name)
        if isinstance(numbers, list) and len(numbers) == 3:
            found[to] = [float(one) for one in numbers]
    if said.get("do_center_crop"):
        found["resize"] = "crop"
    size = said.get("crop_size") if said.get("do_center_crop") else said.get("size")
    if isinstance(size, Mapping) and {"height", "width"} <= size.keys():
        found["size"] = [int(size["height"]), int(size["width"])]
    elif isinstance(size, int):
        found["size"] = size
    if said.get("resample") in _RESAMPLE:
        found["interpolation"] = _RESAMPLE[said["resample"]]
    return found
