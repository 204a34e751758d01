"""Operators of ai.onnx.ml: trees, linear models, encoders. All work by row, with traps.

Traps, as ONNX Runtime computes:

- A tensor of rank 1 is *one* row of features for models, Normalizer, Scaler, Imputer, ZipMap and
  FeatureVectorizer: rows along its only axis meet. Only element-wise operators are exempt.
- SVM and tree kernels step through the input by the number of features of the *model*. If the rows
  of the input are shorter, they read on into the next row, so the width must be known.
- OneHotEncoder with ``zeros`` = 0 fails on an unknown category: one row fails the whole run.
"""

from collections.abc import Sequence

from inference_service.safety.align import product
from inference_service.safety.call import Call, Mixing, Result, rule
from inference_service.safety.graph import Constant
from inference_service.safety.poly import Expr, Unfollowed
from inference_service.safety.value import Flow, Rows, Shape, Shared, Value

ML = "ai.onnx.ml"


def table(call: Call) -> Flow:
    """The dependence of a table [rows, features]; anything else is not a table of rows."""
    flow, shape = call.flow(0), call.shape(0)
    if not isinstance(flow, Rows):
        return flow
    if len(shape) == 1:
        raise Mixing("a tensor of rank 1 is one row of features to it")
    if flow.axis != 0:
        raise Mixing("it computes with the entries of axis 0, and the rows are on another axis")
    if len(shape) != 2:
        raise Unfollowed("its input is no table of rows and features")
    return flow


def height(call: Call) -> Expr:
    """The number of rows that the operator sees in its input."""
    shape = call.shape(0)
    return shape[0] if len(shape) > 1 else 1


def width(call: Call) -> int | None:
    """The number of features in a row, None where it is not known."""
    shape = call.shape(0)
    found = shape[-1] if shape else None
    return found if isinstance(found, int) else None


def length(call: Call, *names: str) -> int:
    """The number of entries of the first of these list attributes that is present."""
    for name in names:
        found = call.node.attributes.get(name)
        if isinstance(found, Constant):
            return found.size
        if isinstance(found, Sequence) and found:
            return len(found)
    return 0


# Element-wise


@rule("Binarizer", domain=ML)
def element_wise(call: Call) -> Result:
    """The same for each element."""
    call.out(call.shape(0))
    return call.flow(0)


@rule("CategoryMapper", domain=ML)
def category_mapper(call: Call) -> Result:
    """Strings to numbers and back, by a table; what is not in it gets a default."""
    call.out(call.shape(0), "int64" if call.dtype(0) == "string" else "string")
    return call.flow(0)


@rule("LabelEncoder", domain=ML)
def label_encoder(call: Call) -> Result:
    """Each element by a table; what is not in it gets a default."""
    call.out(call.shape(0), _encoded_dtype(call))
    return call.flow(0)


def _encoded_dtype(call: Call) -> str:
    named = {"values_strings": "string", "values_int64s": "int64", "values_floats": "float"}
    for name, dtype in named.items():
        if name in call.node.attributes:
            return dtype
    tensor = call.node.attributes.get("values_tensor")
    if isinstance(tensor, Constant):
        return tensor.dtype
    return "int64" if call.dtype(0) == "string" else "string"  # version 1: classes_strings


@rule("OneHotEncoder", domain=ML)
def one_hot_encoder(call: Call) -> Result:
    """Each element becomes a vector along a new last axis."""
    categories = length(call, "cats_int64s", "cats_strings")
    call.out((*call.shape(0), categories), "float")
    flow = call.flow(0)
    if isinstance(flow, Rows) and not call.int_("zeros", 1):
        call.host.can_fail()
    return flow


# Element-wise with values for each feature


@rule("Scaler", domain=ML)
def scaler(call: Call) -> Result:
    """Offset and scale, one for all or one for each feature."""
    call.out(call.shape(0), "float")
    return _by_feature(call, max(length(call, "scale"), length(call, "offset")))


@rule("Imputer", domain=ML)
def imputer(call: Call) -> Result:
    """Replacements for missing values, one for all or one for each feature."""
    call.out(call.shape(0))
    return _by_feature(call, length(call, "imputed_value_floats", "imputed_value_int64s"))


def _by_feature(call: Call, values: int) -> Flow:
    """The feature of a flat place is its rest by the length of axis 1 (of axis 0 in rank 1)."""
    flow = call.flow(0)
    if values > 1 and isinstance(flow, Rows):
        if len(call.shape(0)) == 1 or flow.axis != 0:
            raise Mixing("it has a value for each entry of the axis of the rows")
        return flow
    return flow


@rule("Normalizer", domain=ML)
def normalizer(call: Call) -> Result:
    """Divides the features of a row by their norm."""
    call.out(call.shape(0), "float")
    return table(call)


# Models


@rule("LinearRegressor", domain=ML)
def linear_regressor(call: Call) -> Result:
    """A score for each target."""
    call.out((height(call), call.int_("targets", 1)), "float")
    return table(call)


