"""Hot reload from the folder: what is copied, linked, torn or taken away while the service runs."""

import asyncio
import base64
import hashlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from inference_service import Service
from inference_service.core.errors import InvalidInput
from inference_service.core.requests import ModelRef
from inference_service.repository.stamps import stamps
from inference_service.repository_watch import RepositoryWatch
from inference_service.settings import Settings
from tests import onnx_models
from tests.support import LONGEST_WAIT, running, until


@asynccontextmanager
async def watched(
    models: Path, admin: Mapping[str, object] | None = None, **repository: object
) -> AsyncIterator["Site"]:
    settings = Settings(
        models=models,
        repository={"watch": True, "watch_interval": 0.05, **repository},
        admin={"repository": True, "token": "secret", **(admin or {})},
    )
    service = Service(settings)
    async with running(service) as client:
        yield Site(service, client)


class Site:
    """A service whose repository is watched."""

    def __init__(self, service: Service, client: httpx.AsyncClient) -> None:
        self.service = service
        self.client = client

    async def ask(self, path: str = "/v2/models/m/infer") -> tuple[str, float]:
        """The version that has answered, and its factor."""
        tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 1]}
        answer = await self.client.post(path, json={"inputs": [tensor]})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        return body["model_version"], body["outputs"][0]["data"][0]

    async def index(self) -> dict[str, tuple[str, str]]:
        """State and reason of each version."""
        found = (await self.client.post("/v2/repository/index", json={})).json()
        return {one["version"]: (one["state"], one["reason"]) for one in found}

    async def admin(self, action: str, body: dict[str, object] | None = None) -> httpx.Response:
        return await self.client.post(
            f"/v2/repository/models/m/{action}",
            json=body or {},
            headers={"authorization": "Bearer secret"},
        )

    def reason(self, version: int) -> str:
        statuses = self.service.engine.statuses()
        return next((one.error for one in statuses if one.version == version), "")

    def version(self) -> int | None:
        found = self.service.engine.current("m")
        return None if found is None else found.version


def put(models: Path, version: int, factor: float) -> None:
    onnx_models.save(onnx_models.multiplier(factor), models / "m" / str(version) / "model.onnx")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    put(tmp_path, 1, 2)
    return tmp_path


async def test_a_version_that_is_copied_into_the_folder_is_served(models: Path) -> None:
    async with watched(models) as site:
        assert await site.ask() == ("1", 2)
        put(models, 2, 3)
        await until(lambda: site.version() == 2)
        assert await site.ask() == ("2", 3)
        assert (await site.index())["1"] == ("UNLOADING", "version 2 has taken its place")
        shutil.rmtree(models / "m" / "2")
        await until(lambda: site.version() == 1)
        assert await site.ask() == ("1", 2)


