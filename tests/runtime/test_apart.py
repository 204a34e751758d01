"""Loading in the helper process: the same model as in this one, and no harm from a bad file."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference_service.core.errors import InvalidModel
from inference_service.core.scheduling.layout import Layout
from inference_service.core.tensors import Tensors
from inference_service.engine.interfaces import ModelInfo
from inference_service.runtime import apart, loader
from inference_service.runtime.findings import FindingsCache, read, written
from inference_service.runtime.options import LoadOptions
from inference_service.runtime.restore import key_of
from inference_service.runtime.runner import OrtRunner
from inference_service.runtime.verdicts import Analysis
from inference_service.settings import Settings
from inference_service.sources import entries
from inference_service.sources import load_options as options_of
from tests import onnx_models
from tests.conftest import MODELS
from tests.load_options import changed, load_options

BOUNDS = apart.Bounds(seconds=120.0, memory=4 * 2**30)


@pytest.fixture(autouse=True, scope="module")
def _no_helper_stays() -> Iterator[None]:
    yield
    apart.HELPERS.close()


def nothing() -> None:
    """The warm-up begins."""


def options(folder: Path, model: Any = None, **changes: Any) -> LoadOptions:
    path = onnx_models.save(model or onnx_models.doubler(1), folder / "1" / "model.onnx")
    return load_options(path, **{"findings": FindingsCache(folder / "kept"), **changes})


def shipped(name: str, kept: Path) -> LoadOptions:
    settings = Settings(models=MODELS)
    entry = next(entry for entry in entries(settings) if entry.name == name)
    return changed(options_of(settings, entry, 1), findings=FindingsCache(kept))


def answer(runner: OrtRunner, inputs: Tensors) -> Tensors:
    return next(iter(runner._models.values())).run(inputs)


def without_measures(info: ModelInfo) -> dict[str, Any]:
    """What is known of a model but for times and memory; functions by what they hold."""
    policy = replace(info.policy, max_batch_size=1, max_growth=0)
    same = replace(info, profiles=(), policy=policy, text=None, tasks={})
    return {name: repr(getattr(same, name)) for name in type(info).__dataclass_fields__} | {
        "tasks": sorted(info.tasks),
        "text": info.text is None,
    }


@pytest.mark.parametrize("name", ["digits", "flight-delay", "libraries", "speech"])
def test_it_is_the_same_model_as_without_the_helper(name: str, tmp_path: Path) -> None:
    given = shipped(name, tmp_path)
    info, runner = apart.load(given, nothing, BOUNDS)
    plain = loader.inspect(given)
    assert without_measures(info) == without_measures(plain.info)
    row = plain.found.row
    assert row is not None
    for name_, array in plain.model.run(row).items():
        np.testing.assert_array_equal(array, answer(runner, row)[name_])
    assert runner.memory_bytes > 0
    assert info.profiles[0].points


def test_what_was_found_is_found_again_without_a_helper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = options(tmp_path)
    first, _ = apart.load(given, nothing, BOUNDS)
    monkeypatch.setattr(apart, "HELPERS", None)
    again, runner = apart.load(given, nothing, BOUNDS)
    assert again == first
    assert answer(runner, {"x": np.ones((3, 1), np.float32)})["y"].tolist() == [[2.0]] * 3


def test_the_memory_of_a_model_is_that_of_its_weights(tmp_path: Path) -> None:
    """It decides which models fit the budget; what runs take is in the arena that all share."""
    weights = 2 * 1536 * 1536 * 4
    given = options(tmp_path, onnx_models.heavy(1536, 2), layouts=(Layout(1, 1),))
    _, runner = apart.load(given, nothing, BOUNDS)
    assert weights <= runner.memory_bytes <= 2.5 * weights
    _, again = apart.load(given, nothing, BOUNDS)
    assert again.memory_bytes == runner.memory_bytes


def test_other_options_and_another_file_are_looked_at_again(tmp_path: Path) -> None:
    given = options(tmp_path)
    key = key_of(given, None)
    assert key_of(changed(given, layouts=(Layout(2, 1),)), None) != key
    assert key_of(changed(given, description="another"), None) == key
    (given.path.parent / "weights.bin").write_bytes(b"1")
    with_data = key_of(given, None)
    assert with_data != key
    os.utime(given.path.parent / "weights.bin", (0, 0))
    assert key_of(given, None) == with_data, "times say nothing: the content does"
    onnx_models.save(onnx_models.doubler(3), given.path)
    assert key_of(given, None) != with_data


def test_findings_survive_being_written(tmp_path: Path) -> None:
    given = options(tmp_path, onnx_models.every_kind())
    apart.load(given, nothing, BOUNDS)
    found = given.kept.findings.read(key_of(given, None))
    assert found is not None
    again = read(written(found))
    assert repr(again) == repr(found)


@pytest.mark.parametrize(
    "damage",
    [
        lambda place: (place / "findings.json").write_text('{"plain": {}}'),
        lambda place: (place / "findings.json").write_bytes(b"\xff\x00"),
        lambda place: (place / "findings.json").write_text("[" * 100_000),
        lambda place: halved(place / "findings.json"),
        lambda place: (place / "model.onnx").write_bytes(b"no graph"),
        lambda place: halved(place / "model.onnx"),
        lambda place: halved(place / "model.onnx.weights"),
        lambda place: zeroed(place / "model.onnx.weights"),
        lambda place: (place / "model.onnx.weights").unlink(),
    ],
)
def test_what_is_damaged_is_made_again(damage: Any, tmp_path: Path) -> None:
    given = options(tmp_path, onnx_models.heavy(32, 2))
    row = {"x": np.ones((1, 32), np.float32)}
    _, first = apart.load(given, nothing, BOUNDS)
    right = answer(first, row)
    assert any(array.any() for array in right.values())
    (place,) = (tmp_path / "kept" / "findings").iterdir()
    damage(place)
    _, runner = apart.load(given, nothing, BOUNDS)
    for name, array in answer(runner, row).items():
        np.testing.assert_array_equal(array, right[name])
    assert read((place / "findings.json").read_bytes())


def halved(file: Path) -> None:
    """Half of it was written when the machine stopped."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def zeroed(file: Path) -> None:
    """Its length was, and nothing of its content."""
    file.write_bytes(bytes(file.stat().st_size))


