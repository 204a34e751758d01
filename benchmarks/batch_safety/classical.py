"""Trains and converts scikit-learn, LightGBM and XGBoost models. Usage: classical.py FOLDER."""

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn import (
    cluster,
    compose,
    datasets,
    decomposition,
    discriminant_analysis,
    ensemble,
    feature_extraction,
    gaussian_process,
    impute,
    linear_model,
    mixture,
    multiclass,
    multioutput,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)

X, Y = datasets.load_iris(return_X_y=True)
X = X.astype(np.float32)
TWO = np.stack([Y, Y % 2], axis=1)
OPSETS = {"": 17, "ai.onnx.ml": 3}
WORDS = ["alpha beta", "beta gamma delta", "delta", "alpha alpha gamma", "gamma", "beta"] * 25


def numeric() -> dict[str, Any]:
    forest = ensemble.RandomForestClassifier(10)
    logistic = linear_model.LogisticRegression(max_iter=200)
    return {
        "logistic": logistic,
        "linear": linear_model.LinearRegression(),
        "sgd": linear_model.SGDClassifier(),
        "perceptron": linear_model.Perceptron(),
        "ridge": linear_model.RidgeClassifier(),
        "tree": tree.DecisionTreeClassifier(),
        "forest": forest,
        "extra-trees": ensemble.ExtraTreesRegressor(10),
        "gradient-boosting": ensemble.GradientBoostingClassifier(n_estimators=5),
        "hist-gradient-boosting": ensemble.HistGradientBoostingRegressor(max_iter=5),
        "adaboost": ensemble.AdaBoostClassifier(n_estimators=3),
        "bagging": ensemble.BaggingClassifier(n_estimators=3),
        "voting": ensemble.VotingClassifier(
            [("a", logistic), ("b", forest)], voting="soft", flatten_transform=False
        ),
        "isolation-forest": ensemble.IsolationForest(n_estimators=5),
        "svc": svm.SVC(),
        "linear-svc": svm.LinearSVC(),
        "svr": svm.SVR(),
        "one-class-svm": svm.OneClassSVM(),
        "gaussian-nb": naive_bayes.GaussianNB(),
        "bernoulli-nb": naive_bayes.BernoulliNB(),
        "knn": neighbors.KNeighborsClassifier(3),
        "knn-regressor": neighbors.KNeighborsRegressor(3),
        "mlp": neural_network.MLPClassifier((8,), max_iter=20),
        "kmeans": cluster.KMeans(3, n_init=1),
        "gmm": mixture.GaussianMixture(3),
        "pca": decomposition.PCA(2),
        "lda": discriminant_analysis.LinearDiscriminantAnalysis(),
        "qda": discriminant_analysis.QuadraticDiscriminantAnalysis(),
        "gaussian-process": gaussian_process.GaussianProcessRegressor(),
        "one-vs-rest": multiclass.OneVsRestClassifier(logistic),
        "scaler": preprocessing.StandardScaler(),
        "min-max": preprocessing.MinMaxScaler(),
        "robust": preprocessing.RobustScaler(),
        "normalizer": preprocessing.Normalizer(),
        "binarizer": preprocessing.Binarizer(),
        "bins": preprocessing.KBinsDiscretizer(3, encode="onehot-dense"),
        "polynomial": preprocessing.PolynomialFeatures(2),
        "power": preprocessing.PowerTransformer(),
        "imputer": impute.SimpleImputer(),
        "pipeline": pipeline.make_pipeline(preprocessing.StandardScaler(), logistic),
    }


def save(folder: Path, name: str, convert: Any) -> None:
    try:
        model = convert()
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {str(error)[:150]}")
        return
    (folder / f"{name}.onnx").write_bytes(model.SerializeToString())


def sklearn_models(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in numeric().items():
        save(folder, name, lambda model=model: to_onnx(model.fit(X, Y), X[:1], target_opset=OPSETS))
    plain = linear_model.LogisticRegression(max_iter=200).fit(X, Y)
    options = {id(plain): {"zipmap": False}}
    save(folder, "logistic-plain", lambda: to_onnx(plain, X[:1], options=options))
    several = multioutput.MultiOutputClassifier(tree.DecisionTreeClassifier()).fit(X, TWO)
    save(folder, "multi-output", lambda: to_onnx(several, X[:1]))
    words(folder)


def words(folder: Path) -> None:
    """Models of text and of columns of strings and numbers."""
    text = [("text", StringTensorType([None, 1]))]
    for name, vectoriser in {
        "tfidf": feature_extraction.text.TfidfVectorizer(),
        "count": feature_extraction.text.CountVectorizer(ngram_range=(1, 2)),
        "tfidf-stopwords": feature_extraction.text.TfidfVectorizer(stop_words=["delta"]),
    }.items():
        model = pipeline.make_pipeline(vectoriser, linear_model.LogisticRegression())
        model.fit(WORDS, Y)
        save(folder, name, lambda model=model: to_onnx(model, initial_types=text))
    import pandas

    frame = pandas.DataFrame({"word": WORDS, "size": X[:, 0]})
    columns = compose.ColumnTransformer(
        [
            ("words", preprocessing.OneHotEncoder(handle_unknown="ignore"), ["word"]),
            ("numbers", preprocessing.StandardScaler(), ["size"]),
        ]
    )
    types = [("word", StringTensorType([None, 1])), ("size", FloatTensorType([None, 1]))]
    model = pipeline.make_pipeline(columns, linear_model.LogisticRegression()).fit(frame, Y)
    save(folder, "columns", lambda: to_onnx(model, initial_types=types))
    ordinal = preprocessing.OrdinalEncoder().fit(frame[["word"]])
    save(folder, "ordinal", lambda: to_onnx(ordinal, initial_types=types[:1]))


def boosted(folder: Path) -> None:
    """LightGBM and XGBoost, through the converters of onnxmltools."""
    folder.mkdir(parents=True, exist_ok=True)
    import lightgbm
    import xgboost
    from onnxmltools import convert_lightgbm, convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType as Floats

    types = [("x", Floats([None, 4]))]
    models = {
        "lightgbm-classifier": (lightgbm.LGBMClassifier(n_estimators=5, verbose=-1), Y),
        "lightgbm-regressor": (lightgbm.LGBMRegressor(n_estimators=5, verbose=-1), X[:, 0]),
        "xgboost-classifier": (xgboost.XGBClassifier(n_estimators=5), Y),
        "xgboost-regressor": (xgboost.XGBRegressor(n_estimators=5), X[:, 0]),
    }
    for name, (model, target) in models.items():
        convert = convert_lightgbm if name.startswith("lightgbm") else convert_xgboost
        model.fit(X, target)
        save(folder, name, lambda m=model, c=convert: c(m, initial_types=types, target_opset=15))


def main() -> None:
    warnings.simplefilter("ignore")
    folder = Path(sys.argv[1])
    sklearn_models(folder / "scikit-learn")
    boosted(folder / "boosting")


if __name__ == "__main__":
    main()
