"""kill -9 in the middle of an upload or of a swap: no version is ever half there."""

import asyncio
import hashlib
import http.client
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path

import httpx
import pytest

from inference_service import uploads
from inference_service.importing.publish import PREFIX, publish
from inference_service.repository.contents import scan
from tests import onnx_models
from tests.conftest import RunningServer
from tests.support import LONGEST_WAIT, until

CONTENT = onnx_models.multiplier(2).SerializeToString()
CHUNK = len(CONTENT) // 3


def uploaded(models: Path, step: Callable[[str], None]) -> None:
    """Upload version 2 of m in chunks; ``step`` is called before each one and in the writing."""

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(CONTENT), CHUNK):
            step(f"chunk at {start}")
            yield CONTENT[start : start + CHUNK]
        step("end of the body")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploads, "publish", partial(publish, step=step))
        write = uploads.write_version(models, "m", 2, chunks(), digest="", most=len(CONTENT))
        asyncio.run(write)


def killed_at(number: int, models: Path) -> None:
    """Upload in a process that kills itself before its step ``number``."""
    child = os.fork()
    if child == 0:
        count = 0

        def step(_: str) -> None:
            nonlocal count
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

        try:
            uploaded(models, step)
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


def repository(folder: Path) -> Path:
    onnx_models.save(onnx_models.multiplier(1), folder / "m" / "1" / "model.onnx")
    return folder


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_kill_at_any_step_of_an_upload_leaves_no_half_version(tmp_path: Path) -> None:
    steps: list[str] = []
    uploaded(repository(tmp_path / "trial"), steps.append)
    assert len(steps) > 9
    for number, name in enumerate(steps):
        models = repository(tmp_path / str(number))
        killed_at(number, models)
        shown = set(scan(models)[0].versions)
        assert shown in ({1}, {1, 2}), name
        assert (shown == {1}) or steps.index("rename") < number, name
        if shown == {1}:  # what a kill leaves is not in the way
            uploaded(models, lambda _: None)
        assert (models / "m" / "2" / "model.onnx").read_bytes() == CONTENT
        assert [path.name for path in models.iterdir()] == ["m"], "a body leaves nothing"
        assert not list(models.rglob(f"{PREFIX}*"))


ADMIN = {
    "INFERENCE_SERVICE_ADMIN__REPOSITORY": "true",
    "INFERENCE_SERVICE_ADMIN__UPLOADS": "true",
    "INFERENCE_SERVICE_ADMIN__TOKEN": "secret",
    "INFERENCE_SERVICE_REPOSITORY__WATCH": "true",
    "INFERENCE_SERVICE_REPOSITORY__WATCH_INTERVAL": "0.05",
}


def index(server: RunningServer) -> Mapping[int, str]:
    """State of each version."""
    found = httpx.post(f"{server.url}/v2/repository/index", json={}, timeout=LONGEST_WAIT).json()
    return {int(one["version"]): one["state"] for one in found}


def answer(server: RunningServer) -> tuple[str, float]:
    """The version that answers, and its factor."""
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 1]}
    url = f"{server.url}/v2/models/m/infer"
    told = httpx.post(url, json={"inputs": [tensor]}, timeout=LONGEST_WAIT).json()
    return told["model_version"], told["outputs"][0]["data"][0]


def begun_upload(server: RunningServer, sent: int) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    connection.putrequest("PUT", "/v2/repository/models/m/versions/2")
    connection.putheader("authorization", "Bearer secret")
    connection.putheader("content-length", str(len(CONTENT)))
    connection.endheaders()
    connection.send(CONTENT[:sent])
    return connection


async def test_a_server_that_is_killed_in_an_upload_serves_what_it_had(
    tmp_path: Path, serve: Callable[..., RunningServer]
) -> None:
    models = repository(tmp_path)
    server = serve(models, **ADMIN)
    connection = begun_upload(server, CHUNK)
    assert answer(server) == ("1", 1)  # in its turn behind the body that has begun
    server.kill()
    connection.close()
    assert [path.name for path in models.iterdir()] == ["m"]
    assert [path.name for path in (models / "m").iterdir()] == ["1"]
    again = serve(models, **ADMIN)
    assert answer(again) == ("1", 1)
    connection = begun_upload(again, len(CONTENT))
    reply = connection.getresponse()
    told = json.loads(reply.read())
    connection.close()
    assert (reply.status, told["sha256"]) == (201, hashlib.sha256(CONTENT).hexdigest())
    await until(lambda: answer(again) == ("2", 2))


async def test_a_server_that_is_killed_in_a_swap_serves_a_whole_version(
    tmp_path: Path, serve: Callable[..., RunningServer]
) -> None:
    models = repository(tmp_path / "models")
    cache = {
        "INFERENCE_SERVICE_RUNTIME__PROFILE_CACHE": str(tmp_path / "cache"),
        "INFERENCE_SERVICE_RUNTIME__HELPER_PROCESS": "true",
    }
    server = serve(models, **ADMIN, **cache)
    onnx_models.save(onnx_models.multiplier(2), models / "m" / "2" / "model.onnx")
    await until(lambda: index(server).get(2) in {"LOADING", "WARMING", "READY"})
    server.kill()
    assert answer(serve(models, **ADMIN, **cache)) == ("2", 2)
