"""A repository of faults, served as its users would: the healthy model answers, the others say why."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from onnx import TensorProto, helper, numpy_helper

from tests import onnx_models
from tests.conftest import MODELS, ROOT, RunningServer
from tests.ports import free_port
from tests.runtime.test_categories import columns
from tests.runtime.test_locales import normaliser
from tests.support import LONGEST_WAIT

HANGING_LOAD = """
import inference_service.sources as sources
real = sources.load
def load(options, warming):
    if options.name == "hangs":
        open(options.path.parent / "pipe", "rb").read()  # in native code, for ever
    return real(options, warming)
sources.load = load
from inference_service.cli import main
main()
"""
BUSY_THREAD = """
import threading, time
threading.Thread(target=time.sleep, args=(3600,)).start()  # as one that decodes for ever
from inference_service.cli import main
main()
"""


def faults(folder: Path) -> Path:
    """One good model among what people, downloads and mounts leave in a folder."""
    onnx_models.save(onnx_models.doubler(), folder / "good/1/model.onnx")
    digits = MODELS / "digits/1/model.onnx"
    for name, line in {
        "slots": "runtime.slots = 100000",
        "threads": "runtime.intra_op_threads = 100000",
        "shapes": "warmup.shapes.image = [100000000]",
        "labels": 'labels.probabilities = ["a"]',
        "text": "example.image = ['x']",
    }.items():
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "1/model.onnx").write_bytes(digits.read_bytes())
        (folder / name / "model.toml").write_text(line)
    (folder / "latin/1").mkdir(parents=True)
    (folder / "latin/1/model.onnx").write_bytes(digits.read_bytes())
    (folder / "latin/model.toml").write_bytes('description = "für"'.encode("latin-1"))
    (folder / "gone.onnx").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.onnx")
    (folder / "garbage.onnx").write_bytes(b"garbage")
    onnx_models.save(onnx_models.doubler(), folder / "twice.onnx")
    onnx_models.save(onnx_models.doubler(), folder / "twice/1/model.onnx")
    weights = numpy_helper.from_array(np.ones(3, np.float32), "w")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="weights.bin")
    external = onnx_models.build(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        [("x", onnx_models.FLOAT, ["rows", 3])],
        [("y", onnx_models.FLOAT, ["rows", 3])],
    )
    external.graph.initializer.append(weights)
    onnx_models.save(external, folder / "external/1/model.onnx")
    onnx_models.save(columns(), folder / "columns/1/model.onnx")
    onnx_models.save(normaliser("en_US"), folder / "lower/1/model.onnx")
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    from tests.conftest import serving

    with serving(faults(tmp_path_factory.mktemp("faulty models"))) as running:
        yield running


def predict(url: str, model: str, *instances: Any) -> requests.Response:
    body = {"instances": list(instances)}
    return requests.post(f"{url}/v1/models/{model}:predict", json=body, timeout=20)


def test_the_good_model_answers_and_the_service_is_ready(served: RunningServer) -> None:
    assert predict(served.url, "good", [1, 2, 3]).json() == {"predictions": [[2, 4, 6]]}
    assert requests.get(served.url + "/v2/health/ready", timeout=20).json() == {"ready": True}


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("slots", "model.toml: runtime.slots: expected a number of at most 1024"),
        ("threads", "model.toml: runtime.intra_op_threads: expected a number of at most"),
        ("shapes", "model.toml: warmup.shapes.image[0]: expected a number of at most"),
        ("labels", "labels.probabilities: 1 labels for 10 classes"),
        ("text", "example.image: expected float32, got 'x'"),
        ("latin", "model.toml is not UTF-8 (line 1)"),
        ("gone", "gone.onnx is a symbolic link that leads nowhere"),
        ("pipe", "pipe.onnx is a named pipe, no file"),
        ("garbage", "onnxruntime can't load it: Load model from garbage.onnx failed"),
        ("twice", "there are both twice/ and twice.onnx"),
        ("external", "weights.bin"),
    ],
)
def test_a_faulty_one_says_why(served: RunningServer, model: str, words: str) -> None:
    answer = predict(served.url, model, [0] * 64)
    assert answer.status_code == 503
    assert words in answer.json()["error"]


def test_no_answer_holds_a_path_of_the_server(served: RunningServer) -> None:
    models = ["slots", "garbage", "gone", "external", "nowhere"]
    answers = [predict(served.url, model, [1]) for model in models]
    answers += [
        requests.request(method, served.url + path, timeout=20)
        for method, path in (
            ("POST", "/v2/repository/index"),
            ("GET", "/v2/models/external"),
            ("GET", "/v2/models/garbage/ready"),
            ("GET", "/v1/models/external"),
            ("GET", "/openapi.json"),
            ("GET", "/v2/health/ready"),
        )
    ]
    for answer in answers:
        assert not re.search(r"/(tmp|var|home|root|work|usr)\b|faulty models", answer.text)
    assert "faulty models" in served.announcement, "the operator is told"


def test_an_unknown_category_is_400_with_words(served: RunningServer) -> None:
    assert predict(served.url, "columns", ["red", "S"]).json() == {
        "predictions": [[0, 0, 1, 0, 0, 1]]
    }
    answer = predict(served.url, "columns", ["red", "XXL"])
    assert answer.status_code == 400
    assert (
        "it does not know one of the categories; it knows 'L', 'M', 'S'" in answer.json()["error"]
    )


def test_a_text_model_works_without_its_locale(served: RunningServer) -> None:
    assert predict(served.url, "lower", "ÄBC").json() == {"predictions": ["äbc"]}


def test_the_log_has_none_of_onnxruntimes_own_lines(served: RunningServer) -> None:
    predict(served.url, "columns", ["red", "XXL"])
    printed = served.announcement + served.output()
    assert ":onnxruntime" not in printed
    assert "Traceback" not in printed


def start(code: str, path: Path, port: int, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", code, "serve", str(path), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "INFERENCE_SERVICE_SHUTDOWN__LAME_DUCK": "0", **environment},
        cwd=ROOT,
    )


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    last = time.monotonic() + 60
    while time.monotonic() < last and process.poll() is None:
        try:
            if condition():
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.05)
    raise AssertionError("the server did not come up")


def test_sigterm_is_obeyed_while_a_load_hangs(tmp_path: Path) -> None:
    for name in ("good", "hangs"):
        onnx_models.save(onnx_models.doubler(), tmp_path / name / "1/model.onnx")
    os.mkfifo(tmp_path / "hangs/1/pipe")
    url = f"http://127.0.0.1:{(port := free_port())}"
    process = start(HANGING_LOAD, tmp_path, port)
    try:
        until(lambda: predict(url, "good", [1, 2, 3]).status_code == 200, process)
        answer = predict(url, "hangs", [1, 2, 3])
        assert answer.status_code == 503
        assert "model 'hangs' version 1 is loading" in answer.json()["error"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(LONGEST_WAIT) == 0
    finally:
        process.kill()
        _, printed = process.communicate(timeout=30)
    assert b"cut off: load hangs" in printed


def test_a_load_that_hangs_fails_and_the_service_is_ready(tmp_path: Path) -> None:
    for name in ("a-hangs", "good"):
        onnx_models.save(onnx_models.doubler(), tmp_path / name / "1/model.onnx")
    os.mkfifo(tmp_path / "a-hangs/1/pipe")
    url = f"http://127.0.0.1:{(port := free_port())}"
    code = HANGING_LOAD.replace('"hangs"', '"a-hangs"')
    process = start(code, tmp_path, port, INFERENCE_SERVICE_RUNTIME__LOAD_TIMEOUT="1")
    try:
        ready = url + "/v2/health/ready"
        until(lambda: requests.get(ready, timeout=20).status_code == 200, process)
        answer = predict(url, "a-hangs", [1, 2, 3])
        assert "it was not loaded within 1 seconds (runtime.load_timeout)" in answer.json()["error"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(LONGEST_WAIT) == 0
    finally:
        process.kill()
        process.communicate(timeout=30)


def test_the_process_ends_by_the_grace_period_whatever_its_threads_do(tmp_path: Path) -> None:
    onnx_models.save(onnx_models.doubler(), tmp_path / "good/1/model.onnx")
    url = f"http://127.0.0.1:{(port := free_port())}"
    process = start(BUSY_THREAD, tmp_path, port, INFERENCE_SERVICE_SHUTDOWN__GRACE_PERIOD="1")
    try:
        until(lambda: predict(url, "good", [1, 2, 3]).status_code == 200, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(LONGEST_WAIT) == 1
    finally:
        process.kill()
        _, printed = process.communicate(timeout=30)
    assert b"the grace period is over; cut off:" in printed
