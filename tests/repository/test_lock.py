"""models.lock: models whose files are others are refused, by name."""

import subprocess
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from inference_service.cli import main
from inference_service.core.errors import InvalidModel
from inference_service.settings import Settings
from inference_service.sources import version_sources
from tests import onnx_models


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        onnx_models.save(onnx_models.doubler(), tmp_path / "models" / name / "1" / "model.onnx")
    (tmp_path / "models" / "a" / "model.toml").write_text('description = "first"\n')
    return tmp_path / "models"


def load(models: Path, **repository: object) -> dict[str, str]:
    """What became of each model: "" is served."""
    settings = Settings.model_validate(
        {"models": models, "repository": repository, "runtime": {"warm_up": False}}
    )
    outcomes = {}
    for source in version_sources(settings):
        try:
            source.load(lambda: None)
        except InvalidModel as error:
            outcomes[source.name] = str(error)
        else:
            outcomes[source.name] = ""
    return outcomes


def lock(models: Path, *options: str) -> None:
    done = CliRunner().invoke(main, ["lock", str(models), *options])
    assert done.exit_code == 0, done.output


def test_locked_models_are_served_and_changed_ones_are_not(models: Path) -> None:
    lock(models)
    assert load(models) == {"a": "", "b": ""}
    subprocess.run(
        ["sha256sum", "--check", "--quiet", "models.lock"], cwd=models, check=True, timeout=30
    )
    (models / "a" / "model.toml").write_text('description = "second"\n')
    (models / "b" / "1" / "more.bin").write_text("")
    assert load(models) == {
        "a": "model.toml is not the file of models.lock: its SHA-256 differs",
        "b": "more.bin is not in models.lock: run inference-service lock",
    }
    (models / "b" / "1" / "more.bin").unlink()
    (models / "a" / "model.toml").unlink()
    assert load(models) == {"a": "model.toml is in models.lock, and is missing", "b": ""}


def test_a_lock_can_be_required(models: Path) -> None:
    assert load(models) == {"a": "", "b": ""}
    missing = "there is no models.lock: run inference-service lock"
    assert load(models, locked=True) == {"a": missing, "b": missing}


def test_a_lock_must_be_signed_with_the_key_that_is_set(models: Path, tmp_path: Path) -> None:
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    for file in (tmp_path / "other.pem", private):
        key = Ed25519PrivateKey.generate()
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    lock(models)
    assert "there is no models.lock.sig" in load(models, public_key=public)["a"]
    lock(models, "--sign", str(tmp_path / "other.pem"))
    assert load(models, public_key=public)["a"] == (
        "models.lock.sig is no signature of models.lock by this key"
    )
    lock(models, "--sign", str(private))
    assert load(models, public_key=public) == {"a": "", "b": ""}
    with (models / "models.lock").open("a") as locked:
        locked.write(f"{'0' * 64}  c\n")
    assert "no signature" in load(models, public_key=public)["b"]


def test_links_within_the_repository_are_followed_and_others_refused(
    models: Path, tmp_path: Path
) -> None:
    (models / "c").symlink_to("a")
    lock(models)
    (tmp_path / "elsewhere").write_text("x")
    (models / "b" / "1" / "notes").symlink_to(tmp_path / "elsewhere")
    refused = CliRunner().invoke(main, ["lock", str(models)])
    assert "notes is a symbolic link out of the model repository" in refused.output


def with_external_data(path: Path, location: str) -> None:
    """A model that answers with numbers of another file."""
    numbers = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location="EXTERNAL")
    numbers.external_data.add(key="location", value=location)
    values = [onnx.helper.make_tensor_value_info(name, 1, ["N", 4]) for name in "xy"]
    node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:], [numbers])
    opset = onnx.helper.make_opsetid("", 17)
    made = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    path.parent.mkdir(parents=True)
    path.write_bytes(made.SerializeToString())


def test_external_data_is_read_within_the_repository_alone(tmp_path: Path) -> None:
    models, secret = tmp_path / "models", tmp_path / "secret.bin"
    secret.write_bytes(bytes(16))
    for name, location in {
        "link": "w.bin", "folder": "d/secret.bin", "up": "../../../secret.bin", "whole": str(secret),
        "plain": "w.bin",
    }.items():  # fmt: skip
        with_external_data(models / name / "1" / "model.onnx", location)
    (models / "link/1/w.bin").symlink_to(secret)
    (models / "folder/1/d").symlink_to(tmp_path)
    (models / "plain/1/w.bin").write_bytes(bytes(16))
    (models / "plain/1/notes").symlink_to(secret)
    told = load(models)
    assert {name for name, why in told.items() if not why} == {"plain"}
    assert str(tmp_path) not in str(told)


def test_a_mounted_configmap_can_be_locked(models: Path) -> None:
    (models / "..2026_11_26").mkdir()
    (models / "a").rename(models / "..2026_11_26" / "a")
    (models / "..data").symlink_to("..2026_11_26")
    (models / "a").symlink_to("..data/a")
    (models / "b" / "2").mkdir()
    (models / "b" / "2" / "model.onnx").symlink_to("../../a/1/model.onnx")
    lock(models)
    assert load(models) == {"a": "", "b": ""}
    assert "a/1/model.onnx" in (models / "models.lock").read_text()
    circle = models / "b" / "again"
    circle.symlink_to("..")
    assert "may lead in a circle" in CliRunner().invoke(main, ["lock", str(models)]).output


def test_a_damaged_lock_is_told(models: Path) -> None:
    (models / "models.lock").write_text("nonsense\n")
    assert load(models)["a"] == "models.lock: line 1 is no line of sha256sum"
