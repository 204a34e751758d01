"""Which framework made a file or folder: told from names and first bytes; nothing is loaded."""

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

from inference_service.core.errors import InvalidModel
from inference_service.core.file_kinds import boosted_trees

_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_PEEK = 4096

KNOWN = (
    ".onnx, .keras, .h5 or a SavedModel folder (Keras, TensorFlow), TorchScript .pt, torch.export "
    ".pt2 or module:factory (PyTorch), .skops or, with --allow-pickle, .pkl and .joblib "
    "(scikit-learn), .txt (LightGBM), .json or .ubj (XGBoost), a folder with config.json "
    "(Hugging Face)"
)
"""The sources that can be imported, for messages."""


@dataclass(frozen=True, slots=True)
class Source:
    """What is imported. ``framework`` is the extra's name without ``import-``; "" is plain ONNX.

    ``format`` is the kind of file within the framework. ``text`` is as the user gave it.
    """

    text: str
    framework: str
    format: str

    @property
    def path(self) -> Path:
        """The file or folder; for ``module:factory`` there is none."""
        return Path(self.text)

    @property
    def suggested_name(self) -> str:
        """A model's name made of the source's."""
        stem = self.text.rsplit(":", 1)[0] if self.format == "factory" else _stem(self.path)
        name = re.sub(r"[^A-Za-z0-9_.\-]+", "-", stem).strip("-._")
        return name or "model"


def _stem(path: Path) -> str:
    path = path.resolve()
    stem = path.name if path.is_dir() else path.stem
    if stem in {"model", "pytorch_model", "saved_model"} or stem.isdigit():
        return _stem(path.parent) if path.parent.name else stem
    return stem


def recognised(text: str) -> Source:
    """The framework and the format of a source. Raises InvalidModel for what is none."""
    path = Path(text)
    if not path.exists():
        if _FACTORY.fullmatch(text):
            return Source(text, "torch", "factory")
        raise InvalidModel(f"there is no {text}; import takes {KNOWN}")
    try:
        found = _folder(path) if path.is_dir() else _file(path)
    except OSError as error:
        raise InvalidModel(f"{path.name} can't be read: {error.strerror}") from None
    if found is None:
        raise InvalidModel(f"{path.name} is not a model that can be imported: {KNOWN}")
    return Source(text, *found)


def _folder(path: Path) -> tuple[str, str] | None:
    if (path / "saved_model.pb").is_file() or (path / "saved_model.pbtxt").is_file():
        return "keras", "saved-model"
    if (path / "config.json").is_file():
        onnx = (path / "model.onnx").is_file() or (path / "onnx" / "model.onnx").is_file()
        return ("", "huggingface") if onnx else ("huggingface", "safetensors")
    return None


_SUFFIXES = {
    ".onnx": ("", "onnx"),
    ".keras": ("keras", "keras"),
    ".h5": ("keras", "h5"),
    ".hdf5": ("keras", "h5"),
    ".skops": ("sklearn", "skops"),
    ".pkl": ("sklearn", "pickle"),
    ".pickle": ("sklearn", "pickle"),
    ".joblib": ("sklearn", "pickle"),
    ".pt2": ("torch", "exported"),
    ".pt": ("torch", "torchscript"),
    ".pth": ("torch", "torchscript"),
    ".torchscript": ("torch", "torchscript"),
    ".ubj": ("boosting", "xgboost"),
}


def _file(path: Path) -> tuple[str, str] | None:
    """By its name, or where that tells nothing, by its first bytes."""
    known = _SUFFIXES.get(path.suffix.lower())
    if known is not None:
        return known
    with path.open("rb") as file:
        head = file.read(_PEEK)
    trees = boosted_trees(head)
    for begins, found in (
        (head.startswith(_HDF5), ("keras", "h5")),
        (trees != "", ("boosting", trees)),
        (_contains(path, head, "config.json", "model.weights.h5"), ("keras", "keras")),
        (_contains(path, head, "schema.json"), ("sklearn", "skops")),
    ):
        if begins:
            return found
    return None


def _contains(path: Path, head: bytes, *names: str) -> bool:
    """Whether it is a zip archive that holds these files."""
    if not head.startswith(b"PK\x03\x04"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return set(names) <= set(archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False
