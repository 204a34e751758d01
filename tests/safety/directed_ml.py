"""Directed cases for ai.onnx.ml and for strings."""

from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.safety.directed import (
    FLOAT,
    INT64,
    MIXING,
    PROVEN,
    STRING,
    UNPROVEN,
    Case,
    graph,
    one,
)

TABLE = {"x": (FLOAT, ["n", 4])}
FLAT = {"x": (FLOAT, ["n"])}
SIDE = {"x": (FLOAT, [4, "n"])}
WORDS = {"x": (STRING, ["n", 2])}
TWO = ("y", "z")


def ml(op_type: str, inputs: Any, names: str | None = None, **more: Any) -> onnx.ModelProto:
    return one(op_type, inputs, names, domain="ai.onnx.ml", **more)


LINEAR = {"coefficients": [0.1 * i for i in range(8)], "intercepts": [0.5, -0.5],
          "classlabels_ints": [0, 1]}  # fmt: skip
SVM = {"coefficients": [1.0, -0.5], "support_vectors": [1.0, 0, 0, 1, 0, 1, 0, 1], "rho": [0.1],
       "kernel_type": "RBF", "kernel_params": [0.5, 0.0, 3.0]}  # fmt: skip
SVC = {**SVM, "classlabels_ints": [0, 1], "vectors_per_class": [1, 1]}
NODES = {"nodes_treeids": [0, 0, 0], "nodes_nodeids": [0, 1, 2], "nodes_featureids": [3, 0, 0],
         "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"], "nodes_values": [0.5, 0.0, 0.0],
         "nodes_truenodeids": [1, 0, 0], "nodes_falsenodeids": [2, 0, 0]}  # fmt: skip
REGRESSION = {**NODES, "n_targets": 1, "target_treeids": [0, 0], "target_nodeids": [1, 2],
              "target_ids": [0, 0], "target_weights": [1.0, 2.0]}  # fmt: skip
CLASSES = {**NODES, "class_treeids": [0, 0], "class_nodeids": [1, 2], "class_ids": [0, 1],
           "class_weights": [1.0, 1.0], "classlabels_int64s": [0, 1]}  # fmt: skip
OPSET_5 = {"": 20, "ai.onnx.ml": 5}


def trees(**more: Any) -> dict[str, Any]:
    """The attributes of TreeEnsemble: one split on feature 3, two leaves."""
    from onnx import numpy_helper

    return {
        "n_targets": 1, "nodes_featureids": [3], "nodes_truenodeids": [0],
        "nodes_falsenodeids": [1], "nodes_trueleafs": [1], "nodes_falseleafs": [1],
        "nodes_modes": numpy_helper.from_array(np.array([0], np.uint8)),
        "nodes_splits": numpy_helper.from_array(np.array([0.5], np.float32)),
        "leaf_targetids": [0, 0], "tree_roots": [0],
        "leaf_weights": numpy_helper.from_array(np.array([1.0, 2.0], np.float32)), **more,
    }  # fmt: skip


def neighbours(indices: onnx.NodeProto) -> onnx.ModelProto:
    """Labels of the nearest, as KNN picks them: a stored list, indices from rows."""
    nodes = [
        indices,
        helper.make_node(
            "ArrayFeatureExtractor", ["labels", "i"], ["flat"], "n", domain="ai.onnx.ml"
        ),
        helper.make_node("Reshape", ["flat", "shape"], ["y"]),
    ]
    return graph(nodes, TABLE, labels=np.array([[5, 6, 7, 8]], np.int64), shape=np.array([-1, 1]))


MODELS: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("LinearRegressor", {"coefficients": [0.1, 0.2, 0.3, 0.4], "intercepts": [0.5]}, ("y",)),
    ("LinearClassifier", LINEAR, TWO),
    ("SVMRegressor", {**SVM, "n_supports": 2}, ("y",)),
    ("SVMClassifier", SVC, TWO),
    ("TreeEnsembleRegressor", REGRESSION, ("y",)),
    ("TreeEnsembleClassifier", CLASSES, TWO),
    ("Normalizer", {"norm": "L2"}, ("y",)),
]

FLAT_RUNS = {"LinearRegressor", "LinearClassifier", "Normalizer"}
"""ONNX Runtime runs these with any number of features; the others check it."""

