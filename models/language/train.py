"""Trains the classifier of languages; writes 1/model.onnx, the .txt and the .json files.

Run it from the repository root, in an environment with the extra `train`::

    python models/language/train.py

Data to train on: the translations that Django and django-allauth carry (BSD, MIT), what is said
to Home Assistant and what it answers (home-assistant-intents, Apache-2.0), the commonest words
(stopwordsiso, MIT), and greetings and short sentences (phrases.py). Tested with: translations of
Django REST framework (BSD), other phrases of phrases.py, and the talk of chatterbot-corpus (BSD),
which has half of the languages. From which probability on an answer is sure enough is chosen on the
translations of Sphinx (BSD). Nothing of the packages is installed; their wheels are read.

Model: logistic regression on the counts of 1 to 4 characters in a row of the words alone, with one
space around each word (`words` of the pipeline), weights in 8 bits. The graph counts
(TfIdfVectorizer), so nothing of the features is outside the file.
"""

import gettext
import json
import random
import re
import subprocess
import sys
import tempfile
import unicodedata
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from phrases import TEST, TRAIN
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import Normalizer

from inference_service.pipelines.text_classification import words_alone

HERE = Path(__file__).parent
SEED = 7
TRAINED_ON = ("django==5.2.8", "django-allauth==65.13.0")
SPOKEN = "home-assistant-intents==2026.10.27"
COMMON = "stopwordsiso==0.7.1"
CHOSEN_ON = ("sphinx==8.2.3",)
TESTED_ON = ("djangorestframework==3.16.1",)
TALK = "chatterbot-corpus==1.3.3"
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
         "zh_tw": "zh", "iw": "he", "in": "id", "fa_ir": "fa", "de_ch": ""}  # fmt: skip
_NOISE = re.compile(r"%\([^)]*\)[a-z]|%[a-z]|\{[^}]*\}|<[^>]*>|&\w+;|https?://\S+|[\w.]+\.[\w.]+")
GRAMS = 4  # characters in a row
FEATURES = 45_000
LENGTHS = (12, 25, 50, 100, 200)
WINDOWS = 180  # texts of each language, length and source to train on
TESTED_LENGTHS = (20, 50, 100, 200)
SHORT = ((3, 9), (10, 20), (21, 30))
WANTED = 0.9  # of the answers on texts of 10 to 20 characters; below, "unsure"


def wheels(packages: tuple[str, ...], into: str) -> list[Path]:
    """Downloads them, for any platform."""
    for package in packages:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
             "--only-binary", ":all:", "--dest", into, package],
            check=True,
        )  # fmt: skip
    return sorted(Path(into).glob("*.whl"))


