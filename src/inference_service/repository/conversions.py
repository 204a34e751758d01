"""What to say of files and folders that hold a model, but none in ONNX: how it becomes one.

Names tell, and where they don't the first bytes; nothing is loaded.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from inference_service.core.file_kinds import HEAD, boosted_trees

_MOST_FILES = 1_000
_IMPORT = "inference-service import"
_IMPORTED = (".pt", ".pth", ".pt2", ".torchscript", ".h5", ".hdf5", ".keras", ".skops", ".ubj")
_PICKLES = (".pkl", ".pickle", ".joblib")
_HUB_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_SHARDED = tuple(f"{name}.index.json" for name in _HUB_WEIGHTS)
_TRANSLATED = {
    ".tflite": "python -m tf2onnx.convert --tflite FILE --output model.onnx",
    ".safetensors": "optimum-cli export onnx --model FOLDER OUT` (optimum) or `torch.onnx.export",
    ".pb": "python -m tf2onnx.convert --graphdef FILE --inputs x:0 --outputs y:0 --output "
    "model.onnx",
    ".cbm": 'model.save_model("model.onnx", format="onnx")` (CatBoost)',
    ".nemo": 'model.export("model.onnx")` (NeMo)',
    ".pdmodel": "paddle2onnx --model_dir FOLDER --model_filename FILE --params_filename PARAMS "
    "--save_file model.onnx",
}
"""By commands of others. Those that don't end with their tool's name get the closing quote."""
_LANGUAGE = (
    "is a language model for llama.cpp, which writes its answer token by token; this service does "
    "not: take llama.cpp or Ollama"
)
_COMPILED = "is compiled for one GPU: serve the ONNX file that it was made from"
_PACKED = "is packed: unpack it, and serve the .onnx file that is in it"
_OF_TORCH = "is a checkpoint of PyTorch or TensorFlow: load it, and export it with"
_TOLD = {
    ".gguf": _LANGUAGE, ".ggml": _LANGUAGE, ".llamafile": _LANGUAGE,
    ".engine": _COMPILED, ".plan": _COMPILED, ".trt": _COMPILED,
    ".ort": "is in ONNX Runtime's own format: serve the .onnx file that it was made from",
    ".mlmodel": "is a model of Core ML, which does not become ONNX: export the model that it was "
    "made from",
    ".bst": "is a model of XGBoost: save it as .ubj, and take `inference-service import`",
    ".ckpt": f"{_OF_TORCH} `torch.onnx.export` or `tf2onnx`",
    ".mar": "is an archive of TorchServe: export the model that is in it with `torch.onnx.export`",
    ".msgpack": "holds weights of Flax: export the model with `jax2onnx`, or its PyTorch weights "
    "with optimum",
    ".zip": _PACKED, ".gz": _PACKED, ".tgz": _PACKED, ".tar": _PACKED, ".xz": _PACKED,
    ".bz2": _PACKED, ".zst": _PACKED, ".7z": _PACKED,
}  # fmt: skip
_TOLD[".mlpackage"] = _TOLD[".mlmodel"]


def of_file(file: Path) -> str:
    """``m.pkl becomes one with `…```; "" for what is no model that is known. Raises OSError."""
    name = file.name
    kind = file.suffix.lower()
    if kind in _PICKLES:
        command = f"{_IMPORT} --allow-pickle {shlex.quote(name)}"
        return f"{name} becomes one with `{command}` (reading a pickle runs its code)"
    if kind in _IMPORTED or _is_boosting(file):
        return f"{name} becomes one with `{_IMPORT} {shlex.quote(name)}`"
    if how := _TRANSLATED.get(kind):
        return f"{name} becomes one with `{how}" + ("" if how.endswith(")") else "`")
    return f"{name} {_TOLD[kind]}" if kind in _TOLD else ""


def of_folder(folder: Path) -> str:
    """What the folder, or a folder of a version in it, holds instead; "" for nothing known.

    Raises OSError.
    """
    inner = [child for child in _listed(folder) if child.is_dir() and child.name[0] != "."]
    told = (of_files(place, f"{folder.name}/{place.name}") for place in inner)
    return of_files(folder) or next(filter(None, told), "")


def of_files(folder: Path, shown: str = "") -> str:
    """What the folder's own files hold instead; "" for nothing known. Raises OSError."""
    name = shown or folder.resolve().name
    if (folder / "saved_model.pb").is_file():
        return f"the SavedModel {name} becomes one with `{_IMPORT} {shlex.quote(name)}`"
    if (folder / "adapter_config.json").is_file():
        return (
            f"{name} is an adapter (PEFT): merge it into its model (`merge_and_unload`), and "
            "export that"
        )
    if (folder / "model_index.json").is_file():
        return f"{name} is a pipeline of diffusers, which is not served here"
    if (folder / "config.json").is_file() and (told := _of_hub(folder, name)):
        return told
    if folder.suffix == ".mlpackage":
        return f"{name} {_TOLD[folder.suffix]}"
    files = [child for child in _listed(folder) if child.is_file()]
    return next(filter(None, map(of_file, files)), "")


def _of_hub(folder: Path, name: str) -> str:
    """Weights beside config.json, as Hugging Face has them."""
    command = ""
    if (folder / _HUB_WEIGHTS[0]).is_file():
        command = f"{_IMPORT} {shlex.quote(name)}"
    elif any((folder / one).is_file() for one in (*_HUB_WEIGHTS, *_SHARDED)):
        command = f"optimum-cli export onnx --model {shlex.quote(name)} OUT"
    return f"{name} becomes one with `{command}`" if command else ""


def _listed(folder: Path) -> Sequence[Path]:
    return sorted(folder.iterdir())[:_MOST_FILES]


def _is_boosting(file: Path) -> bool:
    """Trees of LightGBM or XGBoost, whose files may have any name."""
    if file.suffix.lower() not in {".txt", ".json", ".model", ".bst"} or not file.is_file():
        return False
    with file.open("rb") as opened:
        head = opened.read(HEAD)
    return boosted_trees(head) != ""