CASES = [
    *(Case(f"{name} of a table", ml(name, TABLE, outputs=outs, **more), PROVEN) for name, more, outs in MODELS),
    *(Case(f"{name}: rank 1 is one row", ml(name, FLAT, outputs=outs, **more), MIXING, shows=name in FLAT_RUNS) for name, more, outs in MODELS),
    *(Case(f"{name}: rows on axis 1", ml(name, SIDE, outputs=outs, **more), MIXING, shows=False) for name, more, outs in MODELS),
    *(
        Case(f"{name}: rows of another width", ml(name, {"x": (FLOAT, ["n", 3])}, outputs=outs, **more), UNPROVEN, shows=False)
        for name, more, outs in MODELS[2:6]
    ),
    Case("TreeEnsemble of a table", ml("TreeEnsemble", TABLE, opsets=OPSET_5, **trees()), PROVEN),
    Case("TreeEnsemble: rank 1 is one row", ml("TreeEnsemble", FLAT, opsets=OPSET_5, **trees()), MIXING, shows=False),
    Case("TreeEnsemble: short rows", ml("TreeEnsemble", {"x": (FLOAT, ["n", 2])}, opsets=OPSET_5, **trees()), UNPROVEN, shows=False),
    Case("Binarizer", ml("Binarizer", FLAT, threshold=0.5), PROVEN),
    Case("CategoryMapper", ml("CategoryMapper", WORDS, cats_int64s=[1, 2], cats_strings=["alpha", "a"], default_int64=-1), PROVEN),
    Case("LabelEncoder", ml("LabelEncoder", WORDS, keys_strings=["alpha", "a"], values_int64s=[1, 2], default_int64=-1), PROVEN),
    Case("LabelEncoder of numbers", ml("LabelEncoder", TABLE, keys_floats=[0.0, 1.0], values_strings=["a", "b"]), PROVEN),
    Case("OneHotEncoder", ml("OneHotEncoder", WORDS, cats_strings=["alpha", "a"], zeros=1), PROVEN),
    Case("OneHotEncoder that fails", ml("OneHotEncoder", WORDS, cats_strings=["alpha", "a", ""], zeros=0), PROVEN, partial=True),
    Case("Scaler of a table", ml("Scaler", TABLE, offset=[0.1, 0.2, 0.3, 0.4], scale=[1.0, 2.0, 3.0, 4.0]), PROVEN),
    Case("Scaler of one value", ml("Scaler", FLAT, offset=[0.1], scale=[2.0]), PROVEN),
    Case("Scaler: values along the rows", ml("Scaler", FLAT, offset=[0.1, 0.2], scale=[1.0, 2.0]), MIXING, shows=False),
    Case("Scaler: rows on axis 1", ml("Scaler", SIDE, offset=[0.1, 0.2], scale=[1.0, 2.0]), MIXING, shows=False),
    Case("Imputer of a table", ml("Imputer", TABLE, imputed_value_floats=[1.0, 2.0, 3.0, 4.0], replaced_value_float=0.0), PROVEN),
    Case("Imputer: values along the rows", ml("Imputer", FLAT, imputed_value_floats=[1.0, 2.0, 3.0], replaced_value_float=0.0), MIXING),
    Case("FeatureVectorizer of two tables", ml("FeatureVectorizer", {**TABLE, "z": (FLOAT, ["n", 2])}, inputdimensions=[4, 2]), PROVEN),
    Case("FeatureVectorizer: rank 1 is one row", ml("FeatureVectorizer", FLAT, inputdimensions=[2]), MIXING),
    Case("FeatureVectorizer: a stored row beside rows", ml("FeatureVectorizer", TABLE, "x w", inputdimensions=[4, 2], constants={"w": np.ones((1, 2), np.float32)}), MIXING),
    Case("ArrayFeatureExtractor of a table", ml("ArrayFeatureExtractor", TABLE, "x i", constants={"i": np.array([1, 3])}), PROVEN),
    Case("ArrayFeatureExtractor: picks rows", ml("ArrayFeatureExtractor", FLAT, "x i", constants={"i": np.array([0])}), MIXING),
    Case("ArrayFeatureExtractor: rows pick features", ml("ArrayFeatureExtractor", {**TABLE, "i": (INT64, ["n"])}), MIXING, examples={"x": np.eye(4, dtype=np.float32), "i": np.array([0, 1, 2, 3])}),
    Case("ArrayFeatureExtractor: indices of rows in a stored list", neighbours(helper.make_node("ArgMax", ["x"], ["i"], axis=1)), PROVEN, partial=True),
    Case("ArrayFeatureExtractor: indices of all rows", neighbours(helper.make_node("ArgMax", ["x"], ["i"], axis=0)), MIXING),
    Case("ZipMap of a table", ml("ZipMap", TABLE, classlabels_int64s=[0, 1, 2, 3]), PROVEN),
    Case("ZipMap: rank 1 is one row", ml("ZipMap", FLAT, classlabels_int64s=[0]), MIXING, shows=False),
]  # fmt: skip


