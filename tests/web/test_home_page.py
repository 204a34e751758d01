"""The home page's files, the examples of models, and /stats over HTTP."""

import json
import re
from pathlib import Path

import httpx
import pytest

from inference_service import Service, Settings
from inference_service.repository.examples import example_file, example_files
from tests import onnx_models
from tests.support import running


@pytest.fixture
def service(tmp_path: Path) -> Service:
    onnx_models.save(onnx_models.doubler(), tmp_path / "doubler" / "1" / "model.onnx")
    examples = tmp_path / "doubler" / "examples"
    examples.mkdir()
    (examples / "a-row.request.json").write_text('{"instances": [[1, 2, 3]]}')
    (examples / "notes.json").write_text("{}")
    (examples / "words.txt").write_text("words")
    (examples / "program.py").write_text("")
    return Service(Settings(models=tmp_path))


async def test_the_page_names_files_that_may_be_kept_for_ever(service: Service) -> None:
    async with running(service) as client:
        page = await client.get("/")
        assert page.headers["cache-control"] == "no-cache"
        assert (
            "unsafe" not in page.headers["content-security-policy"].partition("style-src-attr")[0]
        )
        assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=", page.text)
        named = re.findall(r'(?:href|src)="(home/[^"]+)"', page.text)
        assert len(named) > 5
        for path in named:
            file = await client.get(f"/{path}")
            assert file.status_code == 200, path
            assert "immutable" in file.headers["cache-control"]
            tagged = await client.get(f"/{path}", headers={"if-none-match": file.headers["etag"]})
            assert tagged.status_code == 304


async def test_modules_import_files_that_exist(service: Service) -> None:
    async with running(service) as client:
        seen: set[str] = set()
        todo = {"main.js", "tap.js"}
        while todo:
            name = todo.pop()
            seen.add(name)
            file = await client.get(f"/home/of-another-version/{name}")
            assert file.status_code == 200, name
            assert file.headers["content-type"] == "text/javascript; charset=utf-8"
            assert file.headers["cache-control"] == "no-cache"
            todo |= set(re.findall(r'(?:from |import\()"\./(\w+\.js)"', file.text)) - seen
        assert len(seen) > 12
        assert (await client.get("/home/x/nothing.js")).status_code == 404


async def test_examples_are_requests_and_files_and_nothing_else(service: Service) -> None:
    async with running(service) as client:
        listed = (await client.get("/models/doubler/examples")).json()["examples"]
        assert [(one["title"], one["request"]) for one in listed] == [
            ("a row", True), ("words", False),
        ]  # fmt: skip
        row = await client.get(listed[0]["path"])
        assert row.headers["content-type"] == "application/json"
        answer = await client.post("/v1/models/doubler:predict", content=row.content)
        assert answer.status_code == 200
        for path in ("notes.json", "program.py", "..%2F..%2Fsecret", "%2Fetc%2Fpasswd"):
            assert (await client.get(f"/models/doubler/examples/{path}")).status_code == 404
        assert (await client.get("/models/nobody/examples")).status_code == 404


async def test_the_stats_count_what_was_asked(service: Service) -> None:
    async with running(service) as client:
        for _ in range(3):
            await client.post("/v1/models/doubler:predict", json={"instances": [[1, 2, 3]]})
        stats: httpx.Response = await client.get("/stats")
        (model,) = stats.json()["models"]
        assert (model["name"], model["state"], model["requests"]) == ("doubler", "ready", 3)
        assert model["p50_ms"] > 0


def test_examples_beside_a_version_come_before_those_of_the_model(tmp_path: Path) -> None:
    for folder, names in (("examples", ["b.txt", "a.txt"]), ("1/examples", ["own.txt"])):
        (tmp_path / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / folder / name).write_text(name * 2)
    assert [one.file for one in example_files(tmp_path / "1")] == ["own.txt"]
    assert [one.file for one in example_files(tmp_path / "2")] == ["a.txt", "b.txt"]
    assert example_file(tmp_path / "1") == b"own.txtown.txt"


def test_examples_have_a_bound_in_number_and_size(tmp_path: Path) -> None:
    folder = tmp_path / "examples"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02}.txt").write_text(json.dumps(number))
    (folder / "00.txt").write_bytes(b"x" * (4 * 1024 * 1024 + 1))
    (folder / "01.txt").write_bytes(b"")
    assert [one.file for one in example_files(tmp_path)][:2] == ["02.txt", "03.txt"]
    assert len(example_files(tmp_path)) == 24
