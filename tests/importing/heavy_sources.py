"""Trains and saves small models of every framework. Usage: heavy_sources.py FOLDER."""

import sys
from pathlib import Path
from typing import Any


def keras_models(folder: Path) -> None:
    import keras
    from keras import layers

    dense = keras.Sequential([
        keras.Input((4,)), layers.Dense(8, "relu"), layers.Dense(3, "softmax"),
    ])  # fmt: skip
    dense.save(folder / "dense.keras")
    dense.save(folder / "dense.h5")
    dense.export(folder / "saved-model", verbose=False)
    tokens = keras.Input((12,), name="tokens", dtype="int32")
    extra = keras.Input((3,), name="extra")
    hidden = layers.LSTM(6)(layers.Embedding(50, 8)(tokens))
    hidden = layers.Concatenate()([hidden, extra])
    outputs = {
        "sentiment": layers.Dense(2, name="sentiment")(hidden),
        "spam": layers.Dense(1, "sigmoid", name="spam")(hidden),
    }
    keras.Model([tokens, extra], outputs).save(folder / "two-inputs.keras")
    picture = keras.Input((8, 8, 3))
    hidden = layers.Flatten()(layers.BatchNormalization()(layers.Conv2D(4, 3)(picture)))
    keras.Model(picture, layers.Dense(5, name="scores")(hidden)).save(folder / "cnn.keras")
    keras.Sequential([
        keras.Input((None,), dtype="int32"), layers.Embedding(20, 4),
        layers.Bidirectional(layers.GRU(3)), layers.Dense(2),
    ]).save(folder / "any-length.keras")  # fmt: skip
    keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: x * 2)]).save(
        folder / "lambda.keras"
    )


def convolution() -> Any:
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(1),
        torch.nn.Dropout(), torch.nn.Linear(144, 5),
    )  # fmt: skip
    return model, torch.randn(2, 3, 8, 8)


def recurrent() -> Any:
    import torch

    class Recurrent(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(30, 8)
            self.lstm = torch.nn.LSTM(8, 6, batch_first=True)
            self.out = torch.nn.Linear(6, 2)

        def forward(self, ids: Any, scale: Any) -> Any:
            states, _ = self.lstm(self.table(ids))
            logits = self.out(states[:, -1] * scale)
            return {"logits": logits, "probabilities": logits.softmax(-1)}

    torch.manual_seed(0)
    return Recurrent(), (torch.randint(0, 30, (2, 7)), torch.rand(2, 1))


def attention() -> Any:
    import torch

    torch.manual_seed(0)
    return torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), torch.randn(2, 5, 8)


def constant_batch() -> Any:
    """A class token and a Reshape that admit one row."""
    import torch

    class Frozen(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.token = torch.nn.Parameter(torch.randn(1, 1, 4))
            self.out = torch.nn.Linear(12, 2)

        def forward(self, x: Any) -> Any:
            return self.out(torch.cat([self.token.expand(1, 1, 4), x], 1).reshape(1, 12))

    torch.manual_seed(0)
    return Frozen(), torch.randn(1, 2, 4)


def torch_models(folder: Path) -> None:
    import torch

    model = convolution()[0].eval()
    one, two = torch.randn(1, 3, 8, 8), torch.randn(2, 3, 8, 8)
    torch.jit.script(model).save(folder / "scripted.pt")
    torch.jit.trace(model, one).save(folder / "traced.pt")
    torch.save(model.state_dict(), folder / "weights.pt")
    free = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(model, (two,), dynamic_shapes=free), folder / "free.pt2")
    torch.export.save(torch.export.export(model, (one,)), folder / "fixed.pt2")


def classical_models(folder: Path) -> None:
    import joblib
    import lightgbm
    import skops.io
    import xgboost
    from sklearn.datasets import load_diabetes, load_iris
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = load_iris(return_X_y=True)
    values, target = load_diabetes(return_X_y=True)
    scaled = make_pipeline(StandardScaler(), LogisticRegression())
    skops.io.dump(scaled.fit(x, y), folder / "iris.skops")
    joblib.dump(RandomForestClassifier(20, random_state=0).fit(x, y), folder / "forest.joblib")
    texts = ["a good film", "naïve and bad", "I loved x it", "Über awful, bad", "so good!"] * 8
    words = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression())
    skops.io.dump(words.fit(texts, ["pos", "neg", "pos", "neg", "pos"] * 8), folder / "texts.skops")
    classes = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1).fit(x, y)
    classes.booster_.save_model(folder / "classes.txt")
    numbers = lightgbm.LGBMRegressor(n_estimators=20, verbose=-1).fit(values, target)
    numbers.booster_.save_model(folder / "values.txt")
    xgboost.XGBClassifier(n_estimators=20).fit(x, y).save_model(folder / "classes.json")
    xgboost.XGBClassifier(n_estimators=20).fit(x, y == 1).save_model(folder / "two-classes.ubj")
    xgboost.XGBRegressor(n_estimators=20).fit(values, target).save_model(folder / "values.json")


def hugging_face_models(folder: Path) -> None:
    import transformers as t

    small: dict[str, Any] = {
        "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 64,
    }  # fmt: skip
    labels = {"id2label": {0: "neg", 1: "pos"}, "label2id": {"neg": 0, "pos": 1}}
    t.BertModel(t.BertConfig(**small)).save_pretrained(folder / "embedding")
    t.BertForSequenceClassification(t.BertConfig(**small, **labels)).save_pretrained(
        folder / "sentiment"
    )
    t.DistilBertForTokenClassification(
        t.DistilBertConfig(vocab_size=40, dim=16, n_layers=1, n_heads=2, hidden_dim=32)
    ).save_pretrained(folder / "entities")
    vision = t.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        image_size=32, patch_size=8, **labels,
    )  # fmt: skip
    t.ViTForImageClassification(vision).save_pretrained(folder / "vision")


def main() -> None:
    folder = Path(sys.argv[1])
    keras_models(folder)
    torch_models(folder)
    classical_models(folder)
    hugging_face_models(folder)


if __name__ == "__main__":
    main()