# Strings

POOL: dict[str, Any] = {"mode": "TF", "min_gram_length": 1, "max_gram_length": 2, "max_skip_count": 1,
        "ngram_counts": [0, 3], "ngram_indexes": [0, 1, 2, 3],
        "pool_strings": ["alpha", "bravo", "delta", "alpha", "bravo"]}  # fmt: skip
PADDING_IN_POOL: dict[str, Any] = {**POOL, "pool_strings": ["alpha", "#", "", "alpha", "#"]}


def words(splitter: onnx.NodeProto, *others: onnx.NodeProto, **pool: Any) -> onnx.ModelProto:
    counter = helper.make_node("TfIdfVectorizer", ["w"], ["y"], "count", **(pool or POOL))
    return graph([splitter, *others, counter], {"x": (STRING, ["n"])})


def tokenizer(output: str = "w", **more: Any) -> onnx.NodeProto:
    values: dict[str, Any] = {
        "mark": 0,
        "mincharnum": 1,
        "pad_value": "#",
        "separators": [" "],
        **more,
    }
    return helper.make_node(
        "Tokenizer", ["x"], [output], "tokens", domain="com.microsoft", **values
    )


def string_split(*outputs: str) -> onnx.NodeProto:
    return helper.make_node("StringSplit", ["x"], list(outputs), "split", delimiter=" ")


STRINGS = [
    Case("Tokenizer: padded to the longest row", graph([tokenizer("y")], {"x": (STRING, ["n"])}), MIXING),
    Case("Tokenizer, words counted", words(tokenizer()), PROVEN, partial=True),
    Case("Tokenizer, padding counted", words(tokenizer(), **PADDING_IN_POOL), MIXING),
    Case("Tokenizer, marks behind the padding", words(tokenizer(mark=1)), MIXING, shows=False),
    Case("StringSplit: padded to the longest row", graph([string_split("y", "z")], {"x": (STRING, ["n"])}, ("y",)), MIXING),
    Case("StringSplit: the number of words", graph([string_split("y", "z")], {"x": (STRING, ["n"])}, ("z",)), PROVEN),
    Case("StringSplit, words counted", words(string_split("w", "z")), PROVEN),
    Case("StringSplit, padding counted", words(string_split("w", "z"), **PADDING_IN_POOL), MIXING),
    Case(
        "Tokenizer of two texts in a row: padding stands between the words",
        graph(
            [tokenizer("t"), helper.make_node("Flatten", ["t"], ["w"]), helper.make_node("TfIdfVectorizer", ["w"], ["y"], "count", **POOL)],
            {"x": (STRING, ["n", 2])},
        ),
        UNPROVEN,
        shows=False,
    ),
    Case(
        "Shape of padded words",
        graph([tokenizer("t"), helper.make_node("Shape", ["t"], ["s"], start=1), helper.make_node("Cast", ["s"], ["f"], to=1), helper.make_node("Add", ["v", "f"], ["y"])], {"x": (STRING, ["n"]), "v": (FLOAT, ["n", 1])}),
        MIXING,
    ),
    Case("TfIdfVectorizer of words", graph([helper.make_node("TfIdfVectorizer", ["x"], ["y"], "n", **POOL)], {"x": (STRING, ["n", 3])}), PROVEN),
    Case("TfIdfVectorizer: rank 1 is one row", graph([helper.make_node("TfIdfVectorizer", ["x"], ["y"], "n", **POOL)], {"x": (STRING, ["n"])}), MIXING),
    Case("StringNormalizer", one("StringNormalizer", {"x": (STRING, ["n"])}, case_change_action="NONE"), PROVEN),
    Case("StringNormalizer: stop words are removed", one("StringNormalizer", {"x": (STRING, ["n"])}, case_change_action="NONE", is_case_sensitive=1, stopwords=["alpha"]), MIXING),
]  # fmt: skip