async def test_files_that_are_replaced_are_served(models: Path) -> None:
    async with watched(models) as site:
        put(models, 1, 5)

        async def swapped() -> bool:
            return await site.ask() == ("1", 5)

        await eventually(swapped)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(LONGEST_WAIT):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_torn_upload_leaves_the_working_version_and_its_reason_is_told(
    models: Path,
) -> None:
    async with watched(models) as site:
        whole = (models / "m" / "1" / "model.onnx").read_bytes()
        (models / "m" / "2").mkdir()
        (models / "m" / "2" / "model.onnx").write_bytes(whole[: len(whole) // 2])
        await until(lambda: bool(site.reason(2)))
        state, reason = (await site.index())["2"]
        assert state == "UNAVAILABLE"
        assert "model.onnx" in reason
        assert reason.endswith("It is no ONNX file, or only a part of one.")
        assert await site.ask() == ("1", 2)
        metrics = (await site.client.get("/metrics")).text
        assert 'inference_model_ready{model="m",version="2"} 0.0' in metrics
        assert 'inference_model_loads_total{model="m",outcome="failed",version="2"} 1.0' in metrics
        put(models, 2, 7)  # the rest has come
        await until(lambda: site.version() == 2)
        assert await site.ask() == ("2", 7)


async def test_a_start_with_a_torn_version_serves_the_one_before(models: Path) -> None:
    """What a restart finds must be no worse than what a running service would have kept."""
    (models / "m" / "2").mkdir()
    (models / "m" / "2" / "model.onnx").write_bytes(b"\x08\x09 torn")
    async with watched(models) as site:
        assert await site.ask() == ("1", 2)
        assert (await site.client.get("/v2/health/ready")).status_code == 200
        states = {version: state for version, (state, _) in (await site.index()).items()}
        assert states == {"1": "READY", "2": "UNAVAILABLE"}
        put(models, 2, 7)
        await until(lambda: site.version() == 2)
    (models / "m" / "model.toml").write_text('versions = {kind = "specific", versions = [3]}')
    put(models, 3, 9)
    (models / "m" / "3" / "model.onnx").write_bytes(b"torn")
    async with watched(models) as site:
        answer = await site.client.post("/v2/models/m/infer", json={})
        assert answer.status_code != 200, "the versions that are listed, and no others"


async def test_a_torn_replacement_leaves_the_working_version(models: Path) -> None:
    async with watched(models) as site:
        (models / "m" / "1" / "model.onnx").write_bytes(b"\x08\x09 torn")
        await until(lambda: bool(site.reason(1)))
        assert await site.ask() == ("1", 2)
        state, reason = (await site.index())["1"]
        assert state == "READY"
        assert reason.startswith("the changed files are not served: ")


async def test_a_swap_of_links_by_kubernetes_is_a_change(tmp_path: Path) -> None:
    """A volume of a ConfigMap: names are links into ``..data``, a link that is swapped."""
    models = tmp_path / "models"
    put(models / "..one", 1, 2)
    put(models / "..two", 1, 3)
    (models / "..data").symlink_to("..one")
    (models / "m").symlink_to("..data/m")
    async with watched(models) as site:
        assert await site.ask() == ("1", 2)
        (models / "..new").symlink_to("..two")
        (models / "..new").rename(models / "..data")

        async def swapped() -> bool:
            return await site.ask() == ("1", 3)

        await eventually(swapped)


async def test_golden_files_are_a_gate(models: Path) -> None:
    golden = models / "m" / "golden"
    golden.mkdir()
    (golden / "two.json").write_text('{"inputs": {"x": [[1, 2]]}, "outputs": {"y": [[2, 4]]}}')
    async with watched(models) as site:
        put(models, 2, 3)
        await until(lambda: "golden/two.json: output 'y' differs" in site.reason(2))
        assert await site.ask() == ("1", 2)


async def test_an_admin_promotes_and_rolls_back(models: Path) -> None:
    put(models, 2, 3)
    async with watched(models, watch=False) as site:
        assert await site.ask() == ("2", 3)
        assert (await site.admin("promote", {"version": 1})).status_code == 200
        assert await site.ask() == ("1", 2)
        answer = await site.admin("rollback")
        assert answer.json() == {"result": "version 2 answers again"}
        assert await site.ask() == ("2", 3)
        missing = await site.admin("promote", {"version": 7})
        assert missing.status_code == 404
        assert missing.json() == {"error": "there is no version 7 of 'm'; there are: 1, 2"}
        assert (await site.admin("promote")).status_code == 400
        assert (await site.client.post("/v2/repository/models/m/rollback")).status_code == 401


async def test_traffic_is_shared_by_label(models: Path) -> None:
    put(models, 2, 3)
    (models / "m" / "model.toml").write_text(
        "version_labels = { stable = 1, canary = 2 }\ntraffic = { stable = 1, canary = 1 }\n"
    )
    async with watched(models, watch=False) as site:
        engine = site.service.engine
        seen = {engine.resolve(ModelRef("m"), f"c{i}").info.version for i in range(40)}
        assert seen == {1, 2}


def test_what_is_being_written_differs_from_look_to_look(models: Path) -> None:
    before = stamps(models)
    (models / "m" / "1" / ".model.onnx.Xk2f9").write_bytes(b"rsync")
    assert stamps(models) == before, "hidden files are no change"
    (models / "m" / "1" / "model.onnx").write_bytes(b"half")
    assert stamps(models)["m"] != before["m"]
    assert list(stamps(models / "m")) == [""], "a model's own folder"
    assert list(stamps(models / "m" / "1" / "model.onnx")) == [""], "a file"


def test_files_beside_the_models_are_no_models(models: Path) -> None:
    before = stamps(models)
    (models / "service.log").write_text("the files of service.log have changed")
    assert stamps(models) == before
    shutil.copy(models / "m" / "1" / "model.onnx", models / "other.onnx")
    assert stamps(models).keys() - before.keys() == {"other.onnx"}


async def test_a_change_counts_once_it_has_settled() -> None:
    seen: list[str] = []

    async def changed(name: str) -> None:
        seen.append(name)
        raise InvalidInput("broken")

    watch = RepositoryWatch(dict, changed, 1.0)
    known = await watch.compare({}, {"m": 1})
    known = await watch.compare(known, {"m": 2})
    assert seen == [], "it still grows"
    known = await watch.compare(known, {"m": 2})
    assert seen == ["m"]
    known = await watch.compare(known, {"m": 2})
    assert seen == ["m"], "a failure waits for the next change"
    known = await watch.compare(known, {})
    known = await watch.compare(known, {})
    assert seen == ["m", "m"]
    assert known == {}


async def test_a_look_that_is_asked_for_does_not_wait_for_the_interval(models: Path) -> None:
    async with watched(models, watch_interval=3600.0) as site:
        put(models, 2, 3)
        site.service.watch.look_now()
        await until(lambda: site.version() == 2)
        put(models, 3, 4)
        site.service.watch.look_now()
        await until(lambda: site.version() == 3)


async def test_an_admin_uploads_a_version(models: Path) -> None:
    content = onnx_models.multiplier(4).SerializeToString()
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    admin = {"uploads": True, "max_upload_bytes": len(content)}
    async with watched(models, admin=admin) as site:

        async def put_version(version: object, body: bytes, **headers: str) -> httpx.Response:
            return await site.client.put(
                f"/v2/repository/models/m/versions/{version}",
                content=body,
                headers={"authorization": "Bearer secret", **headers},
            )

        good = {"content-digest": f"sha-256=:{digest}:"}
        assert (await put_version(4, content[:-1], **good)).status_code == 400, "another digest"
        assert (await put_version(4, content + b"more")).status_code == 413
        assert (await put_version(4, b"")).json()["error"].startswith("the body is empty")
        assert (await put_version(4, content, authorization="Bearer x")).status_code == 401
        refused = await put_version(4, content, **{"content-digest": "md5=:x:"})
        assert refused.json()["error"].startswith("Content-Digest: expected")
        assert sorted(path.name for path in (models / "m").iterdir()) == ["1"], "nothing is left"
        answer = await put_version(4, content, **good)
        assert answer.status_code == 201, answer.text
        assert answer.json()["sha256"] == hashlib.sha256(content).hexdigest()
        await until(lambda: site.version() == 4)
        assert await site.ask() == ("4", 4)
        again = await put_version(4, content)
        assert again.status_code == 400
        assert "a version is never replaced" in again.json()["error"]
    async with watched(models, watch=False) as site:
        off = await site.client.put(
            "/v2/repository/models/m/versions/9", headers={"authorization": "Bearer secret"}
        )
        assert off.status_code == 403
