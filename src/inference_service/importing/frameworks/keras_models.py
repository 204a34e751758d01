"""Keras and TensorFlow: .keras, .h5 and SavedModel folders.

The paths that give right numbers: Keras 3's own ``export(format="onnx")`` for files of Keras (it
needs tf2onnx beside it, and a model that has been called once), and tf2onnx's ``from_function`` for
a SavedModel's serving signature. tf2onnx's ``from_keras`` fails on Keras 3 Sequential models.
"""

import sys
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

_ROWS = 16
_FREE = 8
"""The length of free axes other than the batch's, in samples."""
_OPSET = 17


class Keras:
    """See `Framework`."""

    def convert(self, source: str, kind: str, work: Path, options: dict[str, Any]) -> Converted:
        """Layers that run code of the file (Lambda) are refused by Keras itself."""
        if kind == "saved-model":
            return self._saved_model(source, work)
        import keras

        try:
            self._model = keras.models.load_model(source, compile=False, safe_mode=True)
        except ValueError as error:
            if "safe" in str(error).lower() or "lambda" in str(error).lower():
                raise Refusal(
                    f"the file holds code (a Lambda layer), which is not run: {error}"
                ) from None
            raise
        self._inputs = list(self._model.inputs)
        arrays = [
            _sample(tensor.shape, str(tensor.dtype), _words(self._model, tensor))
            for tensor in self._inputs
        ]
        self._answer(arrays)  # Keras exports a model that has been called once
        path = work / "model.onnx"
        self._model.export(str(path), format="onnx", verbose=False, opset_version=_OPSET)
        write_arrays(str(work / "samples.npz"), arrays)
        return Converted(
            path.name,
            [tensor.name for tensor in self._inputs],
            unique(self._output_names()),
            versions=versions_of("keras", "tensorflow-cpu", "tensorflow", "tf2onnx"),
            samples="samples.npz",
            description=f"{self._model.name} (Keras).",
        )

    def run(self, inputs: list[Any]) -> list[Any]:
        """What model.predict gives; for a SavedModel its serving signature."""
        return self._answer(inputs)

    def _answer(self, inputs: list[Any]) -> list[Any]:
        given = [np.asarray(one) for one in inputs]
        outputs = self._model.predict_on_batch(given if len(given) > 1 else given[0])
        return [np.asarray(one) for one in _flat(outputs)]

    def _output_names(self) -> list[str]:
        """Keys of a dict, or the names of the layers that make the outputs."""
        structure = getattr(self._model, "_outputs_struct", None)
        if isinstance(structure, dict):
            return [str(name) for name in sorted(structure)]
        # A Sequential model has no output_names.
        made_by = [tensor._keras_history.operation for tensor in self._model.outputs]
        return ["output" if _is_generated(layer) else layer.name for layer in made_by]

    def _saved_model(self, source: str, work: Path) -> Converted:
        import tensorflow as tf
        import tf2onnx

        loaded = tf.saved_model.load(source)
        names = list(loaded.signatures)
        name = "serving_default" if "serving_default" in names else (names or [""])[0]
        if not name:
            raise Refusal("the SavedModel has no signature: export it with model.export(folder)")
        function = loaded.signatures[name]
        _, keywords = function.structured_input_signature
        specs = [
            tf.TensorSpec(spec.shape, spec.dtype, name=key)
            for key, spec in sorted(keywords.items())
        ]
        keys = [spec.name for spec in specs]
        results = sorted(function.structured_outputs)

        def ordered(*values: Any) -> list[Any]:
            found = function(**dict(zip(keys, values, strict=True)))
            return [found[key] for key in results]

        self._model = _Signature(ordered)
        path = work / "model.onnx"
        tf2onnx.convert.from_function(
            tf.function(ordered), input_signature=specs, opset=_OPSET, output_path=str(path)
        )
        self._hold = loaded  # its variables live as long as it does
        arrays = [_sample(tuple(spec.shape), spec.dtype.name, 2) for spec in specs]
        write_arrays(str(work / "samples.npz"), arrays)
        return Converted(
            path.name,
            keys,
            results,
            versions=versions_of("tensorflow-cpu", "tensorflow", "keras", "tf2onnx"),
            samples="samples.npz",
            notes=[f"signature {name}"] if name != "serving_default" else [],
            description=f"{Path(source).name} (TensorFlow SavedModel).",
        )


class _Signature:
    """A SavedModel's signature with the one method of Keras that is used here."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def predict_on_batch(self, inputs: Any) -> Any:
        import tensorflow as tf

        given = inputs if isinstance(inputs, list) else [inputs]
        return self._function(*[tf.constant(one) for one in given])


def load() -> Keras:
    """See `Framework`."""
    import keras  # noqa: F401 - told here, where it is missing
    import tensorflow  # noqa: F401
    import tf2onnx  # noqa: F401

    # tf2onnx looks for a name that numpy 2 no longer has.
    if not hasattr(np, "cast"):
        np.cast = {}  # type: ignore[attr-defined]
    sys.setrecursionlimit(10_000)  # of nested models
    return Keras()


def _is_generated(layer: Any) -> bool:
    """Whether Keras made up the layer's name, such as dense_2: it says nothing."""
    plain: str = layer.name.rstrip("0123456789").rstrip("_").replace("_", "")
    return plain == type(layer).__name__.lower()


def _flat(outputs: Any) -> list[Any]:
    if isinstance(outputs, dict):
        return [outputs[key] for key in sorted(outputs)]
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def _words(model: Any, tensor: Any) -> int:
    """The smallest table of an Embedding: integers stay below it."""
    sizes = [
        layer.input_dim
        for layer in model._flatten_layers()
        if hasattr(layer, "input_dim") and isinstance(layer.input_dim, int)
    ]
    return min(sizes, default=2)


def _sample(shape: Any, dtype: str, words: int) -> Any:
    random = np.random.default_rng(0)
    lengths = [_ROWS, *(_FREE if length is None else int(length) for length in tuple(shape)[1:])]
    if dtype.startswith(("int", "uint")):
        return random.integers(0, words, lengths).astype(dtype)
    if dtype == "bool":
        return random.integers(0, 2, lengths).astype(bool)
    if dtype == "string":
        return random.choice(np.array(["alpha", "bravo"], object), lengths)
    return random.standard_normal(lengths).astype(dtype)
