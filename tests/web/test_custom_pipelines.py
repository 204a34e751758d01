"""The pipeline of somebody else's package: the example of the docs, word for word."""

import re
from collections.abc import Callable
from pathlib import Path

import requests

from tests import onnx_models
from tests.conftest import ROOT, RunningServer


def example() -> str:
    """The Python file of docs/tasks.md."""
    page = (ROOT / "docs" / "tasks.md").read_text()
    found = re.search(r"```python\n# my_package.py\n(.*?)```", page, re.DOTALL)
    assert found is not None
    return found[1]


def installed(folder: Path, code: str) -> str:
    """A package with the entry point, where Python finds it."""
    (folder / "my_package.py").write_text(code)
    info = folder / "my_package-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[inference_service.pipelines]\nsentiment = my_package:load\n"
    )
    return str(folder)


def model(folder: Path, name: str, kind: str) -> None:
    onnx_models.save(onnx_models.doubler(), folder / name / "1" / "model.onnx")
    (folder / name / "model.toml").write_text(f'[pipeline]\nkind = "{kind}"\n')


def ask(server: RunningServer, body: object, **more: str) -> requests.Response:
    return requests.post(server.url + "/models/reviews/judge", json=body, params=more, timeout=20)


def test_the_example_of_the_docs_works(tmp_path: Path, serve: Callable[..., RunningServer]) -> None:
    (tmp_path / "lib").mkdir()
    path = installed(tmp_path / "lib", example())
    model(tmp_path / "models", "reviews", "sentiment")
    server = serve(tmp_path / "models", PYTHONPATH=path)
    answer = ask(server, {"review": "good, good, bad"}).json()
    assert answer["results"] == [{"mood": "good", "score": 2.0}]
    answer = ask(server, {"reviews": ["bad", "good"]}, loud="true").json()
    assert [result["mood"] for result in answer["results"]] == ["BAD", "GOOD"]
    assert ask(server, {"review": 3}).json() == {"error": "review: expected a text"}


def test_a_foreign_pipeline_that_fails_harms_nobody_else(
    tmp_path: Path, serve: Callable[..., RunningServer]
) -> None:
    (tmp_path / "lib").mkdir()
    code = example().replace("if not isinstance", "1 / 0\n        if not isinstance")
    path = installed(tmp_path / "lib", code)
    model(tmp_path / "models", "reviews", "sentiment")
    model(tmp_path / "models", "broken", "sentimental")
    server = serve(tmp_path / "models", PYTHONPATH=path)
    answer = ask(server, {"review": "good"})
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal error; the server's log has the details"}
    assert "ZeroDivisionError" in server.output()
    status = requests.get(server.url + "/v1/models/broken", timeout=10).json()
    message = status["model_version_status"][0]["status"]["error_message"]
    assert "pipeline.kind: expected one of" in message
    assert "'sentiment'" in message
    assert "got 'sentimental'" in message
