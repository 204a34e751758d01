"""A version is there whole or not at all, at whatever step its writer is killed."""

import os
import signal
from pathlib import Path

import pytest

from inference_service.core.errors import InvalidModel
from inference_service.importing.publish import PREFIX, Files, next_version, publish
from inference_service.repository.contents import scan

FILES = Files('description = "x"\n', {"model.onnx": b"graph", "import.json": b"{}"})


def steps_of(folder: Path, version: int) -> list[str]:
    seen: list[str] = []
    publish(folder, version, FILES, seen.append)
    return seen


def killed_at(number: int, folder: Path, version: int) -> int:
    """Publish in a process that kills itself before its step ``number``."""
    child = os.fork()
    if child == 0:
        count = 0

        def step(_: str) -> None:
            nonlocal count
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

        try:
            publish(folder, version, FILES, step)
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


def visible(repository: Path) -> dict[str, list[int]]:
    try:
        return {entry.name: sorted(entry.versions) for entry in scan(repository)}
    except InvalidModel:
        return {}


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("exists", [False, True], ids=["new-model", "further-version"])
def test_a_kill_at_any_step_leaves_nothing_half_visible(tmp_path: Path, *, exists: bool) -> None:
    version = 2 if exists else 1
    trial = tmp_path / "trial" / "m"
    if exists:
        publish(trial, 1, FILES)
    steps = steps_of(trial, version)
    assert len(steps) >= 10
    before = {"m": [1]} if exists else {}
    after = {"m": [1, 2]} if exists else {"m": [1]}
    for number, name in enumerate(steps):
        repository = tmp_path / str(number)
        folder = repository / "m"
        if exists:
            publish(folder, 1, FILES)
        assert os.WIFSIGNALED(killed_at(number, folder, version))
        found = visible(repository)
        assert found in (before, after), name
        assert found == before or steps.index("rename") < number, name
        if found == before:  # what is left behind does not keep the next import from its work
            publish(folder, version, FILES)
            assert visible(repository) == after
        entry = scan(repository)[0]
        assert entry.problem == ""
        assert (entry.versions[version].parent / "import.json").read_bytes() == b"{}"
        left = [one for one in repository.rglob("*") if one.name.startswith(PREFIX)]
        assert not left, name


def test_a_version_is_never_replaced(tmp_path: Path) -> None:
    publish(tmp_path / "m", 1, FILES)
    with pytest.raises(InvalidModel, match=r"never replaced.*2"):
        publish(tmp_path / "m", 1, FILES)
    assert next_version(tmp_path / "m") == 2


def test_the_owners_model_toml_is_kept(tmp_path: Path) -> None:
    publish(tmp_path / "m", 1, FILES)
    (tmp_path / "m" / "model.toml").write_text("# mine\n")
    at = publish(tmp_path / "m", 2, Files("# other\n", {"model.onnx": b"graph"}))
    assert (tmp_path / "m" / "model.toml").read_text() == "# mine\n"
    assert (at / "suggested-model.toml").read_text() == "# other\n"


def test_an_import_that_still_runs_is_not_cleaned_up(tmp_path: Path) -> None:
    seen = []

    def step(name: str) -> None:
        if name == "write model.onnx":
            publish(tmp_path / "other", 1, FILES)  # another import into the same repository
            seen.append(name)

    publish(tmp_path / "m", 1, FILES, step)
    assert seen
    assert visible(tmp_path) == {"m": [1], "other": [1]}


def test_two_imports_of_one_version_leave_the_first(tmp_path: Path) -> None:
    def step(name: str) -> None:
        if name == "rename":
            publish(tmp_path / "m", 1, FILES)

    with pytest.raises(InvalidModel, match="another import"):
        publish(tmp_path / "m", 1, Files("", {"model.onnx": b"other"}), step)
    assert (tmp_path / "m" / "1" / "model.onnx").read_bytes() == b"graph"
    assert not list(tmp_path.glob(f"{PREFIX}*"))


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def step(name: str) -> None:
        if name == "flush import.json":
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        publish(tmp_path / "m", 1, FILES, step)
    assert not list(tmp_path.iterdir())
