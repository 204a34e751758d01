"""``pipeline.py`` beside a model: run where the repository is trusted, and nowhere else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inference_service.core.errors import InvalidModel
from inference_service.core.tensors import DType, Signature, TensorSpec
from inference_service.pipelines.registry import Place, load_pipeline
from inference_service.settings import Settings
from inference_service.sources import entries, load_options
from tests import onnx_models

SIGNATURE = Signature(
    (TensorSpec("x", DType.FP32, (None, 3)),), (TensorSpec("y", DType.FP32, (None, 3)),)
)
CODE = """
from dataclasses import dataclass

@dataclass
class Pipeline:
    declared: dict
    place: object
    kind = "mine"

    def tasks(self, signature):
        return {"count": len(signature.inputs)}
"""
Load = Callable[..., Any]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def make(code: str, *, trusted: bool = True, **declared: Any) -> Any:
        (tmp_path / "pipeline.py").write_text(code)
        place = Place((tmp_path,), trusted=trusted)
        return load_pipeline({"kind": "pipeline.py", **declared}, place)

    return make


def test_a_class_or_a_function_of_the_file_makes_the_pipeline(load: Load) -> None:
    assert load(CODE).tasks(SIGNATURE) == {"count": 1}
    assert load(CODE + "\ndef load(declared, place):\n    return declared['loud']\n", loud=7) == 7


def test_nothing_is_run_where_the_repository_is_not_trusted(load: Load, tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match=r"setting repository\.run_pipeline_code"):
        load(f"open({str(tmp_path / 'ran')!r}, 'w')", trusted=False)
    assert not (tmp_path / "ran").exists()


def test_a_changed_file_is_other_code(load: Load) -> None:
    old = load("def load(*_):\n    return 1\n")
    assert (old, load("def load(*_):\n    return 2\n")) == (1, 2)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1\n", "pipeline.py has neither a function 'load' nor a class 'Pipeline'"),
        ("x = 1\ny = (\n", "pipeline.py, line 2: SyntaxError: '[(]' was never closed"),
        ("\nimport nothing_like_it\n", "pipeline.py, line 2: ModuleNotFoundError"),
        ("raise SystemExit(3)\n", "pipeline.py, line 1: SystemExit: 3"),
        ("def load(declared, place):\n    return declared['a']\n", "line 2: KeyError: 'a'"),
        ("#" * 2**20 + "\n", "larger than 1048576 bytes"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(load: Load, code: str, message: str) -> None:
    with pytest.raises(InvalidModel, match=message):
        load(code)


def test_a_link_out_of_the_repository_is_not_run(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside.py", tmp_path / "models"
    inside.mkdir()
    outside.write_text(CODE)
    (inside / "pipeline.py").symlink_to(outside)
    with pytest.raises(InvalidModel, match="symbolic link out of the model repository"):
        load_pipeline({"kind": "pipeline.py"}, Place((inside,), trusted=True))


def test_the_setting_says_whether_a_repository_is_trusted(tmp_path: Path) -> None:
    onnx_models.save(onnx_models.doubler(), tmp_path / "m" / "1" / "model.onnx")
    (tmp_path / "m/pipeline.py").write_text(CODE)
    (tmp_path / "m/model.toml").write_text('[pipeline]\nkind = "pipeline.py"\n')
    off = Settings(models=tmp_path)
    on = Settings.model_validate({"models": tmp_path, "repository": {"run_pipeline_code": True}})
    (entry,) = entries(on)
    made = load_options(on, entry, 1).payloads
    assert made is not None
    pipeline: Any = made()
    assert pipeline.kind == "mine"
    refused = load_options(off, entry, 1).payloads
    assert refused is not None
    with pytest.raises(InvalidModel, match="run_pipeline_code"):
        refused()


def test_a_file_that_model_toml_does_not_name_is_left_alone(tmp_path: Path) -> None:
    """Folders that were downloaded may hold one."""
    onnx_models.save(onnx_models.doubler(), tmp_path / "m" / "model.onnx")
    (tmp_path / "m/pipeline.py").write_text("raise SystemExit\n")
    on = Settings.model_validate({"models": tmp_path, "repository": {"run_pipeline_code": True}})
    (entry,) = entries(on)
    assert load_options(on, entry, 1).payloads is None
