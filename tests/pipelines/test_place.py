"""Files that model.toml names lie in the model's folder, wherever links lead."""

from pathlib import Path

import pytest

from inference_service.core.errors import InvalidModel
from inference_service.core.tensors import DType, Signature, TensorSpec
from inference_service.pipelines.registry import Place, load_pipeline

SIGNATURE = Signature(
    (TensorSpec("x", DType.INT64, (None, None)),), (TensorSpec("y", DType.FP32, (None, 3)),)
)
NAMES = ["../secret.txt", "../../secret.txt", "{root}/secret.txt", "a/../../secret.txt", "", "..",
         "x\0y"]  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A repository with a model in it, beside a file that is nobody's business."""
    model = tmp_path / "models/m"
    (model / "1").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "models/secret.txt").write_text("secret")
    return Place((model / "1", model), root=tmp_path / "models")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_out_of_the_folder_is_refused(tmp_path: Path, place: Place, name: str) -> None:
    with pytest.raises(InvalidModel, match="is not within the model's folder"):
        place.file(name.format(root=tmp_path))


@pytest.mark.parametrize("kind", ["text-classification", "text-in-images", "recommendation"])
def test_so_it_is_in_every_kind_of_pipeline(place: Place, kind: str) -> None:
    field = {"text-classification": "labels", "text-in-images": "characters"}.get(kind, "items")
    declared = {"kind": kind, field: "../../secret.txt"}
    if kind == "text-in-images":
        declared["recognition"] = "r"
    with pytest.raises(InvalidModel, match="is not within the model's folder") as error:
        load_pipeline(declared, place).tasks(SIGNATURE)
    assert "secret\n" not in str(error.value)


def test_a_link_out_of_the_repository_is_not_followed(tmp_path: Path, place: Place) -> None:
    (place.folders[1] / "labels").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(InvalidModel, match="'labels' is a symbolic link out of the model"):
        place.file("labels")


def test_links_within_the_repository_are_followed(tmp_path: Path, place: Place) -> None:
    hidden = tmp_path / "models/..2026"
    hidden.mkdir()
    (hidden / "labels.txt").write_text("a\nb")
    (tmp_path / "models/..data").symlink_to("..2026")
    (place.folders[1] / "labels.txt").symlink_to("../..data/labels.txt")
    assert place.file("labels.txt").read_text() == "a\nb"


def test_a_file_of_the_version_counts_more_than_the_models(place: Place) -> None:
    for folder in place.folders:
        (folder / "labels.txt").touch()
    assert place.file("labels.txt") == place.folders[0] / "labels.txt"


def test_files_of_any_content_are_that_models_problem(place: Place) -> None:
    (place.folders[1] / "characters.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidModel, match="pipeline 'text-in-images': UnicodeDecodeError"):
        load_pipeline({"kind": "text-in-images", "recognition": "r"}, place)
