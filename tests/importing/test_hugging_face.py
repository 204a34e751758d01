"""An imported folder of Hugging Face's is asked as one that is served where it lies."""

from pathlib import Path
from typing import Any

import pytest

from inference_service.importing.importer import ImportRequest, import_model
from inference_service.repository.layout import scan
from inference_service.repository.manifest import Manifest, read_manifest
from tests import hugging_face, onnx_models


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hugging_face.save_all(tmp_path_factory.mktemp("hub"))


def imported(folder: Path, models: Path) -> Manifest:
    report = import_model(ImportRequest(str(folder), models))
    return read_manifest(models / report.name / "model.toml")


@pytest.mark.parametrize("name", ["mood", "names", "nli", "ranker", "vectors", "colours"])
def test_an_import_says_what_the_folder_says(name: str, folders: Path, tmp_path: Path) -> None:
    (there,) = scan(folders / name)
    wanted = dict(there.manifest.pipeline or {})
    labels = wanted.pop("labels", None)
    found = imported(folders / name, tmp_path)
    assert found.pipeline == wanted
    assert list(found.labels.values()) == ([labels] if labels else [])


def test_pictures_are_cut_in_an_import_too(tmp_path: Path, folders: Path) -> None:
    folder = tmp_path / "cut"
    folder.mkdir()
    for file in (folders / "colours").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    cut = {"size": {"shortest_edge": 9}, "crop_size": {"height": 8, "width": 8},
           "image_mean": [0.5] * 3, "image_std": [0.5] * 3}  # fmt: skip
    hugging_face.write(folder, "preprocessor_config.json", cut)
    pipeline: dict[str, Any] = dict(imported(folder, tmp_path / "models").pipeline or {})
    assert (pipeline["size"], pipeline["first"], pipeline["decoding"]) == ([8, 8], 9, "exact")


def test_what_is_not_known_is_noted(tmp_path: Path) -> None:
    folder = hugging_face.save(tmp_path / "two", onnx_models.text_encoder(), "BertModel")
    two = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    hugging_face.write(folder, "1_Pooling/config.json", two)
    report = import_model(ImportRequest(str(folder), tmp_path / "models"))
    assert any(
        "clients send tensors: the pooling is ['cls', 'mean']" in one for one in report.notes
    )
    assert read_manifest(tmp_path / "models" / "two" / "model.toml").pipeline is None
