"""`inference-service import`: what is written, and what is refused."""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper

from inference_service.cli import main
from inference_service.core.errors import InvalidModel
from inference_service.importing.extras import PACKAGES
from inference_service.importing.importer import ImportRequest, Report, import_model
from inference_service.repository.manifest import read_manifest
from inference_service.runtime.session import RuntimeOptions, open_model
from tests.conftest import ROOT
from tests.onnx_models import FLOAT, build, fixed_reshape, save


def imported(source: Path | str, models: Path, **options: Any) -> Report:
    return import_model(ImportRequest(str(source), models, **options))


def scores() -> onnx.ModelProto:
    """Generated names, a batch of one, and a ZipMap."""
    nodes = [
        helper.make_node("Softmax", ["keras_tensor_3"], ["p"], "softmax", axis=1),
        helper.make_node(
            "ZipMap", ["p"], ["output:0"], "zip", domain="ai.onnx.ml",
            classlabels_strings=["cat", "dog"],
        ),
    ]  # fmt: skip
    model = build(nodes, [("keras_tensor_3", FLOAT, ["N", 2])], [("output:0", FLOAT, [])])
    kind = helper.make_map_type_proto(
        onnx.TensorProto.STRING, helper.make_tensor_type_proto(FLOAT, [])
    )
    model.graph.output[0].type.CopyFrom(helper.make_sequence_type_proto(kind))
    return model


def test_a_plain_graph_is_named_freed_labelled_and_recorded(tmp_path: Path) -> None:
    source = save(scores(), tmp_path / "pets.onnx")
    report = imported(source, tmp_path / "models")
    assert (report.name, report.version) == ("pets", 1)
    folder = tmp_path / "models" / "pets"
    manifest = read_manifest(folder / "model.toml")
    assert manifest.labels == {"output": ["cat", "dog"]}
    model = open_model(folder / "1" / "model.onnx", RuntimeOptions(1))
    assert [spec.name for spec in model.inputs] == ["input"]
    got = model.run({"input": np.array([[0, 0], [0, 9]], np.float32)})["output"]
    assert np.allclose(got.astype(np.float64), [[0.5, 0.5], [0.000123, 0.999877]], atol=1e-6)
    record = json.loads((folder / "1" / "import.json").read_text())
    assert len(record["sha256"]["pets.onnx"]) == 64
    assert record["versions"]["onnx"] == onnx.__version__
    body = json.loads((folder / "1" / "example.json").read_text())
    assert np.shape(body["instances"]) == (1, 2)


def test_a_list_of_tensors_becomes_an_output_for_each(tmp_path: Path) -> None:
    """As scikit-learn's MultiOutputClassifier has its probabilities."""
    nodes = [
        helper.make_node("Softmax", ["x"], ["a"], "a", axis=1),
        helper.make_node("Neg", ["x"], ["b"], "b"),
        helper.make_node("SequenceConstruct", ["a", "b"], ["scores"], "both"),
    ]
    model = build(nodes, [("x", FLOAT, ["N", 2])], [("scores", FLOAT, [])])
    kind = helper.make_tensor_type_proto(FLOAT, ["N", 2])
    model.graph.output[0].type.CopyFrom(helper.make_sequence_type_proto(kind))
    source = save(model, tmp_path / "m.onnx")
    with pytest.raises(InvalidModel, match="import` makes an output of each of its tensors"):
        open_model(source, RuntimeOptions(1))
    report = imported(source, tmp_path / "models")
    assert report.batching == "proven"
    assert report.notes == ("the list 'scores' became the outputs scores_0, scores_1",)
    found = open_model(tmp_path / "models/m/1/model.onnx", RuntimeOptions(1))
    got = found.run({"x": np.array([[1, 1], [0, 3]], np.float32)})
    assert np.allclose(got["scores_0"], [[0.5, 0.5], [0.0474, 0.9526]], atol=1e-3)
    assert got["scores_1"].tolist() == [[-1, -1], [0, -3]]


def test_a_constant_batch_is_repaired_and_told(tmp_path: Path) -> None:
    report = imported(save(fixed_reshape(), tmp_path / "m.onnx"), tmp_path / "models")
    assert report.batching == "proven"
    assert any("Reshape" in change for change in report.changes)


