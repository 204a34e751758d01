"""LightGBM and XGBoost: their own file formats, which hold no code."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from inference_service.importing.frameworks.common import (
    Converted,
    Refusal,
    unique,
    versions_of,
    write_arrays,
)

_ROWS = 64
_OPSET = 15


class Boosting:
    """See `Framework`."""

    def convert(self, source: str, kind: str, work: Path, options: dict[str, Any]) -> Converted:
        """Classifiers answer labels and probabilities, without a ZipMap."""
        from onnxmltools.convert.common.data_types import FloatTensorType

        loaded = _lightgbm(source) if kind == "lightgbm" else _xgboost(source)
        self._predict = loaded["predict"]
        self._classifies = loaded["classifies"]
        types = [("input", FloatTensorType([None, loaded["width"]]))]
        model = loaded["convert"](types)
        path = work / "model.onnx"
        path.write_bytes(model.SerializeToString())
        rows = _samples(loaded["cuts"], loaded["width"])
        write_arrays(str(work / "samples.npz"), [rows])
        graph = [output.name for output in model.graph.output]
        names = ["label", "probabilities"] if len(graph) == 2 else ["output"]
        package = "lightgbm" if kind == "lightgbm" else "xgboost"
        return Converted(
            path.name,
            ["input"],
            unique(names),
            versions=versions_of(package, "onnxmltools"),
            samples="samples.npz",
            description=f"{Path(source).stem} ({loaded['title']}).",
        )

    def run(self, inputs: list[Any]) -> list[Any]:
        """Labels and probabilities, or values."""
        found = np.asarray(self._predict(inputs[0]))
        if not self._classifies:
            return [found]
        if found.ndim == 1:
            found = np.stack([1 - found, found], axis=1)
        return [found.argmax(axis=1), found]


def load() -> Boosting:
    """See `Framework`."""
    import onnxmltools  # noqa: F401 - told here, where it is missing

    return Boosting()


def _lightgbm(path: str) -> dict[str, Any]:
    import lightgbm
    from onnxmltools import convert_lightgbm

    booster = lightgbm.Booster(model_file=path)
    dump = booster.dump_model()
    cuts: dict[int, list[float]] = {}
    for tree in dump["tree_info"]:
        waiting = [tree["tree_structure"]]
        while waiting:
            node = waiting.pop()
            if "split_feature" not in node:
                continue
            if node.get("decision_type") == "<=":
                cuts.setdefault(node["split_feature"], []).append(float(node["threshold"]))
            else:
                codes = [float(code) for code in str(node["threshold"]).split("||")]
                cuts.setdefault(node["split_feature"], []).extend(codes)
            waiting += [node["left_child"], node["right_child"]]
    objective = str(dump.get("objective", "")).split(" ")[0]
    return {
        "predict": booster.predict,
        "width": booster.num_feature(),
        "cuts": cuts,
        "classifies": objective in {"binary", "multiclass", "multiclassova"},
        "convert": lambda types: convert_lightgbm(
            booster, initial_types=types, target_opset=_OPSET, zipmap=False
        ),
        "title": "LightGBM",
    }


def _xgboost(path: str) -> dict[str, Any]:
    import xgboost
    from onnxmltools import convert_xgboost

    booster = xgboost.Booster(model_file=path)
    config = json.loads(booster.save_config())["learner"]
    objective = config["objective"]["name"]
    classifies = objective in {"binary:logistic", "multi:softprob", "multi:softmax"}
    if objective.startswith(("rank:", "survival:")):
        raise Refusal(f"the converter has no {objective}; it knows regression and classification")
    maker = xgboost.XGBClassifier if classifies else xgboost.XGBRegressor
    model = maker()
    model.load_model(path)
    width = booster.num_features()
    booster.feature_names = None  # the converter takes f0, f1, … only
    cuts: dict[int, list[float]] = {}
    for tree in booster.get_dump(dump_format="json"):
        waiting = [json.loads(tree)]
        while waiting:
            node = waiting.pop()
            if "split_condition" in node:
                feature = int(str(node["split"]).removeprefix("f"))
                cuts.setdefault(feature, []).append(float(node["split_condition"]))
            waiting += node.get("children", [])
    model.get_booster().feature_names = None
    predict = model.predict_proba if classifies else model.predict
    return {
        "predict": predict,
        "width": width,
        "cuts": cuts,
        "classifies": classifies,
        "convert": lambda types: convert_xgboost(model, initial_types=types, target_opset=_OPSET),
        "title": "XGBoost",
    }


def _samples(cuts: dict[int, list[float]], width: int) -> Any:
    """Rows about the thresholds of the trees, so that every branch is taken."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((_ROWS, width))
    for feature, values in cuts.items():
        spread = float(np.ptp(values)) or abs(values[0]) or 1.0
        near = random.choice(values, _ROWS)
        rows[:, feature] = near + 0.1 * spread * random.standard_normal(_ROWS)
    return rows.astype(np.float32)
