"""scikit-learn: skops files, and pickles where they are allowed."""

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

_SAMPLES = 64
_TEXTS = ("CountVectorizer", "TfidfVectorizer", "HashingVectorizer")
_WORD = r"[\p{L}\p{N}_]{2,}"
"""In RE2's words what the default token pattern of scikit-learn finds, `(?u)\\b\\w\\w+\\b`."""


class Sklearn:
    """See `Framework`."""

    def convert(self, source: str, kind: str, work: Path, options: dict[str, Any]) -> Converted:
        """Classifiers answer labels and probabilities, without a ZipMap."""
        self._model = _loaded(source, kind, allowed=bool(options.get("allow_pickle")))
        from skl2onnx import to_onnx

        self._columns = _columns(self._model)
        types = _types(self._model, self._columns)
        model = to_onnx(
            self._model,
            initial_types=types,
            options=_options(self._model),
            target_opset={"": 17, "ai.onnx.ml": 3},
        )
        (work / "model.onnx").write_bytes(model.SerializeToString())
        graph = [output.name for output in model.graph.output]
        self._outputs = graph
        names = [_output_name(name) for name in graph]
        classes = _classes(self._model)
        labels = {"probabilities": classes} if classes and "probabilities" in names else {}
        return Converted(
            "model.onnx",
            [name for name, _ in types],
            unique(names),
            labels,
            versions_of("scikit-learn", "skl2onnx", "skops"),
            self._samples(work, types),
            description=f"{type(_last(self._model)).__name__} (scikit-learn).",
        )

    def run(self, inputs: list[Any]) -> list[Any]:
        """What predict, predict_proba, transform and the like give, by the graph's outputs."""
        given = self._given(inputs)
        found = [getattr(self._model, _method(self._model, name))(given) for name in self._outputs]
        return [np.asarray(one.todense() if hasattr(one, "todense") else one) for one in found]

    def _given(self, inputs: list[Any]) -> Any:
        if self._columns is None:
            only = inputs[0]
            return only.ravel() if only.dtype.kind in "OU" and _is_text(self._model) else only
        import pandas

        data = {name: array.ravel() for (name, _), array in zip(self._columns, inputs, strict=True)}
        return pandas.DataFrame(data)

    def _samples(self, work: Path, types: list[tuple[str, Any]]) -> str:
        """Rows of values that the model was trained on, as far as its parts still know them."""
        random = np.random.default_rng(0)
        if self._columns is None and _is_text(self._model):
            arrays: list[Any] = [_texts(random, _first(self._model), _SAMPLES)]
        elif self._columns is not None:
            arrays = [_column(random, values) for _, values in self._columns]
        else:
            arrays = [_numbers(random, self._model, int(types[0][1].shape[1]))]
        write_arrays(str(work / "samples.npz"), arrays)
        return "samples.npz"


def load() -> Sklearn:
    """See `Framework`."""
    import sklearn  # noqa: F401 - told here, where it is missing

    return Sklearn()


def _loaded(source: str, kind: str, *, allowed: bool) -> Any:
    if kind == "skops":
        from skops.io import get_untrusted_types
        from skops.io import load as load_skops

        unknown = get_untrusted_types(file=source)
        if unknown:
            raise Refusal(
                f"the file holds types that skops doesn't trust ({', '.join(map(str, unknown))}): "
                "they may run code; if you know the file, save it as a pickle and use "
                "--allow-pickle"
            )
        return load_skops(source, trusted=[])
    if not allowed:
        raise Refusal(
            "a pickle runs code when it is read: save the model with skops.io.dump(model, "
            "'model.skops') instead, or, for a file that you made yourself, add --allow-pickle"
        )
    import joblib

    return joblib.load(source)  # it reads plain pickles too


_METHODS = {
    "predict": {"label", "output_label", "variable", "predicted"},
    "predict_proba": {"probabilities", "output_probability"},
    "decision_function": {"probabilities", "scores"},
}
"""The outputs of converters by the method whose answer they are."""


def _method(model: Any, output: str) -> str:
    for method, outputs in _METHODS.items():
        if output in outputs and hasattr(model, method):
            return method
    return "transform" if hasattr(model, "transform") else "predict"


# The parts of a pipeline


def _first(model: Any) -> Any:
    return _first(model.steps[0][1]) if hasattr(model, "steps") else model


def _last(model: Any) -> Any:
    return _last(model.steps[-1][1]) if hasattr(model, "steps") else model


def _is_text(model: Any) -> bool:
    return type(_first(model)).__name__ in _TEXTS


def _parts(model: Any) -> list[Any]:
    """The estimator and those inside it, as far as they are found by the usual names."""
    found = [model]
    for _, step in getattr(model, "steps", []):
        found += _parts(step)
    for entry in getattr(model, "transformers_", []):
        if not isinstance(entry[1], str):
            found += _parts(entry[1])
    for _, one in getattr(model, "transformer_list", []):
        found += _parts(one)
    inner = getattr(model, "estimators_", [])
    for one in np.ravel(np.asarray(inner, object)).tolist():
        found += _parts(one)
    return found


def _classes(model: Any) -> list[str]:
    classes = getattr(model, "classes_", None)
    if classes is None or isinstance(classes, list) or np.ndim(classes) != 1:
        return []
    return [str(one) for one in classes]


def _output_name(name: str) -> str:
    return {
        "output_label": "label",
        "output_probability": "probabilities",
        "variable": "output",
    }.get(name, name)