def test_the_next_version_is_the_default_and_no_version_is_replaced(tmp_path: Path) -> None:
    source = save(fixed_reshape(), tmp_path / "m.onnx")
    assert imported(source, tmp_path / "models").version == 1
    assert imported(source, tmp_path / "models").version == 2
    with pytest.raises(InvalidModel, match="never replaced"):
        imported(source, tmp_path / "models", version=2)
    assert imported(source, tmp_path / "models", version=0).version == 0, "given is given"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.onnx", None, "there is no .*import takes .onnx"),
        ("notes.txt", b"hello", "not a model that can be imported"),
        ("m.onnx", b"hello", "m.onnx is no ONNX file, or only a part of one"),
        ("m.onnx", b"", "no ONNX file"),
        (".onnx", b"", "model"),
    ],
)
def test_what_is_no_model_is_refused_in_words(
    name: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidModel, match=message):
        imported(tmp_path / name, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_missing_framework_is_told_with_what_to_install(tmp_path: Path) -> None:
    """Frameworks are looked for by the helper's interpreter, here one without packages."""
    (tmp_path / "m.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    result = CliRunner().invoke(
        main, ["import", str(tmp_path / "m.h5"), "--models", str(tmp_path / "models")]
    )
    assert result.exit_code == 1
    assert "pip install '.[import-keras]'" in result.output
    assert "onnx_inference_service-" in result.output
    assert not (tmp_path / "models").exists()


def test_the_extras_are_those_of_the_package() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for framework, packages in PACKAGES.items():
        assert tuple(extras[f"import-{framework}"]) == packages
    assert all(f"import-{framework}" in extras["import"][0] for framework in PACKAGES)


def test_an_interpreter_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(b"x")
    with pytest.raises(InvalidModel, match=r"/no/python can't be run"):
        imported(tmp_path / "m.pt", tmp_path, python="/no/python")


def test_the_service_never_holds_a_framework() -> None:
    """The module of the import, and of the command, import none."""
    import subprocess

    program = (
        "import sys, inference_service.importing.importer, inference_service.cli.import_model;"
        "print(sorted({'keras', 'tensorflow', 'torch', 'sklearn', 'lightgbm', 'xgboost',"
        "'transformers', 'skl2onnx', 'onnxmltools'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    assert run.stdout.strip() == "[]"


def test_given_rows_are_compared_and_wrong_ones_told(tmp_path: Path) -> None:
    source = save(fixed_reshape(), tmp_path / "m.onnx")
    model = open_model(source, RuntimeOptions(1))
    row = [length or 1 for length in model.inputs[0].shape[1:]]
    rows = tmp_path / "rows.npy"
    np.save(rows, np.ones((3, *row), np.float32))
    report = imported(source, tmp_path / "models", inputs=rows)
    assert report.differences[0].rows == 3
    (tmp_path / "rows.json").write_text("[[1")
    with pytest.raises(InvalidModel, match=r"rows.json can't be read"):
        imported(source, tmp_path / "models", inputs=tmp_path / "rows.json")


def test_half_precision_that_is_slower_here_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    model = build(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "dense")],
        [("x", FLOAT, ["N", 64])],
        [("y", FLOAT, ["N", 64])],
        w=weights,
    )
    source = save(model, tmp_path / "m.onnx")
    try:
        report = imported(source, tmp_path / "models", quantize="fp16")
    except InvalidModel as error:
        assert "slower" in str(error)
        assert not (tmp_path / "models").exists()
        report = imported(source, tmp_path / "models", quantize="fp16", allow_slower=True)
    assert report.shrunk[0].differences[0].largest < 0.1
    assert len(report.shrunk[0].content) < 0.7 * report.shrunk[0].before


def test_int8_needs_rows_and_keeps_rows_independent(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    model = build(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"], "dense"),
            helper.make_node("Relu", ["h"], ["r"], "relu"),
            helper.make_node("MatMul", ["r", "v"], ["y"], "out"),
        ],
        [("x", FLOAT, ["N", 64])],
        [("y", FLOAT, ["N", 8])],
        w=random.normal(size=(64, 128)).astype(np.float32),
        v=random.normal(size=(128, 8)).astype(np.float32),
    )
    source = save(model, tmp_path / "m.onnx")
    with pytest.raises(InvalidModel, match="--inputs"):
        imported(source, tmp_path / "models", quantize="int8")
    rows = tmp_path / "rows.npy"
    np.save(rows, random.normal(size=(64, 64)).astype(np.float32))
    options: dict[str, Any] = {"inputs": rows, "quantize": "int8", "allow_slower": True}
    with pytest.raises(InvalidModel, match="changes the answers too much"):
        imported(source, tmp_path / "models", accuracy_loss=1e-6, **options)
    assert not (tmp_path / "models").exists()
    report = imported(source, tmp_path / "models", accuracy_loss=0.05, **options)
    assert report.batching == "proven"
    assert report.shrunk[0].differences[0].largest > 0
