"""Trains the recommender of Python libraries; writes 1/model.onnx, *.json.

Run it on Debian 12, from the repository root, in an environment with the extra `train`::

    apt-get update
    python models/libraries/train.py

Data: the package index of Debian 12 (bookworm, main), as apt has it. A source package whose binary
packages depend on, recommend or suggest Python libraries of other sources is what elsewhere is a
user or a basket; the libraries are the items. That is the real behaviour of people who chose them,
and public. A fifth of the sources, seeded, is held out and never trained on.

Model: EASE (H. Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019): scores are
the product of the history with one matrix, with a closed form. What is popular counts a little,
so that somebody of whom nothing is known is recommended what most people use.
"""

import json
import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
SEED = 7
REGULARISATION = 50.0
POPULARITY = 0.01  # of the score of the most popular item, beside those of the history
LEAST_USERS, LEAST_ITEMS = 5, 3
K = 10

_LIBRARY = re.compile(r"python3-(?!minimal$)(?!.*-(lib|abi\d+|data|dev|doc)$)")
_NAME = re.compile(r"\s*([a-z0-9.+-]+)")
Score = Callable[[np.ndarray], np.ndarray]


def records() -> Iterator[dict[str, str]]:
    """The packages of the index, each name once."""
    text = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=True)
    seen = set()
    for block in text.stdout.split("\n\n"):
        fields: dict[str, str] = {}
        key = ""
        for line in block.split("\n"):
            if line[:1] in {" ", "\t"} and key:
                fields[key] += line
            elif ":" in line:
                key, _, value = line.partition(":")
                fields[key] = value.strip()
        name = fields.get("Package", "")
        if name and name not in seen:
            seen.add(name)
            yield fields


def interactions() -> tuple[dict[str, set[str]], dict[str, dict[str, str]]]:
    """The libraries of each source, and what the index says of each library."""
    packages = {fields["Package"]: fields for fields in records()}

    def source(name: str) -> str:
        fields = packages[name]
        return fields.get("Source", name).split()[0]

    libraries = {name for name in packages if _LIBRARY.match(name)}
    found: dict[str, set[str]] = defaultdict(set)
    for name, fields in packages.items():
        for kind in ("Depends", "Recommends", "Suggests"):
            for part in fields.get(kind, "").split(","):
                wanted = _NAME.match(part)
                if wanted and wanted[1] in libraries and source(wanted[1]) != source(name):
                    found[source(name)].add(wanted[1])
    for _ in range(5):  # until both conditions hold
        counts = Counter(item for items in found.values() for item in items)
        common = {item for item, count in counts.items() if count >= LEAST_USERS}
        found = {user: items & common for user, items in found.items()}
        found = {user: items for user, items in found.items() if len(items) >= LEAST_ITEMS}
    return found, {name: packages[name] for name in libraries}


def ease(history: np.ndarray) -> np.ndarray:
    inverse = np.linalg.inv(history.T @ history + REGULARISATION * np.eye(history.shape[1]))
    weights: np.ndarray = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


def evaluate(score: Score, held_out: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Recall and NDCG of the first K, for what was hidden of each held-out history."""
    recall, gain = [], []
    for history, hidden in held_out:
        scores = score(history).astype(np.float64)
        scores[history > 0] = -np.inf
        hits = np.isin(np.argsort(-scores, kind="stable")[:K], hidden)
        most = min(K, len(hidden))
        recall.append(hits.sum() / most)
        discounts = 1 / np.log2(np.arange(2, K + 2))
        gain.append((hits * discounts).sum() / discounts[:most].sum())
    return {
        "recall_at_10": round(float(np.mean(recall)), 4),
        "ndcg_at_10": round(float(np.mean(gain)), 4),
    }


def graph(weights: np.ndarray, bias: np.ndarray) -> onnx.ModelProto:
    """history [batch, items] to scores [batch, items]."""
    count = len(bias)
    made = helper.make_graph(
        [
            helper.make_node("Cast", ["weights.half"], ["weights"], to=TensorProto.FLOAT),
            helper.make_node("Gemm", ["history", "weights", "bias"], ["scores"]),
        ],
        "libraries",
        [helper.make_tensor_value_info("history", TensorProto.FLOAT, ["batch", count])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", count])],
        [
            numpy_helper.from_array(weights.astype(np.float16), "weights.half"),
            numpy_helper.from_array(bias.astype(np.float32), "bias"),
        ],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def described(name: str, fields: dict[str, str]) -> dict[str, object]:
    tags = re.findall(r"(?:field|works-with|use|protocol|web)::[a-z0-9:-]+", fields.get("Tag", ""))
    tags.append(f"section::{fields.get('Section', 'unknown')}")
    return {
        "id": name.removeprefix("python3-"),
        "title": fields.get("Description", ""),
        "tags": sorted(set(tags)),
    }


def main() -> None:
    found, packages = interactions()
    items = sorted({item for chosen in found.values() for item in chosen})
    places = {item: place for place, item in enumerate(items)}
    users = sorted(found)
    histories = np.zeros((len(users), len(items)))
    for row, user in enumerate(users):
        histories[row, [places[item] for item in found[user]]] = 1
    random = np.random.default_rng(SEED)
    order = random.permutation(len(users))
    tested, trained = np.sort(order[: len(users) // 5]), np.sort(order[len(users) // 5 :])
    held_out = []
    for row in tested:
        chosen = np.flatnonzero(histories[row])
        hidden = random.permutation(chosen)[: max(1, len(chosen) // 3)]
        shown = histories[row].copy()
        shown[hidden] = 0
        held_out.append((shown, hidden))

    train = histories[trained]
    counts = train.sum(axis=0)
    weights, bias = ease(train), POPULARITY * counts / counts.max()
    together = train.T @ train
    norms = np.sqrt(np.maximum(np.diag(together), 1e-9))
    neighbours = together / np.outer(norms, norms)
    np.fill_diagonal(neighbours, 0)
    metrics = {
        "users_trained_on": len(trained), "users_held_out": len(tested), "items": len(items),
        "popularity": evaluate(lambda _: counts, held_out),
        "item_knn": evaluate(lambda history: history @ neighbours, held_out),
        "ease": evaluate(lambda history: history @ weights + bias, held_out),
    }  # fmt: skip
    print(json.dumps(metrics, indent=2))

    (HERE / "1").mkdir(exist_ok=True)
    onnx.save(graph(weights, bias), HERE / "1" / "model.onnx")
    catalogue = [described(item, packages[item]) for item in items]
    (HERE / "items.json").write_text(_lines(catalogue))
    names = [str(item["id"]) for item in catalogue]
    sample = [
        {
            "user": [names[i] for i in np.flatnonzero(shown)],
            "hidden": sorted(names[i] for i in hidden),
        }
        for shown, hidden in held_out
    ]
    (HERE / "holdout.json").write_text(_lines(sample))
    (HERE / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")


def _lines(values: list[dict[str, object]]) -> str:
    return "[\n" + ",\n".join(json.dumps(value, ensure_ascii=False) for value in values) + "\n]\n"


if __name__ == "__main__":
    main()