def _options(model: Any) -> dict[int, dict[str, Any]]:
    options: dict[int, dict[str, Any]] = {}
    last = _last(model)
    if hasattr(last, "classes_"):
        options[id(last)] = {"zipmap": False}
    for part in _parts(model):
        words = type(part).__name__ in _TEXTS and getattr(part, "analyzer", "") == "word"
        if words and getattr(part, "token_pattern", "") == r"(?u)\b\w\w+\b":
            options.setdefault(id(part), {})["tokenexp"] = _WORD
    return options


# Types and samples of the inputs

_Column = tuple[str, list[Any]]
"""A column's name, and values that it may have: texts, or a mean and a deviation."""


def _columns(model: Any) -> list[_Column] | None:
    """The columns of a model that takes a table by name; None: it takes one array."""
    first = _first(model)
    if not hasattr(first, "transformers_"):
        return None
    names = getattr(first, "feature_names_in_", None)
    if names is None:
        return None
    known: dict[str, list[Any]] = {str(name): [0.0, 1.0] for name in names}
    for _, step, columns in first.transformers_:
        if isinstance(step, str):
            continue
        start = _first(step)
        wanted = [columns] if isinstance(columns, str) else _names(columns, names)
        for index, name in enumerate(wanted):
            known[name] = _known(start, index)
    return list(known.items())


def _names(columns: Any, names: Any) -> list[str]:
    if isinstance(columns, slice):
        return [str(one) for one in names[columns]]
    return [str(names[one]) if isinstance(one, int | np.integer) else str(one) for one in columns]


def _known(step: Any, index: int) -> list[Any]:
    if type(step).__name__ in _TEXTS:
        return list(_texts(np.random.default_rng(index), step, _SAMPLES).ravel())
    categories = getattr(step, "categories_", None)
    if categories is not None:
        return list(categories[index])
    fill = getattr(step, "statistics_", None)
    if fill is not None and np.asarray(fill).dtype.kind in "OU":
        return [str(fill[index])]
    mean, scale = getattr(step, "mean_", None), getattr(step, "scale_", None)
    if mean is not None and scale is not None and np.ndim(mean) == 1:
        return [float(mean[index]), float(scale[index])]
    return [0.0, 1.0]


def _types(model: Any, columns: list[_Column] | None) -> list[tuple[str, Any]]:
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType

    if columns is not None:
        kinds = {"s": StringTensorType, "i": Int64TensorType, "f": FloatTensorType}
        return [(name, kinds[_kind(values)]([None, 1])) for name, values in columns]
    if _is_text(model):
        return [("text", StringTensorType([None, 1]))]
    width = getattr(model, "n_features_in_", None)
    if width is None:
        raise Refusal("the model is not fitted, or does not tell its number of features")
    first = _first(model)
    categories = getattr(first, "categories_", [])
    if any(np.asarray(one).dtype.kind in "OU" for one in categories):
        return [("input", StringTensorType([None, width]))]
    return [("input", FloatTensorType([None, width]))]


def _kind(values: list[Any]) -> str:
    if any(isinstance(one, str) for one in values):
        return "s"
    return "i" if all(isinstance(one, int | np.integer) for one in values) else "f"


def _column(random: np.random.Generator, values: list[Any]) -> Any:
    kind = _kind(values)
    if kind == "s":
        return random.choice(np.array(values, object), (_SAMPLES, 1))
    if kind == "i" or len(values) != 2:
        return random.choice(np.array(values), (_SAMPLES, 1)).astype(
            np.int64 if kind == "i" else np.float32
        )
    mean, scale = values
    return (mean + scale * random.standard_normal((_SAMPLES, 1))).astype(np.float32)


def _texts(random: np.random.Generator, step: Any, rows: int) -> Any:
    """Words that the vectoriser knows, and others, with punctuation between."""
    known = [str(word) for word in getattr(step, "vocabulary_", {})] or ["alpha", "beta"]
    strange = ["Zzyzx", "é", "naïve", "x", "42", "don't", "ÜBER"]
    texts = []
    for _ in range(rows):
        words = list(random.choice(known, random.integers(1, 12)))
        words += list(random.choice(strange, random.integers(0, 3)))
        random.shuffle(words)
        text = "".join(word + random.choice([" ", " ", ", ", ". ", "-"]) for word in words)
        texts.append(text if random.integers(2) else text.capitalize())
    return np.array(texts, object)[:, None]


def _numbers(random: np.random.Generator, model: Any, width: int) -> Any:
    """About the scaler's means or the thresholds of trees; else of a normal distribution."""
    rows = random.standard_normal((_SAMPLES, width))
    for part in _parts(model):
        categories = getattr(part, "categories_", None)
        if part is _first(model) and categories is not None:
            columns = [random.choice(np.asarray(one), _SAMPLES) for one in categories]
            found = np.stack([np.asarray(one, object) for one in columns], axis=1)
            texts = any(isinstance(one, str) for one in found.ravel())
            return found.astype(str).astype(object) if texts else found.astype(np.float32)
        mean, scale = getattr(part, "mean_", None), getattr(part, "scale_", None)
        known = part is _first(model) and mean is not None and scale is not None
        if known and np.asarray(mean).shape == np.asarray(scale).shape == (width,):
            return (np.asarray(mean) + rows * np.asarray(scale)).astype(np.float32)
        tree = getattr(part, "tree_", None)
        if tree is not None and getattr(tree, "n_features", 0) == width:
            for feature in range(width):
                cuts = tree.threshold[tree.feature == feature]
                if len(cuts):
                    spread = float(np.ptp(cuts)) or abs(float(cuts[0])) or 1.0
                    near = random.choice(cuts, _SAMPLES)
                    rows[:, feature] = near + 0.1 * spread * random.standard_normal(_SAMPLES)
    return rows.astype(np.float32)