def catalogues(packages: tuple[str, ...]) -> dict[str, list[str]]:
    """Translated texts by language."""
    found: dict[str, list[str]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as temporary:
        for wheel in wheels(packages, temporary):
            with zipfile.ZipFile(wheel) as archive:
                for name in sorted(archive.namelist()):
                    if name.endswith(".mo"):
                        _read(archive, name, found)
    return found


def _read(archive: zipfile.ZipFile, name: str, found: dict[str, list[str]]) -> None:
    code = _code(name.split("/LC_MESSAGES/", maxsplit=1)[0].rsplit("/", 1)[-1])
    if not code:
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


def _code(locale: str) -> str:
    """The language of one of these locales; empty for all others."""
    name = locale.lower().replace("-", "_")
    code = _SAME.get(name, name.split("_")[0])
    return code if code in LANGUAGES else ""


def _clean(text: str) -> str:
    text = unicodedata.normalize("NFC", _NOISE.sub(" ", text))
    return re.sub(r"\s+", " ", text).strip().lower()


def spoken(rng: random.Random) -> dict[str, list[str]]:
    """What Home Assistant understands and answers, by language.

    Its templates are of hassil: (one|of these), [if you like], <rule>, {list}.
    """
    found: dict[str, set[str]] = defaultdict(set)
    with tempfile.TemporaryDirectory() as temporary:
        (wheel,) = wheels((SPOKEN,), temporary)
        with zipfile.ZipFile(wheel) as archive:
            for name in sorted(archive.namelist()):
                file = re.fullmatch(r"home_assistant_intents/data/([\w-]+)\.json", name)
                code = _code(file[1]) if file else ""
                if code:
                    data = json.loads(archive.read(name))
                    found[code].update(_answers(data["responses"]))
                    for intent in data["intents"].values():
                        for part in intent["data"]:
                            for template in 2 * part["sentences"]:
                                found[code].add(_sentence(template, data["expansion_rules"], rng))
    english = found["en"]
    return {
        code: sorted(text for text in texts if code == "en" or text not in english)
        for code, texts in found.items()
    }


def _sentence(template: str, rules: dict[str, str], rng: random.Random) -> str:
    """One of those that a template stands for; none where it is too deep."""

    def one(match: re.Match[str]) -> str:
        return rng.choice(re.split(r"[|;]", match[1]))

    def maybe(match: re.Match[str]) -> str:
        return rng.choice([*match[1].split("|"), ""])

    text = re.sub(r"\{[^{}]*\}", " ", template)
    for _ in range(60):
        before = text
        text = re.sub(r"<(\w+)>", lambda rule: f"({rules.get(rule[1], '')})", text, count=1)
        text = re.sub(r"\{[^{}]*\}", " ", text)
        text = re.sub(r"\(([^()\[\]<>]*)\)", one, text, count=1)
        text = re.sub(r"\[([^()\[\]<>]*)\]", maybe, text, count=1)
        if text == before:
            break
    return "" if re.search(r"[()\[\]<>{}]", text) else _clean(text)


def _answers(node: object) -> list[str]:
    """The texts between the placeholders of Jinja templates."""
    if isinstance(node, dict):
        return [text for part in node.values() for text in _answers(part)]
    if not isinstance(node, str):
        return []
    return [_clean(text) for text in re.split(r"\{[{%].*?[%}]\}|\n", node, flags=re.DOTALL)]


def common() -> dict[str, list[str]]:
    """The commonest words by language."""
    with tempfile.TemporaryDirectory() as temporary:
        (wheel,) = wheels((COMMON,), temporary)
        with zipfile.ZipFile(wheel) as archive:
            words = json.loads(archive.read("stopwordsiso/stopwords-iso.json"))
    words.setdefault("nb", words["no"])
    return {code: sorted(set(words[code])) for code in LANGUAGES if code in words}


def talk() -> list[tuple[str, str]]:
    """What people and machines say to each other: lines of 3 to 30 characters, with languages."""
    codes = {name.lower(): code for code, name in LANGUAGES.items()}
    found: dict[str, set[str]] = defaultdict(set)
    with tempfile.TemporaryDirectory() as temporary:
        (wheel,) = wheels((TALK,), temporary)
        with zipfile.ZipFile(wheel) as archive:
            for name in sorted(archive.namelist()):
                file = re.fullmatch(
                    r"chatterbot_corpus/data/(\w+)/(greetings|conversations|emotion|food|health|"
                    r"\w*profile|suggestions)\.yml", name,
                )  # fmt: skip
                if file and file[1] in codes:
                    text = archive.read(name).decode().partition("conversations:")[2]
                    for line in re.findall(r"^\s*- (?:- )?(.*)$", text, flags=re.MULTILINE):
                        found[codes[file[1]]].add(re.sub(r"\s+", " ", line.strip(" \"'-")))
    return [
        (text, code)
        for code in sorted(found)
        for text in sorted(found[code])
        if 3 <= len(text) <= 30
        and len(words_alone(text)) > 3
        and (code == "en" or text not in found["en"])  # not all of it has been translated
    ]


def windows(texts: list[str], length: int, count: int, rng: random.Random) -> list[str]:
    """Pieces of the texts, in a random order, that begin where words do."""
    unique = sorted({text for text in texts if len(text) >= 3})
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
) -> list[tuple[str, str]]:
    return [
        (piece, code)
        for code in sorted(LANGUAGES)
        for length in lengths
        if texts.get(code)
        for piece in windows(texts[code], length, count, rng)
    ]


