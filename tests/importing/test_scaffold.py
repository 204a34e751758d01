"""`inference-service new`: a folder whose model.toml is made from the graph."""

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from inference_service.cli import main
from inference_service.core.errors import InvalidModel
from inference_service.importing.scaffold import scaffold
from inference_service.repository.manifest import Manifest, read_manifest
from tests.conftest import MODELS
from tests.onnx_models import doubler, every_kind, save


def uncommented(text: str) -> str:
    """The sections that are comments, as an owner takes them in."""
    lines = []
    taken = False
    for line in text.splitlines():
        if line.startswith("# ["):
            taken = True
        if not line.startswith("#"):
            taken = False
        lines.append(line.removeprefix("# ") if taken else line)
    return "\n".join(lines)


def test_a_graph_becomes_a_model_with_its_inputs_and_an_example(tmp_path: Path) -> None:
    graph = save(doubler(), tmp_path / "any.onnx")
    scaffold(tmp_path / "models", "mine", graph)
    folder = tmp_path / "models" / "mine"
    text = (folder / "model.toml").read_text()
    assert "x float32[batch, 3]" in text
    manifest = read_manifest(folder / "model.toml")
    assert manifest.example is not None
    assert len(manifest.example["x"]) == 3
    assert (folder / "1" / "model.onnx").read_bytes() == graph.read_bytes()
    result = CliRunner().invoke(main, ["check", str(folder)])
    assert result.exit_code == 0, result.output


def test_the_commented_sections_are_valid_as_they_stand(tmp_path: Path) -> None:
    graph = save(doubler(), tmp_path / "any.onnx")
    scaffold(tmp_path / "models", "mine", graph)
    text = uncommented((tmp_path / "models" / "mine" / "model.toml").read_text())
    found = Manifest.model_validate(tomllib.loads(text))
    assert found.batching.max_batch_size == 64
    assert found.postprocess["y"].top_k == 5


def test_without_a_graph_check_says_what_is_missing(tmp_path: Path) -> None:
    models = tmp_path / "models"
    result = CliRunner().invoke(main, ["new", "mine", "--models", str(models)])
    assert result.exit_code == 0, result.output
    assert read_manifest(models / "mine" / "model.toml") == Manifest()
    result = CliRunner().invoke(main, ["check", str(models)])
    assert "expected mine/<version>/model.onnx" in result.output


def test_a_folder_with_a_graph_gets_its_model_toml(tmp_path: Path) -> None:
    save(doubler(), tmp_path / "mine" / "3" / "model.onnx")
    assert scaffold(tmp_path, "mine") == [tmp_path / "mine" / "model.toml"]
    assert "x float32[batch, 3]" in (tmp_path / "mine" / "model.toml").read_text()


def test_model_toml_is_never_overwritten(tmp_path: Path) -> None:
    scaffold(tmp_path, "mine")
    with pytest.raises(InvalidModel, match="not overwritten"):
        scaffold(tmp_path, "mine")
    graph = save(doubler(), tmp_path / "any.onnx")
    with pytest.raises(InvalidModel, match="adds a version"):
        scaffold(tmp_path, "mine", graph)


@pytest.mark.parametrize("name", ["a/b", "..", "", "stats", "-x"])
def test_a_name_that_can_not_stand_in_a_path_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="can't be a model's name"):
        scaffold(tmp_path, name)


@pytest.mark.parametrize(
    "graph",
    sorted(MODELS / name / "1" / "model.onnx" for name in ("digits", "flight-delay", "language")),
    ids=lambda path: path.parent.parent.name,
)
def test_every_shipped_model_gives_a_valid_manifest(graph: Path, tmp_path: Path) -> None:
    scaffold(tmp_path, "m", graph)
    read_manifest(tmp_path / "m" / "model.toml")


def test_inputs_of_every_type_give_a_valid_manifest(tmp_path: Path) -> None:
    graph = save(every_kind(), tmp_path / "any.onnx")
    scaffold(tmp_path, "m", graph)
    read_manifest(tmp_path / "m" / "model.toml")
