"""Trains the handwritten-digit classifier and writes 1/model.onnx, holdout.npz and metrics.json.

Run it from the repository root, in an environment with the extra `train`::

    pip install -e '.[train]'
    python models/digits/train.py

Data: scikit-learn's bundled "digits" (1 797 scans of 8 x 8 pixels by 43 people; the test part of
the UCI data set "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, CC BY 4.0).
A fifth, stratified and seeded, is held out and never trained on. Digits drawn with a mouse are not
like scans: 1 500 of them are made (strokes.py) and trained on, too; 500 others are held out.

Model: a perceptron 64-128-10. The scaling of the pixels, the softmax and the argmax are part of the
graph, so a client sends what a scanner gives: 64 intensities from 0 to 16.
"""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from strokes import drawn

HERE = Path(__file__).parent
SEED = 7


def shifted(images: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """The images moved by whole pixels; what leaves the frame is lost, what enters it is blank."""
    moved = np.zeros_like(images)
    height, width = images.shape[1:]
    moved[:, max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)] = images[
        :, max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)
    ]
    return moved


def augmented(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each image also moved by one pixel up, down, left and right."""
    images = x.reshape(-1, 8, 8)
    moves = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
    stacked = np.concatenate([shifted(images, dy, dx) for dy, dx in moves])
    return stacked.reshape(-1, 64), np.tile(y, len(moves))


def to_onnx(model: MLPClassifier) -> onnx.ModelProto:
    """The graph: scale, two fully connected layers, softmax, argmax."""
    w1, w2 = (w.astype(np.float32) for w in model.coefs_)
    b1, b2 = (b.astype(np.float32) for b in model.intercepts_)
    constants = {"scale": np.float32(1 / 16), "w1": w1, "b1": b1, "w2": w2, "b2": b2}
    graph = helper.make_graph(
        nodes=[
            helper.make_node("Mul", ["image", "scale"], ["scaled"], "scale_pixels"),
            helper.make_node("Gemm", ["scaled", "w1", "b1"], ["hidden"], "layer1"),
            helper.make_node("Relu", ["hidden"], ["active"], "relu1"),
            helper.make_node("Gemm", ["active", "w2", "b2"], ["logits"], "layer2"),
            helper.make_node("Softmax", ["logits"], ["probabilities"], "softmax", axis=1),
            helper.make_node("ArgMax", ["logits"], ["label"], "argmax", axis=1, keepdims=0),
        ],
        name="digits",
        inputs=[helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 64])],
        outputs=[
            helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10]),
        ],
        initializer=[numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def main() -> None:
    x, y = load_digits(return_X_y=True)
    x_train, x_held, y_train, y_held = train_test_split(
        x, y, test_size=0.2, stratify=y, random_state=SEED
    )
    scans, of_scans = augmented(x_train, y_train)
    drawings, of_drawings = drawn(150, SEED)
    drawings_held, of_drawings_held = drawn(50, SEED + 1)
    x_fit = np.concatenate([scans, drawings])
    y_fit = np.concatenate([of_scans, of_drawings])
    model = MLPClassifier((128,), alpha=1e-2, max_iter=80, random_state=SEED, tol=0.0)
    model.fit(x_fit / 16, y_fit)
    accuracy = float(model.score(x_held / 16, y_held))

    (HERE / "1").mkdir(exist_ok=True)
    onnx.save(to_onnx(model), HERE / "1" / "model.onnx")
    np.savez_compressed(
        HERE / "holdout.npz", image=x_held.astype(np.uint8), label=y_held.astype(np.uint8)
    )
    metrics = {
        "rows_trained_on": len(y_train),
        "drawings_trained_on": len(of_drawings),
        "rows_held_out": len(y_held),
        "accuracy": round(accuracy, 4),
        "accuracy_of_drawings": round(float(model.score(drawings_held / 16, of_drawings_held)), 4),
    }
    (HERE / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(json.dumps(metrics))


if __name__ == "__main__":
    main()
