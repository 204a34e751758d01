"""An imported folder of Hugging Face's is asked as one that is served where it lies."""

from pathlib import Path
from typing import Any

import pytest
import requests

from inference_service.importing.importer import ImportRequest, import_model
from inference_service.repository.contents import scan
from inference_service.repository.manifest import Manifest, read_manifest
from tests import hugging_face, onnx_models
from tests.conftest import serving
from tests.importing.hugging_face import embedding_folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hugging_face.save_all(tmp_path_factory.mktemp("hub"))


def imported(folder: Path, models: Path) -> tuple[Manifest, tuple[str, ...]]:
    """What model.toml says, and what the import notes."""
    report = import_model(ImportRequest(str(folder), models))
    return read_manifest(models / report.name / "model.toml"), tuple(report.notes)


@pytest.mark.parametrize("name", ["mood", "names", "nli", "ranker", "vectors", "colours"])
def test_an_import_says_what_the_folder_says(name: str, folders: Path, tmp_path: Path) -> None:
    (there,) = scan(folders / name)
    wanted = dict(there.manifest.pipeline or {})
    labels = wanted.pop("labels", None)
    found, notes = imported(folders / name, tmp_path)
    assert not notes
    assert found.pipeline == wanted
    assert list(found.labels.values()) == ([labels] if labels else [])


def test_an_imported_folder_is_served_with_its_labels(folders: Path, tmp_path: Path) -> None:
    imported(folders / "mood", tmp_path)
    with serving(tmp_path) as server:
        url = f"{server.url}/models/mood/classify"
        (answer,) = requests.post(url, json={"text": "good"}, timeout=20).json()["results"]
    assert answer["labels"][0]["label"] == "POSITIVE"


def test_pictures_are_cut_in_an_import_too(tmp_path: Path, folders: Path) -> None:
    folder = tmp_path / "cut"
    folder.mkdir()
    for file in (folders / "colours").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    cut = {"size": {"shortest_edge": 9}, "crop_size": {"height": 8, "width": 8},
           "image_mean": [0.5] * 3, "image_std": [0.5] * 3}  # fmt: skip
    hugging_face.write(folder, "preprocessor_config.json", cut)
    found, _ = imported(folder, tmp_path / "models")
    pipeline: dict[str, Any] = dict(found.pipeline or {})
    assert (pipeline["size"], pipeline["first"], pipeline["decoding"]) == ([8, 8], 9, "exact")


def test_an_encoder_that_is_pooled_nowhere_is_imported_with_the_mean(tmp_path: Path) -> None:
    found, notes = imported(embedding_folder(tmp_path / "minilm"), tmp_path / "models")
    assert "how vectors are pooled" in notes[0]
    assert found.pipeline == {"kind": "text-embedding", "pooling": "mean", "max_tokens": 32}


def test_an_encoder_that_pools_itself_keeps_its_vectors(folders: Path, tmp_path: Path) -> None:
    graph = folders / "pooled" / "model_optimized.onnx"
    folder = tmp_path / "pooled"
    folder.mkdir()
    for file in (folders / "pooled").glob("*.json"):
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "model.onnx").write_bytes(graph.read_bytes())
    found, notes = imported(folder, tmp_path / "models")
    assert not notes
    assert found.pipeline is not None
    assert (found.pipeline["pooling"], found.pipeline["output"]) == ("none", "sentence_embedding")


def test_what_is_not_known_is_noted(tmp_path: Path) -> None:
    folder = hugging_face.save(tmp_path / "two", onnx_models.text_encoder(), "BertModel")
    two = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    hugging_face.write(folder, "1_Pooling/config.json", two)
    found, notes = imported(folder, tmp_path / "models")
    assert "clients send tensors: the pooling is ['cls', 'mean']" in notes[0]
    assert found.pipeline is None


def test_prompts_are_for_a_folder_that_is_served_as_it_is(tmp_path: Path) -> None:
    folder = hugging_face.save(tmp_path / "asked", onnx_models.text_encoder(), "BertModel")
    hugging_face.write(folder, "1_Pooling/config.json", {"pooling_mode": "mean"})
    prompts = {"prompts": {"query": "query: "}}
    hugging_face.write(folder, "config_sentence_transformers.json", prompts)
    found, notes = imported(folder, tmp_path / "models")
    assert "Dense layers and prompts are known only where the folder is served as it is" in notes[0]
    assert found.pipeline is None


def test_a_folder_that_says_too_little_is_imported_as_tensors(tmp_path: Path) -> None:
    folder = embedding_folder(tmp_path / "minilm")
    (folder / "tokenizer.json").unlink()
    _, notes = imported(folder, tmp_path / "models")
    assert notes[0].startswith("clients send tensors: there is no tokenizer.json")