def phrases(given: dict[str, str]) -> list[tuple[str, str]]:
    return [(text, code) for code in sorted(given) for text in given[code].split("|")]


def short(texts: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Whole texts of 3 to 30 characters. Not English, which is in them by the source's key."""
    return [
        (text, code)
        for code in sorted(LANGUAGES)
        if code != "en"
        for text in sorted(set(texts.get(code, [])))
        if 3 <= len(text) <= 30
    ]


def to_train_on(rng: random.Random) -> list[tuple[str, str]]:
    """All of it as the pipeline gives it to the graph."""
    rows = examples(catalogues(TRAINED_ON), LENGTHS, WINDOWS, rng)
    rows += examples(spoken(rng), LENGTHS[:3], WINDOWS, rng)
    for code, words in common().items():
        rows += [(" ".join(rng.choices(words, k=rng.randint(1, 4))), code) for _ in range(200)]
    rows += 8 * phrases(TRAIN)
    for code in sorted(TRAIN):
        known = TRAIN[code].split("|")
        rows += [(" ".join(rng.choices(known, k=2)), code) for _ in range(60)]
        rows += 20 * [("", code)]  # nothing that is known: any language is as likely
    return rows


def graph(
    vectoriser: CountVectorizer, weights: np.ndarray, scales: np.ndarray, bias: np.ndarray
) -> onnx.ModelProto:
    """characters [batch, length] to logits [batch, languages]."""
    grams = sorted(vectoriser.vocabulary_, key=lambda gram: (len(gram), gram))
    places = [int(vectoriser.vocabulary_[gram]) for gram in grams]
    starts, pool = [], []
    for size in range(1, GRAMS + 1):
        starts.append(len(pool))
        pool += [ord(character) for gram in grams if len(gram) == size for character in gram]
    nodes = [
        helper.make_node(
            "TfIdfVectorizer", ["characters"], ["counts"], mode="TF", min_gram_length=1,
            max_gram_length=GRAMS, max_skip_count=0, ngram_counts=starts, ngram_indexes=places,
            pool_int64s=pool,
        ),
        helper.make_node("Add", ["counts", "one"], ["more"]),
        helper.make_node("Log", ["more"], ["logs"]),
        helper.make_node("ReduceL2", ["logs"], ["norms"], axes=[1], keepdims=1),
        helper.make_node("Max", ["norms", "tiny"], ["safe"]),
        helper.make_node("Div", ["logs", "safe"], ["features"]),
        helper.make_node("Cast", ["weights.int8"], ["weights.whole"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["weights.whole", "scales"], ["weights"]),
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
            numpy_helper.from_array(weights, "weights.int8"),
            numpy_helper.from_array(scales.astype(np.float32), "scales"),
            numpy_helper.from_array(bias.astype(np.float32), "bias"),
        ],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


class Judge:
    """A trained model, and what it says."""

    def __init__(self, rows: list[tuple[str, str]]) -> None:
        self.vectoriser = CountVectorizer(
            analyzer="char", ngram_range=(1, GRAMS), max_features=FEATURES, lowercase=False,
            dtype=np.float32,
        )  # fmt: skip
        self.classifier = LogisticRegression(C=30, max_iter=150, tol=1e-3)
        texts = [words_alone(text.lower()) for text, _ in rows]
        grams = sorted(gram for gram in self.vectoriser.fit(texts).vocabulary_ if gram != " ")
        self.vectoriser.set_params(vocabulary=grams)  # a space alone says nothing
        counts = self.vectoriser.fit_transform(texts)
        self.classifier.fit(self._features(counts), [code for _, code in rows])
        self.codes = list(self.classifier.classes_)
        weights = self.classifier.coef_.T
        self.scales = np.abs(weights).max(axis=0, keepdims=True) / 127
        self.weights = np.round(weights / self.scales).astype(np.int8)
        self.classifier.coef_ = (self.weights * self.scales).T  # judged as it is served

    def _features(self, counts: csr_matrix) -> csr_matrix:
        return Normalizer().transform(counts.log1p())

    def __call__(self, tests: list[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray]:
        """Whether each is right, and the probability of what is said."""
        texts = [words_alone(unicodedata.normalize("NFC", text).lower()) for text, _ in tests]
        found = self.classifier.predict_proba(self._features(self.vectoriser.transform(texts)))
        said = np.array(self.codes)[found.argmax(axis=1)]
        return said == np.array([code for _, code in tests]), found.max(axis=1)


def unsure_below(right: np.ndarray, sure: np.ndarray) -> float:
    """The least probability, in steps of 0.05, from which on enough answers are right."""
    for threshold in np.arange(0.2, 0.95, 0.05):
        if right[sure >= threshold].mean() >= WANTED:
            return round(float(threshold), 2)
    return 0.95


def by_length(
    tests: list[tuple[str, str]], right: np.ndarray, sure: np.ndarray, least: float
) -> dict[str, dict[str, float]]:
    found = {}
    for shortest, longest in SHORT:
        chosen = np.array([shortest <= len(text) <= longest for text, _ in tests])
        told = chosen & (sure >= least)
        found[f"{shortest}-{longest}"] = {
            "texts": int(chosen.sum()),
            "right": round(float(right[chosen].mean()), 4),
            "answered": round(float(told.sum() / chosen.sum()), 4),
            "right_of_answered": round(float(right[told].mean()), 4),
        }
    return found


def main() -> None:
    rows = to_train_on(random.Random(SEED))
    judge = Judge(rows)
    chosen_on = [one for one in short(catalogues(CHOSEN_ON)) if 10 <= len(one[0]) <= 20]
    least = unsure_below(*judge(chosen_on))
    test = catalogues(TESTED_ON)
    metrics: dict[str, object] = {
        "languages": len(judge.codes), "trained_on": len(rows), "unsure_below": least,
    }  # fmt: skip
    held_out: dict[str, list[tuple[str, str]]] = {
        "phrases": phrases(TEST), "talk": talk(), "translations": short(test),
    }  # fmt: skip
    for name, tests in held_out.items():
        metrics[name] = by_length(tests, *judge(tests), least)
    lengths = {}
    for length in TESTED_LENGTHS:
        held_out[f"{length}"] = examples(test, (length,), 100, random.Random(SEED + length))
        lengths[f"{length}"] = round(float(judge(held_out[f"{length}"])[0].mean()), 4)
    metrics["windows"] = lengths
    print(json.dumps(metrics, indent=2))
    save(judge, metrics, held_out)


def save(judge: Judge, metrics: object, held_out: dict[str, list[tuple[str, str]]]) -> None:
    (HERE / "1").mkdir(exist_ok=True)
    bias = judge.classifier.intercept_
    made = graph(judge.vectoriser, judge.weights, judge.scales, bias)
    onnx.save(made, HERE / "1" / "model.onnx")
    (HERE / "labels.txt").write_text("".join(f"{code}\n" for code in judge.codes))
    (HERE / "names.txt").write_text("".join(f"{LANGUAGES[code]}\n" for code in judge.codes))
    (HERE / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    rng = random.Random(SEED)
    sample = {
        "phrases": held_out["phrases"],
        "talk": rng.sample(held_out["talk"], 500),
        "50": rng.sample(held_out["50"], 500),
    }
    (HERE / "holdout.json").write_text(json.dumps(sample, ensure_ascii=False, indent=0) + "\n")


if __name__ == "__main__":
    main()
