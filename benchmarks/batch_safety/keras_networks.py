"""Exports Keras networks. Usage: keras_networks.py FOLDER."""

import sys
from pathlib import Path

import keras
from keras import layers


def main() -> None:
    folder = Path(sys.argv[1]) / "keras"
    folder.mkdir(parents=True, exist_ok=True)
    networks = {
        "cnn": keras.Sequential([
            keras.Input((16, 16, 3)), layers.Conv2D(8, 3), layers.BatchNormalization(),
            layers.ReLU(), layers.MaxPooling2D(), layers.Flatten(), layers.Dense(4, "softmax"),
        ]),
        "lstm": keras.Sequential([
            keras.Input((12,)), layers.Embedding(50, 8), layers.LSTM(6), layers.Dense(3),
        ]),
        "gru-bidirectional": keras.Sequential([
            keras.Input((12, 4)), layers.Bidirectional(layers.GRU(5)), layers.Dense(3),
        ]),
        "mlp": keras.Sequential([
            keras.Input((8,)), layers.Normalization(mean=0.0, variance=1.0), layers.Dense(4, "relu"),
        ]),
    }  # fmt: skip
    x = keras.Input((12, 8))
    y = layers.LayerNormalization()(layers.MultiHeadAttention(2, 4)(x, x) + x)
    networks["attention"] = keras.Model(x, layers.GlobalAveragePooling1D()(y))
    for name, network in networks.items():
        try:
            network(keras.ops.zeros((2, *network.input_shape[1:])))  # it must have been called
            network.export(str(folder / f"{name}.onnx"), format="onnx", verbose=False)
        except Exception as error:
            print(f"keras/{name}: {type(error).__name__}: {str(error)[:200]!r}")


if __name__ == "__main__":
    main()
