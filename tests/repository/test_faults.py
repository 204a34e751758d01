"""What is wrong with one entry of a repository is that model's problem, told in words."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from inference_service.core.errors import InvalidModel
from inference_service.repository import contents
from inference_service.repository.contents import names, scan
from inference_service.repository.files import read_small, without_paths
from inference_service.repository.manifest import LARGEST_FILE, Manifest, read_manifest


def model(folder: Path, manifest: bytes | str = b"") -> Path:
    (folder / "1").mkdir(parents=True)
    (folder / "1/model.onnx").touch()
    if manifest:
        content = manifest if isinstance(manifest, bytes) else manifest.encode()
        (folder / "model.toml").write_bytes(content)
    return folder


def outside(folder: Path) -> Path:
    """A file that is not within the repository."""
    path = folder.parent / "outside.txt"
    path.touch()
    return path


def nested(opening: str, closing: str) -> str:
    return f"metadata = {opening * 3000}{closing * 3000}"


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "dangling.onnx": (lambda at: at.symlink_to("nowhere"), "a symbolic link that leads nowhere"),
    "dangling": (lambda at: at.symlink_to("nowhere"), "a symbolic link that leads nowhere"),
    "self.onnx": (lambda at: at.symlink_to(at.name), "can't be read: Too many levels"),
    "out.onnx": (lambda at: at.symlink_to(outside(at.parent)), "out of the model repository"),
    "out": (
        lambda at: at.symlink_to(model(at.parent.parent / "elsewhere")),
        "out of the model repository",
    ),
    "device.onnx": (lambda at: at.symlink_to("/dev/zero"), "out of the model repository"),
    "pipe.onnx": (os.mkfifo, "pipe.onnx is a named pipe, no file"),
    "deep": (lambda at: model(at, nested("[", "]")), "model.toml: it is nested too deeply"),
    "latin": (
        lambda at: model(at, 'a = 1\ndescription = "für"'.encode("latin-1")),
        "model.toml is not UTF-8 (line 2)",
    ),
    "folder": (lambda at: (model(at) / "model.toml").mkdir(), "model.toml is a folder, no file"),
    "pipe": (lambda at: os.mkfifo(model(at) / "model.toml"), "model.toml is a named pipe, no file"),
    "gone": (
        lambda at: (model(at) / "model.toml").symlink_to("nowhere"),
        "model.toml is a symbolic link that leads nowhere",
    ),
    "leading-out": (
        lambda at: (model(at) / "model.toml").symlink_to(outside(at.parent)),
        "model.toml is a symbolic link out of the model repository",
    ),
    "huge": (lambda at: model(at, b"#" * (LARGEST_FILE + 1)), "model.toml is larger than 1048576"),
    "digits": (lambda at: model(at, "a = " + "9" * 5000), "model.toml is not valid TOML"),
    "bytes": (lambda at: model(at, b"\x00"), "model.toml is not valid TOML"),
    "line\nbreak": (model, "can't be a model's name"),
    "g:predict": (model, "can't be a model's name"),
    "<img src=x>": (model, "can't be a model's name"),
    "stats": (model, "can't be a model's name"),
    "x" * 201: (model, "can't be a model's name"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_stays_with_its_model(tmp_path: Path, name: str) -> None:
    make, words = FAULTS[name]
    repository = tmp_path / "models"
    model(repository / "good")
    make(repository / name)
    faulty, good = sorted(scan(repository), key=lambda entry: entry.name == "good")
    assert (good.name, good.problem, list(good.versions)) == ("good", "", [1])
    assert words in faulty.problem
    assert "/" not in faulty.problem.replace("dangling/<version>/model.onnx", ""), "no paths"
    assert faulty.name.isprintable()
    assert set(names(repository)) == {"good", faulty.name}


def test_a_name_that_is_no_utf8_can_be_told_to_clients(tmp_path: Path) -> None:
    model(tmp_path / os.fsdecode(b"m\xff"))
    (entry,) = scan(tmp_path)
    assert entry.name.encode().isascii()
    assert "can't be a model's name" in entry.problem


def test_a_name_that_is_there_twice_is_served_by_neither(tmp_path: Path) -> None:
    model(tmp_path / "twice")
    (tmp_path / "twice.onnx").touch()
    model(tmp_path / "once")
    once, twice = scan(tmp_path)
    assert (once.name, once.problem) == ("once", "")
    assert twice.problem == "there are both twice/ and twice.onnx: a model's name can be there once"
    assert names(tmp_path) == ["once", "twice"]


def test_a_version_that_is_no_file_is_named(tmp_path: Path) -> None:
    (model(tmp_path / "m") / "2").mkdir()
    (tmp_path / "m/2/model.onnx").symlink_to("nowhere")
    (entry,) = scan(tmp_path)
    assert entry.problem == "model.onnx is a symbolic link that leads nowhere"


def test_other_things_in_a_versions_folder_may_be_anything(tmp_path: Path) -> None:
    model(tmp_path / "m")
    (tmp_path / "m/1/notes").symlink_to("nowhere")
    os.mkfifo(tmp_path / "m/1/pipe")
    (entry,) = scan(tmp_path)
    assert entry.problem == ""


def test_a_link_to_something_that_is_no_model_is_passed_over(tmp_path: Path) -> None:
    model(tmp_path / "m")
    (tmp_path / "readme").symlink_to(tmp_path / "m/1/model.onnx")
    assert [entry.name for entry in scan(tmp_path)] == ["m"]


def test_kubernetes_mounts_of_links_to_a_hidden_folder_are_followed(tmp_path: Path) -> None:
    """A mounted ConfigMap: each file is a link through ``..data`` to a folder of the same mount."""
    model(tmp_path / "..2026_11_26/m", 'description = "d"')
    (tmp_path / "..data").symlink_to("..2026_11_26")
    (tmp_path / "m").symlink_to("..data/m")
    (entry,) = scan(tmp_path)
    assert (entry.name, entry.problem, entry.manifest.description) == ("m", "", "d")


def test_links_lead_anywhere_where_the_operator_allows_it(tmp_path: Path) -> None:
    model(tmp_path / "elsewhere")
    (tmp_path / "models").mkdir()
    (tmp_path / "models/m").symlink_to(tmp_path / "elsewhere")
    (entry,) = scan(tmp_path / "models", follow_links=True)
    assert (entry.name, entry.problem) == ("m", "")


def test_a_repository_may_itself_be_a_link(tmp_path: Path) -> None:
    model(tmp_path / "there/m")
    (tmp_path / "models").symlink_to("there")
    assert [entry.problem for entry in scan(tmp_path / "models")] == [""]
    (tmp_path / "single.onnx").symlink_to("there/m/1/model.onnx")
    assert [entry.problem for entry in scan(tmp_path / "single.onnx")] == [""]


def test_an_entry_whose_files_hang_is_given_up_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model(tmp_path / "models/good")
    model(tmp_path / "models/hangs")
    model(tmp_path / "models/hangs-too")
    os.mkfifo(tmp_path / "pipe")

    def hanging(path: Path) -> Manifest:
        if "good" not in path.parts:
            (tmp_path / "pipe").read_bytes()
        return Manifest()

    monkeypatch.setattr(contents, "read_manifest", hanging)
    begun = time.monotonic()
    good, *others = scan(tmp_path / "models", time_limit=0.5)
    assert time.monotonic() - begun < 30
    assert good.problem == ""
    assert {entry.problem for entry in others} == {"its files could not be read within 0.5 s"}
    os.close(os.open(tmp_path / "pipe", os.O_RDWR))  # who still waits for a writer ends


def test_what_the_system_can_not_read_is_told_without_its_path() -> None:
    with pytest.raises(InvalidModel, match=r"^mem can't be read: Input/output error$"):
        read_small(Path("/proc/self/mem"), 100)


WRONG = [
    "batching.max_batch_size = 1000000000000000000000000000000",
    "batching.max_batch_size = 65537",
    "batching.max_queue_rows = 1000000001",
    "batching.max_queue_delay = inf",
    "batching.max_queue_delay = nan",
    "batching.max_queue_delay = 1e9",
    "batching.default_deadline = inf",
    "batching.default_deadline = 1e-9",
    "batching.allowed_batch_sizes = [1, 65537]",
    "batching.axes.x = 64",
    "runtime.slots = 100000",
    "runtime.intra_op_threads = 100000",
    "runtime = { slots = 1024, intra_op_threads = 2 }",
    "warmup.shapes.x = [100000000]",
    "padding.x.axis = 64",
    "padding.x.max_length = 100000000\npadding.x.axis = 1",
    "preprocess.x.scale = nan",
    "preprocess.x.scale = [1.0, inf]",
    "preprocess.x.offset = nan",
    "preprocess.x.axis = 64",
    "postprocess.y.top_k = 1000000000000000000",
]


@pytest.mark.parametrize("line", WRONG)
def test_values_have_bounds_and_the_field_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "model.toml").write_text(line)
    with pytest.raises(InvalidModel) as error:
        read_manifest(tmp_path / "model.toml")
    field = line.partition(" = ")[0]
    assert str(error.value).startswith(f"model.toml: {field}")
    assert re.search("expected a|should be", str(error.value))


def test_a_padding_value_may_be_infinite(tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_text("padding.x = { axis = 1, value = -inf }")
    assert read_manifest(tmp_path / "model.toml").padding["x"].value == float("-inf")


def test_paths_are_cut_to_what_a_client_may_know(tmp_path: Path) -> None:
    repository = tmp_path / "my models"
    repository.mkdir()
    told = without_paths(
        f"Load from {repository}/digits/1/model.onnx failed: node '/encoder/Add', input/output, "
        f"'{tmp_path}', see /usr/lib/python3",
        [repository],
    )
    assert told == (
        "Load from digits/1/model.onnx failed: node '/encoder/Add', input/output, "
        f"'{tmp_path.name}', see python3"
    )
