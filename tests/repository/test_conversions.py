"""People come with models that are no ONNX: what to do is told, and other models are served."""

from pathlib import Path

import pytest

from inference_service.core.errors import InvalidModel
from inference_service.repository.contents import scan


def put(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def said(path: Path) -> str:
    """Where nothing is served: the one line that the command prints."""
    with pytest.raises(InvalidModel) as error:
        scan(path)
    return str(error.value)


FILES = [
    ("m.pt", "`inference-service import m.pt`"),
    ("m.pth", "`inference-service import m.pth`"),
    ("m.torchscript", "`inference-service import m.torchscript`"),
    ("m.h5", "`inference-service import m.h5`"),
    ("m.keras", "`inference-service import m.keras`"),
    ("m.skops", "`inference-service import m.skops`"),
    ("m.joblib", "`inference-service import --allow-pickle m.joblib`"),
    ("m.ubj", "`inference-service import m.ubj`"),
    ("m.bst", "save it as .ubj"),
    ("m.cbm", '`model.save_model("model.onnx", format="onnx")`'),
    ("m.gguf", "llama.cpp"),
    ("m.mlmodel", "export the model that it was made from"),
    ("m.engine", "serve the ONNX file that it was made from"),
    ("m.ort", "serve the .onnx file that it was made from"),
    ("m.pdmodel", "`paddle2onnx"),
    ("m.ckpt", "`torch.onnx.export`"),
    ("m.onnx.gz", "unpack it"),
    ("M.ZIP", "unpack it"),
]


@pytest.mark.parametrize(("name", "words"), FILES)
def test_a_file_of_another_kind_is_told_with_what_to_do(
    tmp_path: Path, name: str, words: str
) -> None:
    repository = put(tmp_path / "models", f"net/{name}", "good/1/model.onnx")
    for path in (repository / "net" / name, repository / "net"):
        assert f"; {name} " in said(path)
        assert words in said(path)
    good, net = scan(repository)
    assert words in net.problem
    assert (good.name, good.problem) == ("good", "")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (("net/saved_model.pb", "net/variables/variables.index"), "inference-service import net`"),
        (("net/1/saved_model.pb",), "`inference-service import net/1`"),
        (("net/config.json", "net/model.safetensors"), "`inference-service import net`"),
        (("net/config.json", "net/pytorch_model.bin"), "optimum-cli export onnx --model net OUT`"),
        (("net/config.json", "net/model.safetensors.index.json"), "optimum-cli export onnx"),
        (("net/adapter_config.json", "net/adapter_model.safetensors"), "merge_and_unload"),
        (("net/model_index.json", "net/unet/model.onnx"), "diffusers"),
        (("net/1/model.pt",), "`inference-service import model.pt`"),
        (("net/MLmodel", "net/model.pkl"), "`inference-service import --allow-pickle model.pkl`"),
        (("net/best.onnx",), "move net/best.onnx to net/1/model.onnx"),
        (("net/3/best.onnx",), "move net/3/best.onnx to net/3/model.onnx"),
        (("net/v2/model.onnx",), "move net/v2/model.onnx to net/1/model.onnx"),
        (("net/a.onnx", "net/b.onnx"), "rename the one of 'a.onnx', 'b.onnx'"),
    ],
)  # fmt: skip
def test_a_folder_of_another_kind_is_told_with_what_to_do(
    tmp_path: Path, files: tuple[str, ...], words: str
) -> None:
    put(tmp_path, *files)
    (entry,) = scan(tmp_path)
    assert words in entry.problem


def test_a_saved_model_is_no_repository_of_its_folders(tmp_path: Path) -> None:
    folder = put(tmp_path / "net", "saved_model.pb", "variables/variables.index")
    assert "the SavedModel net becomes one with `inference-service import net`" in said(folder)


@pytest.mark.parametrize(
    "head", [b"tree\nversion=v4\n", b'{"learner":{"attributes":{}', b"{L" + bytes(7) + b"\x07learner{L", b"{\n  \"learner\": {"]
)  # fmt: skip
@pytest.mark.parametrize("name", ["m.txt", "m.json", "m.bst"])
def test_boosted_trees_are_known_by_their_contents(tmp_path: Path, head: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(head)
    assert f"{name} becomes one with `inference-service import {name}`" in said(tmp_path)


@pytest.mark.parametrize("name", ["README.txt", "data.json", "notes.md"])
def test_other_files_are_no_models(tmp_path: Path, name: str) -> None:
    put(tmp_path, name)
    assert said(tmp_path).endswith("<name>.onnx")