@pytest.mark.parametrize(
    "fault",
    [
        lambda kept: kept.write_text("a file where the folder should be"),
        lambda kept: kept.symlink_to("/proc/no-such-folder"),
        lambda kept: kept.symlink_to("/dev/null"),
    ],
)
def test_a_cache_that_can_not_be_written_costs_a_warning(
    fault: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = options(tmp_path)
    fault(tmp_path / "kept")
    _, runner = apart.load(given, nothing, BOUNDS)
    assert answer(runner, {"x": np.ones((1, 1), np.float32)})["y"].tolist() == [[2.0]]
    assert "what was found out about m can't be kept" in caplog.text


def test_a_full_disk_below_the_cache_and_the_temporary_folder_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = options(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # helpers inherit it
    try:
        apart.HELPERS.close()
        with pytest.raises(InvalidModel, match="what was found out about it can't be written"):
            apart.load(given, nothing, BOUNDS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        apart.HELPERS.close()
    _, runner = apart.load(given, nothing, BOUNDS)
    assert answer(runner, {"x": np.ones((1, 1), np.float32)})["y"].tolist() == [[2.0]]
    assert [one.name for one in tmp_path.iterdir() if "inference-service" in one.name] == []


def test_without_a_cache_nothing_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    given = options(tmp_path, findings=FindingsCache(None))
    _, runner = apart.load(given, nothing, BOUNDS)
    assert list((tmp_path / "tmp").iterdir()) == []
    assert answer(runner, {"x": np.ones((1, 1), np.float32)})["y"].tolist() == [[2.0]]


def crashes(path: Path, constants: Tensors) -> Analysis:
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def hangs(path: Path, constants: Tensors) -> Analysis:
    time.sleep(600)
    raise AssertionError


def takes_all_memory(path: Path, constants: Tensors) -> Analysis:
    np.ones(2**30)
    raise AssertionError


def test_a_crash_is_the_models_and_not_the_services(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="the process that loads it was ended by SIGSEGV"):
        apart.load(options(tmp_path, analyse=crashes), nothing, BOUNDS)
    info, _ = apart.load(options(tmp_path), nothing, BOUNDS)
    assert info.name == "m"


def test_a_load_that_hangs_is_ended(tmp_path: Path) -> None:
    bounds = replace(BOUNDS, seconds=3.0)
    with pytest.raises(InvalidModel, match=r"not loaded within 3 seconds"):
        apart.load(options(tmp_path, analyse=hangs), nothing, bounds)


def test_a_load_that_takes_all_memory_fails_alone(tmp_path: Path) -> None:
    bounds = replace(BOUNDS, memory=600 * 2**20)
    with pytest.raises(MemoryError):
        apart.load(options(tmp_path, analyse=takes_all_memory), nothing, bounds)


def test_a_file_that_is_no_model_says_so(tmp_path: Path) -> None:
    given = options(tmp_path)
    given.path.write_bytes(b"no model")
    with pytest.raises(InvalidModel, match="onnxruntime can't load it"):
        apart.load(given, nothing, BOUNDS)


def test_a_helper_beside_other_models_gives_way_in_its_session_too() -> None:
    """Linux compares sessions by their group's value: nice alone counts within a session only."""
    group = Path("/proc/self/autogroup")
    script = (
        "import os; from pathlib import Path; from inference_service.runtime.helper import give_way\n"
        "give_way(); give_way()\n"
        "print(os.getpriority(os.PRIO_PROCESS, 0))\n"
        f"group = Path('{group}'); print(group.read_text() if group.exists() else '')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], start_new_session=True, capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    told = done.stdout.split()
    assert told[0] == "10"
    if len(told) > 1:  # the system has such groups
        assert told[-2:] == ["nice", "10"]
