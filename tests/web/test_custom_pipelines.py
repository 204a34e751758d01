"""The pipeline of somebody else's package: the example of the docs, word for word."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from inference_service import Service, Settings
from inference_service.core.tensors import BatchMode
from inference_service.pipelines import BasePipeline, BaseTask, Payload, Place, Signature
from tests import onnx_models
from tests.conftest import ROOT, RunningServer
from tests.support import running

PAGE = (ROOT / "docs" / "tasks.md").read_text()


def example(name: str = "my_package") -> str:
    """The Python file of docs/tasks.md."""
    found = re.search(rf"```python\n# {name}.py\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def installed(folder: Path, code: str, name: str = "my_package") -> str:
    """A package with the entry point, where Python finds it."""
    (folder / f"{name}.py").write_text(code)
    info = folder / "my_package-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[inference_service.pipelines]\nsentiment = {name}:Sentiment\n"
    )
    return str(folder)


def beside(path: str) -> str:
    """The package's folder with those that Python looks into already."""
    return os.pathsep.join([path, *filter(None, [os.environ.get("PYTHONPATH")])])


def model(folder: Path, name: str, kind: str, more: str = "") -> None:
    onnx_models.save(onnx_models.doubler(), folder / name / "1" / "model.onnx")
    (folder / name / "model.toml").write_text(f'[pipeline]\nkind = "{kind}"\n{more}')


def ask(server: RunningServer, body: object, **more: str) -> requests.Response:
    return requests.post(server.url + "/models/reviews/judge", json=body, params=more, timeout=20)


def test_the_example_of_the_docs_works(tmp_path: Path, serve: Callable[..., RunningServer]) -> None:
    (tmp_path / "lib").mkdir()
    path = installed(tmp_path / "lib", example())
    model(tmp_path / "models", "reviews", "sentiment")
    server = serve(tmp_path / "models", PYTHONPATH=beside(path))
    answer = ask(server, {"review": "good, good, bad"}).json()
    assert answer["results"] == [{"mood": "good", "score": 2.0}]
    answer = ask(server, {"reviews": ["bad", "good"]}, loud="true").json()
    assert [result["mood"] for result in answer["results"]] == ["BAD", "GOOD"]
    assert ask(server, {"review": 3}).json() == {"error": "review: expected a text"}


async def test_ten_lines_make_a_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Base class and defaults do the rest: docs page, several payloads, errors."""
    code = example("my_minimal_package")
    assert sum(bool(line.strip()) for line in code.splitlines()[4:]) <= 10
    (tmp_path / "lib").mkdir()
    monkeypatch.syspath_prepend(installed(tmp_path / "lib", code, "my_minimal_package"))
    model(tmp_path / "models", "reviews", "sentiment")
    model(tmp_path / "models", "other", "sentiment", "blame = 3\n")
    service = Service(Settings(models=tmp_path / "models"))
    async with running(service) as client:
        path = "/models/reviews/judge"
        answer = (await client.post(path, json={"reviews": ["good", "bad, good, bad"]})).json()
        assert answer["results"] == ["good", "bad"]
        assert (
            await client.post(path, json={"review": "bad"}, params={"loud": 1})
        ).status_code == 400
        operation = (await client.get("/openapi.json")).json()["paths"][path]["post"]
        assert operation["description"].startswith("Is a review a good one?")
        (broken,) = [s for s in service.engine.statuses() if s.name == "other"]
        assert broken.error == "pipeline.blame: there is no such key; there are 'kind'"


def test_the_test_of_the_docs_passes(tmp_path: Path) -> None:
    (check,) = re.findall(
        r"```python\n(from inference_service.pipelines import Payload.*?)```", PAGE, re.DOTALL
    )
    (tmp_path / "my_package.py").write_text(example())
    run = subprocess.run(
        [sys.executable, "-c", check], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert run.returncode == 0, run.stderr


def test_a_subclass_must_say_what_it_does() -> None:
    with pytest.raises(NotImplementedError):
        BaseTask().run(Payload("x"), None)
    with pytest.raises(NotImplementedError):
        BasePipeline({"kind": "k"}, Place([])).tasks(Signature((), (), BatchMode.MERGE))


def test_a_foreign_pipeline_that_fails_harms_nobody_else(
    tmp_path: Path, serve: Callable[..., RunningServer]
) -> None:
    (tmp_path / "lib").mkdir()
    code = example().replace("if not isinstance", "1 / 0\n        if not isinstance")
    path = installed(tmp_path / "lib", code)
    model(tmp_path / "models", "reviews", "sentiment")
    model(tmp_path / "models", "broken", "sentimental")
    server = serve(tmp_path / "models", PYTHONPATH=beside(path))
    answer = ask(server, {"review": "good"})
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal error; the server's log has the details"}
    server.output("ZeroDivisionError")
    status = requests.get(server.url + "/v1/models/broken", timeout=10).json()
    message = status["model_version_status"][0]["status"]["error_message"]
    assert "pipeline.kind: expected one of" in message
    assert "'sentiment'" in message
    assert "got 'sentimental'" in message
