"""What model.toml says of tensors fits the graph, or `check` and `serve` say alike that it doesn't."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from inference_service.cli import main
from inference_service.core.errors import InvalidModel
from inference_service.settings import Settings
from inference_service.sources import version_sources
from tests import onnx_models
from tests.conftest import MODELS

WRONG = {
    'labels.nope = ["a"]': "labels.nope: no such output; there are 'label', 'probabilities'",
    'labels.probabilities = ["a", "b"]': "labels.probabilities: 2 labels for 10 classes",
    "example.image = [1, 2]": "example.image: expected a row of shape [64], got [2]",
    "example.image = [[1], [2, 3]]": "example.image: no float32: ",
    "example.image = 'x'": "example.image: expected float32, got 'x'",
    "example.image = nan": "example.image: expected float32, got nan",
    "example.img = [1]": "example.img: no such input; there are 'image'",
    "warmup.shapes.image = [65]": (
        "warmup.shapes.image: expected a row shape that fits [64], got [65]"
    ),
    "warmup.shapes.image = [8, 8]": "warmup.shapes.image: expected a row shape that fits [64]",
    "warmup.shapes.img = [64]": "warmup.shapes.img: no such input; there are 'image'",
    "postprocess.nope.top_k = 1": "postprocess.nope: no such tensor",
    "batching.axes.image = 5": "batching.axes.image: axis 5 is beyond",
}


def repository(folder: Path, line: str) -> Path:
    model = folder / "m" / "1"
    model.mkdir(parents=True)
    (model / "model.onnx").symlink_to("../../digits.hidden")
    (folder / "digits.hidden").write_bytes((MODELS / "digits/1/model.onnx").read_bytes())
    (folder / "m/model.toml").write_text(line)
    return folder


@pytest.mark.parametrize("line", WRONG)
def test_check_and_serve_refuse_the_same_with_the_same_words(tmp_path: Path, line: str) -> None:
    path = repository(tmp_path, line)
    checked = CliRunner().invoke(main, ["check", str(path), "--json"])
    (report,) = json.loads(checked.stdout)
    assert checked.exit_code == 1
    (source,) = version_sources(Settings(models=path))
    with pytest.raises(InvalidModel) as served:
        source.load(lambda: None)
    assert report["error"] == str(served.value)
    assert WRONG[line] in report["error"]


@pytest.mark.parametrize(
    "line",
    [
        f"labels.probabilities = {list('0123456789')}",
        f"labels.probabilities = {list('0123456789ab')}",
        f"example.image = {[0.5] * 64}",
        f"example.image = {[1] * 64}",
        "warmup.shapes.image = [64]",
    ],
)
def test_what_fits_is_served(tmp_path: Path, line: str) -> None:
    (source,) = version_sources(Settings(models=repository(tmp_path, line)))
    info, _ = source.load(lambda: None)
    assert info.warnings == ()


def test_labels_of_an_output_whose_length_only_a_run_shows_are_counted(tmp_path: Path) -> None:
    onnx_models.save(onnx_models.zipmap(), tmp_path / "m/1/model.onnx")
    (tmp_path / "m/model.toml").write_text('labels.scores = ["cat"]')
    (source,) = version_sources(Settings(models=tmp_path))
    with pytest.raises(InvalidModel, match=r"labels\.scores: 1 labels for 2 classes"):
        source.load(lambda: None)


def test_an_example_of_several_inputs_is_complete(tmp_path: Path) -> None:
    onnx_models.save(onnx_models.every_kind(column=True), tmp_path / "m/1/model.onnx")
    (tmp_path / "m/model.toml").write_text('example = { name = "a", flag = true }')
    (source,) = version_sources(Settings(models=tmp_path))
    with pytest.raises(InvalidModel, match="one row needs a value for 'counts', too"):
        source.load(lambda: None)
    (tmp_path / "m/model.toml").write_text('example = { name = "a", flag = 1, counts = [1, 2] }')
    (source,) = version_sources(Settings(models=tmp_path))
    with pytest.raises(InvalidModel, match=r"example\.flag: expected bool, got 1"):
        source.load(lambda: None)
    (tmp_path / "m/model.toml").write_text('example = { name = "a", flag = true, counts = [1, 2] }')
    (source,) = version_sources(Settings(models=tmp_path))
    info, _ = source.load(lambda: None)
    assert info.example == {"name": "a", "flag": True, "counts": [1, 2]}


def test_batches_that_would_take_all_memory_are_not_tried(tmp_path: Path) -> None:
    onnx_models.save(onnx_models.any_length(), tmp_path / "m/1/model.onnx")
    (tmp_path / "m/model.toml").write_text(
        "batching.allowed_batch_sizes = [65536]\nwarmup.shapes.x = [1000000]"
    )
    (source,) = version_sources(Settings(models=tmp_path))
    with pytest.raises(InvalidModel, match="a batch of 65536 rows has 262144000000 bytes"):
        source.load(lambda: None)
