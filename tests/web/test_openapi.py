"""The OpenAPI document: what is committed is what is served, and what it promises holds."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from jsonschema import Draft202012Validator
from starlette.requests import Request

from inference_service import Service
from inference_service.sections import BatchingSettings
from inference_service.settings import Settings
from inference_service.web.document import Document
from tests import text_models
from tests.conftest import MODELS, ROOT, RunningServer
from tests.task_models import save_colours

COMMITTED = ROOT / "docs" / "openapi.json"


def _on_one_line(numbers: re.Match[str]) -> str:
    return re.sub(r"\s+", "", numbers[0])


def document() -> str:
    """The document of the shipped models. The batch size is set: measured ones differ."""

    async def load() -> str:
        settings = Settings(models=MODELS, batching=BatchingSettings(max_batch_size=64))
        service = Service(settings)
        async with service.lifespan(), asyncio.timeout(240):
            await service.loaded()
            text = (
                json.dumps(service.fastapi.openapi(), indent=1, sort_keys=True, ensure_ascii=False)
                + "\n"
            )
            return re.sub(r"\[[-\d.,\s]*\]", _on_one_line, text)

    return asyncio.run(load())


def test_the_committed_document_is_the_one_that_is_served() -> None:
    """scripts/openapi writes it anew. A change here is a change of the contract: look at it."""
    assert COMMITTED.read_text() == document()


def test_every_example_of_the_document_is_answered(server: RunningServer) -> None:
    """Each loaded model and each of its tasks has one."""
    served = requests.get(server.url + "/openapi.json", timeout=60).json()
    posted = set()
    for path, operations in served["paths"].items():
        for kind, media in (
            operations.get("post", {}).get("requestBody", {}).get("content", {}).items()
        ):
            if "example" in media and "{" not in path:
                headers = {"Content-Type": kind}
                body = json.dumps(media["example"])
                answer = requests.post(server.url + path, body, headers=headers, timeout=60)
                assert answer.status_code == 200, (path, answer.text[:300])
                assert fits(served, media["schema"], media["example"]), path
                schema = operations["post"]["responses"]["200"]["content"]["application/json"][
                    "schema"
                ]
                assert fits(served, schema, answer.json()), path
                posted.add(path)
    models = requests.get(server.url + "/models", timeout=20).json()["models"]
    wanted = {f"/v1/models/{model['name']}:predict" for model in models}
    wanted |= {task["path"] for model in models for task in model["tasks"]}
    assert posted == wanted


def fits(document: dict[str, Any], schema: dict[str, Any], value: Any) -> bool:
    whole = {**schema, "components": document["components"]}
    return bool(Draft202012Validator(whole).is_valid(value))


def schemas(value: Any) -> Iterator[dict[str, Any]]:
    """All objects that have a default or values to choose from."""
    if isinstance(value, dict):
        yield value
    for inner in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from schemas(inner)


def test_names_are_identifiers_and_mean_one_thing_each(server: RunningServer) -> None:
    served = requests.get(server.url + "/openapi.json", timeout=60).json()
    operations = [one for item in served["paths"].values() for one in item.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() for name in names)
    components = served["components"]["schemas"]
    assert all(name.isidentifier() and "__" not in name for name in components)
    assert {name: schema["title"] for name, schema in components.items()} == {
        n: n for n in components
    }
    titles = re.findall(r'"title": ?"([^"]+)"', json.dumps({"x": served["paths"]}))
    assert titles == [], "titles are those of components"
    for schema in schemas(served):
        if "default" in schema and ("type" in schema or "anyOf" in schema):
            assert fits(served, schema, schema["default"]), schema
        if isinstance(schema.get("enum"), list):
            spellings = [str(value).lower() for value in schema["enum"]]
            assert len(set(spellings)) == len(spellings), schema
    references = set(re.findall(r'"\$ref": ?"([^"]+)"', json.dumps(served)))
    assert references == {f"#/components/schemas/{name}" for name in components} & references


def test_the_document_is_made_once_and_not_sent_again(server: RunningServer) -> None:
    url = server.url + "/openapi.json"
    first = requests.get(url, timeout=60)
    assert first.headers["content-encoding"] == "gzip"
    assert first.headers["content-type"] == "application/json"
    assert int(first.headers["content-length"]) < len(first.content) / 2
    tag = first.headers["etag"]
    for given in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        again = requests.get(url, headers={"If-None-Match": given}, timeout=20)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = requests.get(url, headers={"If-None-Match": '"other"'}, timeout=20)
    assert other.status_code == 200
    plain = requests.get(url, headers={"Accept-Encoding": "identity"}, timeout=20)
    assert "content-encoding" not in plain.headers
    assert plain.content == first.content
    head = requests.head(url, timeout=20)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", tag)


async def test_a_document_is_made_anew_when_its_subjects_change_and_in_a_thread() -> None:
    made: list[str] = []
    models: list[object] = [object()]

    def build() -> dict[str, Any]:
        made.append(threading.current_thread().name)
        if len(made) == 3:
            raise RuntimeError("the third fails")
        return {"made": len(made)}

    document = Document(build, lambda: models)
    request = Request({"type": "http", "method": "GET", "headers": []})

    async def ask() -> Any:
        return json.loads(bytes((await document.answer(request)).body))["made"]

    assert await asyncio.gather(*(ask() for _ in range(5))) == [1] * 5
    assert await ask() == 1
    models[0] = object()
    assert await ask() == 2
    models.append(object())
    with pytest.raises(RuntimeError, match="the third fails"):
        await ask()
    assert await ask() == 4
    assert threading.main_thread().name not in made


_KINDS = (
    "digits", "flight-delay", "language", "libraries", "speech", "transcription",
)  # fmt: skip
"""Shipped models that make a request in milliseconds. What stands in for the others has the same
pipelines and paths; a picture costs seconds there, and an array of 150 528 numbers the generator."""


def test_no_generated_request_gets_a_5xx_or_an_undocumented_answer(
    serve: Callable[..., RunningServer], tmp_path: Path
) -> None:
    """schemathesis makes requests from the document, valid and not.

    Nine tenths of the 4000 are its systematic ones (each keyword of each schema held and broken),
    which no number of examples changes.
    """
    for name in _KINDS:
        shutil.copytree(MODELS / name, tmp_path / "models" / name)
    text_models.save(tmp_path / "models" / "words")
    save_colours(tmp_path / "models" / "colours")
    server = serve(tmp_path / "models")
    checks = "not_a_server_error,status_code_conformance,content_type_conformance"
    run = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"), "run", f"{server.url}/openapi.json",
            "--url", server.url, "--max-examples", "4", "--seed", "1",
            "--checks", f"{checks},response_schema_conformance",
            "--suppress-health-check", "all", "--no-shrink",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-6000:]


if __name__ == "__main__":
    COMMITTED.write_text(document())
