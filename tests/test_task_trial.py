"""What ``check`` says of a pipeline: its path, and an answer to something real."""

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from inference_service.cli import main
from tests import hugging_face, onnx_models
from tests.task_models import save_colours, save_letters


def checked(folder: Path) -> dict[str, Any]:
    run = CliRunner().invoke(main, ["check", str(folder), "--json"])
    return {report["model"]: report for report in json.loads(run.stdout)}


def test_a_pipeline_is_tried_and_told(tmp_path: Path) -> None:
    save_colours(tmp_path / "colours")
    save_letters(tmp_path / "letters", '[example]\ntext = "xxyz"\n')
    vectors = onnx_models.text_encoder()
    hugging_face.save(tmp_path / "mute", vectors, "BertModel")
    reports = checked(tmp_path)
    (task,) = reports["colours"]["tasks"]
    assert task["path"] == "/models/colours/classify"
    assert task["tried"].startswith('a grey picture -> {"labels":[{"label":"red","score":0.33')
    (task,) = reports["letters"]["tasks"]
    assert task["tried"].startswith('the example of model.toml -> {"labels":[{"label":"x"')
    assert reports["mute"]["tasks"] == []


def test_a_task_that_fails_fails_the_check(tmp_path: Path) -> None:
    save_letters(tmp_path / "letters", '[example]\ntext = ""\n')
    run = CliRunner().invoke(main, ["check", str(tmp_path), "--json"])
    (report,) = json.loads(run.stdout)
    assert report["error"] == "the task 'classify' fails: the text is empty"
    assert run.exit_code == 1


def test_versions_that_model_toml_names_and_that_are_not_there_are_warnings(tmp_path: Path) -> None:
    onnx_models.save(onnx_models.doubler(), tmp_path / "doubler" / "1" / "model.onnx")
    (tmp_path / "doubler" / "model.toml").write_text(
        "version_labels = { stable = 7, old = 1 }\n[traffic]\n1 = 0.5\n3 = 0.5\n"
    )
    run = CliRunner().invoke(main, ["check", str(tmp_path), "--json"])
    (model,) = json.loads(run.stdout)
    assert model["warnings"] == [
        "version_labels.stable: there is no version 7; there are 1",
        "traffic: there is no version 3; there are 1",
    ]