@rule("LinearClassifier", domain=ML)
def linear_classifier(call: Call) -> Result:
    """A label, and scores: one for each intercept, two for one intercept with two labels."""
    labels = length(call, "classlabels_strings", "classlabels_ints")
    scores = length(call, "intercepts")
    _labels_and_scores(call, 2 if scores == 1 and labels == 2 else scores)
    return _both(call, table(call))


@rule("SVMClassifier", domain=ML)
def svm_classifier(call: Call) -> Result:
    """A label, and scores for each class or, without probabilities, for each pair of classes."""
    classes = length(call, "classlabels_strings", "classlabels_ints")
    scores = classes
    if length(call, "vectors_per_class") and not length(call, "prob_a"):
        scores = classes * (classes - 1) // 2 if classes > 2 else 2
    _labels_and_scores(call, scores)
    flow = table(call)
    _refuse_other_width(call, flow, _support_features(call, classes))
    return _both(call, flow)


@rule("SVMRegressor", domain=ML)
def svm_regressor(call: Call) -> Result:
    """One number for each row."""
    call.out((height(call), 1), "float")
    flow = table(call)
    _refuse_other_width(call, flow, _support_features(call, 1))
    return flow


def _support_features(call: Call, classes: int) -> int:
    vectors = sum(call.ints_("vectors_per_class") or ()) or call.int_("n_supports", 0)
    if vectors:
        return length(call, "support_vectors") // vectors
    return length(call, "coefficients") // max(classes, 1)


def _refuse_other_width(call: Call, flow: Flow, features: int) -> None:
    """The kernel takes ``features`` numbers for each row, whatever the width of the input is."""
    if isinstance(flow, Rows) and width(call) != features:
        raise Unfollowed(f"its rows may have other than the {features} features of the model")


@rule("TreeEnsembleClassifier", domain=ML)
def tree_classifier(call: Call) -> Result:
    """A label, and a score for each class."""
    _labels_and_scores(call, length(call, "classlabels_strings", "classlabels_int64s"))
    flow = table(call)
    _refuse_short_rows(call, flow, "nodes_featureids")
    return _both(call, flow)


@rule("TreeEnsembleRegressor", domain=ML)
def tree_regressor(call: Call) -> Result:
    """A score for each target."""
    call.out((height(call), call.int_("n_targets", 1)), "float")
    flow = table(call)
    _refuse_short_rows(call, flow, "nodes_featureids")
    return flow


@rule("TreeEnsemble", domain=ML)
def tree_ensemble(call: Call) -> Result:
    """A score for each target, in the type of the input (operator set 5)."""
    call.out((height(call), call.int_("n_targets", 1)))
    flow = table(call)
    _refuse_short_rows(call, flow, "nodes_featureids")
    return flow


def _refuse_short_rows(call: Call, flow: Flow, attribute: str) -> None:
    most = max(call.ints_(attribute) or (0,))
    features = width(call)
    if isinstance(flow, Rows) and (features is None or features <= most):
        raise Unfollowed(f"it reads feature {most} of rows that may have fewer features")


def _labels_and_scores(call: Call, scores: int) -> None:
    strings = "classlabels_strings" in call.node.attributes
    call.out((height(call),), "string" if strings else "int64")
    call.out((height(call), scores), "float")


def _both(call: Call, flow: Flow) -> Result:
    return [Value(flow, s, d) for s, d in zip(call.shapes, call.dtypes, strict=True)]


# Joining and picking features


@rule("FeatureVectorizer", domain=ML)
def feature_vectorizer(call: Call) -> Result:
    """The features of several tables side by side; the first one tells the number of rows."""
    call.out((height(call), sum(call.ints_("inputdimensions") or ())), "float")
    flow = table(call)
    for index in range(1, len(call.inputs)):
        other = call.flow(index)
        if isinstance(flow, Rows) or isinstance(other, Rows):
            if other != flow or len(call.shape(index)) < 2:
                raise Mixing(f"its input {index} does not hold the same rows as its first input")
        elif not isinstance(other, Shared):
            raise Mixing("it computes with the number of rows")
    return flow


@rule("ArrayFeatureExtractor", domain=ML)
def array_feature_extractor(call: Call) -> Result:
    """Picks features, that is entries of the last axis, by a list of indices.

    The indices are taken as a flat list. If they come from rows (labels of neighbours), the result
    has the rows along its last axis, and an index out of range fails the whole run.
    """
    shape, indices = call.shape(0), call.shape(1)
    picked = product(indices)
    result: Shape = (*(shape[:-1] if len(shape) > 1 else (1,)), picked)
    call.out(result)
    flow, index = call.flow(0), call.flow(1)
    if isinstance(flow, Rows):
        if flow.axis == len(shape) - 1:
            raise Mixing("it picks entries of the axis of the rows")
        call.whole(1, what="list of features")
        return flow
    if not isinstance(index, Rows):
        return call.whole(0, 1, what="input")
    call.host.can_fail()
    call.whole(0, what="table")
    return Rows(
        len(result) - 1,
        product(indices[: index.axis]) * index.outer,
        index.group * product(indices[index.axis + 1 :]),
    )


@rule("ZipMap", domain=ML)
def zip_map(call: Call) -> Result:
    """A list with a map of class to score for each row."""
    flow = table(call)
    return Value(flow, (height(call),), "float", kind="map")
