"""What is in a model repository: a folder of models, one model's folder, or a single .onnx file.

::

    models/                         the repository
      digits/                       a model: its name
        model.toml                  optional
        1/model.onnx                a version: a whole number; the highest is served by default
        2/model.onnx
      sentiment.onnx                a bare file is version 1 of the model "sentiment"
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inference_service.core.errors import InvalidModel
from inference_service.core.versions import VERSION_FOLDER
from inference_service.repository.manifest import Manifest, read_manifest

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "model.toml"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model of the repository; ``problem`` says why it can't be served at all."""

    name: str
    versions: Mapping[int, Path] = field(default_factory=dict)
    manifest: Manifest = field(default_factory=Manifest)
    problem: str = ""


def scan(path: Path) -> Sequence[ModelEntry]:
    """The models at ``path``. Raises InvalidModel where there is none."""
    if path.is_file():
        if path.suffix != ".onnx":
            raise InvalidModel(f"{path} is no .onnx file; serve takes one or a model repository")
        return [_bare(path)]
    if not path.is_dir():
        raise InvalidModel(
            f"{path} does not exist; serve takes a model repository or an .onnx file"
        )
    if _versions(path) or (path / MODEL_FILE).is_file():
        return [_folder(path.resolve())]
    entries = [_entry(child) for child in sorted(path.iterdir()) if _may_be_model(child)]
    if not entries:
        raise InvalidModel(
            f"no models in {path}: expected {path}/<name>/<version>/{MODEL_FILE} "
            f"or {path}/<name>.onnx"
        )
    return entries


def _may_be_model(child: Path) -> bool:
    if child.name.startswith((".", "_")):
        return False
    return child.is_dir() or child.suffix == ".onnx"


def _entry(child: Path) -> ModelEntry:
    return _folder(child) if child.is_dir() else _bare(child)


def _bare(path: Path) -> ModelEntry:
    return ModelEntry(path.stem, {1: path})


def _folder(folder: Path) -> ModelEntry:
    versions = _versions(folder)
    if not versions and (folder / MODEL_FILE).is_file():
        versions = {1: folder / MODEL_FILE}
    if not versions:
        wanted = f"{folder.name}/<version>/{MODEL_FILE}"
        return ModelEntry(folder.name, problem=f"no version in the folder: expected {wanted}")
    try:
        manifest = read_manifest(folder / MANIFEST_FILE)
    except InvalidModel as error:
        return ModelEntry(folder.name, versions, problem=str(error))
    return ModelEntry(folder.name, versions, manifest)


def _versions(folder: Path) -> dict[int, Path]:
    """Version numbers and their files; a version folder that holds no model yet is passed over."""
    return {
        int(child.name): child / MODEL_FILE
        for child in folder.iterdir()
        if VERSION_FOLDER.match(child.name) and (child / MODEL_FILE).is_file()
    }
