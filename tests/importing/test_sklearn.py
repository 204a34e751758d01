"""scikit-learn and LightGBM as the tutorials have them: train, import, serve, ask."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference_service.core.errors import InvalidModel
from inference_service.importing.importer import ImportRequest, import_model
from tests.importing.serving import predicted
from tests.tools import need_package


@pytest.fixture(scope="module")
def iris() -> tuple[Any, Any]:
    need_package("sklearn", "skl2onnx", "skops", "pandas")
    from sklearn.datasets import load_iris

    data: Any = load_iris()
    return data.data, np.array(data.target_names)[data.target]


def test_a_pipeline_of_numbers_answers_predict_and_predict_proba(
    iris: tuple[Any, Any], tmp_path: Path
) -> None:
    import skops.io
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = iris
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    skops.io.dump(model, tmp_path / "iris.skops")
    report = import_model(ImportRequest(str(tmp_path / "iris.skops"), tmp_path / "models"))
    assert report.batching == "proven"
    answer = predicted(tmp_path / "models", "iris", x[::10].tolist())
    assert answer["label"] == model.predict(x[::10]).tolist()
    np.testing.assert_allclose(answer["probabilities"], model.predict_proba(x[::10]), atol=1e-5)


def test_a_text_model_answers_texts(iris: object, tmp_path: Path) -> None:
    """With bigrams: words of one letter and accents are what converters get wrong."""
    import skops.io
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts = ["a good film", "naïve and bad", "I loved x it", "Über awful, bad", "so good!"] * 8
    labels = ["pos", "neg", "pos", "neg", "pos"] * 8
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression())
    model.fit(texts, labels)
    skops.io.dump(model, tmp_path / "mood.skops")
    import_model(ImportRequest(str(tmp_path / "mood.skops"), tmp_path / "models"))
    asked = ["Good, x good film", "über naïve bad", "nothing known"]
    answer = predicted(tmp_path / "models", "mood", asked)
    assert answer["label"] == model.predict(asked).tolist()
    np.testing.assert_allclose(answer["probabilities"], model.predict_proba(asked), atol=1e-5)


def test_columns_of_a_table_become_inputs_of_their_own(
    iris: tuple[Any, Any], tmp_path: Path
) -> None:
    import joblib
    import pandas
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    x, y = iris
    table = pandas.DataFrame({"city": ["Rome", "Oslo", "Lima"] * 50, "size": x[:, 0]})
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["city"]), (StandardScaler(), ["size"])
    )
    model = make_pipeline(columns, RandomForestClassifier(5, random_state=0)).fit(table, y)
    joblib.dump(model, tmp_path / "houses.joblib")
    source = str(tmp_path / "houses.joblib")
    with pytest.raises(InvalidModel, match="--allow-pickle"):
        import_model(ImportRequest(source, tmp_path / "models"))
    import_model(ImportRequest(source, tmp_path / "models", allow_pickle=True))
    answer = predicted(tmp_path / "models", "houses", {"city": ["Oslo"], "size": [5.1]})
    wanted = model.predict_proba(pandas.DataFrame({"city": ["Oslo"], "size": [5.1]}))
    np.testing.assert_allclose(np.ravel(answer["probabilities"]), wanted[0], atol=1e-5)


def test_a_pickle_is_not_read_without_the_flag(iris: object, tmp_path: Path) -> None:
    import os
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "m.pkl").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InvalidModel, match="runs code"):
        import_model(ImportRequest(str(tmp_path / "m.pkl"), tmp_path / "models"))
    assert not (tmp_path / "ran").exists()


def test_lightgbm_answers_what_its_own_classifier_does(
    iris: tuple[Any, Any], tmp_path: Path
) -> None:
    need_package("lightgbm", "onnxmltools")
    import lightgbm

    x, _ = iris
    y = np.repeat([0, 1, 2], 50)
    model = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1).fit(x, y)
    model.booster_.save_model(tmp_path / "trees.txt")
    report = import_model(ImportRequest(str(tmp_path / "trees.txt"), tmp_path / "models"))
    assert report.batching == "proven"
    answer = predicted(tmp_path / "models", "trees", x[::10].tolist())
    wanted = model.booster_.predict(x[::10])
    assert answer["label"] == np.argmax(wanted, axis=1).tolist()
    np.testing.assert_allclose(answer["probabilities"], wanted, atol=1e-5)
