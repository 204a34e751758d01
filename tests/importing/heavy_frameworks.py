"""Every framework and format: scripts/import-tests runs this, and writes docs/importing.md's table.

It is no part of the test suite: the frameworks take 4 GB.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference_service.core.errors import InvalidModel
from inference_service.importing.importer import ImportRequest, import_model
from tests.conftest import ROOT
from tests.importing.pages import run_page

_ROWS: list[str] = []
_MAKERS = Path(__file__).with_name("heavy_sources.py")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Trained and saved in a process of its own, as the service's process holds no framework."""
    folder = tmp_path_factory.mktemp("sources")
    subprocess.run(
        [sys.executable, str(_MAKERS), str(folder)], check=True, cwd=folder, timeout=1800
    )
    yield folder
    if os.environ.get("WRITE_TABLE"):
        _write()


def _write() -> None:
    page = ROOT / "docs" / "importing.md"
    before, _, rest = page.read_text().partition("<!-- table -->")
    _, _, after = rest.partition("<!-- end -->")
    head = "| framework | source | output | rows | max difference | mean | batching |\n|---|---|---|---|---|---|---|"
    table = "\n".join([head, *sorted(_ROWS)])
    page.write_text(f"{before}<!-- table -->\n\n{table}\n\n<!-- end -->{after}")


SOURCES: dict[str, tuple[str, dict[str, Any]]] = {
    "cnn.keras": ("Keras", {}),
    "dense.keras": ("Keras", {}),
    "dense.h5": ("Keras", {}),
    "two-inputs.keras": ("Keras", {}),
    "any-length.keras": ("Keras", {}),
    "saved-model": ("TensorFlow", {}),
    "heavy_sources:convolution": ("PyTorch", {}),
    "heavy_sources:recurrent": ("PyTorch", {}),
    "heavy_sources:attention": ("PyTorch", {}),
    "heavy_sources:constant_batch": ("PyTorch", {}),
    "free.pt2": ("PyTorch", {}),
    "fixed.pt2": ("PyTorch", {}),
    "scripted.pt": ("PyTorch", {"example_inputs": "float32[2,3,8,8]"}),
    "traced.pt": ("PyTorch", {"example_inputs": "float32[1,3,8,8]"}),
    "iris.skops": ("scikit-learn", {}),
    "forest.joblib": ("scikit-learn", {"allow_pickle": True}),
    "texts.skops": ("scikit-learn", {}),
    "classes.txt": ("LightGBM", {}),
    "values.txt": ("LightGBM", {}),
    "classes.json": ("XGBoost", {}),
    "two-classes.ubj": ("XGBoost", {}),
    "values.json": ("XGBoost", {}),
    "embedding": ("Hugging Face", {}),
    "entities": ("Hugging Face", {}),
    "sentiment": ("Hugging Face", {}),
    "vision": ("Hugging Face", {}),
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_is_imported_with_the_original_s_numbers(
    source: str, sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    framework, options = SOURCES[source]
    monkeypatch.chdir(_MAKERS.parent)
    given = source if ":" in source else str(sources / source)
    report = import_model(ImportRequest(given, tmp_path, name="m", **options))
    assert report.batching == "proven"
    for one in report.differences:
        if one.exact:
            numbers = f"{one.largest:.0%} differ | "
        else:
            numbers = f"{one.largest:.1e} of {one.scale:.3g} | {one.mean:.1e}"
        kind = source.replace("heavy_sources:", "module:")
        _ROWS.append(
            f"| {framework} | `{kind}` | {one.output} | {one.rows} | {numbers} | {report.batching} |"
        )


@pytest.mark.parametrize(
    ("source", "message"),
    [("weights.pt", "no TorchScript file"), ("scripted.pt", "--example-inputs"),
     ("lambda.keras", "code"), ("forest.joblib", "--allow-pickle")],
)  # fmt: skip
def test_what_holds_code_or_tells_too_little_is_refused(
    source: str, message: str, sources: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidModel, match=message):
        import_model(ImportRequest(str(sources / source), tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("page", ["boosting.md", "keras.md", "pytorch.md", "scikit-learn.md"])
def test_the_classic_tutorial_gives_the_numbers_of_predict(page: str, tmp_path: Path) -> None:
    run_page(page, tmp_path)


def test_fusions_of_a_transformer_keep_its_rows_independent(sources: Path, tmp_path: Path) -> None:
    request = ImportRequest(str(sources / "embedding"), tmp_path, optimize=True, allow_slower=True)
    report = import_model(request)
    assert report.shrunk[0].differences[0].largest < 1e-4
    assert np.isfinite(report.shrunk[0].gain)
