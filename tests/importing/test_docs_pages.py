"""The pages of docs/import run as they are printed: those without a framework.

Those of frameworks are in heavy_frameworks.py; what they import is in test_sklearn.py, too.
"""

from pathlib import Path

from tests.importing.pages import run_page
from tests.onnx_models import fixed_reshape, save


def test_the_page_of_onnx_runs(tmp_path: Path) -> None:
    save(fixed_reshape(), tmp_path / "resnet.onnx")
    run_page("onnx.md", tmp_path)


def test_the_page_of_hugging_face_runs(tmp_path: Path) -> None:
    """With a folder as its model cards have it: config, tokenizer, onnx/model.onnx."""
    from tests.importing.hugging_face import embedding_folder

    embedding_folder(tmp_path / "minilm")
    run_page("hugging-face.md", tmp_path)
    text = (tmp_path / "models" / "minilm" / "model.toml").read_text()
    assert 'kind = "text-embedding"' in text
    assert "max_tokens = 32" in text
