"""OpenAI's own tests and other clients of its API, with what comes of each.

scripts/openai-clients runs it; it is no part of the test suite (it needs npm and other packages).
"""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import hugging_face, onnx_models, text_models
from tests.conftest import MODELS, RunningServer, serving

HERE = Path(__file__).parent / "of_openai"
TOOLS = Path(os.environ.get("OPENAI_CLIENTS", ""))
SOURCE = TOOLS / "openai-3.57.0"
RECORDING = MODELS / "transcription" / "examples" / "cards-001.flac"
PICTURE = MODELS / "imagenet" / "examples" / "cat.jpg"
TEXT = "Ten of clubs."


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Models of the names that the tests ask for, and one of each kind of Hugging Face's."""
    folder = hugging_face.save_all(tmp_path_factory.mktemp("models"))
    text_models.save(folder / "text-embedding-3-small", max_tokens=64)
    onnx_models.save(onnx_models.doubler(), folder / "gpt-6-astra.onnx")
    linked = {"gpt-4o-transcribe": "transcription", "speech": "speech", "imagenet": "imagenet"}
    for name, model in linked.items():
        (folder / name).symlink_to(MODELS / model)
    with serving(folder, INFERENCE_SERVICE_REPOSITORY__FOLLOW_LINKS="true") as running:
        yield running


def own_tests(served: RunningServer, path: Path, report: Path) -> tuple[int, dict[str, str]]:
    """How many of a file of OpenAI's tests pass, and why others fail, by name."""
    options = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [
        TOOLS / "python/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider",
        "-o", "addopts=", f"--junitxml={report}", path,
    ]  # fmt: skip
    subprocess.run(
        [str(part) for part in command],
        cwd=SOURCE, env={**options, "TEST_API_BASE_URL": f"{served.url}/v1"}, timeout=300,
        capture_output=True, check=False,
    )  # fmt: skip
    cases = list(ET.parse(report).getroot().iter("testcase"))  # noqa: S314
    failed = {
        f"{case.get('classname')}.{case.get('name')}": str(fault.get("message"))
        for case in cases
        for fault in (*case.iter("failure"), *case.iter("error"))
    }
    return len(cases) - len(failed), failed


def test_openais_own_tests_of_embeddings(served: RunningServer, tmp_path: Path) -> None:
    """The others check the answer before they decode it: floats are wanted, base64 is asked for."""
    path = SOURCE / "tests/api_resources/test_embeddings.py"
    passed, failed = own_tests(served, path, tmp_path / "report.xml")
    assert (passed, len(failed)) == (11, 9)
    assert all("APIResponseValidationError" in message for message in failed.values())
    assert not any("all_params" in name for name in failed)


def test_openais_own_tests_of_models(served: RunningServer, tmp_path: Path) -> None:
    """The others delete a model."""
    path = SOURCE / "tests/api_resources/test_models.py"
    passed, failed = own_tests(served, path, tmp_path / "report.xml")
    assert (passed, len(failed)) == (40, 15)
    assert all("delete" in name for name in failed)


def test_openais_own_tests_of_transcriptions(served: RunningServer, tmp_path: Path) -> None:
    """With a recording for their bytes. The others send every field that there is."""
    path = SOURCE / "tests/api_resources/audio/test_transcriptions.py"
    sound = f'__import__("pathlib").Path("{RECORDING}").read_bytes()'
    recorded = path.with_name("test_recorded.py")
    recorded.write_text(path.read_text().replace('b"Example data"', sound))
    passed, failed = own_tests(served, recorded, tmp_path / "report.xml")
    assert (passed, len(failed)) == (30, 10)
    assert all("with_all_params" in name for name in failed)
    assert all("there are no times of words" in message for message in failed.values())


def lines(*command: object) -> dict[str, Any]:
    """What a client prints: a name and JSON in each line."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    pairs = (line.partition(" ") for line in done.stdout.splitlines() if " " in line)
    return {name: json.loads(told) for name, _, told in pairs}


def test_openais_javascript_sdk(served: RunningServer) -> None:
    told = lines("node", HERE / "openai.mjs", TOOLS / "node", served.url, RECORDING)
    assert "text-embedding-3-small" in told["models"]
    assert told["vectors"] == {"usual": 8, "float": 8, "base64": 44, "short": 3, "tokens": 8}
    assert told["too-long"].startswith("400 dimensions: expected a whole number from 1 to 8")
    assert told["json"]["text"] == told["verbose"]["text"] == told["text"].strip() == TEXT
    assert told["verbose"]["segments"][0]["text"] == TEXT
    assert [one["type"] for one in told["events"]] == [
        "transcript.text.delta", "transcript.text.done"
    ]  # fmt: skip
    assert told["words"].endswith("expected 'segment', got 'word': there are no times of words")


def test_litellm(served: RunningServer) -> None:
    python = TOOLS / "python/bin/python"
    told = lines(python, "-W", "ignore", HERE / "ask_litellm.py", served.url, RECORDING)
    assert told == {"usual": 8, "short": 3, "user": 8, "tokens": 8, "said": TEXT}


def test_hugging_faces_javascript_client(served: RunningServer) -> None:
    told = lines("node", HERE / "hugging_face.mjs", TOOLS / "node", served.url, RECORDING, PICTURE)
    assert told["speech"] == {"text": TEXT}
    assert told["mood"][0]["label"] == "POSITIVE"
    assert [one["word"] for one in told["names"]] == ["Ann", "London"]
    assert told["zero-shot"][0]["label"] == "cat"
    assert [len(one) for one in told["vectors"]] == [3, 3]
    assert told["likeness"][1] == pytest.approx(1, abs=1e-6)
    assert len(told["picture"]) == 5
    assert "can't do zero-shot" in told["refused"]


if __name__ == "__main__":
    sys.exit("run it with scripts/openai-clients")
