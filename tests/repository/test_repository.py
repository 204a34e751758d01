"""Model folders and model.toml."""

from pathlib import Path

import pytest

from inference_service.core.errors import InvalidModel
from inference_service.core.tensors import BatchMode
from inference_service.core.versions import All, Latest, Specific
from inference_service.repository.contents import scan
from inference_service.repository.manifest import read_manifest
from inference_service.settings import Settings
from inference_service.sources import version_sources
from tests import onnx_models


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_models_with_versions_and_bare_files(tmp_path: Path) -> None:
    touch(tmp_path / "digits/1/model.onnx")
    touch(tmp_path / "digits/12/model.onnx")
    touch(tmp_path / "digits/notes/readme.md")
    touch(tmp_path / "digits/13/half-copied.tmp")
    touch(tmp_path / "sentiment.onnx")
    touch(tmp_path / "readme.md")
    touch(tmp_path / ".git/1/model.onnx")
    found = {entry.name: sorted(entry.versions) for entry in scan(tmp_path)}
    assert found == {"digits": [1, 12], "sentiment": [1]}


def test_a_single_file_is_a_model_by_its_stem(tmp_path: Path) -> None:
    (entry,) = scan(touch(tmp_path / "resnet.onnx"))
    assert (entry.name, dict(entry.versions)) == ("resnet", {1: tmp_path / "resnet.onnx"})


@pytest.mark.parametrize("file", ["3/model.onnx", "model.onnx"])
def test_one_models_own_folder_is_understood(tmp_path: Path, file: str) -> None:
    touch(tmp_path / "digits" / file)
    (entry,) = scan(tmp_path / "digits")
    assert entry.name == "digits"
    assert list(entry.versions) == [3 if "/" in file else 1]


def test_a_folder_without_versions_is_that_models_problem_alone(tmp_path: Path) -> None:
    touch(tmp_path / "good/1/model.onnx")
    touch(tmp_path / "bad/v1/model.onnx")
    bad, good = scan(tmp_path)
    assert "expected bad/<version>/model.onnx" in bad.problem
    assert good.problem == ""


def test_a_broken_manifest_is_that_models_problem_alone(tmp_path: Path) -> None:
    touch(tmp_path / "bad/1/model.onnx")
    (tmp_path / "bad/model.toml").write_text("[batching]\nmax_batch_size = 0\n")
    touch(tmp_path / "good/1/model.onnx")
    bad, good = scan(tmp_path)
    assert (
        bad.problem == "model.toml: batching.max_batch_size: expected a number of at least 1, got 0"
    )
    assert good.problem == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere", "does not exist"), ("x.txt", "is no .onnx file"), (".", "no models in")],
)
def test_nothing_to_serve_is_told(tmp_path: Path, name: str, message: str) -> None:
    if name == "x.txt":
        touch(tmp_path / name)
    with pytest.raises(InvalidModel, match=message):
        scan(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("m.pkl", "`inference-service import --allow-pickle m.pkl`"),
        ("a b.pt", "`inference-service import 'a b.pt'`"),
        ("m.tflite", "`python -m tf2onnx.convert --tflite FILE --output model.onnx`"),
        ("m.safetensors", "`optimum-cli export onnx"),
        ("m.pb", "`python -m tf2onnx.convert --graphdef"),
    ],
)
def test_files_of_other_frameworks_are_told_with_what_converts_them(
    tmp_path: Path, name: str, how: str
) -> None:
    touch(tmp_path / name)
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(InvalidModel) as error:
            scan(path)
        assert f"{name} becomes one with {how}" in str(error.value)


def test_a_folder_of_a_version_is_not_served_without_its_manifest(tmp_path: Path) -> None:
    touch(tmp_path / "m" / "1" / "model.onnx")
    assert [one.name for one in scan(tmp_path / "m" / "1")] == ["1"]
    (tmp_path / "m" / "model.toml").write_text("")
    with pytest.raises(InvalidModel, match=r"1 is one version of m, .*expected the model's folder"):
        scan(tmp_path / "m" / "1")


def test_the_manifest_may_say_all_this(tmp_path: Path) -> None:
    path = tmp_path / "model.toml"
    path.write_text(
        """
        description = "d"
        versions = { kind = "specific", versions = [1, 3] }
        [labels]
        probabilities = ["cat", "dog"]
        [batching]
        mode = "split"
        max_batch_size = 16
        max_queue_delay = 0.002
        max_queue_rows = 100
        [runtime]
        slots = 2
        intra_op_threads = 1
        [warmup]
        enabled = false
        shapes = { ids = [16] }
        [metadata]
        license = "MIT"
        [example]
        ids = [1, 2]
        """
    )
    manifest = read_manifest(path)
    assert manifest.versions == Specific(frozenset({1, 3}))
    assert manifest.batching.mode is BatchMode.SPLIT
    assert manifest.warmup.shapes == {"ids": [16]}
    assert manifest.example == {"ids": [1, 2]}


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("", Latest()),
        ('versions = { kind = "latest", count = 2 }', Latest(count=2)),
        ('versions = { kind = "all" }', All()),
    ],
)
def test_version_policies_in_the_manifest(tmp_path: Path, text: str, policy: object) -> None:
    path = tmp_path / "model.toml"
    path.write_text(text)
    assert read_manifest(path).versions == policy


def test_a_model_of_another_framework_is_told_how_it_becomes_one(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "my model.pt").touch()
    line = "becomes one with `inference-service import 'my model.pt'`"
    (entry,) = scan(tmp_path)
    assert line in entry.problem
    for path in (tmp_path / "net" / "my model.pt", tmp_path / "net"):
        with pytest.raises(InvalidModel) as error:
            scan(path)
        assert line in str(error.value)


def test_a_default_model_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    onnx_models.save(onnx_models.doubler(), tmp_path / "digits" / "1" / "model.onnx")
    with pytest.raises(
        InvalidModel, match=r"there is no model 'digit' in .*; did you mean 'digits'"
    ):
        version_sources(Settings(models=tmp_path, default_model="digit"))
    assert version_sources(Settings(models=tmp_path, default_model="digits"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x =", "model.toml is not valid TOML"),
        (
            "descripton = 'typo'",
            "model.toml: descripton: there is no such key; did you mean 'description'?",
        ),
        ("versions = { kind = 'newest' }", "model.toml: versions: Input tag 'newest'"),
        (
            "batching.mode = 'sometimes'",
            "batching.mode: expected 'merge', 'split' or 'whole'",
        ),
        ("versions = { kind = 'latest', count = 0 }", "count must be at least 1"),
    ],
)
def test_a_wrong_manifest_names_the_field(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "model.toml"
    path.write_text(text)
    with pytest.raises(InvalidModel) as error:
        read_manifest(path)
    assert message in str(error.value)
